"""Samples made of several pictures: mosaic and cutmix for one sample, mixup for a batch.

Mosaic and cutmix paste pixels together with their class numbers, so targets stay hard. Mixup blends the pictures of a
batch and keeps both class maps: the loss is their sum, weighted with one share for the whole batch. With one share that
sum is exact for every loss, also for those that, like Dice, are no mean over pixels or pictures.

Everything follows from the seed of a draw, partners included; partners are read like any sample, with the same errors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from segwright.data.augment import Window
from segwright.recipe import Recipe

MIX = 3
"""Stream of random numbers for all mixing."""
BLEND = 4
"""Stream of random numbers for the batch as a whole."""

MIDDLE = (0.3, 0.7)
"""Where the four parts of a mosaic meet, shares of the sides."""
BETA = 0.2
"""Both parameters of the Beta distribution that the share of a blend is drawn from."""

Look = Callable[[int, tuple[int, ...], Window], tuple[np.ndarray, np.ndarray]]
"""(which sample, seed, window) -> image (h, w, 3) uint8 and class map (h, w) uint8 of that window, varied by that seed."""


@dataclass(frozen=True)
class Mixing:
    """How often samples are mixed, chances 0..1."""

    mosaic: float = 0.0
    cutmix: float = 0.0
    mixup: float = 0.0

    @classmethod
    def of(cls, recipe: Recipe) -> Mixing:
        """What a recipe asks for."""
        return cls(recipe.data.mosaic, recipe.data.cutmix, recipe.data.mixup)


UNMIXED = Mixing()


def composed(
    which: int, seed: tuple[int, ...], size_hw: tuple[int, int], count: int, mixing: Mixing, look: Look
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """One sample, perhaps as a mosaic, perhaps with a rectangle of another.

    Args:
        which: the sample drawn.
        seed: of the draw.
        size_hw: height and width of the result.
        count: number of samples; partners are any of them.
        mixing: the chances.
        look: how a part of a sample is made.

    Returns:
        image (*size_hw, 3) uint8, class map (*size_hw) uint8, and the samples in it, the drawn one first.
    """
    whole = Window(0, 0, *size_hw)
    if not (mixing.mosaic or mixing.cutmix):
        return *look(which, seed, whole), [which]
    rng = np.random.default_rng((*seed, MIX))
    in_mosaic, with_cut = rng.random(2) < (mixing.mosaic, mixing.cutmix)
    partners = [int(n) for n in rng.integers(0, count, 4)]
    used = [which]
    if in_mosaic:
        windows = quarters(rng, size_hw)
        image, class_map = np.empty((*size_hw, 3), np.uint8), np.empty(size_hw, np.uint8)
        own = int(rng.integers(0, 4))
        used += partners[:3]
        for number, window in enumerate(windows):
            # The drawn sample has a random corner, and is varied there as it would be alone.
            place = (number - own) % 4
            part = look(used[place], (*seed, MIX, place) if place else seed, window)
            _paste((image, class_map), window, part)
    else:
        image, class_map = look(which, seed, whole)
    if with_cut:
        window = rectangle(rng, size_hw)
        if window.height and window.width:
            _paste((image, class_map), window, look(partners[3], (*seed, MIX, 4), window))
            used.append(partners[3])
    return image, class_map, used


def quarters(rng: np.random.Generator, size_hw: tuple[int, int]) -> list[Window]:
    """The four parts around a random point: together they cover every pixel once.

    A part shows its picture at the same place where the whole picture would have it, so that what is usually at the top
    stays at the top, and at the same scale (Bochkovskiy et al. 2020, arXiv 2004.10934, shrink the four instead).
    """
    height, width = size_hw
    row, column = (int(side * rng.uniform(*MIDDLE)) for side in size_hw)
    return [
        Window(0, 0, row, column),
        Window(0, column, row, width - column),
        Window(row, column, height - row, width - column),
        Window(row, 0, height - row, column),
    ]


def rectangle(rng: np.random.Generator, size_hw: tuple[int, int]) -> Window:
    """Where cutmix pastes (Yun et al. 2019, arXiv 1905.04899): area uniform in 0..1 of the picture, middle anywhere, cut at the border."""
    side = rng.random() ** 0.5
    (top, bottom), (left, right) = (
        np.clip(np.array([-0.5, 0.5]) * side * length + rng.integers(0, length), 0, length).astype(int).tolist()
        for length in size_hw
    )
    return Window(top, left, bottom - top, right - left)


def blended(images: np.ndarray, seed: tuple[int, ...], mixing: Mixing) -> tuple[np.ndarray, int, float] | None:
    """Mixup (Zhang et al. 2018, arXiv 1710.09412): every picture of a batch blended with another of the same batch.

    Args:
        images: (B, H, W, 3) uint8.
        seed: of the first draw of the batch.
        mixing: the chance that this batch is blended.

    Returns:
        None where it is not; else images (B, H, W, 3) uint8, how far partners are away (picture n is blended with
        n + that, counted round the batch), and the share of a picture itself, 0.5..1, drawn from Beta(0.2, 0.2).
    """
    count = len(images)
    if not mixing.mixup or count < 2:
        return None
    rng = np.random.default_rng((*seed, BLEND))
    if rng.random() >= mixing.mixup:
        return None
    share, away = float(rng.beta(BETA, BETA)), int(rng.integers(1, count))
    # The larger share is the picture's own: which of two pictures is called the first means nothing.
    share = max(share, 1.0 - share)
    rows = images.reshape(count, -1)
    mixed = cv2.addWeighted(rows, share, np.roll(rows, -away, axis=0), 1.0 - share, 0.0)
    return np.asarray(mixed, np.uint8).reshape(images.shape), away, share


def _paste(onto: tuple[np.ndarray, np.ndarray], window: Window, part: tuple[np.ndarray, np.ndarray]) -> None:
    rows, columns = slice(window.top, window.top + window.height), slice(window.left, window.left + window.width)
    for whole, piece in zip(onto, part, strict=True):
        whole[rows, columns] = piece


def named(keys: Sequence[str]) -> str:
    """Keys of the samples in one picture, for people to read."""
    return " + ".join(dict.fromkeys(keys))
