"""Splits: seeded train, val and test that keep together what belongs together, so that scores are not flattered.

Cut is by groups. Frames of a video (one name, many regular numbers) are cut into contiguous blocks; pictures that are the
same or nearly the same, and exported variants of one source picture, stay together. The same files give the same split
on any machine and file system: order comes from a hash of seed and key, never from the folder or a random generator.

At the end: how often each training picture is drawn, so that rare classes are seen more often.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from segwright.classes import Classes
from segwright.data.layouts import ALL, Dataset
from segwright.data.likeness import Likeness, likeness, near_pairs, same_pictures
from segwright.data.sample import Sample, read_image, read_mask
from segwright.errors import DataError
from segwright.outputs import csv_text

FEWEST_FRAMES = 8
"""Numbered names of one kind count as a video from this many on."""

REGULAR = 0.6
"""Share of the gaps between running numbers that must be the commonest gap, 0..1: frames are regular, photographs are not."""

SCENE_BREAK = 10
"""A gap this many times the commonest one begins a new scene."""

BLOCKS = 10
"""Contiguous blocks that a video is cut into, at least: fewer would make val one single scene, more would cut more often."""

MOST_LOOKED_AT = 4000
"""With more pictures than this, names alone decide what belongs together: looking would delay every start by minutes."""

_VARIANT = re.compile(r"\.rf\.[0-9a-f]{16,}$", re.IGNORECASE)
_NUMBERED = re.compile(r"^(.*?)(\d+)(\D*)$")


def divide(
    dataset: Dataset, *, val_share: float = 0.15, test_share: float = 0.15, seed: int = 0
) -> dict[str, tuple[Sample, ...]]:
    """The splits to train and measure with; only samples that have a mask.

    What is divided on disk stays so. Without a val, it is cut from train; a data set that is not divided at all is cut
    into train, val and test (test is left out when its share is less than half a picture).

    Args:
        val_share: share of the pictures being cut that becomes val, 0..1.
        test_share: share that becomes test, 0..1; only for a data set that is not divided on disk.
        seed: another seed, another cut.

    Returns:
        "train" and "val", never empty, and "test" where there is one. Samples are sorted by key.

    Raises:
        DataError: fewer than two pictures with masks to train from, or shares that leave nothing for train.
    """
    if not (val_share >= 0.0 and test_share >= 0.0 and val_share + test_share < 1.0):
        raise DataError(
            f"Shares of {val_share} for val and {test_share} for test leave nothing to train with; lower them."
        )
    with_masks = {
        split: tuple(sample for sample in samples if sample.mask is not None)
        for split, samples in dataset.splits.items()
    }
    parts = {split: samples for split, samples in with_masks.items() if samples and split in {"train", "val", "test"}}
    if "train" in parts and "val" in parts:
        return parts
    flat = with_masks.get(ALL, ())
    source = flat or parts.get("train", ())
    if len(source) < 2:
        pictures = sum(len(samples) for samples in dataset.splits.values())
        raise DataError(
            f"{dataset.root} has {len(source)} picture(s) with a mask to train from, out of {pictures} pictures, and at least "
            "2 are needed; put masks beside the pictures, and run: segwright check on the folder to see what is missing."
        )
    wanted = {"val": val_share} | ({"test": test_share} if flat else {})
    cut = cut_by_groups(source, groups_of(source, smallest_part(len(source), wanted)), wanted, seed=seed)
    return {split: part for split, part in {**parts, **cut}.items() if part}


def smallest_part(count: int, shares: dict[str, float]) -> int:
    """Pictures in the smallest part that is wanted, at least 1: no block of frames may be larger."""
    return max(1, min((round(count * share) for share in shares.values() if round(count * share)), default=1))


def cut_by_groups(
    samples: Sequence[Sample], groups: Iterable[Sequence[Sample]], shares: dict[str, float], *, seed: int
) -> dict[str, tuple[Sample, ...]]:
    """Deal whole groups out to the parts; only if one group is everything is it cut itself.

    Args:
        samples: at least 2.
        groups: a partition of `samples`.
        shares: part -> share of the samples, 0..1; "val" gets at least one sample, others may stay empty.

    Returns:
        "train" and one entry for each share, sorted by key.
    """
    dealt = sorted(groups, key=lambda group: _drawn(seed, min(s.key for s in group)))
    if len(dealt) < 2:
        dealt = [[sample] for sample in sorted(samples, key=lambda s: _drawn(seed, s.key))]
    left = list(dealt)
    parts: dict[str, list[Sample]] = {}
    for part, share in shares.items():
        target = max(round(len(samples) * share), 1 if part == "val" else 0)
        taken: list[Sequence[Sample]] = []
        for group in left:
            if sum(map(len, taken)) + len(group) <= target and len(left) - len(taken) > 1:
                taken.append(group)
        if part == "val" and not taken:
            taken = [min(left, key=len)]
        left = [group for group in left if not any(group is other for other in taken)]
        parts[part] = [sample for group in taken for sample in group]
    parts["train"] = [sample for group in left for sample in group]
    return {part: tuple(sorted(members, key=lambda s: s.key)) for part, members in parts.items()}


def groups_of(samples: Sequence[Sample], largest_block: int) -> list[list[Sample]]:
    """What must stay together, as a partition of the samples.

    Args:
        samples: of one split, keys unique.
        largest_block: most frames of one video in one block, at least 1.
    """
    ordered = sorted(samples, key=lambda sample: sample.key)
    blocks, framed = _blocks([sample.key for sample in ordered], largest_block)
    same: list[Sequence[int]] = []
    near: list[tuple[int, int]] = []
    if len(ordered) <= MOST_LOOKED_AT:
        seen = _likenesses(ordered)
        positions = list(seen)
        same = [[positions[i] for i in group] for group in same_pictures(list(seen.values()))]
        pairs = [(positions[a], positions[b]) for a, b in near_pairs(list(seen.values()))]
        # Frames of one video resemble their neighbours all along: joining them would make the whole video one group.
        near = [(a, b) for a, b in pairs if framed[a] is None or framed[a] != framed[b]]
    groups = _joined(len(ordered), [*blocks, *same, *near])
    if max(map(len, groups)) > len(ordered) // 2:
        groups = _joined(len(ordered), [*blocks, *same])
    return [[ordered[i] for i in group] for group in groups]


def _blocks(keys: list[str], largest: int) -> tuple[list[list[int]], list[str | None]]:
    """Blocks of positions that belong together by name, and for every key the video it is a frame of."""
    variants: defaultdict[str, list[int]] = defaultdict(list)
    for position, key in enumerate(keys):
        variants[_VARIANT.sub("", key)].append(position)
    numbered: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
    for name in variants:
        folder, _, stem = name.rpartition("/")
        match = _NUMBERED.match(stem)
        if match:
            numbered[f"{folder}/{match[1]}*{match[3]}"].append((int(match[2]), name))
    blocks = list(variants.values())
    framed: list[str | None] = [None] * len(keys)
    for video, numbers in numbered.items():
        for block in _contiguous(sorted(numbers), largest):
            members = [position for name in block for position in variants[name]]
            blocks.append(members)
            for position in members:
                framed[position] = video
    return blocks, framed


def _contiguous(frames: list[tuple[int, str]], largest: int) -> list[list[str]]:
    """Names of a video in blocks of neighbours; nothing when the numbers are not those of a video."""
    gaps = [b - a for (a, _), (b, _) in pairwise(frames)]
    if len(frames) < FEWEST_FRAMES:
        return []
    step, often = Counter(gaps).most_common(1)[0]
    if often < REGULAR * len(gaps):
        return []
    length = max(1, min(-(-len(frames) // BLOCKS), largest))
    blocks: list[list[str]] = [[frames[0][1]]]
    for gap, (_, name) in zip(gaps, frames[1:], strict=True):
        if gap > SCENE_BREAK * max(step, 1) or len(blocks[-1]) >= length:
            blocks.append([])
        blocks[-1].append(name)
    return blocks


def _joined(count: int, together: Iterable[Sequence[int]]) -> list[list[int]]:
    """Union of everything that overlaps: a partition of 0..count-1, each group sorted, in order of its first member."""
    parent = list(range(count))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for members in together:
        for other in members[1:]:
            a, b = sorted((root(members[0]), root(other)))
            parent[b] = a
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for i in range(count):
        groups[root(i)].append(i)
    return list(groups.values())


def _likenesses(samples: Sequence[Sample]) -> dict[int, Likeness]:
    def one(sample: Sample) -> Likeness | None:
        try:
            return likeness(read_image(sample.image, shrink_to_hw=(128, 128)))
        except DataError:
            return None  # the health check names it; here it is simply like nothing else

    with ThreadPoolExecutor(4) as pool:
        found = enumerate(pool.map(one, samples))
        return {position: item for position, item in found if item is not None}


def _drawn(seed: int, key: str) -> bytes:
    return hashlib.blake2b(f"{seed}:{key}".encode(), digest_size=16).digest()


# --- drawing rare classes more often -----------------------------------------------------------------------------------


def class_pixels(
    samples: Sequence[Sample], classes: Classes, *, skip_bad: bool = False, progress: bool = False
) -> np.ndarray:
    """Labelled pixels of every class in every mask.

    Args:
        samples: with masks.
        classes: how masks are read.
        skip_bad: a mask that cannot be read counts as empty.
        progress: show a bar on stderr.

    Returns:
        (samples, classes) int64.

    Raises:
        DataError: a mask cannot be read.
    """

    def one(sample: Sample) -> np.ndarray:
        counts = np.zeros(len(classes), np.int64)
        if sample.mask is not None:
            try:
                counts = np.bincount(read_mask(sample.mask, classes).ravel(), minlength=256)[: len(classes)]
            except DataError:
                if not skip_bad:
                    raise
        return counts

    rows: list[np.ndarray] = []
    with (
        ThreadPoolExecutor(4) as pool,
        Progress(transient=True, disable=not progress, console=Console(stderr=True)) as bar,
    ):
        task = bar.add_task("counting classes", total=len(samples))
        for start in range(0, len(samples), 64):
            rows += pool.map(one, samples[start : start + 64])
            bar.update(task, completed=len(rows))
    return np.array(rows, np.int64).reshape(-1, len(classes))


def repeat_factors(pixels: np.ndarray, balance: float) -> np.ndarray:
    """How often a picture is drawn, relative to one without rare classes: repeat factor sampling.

    A class in a share f of the pictures has the factor max(1, sqrt(balance / f)), a picture the largest factor of its
    classes (Gupta et al. 2019, LVIS, arXiv 1908.03195, section 4.3, whose threshold is `balance` here).

    Args:
        pixels: (pictures, classes), as `class_pixels` counts them.
        balance: 0..1; 0 makes all factors 1.

    Returns:
        (pictures,) float64, each at least 1.
    """
    holds = pixels > 0
    share = holds.mean(axis=0)
    # A class that occurs nowhere multiplies nothing.
    factors = np.maximum(1.0, np.sqrt(balance / np.where(share > 0, share, 1.0)))
    return np.asarray(np.where(holds, factors, 1.0).max(axis=1), np.float64)


@dataclass(frozen=True)
class ClassShares:
    """What a pass over the training pictures shows of each class, every picture drawn once and as it is drawn now."""

    names: tuple[str, ...]
    pictures: np.ndarray
    """(2, classes) float64: share of the pictures that hold the class, 0..1, before and after."""
    pixels: np.ndarray
    """(2, classes) float64: share of the labelled pixels, 0..1, before and after."""

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """Name, pictures before and after, pixels before and after, as text with six digits."""
        columns = (*self.pictures, *self.pixels)
        return [(name, *(f"{c[n]:.6f}" for c in columns)) for n, name in enumerate(self.names)]  # type: ignore[misc]

    def to_csv(self) -> str:
        """One line for each class."""
        return csv_text(["class", "pictures_before", "pictures_after", "pixels_before", "pixels_after"], self.rows())

    def table(self, most: int = 30) -> Table:
        """The same in percent, for the terminal: the rarest classes first, `most` at most."""
        table = Table("class", "in pictures", "balanced", "of pixels", "balanced", box=None, pad_edge=False)
        for n in np.argsort(self.pictures[0], kind="stable")[:most]:
            cells = (self.pictures[0, n], self.pictures[1, n], self.pixels[0, n], self.pixels[1, n])
            table.add_row(escape(self.names[n]), *(f"{100 * cell:.2f} %" for cell in cells))
        return table


def class_shares(pixels: np.ndarray, repeats: np.ndarray, classes: Classes) -> ClassShares:
    """Shares of the classes before and after balancing.

    Args:
        pixels: (pictures, classes), as `class_pixels` counts them.
        repeats: (pictures,), as `repeat_factors` gives them.
        classes: their names.
    """
    weights = np.stack([np.ones(len(repeats)), repeats])
    weights /= weights.sum(axis=1, keepdims=True)
    shown = weights @ pixels
    return ClassShares(
        classes.names, weights @ (pixels > 0), shown / np.maximum(shown.sum(axis=1, keepdims=True), 1e-12)
    )
