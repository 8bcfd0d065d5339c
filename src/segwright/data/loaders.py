"""Samples to batches, as a Lightning data module: decode once, keep, vary, mix, stack.

Every random choice follows from the `Draw` (data/order.py) that travels to the loading processes as the index, so that their
number changes nothing. Batches stay uint8 until they are on the device: a quarter of the copying, and the network's first
layer converts them anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from segwright.classes import IGNORED, Classes
from segwright.data.augment import Variation, Window, augmented, variation_of
from segwright.data.cache import DecodedFile, cache_folder, digest_of, filled, remembered
from segwright.data.mixing import UNMIXED, Mixing, blended, composed, named
from segwright.data.order import Draw, Order
from segwright.data.patches import shown_in_a_pass
from segwright.data.sample import Sample, mask_of, read_raw_mask, read_scaled, require_same_size
from segwright.data.splits import ClassShares, class_pixels, class_shares, repeat_factors
from segwright.errors import DataError, OutputError
from segwright.machine import cores_here
from segwright.masks import class_map_from_raw, ignore_unowned
from segwright.preprocess import is_turned, placement, turned
from segwright.recipe import Recipe

STAND_IN = 6
"""Stream of random numbers that chooses what stands in for a picture that cannot be read."""

WHOLE = (0, 0)
"""Size of a draw that is not placed at all: a whole picture as it is on disk, to be evaluated in tiles."""
BLANK = (32, 32)
"""Size of what stands for such a picture where it cannot be read."""

NEXT_TO_NOTHING = 1.1
"""Reduction up to which every pixel of a picture has its say without averaging; a JPEG that was decoded at a fraction is often so near."""

Skipped = tuple[tuple[str, str], ...]


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

    skipped: tuple[tuple[str, str], ...] = ()
    """Key and reason of pictures that could not be read and for which others stand in."""

    def weigh(self, loss: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """Loss against the class maps; for blended pictures the sum of both losses, each with its share.

        Args:
            loss: from class maps (B, H, W) uint8 to a scalar.
        """
        if self.other_maps is None:
            return loss(self.class_maps)
        return self.share * loss(self.class_maps) + (1.0 - self.share) * loss(self.other_maps)


class Drawn(NamedTuple):
    """One sample as it goes into a batch."""

    image: np.ndarray
    """(H, W, 3) uint8 RGB."""
    class_map: np.ndarray
    """(H, W) uint8; 255 is ignored."""
    key: str
    skipped: Skipped = ()
    """As `Batch.skipped`."""


class Pictures(Dataset[Drawn]):
    """Samples, decoded at most once while they fit the budget of the cache.

    Args:
        samples: with masks.
        classes: how masks are read.
        recipe: size, fit, patches, cache, and whether unreadable pictures are skipped.
        variation: applied to every draw.
        mixing: how often samples are mixed with others.
        shown: numbers of the samples that a pass shows; None shows each once.
        held_out: whether they measure: nothing stands in for an unreadable picture then, it is ignored everywhere.
        processes: loading processes that share the budget of a cache in memory.
        cache_share: of the budget, 0..1; the rest is for other pictures of the run.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        classes: Classes,
        recipe: Recipe,
        variation: Variation,
        *,
        mixing: Mixing = UNMIXED,
        shown: np.ndarray | None = None,
        held_out: bool = False,
        processes: int = 1,
        cache_share: float = 1.0,
    ) -> None:
        self.samples, self.classes, self.recipe, self.variation = samples, classes, recipe, variation
        self.mixing, self.held_out = mixing, held_out
        self.shown = np.arange(len(samples)) if shown is None else shown
        self._kept: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._budget = recipe.data.cache_gb * 1e9 * cache_share
        self._ram_budget = self._budget / max(processes, 1)
        self._bytes_left = self._ram_budget if recipe.data.cache == "ram" else 0.0
        self._file: DecodedFile | None = None

    def __len__(self) -> int:
        return len(self.shown)

    def __getitem__(self, draw: Draw) -> Drawn:
        if draw.size_hw == WHOLE:
            number, pair, skipped = self._readable(int(self.shown[draw.which]), draw.seed, BLANK)
            return Drawn(*pair, self.samples[number].key, skipped)
        data, used, bad = self.recipe.data, dict[int, int](), dict[str, str]()

        def look(which: int, seed: tuple[int, ...], window: Window) -> tuple[np.ndarray, np.ndarray]:
            number, pair, unread = self._readable(int(self.shown[which]), seed, draw.size_hw)
            used[which] = number
            bad.update(unread)
            return augmented(*pair, draw.size_hw, data.fit, self.variation, seed, window=window, patch=data.patch_size)

        image, class_map, places = composed(draw.which, draw.seed, draw.size_hw, len(self), self.mixing, look)
        keys = [self.samples[used[place]].key for place in places if place in used]
        return Drawn(image, class_map, named(keys), tuple(bad.items()))

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
        return batch._replace(
            images=torch.from_numpy(images).permute(0, 3, 1, 2), keys=tuple(keys), other_maps=others, share=share
        )

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
            self._file = filled(*args, budget=self._budget, name=name, progress=progress)
            return ""
        except (OSError, OutputError) as error:
            self._bytes_left = self._ram_budget
            return f"The cache on disk cannot be used, and memory is used instead: {error}"

    def _readable(
        self, number: int, seed: tuple[int, ...], blank_hw: tuple[int, int]
    ) -> tuple[int, tuple[np.ndarray, np.ndarray], Skipped]:
        """Number and pair of a sample; with --skip-bad, of one that stands in for it."""
        try:
            return number, self._decoded(number), ()
        except DataError as error:
            if not self.recipe.data.skip_bad:
                raise
            reason = str(error)
        skipped = ((self.samples[number].key, reason),)
        if self.held_out:
            blank = np.zeros((*blank_hw, 3), np.uint8), np.full(blank_hw, IGNORED, np.uint8)
            return number, blank, skipped
        for other in np.random.default_rng((*seed, STAND_IN)).permutation(len(self.samples)):
            try:
                return int(other), self._decoded(int(other)), skipped
            except DataError:
                continue
        raise DataError(f"None of the {len(self.samples)} training pictures can be read; the first: {reason}")

    def _fresh_or_none(self, index: int) -> tuple[np.ndarray, np.ndarray] | None:
        try:
            return read_shrunk(self.samples[index], self.classes, self.recipe)
        except DataError:
            return None  # named when it is drawn

    def _decoded(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if self._file is not None and (kept := self._file.get(index)) is not None:
            return kept
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
        recipe: its size and fit decide; pictures are never enlarged, and those that patches are taken from are left as they are.

    Returns:
        image (h, w, 3) uint8 RGB and class map (h, w) uint8, both turned where the recipe turns.

    Raises:
        DataError: as `read_pair`.
    """
    mask = mask_of(sample)
    image, image_hw = read_scaled(sample.image, lambda height, width: shrunk_hw(height, width, recipe))
    raw = read_raw_mask(mask)
    require_same_size(sample, image_hw, raw.shape[:2])
    height, width = shrunk_hw(*image_hw, recipe)
    image = shrunk(image, (height, width))
    if (height, width) != raw.shape[:2]:
        # Plain INTER_NEAREST takes the upper left pixel of those that become one: half a pixel of drift.
        raw = cv2.resize(raw, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    class_map = ignore_unowned(class_map_from_raw(raw, classes))
    if recipe.data.turn and is_turned(*image_hw, recipe.data.size_hw):
        return turned(image), turned(class_map)
    return image, class_map


def shrunk(image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """A picture made smaller by averaging; where there is next to nothing to average, by interpolating, which is six times as fast.

    Args:
        image: (H, W, 3) uint8.
        size_hw: height and width of the answer.

    Returns:
        (*size_hw, 3) uint8. Up to a reduction of `NEXT_TO_NOTHING` it differs from `preprocess.place_image` by less than one grey level
        of 255, root mean square on photographs, either way.
    """
    height, width = size_hw
    if image.shape[:2] == size_hw:
        return image
    little = image.shape[0] <= NEXT_TO_NOTHING * height and image.shape[1] <= NEXT_TO_NOTHING * width
    how = cv2.INTER_LINEAR if little else cv2.INTER_AREA
    return np.asarray(cv2.resize(image, (width, height), interpolation=how), np.uint8)


def shrunk_hw(height: int, width: int, recipe: Recipe) -> tuple[int, int]:
    """Height and width a picture is kept at: where the network's input is clearly smaller, its scale there."""
    if recipe.data.patch_size:
        return height, width
    if recipe.data.turn and is_turned(height, width, recipe.data.size_hw):
        across, down = shrunk_hw(width, height, recipe)
        return down, across
    (scale_y, _), (scale_x, _) = placement(height, width, recipe.data.size_hw, recipe.data.fit)
    if min(scale_y, scale_x) >= 0.95:
        return height, width
    return max(round(height * min(scale_y, 1.0)), 1), max(round(width * min(scale_x, 1.0)), 1)


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
    return Batch(images, class_maps, tuple(one.key for one in drawn), skipped=skipped)


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
        progress: show bars on stderr while masks are counted and a cache is filled.
    """

    def __init__(
        self,
        splits: Splits,
        classes: Classes,
        recipe: Recipe,
        device: str,
        world: int = 1,
        *,
        variation: Variation | None = None,
        progress: bool = False,
    ) -> None:
        super().__init__()
        self.recipe, self.device, self.world = recipe, device, world
        self.allow_zero_length_dataloader_with_multiple_devices = True  # fewer val pictures than processes
        self.processes = self._processes()
        shown = shown_in_a_pass(splits.train, recipe.data.patch_size)
        self.batch_size = min(recipe.fit.batch_size, max(len(shown) // world, 1))
        varied = variation_of(recipe) if variation is None else variation
        of_train = len(splits.train) / (len(splits.train) + len(splits.val))
        self.train_pictures = Pictures(
            splits.train,
            classes,
            recipe,
            varied,
            mixing=Mixing.of(recipe),
            shown=shown,
            processes=self.processes,
            cache_share=of_train,
        )
        self.val_pictures = Pictures(
            splits.val,
            classes,
            recipe,
            Variation(),
            held_out=True,
            processes=self.processes,
            cache_share=1 - of_train,
        )
        self.shares: ClassShares | None = None
        """What balancing does to the classes; None where nothing is balanced."""
        repeats = self._repeats(splits.train, classes, progress)[shown] if recipe.data.balance else None
        self.order = Order(
            len(shown),
            recipe.fit.seed,
            recipe.data.size_hw,
            self.batch_size,
            world=world,
            accumulate=recipe.fit.accumulate,
            repeats=repeats,
        )
        self.notes: list[str] = []
        """Lines for the user about how the pictures are loaded."""
        if self.processes > (cores := cores_here()):
            self.notes.append(
                f"--workers {self.processes} are more loading processes than the {cores} cores that may be used; they slow each other down."
            )
        for name, pictures in (("train", self.train_pictures), ("val", self.val_pictures)):
            if note := pictures.fill(name, progress=progress):
                self.notes.append(note)

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
        """In order, only placed (for patches: whole pictures of any size, one by one); each process takes its share, none twice."""
        by_tiles = self.recipe.data.patch_size > 0
        size_hw, batch_size = (WHOLE, 1) if by_tiles else (self.recipe.data.size_hw, self.batch_size)
        mine = range(self.order.rank, len(self.val_pictures), self.world)
        draws = [Draw(i, (0,), size_hw) for i in mine]
        return DataLoader(self.val_pictures, batch_size=batch_size, sampler=draws, **self._loading())

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
            "collate_fn": as_it_is,
            "num_workers": self.processes,
            "persistent_workers": self.processes > 0,
            "pin_memory": self.device == "cuda",
            # Loaders draw a number whenever they begin; from the global generator it would shift what dropout draws.
            "generator": torch.Generator(),
        }
