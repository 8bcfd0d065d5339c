"""Polygons of what was found, as annotation tools and trainers read them: COCO, LabelMe and YOLO.

OUT/coco.json              one file for all frames, with areas and boxes
OUT/labelme/KEY.json       one file for each frame, to be opened and corrected in LabelMe
OUT/yolo/labels/KEY.txt    one line for each piece, 0..1; OUT/yolo/data.yaml has the names

Class 0 is no object and has no polygons. Categories are numbered as classes are, YOLO's from 0 for class 1. Holes hang on their
outline by a cut without width. Pictures are named relative to OUT: the file that was read, or frames/KEY.png of a video.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import IO, Any

import yaml

from segwright.classes import Classes
from segwright.data.shards import url_of
from segwright.errors import OutputError
from segwright.outputs import file_being_written, write_text
from segwright.predict.found import Found


class Coco:
    """One coco.json. Its parts wait in two hidden files beside it, so that memory does not grow with the frames.

    Args:
        out: folder.
        classes: of the model.
    """

    def __init__(self, out: Path, classes: Classes) -> None:
        self._path = out / "coco.json"
        self._classes = classes
        self._parts = {name: out / f".coco.{os.getpid()}.{name}.partial" for name in ("images", "annotations")}
        self._files: dict[str, IO[str]] = {}
        self._counts = dict.fromkeys(self._parts, 0)

    def write(self, found: Found) -> None:
        """See `Sink.write`."""
        height, width = found.prediction.class_map.shape
        number = self._counts["images"] + 1
        try:
            self._add("images", {"id": number, "file_name": picture_name(found), "width": width, "height": height})
            for category, pieces in found.pieces.items():
                for piece in pieces:
                    annotation = {
                        "id": self._counts["annotations"] + 1,
                        "image_id": number,
                        "category_id": category,
                        "segmentation": [piece.points.ravel().round(2).tolist()],
                        "area": piece.area,
                        "bbox": list(piece.box_xywh),
                        "iscrowd": 0,
                    }
                    self._add("annotations", annotation)
        except OSError as error:
            raise self._unwritable(error) from error

    def source_ended(self, source: str) -> None:
        """See `Sink.source_ended`."""

    def close(self) -> None:
        """See `Sink.close`."""
        try:
            for file in self._files.values():
                file.close()
            if self._counts["images"]:
                self._join()
        except OSError as error:
            raise self._unwritable(error) from error
        finally:
            for part in self._parts.values():
                part.unlink(missing_ok=True)

    def _join(self) -> None:
        categories = [{"id": n, "name": name} for n, name in enumerate(self._classes.names) if n]
        with file_being_written(self._path) as partial, partial.open("w", encoding="utf-8") as whole:
            whole.write(f'{{"info": {{"description": "predicted by segwright"}},\n"categories": {_json(categories)}')
            for name, part in self._parts.items():
                whole.write(f',\n"{name}": [\n')
                if part.exists():
                    with part.open(encoding="utf-8") as lines:
                        shutil.copyfileobj(lines, whole)
                whole.write("]")
            whole.write("}\n")

    def _add(self, name: str, thing: dict[str, Any]) -> None:
        if name not in self._files:
            self._files[name] = self._parts[name].open("w", encoding="utf-8")
        self._files[name].write(f"{',' if self._counts[name] else ''}{_json(thing)}\n")
        self._counts[name] += 1

    def _unwritable(self, error: OSError) -> OutputError:
        return OutputError(
            f"{self._path} cannot be written ({error.strerror or error}); choose another place or free some space."
        )


class LabelMe:
    """A LabelMe file for each frame.

    Args:
        out: folder.
    """

    def __init__(self, out: Path) -> None:
        self._out = out

    def write(self, found: Found) -> None:
        """See `Sink.write`."""
        height, width = found.prediction.class_map.shape
        path = self._out / "labelme" / f"{found.frame.key}.json"
        picture = self._out / picture_name(found) if found.frame.moving else found.frame.path
        shapes = [
            {
                "label": found.prediction.classes.names[number],
                "points": piece.points.round(2).tolist(),
                "group_id": None,
                "description": f"{piece.area} pixels",
                "shape_type": "polygon",
                "flags": {},
            }
            for number, pieces in found.pieces.items()
            for piece in pieces
        ]
        document = {
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": _relative(picture, path.parent) if picture else f"{found.frame.key}.png",
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        write_text(path, json.dumps(document, ensure_ascii=False, indent=1) + "\n")

    def source_ended(self, source: str) -> None:
        """See `Sink.source_ended`."""

    def close(self) -> None:
        """See `Sink.close`."""


class Yolo:
    """A YOLO segmentation file for each frame; an empty one where nothing was found.

    Args:
        out: folder.
        classes: of the model.
    """

    def __init__(self, out: Path, classes: Classes) -> None:
        self._out = out / "yolo"
        names = dict(enumerate(classes.names[1:]))
        document = {"path": ".", "train": "images", "val": "images", "names": names}
        write_text(self._out / "data.yaml", yaml.safe_dump(document, sort_keys=False, allow_unicode=True))

    def write(self, found: Found) -> None:
        """See `Sink.write`."""
        height, width = found.prediction.class_map.shape
        lines = []
        for number, pieces in found.pieces.items():
            for piece in pieces:
                corners = (piece.points / (width, height)).clip(0.0, 1.0).ravel()
                lines.append(" ".join([str(number - 1), *(f"{value:.6f}" for value in corners)]))
        write_text(self._out / "labels" / f"{found.frame.key}.txt", "".join(f"{line}\n" for line in lines))

    def source_ended(self, source: str) -> None:
        """See `Sink.source_ended`."""

    def close(self) -> None:
        """See `Sink.close`."""


def picture_name(found: Found) -> str:
    """The picture's name: its own file's below its folder, or frames/KEY.png for a frame of a video."""
    if found.frame.moving or found.frame.path is None:
        return f"frames/{found.frame.key}.png"
    key, suffix = found.frame.key, found.frame.path.suffix
    return key if key.endswith(suffix) else f"{key}{suffix}"


def _relative(path: Path, folder: Path) -> str:
    if url_of(path):
        return path.name
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # on another drive of Windows
        return path.name


def _json(thing: Any) -> str:
    return json.dumps(thing, ensure_ascii=False)
