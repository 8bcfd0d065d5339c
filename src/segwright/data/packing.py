"""Packs: a data set as a few large tar files that stream from a disk or an object store, and that train as its folder does.

PACK/pack.json            classes, splits, sizes, shards and what the health check found
PACK/train.csv            one line for each picture, in the order of the samples: key, shard, where in it picture and mask lie
PACK/train-00000.tar      the files themselves, as WebDataset writes them: 00000000.image.jpg, 00000000.mask.png, 00000001...

What goes in are the original bytes, or with a training size the decoded pairs of that size (PPM and PGM: a line of header and
the raw bytes). Nothing in a pack is code, and its names are never used as paths on a disk.
"""

from __future__ import annotations

import csv
import io
import json
import re
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, get_args

import numpy as np
from rich.console import Console
from rich.progress import Progress

from segwright.classes import Classes
from segwright.data.health import Health
from segwright.data.layouts import Dataset
from segwright.data.sample import Sample, file_bytes
from segwright.data.shards import address, exists, read_file, url_of
from segwright.errors import DataError, ModelError, OutputError, RecipeError
from segwright.outputs import folder_being_written
from segwright.recipe import DataRecipe, Fit, Recipe

PACK_FILE = "pack.json"
FORMAT, VERSION = "segwright pack", 1
HEAD = ("key", "shard", "image", "image_start", "image_bytes", "mask", "mask_start", "mask_bytes")
"""Columns of a split's list; the last three are empty where there is no mask."""

LARGEST_PACK_FILE, LARGEST_LIST = 64 * 1024**2, 8 * 1024**3
"""Bytes of pack.json and of one list that are read at most."""

_SHARD = re.compile(r"[a-z]{1,20}-\d{5,7}\.tar")
_SPLIT = re.compile(r"[a-z]{1,20}")
_NAME = re.compile(r"(?!\.{1,2}$)[^/\\\x00-\x1f]{1,255}")
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")


@dataclass(frozen=True)
class Packed:
    """What `pack` wrote."""

    pictures: int
    shards: int
    bytes: int


def pack(
    dataset: Dataset,
    health: Health,
    out: Path,
    *,
    decoded: Recipe | None = None,
    shard_mb: int = 256,
    progress: bool = True,
) -> Packed:
    """Write a pack.

    Args:
        dataset: splits, classes and files.
        health: of this data set, not a quick one.
        out: a folder that does not exist or is empty, outside the data set.
        decoded: None packs the files as they are; a recipe with a size packs the pairs of every picture that has a mask,
            decoded and shrunk for that size as its training would do.
        shard_mb: a shard is closed when it has this many megabytes, at least 1.
        progress: show a bar on stderr.

    Raises:
        DataError: the data would spoil a training, is a decoded pack already, or cannot be read.
        OutputError: `out` is taken, lies inside the data set, or cannot be written.
    """
    if dataset.shrunk_to:
        raise DataError(f"{dataset.root} is a decoded pack already; pack the folder it was made from.")
    if health.spoils:
        spoiling = " ".join(f.message for f in health.findings if f.severity == "spoils")
        raise DataError(
            f"{dataset.root} would spoil a training and is not packed: {spoiling} "
            f"Mend it first, for example with: segwright check {dataset.root} --fix OUT"
        )
    if url_of(dataset.root) is None and out.resolve().is_relative_to(dataset.root.resolve()):
        raise OutputError(
            f"{out} lies inside the data set {dataset.root}, which is never changed; name a folder elsewhere."
        )
    classes = Classes(names=dataset.classes.names, colours=dataset.classes.colours) if decoded else dataset.classes
    facts: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "content": "decoded" if decoded else "files",
        "shrunk_to": [*decoded.data.size_hw, decoded.data.fit, decoded.data.turn] if decoded else None,
        "classes": classes.to_dict(),
        "classes_declared": dataset.classes_declared,
        "sizes": [{"height": h, "width": w, "pictures": count} for (h, w), count in health.sizes],
        "splits": {},
        "health": health.to_dict(),
    }
    total = sum(len(samples) for samples in dataset.splits.values())
    with folder_being_written(out) as partial:
        with Progress(transient=True, disable=not progress, console=Console(stderr=True)) as bar:
            task = bar.add_task("packing", total=total)
            for split, samples in dataset.splits.items():
                shards = _Shards(partial, split, shard_mb * 1_000_000)
                with shards, (partial / f"{split}.csv").open("w", encoding="utf-8", newline="") as stream:
                    table = csv.writer(stream, lineterminator="\n")
                    table.writerow(HEAD)
                    for sample, files in zip(samples, _contents(samples, dataset.classes, decoded), strict=True):
                        table.writerow([sample.key, *shards.add(files)])
                        bar.advance(task)
                facts["splits"][split] = {"pictures": len(samples), "shards": shards.written}
        (partial / PACK_FILE).write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    written = [shard for split in facts["splits"].values() for shard in split["shards"]]
    return Packed(total, len(written), sum(shard["bytes"] for shard in written))


