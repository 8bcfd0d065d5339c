"""The matrix-product bootstrap against one that draws pictures in a loop, and against the truth it should cover."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from segwright import metrics
from segwright.evaluation import intervals
from segwright.evaluation.intervals import Scores, bootstrap


def mean_iou(counts: NDArray[np.float64]) -> Scores:
    return {"miou": metrics.mean_iou(counts), "iou": metrics.iou(counts)}


def some_counts(pictures: int, classes: int = 3, seed: int = 0) -> NDArray[np.int64]:
    random = np.random.default_rng(seed)
    counts = random.integers(0, 100, (pictures, classes, classes))
    counts[:, range(classes), range(classes)] += random.integers(0, 900, (pictures, classes))
    return counts


def test_agrees_with_a_loop_that_draws_pictures() -> None:
    counts = some_counts(20)
    random = np.random.default_rng(5)
    drawn = [float(metrics.mean_iou(counts[random.integers(0, 20, 20)].sum(axis=0))) for _ in range(4000)]
    low, high = bootstrap(counts, mean_iou, resamples=4000)["miou"]
    assert (low, high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])), abs=0.01)
    assert low < metrics.mean_iou(counts.sum(axis=0)) < high


def test_same_seed_same_interval_in_chunks_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = some_counts(12)
    whole = bootstrap(counts, mean_iou, seed=3, resamples=200)
    monkeypatch.setattr(intervals, "CHUNK_CELLS", 100)
    chunked = bootstrap(counts, mean_iou, seed=3, resamples=200)
    assert np.array_equal(whole["miou"], chunked["miou"])
    assert not np.array_equal(whole["miou"], bootstrap(counts, mean_iou, seed=4, resamples=200)["miou"])


def test_covers_the_truth_about_as_often_as_it_says() -> None:
    """Accuracy of pictures that are right with probability 0.7 plus a picture's own luck; 95 % of intervals hold 0.7."""
    random = np.random.default_rng(1)

    def accuracy(counts: NDArray[np.float64]) -> Scores:
        return {"accuracy": metrics.pixel_accuracy(counts)}

    covered = 0
    for trial in range(150):
        right = random.binomial(1000, np.clip(random.normal(0.7, 0.1, 60), 0, 1))
        counts = np.zeros((60, 2, 2), np.int64)
        counts[:, 0, 0], counts[:, 0, 1] = right, 1000 - right
        low, high = bootstrap(counts, accuracy, seed=trial, resamples=400)["accuracy"]
        covered += low <= 0.7 <= high
    assert 0.88 <= covered / 150 <= 0.99


def test_few_pictures_have_no_interval() -> None:
    found = bootstrap(some_counts(4), mean_iou)
    assert np.isnan(found["miou"]).all()
    assert found["iou"].shape == (2, 3)


def test_absent_class_has_no_interval_and_no_warning() -> None:
    counts = some_counts(10, classes=4)
    counts[:, 3], counts[:, :, 3] = 0, 0
    found = bootstrap(counts, mean_iou)
    assert np.isnan(found["iou"][:, 3]).all()
    assert not np.isnan(found["iou"][:, :3]).any()


def test_many_classes_stay_cheap() -> None:
    counts = np.zeros((40, 150, 150), np.int64)
    counts[:, range(150), range(150)] = np.random.default_rng(0).integers(1, 9, (40, 150))
    assert bootstrap(counts, mean_iou, resamples=100)["miou"].tolist() == [1.0, 1.0]
