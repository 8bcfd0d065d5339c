"""One mask in every notation: what lies on disk (index, black-and-white, colour) to class numbers, and back to pictures.

All class maps are (H, W) uint8 with 255 for ignored pixels.
"""

from __future__ import annotations

import cv2
import numpy as np

from segwright.classes import IGNORED, Classes

UNOWNED = 254
"""Marks a pixel whose value on disk no class owns; `strict` readers turn it into IGNORED after counting it."""

COLOUR_TOLERANCE = 48.0
"""Largest Euclidean RGB distance (0..441) at which an anti-aliased or JPEG colour still counts as its nearest class."""


def class_map_from_raw(raw: np.ndarray, classes: Classes) -> np.ndarray:
    """Class numbers of a mask as it was read from disk.

    Args:
        raw: (H, W) uint8 or uint16 values, or (H, W, 3) uint8 RGB.
        classes: how the values are to be understood.

    Returns:
        (H, W) uint8: class numbers, 255 where ignored, 254 (UNOWNED) where no class owns the value.
    """
    if classes.notation == "colour":
        return from_colours(raw if raw.ndim == 3 else np.repeat(raw[..., None], 3, axis=2), classes)
    if raw.ndim == 3:
        raw = raw[..., 0] if grey_only(raw) else raw.max(axis=2)
    if classes.notation == "binary":
        return (raw >= 128).astype(np.uint8)
    return classes.index_table[raw]


def grey_only(raw: np.ndarray) -> bool:
    """Whether the three channels of an (H, W, 3) picture are the same."""
    return bool((raw[..., 0] == raw[..., 1]).all() and (raw[..., 1] == raw[..., 2]).all())


def from_colours(rgb: np.ndarray, classes: Classes) -> np.ndarray:
    """Class of the nearest colour; UNOWNED where even the nearest is further than `COLOUR_TOLERANCE`.

    Args:
        rgb: (H, W, 3) uint8.
        classes: its `rgb_values` are the colours.

    Returns:
        (H, W) uint8.
    """
    codes = (rgb[..., 0].astype(np.uint32) << 16) | (rgb[..., 1].astype(np.uint32) << 8) | rgb[..., 2]
    found, inverse = np.unique(codes, return_inverse=True)
    table = np.array([colour for colour, _ in classes.rgb_values], np.float32)
    numbers = np.array([number for _, number in classes.rgb_values], np.uint8)
    shades = np.stack([found >> 16, (found >> 8) & 255, found & 255], axis=1).astype(np.float32)
    owners = np.empty(len(found), np.uint8)
    for start in range(0, len(shades), 4096):
        distances = np.linalg.norm(shades[start : start + 4096, None] - table[None], axis=2)
        nearest = distances.argmin(axis=1)
        far = distances[np.arange(len(nearest)), nearest] > COLOUR_TOLERANCE
        owners[start : start + 4096] = np.where(far, UNOWNED, numbers[nearest])
    return owners[inverse.reshape(codes.shape)]


def to_colours(class_map: np.ndarray, classes: Classes) -> np.ndarray:
    """Paint a class map in the colours of its classes.

    Args:
        class_map: (H, W) uint8.

    Returns:
        (H, W, 3) uint8 RGB; ignored pixels are grey.
    """
    # Four to ten times as fast as NumPy's classes.palette[class_map].
    return np.asarray(cv2.applyColorMap(class_map, classes.palette[:, None]), np.uint8)


def ignore_unowned(class_map: np.ndarray) -> np.ndarray:
    """The same class map with UNOWNED pixels ignored.

    Args:
        class_map: (H, W) uint8.

    Returns:
        (H, W) uint8, a new array when something changed.
    """
    unowned = class_map == UNOWNED
    if not unowned.any():
        return class_map
    return np.where(unowned, np.uint8(IGNORED), class_map)
