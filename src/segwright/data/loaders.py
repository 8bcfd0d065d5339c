"""Samples to batches, as a Lightning data module: decode once, keep in memory, vary, stack.

The order and every random choice follow from (seed, pass, position), and travel to the loading processes inside the
index, so that the number of workers changes nothing. Batches stay uint8 until they are on the device: a quarter of the
copying, and the network's first layer converts them anyway.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from segwright.classes import IGNORED, Classes
from segwright.data.augment import LEVELS, Variation, augmented
from segwright.data.cache import DecodedFile, cache_folder, digest_of, filled, remembered
from segwright.data.sample import Sample, read_pair
from segwright.data.splits import ClassShares, class_pixels, class_shares, repeat_factors
from segwright.errors import DataError, OutputError
from segwright.preprocess import placement
from segwright.recipe import Recipe

ORDER, LOOK, STAND_IN = 0, 1, 3
"""Streams of random numbers: one orders the samples, one varies them, one replaces pictures that cannot be read."""


class Batch(NamedTuple):
    """What training and validation steps are given."""

    images: torch.Tensor
    """(B, 3, H, W) uint8 RGB."""
    class_maps: torch.Tensor
    """(B, H, W) uint8; 255 is ignored."""
    keys: tuple[str, ...]
    """Keys of the samples."""
    skipped: tuple[tuple[str, str], ...] = ()
    """Key and reason of pictures that could not be read and for which others stand in."""


class Drawn(NamedTuple):
    """One sample as it goes into a batch."""

    image: np.ndarray
    """(H, W, 3) uint8 RGB."""
    class_map: np.ndarray
    """(H, W) uint8; 255 is ignored."""
    key: str
    skipped: tuple[tuple[str, str], ...] = ()
    """As `Batch.skipped`."""


class Draw(NamedTuple):
    """One sample to be made: which, how it varies, how large."""

    which: int
    seed: tuple[int, ...]
    size_hw: tuple[int, int]


class Order(Sampler[Draw]):
    """A seeded shuffle of each pass.

    Args:
        count: number of samples.
        seed: of the run.
        size_hw: height and width to draw at, unless `size_at` is replaced.
        multiple: the pass is filled up to a multiple of this by starting over, so that no batch is ragged.
        repeats: (count,) how often each sample is drawn relative to the others; None draws each once in a pass.
    """

    def __init__(
        self, count: int, seed: int, size_hw: tuple[int, int], multiple: int, repeats: np.ndarray | None = None
    ) -> None:
        self.count, self.seed, self.multiple, self.repeats = count, seed, multiple, repeats
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
        order = self._order_of(number)
        for position in range(self.length):
            if position % self.multiple == 0:
                size_hw = self.size_at((number * self.length + position) // self.multiple)
            yield Draw(int(order[position % self.count]), (self.seed, LOOK, number, position), size_hw)

    def _order_of(self, number: int) -> np.ndarray:
        """(count,) samples of pass `number`, shuffled; with `repeats`, each occurs as often as it should, rounded up or down."""
        rng = np.random.default_rng((self.seed, ORDER, number))
        if self.repeats is None:
            return rng.permutation(self.count)
        # Systematic sampling: evenly spaced points on a line on which each sample has a stretch of its share.
        ends = np.cumsum(self.repeats) * (self.count / self.repeats.sum())
        points = rng.random() + np.arange(self.count)
        return rng.permutation(np.minimum(np.searchsorted(ends, points, side="right"), self.count - 1))


class Pictures(Dataset[Drawn]):
    """Samples, decoded at most once while they fit the budget of the cache.

    Args:
        samples: with masks.
        classes: how masks are read.
        recipe: size, fit, cache, and whether unreadable pictures are skipped.
        variation: applied to every draw.
        held_out: whether they measure: nothing stands in for an unreadable picture then, it is ignored everywhere.
        processes: loading processes that share the budget of a cache in memory.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        classes: Classes,
        recipe: Recipe,
        variation: Variation,
        *,
        held_out: bool = False,
        processes: int = 1,
    ) -> None:
        self.samples, self.classes, self.recipe, self.variation = samples, classes, recipe, variation
        self.held_out = held_out
        self._kept: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._budget = recipe.data.cache_gb * 1e9 / max(processes, 1)
        self._bytes_left = self._budget if recipe.data.cache == "ram" else 0.0
        self._file: DecodedFile | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, draw: Draw) -> Drawn:
        which, (image, class_map), skipped = self._readable(draw)
        image, class_map = augmented(image, class_map, draw.size_hw, self.recipe.data.fit, self.variation, draw.seed)
        return Drawn(image, class_map, self.samples[which].key, skipped)

    def fill(self, name: str, *, progress: bool = False) -> str:
        """Fill the cache on disk, or find it filled.

        Args:
            name: begins the file's name.
            progress: show a bar on stderr.

        Returns:
            A line for the user where that failed and memory is used instead, else nothing.
        """
        if self.recipe.data.cache != "disk" or not self.recipe.data.cache_gb:
            return ""
        try:
            args = self.samples, self.classes, self.recipe, self._fresh_or_none
            self._file = filled(*args, name=name, progress=progress)
            return ""
        except (OSError, OutputError) as error:
            self._bytes_left = self._budget
            return f"The cache on disk cannot be used, and memory is used instead: {error}"

    def _readable(self, draw: Draw) -> tuple[int, tuple[np.ndarray, np.ndarray], tuple[tuple[str, str], ...]]:
        """Number and pair of the sample that is drawn; with --skip-bad, of one that stands in for it."""
        try:
            return draw.which, self._decoded(draw.which), ()
        except DataError as error:
            if not self.recipe.data.skip_bad:
                raise
            reason = str(error)
        skipped = ((self.samples[draw.which].key, reason),)
        if self.held_out:
            blank = np.zeros((*draw.size_hw, 3), np.uint8), np.full(draw.size_hw, IGNORED, np.uint8)
            return draw.which, blank, skipped
        for other in np.random.default_rng((*draw.seed, STAND_IN)).permutation(len(self.samples)):
            try:
                return int(other), self._decoded(int(other)), skipped
            except DataError:
                continue
        raise DataError(f"None of the {len(self.samples)} training pictures can be read; the first: {reason}")

    def _fresh_or_none(self, index: int) -> tuple[np.ndarray, np.ndarray] | None:
        try:
            return shrunk(*read_pair(self.samples[index], self.classes), self.recipe)
        except DataError:
            return None  # named when it is drawn

    def _decoded(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if self._file is not None and (kept := self._file.get(index)) is not None:
            return kept
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
        recipe: its size and fit decide; pictures are never enlarged.

    Returns:
        The pair, smaller or as it was.
    """
    height, width = class_map.shape
    (scale_y, _), (scale_x, _) = placement(height, width, recipe.data.size_hw, recipe.data.fit)
    if min(scale_y, scale_x) >= 0.95:
        return image, class_map
    size = max(round(width * min(scale_x, 1.0)), 1), max(round(height * min(scale_y, 1.0)), 1)
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8), np.asarray(
        cv2.resize(class_map, size, interpolation=cv2.INTER_NEAREST), np.uint8
    )


def stack(drawn: Sequence[Drawn]) -> Batch:
    """Join samples of one size.

    Args:
        drawn: samples; what each is made of, is said there.

    Returns:
        A batch; its images are channels-last in memory, which is how convolutions are fastest.
    """
    images = torch.from_numpy(np.stack([one.image for one in drawn])).permute(0, 3, 1, 2)
    class_maps = torch.from_numpy(np.stack([one.class_map for one in drawn]))
    skipped = tuple(skip for one in drawn for skip in one.skipped)
    return Batch(images, class_maps, tuple(one.key for one in drawn), skipped)


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
        progress: show bars on stderr while masks are counted and a cache is filled.
    """

    def __init__(
        self, splits: Splits, classes: Classes, recipe: Recipe, device: str, *, progress: bool = False
    ) -> None:
        super().__init__()
        self.recipe, self.device = recipe, device
        batch_size = min(recipe.fit.batch_size, max(len(splits.train), 1))
        self.processes = self._processes()
        self.train_pictures = Pictures(
            splits.train, classes, recipe, LEVELS[recipe.data.augment], processes=self.processes
        )
        self.val_pictures = Pictures(splits.val, classes, recipe, Variation(), held_out=True, processes=self.processes)
        self.shares: ClassShares | None = None
        """What balancing does to the classes; None where nothing is balanced."""
        repeats = self._repeats(splits.train, classes, progress) if recipe.data.balance else None
        self.order = Order(len(splits.train), recipe.fit.seed, recipe.data.size_hw, batch_size, repeats)
        self.batch_size = batch_size
        self.notes: list[str] = []
        """Lines for the user about how the pictures are loaded."""
        if self.processes > (cores := _cores()):
            self.notes.append(
                f"--workers {self.processes} are more loading processes than the {cores} cores that may be used; they slow each other down."
            )
        for name, pictures in (("train", self.train_pictures), ("val", self.val_pictures)):
            if note := pictures.fill(name, progress=progress):
                self.notes.append(note)

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled, varied, no ragged batch."""
        return DataLoader(
            self.train_pictures, batch_size=self.batch_size, sampler=self.order, drop_last=True, **self._loading()
        )

    def val_dataloader(self) -> DataLoader[Any]:
        """In order, only placed."""
        draws = [Draw(i, (0,), self.recipe.data.size_hw) for i in range(len(self.val_pictures))]
        return DataLoader(self.val_pictures, batch_size=self.batch_size, sampler=draws, **self._loading())

    def _repeats(self, samples: Sequence[Sample], classes: Classes, progress: bool) -> np.ndarray:
        data = self.recipe.data
        path = cache_folder(self.recipe) / f"classes-{digest_of(samples, classes, data.skip_bad).hex()[:24]}.npy"
        pixels = remembered(path, lambda: class_pixels(samples, classes, skip_bad=data.skip_bad, progress=progress))
        repeats = repeat_factors(pixels, data.balance)
        self.shares = class_shares(pixels, repeats, classes)
        return repeats

    def _processes(self) -> int:
        wanted = self.recipe.data.workers
        # On a CPU the network already uses every core, and a warm cache leaves the loader 2 % of a step.
        return wanted if wanted >= 0 else (0 if self.device == "cpu" else min(8, torch.get_num_threads()))

    def _loading(self) -> dict[str, Any]:
        return {
            "collate_fn": stack,
            "num_workers": self.processes,
            "persistent_workers": self.processes > 0,
            "pin_memory": self.device == "cuda",
        }


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
