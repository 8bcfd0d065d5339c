"""Counts against a loop over pixels, and scores against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from segwright import metrics


def counted_by_loop(truth: NDArray[np.uint8], prediction: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    counts = np.zeros((classes, classes), np.int64)
    for t, p in zip(truth.ravel().tolist(), prediction.ravel().tolist(), strict=True):
        if t < classes:
            counts[t, p] += 1
    return counts


@st.composite
def pairs(draw: st.DrawFn) -> tuple[NDArray[np.uint8], NDArray[np.uint8], int]:
    classes = draw(st.integers(2, 20))
    shape = draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    truth = draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, classes)))
    prediction = draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, classes - 1)))
    return np.where(truth == classes, np.uint8(255), truth), prediction, classes


@st.composite
def matrices(draw: st.DrawFn) -> NDArray[np.int64]:
    classes = draw(st.integers(2, 6))
    return draw(hnp.arrays(np.int64, (classes, classes), elements=st.integers(0, 50)))


@given(pairs())
@settings(deadline=None)
def test_confusion_counts_what_a_loop_counts(pair: tuple[NDArray[np.uint8], NDArray[np.uint8], int]) -> None:
    truth, prediction, classes = pair
    counts = metrics.confusion(truth, prediction, classes)
    assert counts.dtype == np.int64
    assert np.array_equal(counts, counted_by_loop(truth, prediction, classes))


@given(pairs())
@settings(deadline=None)
def test_both_ways_of_counting_agree(pair: tuple[NDArray[np.uint8], NDArray[np.uint8], int]) -> None:
    truth, prediction, classes = pair
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "FAST_CLASSES", 0)
        slow = metrics.confusion(truth, prediction, classes)
    assert np.array_equal(metrics.confusion(truth, prediction, classes), slow)


@pytest.mark.parametrize("classes", [2, 12, 15, 16, 150, 254])
def test_confusion_at_every_count_of_classes_and_on_views(classes: int) -> None:
    random = np.random.default_rng(classes)
    truth = random.integers(0, classes, (40, 60)).astype(np.uint8)
    truth[:5] = 255
    prediction = random.integers(0, classes, (40, 60)).astype(np.uint8)
    for view in (np.s_[:, :], np.s_[::-1, ::2], np.s_[3:4, :], np.s_[:, 5:6]):
        expected = counted_by_loop(truth[view], prediction[view], classes)
        assert np.array_equal(metrics.confusion(truth[view], prediction[view], classes), expected)
    assert np.array_equal(
        metrics.confusion(truth.T, prediction.T, classes), counted_by_loop(truth, prediction, classes)
    )


@pytest.mark.parametrize("classes", [3, 30])
def test_values_that_are_no_class_are_left_out(classes: int) -> None:
    truth = np.array([[0, 254, 255, 1]], np.uint8)
    counts = metrics.confusion(truth, np.array([[0, 1, 1, 2]], np.uint8), classes)
    assert counts.sum() == 2
    assert counts[0, 0] == counts[1, 2] == 1


def test_pictures_beyond_float32_are_counted_exactly() -> None:
    truth = np.zeros((5000, 4000), np.uint8)  # 20 million pixels of one pair: over 2**24
    truth[0, 0] = 1
    assert metrics.confusion(truth, np.zeros_like(truth), 2).tolist() == [[19_999_999, 0], [1, 0]]


@given(pairs(), st.integers(0, 12))
@settings(deadline=None)
def test_counts_of_parts_add_up(pair: tuple[NDArray[np.uint8], NDArray[np.uint8], int], cut: int) -> None:
    truth, prediction, classes = pair
    cut = min(cut, truth.shape[0] - 1)
    if cut:
        parts = metrics.confusion(truth[:cut], prediction[:cut], classes) + metrics.confusion(
            truth[cut:], prediction[cut:], classes
        )
        assert np.array_equal(parts, metrics.confusion(truth, prediction, classes))


def test_scores_of_a_matrix_worked_by_hand() -> None:
    counts = np.array([[6, 2, 0], [1, 3, 0], [0, 0, 0]])
    assert metrics.iou(counts) == pytest.approx([6 / 9, 3 / 6, np.nan], nan_ok=True)
    assert metrics.dice(counts) == pytest.approx([12 / 15, 6 / 9, np.nan], nan_ok=True)
    assert metrics.precision(counts) == pytest.approx([6 / 7, 3 / 5, np.nan], nan_ok=True)
    assert metrics.recall(counts) == pytest.approx([6 / 8, 3 / 4, np.nan], nan_ok=True)
    assert float(metrics.mean_iou(counts)) == pytest.approx((6 / 9 + 3 / 6) / 2)
    assert float(metrics.pixel_accuracy(counts)) == pytest.approx(9 / 12)


def test_a_class_that_is_only_predicted_scores_zero_but_is_in_no_mean() -> None:
    counts = np.array([[8, 2], [0, 0]])
    assert metrics.iou(counts).tolist() == [0.8, 0.0]
    assert np.isnan(metrics.recall(counts)[1])
    assert float(metrics.mean_iou(counts)) == 0.8


def test_nothing_counted_has_no_score() -> None:
    empty = np.zeros((3, 3), np.int64)
    for score in (
        metrics.mean_iou,
        metrics.pixel_accuracy,
        metrics.iou,
        metrics.dice,
        metrics.precision,
        metrics.recall,
    ):
        assert np.isnan(score(empty)).all()


@given(matrices())
@settings(deadline=None)
def test_scores_stay_in_range_and_agree_with_each_other(counts: NDArray[np.int64]) -> None:
    iou, dice = metrics.iou(counts), metrics.dice(counts)
    known = ~np.isnan(iou)
    assert ((iou[known] >= 0) & (iou[known] <= 1)).all()
    assert dice[known] == pytest.approx(2 * iou[known] / (1 + iou[known]))
    precision, recall = metrics.precision(counts), metrics.recall(counts)
    both = ~np.isnan(precision) & ~np.isnan(recall)
    assert (iou[both] <= np.minimum(precision, recall)[both] + 1e-12).all()
    assert metrics.iou(counts.T) == pytest.approx(iou, nan_ok=True)


@given(st.lists(matrices(), min_size=2, max_size=5).filter(lambda ms: len({m.shape for m in ms}) == 1))
@settings(max_examples=30, deadline=None)
def test_stacked_matrices_score_as_each_alone(stack: list[NDArray[np.int64]]) -> None:
    together = np.stack(stack)
    for score in (
        metrics.iou,
        metrics.dice,
        metrics.precision,
        metrics.recall,
        metrics.mean_iou,
        metrics.pixel_accuracy,
    ):
        assert score(together) == pytest.approx(np.stack([score(one) for one in stack]), nan_ok=True)


@given(matrices().filter(lambda m: m.sum() > 0))
@settings(deadline=None)
def test_no_constant_answer_beats_the_best_constant(counts: NDArray[np.int64]) -> None:
    best = metrics.constant_counts(counts)
    assert np.array_equal(best.sum(axis=1), counts.sum(axis=1))
    for answer in range(len(counts)):
        other = np.zeros_like(counts)
        other[:, answer] = counts.sum(axis=1)
        assert metrics.mean_iou(other) <= metrics.mean_iou(best) + 1e-12
        assert metrics.pixel_accuracy(other) <= metrics.pixel_accuracy(best) + 1e-12


@pytest.mark.parametrize("most", [1 << 24, 7])
def test_pixels_are_counted_exactly(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "EXACT_FLOAT32", most)
    class_map = np.random.default_rng(0).integers(0, 256, (9, 13), np.uint8)
    for each in (class_map, class_map[::2, ::-1], class_map.T):
        assert np.array_equal(metrics.class_pixels(each), np.bincount(each.ravel(), minlength=256))
