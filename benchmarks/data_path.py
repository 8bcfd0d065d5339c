"""Data path, CPU time per picture on one core: segwright against PIL + torchvision v2 and against albumentations.

    python benchmarks/data_path.py DATA [--rounds 9]

Pictures to augmented, normalised float batches, the same recipe for all: mirror, affine, colour jitter, blur in 10 %, JPEG
in 5 %. Every variant has a process of its own with one thread (`sides.py`). Our batches are uint8 until the network; its conversion and
normalisation are part of our time here.

DATA holds 480x360 pictures with masks; the 12-megapixel JPEGs are card scenes drawn into a temporary folder.
Albumentations is needed for this script alone: pip install 'segwright[bench]'.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path

import albumentations as A
import cv2
import numpy as np
import tables
import torch
from albumentations.pytorch import ToTensorV2
from PIL import Image
from sides import Side, at_work
from torch import nn
from torchvision import tv_tensors
from torchvision.transforms import v2

from segwright.classes import Classes
from segwright.data.augment import Variation, augmented
from segwright.data.cards import draw_scene
from segwright.data.layouts import find_dataset
from segwright.data.loaders import Pictures, shrunk, shrunk_hw
from segwright.data.order import Draw
from segwright.data.sample import Sample, read_pair, read_scaled
from segwright.models.catalogue import MEAN, STD, Network
from segwright.recipe import DataRecipe, Recipe

SIZE_HW = (360, 480)
LARGE_HW = (3000, 4000)
BATCH = 8
TURNS, SHIFT, SCALE, SHEAR = 8.0, 0.08, (0.75, 1.5), 3.0
BRIGHTNESS, CONTRAST, SATURATION = 0.12, 0.2, 0.25
BLUR, JPEG = 0.1, 0.05
RECIPE = Recipe(data=DataRecipe(height=SIZE_HW[0], width=SIZE_HW[1]))
OURS = Variation(
    flip=0.5,
    scale=SCALE,
    rotate=TURNS,
    shear=SHEAR,
    shift=SHIFT,
    brightness=BRIGHTNESS,
    contrast=CONTRAST,
    saturation=SATURATION,
    blur=BLUR,
    jpeg=JPEG,
)

OneBatch = Callable[[list[int]], torch.Tensor]
"""From the numbers of samples to normalised images (B, 3, H, W) float32."""


def torchvision_recipe() -> v2.Compose:
    """On PIL pictures, which torchvision's transforms handle faster than uint8 tensors."""
    return v2.Compose(
        [
            v2.Resize(SIZE_HW),
            v2.RandomHorizontalFlip(),
            v2.RandomAffine(
                TURNS,
                translate=(SHIFT, SHIFT),
                scale=SCALE,
                shear=SHEAR,
                interpolation=v2.InterpolationMode.BILINEAR,
                fill={tv_tensors.Mask: 255, "others": 0},
            ),
            v2.ColorJitter(BRIGHTNESS, CONTRAST, SATURATION),
            v2.RandomApply([v2.GaussianBlur(9, (0.4, 2.0))], BLUR),
            v2.ToImage(),
            v2.RandomApply([v2.JPEG((25, 90))], JPEG),
            v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )


def with_torchvision(samples: Sequence[Sample], masks: bool = True) -> OneBatch:
    """Decoded by PIL every time, as in most scripts."""
    recipe = torchvision_recipe()

    def one(n: int) -> torch.Tensor:
        image = Image.open(samples[n].image).convert("RGB")
        if not masks:
            return recipe(image)
        mask = tv_tensors.Mask(v2.functional.pil_to_tensor(Image.open(samples[n].mask)))
        return recipe(image, mask)[0]

    return lambda numbers: torch.stack([one(n) for n in numbers])


def with_torchvision_from_memory(samples: Sequence[Sample]) -> OneBatch:
    """The same from pictures that are decoded already: the transforms alone."""
    recipe = torchvision_recipe()
    pairs = [
        (Image.open(s.image).convert("RGB"), tv_tensors.Mask(v2.functional.pil_to_tensor(Image.open(s.mask))))
        for s in samples
    ]
    return lambda numbers: torch.stack([recipe(*pairs[n])[0] for n in numbers])


def with_albumentations(samples: Sequence[Sample], classes: Classes) -> OneBatch:
    """From memory, like ours."""
    recipe = A.Compose(
        [
            A.HorizontalFlip(p=0.5),
            A.Affine(
                scale=SCALE,
                translate_percent=(-SHIFT, SHIFT),
                rotate=(-TURNS, TURNS),
                shear=(-SHEAR, SHEAR),
                fill_mask=255,
                p=1.0,
            ),
            A.ColorJitter(
                (1 - BRIGHTNESS, 1 + BRIGHTNESS),
                (1 - CONTRAST, 1 + CONTRAST),
                (1 - SATURATION, 1 + SATURATION),
                (0, 0),
                p=1.0,
            ),
            A.GaussianBlur(blur_limit=0, sigma_limit=(0.4, 2.0), p=BLUR),
            A.ImageCompression(quality_range=(25, 90), p=JPEG),
            A.Normalize(MEAN, STD),
            ToTensorV2(),
        ]
    )
    pairs = [read_pair(s, classes) for s in samples]
    return lambda numbers: torch.stack([recipe(image=pairs[n][0], mask=pairs[n][1])["image"] for n in numbers])


def normalising() -> Callable[[torch.Tensor], torch.Tensor]:
    """What a training step does before the first convolution."""
    network = Network(nn.Identity(), 3, multiple=1)
    return lambda images: network(images)


def with_segwright(samples: Sequence[Sample], classes: Classes, cache_gb: float) -> OneBatch:
    """The training data set as it is."""
    pictures = Pictures(samples, classes, RECIPE.with_settings(cache_gb=cache_gb), OURS)
    turn, normalise = iter(range(1 << 40)), normalising()

    def one_batch(numbers: list[int]) -> torch.Tensor:
        batch = pictures.__getitems__([Draw(n, (0, next(turn)), SIZE_HW) for n in numbers])
        return normalise(batch.images)

    return one_batch


def with_segwright_pictures_alone(samples: Sequence[Sample]) -> OneBatch:
    """Scaled decoding, shrinking and variation of pictures whose masks cost nothing."""
    normalise = normalising()

    def one(n: int) -> np.ndarray:
        image, image_hw = read_scaled(samples[n].image, lambda height, width: shrunk_hw(height, width, RECIPE))
        height, width = shrunk_hw(*image_hw, RECIPE)
        image = shrunk(image, (height, width))
        return augmented(image, np.zeros((height, width), np.uint8), SIZE_HW, "pad", OURS, (n,))[0]

    return lambda numbers: normalise(torch.from_numpy(np.stack([one(n) for n in numbers])).permute(0, 3, 1, 2))


def checked(build: Callable[[], OneBatch]) -> Callable[[list[int]], None]:
    """Make the batches whose numbers come, and look whether they are what all have agreed on."""
    one_batch = build()

    def work(numbers: list[int]) -> None:
        images = one_batch(numbers)
        if images.shape != (len(numbers), 3, *SIZE_HW) or images.dtype != torch.float32:
            raise SystemExit(f"{build} made {tuple(images.shape)} {images.dtype}")

    return work


def side(build: Callable[[], OneBatch], ours: bool = False) -> Side:
    return Side(partial(checked, build), ours)


def race(sides: dict[str, Side], count: int, batch: int, rounds: int) -> dict[str, list[float]]:
    """CPU milliseconds per picture of every variant and round; the first turn warms caches and is not counted."""
    spent: dict[str, list[float]] = {name: [] for name in sides}
    with at_work(sides) as asked:
        for ask in asked.values():
            for start in range(0, count, batch):
                ask([n % count for n in range(start, start + batch)])
        numbers = cycle(range(count))
        for _ in range(rounds):
            chosen = [next(numbers) for _ in range(batch)]
            for name, ask in asked.items():
                spent[name].append(ask(chosen).cpu_ms / batch)
    return spent


def rows_of(what: str, spent: dict[str, list[float]]) -> list[list[str]]:
    """A row for each variant; the last is ours, and ratios are medians over rounds."""
    ours = list(spent.values())[-1]
    return [
        [
            what,
            name,
            f"{statistics.median(times):.2f}",
            f"{1e3 / statistics.median(times):.0f}",
            f"{statistics.median([t / o for t, o in zip(times, ours, strict=True)]):.1f}x" if times is not ours else "",
        ]
        for name, times in spent.items()
    ]


def draw_large(folder: Path, count: int, drawn_hw: tuple[int, int]) -> list[Sample]:
    """Card scenes of 12 megapixels as JPEGs with PNG masks, drawn at some size and enlarged."""
    samples, (height, width) = [], LARGE_HW
    for n in range(count):
        scene = draw_scene(np.random.default_rng(n), drawn_hw)
        sample = Sample(str(n), folder / f"{n}-{drawn_hw[0]}.jpg", folder / f"{n}-{drawn_hw[0]}.png")
        image = cv2.resize(scene.image, (width, height), interpolation=cv2.INTER_CUBIC)
        mask = cv2.resize(scene.mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        Image.fromarray(image).save(sample.image, quality=92)
        Image.fromarray(mask).save(sample.mask)
        samples.append(sample)
    return samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="pictures of 480x360, for example CamVid")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--large", type=int, default=6, help="12-megapixel pictures to draw")
    options = parser.parse_args()
    dataset = find_dataset(options.data)
    samples, classes = dataset.splits["train"][:64], dataset.classes
    small = {
        "PIL + torchvision v2": side(partial(with_torchvision, samples)),
        "torchvision v2, decoded before": side(partial(with_torchvision_from_memory, samples)),
        f"albumentations {A.__version__}, decoded before": side(partial(with_albumentations, samples, classes)),
        "segwright, warm cache": side(partial(with_segwright, samples, classes, cache_gb=2.0), ours=True),
    }
    rows = rows_of("480x360 PNG", race(small, len(samples), BATCH, options.rounds))
    with tempfile.TemporaryDirectory() as folder:
        card, few = Classes(names=("background", "card")), max(options.rounds // 2, 3)
        kinds = {"soft": (LARGE_HW[0] // 4, LARGE_HW[1] // 4), "sharp and grainy": LARGE_HW}
        for kind, drawn_hw in kinds.items():
            large = draw_large(Path(folder), options.large, drawn_hw)
            what = f"12 megapixels, {kind} ({statistics.mean(s.image.stat().st_size for s in large) / 1e6:.1f} MB each)"
            alone = {
                "PIL + torchvision v2": side(partial(with_torchvision, large, masks=False)),
                "segwright, decoded each time": side(partial(with_segwright_pictures_alone, large), ours=True),
            }
            both = {
                "PIL + torchvision v2": side(partial(with_torchvision, large)),
                "segwright, first pass": side(partial(with_segwright, large, card, cache_gb=0.0), ours=True),
                "segwright, later passes": side(partial(with_segwright, large, card, cache_gb=2.0), ours=True),
            }
            spent, rival = race(both, len(large), len(large), few), next(iter(both))
            rows += rows_of(f"{what}, picture alone", race(alone, len(large), len(large), few))
            for ours in list(both)[1:]:
                rows += rows_of(f"{what}, with a PNG mask", {rival: spent[rival], ours: spent[ours]})
    tables.write(
        "data_path",
        "Data path: pictures to augmented, normalised batches of 480x360",
        f"CPU time of one thread, interleaved, median of {options.rounds} rounds of {BATCH} pictures ({few} rounds of "
        f"{len(large)} large ones); ratios to the last row of each group are medians over rounds. Each in a process of its own: segwright "
        "with its memory settings, the others with those of the system. A JPEG's entropy code has to be read at any scale, so "
        "scaled decoding gains less where a file holds more; "
        "a PNG mask of 12 megapixels costs both sides the same. Both are paid once: later passes come from memory.",
        ["pictures", "variant", "CPU ms per picture", "pictures/s per core", "segwright is faster"],
        rows,
    )


if __name__ == "__main__":
    main()
