"""YOLO: text files of outlines beside pictures become samples whose masks are painted when they are read.

    images/train/a.jpg   labels/train/a.txt: "2 0.1 0.2 0.9 0.2 0.5 0.8", class and corners, x and y as shares of the picture
    data.yaml            names: [cat, dog, bird]

A mask holds 0 where nothing lies, else the class's number plus one. A picture with an empty text file shows nothing; one without a
text file is not labelled. Objects are laid over each other by size (`painting.py`). A line of a box makes a mask unreadable:
nobody can know which pixels of the box are meant.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from segwright.data.layouts import Dataset
from segwright.data.painting import Thing, outlined, painted_address, painted_classes, stacked
from segwright.data.sample import Sample, with_masks
from segwright.errors import DataError

LARGEST_VALUE = 65534
BOX = 4
"""Numbers behind the class in the line of a box."""

BOXES = -1
"""Stands among the classes of a file for its boxes, whatever their class."""

OUTSIDE = 0.01
"""How far, as a share of the picture, a corner may lie outside: drawing tools round."""


class _BoxError(ValueError):
    pass


def read_yolo(root: Path, splits: Mapping[str, tuple[Sample, ...]]) -> Dataset | None:
    """The data set of pictures some of which have a text file of outlines, or None when none has.

    Args:
        root: the data set's folder; data.yaml or classes.txt in it may name the classes.
        splits: its pictures.

    Raises:
        DataError: no file has an outline, or the names cannot be read.
    """
    samples = [sample for part in splits.values() for sample in part]
    labels = {sample.image: label for sample in samples if (label := _label_of(sample.image)) is not None}
    if not labels:
        return None
    with ThreadPoolExecutor(4) as pool:
        used = set().union(*pool.map(_classes_in, labels.values()))
    if used == {BOXES}:
        first = next(iter(labels.values()))
        raise DataError(f"{first} and the other label files hold boxes; segmentation needs outlines of the objects.")
    used.discard(BOXES)
    if not used:
        return None  # captions, or notes of any other kind
    names = _names(root)
    masks = {
        image: painted_address(label, "yolo", os.path.relpath(image, label.parent), image.stem)
        for image, label in labels.items()
    }
    return Dataset(
        root=root,
        layout="yolo",
        classes=painted_classes({n + 1: names.get(n) or f"class_{n}" for n in used}),
        classes_declared=bool(names),
        splits=with_masks(splits, masks),
    )


def paint_yolo(source: Path, size_hw: tuple[int, int]) -> np.ndarray:
    """The mask that a text file describes.

    Args:
        source: the file.
        size_hw: of its picture, upright.

    Returns:
        (H, W) uint16 as the module says.

    Raises:
        DataError: the file, or a line of it, cannot be read.
    """
    things = []
    for at, line in enumerate(_lines(source), start=1):
        try:
            number, ring = _outline(line)
            things.append(Thing(number + 1, outlined([ring * size_hw[::-1]], size_hw)))
        except ValueError as error:
            raise DataError(f"{source}, line {at}: {error}; mend or remove it where it was drawn.") from error
    return stacked(things, size_hw)


def _outline(line: str) -> tuple[int, np.ndarray]:
    """Class and (N, 2) float shares of the picture."""
    first, *rest = line.split()
    try:
        number, corners = int(float(first)), np.array(rest, np.float64)
    except (ValueError, OverflowError) as error:
        raise ValueError("these are not a class and the corners of an outline") from error
    if len(rest) == BOX:
        raise _BoxError("this is a box, not an outline")
    if len(rest) % 2 or len(rest) < 6:
        raise ValueError(f"{len(rest)} coordinates are not the corners of an outline")
    if not 0 <= number < LARGEST_VALUE:
        raise ValueError(f"{first} is not the number of a class")
    if not ((corners >= -OUTSIDE) & (corners <= 1 + OUTSIDE)).all():
        raise ValueError("coordinates are shares of the picture, 0 to 1")
    return number, corners.clip(0.0, 1.0).reshape(-1, 2)


def _classes_in(label: Path) -> set[int]:
    """Numbers of the classes that have an outline, and `BOXES`; what cannot be read is left to the health check."""
    found = set()
    try:
        for line in _lines(label):
            try:
                found.add(_outline(line)[0])
            except _BoxError:
                found.add(BOXES)
            except ValueError:
                continue
    except DataError:
        pass
    return found


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text ({error}); remove it or copy it again.") from error


def _label_of(image: Path) -> Path | None:
    """The text file of a picture: in `labels` where the picture lies in `images`, else beside it."""
    parts = list(image.with_suffix(".txt").parts)
    beside = Path(*parts)
    for at in reversed(range(len(parts) - 1)):
        if parts[at].lower() == "images":
            parts[at] = "labels"
            return next((place for place in (Path(*parts), beside) if place.is_file()), None)
    return beside if beside.is_file() else None


def _names(root: Path) -> dict[int, str]:
    """Names by number, from the first YAML file with `names`, else classes.txt; empty when there is neither."""
    for path in sorted((*root.glob("*.yaml"), *root.glob("*.yml")), key=lambda path: (path.stem != "data", path.name)):
        try:
            raw: Any = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
            raise DataError(f"{path} cannot be read as YAML ({error}); mend it.") from error
        names = raw.get("names") if isinstance(raw, Mapping) else None
        if isinstance(names, list):
            return dict(enumerate(str(name).strip() for name in names))
        if isinstance(names, Mapping):
            try:
                return {int(number): str(name).strip() for number, name in names.items()}
            except (TypeError, ValueError) as error:
                raise DataError(f"{path}: names are numbered otherwise than 0: cat ({error}); mend it.") from error
    for path in (root / "classes.txt", root / "labels" / "classes.txt"):
        if path.is_file():
            return dict(enumerate(line.strip() for line in _lines(path)))
    return {}
