"""The learning rate of each layer: the same for all, or in proportion to how large the layer's weights are at the start.

Adam moves every weight by about the learning rate, however small the weight is. At 2e-3 that is 2 % of a pointwise
convolution of MobileNetV3 per step and 10 % of a deep one of a ResNet, which starts with smaller weights because it sums
over more inputs: the one could learn faster, the other forgets what it learnt. In proportion, all layers change alike, and
one setting suits networks of all kinds. LARS and LAMB (You et al. 2017, arXiv 1708.03888; 2019, arXiv 1904.00962) measure
that size in every step; at the start is enough for us and costs nothing, since norms follow the layers that matter.
"""

from __future__ import annotations

from typing import Any

import torch

SHARE = "share"
"""Key of an optimiser's groups: what the learning rate of the run is multiplied by. It is saved and restored with them."""
USUAL = 0.05
"""Root mean square of weights that learn at exactly the learning rate of the run."""
LEAST = 0.1
"""Smallest share: layers that start at zero must learn as well."""


def relative(optimiser: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Give every layer a rate in proportion to its weights.

    Args:
        optimiser: fresh. Every matrix gets a group of its own, so that the groups of a resumed run are the same whatever
            weights it is built with; norms, biases and other vectors keep the rate of the run.
    """
    groups: list[dict[str, Any]] = []
    for group in optimiser.param_groups:
        vectors = [weights for weights in group["params"] if weights.ndim <= 1]
        groups += [{**group, "params": [w], SHARE: share_of(w)} for w in group["params"] if w.ndim > 1]
        groups += [{**group, "params": vectors, SHARE: 1.0}] if vectors else []
    optimiser.param_groups[:] = groups
    return optimiser


def share_of(weights: torch.Tensor) -> float:
    """What the learning rate of the run is multiplied by for these weights.

    Args:
        weights: as they are at the start, any shape.
    """
    return max(float(weights.detach().float().square().mean().sqrt()) / USUAL, LEAST)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of the coming step.

    Args:
        optimiser: with or without shares.
        rate: of the run.
    """
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get(SHARE, 1.0)
