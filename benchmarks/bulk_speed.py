"""Many pictures: `segwright predict` with and without Ray's workers, on this machine alone.

python benchmarks/bulk_speed.py [MODEL] [--pictures 2000] [--workers 2] [--rounds 3]      without a model, LR-ASPP small, untrained

Both are run in turn, as commands, on few and on all pictures: what few take is the start, the rest is the rate.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tables
from PIL import Image

from segwright.checkpoint import Checkpoint
from segwright.classes import Classes
from segwright.data.cards import draw_scene
from segwright.models.catalogue import build
from segwright.recipe import DataRecipe, ModelRecipe, Recipe

FEW, DIFFERENT = 16, 50


def untrained(folder: Path) -> Path:
    """A run with made-up weights: they take as long as others."""
    recipe = Recipe(data=DataRecipe(width=320, height=240), model=ModelRecipe(model="lraspp_mobilenet_v3_small"))
    classes = Classes(names=("background", "card"))
    weights = build(recipe.model, classes.channels).state_dict()
    checkpoint = Checkpoint(recipe=recipe, classes=classes, weights=weights, threshold=0.5, provenance={})
    return checkpoint.save(folder / "model.safetensors")


def drawn(folder: Path, count: int) -> Path:
    """JPEGs of 640x480; a few different ones under many names."""
    folder.mkdir()
    for number in range(count):
        if number < DIFFERENT:
            scene = draw_scene(np.random.default_rng(number), (480, 640)).image
            Image.fromarray(scene).save(folder / f"{number:06}.jpg")
        else:
            (folder / f"{number:06}.jpg").hardlink_to(folder / f"{number % DIFFERENT:06}.jpg")
    return folder


def seconds(model: Path, pictures: Path, engine: str, *words: str) -> float:
    """Of one command, from its start to its end."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "segwright", "predict", model, pictures, "--engine", engine, *words]
        started = time.perf_counter()
        subprocess.run([*map(str, command), "--out", out], check=True, capture_output=True)
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engine", default="onnxruntime")
    arguments = parser.parse_args()
    if arguments.pictures <= FEW:
        parser.error(f"--pictures must be more than {FEW}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = arguments.model or untrained(folder)
        few, many = drawn(folder / "few", FEW), drawn(folder / "many", arguments.pictures)
        workers = ("--ray", "--workers", str(arguments.workers))
        rivals = {
            "without Ray": (),
            "without Ray, 1 thread": ("--threads", "1"),
            f"{arguments.workers} workers": workers,
        }
        took: dict[str, list[tuple[float, float]]] = {rival: [] for rival in rivals}
        for _ in range(arguments.rounds):
            for rival, words in rivals.items():
                pair = (seconds(model, few, arguments.engine, *words), seconds(model, many, arguments.engine, *words))
                took[rival].append(pair)
    rows, base = [], 0.0
    for rival, pairs in took.items():
        start = float(np.median([pair[0] for pair in pairs]))
        beyond = float(np.median([pair[1] - pair[0] for pair in pairs]))
        if beyond < start / 4:
            raise SystemExit("The pictures take no time beside the start; take more --pictures, or a quiet machine.")
        rate = (arguments.pictures - FEW) / beyond
        base = base or rate
        rows.append([rival, f"{start:.1f}", f"{rate:.1f}", f"{rate / base:.2f}"])
    words = (
        f"{arguments.pictures} JPEGs of 640x480 to masks, colours and overlays; {model.stem}, {arguments.engine}, {arguments.rounds} "
        f"rounds in turn, medians. Start: seconds for {FEW} pictures. Rate: pictures a second beyond those."
    )
    tables.write(
        "bulk_speed", "Many pictures, with and without Ray", words, ["", "start, s", "pictures a second", "ratio"], rows
    )


if __name__ == "__main__":
    main()
