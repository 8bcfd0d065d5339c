"""Packs and caches: two libraries that write shards, and what a pack and each cache are worth to the training's data path.

    python benchmarks/packing.py DATA [--width 480] [--height 352] [--work DIR]

Needs litdata beside what segwright needs. Every number is the median of several rounds, in which all ways take turns;
rates are per second of CPU time, because other work on the machine would decide the others.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tables

import segwright
from segwright.data.layouts import Dataset, find_dataset
from segwright.data.loaders import Pairs, Splits
from segwright.data.order import Draw
from segwright.data.shards import inside, read_file
from segwright.recipe import Recipe

ROUNDS = 5
OURS = "torch", "torchvision", "lightning", "numpy", "pyyaml", "filelock"
"""What segwright needs anyway, with everything below it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--width", type=int, default=480)
    parser.add_argument("--height", type=int, default=352)
    parser.add_argument("--work", type=Path, default=Path("runs/packing"))
    options = parser.parse_args()
    shutil.rmtree(options.work, ignore_errors=True)
    options.work.mkdir(parents=True)
    recipe = Recipe().with_settings(
        width=options.width, height=options.height, cache_dir=str(options.work / "cache"), cache_gb=8.0
    )
    libraries(find_dataset(options.data), options.work)
    data_paths(options.data, recipe, options.work)


# --- which library -----------------------------------------------------------------------------------------------------


def libraries(dataset: Dataset, work: Path) -> None:
    """Write and read the same files with both libraries."""
    samples = [s for part in dataset.splits.values() for s in part if s.mask]
    files = [(read_file(s.image), read_file(s.mask)) for s in samples if s.mask]
    order = np.random.default_rng(0).permutation(len(files)).tolist()
    written: dict[str, list[float]] = {"webdataset": [], "litdata": []}
    random: dict[str, list[float]] = {"webdataset": [], "litdata": []}
    stream: dict[str, list[float]] = {"webdataset": [], "litdata": []}
    starts: dict[str, list[float]] = {"webdataset": [], "litdata": []}
    writers = {"webdataset": write_webdataset, "litdata": write_litdata}
    for number in range(ROUNDS):
        for name, write in writers.items():
            folder = work / f"{name}-{number}"
            written[name].append(seconds(lambda write=write, folder=folder: write(files, folder)))
        places = addresses(work / f"webdataset-{number}")
        random["webdataset"].append(seconds(lambda places=places: [[read_file(p) for p in places[n]] for n in order]))
        stream["webdataset"].append(seconds(lambda number=number: stream_webdataset(work / f"webdataset-{number}")))
        random["litdata"].append(seconds(lambda number=number: read_litdata(work / f"litdata-{number}", order)))
        stream["litdata"].append(
            seconds(lambda number=number: read_litdata(work / f"litdata-{number}", list(range(len(files)))))
        )
        for name in starts:
            program = f"import torch, time; t = time.process_time(); import {name}; print(time.process_time() - t)"
            said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
            starts[name].append(float(said.split()[-1]))
    total = len(files)
    size = sum(len(a) + len(b) for a, b in files) / 1e6
    head = ["", "webdataset", "litdata"]

    def row(words: str, cell: Callable[[str], str]) -> list[str]:
        return [words, cell("webdataset"), cell("litdata")]

    def rate(of: dict[str, list[float]]) -> Callable[[str], str]:
        return lambda name: f"{total / statistics.median(of[name]):.0f}"

    rows = [
        row("version", importlib.metadata.version),
        row("pairs written per CPU second", rate(written)),
        row("pairs read per CPU second, in order", rate(stream)),
        row("pairs read per CPU second, by random number", rate(random)),
        row("MB on disk", lambda name: f"{folder_mb(work / f'{name}-0'):.1f}"),
        row("CPU seconds to import, after PyTorch", lambda name: f"{statistics.median(starts[name]):.2f}"),
        row("MB installed that segwright does not need anyway", lambda name: f"{sum(weights(name).values()):.1f}"),
        row("further packages", lambda name: ", ".join(sorted(set(weights(name)) - {name})) or "none"),
    ]
    tables.write(
        "packing_libraries",
        "Libraries that write shards",
        f"The {total} pairs of {dataset.root.resolve().name} ({size:.1f} MB of files) as undecoded bytes, median of {ROUNDS} rounds "
        "that take turns; files are in the system's cache. webdataset: TarWriter; in order by its own stream, by number as "
        "segwright does it, from the offsets in the pack's list. litdata: BinaryWriter without workers, read with "
        "StreamingDataset.",
        head,
        rows,
    )


def write_webdataset(files: Sequence[tuple[bytes, bytes]], folder: Path) -> None:
    import webdataset

    folder.mkdir()
    with (folder / "train-00000.tar").open("wb") as stream, webdataset.TarWriter(stream, encoder=False) as writer:
        for number, (image, mask) in enumerate(files):
            writer.write({"__key__": f"{number:08d}", "image.png": image, "mask.png": mask})


