"""Training speed, images/s of the whole loop: segwright against a plain FP32 PyTorch loop with PIL and torchvision.

    python benchmarks/train_speed.py DATA [--model lraspp_mobilenet_v3_large] [--rounds 5]
    python benchmarks/train_speed.py DATA --model Unet --encoder resnet18 --width 256 --height 256 --batch-size 8

Both train the same network with AdamW on the same pictures and the same loss, in turn, each in a process of its own
(`sides.py`). The plain loop is what the torchvision references and most scripts do: DataLoader in the main process, PIL
decoding, torchvision v2 transforms (flip, affine, colour jitter), NCHW, float32. DATA is a set of two classes with masks
of 0 and 255.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import tables
import torch
from PIL import Image
from sides import Side, at_work
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
from segwright.training.optimisers import build_optimiser
from segwright.training.pace import Pace, choose, computing

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
    """One training step as segwright does it, without Lightning's bookkeeping (results/lightning_overhead.md)."""
    network = build(recipe.model, classes.channels)
    network.to(memory_format=torch.channels_last)
    pace = choose(network, classes.channels, recipe.data.size_hw, "auto", "cpu")
    loss = build_loss("auto", classes)
    optimiser = build_optimiser(network, recipe.fit, float(recipe.fit.lr))
    batches = forever(Pairs(splits, classes, recipe, "cpu").train_dataloader())

    def step() -> None:
        batch: Batch = next(batches)
        optimiser.zero_grad()
        with computing(network, pace, "cpu"):
            logits = network(batch.images)
        loss(logits.float(), batch.class_maps).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.fit.clip)
        optimiser.step()

    return step, pace


def one_side(plain: bool, data: Path, recipe: Recipe) -> Callable[[int], str]:
    """Takes as many steps as it is told to, and says how it computes."""
    dataset = find_dataset(data)
    parts = divide(dataset)
    splits = Splits(parts["train"], parts["val"])
    if plain:
        step, words = plain_loop(splits, recipe, dataset.classes), "float32"
    else:
        step, pace = our_loop(splits, recipe, dataset.classes)
        words = pace.why
    step()

    def steps(count: int) -> str:
        for _ in range(count):
            step()
        return words

    return steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="for example a folder drawn by: segwright synth cards")
    parser.add_argument("--model", default="lraspp_mobilenet_v3_large")
    parser.add_argument("--encoder", default="")
    parser.add_argument("--width", type=int, default=480)
    parser.add_argument("--height", type=int, default=640)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    recipe = named_recipe("card").with_settings(
        model=options.model,
        encoder=options.encoder,
        width=options.width,
        height=options.height,
        batch_size=options.batch_size,
        augment="medium",
    )
    threads = torch.get_num_threads()
    sides = {
        "plain": Side(partial(one_side, True, options.data, recipe), threads=threads),
        "segwright": Side(partial(one_side, False, options.data, recipe), ours=True, threads=threads),
    }
    rates: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
    pictures = STEPS * recipe.fit.batch_size
    with at_work(sides) as asked:  # one after the other: the trial at the start wants the machine for itself
        for number in range(options.rounds):
            for side in list(sides)[:: 1 if number % 2 else -1]:
                turn = asked[side](STEPS)
                rates[side].append((1e3 * pictures / turn.wall_ms, turn.cpu_ms / pictures))
                if side == "segwright":
                    words = turn.answer
    wall_ratio = [b[0] / a[0] for a, b in zip(rates["plain"], rates["segwright"], strict=True)]
    cpu_ratio = [a[1] / b[1] for a, b in zip(rates["plain"], rates["segwright"], strict=True)]
    rows = [
        [side, *(f"{statistics.median(column):.2f}" for column in zip(*values, strict=True))]
        for side, values in rates.items()
    ]
    rows.append(
        ["ratio, median of rounds", f"{statistics.median(wall_ratio):.2f}x", f"{statistics.median(cpu_ratio):.2f}x"]
    )
    name = f"{options.model} {options.encoder}".strip()
    tables.write(
        f"train_speed_{name.replace(' ', '_')}",
        f"Training speed of {name} at {options.width}x{options.height}, batch {options.batch_size}",
        f"Whole training loops, in turn, {options.rounds} rounds of {STEPS} steps; {threads} thread(s) each; "
        f"segwright chose {words}.",
        ["loop", "images/s", "CPU ms per image"],
        rows,
    )


if __name__ == "__main__":
    main()
