"""LabelMe: a JSON file of shapes for each picture becomes a mask that is painted when it is read.

    a.jpg   a.json: {"imagePath": "a.jpg", "shapes": [{"label": "card", "shape_type": "polygon", "points": [[x, y], ...]}, ...], ...}

A mask holds 0 where nothing lies, else the place of the label among all labels of the data set, from 1 on. `__ignore__` is
ignored, `_background_` is 0, as LabelMe's own converters take them. Shapes are laid over each other by size (`painting.py`). Lines and
points cover no pixels and make a mask unreadable.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from segwright.classes import IGNORED, MOST_CLASSES
from segwright.data.layouts import Dataset, files_with
from segwright.data.painting import BACKGROUNDS, FARTHEST, Thing, outlined, painted_address, painted_classes, stacked
from segwright.data.sample import IMAGE_SUFFIXES, MOST_PIXELS, Sample, with_masks
from segwright.errors import DataError

IGNORE = "__ignore__"
LARGEST_FILE = 512 * 1024 * 1024
"""Bytes; LabelMe puts the picture itself into its files, if asked to, but not a larger one."""
CORNERS = 64
"""Of the polygon that stands for a circle."""


class Note(NamedTuple):
    """What one look at a file found."""

    source: Path
    picture: Path
    labels: frozenset[str]


def read_labelme(root: Path, splits: Mapping[str, tuple[Sample, ...]]) -> Dataset | None:
    """The data set of pictures some of which have a LabelMe file, or None when none has.

    Args:
        root: the data set's folder; the files lie anywhere below it, and name their pictures.
        splits: its pictures, as they are divided on disk.

    Raises:
        DataError: a file cannot be read, or nothing has a label.
    """
    with ThreadPoolExecutor(4) as pool:
        notes = [note for note in pool.map(_note, files_with(root, {".json"})) if note is not None]
    pictures = {sample.image for part in splits.values() for sample in part}
    by_picture = {note.picture: note for note in notes if note.picture in pictures}
    if not notes:
        return None
    if not by_picture:
        raise DataError(
            f"{notes[0].source} is LabelMe's note of {notes[0].picture}, which is not among the pictures below {root}; put them there."
        )
    labels = sorted({label for note in by_picture.values() for label in note.labels} - BACKGROUNDS - {IGNORE})
    if not labels:
        raise DataError(f"{notes[0].source} and the other LabelMe files have no shape with a label; draw some.")
    if len(labels) >= MOST_CLASSES:
        raise DataError(
            f"The LabelMe files below {root} have {len(labels)} labels, more than {MOST_CLASSES - 1}; merge some."
        )
    masks = {
        image: painted_address(note.source, "labelme", "\n".join(labels), image.stem)
        for image, note in by_picture.items()
    }
    return Dataset(
        root=root,
        layout="labelme",
        classes=painted_classes(dict(enumerate(labels, start=1))),
        classes_declared=True,
        splits=with_masks(splits, masks),
    )


def paint_labelme(source: Path, labels: str) -> np.ndarray:
    """The mask that a file describes.

    Args:
        source: the file.
        labels: of the data set, one in a line.

    Returns:
        (H, W) uint16 as the module says.

    Raises:
        DataError: the file, or a shape in it, cannot be read.
    """
    values = {label: number for number, label in enumerate(labels.split("\n"), start=1)} | {IGNORE: IGNORED}
    raw = _table(source, _bytes(source))
    try:
        size_hw = int(raw["imageHeight"]), int(raw["imageWidth"])
        if min(size_hw) < 1 or size_hw[0] * size_hw[1] > MOST_PIXELS:
            raise ValueError(f"{size_hw[1]}x{size_hw[0]} pixels")
        shapes = list(raw["shapes"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{source} does not say how large its picture is ({error}); save it again in LabelMe."
        ) from error
    things = []
    for at, shape in enumerate(shapes, start=1):
        try:
            label = _plain(str(shape["label"]))
            if label not in values and label.lower() not in BACKGROUNDS:
                raise ValueError(f"its label {label!r} is new; run the command again")
            things.append(Thing(values.get(label, 0), _mask(shape, size_hw)))
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise DataError(
                f"{source}: shape {at} cannot be painted ({error}); mend or remove it in LabelMe."
            ) from error
    return stacked(things, size_hw)


def _mask(shape: Mapping[str, Any], size_hw: tuple[int, int]) -> np.ndarray:
    kind = str(shape.get("shape_type") or "polygon")
    points = np.asarray(shape["points"], np.float64).reshape(-1, 2)
    if not (np.abs(points) < FARTHEST).all():
        raise ValueError("it has points that are no places in a picture")
    if kind == "polygon":
        return outlined([points], size_hw)
    if kind == "rectangle":
        (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
        return outlined([np.array([[left, top], [right, top], [right, bottom], [left, bottom]])], size_hw)
    if kind == "circle" and len(points) == 2:
        turns = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
        radius = float(np.hypot(*(points[1] - points[0])))
        return outlined([points[0] + radius * np.stack([np.cos(turns), np.sin(turns)], axis=1)], size_hw)
    if kind == "mask" and len(points) == 2:
        return _pasted(str(shape["mask"]), points, size_hw)
    raise ValueError(f"a {kind} covers no pixels")


def _pasted(text: str, points: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """A picture of a mask inside its box, whose last row and column belong to it."""
    left, top = (int(value) for value in points[0].round())
    try:
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=("PNG",)) as picture:
            if picture.width > size_hw[1] or picture.height > size_hw[0]:
                raise ValueError("its mask is larger than the picture")
            inside = np.asarray(picture.convert("L")) > 0
    except (UnidentifiedImageError, SyntaxError) as error:
        raise ValueError("its mask is no PNG") from error
    if left < 0 or top < 0 or top + inside.shape[0] > size_hw[0] or left + inside.shape[1] > size_hw[1]:
        raise ValueError("its mask reaches out of the picture")
    mask = np.zeros(size_hw, bool)
    mask[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    return mask


def _note(path: Path) -> Note | None:
    """What a JSON file says about its picture, or None where it is not LabelMe's.

    One that is cut off belongs to the picture of its name, and is found again when its mask is to be painted.
    """
    text = _bytes(path)
    if b'"shapes"' not in text:
        return None
    try:
        raw = _table(path, text)
    except DataError:
        beside = (path.with_suffix(suffix) for suffix in sorted(IMAGE_SUFFIXES))
        return next((Note(path, picture, frozenset()) for picture in beside if picture.is_file()), None)
    shapes, name = raw.get("shapes"), raw.get("imagePath")
    if not isinstance(shapes, list) or not isinstance(name, str):
        return None
    return Note(path, _picture(path, name), frozenset(_labels(shapes)))


def _labels(shapes: list[Any]) -> Iterator[str]:
    for shape in shapes:
        if isinstance(shape, Mapping) and isinstance(shape.get("label"), str):
            label = _plain(shape["label"])
            yield label.lower() if label.lower() in BACKGROUNDS else label


def _plain(label: str) -> str:
    """Without white space around it, and no line feeds: labels stand in lines."""
    return " ".join(label.split())


def _picture(path: Path, name: str) -> Path:
    """The picture that a file means. It is only compared with those of the data set, never opened for the name's sake."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in {"", "."}]
    folder = path.parent
    while parts and parts[0] == "..":
        folder, parts = folder.parent, parts[1:]
    return folder.joinpath(*parts)


def _bytes(path: Path) -> bytes:
    """All of a file; of one that is too large to be LabelMe's, nothing."""
    try:
        return path.read_bytes() if path.stat().st_size <= LARGEST_FILE else b""
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); give yourself read permission.") from error


def _table(path: Path, text: bytes) -> dict[str, Any]:
    try:
        raw = json.loads(text)
        if not isinstance(raw, dict):
            raise ValueError("it is not a table")
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no whole JSON file ({error}); save it again, or remove it.") from error
    return raw