def addresses(folder: Path) -> list[list[Path]]:
    """Where each pair lies, as segwright's list of a pack says it."""
    import tarfile

    from segwright.data.shards import address

    shard = folder / "train-00000.tar"
    with tarfile.open(shard) as tar:
        found = [address(shard, m.offset_data, m.size, m.name) for m in tar]
    if not all(inside(path) for path in found):
        raise SystemExit("an address cannot be read back")
    return [found[n : n + 2] for n in range(0, len(found), 2)]


def stream_webdataset(folder: Path) -> None:
    import webdataset

    for _ in webdataset.WebDataset(str(folder / "train-00000.tar"), shardshuffle=False):
        pass


def write_litdata(files: Sequence[tuple[bytes, bytes]], folder: Path) -> None:
    from litdata.streaming.writer import BinaryWriter

    folder.mkdir()
    writer = BinaryWriter(str(folder), chunk_bytes=256_000_000)
    for number, (image, mask) in enumerate(files):
        writer[number] = {"image": image, "mask": mask}
    writer.done()
    writer.merge()


def read_litdata(folder: Path, order: Sequence[int]) -> None:
    from litdata import StreamingDataset

    dataset = StreamingDataset(str(folder), shuffle=False)
    for number in order:
        sample = dataset[number]
        bytes(sample["image"]), bytes(sample["mask"])  # it maps files; the others have read theirs


def weights(name: str) -> dict[str, float]:
    """Installed megabytes of a package and of everything it needs, but for what segwright needs anyway."""
    return {n: installed_mb(n) for n in sorted(needed(name) - set().union(*(needed(own) for own in OURS)))}


def needed(name: str) -> set[str]:
    found, left = set(), [name]
    while left:
        one = re.sub(r"[-_.]+", "-", left.pop()).lower()
        if one in found:
            continue
        try:
            wants = importlib.metadata.requires(one) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        found.add(one)
        left += [re.split(r"[\s;<>=!~\[(]", want, maxsplit=1)[0] for want in wants if "extra ==" not in want]
    return found


def installed_mb(name: str) -> float:
    files = importlib.metadata.files(name) or []
    return sum(f.size or 0 for f in files) / 1e6


# --- what it is worth --------------------------------------------------------------------------------------------------


def data_paths(data: Path, recipe: Recipe, work: Path) -> None:
    """Pictures per second, from wherever they lie to the training's size, without variation."""
    packed = work / "pack"
    written = seconds(lambda: segwright.pack(data, packed))
    written_decoded = seconds(lambda: segwright.pack(data, work / "decoded", decoded=True, recipe=recipe))
    ways = {
        "folder, no cache": (data, "none"),
        "pack of files, no cache": (packed, "none"),
        "decoded pack, no cache": (work / "decoded", "none"),
        "folder, cache on disk": (data, "disk"),
        "folder, cache in memory": (data, "ram"),
    }
    reads: dict[str, Callable[[], None]] = {}
    filling: dict[str, float] = {}
    for name, (place, cache) in ways.items():
        began = time.process_time()
        pairs = pairs_of(place, recipe.with_settings(cache=cache, augment="none", workers=0))
        size, count = recipe.data.size_hw, len(pairs.train_pictures)
        order = np.random.default_rng(0).permutation(count).tolist()

        def read(pairs: Pairs = pairs, order: Sequence[int] = order, size: tuple[int, int] = size) -> None:
            for n in order:
                pairs.train_pictures[Draw(n, (0, n), size)]

        if cache == "ram":
            read()
        filling[name] = time.process_time() - began
        reads[name] = read
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, read in reads.items():
            times[name].append(seconds(read))
    median = {name: statistics.median(of) for name, of in times.items()}
    slowest = median["folder, no cache"]
    rows = []
    for name, (place, cache) in ways.items():
        held = folder_mb(work / "cache") if cache == "disk" else folder_mb(place)
        rows.append(
            [
                name,
                f"{count / median[name]:.0f}",
                f"{slowest / median[name]:.1f}x",
                f"{held:.0f}" if cache != "ram" else "-",
                f"{filling[name]:.1f}",
            ]
        )
    tables.write(
        "packing",
        "What a pack and a cache are worth",
        f"{count} training pictures of {data.resolve().name} in random order to {recipe.data.width}x{recipe.data.height}, one "
        f"process, no variation, median of {ROUNDS} rounds that take turns; files are in the system's cache. Packing took "
        f"{written:.1f} CPU seconds for the files and {written_decoded:.1f} decoded, the health check included.",
        ["way", "images per CPU second", "against the folder", "MB on disk", "CPU seconds before the first picture"],
        rows,
    )


def pairs_of(data: Path, recipe: Recipe) -> Pairs:
    dataset = find_dataset(data)
    return Pairs(Splits(dataset.splits["train"], dataset.splits["val"]), dataset.classes, recipe, "cpu")


def folder_mb(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def seconds(work: Callable[[], object]) -> float:
    """CPU time of all threads of this process, the system's work for it included."""
    os.sync()
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    main()
