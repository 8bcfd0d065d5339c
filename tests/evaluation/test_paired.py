"""Two models on the same pictures: the change, its interval, and reports that cannot be compared."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from segwright.classes import Classes
from segwright.errors import DataError
from segwright.evaluation.evaluate import evaluate
from segwright.evaluation.paired import difference
from segwright.evaluation.report import Report
from tests.tiny import draw_pair


@dataclasses.dataclass(frozen=True)
class Answer:
    class_map: np.ndarray
    milliseconds: float = 1.0


class Shifted:
    """Answers with the truth, moved down by some pixels; hard pictures are hard for every shift."""

    def __init__(self, pixels: int, classes: int, truths: dict[bytes, np.ndarray]) -> None:
        self.pixels, self.truths = pixels, truths
        self.classes = Classes(names=("background", "disc", "square")[:classes])

    def predict(self, image: np.ndarray, /) -> Answer:
        return Answer(np.roll(self.truths[image.tobytes()], self.pixels, axis=0))


def report(pixels: int, monkeypatch: pytest.MonkeyPatch, *, classes: int = 2, count: int = 12) -> Report:
    pairs = [draw_pair(number, classes=classes, size_hw=(32 + 8 * number, 96)) for number in range(count)]
    predictor = Shifted(pixels, classes, {pair.image.tobytes(): pair.class_map for pair in pairs})

    def read_pair(sample: Any, _: Classes) -> tuple[np.ndarray, np.ndarray]:
        return pairs[int(sample.key)].image, pairs[int(sample.key)].class_map

    monkeypatch.setattr("segwright.evaluation.evaluate.read_pair", read_pair)
    samples: Any = [dataclasses.make_dataclass("S", ["key", "mask", "image"])(str(n), "m", "i") for n in range(count)]
    return evaluate(
        predictor, samples, predictor.classes, split="val", data="made up", progress=False, panels=0, resamples=400
    )


@pytest.mark.parametrize("classes", [2, 3])
def test_the_change_is_that_of_the_headlines_and_its_interval_is_narrower(
    classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = report(1, monkeypatch, classes=classes), report(2, monkeypatch, classes=classes)
    change = difference(before, after, resamples=400)
    scores = [one.headline[1] for one in (before, after)]
    assert change.value == pytest.approx(scores[1].value - scores[0].value)
    assert change.low < change.value < change.high < 0
    assert change.high - change.low < max(score.high - score.low for score in scores)


def test_a_model_does_not_differ_from_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    one = report(1, monkeypatch)
    change = difference(one, one)
    assert (change.value, change.low, change.high) == (0.0, 0.0, 0.0)


def test_other_pictures_cannot_be_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="same pictures"):
        difference(report(1, monkeypatch), report(1, monkeypatch, count=8))
