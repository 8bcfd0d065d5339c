"""Masks painted from annotations: their addresses, such as instances.json/@coco=139/a.png, and one order in which objects lie.

Like a file inside a shard, such a mask is a Path that no disk knows and that says itself what it is made of: the file of
annotations, and behind the @ what of it is meant. Its pixels are painted when it is read, into a PNG, so that whatever
reads masks reads these.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

import cv2
import numpy as np

from segwright.classes import Classes, ClassRow, classes_from_rows
from segwright.masks import filled

BACKGROUNDS = frozenset({"background", "_background_"})
"""Names of what is painted like pixels of no object; capitals do not matter."""

FARTHEST = 1e7
"""Pixels; a point further out is no point of a picture."""

_PAINTED = re.compile(r"(?P<source>.+)/@(?P<kind>[a-z]+)=(?P<what>[^/]*)/[^/]+\.png")


class Painted(NamedTuple):
    """What an address says."""

    source: Path
    """File of annotations."""
    kind: str
    """coco, yolo or labelme: who paints it."""
    what: str
    """What of it, as that one needs it."""


class Thing(NamedTuple):
    """One object of a picture."""

    value: int
    """What its pixels become, 1..65535."""
    mask: np.ndarray
    """(H, W) bool."""


def painted_address(source: Path, kind: str, what: str, stem: str) -> Path:
    """The address of a mask; `stem` is its picture's, for messages."""
    return source / f"@{kind}={quote(what, safe='')}" / f"{stem}.png"


def painted(path: Path) -> Painted | None:
    """What an address says, or None for an ordinary file."""
    found = _PAINTED.fullmatch(path.as_posix()) if path.parent.name.startswith("@") else None
    return Painted(Path(found["source"]), found["kind"], unquote(found["what"])) if found else None


def painted_classes(names: Mapping[int, str]) -> Classes:
    """The classes of painted masks: background is 0, and equal names are one class.

    Args:
        names: value in masks -> name; what is called like a background may stand at 0.
    """
    rows = {0: "background"} | {value: names[value] for value in sorted(names) if value}
    return classes_from_rows(tuple(ClassRow(value, name, None, ignore=False) for value, name in rows.items()))


def outlined(rings: Iterable[np.ndarray], size_hw: tuple[int, int]) -> np.ndarray:
    """All pixels inside any of some outlines.

    Args:
        rings: each (N, 2) float x and y in pixels.
        size_hw: of the picture.

    Returns:
        (H, W) bool.

    Raises:
        ValueError: no outline, fewer than three points in one, or points that are no places.
    """
    masks = []
    for ring in rings:
        if len(ring) < 3:
            raise ValueError(f"an outline of {len(ring)} points encloses nothing")
        if not (np.abs(ring) < FARTHEST).all():
            raise ValueError("an outline has points that are no places in a picture")
        masks.append(filled(ring, size_hw))
    if not masks:
        raise ValueError("it has no outline")
    return functools.reduce(np.logical_or, masks)


def stacked(things: Iterable[Thing], size_hw: tuple[int, int]) -> np.ndarray:
    """Objects laid over each other, the larger below the smaller: windows stay visible on their wall.

    Of equally large ones the later lies above. Where nothing lies the value is 0.

    Args:
        things: in the order of the file.
        size_hw: of the picture.

    Returns:
        (H, W) uint16.
    """
    values = np.zeros(size_hw, np.uint16)
    for thing in sorted(things, key=lambda thing: -np.count_nonzero(thing.mask)):
        values[thing.mask] = thing.value
    return values


def png(values: np.ndarray) -> bytes:
    """(H, W) uint16 as a PNG of 8 bits where that is enough."""
    pixels = values if values.max(initial=0) > 255 else values.astype(np.uint8)
    return cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
