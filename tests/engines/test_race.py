"""The race of engines: who may be taken, who is faster, and what happens to those that cannot run."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from segwright.classes import Classes
from segwright.engines.contract import Engine, ModelFacts
from segwright.engines.race import Lap, fastest, race
from segwright.errors import GateError, MissingExtraError, ModelError

IMAGE = np.arange(8 * 12 * 3, dtype=np.uint8).reshape(8, 12, 3)


class Fake:
    """Takes a known time, and sees a share of the pixels wrongly."""

    name = "fake"

    def __init__(self, *, seconds: float = 0.0, wrong: int = 0, classes: int = 2) -> None:
        names = tuple(f"class {n}" for n in range(classes))
        self.facts = ModelFacts(name="fake", classes=Classes(names=names), size_hw=(8, 12), fit="pad")
        self.seconds, self.wrong, self.runs = seconds, wrong, 0

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.runs += 1
        time.sleep(self.seconds)
        answer = np.zeros((1, self.facts.classes.channels, 8, 12), np.float32)
        answer[0, -1].flat[: self.wrong] = 1.0
        return answer


def opener(engine: Any) -> Callable[[], Engine]:
    return lambda: engine


def failing(error: Exception) -> Callable[[], Engine]:
    def opened() -> Engine:
        raise error

    return opened


def test_the_fastest_of_those_that_agree_wins() -> None:
    engines = {
        "reference": opener(Fake(seconds=0.02)),
        "wrong": opener(Fake(wrong=2)),
        "fast": opener(Fake(seconds=0.002)),
        "absent": failing(MissingExtraError("openvino", "openvino")),
        "differs": failing(GateError("the file differs")),
    }
    laps, opened = race(engines, [IMAGE], seconds=0.01)
    assert [lap.engine for lap in laps] == list(engines)
    by_name = {lap.engine: lap for lap in laps}
    assert fastest(laps).engine == "fast"
    assert by_name["reference"].agreement == 1.0
    assert by_name["wrong"].agreement == pytest.approx(1 - 2 / 96)
    assert not by_name["wrong"].passed
    assert "segwright[openvino]" in by_name["absent"].problem
    assert by_name["differs"].problem == "the file differs"
    assert set(opened) == {"reference", "wrong", "fast"}
    assert [Lap.from_dict(lap.to_dict()).passed for lap in laps] == [lap.passed for lap in laps]


def test_a_slow_engine_does_not_hold_up_the_race() -> None:
    slow, quick = Fake(seconds=0.05), Fake()
    race({"slow": opener(slow), "quick": opener(quick)}, [IMAGE, IMAGE], seconds=0.01)
    assert slow.runs == 2 + 2, "both pictures once for the agreement, then the least number of turns"
    assert quick.runs > slow.runs


def test_the_first_that_opens_is_the_reference() -> None:
    laps, _ = race({"absent": failing(ModelError("no")), "second": opener(Fake(wrong=50))}, [IMAGE], seconds=0.001)
    assert fastest(laps).engine == "second"


def test_where_none_can_run_the_reason_is_told() -> None:
    with pytest.raises(ModelError, match="no such file"):
        race({"a": failing(ModelError("no such file"))}, [IMAGE])
    with pytest.raises(ModelError, match=r"a: because"):
        fastest([Lap(engine="a", problem="because")])
