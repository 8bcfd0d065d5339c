from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segwright.recipe import Schedule
from segwright.training.schedules import AFTER_WARM_UP, FIRST, LAST, factor

NAMES: tuple[Schedule, ...] = get_args(Schedule)


def test_the_table_is_what_the_recipe_offers() -> None:
    assert tuple(AFTER_WARM_UP) == NAMES


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("warm_up", [0.1, 0.5])
def test_every_warm_up_rises_from_a_twentieth_to_the_peak(name: Schedule, warm_up: float) -> None:
    rising = [factor(name, warm_up * n / 50, warm_up) for n in range(51)]
    assert rising[0] == pytest.approx(FIRST)
    assert rising[-1] == pytest.approx(1.0)
    assert rising == sorted(rising)
    middle = (1 + FIRST) / 2  # of a straight line as of half a cosine
    assert rising[25] == pytest.approx(middle)
    straight = FIRST + (1 - FIRST) / 5
    assert (rising[10] == pytest.approx(straight)) == (name != "onecycle")


@pytest.mark.parametrize("name", NAMES)
def test_without_a_warm_up_the_peak_comes_first(name: Schedule) -> None:
    assert factor(name, 0.0, 0.0) == 1.0


@pytest.mark.parametrize(
    ("name", "done", "expected"),
    [
        ("onecycle", 0.55, (1 + LAST) / 2),
        ("onecycle", 1.0, LAST),
        ("cosine", 0.55, 0.5),
        ("cosine", 1.0, 0.0),
        ("poly", 0.55, 0.5**0.9),
        ("poly", 1.0, 0.0),
        ("step", 0.1 + 0.9 * 0.59, 1.0),
        ("step", 0.1 + 0.9 * 0.61, 0.1),
        ("step", 0.1 + 0.9 * 0.86, 0.01),
        ("step", 1.0, 0.01),
        ("plateau", 0.7, 1.0),
        ("constant", 1.0, 1.0),
    ],
)
def test_known_points(name: Schedule, done: float, expected: float) -> None:
    assert factor(name, done, 0.1) == pytest.approx(expected, abs=1e-12)


@given(st.sampled_from(NAMES), st.floats(-1, 2), st.floats(-1, 2), st.floats(0, 0.9))
def test_shares_of_the_peak_that_fall_after_the_warm_up(
    name: Schedule, one: float, other: float, warm_up: float
) -> None:
    first, second = sorted((one, other))
    assert 0.0 <= factor(name, second, warm_up) <= 1.0
    if first >= warm_up:
        assert factor(name, first, warm_up) >= factor(name, second, warm_up) - 1e-12
