"""Threshold and clean-up, chosen on pictures with masks - and what the choice is worth on pictures it was not made on.

The best of a hundred thresholds looks better than it is on the pictures that made it the best. So the gain is cross-fitted: the
pictures are cut into five parts, and each part is scored with what was chosen on the other four. The parts are not independent, since
each helped to choose for the others; the interval of the paired difference is widened for that (Nadeau and Bengio 2003, Inference
for the Generalization Error, Machine Learning 52). Of choices among a hundred equal candidates, 7 to 10 % passed for gains without it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from segwright import metrics
from segwright.classes import Classes
from segwright.data.sample import Sample, read_pair
from segwright.errors import DataError
from segwright.evaluation.intervals import RESAMPLES, Scores, bootstrap
from segwright.evaluation.report import Score
from segwright.predict.cleanup import Cleanup
from segwright.predict.predictor import Predicts

THRESHOLDS = tuple(number / 100 for number in range(1, 100))
PIECES = (0, 16, 64, 256, 1024, 4096)
"""Pixels of pieces that are dropped and of holes that are filled."""
CLEANUPS = tuple(Cleanup(smallest=smallest, hole=hole) for smallest, hole in product(PIECES, PIECES)) + tuple(
    Cleanup(largest_only=True, hole=hole) for hole in PIECES
)
PARTS = 5
WIDER = math.sqrt(1 + PARTS / (PARTS - 1))
"""Of the paper: the variance of the mean over J parts is (1/J + test/train) instead of 1/J times that of one."""


@dataclass(frozen=True)
class Choice:
    """The best of some candidates."""

    best: int
    """Its position among them."""
    present: int
    """Position of the one that is used so far."""
    scores: tuple[float, ...]
    """Of each candidate on all pictures, 0..1."""
    gain: Score
    """What choosing gains over the present candidate on pictures it was not made on, -1..1."""

    @property
    def certain(self) -> bool:
        """Whether the whole interval of the gain lies above 0."""
        return self.gain.sure and self.gain.low > 0

    @property
    def taken(self) -> int:
        """Position of the one to use from now on: the best only where it is certain to gain."""
        return self.best if self.certain else self.present


def choice(
    counts: NDArray[np.int64], present: int, *, middle: bool, seed: int = 0, resamples: int = RESAMPLES
) -> Choice:
    """Choose the candidate with the best mean IoU.

    Args:
        counts: (N, K, C, 3): pixels right, true and predicted, of N pictures, K candidates and C classes.
        present: position of the candidate that is used so far; it wins where others are as good.
        middle: of others that are equally good, take the one in their middle, which is furthest from falling off, else the first.
        seed: of the bootstrap, and of the cut into parts.
        resamples: of the bootstrap.
    """
    scores = _mean_iou(counts.sum(axis=0).astype(np.float64))
    best = _best(scores, present, middle=middle)
    parts = np.random.default_rng(seed).permutation(len(counts)) % PARTS
    chosen = np.empty_like(counts[:, 0])
    for part in range(min(PARTS, len(counts))):
        others = counts[parts != part] if len(counts) > 1 else counts
        chosen[parts == part] = counts[
            parts == part, _best(_mean_iou(others.sum(axis=0).astype(np.float64)), present, middle=middle)
        ]
    pairs = np.stack([counts[:, present], chosen], axis=1)

    def gain(summed: NDArray[np.float64]) -> Scores:
        both = _mean_iou(summed)
        return {"gain": both[..., 1] - both[..., 0]}

    value = float(gain(pairs.sum(axis=0).astype(np.float64))["gain"])
    low, high = bootstrap(pairs, gain, seed=seed, resamples=resamples)["gain"]
    gained = Score(value=value)
    if not math.isnan(value):
        gained = Score(
            value=value, low=value - WIDER * (value - float(low)), high=value + WIDER * (float(high) - value)
        )
    return Choice(best, present, tuple(float(score) for score in scores), gained)


def threshold_counts(
    predictor: Predicts,
    samples: Sequence[Sample],
    data_classes: Classes,
    thresholds: Sequence[float],
    *,
    step: Callable[[], None],
) -> NDArray[np.int64]:
    """Count what each threshold would find.

    Args:
        predictor: of two classes.
        samples: pictures with masks.
        data_classes: how the masks are read; matched by name.
        thresholds: rising, 0..1.
        step: called after each picture.

    Returns:
        (N, thresholds, 1, 3) as `choice` takes them, of the foreground.

    Raises:
        DataError: a picture or mask that cannot be read, or a picture too large for its probabilities to be kept.
    """
    table = predictor.classes.numbers_in(data_classes)
    edges = np.asarray(thresholds, np.float32)  # as `Classes.decode` compares them
    counts = np.zeros((len(samples), len(thresholds), 1, 3), np.int64)
    for row, sample in zip(counts, samples, strict=True):
        image, truth = read_pair(sample, data_classes)
        probabilities = predictor.predict(image, probabilities=True).probabilities
        if probabilities is None:
            raise DataError(f"{sample.image} is too large to be tuned on; name smaller pictures, or another --split.")
        passed = np.searchsorted(edges, probabilities[0], side="right")
        truth = table[truth]
        found = [np.bincount(passed[truth == number], minlength=len(thresholds) + 1) for number in (0, 1)]
        # Behind position t stand the pixels that pass threshold t.
        negatives, positives = (histogram[::-1].cumsum()[::-1][1:] for histogram in found)
        row[:, 0] = np.stack([positives, np.full_like(positives, found[1].sum()), positives + negatives], axis=1)
        step()
    return counts


def cleanup_counts(
    predictor: Predicts,
    samples: Sequence[Sample],
    data_classes: Classes,
    cleanups: Sequence[Cleanup],
    *,
    step: Callable[[], None],
) -> NDArray[np.int64]:
    """Count what each clean-up would leave; as `threshold_counts`.

    Returns:
        (N, clean-ups, C, 3): of the foreground of two classes, else of every class.
    """
    classes = len(predictor.classes)
    table = predictor.classes.numbers_in(data_classes)
    kept = slice(1, None) if classes == 2 else slice(None)
    counts = []
    for sample in samples:
        image, truth = read_pair(sample, data_classes)
        truth, class_map = table[truth], predictor.predict(image).class_map
        confusions = np.stack([metrics.confusion(truth, tidy(class_map), classes) for tidy in cleanups])
        counts.append(np.stack(metrics.margins(confusions), axis=-1)[:, kept])
        step()
    return np.stack(counts)


def _mean_iou(summed: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., C, 3) -> (...): over the classes that occur in the truth."""
    return metrics.mean_iou_of(*np.moveaxis(summed, -1, 0))


def _best(scores: NDArray[np.float64], present: int, *, middle: bool) -> int:
    """Position of the highest score; of equal ones as `choice` says."""
    if np.isnan(scores).all():
        return present
    highest = np.flatnonzero(scores == np.nanmax(scores))
    return present if present in highest else int(highest[len(highest) // 2 if middle else 0])
