"""Place an image into the network's size, and undo it exactly: antialiased resizing as two small matrix products.

Why matrices: PyTorch, ONNX Runtime, OpenVINO, TensorRT and WebGPU disagree about `Resize` (antialiasing, corners), and agree about matrix
products. The same lines run here in NumPy and, from `export/placing.py`, inside the exported graph, for any input size, so that what was
trained, measured and shipped sees the same pixels; and a camera's box need not load PyTorch. Filter: a triangle as wide as the reduction
(as Pillow's BILINEAR).

"pad" keeps the shape, centres the picture and leaves black around it; "stretch" scales each side by itself.
Placed pixels are rounded to whole uint8 steps, because that is what a fixed-size exported model is given.

Around a fixed graph the same products run in NumPy, and only where their matrices are not zero: a few source pixels for each
placed one. A picture of 1920x1080 takes 7 ms that way and 106 ms whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from segwright.recipe import Fit

ROUND_UP = 0.501
"""Added before rounding down. At simple ratios such as 1/2 many pixels lie exactly between two steps, and there the last
bit of a sum, which every engine forms in its own order, would decide; a thousandth more, and all of them round up."""


class Arrays(NamedTuple):
    """What the lines below need of an array library: NumPy here, PyTorch inside a graph, where sides may be open."""

    positions: Callable[[int], Any]
    """0, 1, 2, ... as float32."""
    clip: Callable[[Any, Any, Any], Any]
    where: Callable[[Any, Any, float], Any]
    least: Callable[[Any, Any], Any]
    most: Callable[[Any, Any], Any]


NUMPY = Arrays(lambda count: np.arange(count, dtype=np.float32), np.clip, np.where, min, max)


def placement(
    height: int, width: int, size_hw: tuple[int, int], fit: Fit, arrays: Arrays = NUMPY
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where a picture lands.

    Args:
        height: of the picture, pixels.
        width: of the picture, pixels.
        size_hw: the network's height and width.
        fit: "pad" or "stretch".
        arrays: what computes it.

    Returns:
        ((scale_y, margin_y), (scale_x, margin_x)): network pixels per picture pixel, and black network pixels before it.
    """
    scale_y, scale_x = size_hw[0] / height, size_hw[1] / width
    if fit == "stretch":
        return (scale_y, 0.0), (scale_x, 0.0)
    scale = arrays.least(scale_y, scale_x)
    return (scale, (size_hw[0] - scale * height) / 2), (scale, (size_hw[1] - scale * width) / 2)


def shrinking(at: Any, length: int, scale: float, margin: float, arrays: Arrays = NUMPY) -> Any:
    """(at, length) weights of every source pixel in the placed pixels `at`; rows outside the picture are zero (black)."""
    centres = (at + 0.5 - margin) / scale
    reach = arrays.most(1.0 / scale, 1.0)
    distance = abs(arrays.positions(length)[None] + 0.5 - centres[:, None]) / reach
    weights = arrays.clip(1.0 - distance, 0.0, None)
    inside = (centres >= 0.0) & (centres <= length)
    return arrays.where(inside[:, None], weights / arrays.clip(weights.sum(1)[:, None], 1e-6, None), 0.0)


def growing(at: Any, source: int, scale: float, margin: float, arrays: Arrays = NUMPY) -> Any:
    """(at, source) weights that read a map of `source` pixels back at the pixels `at` of the image."""
    # Neighbours outside the picture's own area would bleed the padding's answers into the border.
    centres = arrays.clip((at + 0.5) * scale + margin, margin + 0.5, source - margin - 0.5)
    reach = arrays.most(scale, 1.0)
    distance = abs(arrays.positions(source)[None] + 0.5 - centres[:, None]) / reach
    weights = arrays.clip(1.0 - distance, 0.0, None)
    return weights / arrays.clip(weights.sum(1)[:, None], 1e-6, None)


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


class Band(NamedTuple):
    """A few neighbouring rows of a matrix, cut to the columns in which they are not zero."""

    rows: slice
    columns: slice
    weights: np.ndarray
    """(rows, columns) float32, not written to."""


BAND = 16
"""Rows of a band, times the enlargement: more would waste products with zeros, fewer would waste calls."""

MOST_PRODUCTS = 1 << 18
"""Products of one small matrix product. Above that OpenBLAS wakes threads, which then spin while they wait for the next one: with two
of them the same work took 80 to 380 ms instead of 7."""


