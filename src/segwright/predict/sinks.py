"""Where predictions go: class maps, colour masks, overlays and contours as PNG, and one line of JSON for each picture.

OUT/masks/KEY.png      grey, class numbers        OUT/frames/KEY.png      the picture itself, as it was looked at
OUT/colours/KEY.png    RGB, class colours         OUT/classes.csv         what the numbers mean
OUT/overlays/KEY.png   the picture, tinted        OUT/predictions.jsonl   key, size, milliseconds, areas, largest pieces
OUT/contours/KEY.png   the picture, outlined

Every file is whole or absent, also after Ctrl-C; predictions.jsonl grows by whole lines.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from segwright.errors import OutputError
from segwright.predict.found import Found, describe
from segwright.predict.frame import Frame
from segwright.predict.predictor import Prediction
from segwright.render import write_png

__all__ = ["JsonLines", "Pictures", "Sink", "describe", "write_prediction"]

LONGEST_LINE = 1 << 24
"""Bytes at the end of an earlier run's lines that are searched for the end of the last whole one."""


class Sink(Protocol):
    """A place for results."""

    def write(self, found: Found) -> None:
        """Take what was found in one frame.

        Raises:
            OutputError: the place cannot be written.
        """

    def source_ended(self, source: str) -> None:
        """Nothing more will come from this source."""

    def close(self) -> None:
        """Finish what is unfinished; called once, also after Ctrl-C or when something went wrong."""


class Pictures:
    """Pictures of each frame as PNG.

    Args:
        out: folder.
        kinds: of "masks", "colours", "overlays", "contours" and "frames".
        moving: whether frames of videos and streams are written too.
    """

    def __init__(self, out: Path, kinds: frozenset[str], *, moving: bool = True) -> None:
        self._out, self._kinds, self._moving = out, kinds, moving

    def write(self, found: Found) -> None:
        """See `Sink.write`."""
        if found.frame.moving and not self._moving:
            return
        for kind in sorted(self._kinds):
            write_png(self._out / kind / f"{found.frame.key}.png", self._picture(kind, found))

    def source_ended(self, source: str) -> None:
        """See `Sink.source_ended`."""

    def close(self) -> None:
        """See `Sink.close`."""

    def _picture(self, kind: str, found: Found) -> NDArray[np.uint8]:
        if kind == "masks":
            return found.prediction.class_map
        if kind == "frames":
            return found.frame.image
        return found.drawn({"overlays": "overlay", "contours": "contours", "colours": "colours"}[kind])  # type: ignore[arg-type]


class JsonLines:
    """One line of JSON for each frame, in OUT/predictions.jsonl; whoever reads along meets whole lines only.

    Args:
        out: folder; the file is made with the first line.
        go_on: put lines behind those of an earlier run, as after the restart of what watches a camera for weeks; else the file
            is replaced.
    """

    def __init__(self, out: Path, *, go_on: bool = False) -> None:
        self._path, self._go_on = out / "predictions.jsonl", go_on
        self._file: int | None = None

    def write(self, found: Found) -> None:
        """See `Sink.write`."""
        line = (json.dumps(found.line, ensure_ascii=False) + "\n").encode("utf-8")
        try:
            if self._file is None:
                self._file = self._open()
            end = os.lseek(self._file, 0, os.SEEK_END)
            if os.write(self._file, line) < len(line):
                os.ftruncate(self._file, end)
                raise OSError(28, "No space left on device")
        except OSError as error:
            raise OutputError(
                f"{self._path} cannot be written ({error.strerror or error}); choose another place or free some space."
            ) from error

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
        # Appending also when somebody empties the file meanwhile, as logrotate does.
        file = os.open(self._path, flags | (os.O_APPEND if self._go_on else os.O_TRUNC), 0o666)
        end = os.lseek(file, 0, os.SEEK_END)
        tail = os.lseek(file, max(end - LONGEST_LINE, 0), os.SEEK_SET)
        last = os.read(file, end - tail)
        if not last.endswith(b"\n") and end:  # a power cut left half a line
            os.ftruncate(file, tail + last.rfind(b"\n") + 1)
        return file

    def source_ended(self, source: str) -> None:
        """See `Sink.source_ended`."""

    def close(self) -> None:
        """See `Sink.close`."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def write_prediction(prediction: Prediction, image: NDArray[np.uint8], out: Path) -> None:
    """Class map, colour mask and overlay of one picture, named by the prediction's key.

    Args:
        prediction: with its key.
        image: (H, W, 3) uint8 RGB, the picture it belongs to.
        out: folder.

    Raises:
        OutputError: `out` cannot be written.
    """
    frame = Frame(image=image, key=prediction.key, source="pictures")
    Pictures(out, frozenset({"masks", "colours", "overlays"})).write(Found(frame, prediction, prediction.classes))
