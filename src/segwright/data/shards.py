"""Shards: addresses of files inside tar files, such as PACK/train-00000.tar/@1536+48211/a.png, and how their bytes are read.

An address is a Path that no disk knows. It says itself where its bytes lie, so that nothing is looked up and a process reads
no more than what it is asked for. The tar file lies on a disk, or behind a URL that fsspec reads by ranges (s3, gs, http);
a URL is a Path too, whose double slash got lost: `s3:/bucket/pack`. Masks painted from annotations have addresses of the same
kind (`painting.py`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from segwright.data.painting import painted
from segwright.errors import DataError, MissingExtraError

EXTRA_OF = {"s3": ("s3fs", "s3"), "s3a": ("s3fs", "s3"), "gs": ("gcsfs", "gs"), "gcs": ("gcsfs", "gs")}
"""Scheme of a URL -> library that fsspec needs for it, and the extra of segwright that brings it."""

_INSIDE = re.compile(r"(?P<shard>.+\.tar)/@(?P<start>\d{1,15})\+(?P<length>\d{1,10})/[^/]+")
_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9]+):/+(?P<rest>.+)", re.DOTALL)


class Inside(NamedTuple):
    """Where the bytes of an address lie."""

    shard: Path
    start: int
    """First byte."""
    length: int
    """Bytes."""


def address(shard: Path, start: int, length: int, name: str) -> Path:
    """The address of `length` bytes from `start` on in a tar file; `name` is the file's own, for messages."""
    return shard / f"@{start}+{length}" / name


def inside(path: Path) -> Inside | None:
    """What an address says, or None for an ordinary file."""
    found = _INSIDE.fullmatch(path.as_posix()) if "@" in path.parent.name else None
    return Inside(Path(found["shard"]), int(found["start"]), int(found["length"])) if found else None


def url_of(path: Path) -> str | None:
    """The URL that a Path was made from, or None for a place on this machine's disks."""
    found = _URL.fullmatch(path.as_posix())
    # A folder may be called "s3:" all the same; what exists is meant.
    if found is None or Path(path.parts[0]).exists():
        return None
    return f"{found['scheme']}://{'/' if found['scheme'] == 'file' else ''}{found['rest']}"


def spelled(path: Path) -> str:
    """An address as it was given, for messages: a Path makes one slash of two."""
    return url_of(path) or str(path)


def read_file(path: Path) -> bytes:
    """All bytes of a file, wherever it lies: on a disk, inside a shard, behind a URL.

    Raises:
        OSError: as any file may, where it lies on a disk.
        DataError: a URL that does not answer, or a shard that ends too early.
        MissingExtraError: the library for such URLs is not installed.
    """
    place = inside(path)
    shard, start, length = place or Inside(path, 0, -1)
    url = url_of(shard)
    if url is not None:
        data = _fetched(url, start, length)
    else:
        with shard.open("rb", buffering=0) as stream:
            stream.seek(start)
            data = stream.read(length)
    if place and len(data) != length:
        raise DataError(f"{path} is cut off: {shard} ends before it; copy that file again.")
    return data


def exists(path: Path) -> bool:
    """Whether there is a file, on a disk or behind a URL.

    Raises:
        DataError: the URL's server cannot be asked.
    """
    url = url_of(path)
    if url is None:
        return path.is_file()
    files, place = _file_system(url)
    try:
        files.cat_file(place, start=0, end=1)  # isfile() answers no where nobody answers
        return True
    except FileNotFoundError:
        return False
    except Exception as error:
        raise DataError(_unreachable(url, error)) from error


def files_below(folder: Path) -> list[Path]:
    """Every file below a URL, hidden ones left out, sorted.

    Raises:
        DataError: the URL's server cannot be asked, or there is nothing.
    """
    url = url_of(folder) or folder.as_posix()
    files, place = _file_system(url)
    try:
        found = files.find(place)
    except Exception as error:  # every kind of server has errors of its own
        raise DataError(_unreachable(url, error)) from error
    if not found:
        raise DataError(f"There is nothing below {url}; check the address.")
    root = place.rstrip("/")
    inner = [str(name).removeprefix(root).lstrip("/") for name in found]
    seen = [name for name in inner if name and not any(part.startswith(".") for part in name.split("/"))]
    return [folder / name for name in sorted(seen)] if inner != [""] else [folder]


def stamp(path: Path) -> tuple[int, int]:
    """Size in bytes and time of the last change in nanoseconds (0 behind a URL): what tells an old cache from a new one.

    Those of a mask that is painted are those of its annotations.

    Raises:
        OSError: there is no such file.
    """
    place = inside(path)
    if url_of(path) is not None:
        return (place.length if place else -1), 0
    drawn = painted(path)
    facts = (place.shard if place else drawn.source if drawn else path).stat()
    return (place.length if place else facts.st_size), facts.st_mtime_ns


def _fetched(url: str, start: int, length: int) -> bytes:
    files, place = _file_system(url)
    try:
        if length < 0:
            return bytes(files.cat_file(place))
        return bytes(files.cat_file(place, start=start, end=start + length)) if length else b""
    except Exception as error:  # every kind of server has errors of its own
        raise DataError(_unreachable(url, error)) from error


def _file_system(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    try:
        files, place = url_to_fs(url)
    except ImportError as error:
        scheme = url.partition(":")[0]
        library, extra = EXTRA_OF.get(scheme, (f"fsspec's library for {scheme}://", "s3"))
        raise MissingExtraError(library, extra) from error
    except Exception as error:
        raise DataError(_unreachable(url, error)) from error
    return files, place


def _unreachable(url: str, error: Exception) -> str:
    return (
        f"{url} cannot be read ({type(error).__name__}: {error}); check the address, the network and your credentials."
    )
