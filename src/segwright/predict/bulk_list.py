"""OUT/predictions.jsonl as the list of what is done: the lines stay on disk, in memory is only where each of them lies."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from segwright.errors import OutputError
from segwright.outputs import file_being_written
from segwright.predict.saving import PICTURES

LINES = "predictions.jsonl"


class DoneList:
    """The list; used in a `with` block.

    A line counts where it is whole and the files it stands for are there: what a power cut tore, or somebody removed, is done again.

    Args:
        out: folder.
        saves: what is written for each picture.

    Raises:
        OutputError: the list cannot be read or written; so may all that follows.
    """

    def __init__(self, out: Path, saves: frozenset[str]) -> None:
        self._out, self._saves, self._path = out, saves, out / LINES
        self._places: dict[str, tuple[int, int]] = {}
        self._end = 0
        self._file: int | None = None
        self.pixels: Counter[str] = Counter()
        """Of each class by its name."""

    def __enter__(self) -> DoneList:
        sound = True
        try:
            with self._path.open("rb") as lines:
                for data in lines:
                    sound = self._take(data) and sound
                    self._end += len(data)
        except FileNotFoundError:
            return self
        except OSError as error:
            raise self._unusable(error) from error
        if not sound:
            self._rewrite(list(self._places))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def add(self, key: str, line: str) -> float:
        """Put a finished picture on the list, at once, so that a stopped run knows it.

        Returns:
            Its milliseconds.
        """
        data, facts = f"{line}\n".encode(), json.loads(line)
        try:
            if self._file is None:
                self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
            os.lseek(self._file, self._end, os.SEEK_SET)
            if os.write(self._file, data) < len(data):
                os.ftruncate(self._file, self._end)
                raise OSError(28, "No space left on device")
        except OSError as error:
            raise self._unusable(error) from error
        self._places[key] = (self._end, len(data))
        self._end += len(data)
        self.pixels.update(facts["pixels"])
        return float(facts["milliseconds"])

    def adopt(self, facts: Mapping[str, Any]) -> None:
        """`add` a line that its worker could not say, where it counts and is not there yet."""
        key = str(facts["key"])
        if key not in self and "pixels" in facts and "milliseconds" in facts and self._is_there(key, facts):
            self.add(key, json.dumps(facts, ensure_ascii=False))

    def files(self, key: str) -> list[Path]:
        """What is written for a picture that fits into memory."""
        files = [self._out / kind / f"{key}.png" for kind in PICTURES if kind in self._saves]
        if "labelme" in self._saves:
            files.append(self._out / "labelme" / f"{key}.json")
        if "yolo" in self._saves:
            files.append(self._out / "yolo" / "labels" / f"{key}.txt")
        return files

    def put_in_order(self, keys: Iterable[str]) -> None:
        """Sort the lines as the pictures are; those of other pictures follow."""
        order = dict.fromkeys(key for key in keys if key in self._places)
        order.update(dict.fromkeys(self._places))
        if list(order) != list(self._places):
            self._rewrite(list(order))

    def _take(self, data: bytes) -> bool:
        """Note a line that is there already; False where it does not count."""
        try:
            facts = json.loads(data)
            key, pixels = str(facts["key"]), {str(name): int(count) for name, count in facts["pixels"].items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            return False
        whole = data.endswith(b"\n") and key not in self._places
        if not whole or not self._is_there(key, facts):
            return False
        self._places[key] = (self._end, len(data))
        self.pixels.update(pixels)
        return True

    def _is_there(self, key: str, facts: Mapping[str, Any]) -> bool:
        # What was too large for memory was written by rows, and only as a class map.
        files = self.files(key) if "largest" in facts else [self._out / "masks" / f"{key}.tif"]
        return all(file.is_file() for file in files)

    def _rewrite(self, order: Sequence[str]) -> None:
        """Write the list anew in an order, without what does not count."""
        self._close()
        places, self._end = self._places, 0
        self._places = {}
        with file_being_written(self._path) as partial, partial.open("wb") as ours, self._path.open("rb") as lines:
            for key in order:
                start, length = places[key]
                lines.seek(start)
                ours.write(lines.read(length))
                self._places[key] = (self._end, length)
                self._end += length

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _unusable(self, error: OSError) -> OutputError:
        return OutputError(
            f"{self._path} cannot be read and written ({error.strerror or error}); choose another place or free some space."
        )
