"""One mask in every notation: what lies on disk (index, black-and-white, colour) to class numbers, and back; polygons.

All class maps are (H, W) uint8 with 255 for ignored pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

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


class Polygon(NamedTuple):
    """The outline of one connected piece of a class; its holes hang on it by a cut without width."""

    points: np.ndarray
    """(N, 2) float32 x and y along the borders of pixels: 0..W and 0..H, where pixel 0 reaches from 0 to 1; not closed."""
    area: int
    """Pixels of the piece, its holes left out, before any simplification."""
    box_xywh: tuple[int, int, int, int]
    """Left, top, width and height in pixels."""


def polygons(mask: np.ndarray, *, tolerance: float = 1.0, most: int | None = None, holes: bool = True) -> list[Polygon]:
    """Outlines of what is set in a mask, one for each piece whose pixels touch by their sides, largest first.

    Args:
        mask: (H, W) bool or uint8, not 0 where set.
        tolerance: how far, in pixels, a simplified line may lie from the exact one; 0 keeps every corner. From 0.71 on the
            stairs of slanted edges become straight.
        most: only the so many largest.
        holes: whether holes are cut out; without them, only the outer line is followed.

    Returns:
        Polygons; with tolerance 0 their shoelace areas are their pixel counts.
    """
    binary = np.ascontiguousarray(mask != 0, np.uint8)
    # Labelling is most of the work, so it is done only where there is something.
    x, y, wide, high = cv2.boundingRect(binary)
    binary = np.ascontiguousarray(binary[y : y + high, x : x + wide])
    if not binary.size:
        return []
    count, labels, stats, _ = cv2.connectedComponentsWithStats(binary, connectivity=4, ltype=cv2.CV_32S)
    found = []
    for number in sorted(range(1, count), key=lambda n: -stats[n, cv2.CC_STAT_AREA])[:most]:
        left, top, width, height, area = (int(value) for value in stats[number])
        rings = _rings(labels[top : top + height, left : left + width] == number)
        simple = [_simplified(ring, tolerance) for ring in (rings if holes else rings[:1])]
        points = _joined(simple) + np.array([x + left, y + top], np.float32)
        found.append(Polygon(points, area, (x + left, y + top, width, height)))
    return found


def filled(points: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """What lies inside an outline: the pixels whose centres do, by the even-odd rule. Inverse of `polygons`.

    Args:
        points: (N, 2) float x and y along the borders of pixels, 0..W and 0..H; what lies outside the picture is cut off.
        size_hw: of the picture.

    Returns:
        (H, W) bool.
    """
    height, width = size_hw
    here, there = points.astype(np.float64), np.roll(points, -1, axis=0).astype(np.float64)
    low, high = np.minimum(here[:, 1], there[:, 1]), np.maximum(here[:, 1], there[:, 1])
    # Rows whose middle an edge crosses: its lower end belongs to it, its upper end does not.
    first, end = (np.ceil(np.clip(at, 0, height) - 0.5).astype(int) for at in (low, high))
    lengths = end - first
    edges = np.repeat(np.arange(len(here)), lengths)
    rows = np.arange(len(edges)) - np.repeat(lengths.cumsum() - lengths, lengths) + first[edges]
    slopes = (there[edges, 0] - here[edges, 0]) / (there[edges, 1] - here[edges, 1])
    crossings = here[edges, 0] + (rows + 0.5 - here[edges, 1]) * slopes
    columns = np.ceil(np.clip(crossings, 0, width) - 0.5).astype(int)
    mask = np.zeros(size_hw, bool)
    if len(rows):
        top, left, bottom, right = rows.min(), columns.min(), rows.max() + 1, columns.max()
        crossed = np.zeros((bottom - top, right - left + 1), bool)
        np.logical_xor.at(crossed, (rows - top, columns - left), True)
        mask[top:bottom, left:right] = np.logical_xor.accumulate(crossed, axis=1)[:, :-1]
    return mask


def from_runs(counts: Sequence[int] | str, size_hw: tuple[int, int]) -> np.ndarray:
    """A mask from COCO's run lengths, which go down the columns and begin with what is not set.

    Args:
        counts: lengths, or the string that pycocotools packs them into.
        size_hw: of the picture.

    Returns:
        (H, W) bool.

    Raises:
        ValueError: the lengths do not add up to the picture.
    """
    lengths = np.asarray(_unpacked(counts) if isinstance(counts, str) else counts, np.int64)
    if lengths.ndim != 1 or (lengths < 0).any() or lengths.sum() != size_hw[0] * size_hw[1]:
        raise ValueError(f"its run lengths do not add up to {size_hw[1]}x{size_hw[0]} pixels")
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(size_hw[::-1]).T


def _unpacked(text: str) -> list[int]:
    """Six bits a letter from "0" on, five of them a part of a number, the sixth set where it goes on; differences to the last but one."""
    lengths: list[int] = []
    number = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError("its packed run lengths cannot be read")
        number |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            number -= 1 << shift
        lengths.append(number + (lengths[-2] if len(lengths) > 2 else 0))
        number = shift = 0
    return lengths


def _rings(piece: np.ndarray) -> list[np.ndarray]:
    """Exact outlines of one piece along the borders of its pixels: the outer one first, then its holes.

    Corners are where 1 or 3 of the 4 pixels around a point are set (twice where 2 lie opposite). Along every row, and along
    every column, they pair up in order: that is all that has to be known to walk around.
    """
    padded = np.pad(piece, 1).astype(np.int8)
    a, b, c, d = padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    around = a + b + c + d
    opposite = (around == 2) & (a == d)
    # At such a point two corners of one piece meet by their tips; the two pixels set are kept apart there.
    once_y, once_x = np.nonzero((around & 1) == 1)
    tips_y, tips_x = np.nonzero(opposite)
    left_tip = a[tips_y, tips_x] == 1  # set above-left and below-right; else above-right and below-left
    y = np.concatenate([once_y, tips_y, tips_y])
    x = np.concatenate([once_x, tips_x, tips_x])
    count = len(once_y)
    # Of the two corners at a tip, the first belongs to the pixel above. It comes first in its column; in its row it comes
    # first if that pixel is the left one.
    in_row = np.concatenate([np.zeros(count, int), np.where(left_tip, 0, 1), np.where(left_tip, 1, 0)])
    in_column = np.concatenate([np.zeros(count, int), np.zeros(len(tips_y), int), np.ones(len(tips_y), int)])
    across, along = np.empty(len(y), int), np.empty(len(y), int)
    for partner, order in ((across, np.lexsort((in_row, x, y))), (along, np.lexsort((in_column, y, x)))):
        partner[order[0::2]], partner[order[1::2]] = order[1::2], order[0::2]
    rings, seen = [], np.zeros(len(y), bool)
    for first in np.lexsort((x, y)):
        if seen[first]:
            continue
        walk, here = [], int(first)
        while not seen[here]:
            there = int(across[here])
            seen[here] = seen[there] = True
            walk += [here, there]
            here = int(along[there])
        rings.append(np.stack([x[walk], y[walk]], axis=1).astype(np.float32))
    return rings


def _simplified(ring: np.ndarray, tolerance: float) -> np.ndarray:
    if tolerance <= 0 or len(ring) <= 4:
        return ring
    simple = cv2.approxPolyDP(ring[:, None], tolerance, closed=True)[:, 0]
    return simple if len(simple) >= 3 else ring


def _joined(rings: list[np.ndarray]) -> np.ndarray:
    """One ring of all: each hole is entered and left through the same cut from its nearest point, so that it encloses nothing."""
    outer, *holes = rings
    for hole in sorted(holes, key=lambda h: float(h[:, 0].min())):
        distances = ((outer[:, None] - hole[None]) ** 2).sum(axis=2)
        at, start = np.unravel_index(int(distances.argmin()), distances.shape)
        turned = np.roll(hole, -int(start), axis=0)
        if (_twice_area(turned) > 0) == (_twice_area(outer) > 0):
            turned = np.roll(turned[::-1], 1, axis=0)
        outer = np.concatenate([outer[: at + 1], turned, turned[:1], outer[at:]])
    return outer


def _twice_area(ring: np.ndarray) -> float:
    x, y = ring[:, 0].astype(np.float64), ring[:, 1].astype(np.float64)
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())
