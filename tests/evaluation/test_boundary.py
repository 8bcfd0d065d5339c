"""Edge counts against a search through every pair of edge pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from segwright.evaluation.boundary import boundary_counts, boundary_f1, tolerance_pixels

Points = list[tuple[int, int]]


def window(class_map: NDArray[np.uint8], y: int, x: int, reach: int) -> NDArray[np.uint8]:
    return class_map[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]


def edge_points(class_map: NDArray[np.uint8], number: int, truth: NDArray[np.uint8], tolerance: int) -> Points:
    return [
        (y, x)
        for y, x in np.argwhere(class_map == number).tolist()
        if (window(class_map, y, x, 1) != number).any() and not (window(truth, y, x, tolerance + 1) == 255).any()
    ]


def within(points: Points, others: Points, tolerance: int) -> int:
    return sum(any(max(abs(y - v), abs(x - u)) <= tolerance for v, u in others) for y, x in points)


@st.composite
def map_pairs(draw: st.DrawFn) -> tuple[NDArray[np.uint8], NDArray[np.uint8], int]:
    classes = draw(st.sampled_from([2, 3, 17, 40]))
    shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    values = st.sampled_from(sorted({0, 1, classes - 1}))
    truth = draw(hnp.arrays(np.uint8, shape, elements=values | st.just(255), fill=st.just(0)))
    return truth, draw(hnp.arrays(np.uint8, shape, elements=values, fill=st.just(0))), classes


@given(map_pairs(), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_counts_are_those_of_a_search(pair: tuple[NDArray[np.uint8], NDArray[np.uint8], int], tolerance: int) -> None:
    truth, prediction, classes = pair
    counts = boundary_counts(truth, prediction, classes, tolerance)
    for number in range(classes):
        true = edge_points(truth, number, truth, tolerance)
        predicted = edge_points(prediction, number, truth, tolerance)
        expected = [len(true), within(true, predicted, tolerance), len(predicted), within(predicted, true, tolerance)]
        assert counts[number].tolist() == expected


def test_a_shift_within_the_tolerance_costs_nothing_and_beyond_it_everything() -> None:
    truth = np.zeros((40, 60), np.uint8)
    truth[:, 30:] = 1
    near, far = np.roll(truth, 2, axis=1), np.roll(truth, 12, axis=1)
    near[:, :2] = far[:, :12] = 0
    assert boundary_f1(boundary_counts(truth, near, 2, 3)).tolist() == [1.0, 1.0]
    assert boundary_f1(boundary_counts(truth, far, 2, 3)).tolist() == [0.0, 0.0]


def test_classes_without_an_edge_have_no_score() -> None:
    truth = np.zeros((10, 10), np.uint8)
    scores = boundary_f1(boundary_counts(truth, truth, 2, 2))
    assert np.isnan(scores).all()


@pytest.mark.parametrize(("height", "width", "pixels"), [(480, 640, 6), (640, 480, 6), (10, 10, 1), (1080, 1920, 17)])
def test_tolerance_grows_with_the_diagonal(height: int, width: int, pixels: int) -> None:
    assert tolerance_pixels(height, width) == pixels
