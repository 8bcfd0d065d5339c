"""Seams between tiles: jumps of the probabilities where tiles begin and end, and what more overlap costs and brings.

    python benchmarks/tile_seams.py RUN DATA [--split val] [--pictures 16]

RUN was trained with --patch-size. Beside the overlaps stand the same tiles without any weighting (the last tile that
covers a pixel decides) and the network's answer to the whole picture at once, which has no seams.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tables
from numpy.typing import NDArray

from segwright import metrics
from segwright.checkpoint import load
from segwright.data.sample import read_pair
from segwright.engines.pytorch import PyTorchEngine
from segwright.tiling import blended, cuts
from segwright.workflows.choosing import chosen_samples

OVERLAPS = (0.0, 0.125, 0.25, 0.5)

Answer = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def borders(length: int, side: int, overlap: float) -> NDArray[np.int64]:
    """Pixels before which a tile begins or behind which one ends, the picture's own ends left out."""
    length = max(length, side)
    found = {place for cut in cuts(length, side, overlap) for place in (cut.start, cut.start + side)}
    return np.array(sorted(found - {0, length}), int)


def jumps(values: NDArray[np.float32], side: int, overlap: float) -> NDArray[np.float64]:
    """Sum and number of the absolute steps between neighbouring pixels: across borders, and everywhere else."""
    told = np.zeros((2, 2))
    for axis in (1, 2):
        steps = np.abs(np.diff(values, axis=axis)).mean(axis=0)
        crossing = np.zeros(steps.shape[axis - 1], bool)
        crossing[borders(values.shape[axis], side, overlap) - 1] = True
        for row, chosen in enumerate((crossing, ~crossing)):
            part = np.compress(chosen, steps, axis=axis - 1)
            told[row] += part.sum(), part.size
    return told


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--pictures", type=int, default=16)
    given = parser.parse_args()
    engine = PyTorchEngine(load(given.run))
    facts, side = engine.facts, engine.facts.size_hw[0]
    samples, data_classes = chosen_samples(given.data, given.split, settings=facts.provenance["recipe"])
    chosen = [samples[n] for n in np.linspace(0, len(samples) - 1, min(given.pictures, len(samples))).astype(int)]
    count, tiles = len(facts.classes), [0]

    def whole(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        engine.facts = dataclasses.replace(facts, any_size=True)
        answer = engine.probabilities(image[None])[0]
        engine.facts = facts
        return answer

    def run(patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        tiles[0] += len(patches)
        return engine.probabilities(patches)

    def blend(image: NDArray[np.uint8], overlap: float) -> NDArray[np.float32]:
        values = np.empty((facts.classes.channels, *image.shape[:2]), np.float32)
        for rows, columns, part in blended(image, facts.size_hw, run, overlap=overlap):
            values[:, rows, columns] = part
        return values

    def pasted(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        values = np.empty((facts.classes.channels, *image.shape[:2]), np.float32)
        for row in cuts(image.shape[0], side, 0.25):
            for column in cuts(image.shape[1], side, 0.25):
                place = np.s_[row.start : row.start + side, column.start : column.start + side]
                values[:, *place] = run(image[place][None])[0]
        return values

    ways: dict[str, tuple[float, Answer]] = {
        "the whole picture at once": (0.25, whole),
        "overlap 1/4, not blended": (0.25, pasted),
        **{f"overlap {o:g}, blended": (o, lambda image, o=o: blend(image, o)) for o in OVERLAPS},  # type: ignore[misc]
    }
    rows = []
    answers = {}
    for name, (overlap, way) in ways.items():
        told, counts, differing, pixels = np.zeros((2, 2)), np.zeros((count, count), np.int64), 0, 0
        tiles[0] = 0
        for sample in chosen:
            image, truth = read_pair(sample, data_classes)
            values = way(image)
            told += jumps(values, side, overlap)
            class_map = facts.classes.decode(values, facts.threshold)
            counts += metrics.confusion(facts.classes.numbers_in(data_classes)[truth], class_map, count)
            differing += int((answers.setdefault(sample.key, class_map) != class_map).sum())
            pixels += class_map.size
        across, elsewhere = told[:, 0] / told[:, 1]
        rows.append(
            [
                name,
                f"{tiles[0] / len(chosen):.1f}" if tiles[0] else "-",
                f"{across / elsewhere:.2f}",
                f"{100 * differing / pixels:.1f} %",
                f"{float(metrics.mean_iou(counts)):.4f}",
            ]
        )
        print(rows[-1], flush=True)
    tables.write(
        "tile_seams",
        "Seams between tiles",
        f"{facts.name} trained on patches of {side}x{side}, {len(chosen)} {given.split} pictures of {given.data.name}. The jump is the "
        "mean step of a probability from one pixel to the next where a tile begins or ends, divided by the same everywhere "
        "else in the picture: 1 is no seam. The first line has no tiles; its jump, where tiles of overlap 1/4 would end, shows how far "
        "chance moves it.",
        ["way", "tiles per picture", "jump at borders", "pixels unlike the whole", "mIoU"],
        rows,
    )


if __name__ == "__main__":
    main()
