"""COCO: pictures and outlined objects listed in JSON files become samples whose masks are painted when they are read.

    instances_train.json --one look--> classes, sizes, objects by picture --paint--> mask

A mask holds 0 where no object lies, else the category's id; where an id is 0, everything is one higher. A category called
"background" is 0. Objects are laid over each other by size (`painting.py`), and crowds count like others. A picture with an object that
has a box and no outline has no readable mask: nobody can know which pixels of the box are meant.
"""

from __future__ import annotations

import json
import mmap
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from segwright.data.layouts import ALL, SPLIT_FOLDERS, Dataset, files_with, key_of, with_unique_keys
from segwright.data.painting import BACKGROUNDS, Thing, outlined, painted_address, painted_classes, stacked
from segwright.data.sample import IMAGE_SUFFIXES, MOST_PIXELS, Sample
from segwright.data.shards import stamp
from segwright.errors import DataError
from segwright.masks import from_runs

DEEPEST = 2
"""Folders between the data set's and that of its JSON files."""

MOST_FILES = 40
"""JSON files in one folder; where there are more they describe one picture each and are not COCO."""

LARGEST_VALUE = 65534
"""What a mask of 16 bits can hold, less the ignored value."""


@dataclass(frozen=True)
class CocoFile:
    """One file of annotations, after one look. Objects wait as text: as Python's own lists they would take ten times the memory."""

    path: Path
    values: Mapping[int, int]
    """Category id -> value in masks."""
    names: Mapping[int, str]
    """Value -> name, of the categories that some object has."""
    pictures: Mapping[str, tuple[str, int, int]]
    """Picture's id -> file name, height, width."""
    objects: Mapping[str, bytes]
    """Picture's id -> JSON of [category, segmentation] of each object."""


def read_coco(root: Path) -> Dataset | None:
    """The data set that COCO files below a folder describe, or None when there are none.

    Args:
        root: folder of JSON files and pictures, both at any place below it.

    Raises:
        DataError: a file cannot be understood, has no outlines, contradicts another, or none of its pictures is there.
    """
    found = _files(root)
    if not found:
        return None
    pictures: defaultdict[str, list[Path]] = defaultdict(list)
    for path in files_with(root, IMAGE_SUFFIXES):
        pictures[path.name].append(path)
    splits: dict[str, tuple[Sample, ...]] = {}
    lost: list[Path] = []
    rows: dict[int, str] = {}
    for split, paths in found.items():
        samples: dict[Path, Sample] = {}
        for path in paths:
            file = coco_file(path)
            _require_agreement(file, rows)
            rows |= file.names
            for number, (name, _, _) in file.pictures.items():
                image = _picture(name, pictures, path, split)
                mask = painted_address(path, "coco", number, Path(name).stem)
                if image is None:
                    lost.append(mask)
                    continue
                other = samples.get(image)
                if other is not None and other.mask is not None:
                    raise DataError(
                        f"{image} is listed twice, in {other.mask.parents[1]} and in {path}; remove one of the two."
                    )
                samples[image] = Sample(key_of(image, root), image, mask)
        splits[split] = tuple(sorted(samples.values(), key=lambda sample: (sample.key, sample.image.as_posix())))
    first = next(iter(found.values()))[0]
    if not any(splits.values()):
        raise DataError(f"None of the pictures that {first} lists lies below {root}; put them there.")
    if not rows:
        raise DataError(f"{first} has no object with an outline; segmentation needs polygons or masks, not boxes.")
    return Dataset(
        root=root,
        layout="coco",
        classes=painted_classes(rows),
        classes_declared=True,
        splits=with_unique_keys(root, splits),
        orphan_masks=tuple(lost),
    )


def paint_coco(source: Path, number: str) -> np.ndarray:
    """The mask of one picture.

    Args:
        source: COCO file.
        number: the picture's id.

    Returns:
        (H, W) uint16 as the module says.

    Raises:
        DataError: the file lists no such picture, or one of its objects cannot be painted.
    """
    file = coco_file(source)
    if number not in file.pictures:
        raise DataError(f"{source} no longer lists the picture {number}; run the command again.")
    name, height, width = file.pictures[number]
    things = []
    for at, (category, segmentation) in enumerate(json.loads(file.objects.get(number, b"[]")), start=1):
        try:
            things.append(Thing(file.values[category], _mask(segmentation, (height, width))))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{source}: object {at} of {name} cannot be painted ({error}); mend or remove it where it was drawn."
            ) from error
    return stacked(things, (height, width))


def coco_file(path: Path) -> CocoFile:
    """A file of annotations; looked at once in a process, as long as it does not change.

    Raises:
        DataError: it cannot be read, or is not COCO's.
    """
    try:
        return _looked_at(path, stamp(path))
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); give yourself read permission.") from error


