"""The difference between two models on the same pictures, with an interval that knows they are the same.

A hard picture is hard for both. Drawing pictures, and with each both answers, leaves out what the models have in common: the
interval of the difference is often several times narrower than those of the two scores let expect.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segwright import metrics
from segwright.errors import DataError
from segwright.evaluation.intervals import RESAMPLES, Scores, bootstrap
from segwright.evaluation.report import Report, Score


@dataclass(frozen=True, kw_only=True)
class Change:
    """By how much one model scores otherwise than another on the same pictures, -1..1; above 0 it is the better one."""

    headline: Score
    """Of the score to quote: IoU of class 1 of two classes, else mIoU."""
    classes: tuple[Score, ...]
    """Of the IoU of each class."""
    better: tuple[str, ...]
    """Keys of the pictures it scores higher on, the largest gain first."""
    worse: tuple[str, ...]
    """Keys of those it scores lower on, the largest loss first."""

    @property
    def verdict(self) -> str:
        """better, worse, or unsure when 0 lies in the interval or there is none."""
        if not self.headline.sure or self.headline.low <= 0 <= self.headline.high:
            return "unsure"
        return "better" if self.headline.low > 0 else "worse"


def change(before: Report, after: Report, *, seed: int = 0, resamples: int = RESAMPLES) -> Change:
    """What changes from one model to another.

    Args:
        before: of one model.
        after: of the other, on the same pictures, masks and classes.
        seed: of the bootstrap.
        resamples: of the bootstrap.

    Raises:
        DataError: they were not measured on the same pictures and masks, or tell other classes apart.
    """
    names = [c.name for c in before.classes]
    counts = np.stack([_counts(before), _counts(after)], axis=1) if _alike(before, after) else None
    if counts is None or (counts[:, 0, :, 1] != counts[:, 1, :, 1]).any():
        raise DataError(
            "Two reports can be compared only where both measured the same pictures with the same classes and masks; "
            "measure both again on one split."
        )
    two = len(names) == 2

    def scores(summed: NDArray[np.float64]) -> Scores:
        three = np.moveaxis(summed, -1, 0)
        iou = metrics.iou_of(*three)
        headline = iou[..., 1] if two else metrics.mean_iou_of(*three)
        return {"headline": headline[..., 1] - headline[..., 0], "classes": iou[..., 1, :] - iou[..., 0, :]}

    values = scores(counts.sum(axis=0).astype(np.float64))
    bounds = bootstrap(counts, scores, seed=seed, resamples=resamples)
    gains = {a.key: a.score - b.score for b, a in zip(before.pictures, after.pictures, strict=True)}
    return Change(
        headline=_score(values["headline"], bounds["headline"]),
        classes=tuple(_score(values["classes"][n], bounds["classes"][:, n]) for n in range(len(names))),
        better=tuple(sorted((key for key, gain in gains.items() if gain > 0), key=lambda key: -gains[key])),
        worse=tuple(sorted((key for key, gain in gains.items() if gain < 0), key=lambda key: gains[key])),
    )


def difference(before: Report, after: Report, *, seed: int = 0, resamples: int = RESAMPLES) -> Score:
    """By how much the headline score changes; see `change`."""
    return change(before, after, seed=seed, resamples=resamples).headline


def _alike(before: Report, after: Report) -> bool:
    """Pictures in their order and the number of classes; two models may call the classes otherwise."""
    return [p.key for p in before.pictures] == [p.key for p in after.pictures] and len(before.classes) == len(
        after.classes
    )


def _score(value: Any, bounds: Any) -> Score:
    if math.isnan(value):
        return Score(value=math.nan)
    return Score(value=float(value), low=float(bounds[0]), high=float(bounds[1]))


def _counts(report: Report) -> NDArray[np.int64]:
    """(pictures, classes, 3): pixels right, in the truth, and predicted."""
    counts = np.zeros((len(report.pictures), len(report.classes), 3), np.int64)
    for row, picture in zip(counts, report.pictures, strict=True):
        for number, three in picture.counts.items():
            row[number] = three
    return counts
