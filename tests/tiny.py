"""Tiny data sets for tests: simple pictures and masks, drawn in any notation and laid out in any known way.

Nothing is downloaded and nothing random is left open: the same call draws the same pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from segwright.classes import default_colours
from segwright.data.layouts import Dataset
from segwright.data.sample import read_pair

NAMES = ("background", "disc", "square", "triangle", "ring")
SPLITS: Mapping[str, int] = {"train": 6, "val": 3, "test": 3}


@dataclass(frozen=True)
class Pair:
    """A drawn picture and its class map."""

    image: np.ndarray
    """(H, W, 3) uint8 RGB."""
    class_map: np.ndarray
    """(H, W) uint8, 0..classes-1."""


def draw_pair(number: int, *, classes: int = 2, size_hw: tuple[int, int] = (48, 64)) -> Pair:
    """One shape of every class but the background, in its colour, on a background that differs from picture to picture."""
    height, width = size_hw
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 120, (6, 8, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    class_map = np.zeros(size_hw, np.uint8)
    colours = default_colours(max(classes, 2))
    for cls in range(1, classes):
        # Each class has a strip of its own, so that none is painted over.
        left, strip = (cls - 1) * width // (classes - 1), width // (classes - 1)
        radius = max(3, min(strip, height) // 4)
        x = int(rng.integers(left + radius, max(left + strip - radius, left + radius + 1)))
        y = int(rng.integers(radius + 1, height - radius - 1))
        shape = np.zeros(size_hw, np.uint8)
        if cls % 2:
            cv2.circle(shape, (x, y), radius, 1, -1)
        else:
            cv2.rectangle(shape, (x - radius, y - radius), (x + radius, y + radius), 1, -1)
        class_map[shape == 1] = cls
        image[shape == 1] = np.clip(np.array(colours[cls]) * 0.8 + 40, 0, 255).astype(np.uint8)
    noise = rng.integers(0, 12, image.shape, dtype=np.uint8)
    return Pair(image + noise.clip(max=255 - image), class_map)


def write_mask(path: Path, class_map: np.ndarray, notation: str) -> None:
    """Write a mask as "index", "binary" (0/255), "colour" (RGB), "palette" (indexes with a palette), "soft" (0/255 with
    soft edges) or, into a .jpg, "binary" with JPEG noise.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = np.array(default_colours(max(int(class_map.max()) + 1, 2)), np.uint8)
    if notation == "index":
        picture = Image.fromarray(class_map)
    elif notation == "palette":
        picture = Image.fromarray(class_map)
        picture.putpalette(colours.ravel().tolist())
    elif notation == "binary":
        picture = Image.fromarray((class_map > 0).astype(np.uint8) * 255)
    elif notation == "soft":
        picture = Image.fromarray(cv2.GaussianBlur((class_map > 0).astype(np.uint8) * 255, (3, 3), 0))
    else:
        picture = Image.fromarray(colours[class_map])
    picture.save(path)


def write_classes(path: Path, names: tuple[str, ...]) -> None:
    """Write a classes.csv with our default colours."""
    rows = [
        f"{n},{name},{','.join(map(str, rgb))},0"
        for n, (name, rgb) in enumerate(zip(names, default_colours(len(names)), strict=True))
    ]
    path.write_text("\n".join(["index,name,r,g,b,ignore", *rows, ""]), encoding="utf-8")


def make_dataset(
    root: Path,
    *,
    layout: str = "split_folders",
    notation: str = "binary",
    classes: int = 2,
    splits: Mapping[str, int] = SPLITS,
    size_hw: tuple[int, int] = (48, 64),
    declared: bool = True,
    suffix: str = ".png",
    mask_folder: str = "masks",
    mask_suffix: str = "",
) -> Path:
    """Write a tiny data set and return its folder.

    Args:
        layout: "split_folders", "folders_of_splits", "flat", "side_by_side", "twin_folders", "name_lists" or "pictures".
        notation: as `write_mask`.
        splits: split -> pictures; layouts without splits get all of them together.
        declared: write a classes.csv.
        suffix: of the pictures' files.
        mask_suffix: what a mask's stem adds to its picture's.
    """
    root.mkdir(parents=True, exist_ok=True)
    number = 0
    for split, count in splits.items():
        images, masks = {
            "split_folders": (root / split / "images", root / split / mask_folder),
            "folders_of_splits": (root / "images" / split, root / mask_folder / split),
            "flat": (root / "images", root / mask_folder),
            "side_by_side": (root, root),
            "twin_folders": (root / split, root / f"{split}_labels"),
            "name_lists": (root / f"scene_{split}" / "images", root / f"scene_{split}" / mask_folder),
            "pictures": (root, None),
        }[layout]
        images.mkdir(parents=True, exist_ok=True)
        for _ in range(count):
            pair = draw_pair(number, classes=classes, size_hw=size_hw)
            stem = f"{_word(number)}"
            Image.fromarray(pair.image).save(images / f"{stem}{suffix}")
            if masks is not None:
                write_mask(masks / f"{stem}{mask_suffix}.png", pair.class_map, notation)
            number += 1
        if layout == "name_lists":
            name = {"train": "training", "val": "validation", "test": "test"}[split]
            (root / f"{name}_dataset.txt").write_text(f"scene_{split}\n", encoding="utf-8")
    if declared and layout != "pictures":
        write_classes(root / "classes.csv", NAMES[:classes])
    return root


def draw_pictures(root: Path, where: str, splits: Mapping[str, int]) -> Iterator[tuple[str, Path, Pair]]:
    """Write pictures of discs and squares, a.png, b.png, ...: in their order they are draw_pair(N, classes=3).

    Args:
        where: their folder below `root`; {split} stands for the split.
        splits: split -> pictures.
    """
    number = 0
    for split, count in splits.items():
        for _ in range(count):
            pair = draw_pair(number, classes=3)
            path = root / where.format(split=split) / f"{'abcdefgh'[number]}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pair.image).save(path)
            yield split, path, pair
            number += 1


def require_drawn(dataset: Dataset, layout: str, splits: Mapping[str, int]) -> None:
    """Assert that a data set is what `draw_pictures` drew, pixel for pixel."""
    assert dataset.layout == layout
    assert {split: len(samples) for split, samples in dataset.splits.items()} == splits
    assert dataset.classes.names == ("background", "disc", "square")
    for number, sample in enumerate(sample for samples in dataset.splits.values() for sample in samples):
        image, class_map = read_pair(sample, dataset.classes)
        assert np.array_equal(image, draw_pair(number, classes=3).image)
        assert np.array_equal(class_map, draw_pair(number, classes=3).class_map)


def _word(number: int) -> str:
    """A name without digits, so that pictures do not look like the frames of a video."""
    letters = ""
    for _ in range(3):
        number, letter = divmod(number, 26)
        letters = "abcdefghijklmnopqrstuvwxyz"[letter] + letters
    return letters
