"""Optimisers by name: AdamW, Adam, and SGD with Nesterov momentum; norms, biases and other vectors are never decayed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from segwright.recipe import FitRecipe, Optimiser
from segwright.training.rates import relative

NORMS = (
    nn.modules.batchnorm._NormBase,  # batch and instance norms
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)
"""Their scales may have several dimensions (a layer norm over C, H, W), so the shape alone does not tell."""

Groups = list[dict[str, Any]]


def _on_cpu(groups: Groups) -> bool:
    """Whether to move all weights in one go: a sixth of the time there, which is a tenth of a small step of a U-Net. On CUDA
    it gains little, and Lightning cannot clip gradients with it.
    """
    return all(weights.device.type == "cpu" for group in groups for weights in group["params"])


def _adamw(groups: Groups, fit: FitRecipe, lr: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=lr, eps=fit.adam_eps, fused=_on_cpu(groups))


def _adam(groups: Groups, fit: FitRecipe, lr: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(groups, lr=lr, eps=fit.adam_eps, fused=_on_cpu(groups))


def _sgd(groups: Groups, fit: FitRecipe, lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=lr, momentum=fit.momentum, nesterov=fit.momentum > 0)


OPTIMISERS: dict[Optimiser, Callable[[Groups, FitRecipe, float], torch.optim.Optimizer]] = {
    "adamw": _adamw,
    "adam": _adam,
    "sgd": _sgd,
}


def build_optimiser(network: nn.Module, fit: FitRecipe, lr: float) -> torch.optim.Optimizer:
    """The optimiser a recipe names.

    Args:
        network: all its parameters are optimised.
        fit: name, weight decay, epsilon and momentum.
        lr: learning rate to begin with; whoever trains sets it anew before every step.
    """
    made = OPTIMISERS[fit.optimizer](groups(network, fit.weight_decay), fit, lr)
    return relative(made) if fit.layer_lr == "relative" else made


def groups(network: nn.Module, weight_decay: float) -> Groups:
    """Two groups: what is decayed, and norms, biases and other vectors.

    Args:
        network: a parameter that several modules share is listed once.
        weight_decay: of the first group.
    """
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    seen: set[int] = set()
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in seen:
                continue
            seen.add(id(parameter))
            vector = isinstance(module, NORMS) or name.endswith("bias") or parameter.ndim <= 1
            (spared if vector else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": spared, "weight_decay": 0.0}]