@lru_cache(maxsize=16)
def _looked_at(path: Path, _: tuple[int, int]) -> CocoFile:
    try:
        raw = json.loads(path.read_bytes())
        categories = {int(entry["id"]): str(entry["name"]).strip() for entry in raw["categories"]}
        pictures = {str(entry["id"]): _listed(entry) for entry in raw["images"]}
        objects: defaultdict[str, list[Any]] = defaultdict(list)
        for entry in raw["annotations"]:
            objects[str(entry["image_id"])].append([int(entry["category_id"]), entry.get("segmentation") or None])
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        what = f"has no {error}" if isinstance(error, KeyError) else f"cannot be understood ({error})"
        raise DataError(f"{path} {what}, so it is not a whole COCO file; export it again.") from error
    values = _values(path, categories)
    used = {category for things in objects.values() for category, segmentation in things if segmentation}
    unknown = sorted(used - values.keys())
    if unknown:
        raise DataError(f"{path} has objects of category {unknown[0]}, which it does not name; export it again.")
    return CocoFile(
        path=path,
        values=values,
        names={values[category]: categories[category] for category in sorted(used)},
        pictures=pictures,
        objects={number: json.dumps(things, separators=(",", ":")).encode() for number, things in objects.items()},
    )


def _listed(entry: Mapping[str, Any]) -> tuple[str, int, int]:
    name, height, width = str(entry["file_name"]).replace("\\", "/"), int(entry["height"]), int(entry["width"])
    if height < 1 or width < 1 or height * width > MOST_PIXELS:
        raise ValueError(f"{name} is {width}x{height} pixels")
    return name, height, width


def _values(path: Path, categories: Mapping[int, str]) -> dict[int, int]:
    named = {category for category, name in categories.items() if name.lower() not in BACKGROUNDS}
    higher = 1 if 0 in named else 0
    values = {category: category + higher if category in named else 0 for category in categories}
    strange = sorted(value for value in values.values() if not 0 <= value <= LARGEST_VALUE)
    if strange:
        raise DataError(f"{path} has the category {strange[0] - higher}; number categories from 0 or 1 on.")
    return values


def _mask(segmentation: Any, size_hw: tuple[int, int]) -> np.ndarray:
    if segmentation is None:
        raise ValueError("it has a box and no outline")
    if isinstance(segmentation, Mapping):
        if [int(side) for side in segmentation["size"]] != list(size_hw):
            raise ValueError(f"it was drawn for {segmentation['size']}, the picture is {list(size_hw)} high and wide")
        return from_runs(segmentation["counts"], size_hw)
    rings = [segmentation] if segmentation and not isinstance(segmentation[0], list) else segmentation
    if any(len(ring) % 2 for ring in rings):
        raise ValueError("an outline has an odd number of coordinates")
    return outlined((np.asarray(ring, np.float64).reshape(-1, 2) for ring in rings), size_hw)


# --- files and pictures ------------------------------------------------------------------------------------------------


def _files(root: Path) -> dict[str, list[Path]]:
    """COCO files of each split, in the usual order of splits."""
    candidates = [path for path in _json_files(root) if _is_coco(path)]
    # Beside instances_train.json lie captions, key points and stuff of the same pictures.
    instances = [path for path in candidates if path.stem.lower().startswith("instances")]
    found: defaultdict[str, list[Path]] = defaultdict(list)
    for path in instances or candidates:
        found[_split_of(path, root)].append(path)
    if len(found) > 1:
        found.pop(ALL, None)
    return {split: found[split] for split in (*SPLIT_FOLDERS, ALL) if split in found}


def _json_files(root: Path) -> Iterator[Path]:
    by_folder: defaultdict[Path, list[Path]] = defaultdict(list)
    for path in files_with(root, {".json"}):
        if len(path.relative_to(root).parts) <= DEEPEST + 1:
            by_folder[path.parent].append(path)
    for paths in by_folder.values():
        if len(paths) <= MOST_FILES:
            yield from paths


def _is_coco(path: Path) -> bool:
    """Whether the words of COCO's objects stand in a file; panoptic files, whose masks are pictures, say it otherwise."""
    try:
        if not path.stat().st_size:
            if path.stem.lower().startswith("instances") or "coco" in path.stem.lower():
                raise DataError(f"{path} is empty (0 bytes); export it again, or remove it.")
            return False
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as text:
            words = (b'"images"', b'"annotations"', b'"categories"')
            return all(text.find(word) >= 0 for word in words) and text.find(b'"segments_info"') < 0
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); give yourself read permission.") from error


def _split_of(path: Path, root: Path) -> str:
    """The split that the file's name speaks of, else a folder's above it."""
    for part in reversed(path.relative_to(root).with_suffix("").parts):
        words = _words(part)
        for split, names in SPLIT_FOLDERS.items():
            if words & set(names):
                return split
    return ALL


def _words(name: str) -> set[str]:
    return set(re.split(r"[^a-z]+", name.lower()))


def _picture(name: str, pictures: Mapping[str, list[Path]], source: Path, split: str) -> Path | None:
    """The picture that a file name means: of that name, its folders too if possible, in a folder of the split, near the file."""

    def strangeness(path: Path) -> tuple[bool, bool, int]:
        folders = set[str]().union(*map(_words, path.parts[:-1]))
        beside = os.path.commonpath([path, source])
        return (
            not path.as_posix().endswith("/" + name.lstrip("./")),
            split != ALL and not folders & set(SPLIT_FOLDERS[split]),
            -len(beside),
        )

    return min(pictures.get(Path(name).name, ()), key=strangeness, default=None)


def _require_agreement(file: CocoFile, rows: Mapping[int, str]) -> None:
    for value, name in file.names.items():
        if rows.get(value, name) != name:
            raise DataError(
                f"{file.path} has {name!r} where another file has {rows[value]!r} among its categories; "
                "export all parts of the data with the same ones."
            )
