"""Cache: decoded pictures in one memory-mapped file that all loading processes and later runs share.

A file's name holds a digest of everything its content follows from - the files with their sizes and times, size, fit and
patches of the training, the class table, the decoders - so that a stale one is never read. It is written beside its place under
a lock and renamed when whole.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import re
import struct
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from segwright.classes import Classes
from segwright.data.sample import Sample
from segwright.data.shards import stamp, url_of
from segwright.errors import OutputError
from segwright.machine import cores_here
from segwright.outputs import file_being_written
from segwright.recipe import Recipe

Pair = tuple[np.ndarray, np.ndarray]
"""Picture (H, W, 3) uint8 and class map (H, W) uint8."""

_MAGIC = b"segwright cache1"
_HEADER = struct.Struct("<16s32sQQ")
"""Magic, digest, pairs, bytes of the whole file."""
_ROW = np.dtype([("offset", "<u8"), ("height", "<u4"), ("width", "<u4")])
"""Of one pair: its picture, then its class map. A height of 0 says that it is not in the file."""

FORGOTTEN_DAYS = 30
"""Files that no run has opened for so long are removed when a new one is written."""


def cache_folder(recipe: Recipe) -> Path:
    """Where caches lie: the recipe's folder, else the user's cache folder."""
    return Path(recipe.data.cache_dir).expanduser() if recipe.data.cache_dir else user_cache_folder()


def user_cache_folder() -> Path:
    """Our folder among the user's caches, as the system has them."""
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"]) / "segwright"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "segwright"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "segwright" / "Cache"
    return Path.home() / ".cache" / "segwright"


def digest_of(samples: Iterable[Sample], *facts: object) -> bytes:
    """32 bytes that change when a file, its time or one of the facts changes."""
    import cv2
    import PIL

    digest = hashlib.blake2b(repr((facts, cv2.__version__, PIL.__version__)).encode(), digest_size=32)
    for sample in samples:
        for path in (sample.image, sample.mask):
            try:
                seen = stamp(path) if path else None
            except OSError:
                seen = None  # reading it will name it
            place = path and (path if url_of(path) else path.absolute())
            digest.update(f"{place}\0{seen}\n".encode())
    return digest.digest()


class DecodedFile:
    """A filled cache. It travels to other processes as its path, and is mapped where it is first used.

    Args:
        path: of a file that `filled` has made or checked.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._map: mmap.mmap | None = None
        self._rows = np.zeros(0, _ROW)

    def __getstate__(self) -> Path:
        return self.path

    def __setstate__(self, path: Path) -> None:
        self.__init__(path)  # type: ignore[misc]

    def __len__(self) -> int:
        """Pairs that are in the file."""
        return int((self._open()[1]["height"] > 0).sum())

    def get(self, index: int) -> Pair | None:
        """The pair of one sample, read-only and not copied; None when it is not in the file."""
        mapped, rows = self._open()
        offset, height, width = (int(number) for number in rows[index])
        if not height:
            return None
        pixels = height * width
        image = np.frombuffer(mapped, np.uint8, 3 * pixels, offset).reshape(height, width, 3)
        return image, np.frombuffer(mapped, np.uint8, pixels, offset + 3 * pixels).reshape(height, width)

    def _open(self) -> tuple[mmap.mmap, np.ndarray]:
        if self._map is None:
            with self.path.open("rb") as stream:
                self._map = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            count = _HEADER.unpack_from(self._map)[2]
            self._rows = np.frombuffer(self._map, _ROW, count, _HEADER.size)
        return self._map, self._rows


def filled(
    samples: Sequence[Sample],
    classes: Classes,
    recipe: Recipe,
    decode: Callable[[int], Pair | None],
    *,
    budget: float,
    name: str,
    progress: bool,
) -> DecodedFile:
    """The cache of these samples, filled now unless an earlier run has done it.

    Args:
        samples: with masks.
        classes: how masks are read.
        recipe: size, fit, patches and folder.
        decode: index -> the pair at the training's scale, or None when it cannot be read.
        budget: bytes, the most that is written; what does not fit is left out.
        name: begins the file's name, for people who look into the folder.
        progress: show a bar on stderr.

    Raises:
        OSError, OutputError: the folder cannot be written, or the disk is full.
    """
    from filelock import FileLock

    folder = cache_folder(recipe)
    data = recipe.data
    digest = digest_of(samples, data.size_hw, data.patch_size, data.fit, data.turn, budget, classes)
    path = folder / f"{re.sub(r'[^A-Za-z0-9_-]', '_', name)[:40]}-{digest.hex()[:24]}.cache"
    folder.mkdir(parents=True, exist_ok=True)
    # Whoever comes second waits, and finds the file whole. The system frees the lock of a process that was killed.
    with FileLock(path.with_suffix(".lock")):
        if not _whole(path, digest, len(samples)):
            _forget(folder)
            with file_being_written(path) as partial:
                _write(partial, len(samples), digest, decode, budget, name, progress)
    os.utime(path)
    return DecodedFile(path)


def remembered(path: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    """An array that an earlier run has computed, or that is computed now and kept where that is possible."""
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (OSError, ValueError, EOFError):
        made = make()
    try:
        with file_being_written(path) as partial:
            np.save(partial, made, allow_pickle=False)
    except OutputError:
        pass  # it will be computed again
    return made


def _whole(path: Path, digest: bytes, count: int) -> bool:
    try:
        with path.open("rb") as stream:
            header = _HEADER.unpack(stream.read(_HEADER.size))
        return header == (_MAGIC, digest, count, path.stat().st_size)
    except (OSError, struct.error):
        return False


def _write(
    partial: Path,
    count: int,
    digest: bytes,
    decode: Callable[[int], Pair | None],
    budget: float,
    name: str,
    progress: bool,
) -> None:
    rows = np.zeros(count, _ROW)
    offset = _HEADER.size + rows.nbytes
    with (
        partial.open("wb") as stream,
        ThreadPoolExecutor(min(cores_here(), 8)) as pool,
        Progress(transient=True, disable=not progress, console=Console(stderr=True)) as bar,
    ):
        stream.seek(offset)
        task = bar.add_task(f"decoding {name}", total=count)
        for start in range(0, count, 32):
            for index, pair in enumerate(pool.map(decode, range(start, min(start + 32, count))), start):
                bar.advance(task)
                if pair is None or offset + pair[1].size * 4 > budget:
                    continue
                rows[index] = (offset, *pair[1].shape)
                for array in pair:
                    stream.write(np.ascontiguousarray(array).data)
                offset += pair[1].size * 4
        stream.seek(0)
        stream.write(_HEADER.pack(_MAGIC, digest, count, offset))
        stream.write(rows.tobytes())
        stream.truncate(offset)


def _forget(folder: Path) -> None:
    """Remove what was not used for a month, and what killed processes left behind a day ago."""
    now = time.time()
    for path in folder.iterdir():
        days = FORGOTTEN_DAYS if path.suffix == ".cache" else 1.0
        try:
            if (path.suffix == ".cache" or ".partial" in path.name) and now - path.stat().st_mtime > days * 86400:
                path.unlink()
        except OSError:
            continue  # another run was faster
