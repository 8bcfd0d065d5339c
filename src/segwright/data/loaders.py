"""Samples to batches, as a Lightning data module: decode once, keep in memory, vary, stack.

The order and every random choice follow from (seed, pass, position), and travel to the loading processes inside the
index, so that the number of workers changes nothing. Batches stay uint8 until they are on the device: a quarter of the
copying, and the network's first layer converts them anyway.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import cv2
import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from segwright.classes import Classes
from segwright.data.augment import Variation, Window, augmented, variation_of
from segwright.data.mixing import UNMIXED, Mixing, blended, composed, named
from segwright.data.sample import Sample, mask_of, read_raw_mask, read_scaled, require_same_size
from segwright.masks import class_map_from_raw, ignore_unowned
from segwright.preprocess import placement
from segwright.recipe import Recipe

ORDER, LOOK = 0, 1
"""Streams of random numbers: one orders the samples, one varies them."""


class Batch(NamedTuple):
    """What training and validation steps are given."""

    images: torch.Tensor
    """(B, 3, H, W) uint8 RGB."""
    class_maps: torch.Tensor
    """(B, H, W) uint8; 255 is ignored."""
    keys: tuple[str, ...]
    """Keys of the samples; those of all pictures in it, where several were mixed."""
    other_maps: torch.Tensor | None = None
    """(B, H, W) uint8, where pictures were blended: class maps of the pictures blended in."""
    share: float = 1.0
    """How much of each picture is its own, 0.5..1; the rest belongs to `other_maps`."""

    def weigh(self, loss: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """Loss against the class maps; for blended pictures the sum of both losses, each with its share.

        Args:
            loss: from class maps (B, H, W) uint8 to a scalar.
        """
        if self.other_maps is None:
            return loss(self.class_maps)
        return self.share * loss(self.class_maps) + (1.0 - self.share) * loss(self.other_maps)


class Draw(NamedTuple):
    """One sample to be made: which, how it varies, how large."""

    which: int
    seed: tuple[int, ...]
    size_hw: tuple[int, int]


class Course(Protocol):
    """Where a training is: what `Order` must know of it. Loading processes work ahead, so it asks when batches are planned."""

    @property
    def batch(self) -> int:
        """Batches that this process has learnt from."""
        ...

    def stretch_ends(self) -> float:
        """The batch before which the next check is made; the loader ends there, and begins anew after it."""
        ...

    def size_hw(self, batch: int) -> tuple[int, int]:
        """Height and width of a batch."""
        ...


@dataclass
class Endless:
    """A course that never changes."""

    at_hw: tuple[int, int]
    batch: int = 0

    def stretch_ends(self) -> float:
        """Never."""
        return math.inf

    def size_hw(self, batch: int) -> tuple[int, int]:
        """Always the same."""
        return self.at_hw


class Order(Sampler[Draw]):
    """Which picture comes when: one endless sequence of seeded shuffles, cut into batches, dealt out to the processes.

    What a batch holds follows from its number alone, so that a run can begin anywhere in the sequence, and several
    processes together see what a single one with their joint batch would.

    Args:
        count: number of samples.
        seed: of the run.
        size_hw: height and width to draw at, unless `course` is replaced.
        batch_size: pictures in a batch of one process.
        world: processes that train together.
        accumulate: a pass is filled up, by starting over, to whole groups of this many batches of all processes.
    """

    def __init__(
        self, count: int, seed: int, size_hw: tuple[int, int], batch_size: int, *, world: int = 1, accumulate: int = 1
    ) -> None:
        self.count, self.seed, self.batch_size, self.world = count, seed, batch_size, world
        self.rank = 0
        """Number of this process among all."""
        self.course: Course = Endless(size_hw)
        whole = batch_size * world * accumulate
        self.length = -(-count // whole) * whole
        """Pictures in a pass, over all processes."""

    @property
    def batches_per_pass(self) -> int:
        """Of one process."""
        return self.length // (self.batch_size * self.world)

    def __iter__(self) -> Iterator[Draw]:
        batch, ends, number = self.course.batch, self.course.stretch_ends(), -1
        while batch < ends:
            size_hw = self.course.size_hw(batch)
            for place in range(self.batch_size):
                here, position = divmod((batch * self.world + self.rank) * self.batch_size + place, self.length)
                if here != number:
                    order, number = self._order_of(here), here
                yield Draw(int(order[position % self.count]), (self.seed, LOOK, number, position), size_hw)
            batch += 1

    def _order_of(self, number: int) -> np.ndarray:
        return np.random.default_rng((self.seed, ORDER, number)).permutation(self.count)


class Pictures(Dataset[tuple[np.ndarray, np.ndarray, str]]):
    """Samples, decoded at most once while they fit the memory budget.

    Args:
        samples: with masks.
        classes: how masks are read.
        recipe: size, fit and memory budget.
        variation: applied to every draw.
        mixing: how often samples are mixed with others.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        classes: Classes,
        recipe: Recipe,
        variation: Variation,
        mixing: Mixing = UNMIXED,
    ) -> None:
        self.samples, self.classes, self.recipe, self.variation = samples, classes, recipe, variation
        self.mixing = mixing
        self._kept: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._bytes_left = recipe.data.cache_gb * 1e9

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, draw: Draw) -> tuple[np.ndarray, np.ndarray, str]:
        def look(which: int, seed: tuple[int, ...], window: Window) -> tuple[np.ndarray, np.ndarray]:
            fit = self.recipe.data.fit
            return augmented(*self._decoded(which), draw.size_hw, fit, self.variation, seed, window=window)

        image, class_map, used = composed(draw.which, draw.seed, draw.size_hw, len(self), self.mixing, look)
        return image, class_map, named([self.samples[each].key for each in used])

    def __getitems__(self, draws: Sequence[Draw]) -> Batch:
        """A whole batch at once, as PyTorch's loaders ask for where this method exists: blending needs all of it."""
        batch = stack([self[draw] for draw in draws])
        images, class_maps = batch.images.permute(0, 2, 3, 1).numpy(), batch.class_maps.numpy()
        mixed = blended(images, draws[0].seed, self.mixing)
        if mixed is None:
            return batch
        images, away, share = mixed
        keys = [named([key, batch.keys[(n + away) % len(draws)]]) for n, key in enumerate(batch.keys)]
        others = torch.from_numpy(np.roll(class_maps, -away, axis=0))
        return Batch(torch.from_numpy(images).permute(0, 3, 1, 2), batch.class_maps, tuple(keys), others, share)

    def _decoded(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if index in self._kept:
            return self._kept[index]
        pair = read_shrunk(self.samples[index], self.classes, self.recipe)
        size = pair[0].nbytes + pair[1].nbytes
        if size <= self._bytes_left:
            self._bytes_left -= size
            self._kept[index] = pair
        return pair


def read_shrunk(sample: Sample, classes: Classes, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """A pair at the scale of the network's input: averaging now spares aliasing in the warp later.

    The mask is shrunk before its values are looked up, which is the same and spares the work for most of its pixels.

    Args:
        sample: with a mask.
        classes: how masks are read.
        recipe: its size and fit decide; pictures are never enlarged.

    Returns:
        image (h, w, 3) uint8 RGB and class map (h, w) uint8.

    Raises:
        DataError: as `read_pair`.
    """
    mask = mask_of(sample)
    image, image_hw = read_scaled(sample.image, lambda height, width: shrunk_hw(height, width, recipe))
    raw = read_raw_mask(mask)
    require_same_size(sample, image_hw, raw.shape[:2])
    height, width = shrunk_hw(*image_hw, recipe)
    if (height, width) != image.shape[:2]:
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    if (height, width) != raw.shape[:2]:
        # Plain INTER_NEAREST takes the upper left pixel of those that become one: half a pixel of drift.
        raw = cv2.resize(raw, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return image, ignore_unowned(class_map_from_raw(raw, classes))


def shrunk_hw(height: int, width: int, recipe: Recipe) -> tuple[int, int]:
    """Height and width a picture is kept at: where the network's input is clearly smaller, its scale there."""
    (scale_y, _), (scale_x, _) = placement(height, width, recipe.data.size_hw, recipe.data.fit)
    if min(scale_y, scale_x) >= 0.95:
        return height, width
    return max(round(height * min(scale_y, 1.0)), 1), max(round(width * min(scale_x, 1.0)), 1)


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


def as_it_is(batch: Batch) -> Batch:
    """What loaders do with a batch that is one already."""
    return batch


@dataclass(frozen=True)
class Splits:
    """Samples to learn from and samples to check with."""

    train: tuple[Sample, ...]
    val: tuple[Sample, ...]


class Pairs(L.LightningDataModule):
    """Training batches up to the next check, validation batches in order.

    Args:
        splits: samples with masks.
        classes: how masks are read.
        recipe: its size must be chosen (not 0).
        device: "cpu" or "cuda".
        world: processes that train together.
        variation: of the training pictures; None takes what the recipe names.
    """

    def __init__(
        self,
        splits: Splits,
        classes: Classes,
        recipe: Recipe,
        device: str,
        world: int = 1,
        variation: Variation | None = None,
    ) -> None:
        super().__init__()
        variation = variation_of(recipe) if variation is None else variation
        self.recipe, self.device, self.world = recipe, device, world
        self.allow_zero_length_dataloader_with_multiple_devices = True  # fewer val pictures than processes
        self.batch_size = min(recipe.fit.batch_size, max(len(splits.train) // world, 1))
        self.train_pictures = Pictures(splits.train, classes, recipe, variation, Mixing.of(recipe))
        self.val_pictures = Pictures(splits.val, classes, recipe, Variation())
        self.order = Order(
            len(splits.train),
            recipe.fit.seed,
            recipe.data.size_hw,
            self.batch_size,
            world=world,
            accumulate=recipe.fit.accumulate,
        )

    def setup(self, stage: str) -> None:
        """Lightning calls this when it is known which of the processes this one is."""
        if self.trainer is not None:
            self.order.rank = self.trainer.global_rank

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled, varied, no ragged batch; ends where the course says that a check is due."""
        return DataLoader(
            self.train_pictures, batch_size=self.batch_size, sampler=self.order, drop_last=True, **self._loading()
        )

    def val_dataloader(self) -> DataLoader[Any]:
        """In order, only placed; each process takes its share, and none twice."""
        mine = range(self.order.rank, len(self.val_pictures), self.world)
        draws = [Draw(i, (0,), self.recipe.data.size_hw) for i in mine]
        return DataLoader(self.val_pictures, batch_size=self.batch_size, sampler=draws, **self._loading())

    def _loading(self) -> dict[str, Any]:
        wanted = self.recipe.data.workers
        # On a CPU the network already uses every core, and a warm cache leaves the loader 2 % of a step.
        count = wanted if wanted >= 0 else (0 if self.device == "cpu" else min(8, torch.get_num_threads()))
        return {
            "collate_fn": as_it_is,
            "num_workers": count,
            "persistent_workers": count > 0,
            "pin_memory": self.device == "cuda",
            # Loaders draw a number whenever they begin; from the global generator it would shift what dropout draws.
            "generator": torch.Generator(),
        }
