"""`preprocess.py` inside an exported graph: pictures of any size are placed, and answers brought back to their size."""

from __future__ import annotations

import torch

from segwright.preprocess import ROUND_UP, Arrays, growing, placement, shrinking
from segwright.recipe import Fit

# sym_min and sym_max are Python's own on numbers, and stay open for any size while a graph is exported.
TORCH = Arrays(
    lambda count: torch.arange(count, dtype=torch.float32), torch.clamp, torch.where, torch.sym_min, torch.sym_max
)


def place(images: torch.Tensor, size_hw: tuple[int, int], fit: Fit) -> torch.Tensor:
    """Bring images to the network's size.

    Args:
        images: (B, C, H, W) float32, 0..255.
        size_hw: the network's height and width in pixels.
        fit: "pad" or "stretch".

    Returns:
        (B, C, *size_hw) float32, whole numbers 0..255.
    """
    to_rows, to_columns = placement(images.shape[2], images.shape[3], size_hw, fit, TORCH)
    rows = shrinking(TORCH.positions(size_hw[0]), images.shape[2], *to_rows, TORCH)
    columns = shrinking(TORCH.positions(size_hw[1]), images.shape[3], *to_columns, TORCH)
    return (rows @ (images @ columns.T) + ROUND_UP).floor().clamp(0.0, 255.0)


def unplace(maps: torch.Tensor, size_hw: tuple[int, int], fit: Fit) -> torch.Tensor:
    """Undo `place` for what the network answered: cut the padding off and interpolate to the image's size.

    Args:
        maps: (B, C, h, w) float32 at the network's size (logits or probabilities).
        size_hw: height and width of the image that was placed.
        fit: as in `place`.

    Returns:
        (B, C, *size_hw) float32.
    """
    network_hw = (maps.shape[2], maps.shape[3])
    to_rows, to_columns = placement(*size_hw, network_hw, fit, TORCH)
    rows = growing(TORCH.positions(size_hw[0]), network_hw[0], *to_rows, TORCH)
    columns = growing(TORCH.positions(size_hw[1]), network_hw[1], *to_columns, TORCH)
    return rows @ (maps @ columns.T)
