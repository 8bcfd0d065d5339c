"""Weights from files: tensors by name, nothing pickled, and the copying of as many as fit."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from segwright.errors import ModelError


def no_file(path: Path) -> ModelError:
    """The error for a weights file that is not there."""
    return ModelError(f"The weights file {path} does not exist; check the path, or start without: --weights none.")


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Tensors by name from a .safetensors or a PyTorch file; pickled objects are refused.

    Raises:
        ModelError: missing, damaged, or holding more than tensors.
    """
    if not path.is_file():
        raise no_file(path)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        raw = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise a dozen unrelated types for damaged files
        raise ModelError(
            f"{path} cannot be read as weights ({type(error).__name__}); it must be .safetensors or a plain PyTorch state dict "
            "(files with pickled objects are refused because they can run code)."
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(raw, dict) and isinstance(raw.get(key), dict):
            raw = raw[key]
    if not isinstance(raw, dict) or not all(isinstance(v, torch.Tensor) for v in raw.values()):
        raise ModelError(f"{path} holds no state dict of tensors; save one with torch.save(model.state_dict(), FILE).")
    return raw


PREFIXES = ("", "body.", "backbone.", "body.backbone.", "encoder.", "body.encoder.")
"""What the names of a backbone may need before them."""
WRAPPERS = ("", "features.", "backbone.", "encoder.", "module.", "model.", "body.")
"""What may stand before the names in a file, left by what the network was wrapped in when it was saved."""


def copy_matching(network: nn.Module, weights: dict[str, torch.Tensor], source: str) -> None:
    """Copy what fits by name and shape, trying the usual prefixes of backbones.

    Args:
        network: gets them.
        weights: tensors by name.
        source: what they are called in an error.

    Raises:
        ModelError: less than half of them fit.
    """
    own = network.state_dict()

    def matches(prefix: str, strip: str) -> dict[str, torch.Tensor]:
        renamed = {prefix + k.removeprefix(strip): v for k, v in weights.items() if k.startswith(strip)}
        return {k: v for k, v in renamed.items() if k in own and own[k].shape == v.shape}

    best = max((matches(prefix, strip) for prefix in PREFIXES for strip in WRAPPERS), key=len)
    if len(best) < max(len(weights) // 2, 1):
        raise ModelError(
            f"{source} does not fit this network: {len(best)} of its {len(weights)} tensors have a name and shape that match; "
            "choose the model and encoder the weights were made for."
        )
    network.load_state_dict(best, strict=False)
