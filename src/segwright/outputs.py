"""Whole or not at all: files and folders are written beside their place and renamed when complete."""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from segwright.errors import OutputError

DATA_FILE = "data.json"
"""In a run folder: where its data lies on this machine. It never leaves the folder."""


def first_process() -> bool:
    """Whether this process is the one that writes and prints, where several train together.

    Lightning, torchrun and SLURM tell each process its number before it starts.
    """
    number = next((os.environ[name] for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID") if name in os.environ), "0")
    return number == "0"


def write_bytes(path: Path, data: bytes) -> Path:
    """Write a file so that a reader, or a power cut, never meets half of it.

    Raises:
        OutputError: the folder does not exist and cannot be made, no permission, or the disk is full.
    """
    with file_being_written(path) as partial:
        partial.write_bytes(data)
    return path


def write_text(path: Path, text: str) -> Path:
    """`write_bytes` for UTF-8 text."""
    return write_bytes(path, text.encode("utf-8"))


def csv_text(head: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    """A table as the text of a CSV file: a line of names, then a line for each row.

    Args:
        head: names of the columns.
        rows: their values.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue()


@contextmanager
def file_being_written(path: Path) -> Iterator[Path]:
    """Give a partial path beside `path` (same suffix); rename it when the block ends, remove it when the block fails.

    Raises:
        OutputError: as `write_bytes`.
    """
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        _reach_the_disk(partial)
        partial.replace(path)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({error.strerror or error}); choose another place or free some space."
        ) from error
    finally:
        if partial.exists():
            partial.unlink()


def _reach_the_disk(file: Path) -> None:
    """A rename may survive a power cut that the file's content does not, unless the content is flushed first."""
    with file.open("rb") as stream:
        os.fsync(stream.fileno())


@contextmanager
def folder_being_written(out: Path, *, replace: bool = False) -> Iterator[Path]:
    """Give an empty folder beside `out`; rename it to `out` when the block ends, remove it when the block fails.

    Args:
        out: the folder.
        replace: it may hold an older result, which makes room only when the new one is whole.

    Raises:
        OutputError: `out` holds something already and may not be replaced, no permission, or the disk is full.
    """
    # "." and ".." have no name to put a suffix to.
    out = Path(os.path.abspath(out))  # noqa: PTH100 - Path.absolute() keeps ".."
    if not replace:
        require_free(out)
    partial = out.with_name(f"{out.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        if replace and out.exists():
            _swap(partial, out)
        else:
            if out.exists():
                out.rmdir()
            partial.replace(out)
    except OSError as error:
        raise OutputError(
            f"{out} cannot be written ({error.strerror or error}); choose another place or free some space."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _swap(new: Path, old: Path) -> None:
    """Put one folder where another is; a folder cannot be renamed onto one that holds something."""
    aside = old.with_name(f".{old.name}.{os.getpid()}.replaced")
    old.replace(aside)
    try:
        new.replace(old)
    except OSError:
        aside.replace(old)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def require_free(out: Path) -> None:
    """Refuse an output folder that already holds something.

    Raises:
        OutputError: it exists and is not an empty folder.
    """
    try:
        taken = out.exists() and (not out.is_dir() or any(out.iterdir()))
    except OSError as error:
        raise OutputError(f"{out} may not be read ({error.strerror}); choose another place.") from error
    if taken:
        raise OutputError(f"{out} exists already and is not empty; name another folder or remove it.")


def require_writable(folder: Path) -> Path:
    """Make `folder` and prove that files can be written there, before long work begins.

    Raises:
        OutputError: it cannot be made or written to.
    """
    probe = folder / f".{os.getpid()}.probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be written to ({error.strerror or error}); choose another place with --out."
        ) from error
    return folder


@contextmanager
def files_being_written(path: Path, *beside: str) -> Iterator[Path]:
    """`file_being_written` for a file and others that belong to it: all of them, or none.

    Args:
        path: the file that people name.
        beside: suffixes of the others, which have its stem.

    Yields:
        A file of the same name in an empty folder beside `path`; what else is written there is thrown away.

    Raises:
        OutputError: as `write_bytes`.
    """
    folder = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        yield folder / path.name
        finished = [folder / path.with_suffix(suffix).name for suffix in beside] + [folder / path.name]
        for file in finished:
            _reach_the_disk(file)
        # The named one last: whoever finds it finds the others too.
        for file in finished:
            file.replace(path.with_name(file.name))
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({error.strerror or error}); choose another place or free some space."
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
