"""Inspection: what one look at a picture and its mask records - sizes, damage, values, pixels per class - and nothing else.

The facts of a pair are a few kilobytes, so that a pass over a million pairs fits into memory; what they mean for the
data set as a whole is said in `health.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from segwright.classes import IGNORED, Classes
from segwright.data.likeness import Likeness, likeness
from segwright.data.sample import EXIF_ORIENTATION, Sample, opened, read_image, read_raw_mask
from segwright.errors import DataError, PixelLimitError
from segwright.masks import UNOWNED, class_map_from_raw

SHRUNK_HW = (256, 256)
"""JPEGs are decoded at no more than they need for a fingerprint; every byte of the file is read all the same."""

THREADS = 4
"""Decoding leaves Python free; more threads would multiply the memory of very large pictures."""


@dataclass(frozen=True)
class PictureFacts:
    """One picture, from its header and, in a full inspection, its pixels."""

    error: str = ""
    """Why it cannot be read; empty when it can."""
    over_limit: bool = False
    raw_hw: tuple[int, int] = (0, 0)
    """Height and width as stored, before EXIF rotation."""
    orientation: int = 1
    """EXIF orientation, 1 (upright) to 8."""
    mode: str = ""
    """Pillow's name of the pixel type."""
    kind: str = ""
    """Pillow's name of the file type."""
    likeness: Likeness | None = None

    @property
    def hw(self) -> tuple[int, int]:
        """Height and width, upright."""
        return (self.raw_hw[1], self.raw_hw[0]) if self.orientation >= 5 else self.raw_hw


@dataclass(frozen=True)
class MaskFacts:
    """One mask; everything below `kind` only where it was decoded."""

    error: str = ""
    hw: tuple[int, int] = (0, 0)
    kind: str = ""
    decoded: bool = False
    pixels: tuple[int, ...] = ()
    """Pixels per class number."""
    ignored: int = 0
    unowned: int = 0
    """Pixels whose value on disk no class owns."""
    strangers: tuple[str, ...] = ()
    """The most frequent of those values, as text: 7, or #ff0000."""
    only_0_255: bool = False
    """Grey, 255 occurs, and nothing but 0 and 255."""
    dark: bool = False
    """Read as black and white, but its foreground is darker than the middle, for example written as 1."""
    border: float = 0.0
    """Share of the border's pixels that are class 1, 0..1."""


@dataclass(frozen=True)
class Inspection:
    """One sample and what was found."""

    split: str
    sample: Sample
    picture: PictureFacts
    mask: MaskFacts | None

    @property
    def usable(self) -> bool:
        """Whether picture and mask can be read and have the same size."""
        return (
            self.mask is not None and not self.picture.error and not self.mask.error and self.picture.hw == self.mask.hw
        )


def inspect_all(
    samples: Sequence[tuple[str, Sample]],
    classes: Classes,
    *,
    decode: Callable[[int], tuple[bool, bool]],
    step: Callable[[], None],
) -> list[Inspection]:
    """Inspect many samples in threads, in order.

    Args:
        samples: (split, sample).
        classes: how masks are read.
        decode: position -> (decode the picture, decode the mask); otherwise only headers are read.
        step: called after each sample.
    """
    found: list[Inspection] = []

    def one(position: int) -> Inspection:
        split, sample = samples[position]
        picture, mask = decode(position)
        return Inspection(
            split,
            sample,
            picture_facts(sample.image, decode=picture),
            mask_facts(sample.mask, classes, decode=mask) if sample.mask is not None else None,
        )

    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(samples), 64):
            for inspection in pool.map(one, range(start, min(start + 64, len(samples)))):
                found.append(inspection)
                step()
    return found


def picture_facts(path: Path, *, decode: bool) -> PictureFacts:
    """Facts of one picture; problems become `error`, nothing is raised."""
    facts = PictureFacts()
    try:
        with opened(path) as picture:
            facts = PictureFacts(
                raw_hw=(picture.height, picture.width),
                orientation=min(max(int(picture.getexif().get(EXIF_ORIENTATION, 1)), 1), 8),
                mode=picture.mode,
                kind=picture.format or "",
            )
        return replace(facts, likeness=likeness(read_image(path, shrink_to_hw=SHRUNK_HW))) if decode else facts
    except DataError as error:
        return replace(facts, error=str(error), over_limit=isinstance(error, PixelLimitError))


def mask_facts(path: Path, classes: Classes, *, decode: bool) -> MaskFacts:
    """Facts of one mask; problems become `error`, nothing is raised."""
    facts = MaskFacts()
    try:
        with opened(path) as picture:
            turned = int(picture.getexif().get(EXIF_ORIENTATION, 1)) >= 5
            size = (picture.width, picture.height) if turned else (picture.height, picture.width)
            facts = MaskFacts(hw=size, kind=picture.format or "")
        return _decoded(facts, read_raw_mask(path), classes) if decode else facts
    except DataError as error:
        return replace(facts, error=str(error))


def _decoded(facts: MaskFacts, raw: np.ndarray, classes: Classes) -> MaskFacts:
    class_map = class_map_from_raw(raw, classes)
    counts = np.bincount(class_map.ravel(), minlength=256)
    edge = np.concatenate([class_map[0], class_map[-1], class_map[:, 0], class_map[:, -1]])
    labelled = int((edge != IGNORED).sum())
    grey = raw if raw.ndim == 2 else raw.max(axis=2)
    brightest = int(grey.max())
    return replace(
        facts,
        decoded=True,
        pixels=tuple(counts[: len(classes)].tolist()),
        ignored=int(counts[IGNORED]),
        unowned=int(counts[UNOWNED]),
        strangers=_strangers(raw, class_map == UNOWNED) if counts[UNOWNED] else (),
        only_0_255=brightest == 255 and bool(((grey == 0) | (grey == 255)).all()),
        dark=classes.notation == "binary" and 0 < brightest < 128,
        border=float((edge == 1).sum() / labelled) if labelled else 0.0,
    )


def _strangers(raw: np.ndarray, unowned: np.ndarray) -> tuple[str, ...]:
    if raw.ndim == 3:
        r, g, b = (raw[..., channel][unowned].astype(np.int32) for channel in range(3))
        return _most_frequent((r << 16) | (g << 8) | b, "#{:06x}")
    return _most_frequent(raw[unowned], "{}")


def _most_frequent(found: np.ndarray, form: str) -> tuple[str, ...]:
    values, counts = np.unique(found, return_counts=True)
    ordered: Iterable[int] = values[np.argsort(-counts, kind="stable")][:8].tolist()
    return tuple(form.format(value) for value in ordered)
