"""Samples to batches, as a Lightning data module: decode once, keep in memory, vary, stack.

The order and every random choice follow from (seed, pass, position), and travel to the loading processes inside the
index, so that the number of workers changes nothing. Batches stay uint8 until they are on the device: a quarter of the
copying, and the network's first layer converts them anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from segwright.classes import Classes
from segwright.data.augment import LEVELS, Variation, augmented
from segwright.data.patches import shown_in_a_pass
from segwright.data.sample import Sample, read_pair
from segwright.preprocess import placement
from segwright.recipe import Recipe

ORDER, LOOK = 0, 1
"""Streams of random numbers: one orders the samples, one varies them."""

WHOLE = (0, 0)
"""Size of a draw that is not placed at all: a whole picture as it is on disk, to be evaluated in tiles."""


class Batch(NamedTuple):
    """What training and validation steps are given."""

    images: torch.Tensor
    """(B, 3, H, W) uint8 RGB."""
    class_maps: torch.Tensor
    """(B, H, W) uint8; 255 is ignored."""
    keys: tuple[str, ...]
    """Keys of the samples."""


class Draw(NamedTuple):
    """One sample to be made: which, how it varies, how large."""

    which: int
    """Place in a pass; with patches, several places show the same picture."""
    seed: tuple[int, ...]
    size_hw: tuple[int, int]


class Order(Sampler[Draw]):
    """A seeded shuffle of each pass.

    Args:
        count: number of samples.
        seed: of the run.
        size_hw: height and width to draw at, unless `size_at` is replaced.
        multiple: the pass is filled up to a multiple of this by starting over, so that no batch is ragged.
    """

    def __init__(self, count: int, seed: int, size_hw: tuple[int, int], multiple: int) -> None:
        self.count, self.seed, self.multiple = count, seed, multiple
        self.length = -(-count // multiple) * multiple
        self.passes_begun = 0
        self.size_at: Callable[[int], tuple[int, int]] = lambda step: size_hw
        """(height, width) of the batch for optimiser step `step`: asked here, because loading processes work ahead."""

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Draw]:
        # Counted when a pass begins: Lightning takes the last batch of a pass and never asks whether there is another.
        number = self.passes_begun
        self.passes_begun += 1
        order = np.random.default_rng((self.seed, ORDER, number)).permutation(self.count)
        for position in range(self.length):
            if position % self.multiple == 0:
                size_hw = self.size_at((number * self.length + position) // self.multiple)
            yield Draw(int(order[position % self.count]), (self.seed, LOOK, number, position), size_hw)


class Pictures(Dataset[tuple[np.ndarray, np.ndarray, str]]):
    """Samples, decoded at most once while they fit the memory budget.

    Args:
        samples: with masks.
        classes: how masks are read.
        recipe: size, fit and memory budget.
        variation: applied to every draw.
        shown: numbers of the samples that a pass shows; None shows each once.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        classes: Classes,
        recipe: Recipe,
        variation: Variation,
        shown: np.ndarray | None = None,
    ) -> None:
        self.shown = np.arange(len(samples)) if shown is None else shown
        self.samples, self.classes, self.recipe, self.variation = samples, classes, recipe, variation
        self._kept: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._bytes_left = recipe.data.cache_gb * 1e9

    def __len__(self) -> int:
        return len(self.shown)

    def __getitem__(self, draw: Draw) -> tuple[np.ndarray, np.ndarray, str]:
        draw, data = draw._replace(which=int(self.shown[draw.which])), self.recipe.data
        image, class_map = self._decoded(draw.which)
        if draw.size_hw != WHOLE:
            image, class_map = augmented(
                image, class_map, draw.size_hw, data.fit, self.variation, draw.seed, patch=data.patch_size
            )
        return image, class_map, self.samples[draw.which].key

    def _decoded(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if index in self._kept:
            return self._kept[index]
        pair = shrunk(*read_pair(self.samples[index], self.classes), self.recipe)
        size = pair[0].nbytes + pair[1].nbytes
        if size <= self._bytes_left:
            self._bytes_left -= size
            self._kept[index] = pair
        return pair


def shrunk(image: np.ndarray, class_map: np.ndarray, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """A pair at the scale of the network's input: averaging now spares aliasing in the warp later.

    Args:
        image: (H, W, 3) uint8.
        class_map: (H, W) uint8.
        recipe: its size and fit decide; pictures are never enlarged, and those that patches are taken from are left as they are.

    Returns:
        The pair, smaller or as it was.
    """
    height, width = class_map.shape
    if recipe.data.patch_size:
        return image, class_map
    (scale_y, _), (scale_x, _) = placement(height, width, recipe.data.size_hw, recipe.data.fit)
    if min(scale_y, scale_x) >= 0.95:
        return image, class_map
    size = max(round(width * min(scale_x, 1.0)), 1), max(round(height * min(scale_y, 1.0)), 1)
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8), np.asarray(
        cv2.resize(class_map, size, interpolation=cv2.INTER_NEAREST), np.uint8
    )


def stack(drawn: list[tuple[np.ndarray, np.ndarray, str]]) -> Batch:
    """Join samples of one size.

    Args:
        drawn: (image (H, W, 3) uint8, class map (H, W) uint8, key) each.

    Returns:
        A batch; its images are channels-last in memory, which is how convolutions are fastest.
    """
    images = torch.from_numpy(np.stack([image for image, _, _ in drawn])).permute(0, 3, 1, 2)
    class_maps = torch.from_numpy(np.stack([class_map for _, class_map, _ in drawn]))
    return Batch(images, class_maps, tuple(key for _, _, key in drawn))


@dataclass(frozen=True)
class Splits:
    """Samples to learn from and samples to check with."""

    train: tuple[Sample, ...]
    val: tuple[Sample, ...]


class Pairs(L.LightningDataModule):
    """Training batches without end, validation batches in order.

    Args:
        splits: samples with masks.
        classes: how masks are read.
        recipe: its size must be chosen (not 0).
        device: "cpu" or "cuda".
    """

    def __init__(self, splits: Splits, classes: Classes, recipe: Recipe, device: str) -> None:
        super().__init__()
        self.recipe, self.device = recipe, device
        shown = shown_in_a_pass(splits.train, recipe.data.patch_size)
        batch_size = min(recipe.fit.batch_size, max(len(shown), 1))
        self.train_pictures = Pictures(splits.train, classes, recipe, LEVELS[recipe.data.augment], shown)
        self.val_pictures = Pictures(splits.val, classes, recipe, Variation())
        self.order = Order(len(shown), recipe.fit.seed, recipe.data.size_hw, batch_size)
        self.batch_size = batch_size

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled, varied, no ragged batch."""
        return DataLoader(
            self.train_pictures, batch_size=self.batch_size, sampler=self.order, drop_last=True, **self._loading()
        )

    def val_dataloader(self) -> DataLoader[Any]:
        """In order, only placed; or, for patches, whole pictures of any size, one by one."""
        by_tiles = self.recipe.data.patch_size > 0
        size_hw, batch_size = (WHOLE, 1) if by_tiles else (self.recipe.data.size_hw, self.batch_size)
        draws = [Draw(i, (0,), size_hw) for i in range(len(self.val_pictures))]
        return DataLoader(self.val_pictures, batch_size=batch_size, sampler=draws, **self._loading())

    def _loading(self) -> dict[str, Any]:
        wanted = self.recipe.data.workers
        # On a CPU the network already uses every core, and a warm cache leaves the loader 2 % of a step.
        count = wanted if wanted >= 0 else (0 if self.device == "cpu" else min(8, torch.get_num_threads()))
        return {
            "collate_fn": stack,
            "num_workers": count,
            "persistent_workers": count > 0,
            "pin_memory": self.device == "cuda",
        }