def place_image(image: np.ndarray, size_hw: tuple[int, int], fit: Fit) -> np.ndarray:
    """`placing.place` for one picture as it comes from disk.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        (*size_hw, 3) uint8 RGB; the very same array when it already has that size. Of a million pixels a few may lie one step
        beside `placing.place`, where two orders of summing fall to different sides of a rounding step.
    """
    if image.shape[:2] == size_hw:
        return image
    height, width, channels = image.shape
    to_rows, to_columns = placement(height, width, size_hw, fit)
    columns = _shrinking_bands(width, *to_columns, size_hw[1], channels)
    flat = image.reshape(height, width * channels)
    placed = np.zeros((size_hw[0], size_hw[1] * channels), np.uint8)
    for band in _shrinking_bands(height, *to_rows, size_hw[0]):
        narrow = _product(band.weights, flat[band.columns].astype(np.float32))
        for column in columns:
            small = _product(narrow[:, column.columns], column.weights.T)
            # Cast, which cuts off: no sum is below 0 or reaches 256.
            placed[band.rows, column.rows] = small + np.float32(ROUND_UP)
    return placed.reshape(*size_hw, channels)


def unplace_map(maps: np.ndarray, size_hw: tuple[int, int], fit: Fit) -> np.ndarray:
    """`placing.unplace` for one answer.

    Args:
        maps: (C, h, w) float32.
        size_hw: height and width of the picture.

    Returns:
        (C, *size_hw) float32; the very same array when it already has that size.
    """
    if maps.shape[1:] == size_hw:
        return maps
    whole = np.empty((len(maps), *size_hw), np.float32)
    for rows, values in unplaced_rows(maps, size_hw, fit):
        whole[:, rows] = values
    return whole


def unplaced_rows(maps: np.ndarray, size_hw: tuple[int, int], fit: Fit) -> Iterator[tuple[slice, np.ndarray]]:
    """`unplace_map` a few rows at a time, so that what comes of many maps need never exist whole.

    Args:
        maps: (C, h, w) float32.
        size_hw: height and width of the picture.

    Yields:
        Rows of the picture from top to bottom, and their values (C, rows, width) float32.
    """
    count, source_height, source_width = maps.shape
    to_rows, to_columns = placement(*size_hw, (source_height, source_width), fit)
    columns = _growing_bands(size_hw[1], *to_columns, source_width)
    for band in _growing_bands(size_hw[0], *to_rows, source_height):
        source = np.ascontiguousarray(maps[:, band.columns])
        narrow = np.stack([_product(band.weights, part) for part in source]).reshape(-1, source_width)
        values = np.empty((len(narrow), size_hw[1]), np.float32)
        for column in columns:
            values[:, column.rows] = _product(narrow[:, column.columns], column.weights.T)
        yield band.rows, values.reshape(count, -1, size_hw[1])


def _product(small: np.ndarray, wide: np.ndarray) -> np.ndarray:
    """The product small @ wide, in pieces of at most `MOST_PRODUCTS`, cut along the longer outer side."""
    answer = np.empty((len(small), wide.shape[1]), np.float32)
    if len(small) > wide.shape[1]:
        step = max(MOST_PRODUCTS // max(wide.size, 1), 1)
        for start in range(0, len(small), step):
            np.matmul(small[start : start + step], wide, out=answer[start : start + step])
    else:
        step = max(MOST_PRODUCTS // max(small.size, 1), 1)
        for start in range(0, wide.shape[1], step):
            np.matmul(small, wide[:, start : start + step], out=answer[:, start : start + step])
    return answer


@lru_cache(maxsize=16)  # pictures of a video share one size; in a folder of many sizes old ones go
def _shrinking_bands(length: int, scale: float, margin: float, out: int, channels: int = 1) -> tuple[Band, ...]:
    """Bands of `shrinking`, with `channels` over 1 for rows in which the channels of a pixel stand side by side."""
    bands = _bands(out, scale, lambda at: shrinking(at, length, scale, margin))
    if channels == 1:
        return bands
    every = np.eye(channels, dtype=np.float32)
    return tuple(
        Band(
            slice(band.rows.start * channels, band.rows.stop * channels),
            slice(band.columns.start * channels, band.columns.stop * channels),
            np.kron(band.weights, every),
        )
        for band in bands
    )


@lru_cache(maxsize=16)
def _growing_bands(length: int, scale: float, margin: float, source: int) -> tuple[Band, ...]:
    return _bands(length, 1.0 / scale, lambda at: growing(at, source, scale, margin))


def _bands(length: int, enlarged: float, weights: Callable[[Any], Any]) -> tuple[Band, ...]:
    """All of a matrix of `length` rows that is not zero; rows of zeros belong to no band."""
    found, step = [], BAND * max(round(enlarged), 1)
    for start in range(0, length, step):
        rows = weights(NUMPY.positions(length)[start : start + step])
        used = np.flatnonzero(rows.any(axis=0))
        if used.size:
            columns = slice(int(used[0]), int(used[-1]) + 1)
            # A copy, or all the zeros would be kept too.
            found.append(Band(slice(start, start + len(rows)), columns, rows[:, columns].copy()))
    return tuple(found)
