"""Specks, holes and lesser pieces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segwright.errors import UserError
from segwright.predict.cleanup import Cleanup


def drawn(*rows: str) -> np.ndarray:
    return np.array([[255 if c == "x" else int(c) for c in row] for row in rows], np.uint8)


def test_specks_take_the_class_around_them() -> None:
    before = drawn("0001", "0000", "2222", "2122", "2222")
    after = drawn("0000", "0000", "2222", "2222", "2222")
    assert np.array_equal(Cleanup(smallest=2)(before), after)
    assert before[0, 3] == 1  # the argument is not changed


def test_pieces_touch_by_their_sides_only() -> None:
    before = drawn("100", "010", "001")
    assert Cleanup(smallest=2)(before).sum() == 0
    assert np.array_equal(Cleanup(smallest=1)(before), before)


def test_holes_are_filled_but_not_at_the_border() -> None:
    before = drawn("111111", "101001", "111001", "011111", "111111")
    assert np.array_equal(Cleanup(hole=1)(before), drawn("111111", "111001", "111001", "011111", "111111"))
    assert np.array_equal(Cleanup(hole=4)(before), drawn("111111", "111111", "111111", "011111", "111111"))
    assert np.array_equal(Cleanup(hole=3)(drawn("222", "212", "222")), drawn("222", "212", "222"))


def test_only_the_largest_piece_of_each_class_stays() -> None:
    before = drawn("110001", "110000", "000022", "200022")
    assert np.array_equal(Cleanup(largest_only=True)(before), drawn("110000", "110000", "000022", "000022"))


def test_ignored_pixels_stay_and_lend_no_class() -> None:
    before = drawn("xxx", "x1x", "xxx")
    assert np.array_equal(Cleanup(smallest=2)(before), drawn("xxx", "x0x", "xxx"))


def test_nothing_asked_is_nothing_done() -> None:
    before = drawn("010")
    assert Cleanup().idle
    assert Cleanup()(before) is before
    assert Cleanup(smallest=5)(drawn("000")).sum() == 0
    with pytest.raises(UserError, match="--min-area"):
        Cleanup(smallest=-1)


@given(st.integers(0, 10_000), st.integers(0, 12))
def test_what_is_clean_stays_clean(seed: int, hole: int) -> None:
    rng = np.random.default_rng(seed)
    class_map = rng.choice(3, (12, 14), p=[0.6, 0.25, 0.15]).astype(np.uint8)
    cleaned = Cleanup(largest_only=True)(class_map)
    assert np.array_equal(Cleanup(largest_only=True)(cleaned), cleaned)
    filled = Cleanup(hole=hole)(class_map)
    assert np.array_equal(filled[class_map != 0], class_map[class_map != 0])
