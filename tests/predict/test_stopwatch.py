"""Where the time goes, with an engine whose time is known."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from segwright.errors import ModelError
from segwright.predict.stopwatch import LEAST_RUNS, Spread, latencies


class Sleeping:
    """Takes 20 ms for a batch, whatever is in it, and no batch over 4."""

    name = "sleeping"

    def __init__(self, inner: Any) -> None:
        self.facts, self._inner = inner.facts, inner

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        if len(images) > 4:
            raise ModelError("no memory for so many")
        time.sleep(0.02)
        return np.asarray(self._inner.probabilities(images), np.float32)


def test_the_parts_are_told_apart(engine: Any) -> None:
    image = np.zeros((200, 300, 3), np.uint8)
    found = latencies({"sleeping": Sleeping(engine), "plain": engine}, image, seconds=0.01)
    slow, fast = found["sleeping"], found["plain"]
    assert slow.runs == LEAST_RUNS
    assert slow.network.p50 >= 20 > slow.processor.p50
    assert slow.network.p50 > fast.network.p50
    for taken in (slow, fast):
        assert min(taken.preparation.p50, taken.finishing.p50) > 0
        assert taken.whole.p50 >= max(taken.preparation.p50, taken.network.p50, taken.finishing.p50)
        assert taken.whole.p95 >= taken.whole.p50


def test_the_best_batch_is_found_and_one_that_fails_ends_the_search(engine: Any) -> None:
    found = latencies({"sleeping": Sleeping(engine)}, np.zeros((48, 64, 3), np.uint8), seconds=5.0 / 1000)
    assert found["sleeping"].best_batch == 1, "the time was up after the first"
    found = latencies({"sleeping": Sleeping(engine)}, np.zeros((48, 64, 3), np.uint8), seconds=0.5)
    assert found["sleeping"].best_batch == 4
    assert 5 <= found["sleeping"].best_batch_milliseconds < 20


def test_tiles_count_all_their_runs_as_network(engine: Any) -> None:
    found = latencies({"sleeping": Sleeping(engine)}, np.zeros((48, 600, 3), np.uint8), seconds=0.01, tile=True)
    assert found["sleeping"].network.p50 >= 3 * 20


@pytest.mark.parametrize(("seconds", "expected"), [([0.001] * 10, (1.0, 1.0)), ([0.0, 0.01], (5.0, 9.5))])
def test_spreads_are_milliseconds(seconds: list[float], expected: tuple[float, float]) -> None:
    assert (Spread.of(seconds).p50, Spread.of(seconds).p95) == pytest.approx(expected)
