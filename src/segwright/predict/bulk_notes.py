"""Notes of workers: which pictures of a block were begun, and what came of each; they outlive the worker that wrote them.

One file for each block in OUT/.notes, in rows of JSON: null where a try begins, a key where a picture is begun, and its line of
predictions.jsonl where it is finished. So nothing that was finished is done again, whoever was killed; and a picture at which workers
die is given up, which would else be handed to one after another for ever.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections import Counter
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any

from segwright.data.sample import Sample
from segwright.data.shards import spelled
from segwright.errors import DataError, OutputError
from segwright.predict.bulk_list import DoneList

FOLDER = ".notes"

DEATHS = 2
"""So many workers may die at a picture."""


class Notes:
    """Of one block; used in a `with` block by the worker that has it.

    Args:
        out: folder.
        first: key of the block's first picture.

    Raises:
        OutputError: the folder cannot be written; so may all that follows.
    """

    def __init__(self, out: Path, first: str) -> None:
        self.name = hashlib.sha256(first.encode()).hexdigest()[:32]
        self._path = out / FOLDER / self.name
        self.finished: dict[str, str] = {}
        """Key -> line of what an earlier try finished."""

    def __enter__(self) -> Notes:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
        try:
            self._path.parent.mkdir(exist_ok=True)
            self._file = os.open(self._path, flags, 0o666)
        except OSError as error:
            raise self._unwritable(error) from error
        rows = _rows(self._path)
        self._deaths = _deaths(rows)
        self.finished = {row["key"]: json.dumps(row, ensure_ascii=False) for row in rows if isinstance(row, dict)}
        self._write("null")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)

    def begin(self, sample: Sample) -> None:
        """Say that a picture is begun.

        Raises:
            DataError: workers died at it.
        """
        if self._deaths[sample.key] >= DEATHS:
            raise DataError(
                f"{spelled(sample.image)} ended {DEATHS} workers, by too little memory or a fault in a library; look at it alone."
            )
        self._write(json.dumps(sample.key))

    def finish(self, line: str) -> None:
        """Say that a picture is finished, with its line."""
        self._write(line)

    def _write(self, row: str) -> None:
        try:
            os.write(self._file, f"{row}\n".encode())
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> OutputError:
        return OutputError(
            f"{self._path} cannot be written ({error.strerror or error}); choose another place or free some space."
        )


def take_over(out: Path, done: DoneList) -> None:
    """Put on the list what workers finished and could not say, remove half-written files of those that were killed, and the notes.

    Raises:
        OutputError: the list cannot be written.
    """
    for path in sorted((out / FOLDER).glob("*")):
        begun = set()
        for row in _rows(path):
            if isinstance(row, str):
                begun.add(row)
            elif isinstance(row, dict):
                begun.discard(row["key"])
                done.adopt(row)
        for file in (file for key in begun for file in done.files(key)):
            for partial in _partials(file):
                with contextlib.suppress(OSError):
                    partial.unlink()
    shutil.rmtree(out / FOLDER, ignore_errors=True)


def forget_block(out: Path, name: str) -> None:
    """Remove the notes of a block whose answers have all come."""
    with contextlib.suppress(OSError):
        (out / FOLDER / name).unlink()


def _rows(path: Path) -> list[Any]:
    """What is noted; a row that a power cut tore is none."""
    rows: list[Any] = []
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return rows
    for line in lines:
        with contextlib.suppress(ValueError):
            row = json.loads(line)
            if row is None or isinstance(row, str) or (isinstance(row, dict) and isinstance(row.get("key"), str)):
                rows.append(row)
    return rows


def _deaths(rows: list[Any]) -> Counter[str]:
    """How often each picture was what a try ended with."""
    ends = [row for row, after in pairwise([*rows, None]) if after is None]
    return Counter(row for row in ends if isinstance(row, str))


def _partials(file: Path) -> list[Path]:
    """What `outputs.file_being_written` leaves when its process is killed."""
    try:
        names = os.listdir(file.parent)  # noqa: PTH208 - names are enough, and there may be a million
    except OSError:
        return []
    start = f".{file.stem}."
    return [file.parent / name for name in names if name.startswith(start) and ".partial" in name]
