"""The difference between two models on the same pictures, with an interval that knows they are the same.

A hard picture is hard for both. Drawing pictures, and with each both answers, leaves out what the models have in common: the
interval of the difference is often several times narrower than those of the two scores let expect.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from segwright.errors import DataError
from segwright.evaluation.intervals import RESAMPLES, Scores, bootstrap
from segwright.evaluation.report import Report, Score


def difference(before: Report, after: Report, *, seed: int = 0, resamples: int = RESAMPLES) -> Score:
    """By how much the headline score (IoU of class 1 of two, else mIoU) changes from one model to another, -1..1.

    Args:
        before: of one model.
        after: of the other, on the same pictures and classes.
        seed: of the bootstrap.
        resamples: of the bootstrap.

    Raises:
        DataError: they were not measured on the same pictures, or tell other classes apart.
    """
    pictures, names = [p.key for p in before.pictures], [c.name for c in before.classes]
    if pictures != [p.key for p in after.pictures] or len(names) != len(after.classes):
        raise DataError(
            "Two reports can be compared only where both measured the same pictures with the same classes; "
            "measure both again on one split."
        )
    counts = np.stack([_counts(before), _counts(after)], axis=1)
    two = len(names) == 2

    def scores(summed: NDArray[np.float64]) -> Scores:
        hit, true, predicted = summed[..., 0], summed[..., 1], summed[..., 2]
        with np.errstate(invalid="ignore", divide="ignore"):
            iou = hit / (true + predicted - hit)
            present = true > 0
            mean = np.where(present, np.nan_to_num(iou), 0.0).sum(-1) / present.sum(-1)
        headline = iou[..., 1] if two else mean
        return {"difference": headline[..., 1] - headline[..., 0]}

    value = float(scores(counts.sum(axis=0).astype(np.float64))["difference"])
    low, high = bootstrap(counts, scores, seed=seed, resamples=resamples)["difference"]
    return Score(value=value) if math.isnan(value) else Score(value=value, low=float(low), high=float(high))


def _counts(report: Report) -> NDArray[np.int64]:
    """(pictures, classes, 3): pixels right, in the truth, and predicted."""
    counts = np.zeros((len(report.pictures), len(report.classes), 3), np.int64)
    for row, picture in zip(counts, report.pictures, strict=True):
        for number, three in picture.counts.items():
            row[number] = three
    return counts
