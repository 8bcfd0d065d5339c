"""Training speed, images/s of the whole loop: segwright against a plain FP32 PyTorch loop with PIL and torchvision.

    python benchmarks/train_speed.py DATA [--model lraspp_mobilenet_v3_large] [--rounds 5]

Both train the same network at 480x640 with AdamW on the same pictures and the same loss, alternately, in one process;
the plain loop is what the torchvision references and most scripts do: DataLoader in the main process, PIL decoding,
torchvision v2 transforms (flip, affine, colour jitter), NCHW, float32.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tables
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from segwright.classes import Classes
from segwright.data.layouts import find_dataset
from segwright.data.loaders import Batch, Pairs, Splits
from segwright.data.sample import Sample
from segwright.data.splits import divide
from segwright.models.catalogue import build
from segwright.recipe import Recipe, named_recipe
from segwright.training.losses import build_loss
from segwright.training.pace import Pace, choose, computing, keep_memory

STEPS = 3
"""Steps per turn; turns alternate, so that a busy moment of the machine hits both."""


class PlainPictures(Dataset[Any]):
    """The data path of a usual script."""

    def __init__(self, samples: tuple[Sample, ...], size_hw: tuple[int, int]) -> None:
        self.samples = samples
        self.transform = v2.Compose(
            [
                v2.ToImage(),
                v2.Resize(size_hw),
                v2.RandomHorizontalFlip(),
                v2.RandomAffine(15, translate=(0.1, 0.1), scale=(0.8, 1.3)),
                v2.ColorJitter(0.2, 0.3, 0.3),
                v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True),
                v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ]
        )

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        sample = self.samples[index]
        image = Image.open(sample.image).convert("RGB")
        mask = tv_tensors.Mask(v2.functional.pil_to_tensor(Image.open(sample.mask).convert("L")) // 255)
        image, mask = self.transform(image, mask)
        return image, mask[0]


def forever(loader: DataLoader[Any]) -> Iterator[Any]:
    while True:
        yield from loader


def plain_loop(splits: Splits, recipe: Recipe, classes: Classes) -> Callable[[], None]:
    """One training step as a usual script does it."""
    body = build(recipe.model, classes.channels).body
    loss = build_loss("auto", classes)
    optimiser = torch.optim.AdamW(body.parameters(), lr=recipe.fit.lr)
    pictures = PlainPictures(splits.train, recipe.data.size_hw)
    batches = forever(DataLoader(pictures, recipe.fit.batch_size, shuffle=True, drop_last=True))

    def step() -> None:
        images, masks = next(batches)
        optimiser.zero_grad()
        loss(body(images), masks).backward()
        optimiser.step()

    return step


def our_loop(splits: Splits, recipe: Recipe, classes: Classes) -> tuple[Callable[[], None], Pace]:
    """One training step as segwright does it, without Lightning's bookkeeping (under 3 % of a step)."""
    network = build(recipe.model, classes.channels)
    network.to(memory_format=torch.channels_last)
    pace = choose(network, classes.channels, recipe.data.size_hw, "auto", "cpu")
    loss = build_loss("auto", classes)
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.fit.lr)
    batches = forever(Pairs(splits, classes, recipe, "cpu").train_dataloader())

    def step() -> None:
        batch: Batch = next(batches)
        optimiser.zero_grad()
        with computing(network, pace, "cpu"):
            logits = network(batch.images.float() / 255.0)
        loss(logits.float(), batch.class_maps).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.fit.clip)
        optimiser.step()

    return step, pace


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="for example a folder drawn by: segwright synth cards")
    parser.add_argument("--model", default="lraspp_mobilenet_v3_large")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    recipe = named_recipe("card").with_settings(model=options.model, batch_size=options.batch_size, augment="medium")
    dataset = find_dataset(options.data)
    parts = divide(dataset)
    splits = Splits(parts["train"], parts["val"])
    plain = plain_loop(splits, recipe, dataset.classes)
    keep_memory()  # before either is timed: what the process does with freed memory helps the plain loop as well
    ours, pace = our_loop(splits, recipe, dataset.classes)
    plain(), ours()
    rates: dict[str, list[tuple[float, float]]] = {"plain": [], "segwright": []}
    for _ in range(options.rounds):
        for name, step in (("plain", plain), ("segwright", ours)):
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(STEPS):
                step()
            pictures = STEPS * options.batch_size
            rates[name].append((pictures / (time.perf_counter() - wall), (time.process_time() - cpu) / pictures * 1e3))
    wall_ratio = [b[0] / a[0] for a, b in zip(rates["plain"], rates["segwright"], strict=True)]
    cpu_ratio = [a[1] / b[1] for a, b in zip(rates["plain"], rates["segwright"], strict=True)]
    rows = [
        [name, *(f"{statistics.median(column):.2f}" for column in zip(*values, strict=True))]
        for name, values in rates.items()
    ]
    rows.append(
        ["ratio, median of rounds", f"{statistics.median(wall_ratio):.2f}x", f"{statistics.median(cpu_ratio):.2f}x"]
    )
    height, width = recipe.data.size_hw
    tables.write(
        f"train_speed_{options.model}",
        f"Training speed of {options.model} at {width}x{height}, batch {options.batch_size}",
        f"Whole training loops, interleaved, {options.rounds} rounds of {STEPS} steps; segwright chose {pace.why}. "
        "Both run with segwright's memory settings, which also speed the plain loop up.",
        ["loop", "images/s", "CPU ms per image"],
        rows,
    )


if __name__ == "__main__":
    main()
