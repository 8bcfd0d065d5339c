"""Place an image into the network's size, and undo it exactly: antialiased resizing as two small matrix products.

Why matrices: PyTorch, ONNX Runtime, OpenVINO, TensorRT and WebGPU disagree about `Resize` (antialiasing, corners), and
agree about matrix products. The same lines run here and inside the exported graph, for any input size, so that what was
trained, measured and shipped sees the same pixels. Filter: a triangle as wide as the reduction (as Pillow's BILINEAR).

"pad" keeps the shape, centres the picture and leaves black around it; "stretch" scales each side by itself.
Placed pixels are rounded to whole uint8 steps, because that is what a fixed-size exported model is given.

`torch.sym_min` and `torch.sym_max` are Python's own on numbers, and stay open for any size while a graph is exported.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch

from segwright.recipe import Fit

ROUND_UP = 0.501
"""Added before rounding down. At simple ratios such as 1/2 many pixels lie exactly between two steps, and there the last
bit of a sum, which every engine forms in its own order, would decide; a thousandth more, and all of them round up."""


def place(images: torch.Tensor, size_hw: tuple[int, int], fit: Fit) -> torch.Tensor:
    """Bring images to the network's size.

    Args:
        images: (B, C, H, W) float32, 0..255.
        size_hw: the network's height and width in pixels.
        fit: "pad" or "stretch".

    Returns:
        (B, C, *size_hw) float32, whole numbers 0..255.
    """
    to_rows, to_columns = placement(images.shape[2], images.shape[3], size_hw, fit)
    rows, columns = _shrink(images.shape[2], *to_rows, size_hw[0]), _shrink(images.shape[3], *to_columns, size_hw[1])
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
    to_rows, to_columns = placement(*size_hw, network_hw, fit)
    rows = _grow(size_hw[0], *to_rows, network_hw[0])
    columns = _grow(size_hw[1], *to_columns, network_hw[1])
    return rows @ (maps @ columns.T)


def placement(
    height: int, width: int, size_hw: tuple[int, int], fit: Fit
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where a picture lands.

    Args:
        height: of the picture, pixels.
        width: of the picture, pixels.
        size_hw: the network's height and width.
        fit: "pad" or "stretch".

    Returns:
        ((scale_y, margin_y), (scale_x, margin_x)): network pixels per picture pixel, and black network pixels before it.
    """
    scale_y, scale_x = size_hw[0] / height, size_hw[1] / width
    if fit == "stretch":
        return (scale_y, 0.0), (scale_x, 0.0)
    scale = cast(float, torch.sym_min(scale_y, scale_x))
    return (scale, (size_hw[0] - scale * height) / 2), (scale, (size_hw[1] - scale * width) / 2)


def _shrink(length: int, scale: float, margin: float, out: int) -> torch.Tensor:
    """(out, length) weights of every source pixel in every placed pixel; rows outside the picture are zero (black)."""
    centres = (torch.arange(out, dtype=torch.float32) + 0.5 - margin) / scale
    reach = cast(float, torch.sym_max(1.0 / scale, 1.0))
    distance = (torch.arange(length, dtype=torch.float32)[None] + 0.5 - centres[:, None]).abs() / reach
    weights = (1.0 - distance).clamp(min=0.0)
    inside = (centres >= 0.0) & (centres <= length)
    return torch.where(inside[:, None], weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-6), 0.0)


def _grow(length: int, scale: float, margin: float, source: int) -> torch.Tensor:
    """(length, source) weights that read a map of `source` pixels back at every pixel of the image."""
    centres = (torch.arange(length, dtype=torch.float32) + 0.5) * scale + margin
    # Neighbours outside the picture's own area would bleed the padding's answers into the border.
    centres = centres.clamp(margin + 0.5, source - margin - 0.5)
    reach = cast(float, torch.sym_max(scale, 1.0))
    distance = (torch.arange(source, dtype=torch.float32)[None] + 0.5 - centres[:, None]).abs() / reach
    weights = (1.0 - distance).clamp(min=0.0)
    return weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-6)


def is_turned(height: int, width: int, size_hw: tuple[int, int]) -> bool:
    """Whether a picture lies across to the network's input: one is landscape and the other portrait.

    Args:
        height: of the picture, pixels.
        width: of the picture, pixels.
        size_hw: the network's height and width.
    """
    return (height - width) * (size_hw[0] - size_hw[1]) < 0


def turned(picture: np.ndarray) -> np.ndarray:
    """A picture or class map (H, W, ...) a quarter turn counter-clockwise: its right edge becomes the upper one."""
    return np.ascontiguousarray(np.rot90(picture))


def turned_back(maps: np.ndarray) -> np.ndarray:
    """Undo `turned` for an answer (C, W, H); the result is (C, H, W)."""
    return np.ascontiguousarray(np.rot90(maps, -1, axes=(1, 2)))


def place_image(image: np.ndarray, size_hw: tuple[int, int], fit: Fit) -> np.ndarray:
    """`place` for one picture as it comes from disk.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        (*size_hw, 3) uint8 RGB; the very same array when it already has that size.
    """
    if image.shape[:2] == size_hw:
        return image
    # Cast by NumPy: PyTorch warns about the read-only arrays that Pillow hands out.
    channels_first = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None]
    placed = place(channels_first, size_hw, fit)[0].to(torch.uint8)
    return np.ascontiguousarray(placed.permute(1, 2, 0).numpy())


def unplace_map(maps: np.ndarray, size_hw: tuple[int, int], fit: Fit) -> np.ndarray:
    """`unplace` for one answer.

    Args:
        maps: (C, h, w) float32.
        size_hw: height and width of the picture.

    Returns:
        (C, *size_hw) float32; the very same array when it already has that size.
    """
    if maps.shape[1:] == size_hw:
        return maps
    return np.asarray(unplace(torch.from_numpy(np.ascontiguousarray(maps))[None], size_hw, fit)[0].numpy())
