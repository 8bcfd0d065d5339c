"""The score of every picture of a check, and small copies of the few pictures that are worth looking at."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from segwright import metrics
from segwright.classes import IGNORED
from segwright.render import Rgb8
from segwright.training.machines import of_all_processes

WORST = 4
"""Pictures shown for being the worst of a check, besides the fixed ones."""
KEPT_AREA = 300 * 225
"""Pixels of a copy at most; a picture of many megapixels would not fit a page, nor should it stay in memory."""

ClassMap = NDArray[np.uint8]
Value = TypeVar("Value")


@dataclass(frozen=True)
class Shown:
    """A picture with its truth and what the network made of it, small."""

    key: str
    iou: float
    """Of this picture alone, 0..1; NaN when all its pixels are ignored."""
    image: Rgb8
    """(h, w, 3)."""
    truth: ClassMap
    """(h, w)."""
    prediction: ClassMap
    """(h, w)."""


class Tally:
    """Scores of the pictures of one check.

    Args:
        keys: of all pictures that are checked.
        fixed: this many of them, evenly spread, are shown at every check; 0 shows none at all.
        worst: this many of the others are shown for having the lowest IoU.
    """

    def __init__(self, keys: Sequence[str], fixed: int, worst: int = WORST) -> None:
        places = np.linspace(0, len(keys) - 1, min(fixed, len(keys))).astype(int)
        self.fixed_keys = tuple(keys[place] for place in places)
        self.worst = worst if self.fixed_keys else 0
        self.ious: dict[str, float] = {}
        """Of every picture that has a counted pixel."""
        self._copies: dict[str, Shown] = {}
        self._lowest: list[tuple[float, str]] = []

    def clear(self) -> None:
        """Begin a check."""
        self.ious.clear()
        self._copies.clear()
        self._lowest.clear()

    def add(
        self, key: str, image: torch.Tensor, truth: ClassMap, prediction: ClassMap, counts: NDArray[np.int64]
    ) -> None:
        """Note one picture.

        Args:
            key: of the sample.
            image: (3, H, W) uint8; copied only when it may be shown.
            truth: (H, W).
            prediction: (H, W).
            counts: (C, C) pixel pairs of this picture.
        """
        iou = picture_iou(counts)
        if np.isfinite(iou):
            self.ious[key] = iou
            self._rank([(iou, key)])
        if key in self._wanted():
            self._copies[key] = _small(key, iou, image, truth, prediction)
            self._drop_unwanted()

    def worst_keys(self) -> tuple[str, ...]:
        """The lowest scores so far, lowest first, the fixed pictures left out."""
        return tuple(key for _, key in self._lowest)

    def _rank(self, scores: Iterable[tuple[float, str]]) -> None:
        for iou, key in scores:
            if key not in self.fixed_keys and (iou, key) not in self._lowest:
                bisect.insort(self._lowest, (iou, key))
                del self._lowest[self.worst :]

    def _wanted(self) -> set[str]:
        return {*self.fixed_keys, *self.worst_keys()}

    def _drop_unwanted(self) -> None:
        wanted = self._wanted()
        self._copies = {key: copy for key, copy in self._copies.items() if key in wanted}

    def gather(self) -> None:
        """Join what all processes noted; every one of them must call this. Only copies that will be shown are sent."""
        self.ious = _joined(self.ious)
        self._lowest.clear()
        self._rank((iou, key) for key, iou in self.ious.items())
        self._drop_unwanted()
        self._copies = _joined(self._copies)

    def shown(self) -> tuple[list[Shown], list[Shown]]:
        """Copies of the fixed pictures in their order, and of the worst, lowest first."""
        fixed, worst = (
            [self._copies[k] for k in keys if k in self._copies] for keys in (self.fixed_keys, self.worst_keys())
        )
        return fixed, worst


def picture_iou(counts: NDArray[np.int64]) -> float:
    """IoU of one picture: of class 1 where there are two classes, else the mean over the classes it has.

    Args:
        counts: (C, C).

    Returns:
        0..1, also 1.0 where class 1 is neither there nor predicted; NaN when no pixel was counted.
    """
    if len(counts) > 2 or not counts.sum():
        return float(metrics.mean_iou(counts))
    return float(np.nan_to_num(metrics.iou(counts)[1], nan=1.0))


def _small(key: str, iou: float, image: torch.Tensor, truth: ClassMap, prediction: ClassMap) -> Shown:
    whole = image.permute(1, 2, 0).cpu().numpy()
    inside = _without_border(whole, truth)
    height, width = truth[inside].shape
    scale = min(1.0, (KEPT_AREA / (height * width)) ** 0.5)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return Shown(
        key,
        iou,
        np.asarray(cv2.resize(np.ascontiguousarray(whole[inside]), size, interpolation=cv2.INTER_AREA), np.uint8),
        *(
            np.asarray(cv2.resize(m[inside], size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
            for m in (truth, prediction)
        ),
    )


def _without_border(image: Rgb8, truth: ClassMap) -> tuple[slice, slice]:
    """The part that is no black filling around a picture of another shape than the network's input."""
    filled = (truth == IGNORED) & ~image.any(axis=2)
    sides = [np.flatnonzero(~filled.all(axis=axis)) for axis in (1, 0)]
    if not all(len(side) for side in sides):
        return slice(None), slice(None)
    rows, columns = (slice(int(side[0]), int(side[-1]) + 1) for side in sides)
    return rows, columns


def _joined(mine: dict[str, Value]) -> dict[str, Value]:
    return {key: value for one in of_all_processes(mine) for key, value in one.items()}
