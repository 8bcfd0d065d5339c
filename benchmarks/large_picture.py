"""A TIFF of 20,000 x 20,000 pixels, predicted by rows: peak memory beside that of the network, and time.

python benchmarks/large_picture.py [MODEL] [--side 20000]      without a model, a stand-in that costs nothing measures what is around it
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import tables
import tifffile

from segwright.classes import Classes
from segwright.engines.contract import Engine, ModelFacts
from segwright.engines.opening import open_engine
from segwright.predict.large import predict_large
from segwright.predict.predictor import Predictor

TILE = 256


class Brightness:
    """The probability of class 1 is the brightness of the red channel."""

    name = "stand-in"
    facts = ModelFacts(name="stand-in", classes=Classes(names=("dark", "bright")), size_hw=(512, 512), fit="pad")

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """See `Engine.probabilities`."""
        return images[:, None, :, :, 0].astype(np.float32) / 255


def drawn(path: Path, side: int, compression: str) -> Path:
    """A TIFF whose tiles are a few different ones, in turn."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (7, TILE // 16, TILE // 16, 3), np.uint8)
    tiles = coarse.repeat(16, axis=1).repeat(16, axis=2) ^ rng.integers(0, 8, (7, TILE, TILE, 3), np.uint8)
    count = (-(-side // TILE)) ** 2
    tifffile.imwrite(
        path,
        (tiles[n % 7] for n in range(count)),
        shape=(side, side, 3),
        dtype=np.uint8,
        photometric="rgb",
        tile=(TILE, TILE),
        compression=None if compression == "none" else compression,
        bigtiff=True,
        maxworkers=1,
    )
    return path


def peak() -> float:
    """MiB that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--compression", default="adobe_deflate")
    arguments = parser.parse_args()
    engine: Engine | Any = open_engine(arguments.model) if arguments.model else Brightness()
    predictor = Predictor(engine, tile=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        predict_large(predictor, drawn(folder / "warm.tif", 600, arguments.compression), folder, key="warm")
        source = drawn(folder / "large.tif", arguments.side, arguments.compression)
        before, started, cpu = peak(), time.perf_counter(), time.process_time()
        line = predict_large(predictor, source, folder, key="large")
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        sizes = [path.stat().st_size / 2**20 for path in (source, folder / "masks/large.tif")]
    pixels = line["width"] * line["height"]
    height, width = engine.facts.size_hw
    words = f"{engine.facts.name}, tiles of {width}x{height}, {arguments.compression}; memory: what came on top of a small picture's."
    row = [
        f"{line['width']}x{line['height']}",
        f"{pixels * 3 / 2**20:.0f}",
        f"{peak() - before:.0f}",
        f"{cpu:.0f}",
        f"{seconds:.0f}",
        f"{sizes[0]:.0f}",
        f"{sizes[1]:.0f}",
    ]
    head = ["picture", "MiB as a whole", "MiB on top", "CPU s", "s", "MiB of the file", "MiB of the class map"]
    tables.write("large_picture", "A picture larger than memory should be", words, head, [row])


if __name__ == "__main__":
    main()