def read_pack(root: Path) -> Dataset | None:
    """The data set in a pack, or None where there is no pack.json.

    Args:
        root: a folder, or a URL as a Path.

    Raises:
        DataError: pack.json or a list is not what `pack` writes, or a shard is missing or cut off.
    """
    if not exists(root / PACK_FILE):
        if url_of(root):
            raise DataError(f"{url_of(root)} holds no {PACK_FILE}; from a URL only what segwright pack wrote is read.")
        return None
    try:
        facts = json.loads(_text(root / PACK_FILE, LARGEST_PACK_FILE))
        if facts["format"] != FORMAT or type(facts["version"]) is not int:
            raise ValueError(f"its format is {facts['format']!r}")
        if facts["version"] > VERSION:
            raise DataError(
                f"{root / PACK_FILE} was written by a newer segwright; update with: pip install -U segwright"
            )
        classes = Classes.from_dict(facts["classes"])
        splits = {
            split: _split(root, split, int(part["pictures"]), {str(s["name"]): int(s["bytes"]) for s in part["shards"]})
            for split, part in facts["splits"].items()
        }
        keys = [sample.key for samples in splits.values() for sample in samples]
        if len(set(keys)) != len(keys) or not keys:
            raise ValueError("it lists no pictures, or some of them twice")
        return Dataset(
            root=root,
            layout="pack",
            classes=classes,
            classes_declared=bool(facts["classes_declared"]),
            splits=splits,
            shrunk_to=_shrunk_to(facts["shrunk_to"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, ModelError, csv.Error) as error:
        raise DataError(
            f"{root / PACK_FILE} is not what segwright pack writes ({error}); pack the data again."
        ) from error
    except OSError as error:
        raise DataError(f"{root} cannot be read ({error.strerror or error}); copy the pack again.") from error


def as_packed(recipe: Recipe, dataset: Dataset) -> Recipe:
    """The recipe with the size that the pictures of a decoded pack were shrunk for; any other data set changes nothing.

    Raises:
        RecipeError: another size, fit or turn is asked for.
    """
    if dataset.shrunk_to is None:
        return recipe
    height, width, fit, turn = dataset.shrunk_to
    if recipe.data.patch_size:
        raise RecipeError(
            f"{dataset.root} holds pictures shrunk to {width}x{height}, and --patch-size takes them as they were; pack the data set "
            "again without --decoded."
        )
    wanted, usual = recipe.data, DataRecipe()
    if wanted.width:
        other = (wanted.size_hw, wanted.fit, wanted.turn) != ((height, width), fit, turn)
    else:  # where no size is asked for, only what is not as usual is
        other = wanted.fit not in {fit, usual.fit} or wanted.turn not in {turn, usual.turn}
    if other:
        raise RecipeError(
            f"{dataset.root} holds pictures decoded for --width {width} --height {height} --fit {fit} "
            f"{'--turn' if turn else '--no-turn'}; train with these, or pack the data set again without --decoded."
        )
    return recipe.with_settings(height=height, width=width, fit=fit, turn=turn)


# --- writing -----------------------------------------------------------------------------------------------------------


class _Shards:
    """The tar files of one split; each is closed when it is full."""

    def __init__(self, folder: Path, split: str, full: int) -> None:
        self.folder, self.split, self.full = folder, split, full
        self.written: list[dict[str, Any]] = []
        self.number = self.bytes = 0
        self._stream: IO[bytes] | None = None
        self._writer: Any = None

    def add(self, files: dict[str, tuple[str, bytes]]) -> list[Any]:
        """Append the files of one sample; returns its line in the list, without the key."""
        from webdataset import TarWriter

        if self._writer is None:
            self._stream = self._path.open("wb")
            # Fixed owner and time: packing the same data twice gives the same bytes.
            self._writer = TarWriter(self._stream, encoder=False, mtime=0, user="", group="")
        line: list[Any] = [self._path.name]
        for role in ("image", "mask"):
            name, data = files.get(role, ("", b""))
            if not name:
                line += ["", "", ""]
                continue
            suffix = Path(name).suffix.lower()
            member = f"{role}{suffix}" if _SUFFIX.fullmatch(suffix) else role
            start = self._writer.tarstream.offset + tarfile.BLOCKSIZE
            self._writer.write({"__key__": f"{self.number:08d}", member: data})
            line += [name, start, len(data)]
        self.number += 1
        if self._writer.tarstream.offset >= self.full:
            self._close()
        return line

    def __enter__(self) -> _Shards:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    @property
    def _path(self) -> Path:
        return self.folder / f"{self.split}-{len(self.written):05d}.tar"

    def _close(self) -> None:
        if self._writer is None or self._stream is None:
            return
        self._writer.close()
        self._stream.close()
        self.written.append({"name": self._path.name, "bytes": self._path.stat().st_size})
        self._writer = self._stream = None


def _contents(
    samples: Sequence[Sample], classes: Classes, decoded: Recipe | None
) -> Iterator[dict[str, tuple[str, bytes]]]:
    """What goes into a shard for each sample, in order, read by a few threads ahead: role -> (name, bytes)."""

    def original(sample: Sample) -> dict[str, tuple[str, bytes]]:
        files = {"image": sample.image} | ({"mask": sample.mask} if sample.mask else {})
        try:
            return {role: (path.name, file_bytes(path)) for role, path in files.items()}
        except OSError as error:
            raise DataError(f"{sample.image} cannot be read ({error.strerror}); remove it or copy it again.") from error

    def shrunk_pair(sample: Sample) -> dict[str, tuple[str, bytes]]:
        from segwright.data.loaders import read_shrunk, shrunk_hw

        if decoded is None or sample.mask is None:
            return original(sample)
        image, class_map = read_shrunk(sample, classes, decoded)
        height, width = class_map.shape
        if shrunk_hw(height, width, decoded) != (height, width):
            raise DataError(
                f"{sample.image} is too narrow to be decoded for {decoded.data.width}x{decoded.data.height}; "
                "leave it out, or pack without --decoded."
            )
        return {
            "image": (f"{sample.image.stem}.ppm", netpbm(image)),
            "mask": (f"{sample.mask.stem}.pgm", netpbm(class_map)),
        }

    with ThreadPoolExecutor(4) as pool:
        for start in range(0, len(samples), 16):
            yield from pool.map(original if decoded is None else shrunk_pair, samples[start : start + 16])


def netpbm(pixels: np.ndarray) -> bytes:
    """(H, W, 3) uint8 as PPM, (H, W) uint8 as PGM: one line of header and the raw bytes, which every reader knows."""
    height, width = pixels.shape[:2]
    return f"P{6 if pixels.ndim == 3 else 5} {width} {height} 255\n".encode() + np.ascontiguousarray(pixels).tobytes()


# --- reading -----------------------------------------------------------------------------------------------------------


def _split(root: Path, split: str, pictures: int, shards: dict[str, int]) -> tuple[Sample, ...]:
    if not _SPLIT.fullmatch(split):
        raise ValueError(f"a split is called {split!r}")
    for name, size in shards.items():
        if not _SHARD.fullmatch(name):
            raise ValueError(f"a shard is called {name!r}")
        _require_whole(root / name, size)
    rows = csv.reader(io.StringIO(_text(root / f"{split}.csv", LARGEST_LIST)))
    if tuple(next(rows, ())) != HEAD:
        raise ValueError(f"{split}.csv has other columns")
    samples = tuple(_sample(root, row, shards) for row in rows)
    if len(samples) != pictures:
        raise ValueError(f"{split}.csv lists {len(samples)} pictures instead of {pictures}")
    return samples


def _sample(root: Path, row: list[str], shards: dict[str, int]) -> Sample:
    key, shard, *places = row
    parts = key.split("/")
    # Keys become names of files where predictions are written.
    if shard not in shards or not all(_NAME.fullmatch(part) for part in parts):
        raise ValueError(f"a line for {key!r} in {shard!r}")
    files: list[Path | None] = []
    for name, start, length in (places[:3], places[3:]):
        if not name and files:
            files.append(None)
            continue
        if not _NAME.fullmatch(name) or int(start) < 0 or int(length) < 0 or int(start) + int(length) > shards[shard]:
            raise ValueError(f"the line for {key!r} points outside of {shard}")
        files.append(address(root / shard, int(start), int(length), name))
    image, mask = files
    if image is None:
        raise ValueError(f"the line for {key!r} names no picture")
    return Sample(key, image, mask)


def _require_whole(shard: Path, size: int) -> None:
    """Refuse a shard on a disk that is not there or not whole; behind a URL, reading shows it."""
    if url_of(shard):
        return
    if not shard.is_file():
        raise DataError(f"{shard} is missing; copy the whole pack again.")
    if shard.stat().st_size != size:
        raise DataError(f"{shard} has {shard.stat().st_size} bytes instead of {size}; copy it again.")


def _shrunk_to(raw: Any) -> tuple[int, int, Fit, bool] | None:
    if raw is None:
        return None
    height, width, fit, turn = raw if len(raw) == 4 else (*raw, False)  # packs from before there was a turn say nothing
    wrong_side = type(height) is not int or type(width) is not int or not min(height, width) >= 32
    if fit not in get_args(Fit) or type(turn) is not bool or wrong_side:
        raise ValueError(f"its pictures are said to be {raw!r}")
    return height, width, fit, turn


def _text(path: Path, most: int) -> str:
    if url_of(path) is None and path.stat().st_size > most:
        raise DataError(
            f"{path} is larger than {most // 1024**2} MB, which segwright pack never writes; pack the data again."
        )
    return read_file(path).decode("utf-8")
