"""The predictor around an engine whose answers are known."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from segwright.classes import Classes
from segwright.errors import ModelError, UserError
from segwright.predict.predictor import Predictor, load


def card(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A white rectangle on black, and where it is."""
    image = np.zeros((height, width, 3), np.uint8)
    image[height // 4 : height // 2, width // 4 : width // 2] = 255
    return image, image[..., 0] // 255


@pytest.mark.parametrize("size_hw", [(48, 64), (96, 128), (200, 90), (30, 300)])
@pytest.mark.parametrize("fit", ["pad", "stretch"])
def test_answers_have_the_pictures_own_size_and_place(engine: Any, size_hw: tuple[int, int], fit: str) -> None:
    engine.facts = dataclasses.replace(engine.facts, fit=fit)
    image, truth = card(*size_hw)
    prediction = Predictor(engine).predict(image, key="a")
    assert engine.seen == [(1, 48, 64, 3)]
    assert prediction.class_map.shape == prediction.confidence.shape == size_hw
    assert prediction.class_map.dtype == np.uint8
    assert prediction.confidence.dtype == np.float32
    assert (prediction.class_map != truth).mean() < 0.02
    assert prediction.confidence.min() >= 0.5
    assert prediction.milliseconds > 0
    assert prediction.key == "a"


@pytest.mark.parametrize("any_size", [False, True])
@pytest.mark.parametrize("size_hw", [(48, 64), (90, 70), (300, 30), (64, 64)])
def test_pictures_that_lie_across_are_turned_and_answers_turned_back(
    engine: Any, any_size: bool, size_hw: tuple[int, int]
) -> None:
    engine.facts = dataclasses.replace(engine.facts, turn=True, any_size=any_size)
    image, truth = card(*size_hw)
    prediction = Predictor(engine).predict(image)
    assert prediction.class_map.shape == prediction.confidence.shape == size_hw
    assert (prediction.class_map != truth).mean() < 0.02
    given_hw = size_hw[::-1] if size_hw[0] > size_hw[1] else size_hw
    assert engine.seen == [(1, *(given_hw if any_size else (48, 64)), 3)]


def test_the_turn_is_counter_clockwise(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.facts = dataclasses.replace(engine.facts, turn=True, any_size=True)
    seen: list[np.ndarray] = []
    answer = engine.probabilities

    def looking(images: np.ndarray) -> np.ndarray:
        seen.append(images.copy())
        return np.asarray(answer(images))

    monkeypatch.setattr(engine, "probabilities", looking)
    image = np.zeros((90, 70, 3), np.uint8)
    image[:9, -7:] = 255  # the upper right corner
    Predictor(engine).predict(image)
    assert seen[0][0, :7, :9].min() == 255, "it is the upper left one after a quarter turn against the clock"
    assert seen[0].sum() == image.sum()


def test_an_any_size_engine_is_given_the_picture_itself(engine: Any) -> None:
    engine.facts = dataclasses.replace(engine.facts, any_size=True)
    image, truth = card(77, 101)
    assert np.array_equal(Predictor(engine).predict(image).class_map, truth)
    assert engine.seen == [(1, 77, 101, 3)]


@pytest.mark.parametrize("size_hw", [(48, 64), (20, 30), (100, 150), (30, 300)])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_model_of_patches_answers_in_tiles_at_the_pictures_own_scale(
    engine: Any, size_hw: tuple[int, int], classes: int
) -> None:
    names = ("background", "card", "hand")[:classes]
    engine.facts = dataclasses.replace(engine.facts, tiled=True, classes=Classes(names=names))
    image = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), np.uint8)
    prediction = Predictor(engine).predict(image)
    # Where every tile answers alike, the blend is that answer: no resizing has touched it.
    (exact,) = engine.probabilities(image[None])
    assert prediction.probabilities is not None
    np.testing.assert_allclose(prediction.probabilities, exact, atol=1e-6)
    assert (prediction.class_map != engine.facts.classes.decode(exact)).mean() < 1e-3
    np.testing.assert_allclose(prediction.confidence, engine.facts.classes.confidence(exact), atol=1e-6)
    assert {shape[1:] for shape in engine.seen[:-1]} == {(48, 64, 3)}
    assert prediction.milliseconds > 0


def test_of_huge_pictures_no_probabilities_are_kept(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    image, truth = card(100, 150)
    tiled = Predictor(engine, tile=True)
    few = tiled.predict(image)
    monkeypatch.setattr("segwright.predict.predictor.MOST_KEPT", 100 * 150 - 1)
    many = tiled.predict(image)
    assert few.probabilities is not None
    assert many.probabilities is None
    assert np.array_equal(few.class_map, many.class_map)
    assert np.array_equal(few.confidence, many.confidence)
    assert np.array_equal(many.class_map, truth)


THREE = Classes(names=("sky", "road", "car"))


class Decoding:
    """An engine that answers with classes directly, and counts how often that was asked for."""

    name = "decoding"

    def __init__(self, inner: Any) -> None:
        self.inner, self.decoded, self.seen, self.facts = inner, 0, inner.seen, inner.facts

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.inner.facts = self.facts
        return np.asarray(self.inner.probabilities(images), np.float32)

    def class_maps(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        self.decoded += 1
        answers = self.probabilities(images).argmax(axis=1).astype(np.uint8)
        self.seen.pop()  # only what the predictor asks for counts
        return answers


@pytest.fixture
def decoding(engine: Any) -> Decoding:
    engine.facts = dataclasses.replace(engine.facts, classes=THREE)
    return Decoding(engine)


def test_of_several_classes_the_engines_own_class_map_is_taken(decoding: Decoding) -> None:
    image, truth = card(48, 64)
    before = image.copy()
    prediction = Predictor(decoding).predict(image)
    assert np.array_equal(prediction.class_map, truth)
    assert (decoding.decoded, decoding.seen) == (1, [])
    image[:] = 0  # the caller reads its next frame into the same array
    assert prediction.confidence.shape == (48, 64)
    assert prediction.probabilities is not None
    assert len(decoding.seen) == 1, "confidence and probabilities together cost one more run"
    expected = decoding.probabilities(before[None])[0]
    assert np.array_equal(prediction.probabilities, expected)
    assert np.array_equal(prediction.confidence, expected.max(axis=0))


def test_who_wants_probabilities_gets_them_from_the_only_run(decoding: Decoding) -> None:
    image, truth = card(48, 64)
    prediction = Predictor(decoding).predict(image, probabilities=True)
    assert prediction.probabilities is not None
    assert np.array_equal(prediction.class_map, truth)
    assert (decoding.decoded, len(decoding.seen)) == (0, 1)


@pytest.mark.parametrize("case", ["two classes", "another size", "tiles"])
def test_elsewhere_probabilities_are_asked_for(decoding: Decoding, case: str) -> None:
    if case == "two classes":
        decoding.facts = dataclasses.replace(decoding.facts, classes=Classes(names=("sky", "car")))
    image, truth = card(48, 64) if case == "two classes" else card(96, 128)
    prediction = Predictor(decoding, tile=case == "tiles").predict(image)
    assert decoding.decoded == 0
    assert (prediction.class_map != truth).mean() < 0.02


@pytest.mark.parametrize("size_hw", [(20, 30), (100, 150), (30, 300)])
def test_a_class_map_made_of_a_few_rows_at_a_time_is_that_of_all_probabilities(
    engine: Any, size_hw: tuple[int, int]
) -> None:
    engine.facts = dataclasses.replace(engine.facts, classes=THREE)
    image = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), np.uint8)
    prediction = Predictor(engine).predict(image)
    assert prediction.probabilities is not None
    assert np.array_equal(prediction.class_map, prediction.probabilities.argmax(axis=0))
    assert np.array_equal(prediction.confidence, prediction.probabilities.max(axis=0))
    assert len(engine.seen) == 1


def test_the_threshold_is_the_models_unless_another_is_given(engine: Any) -> None:
    engine.facts = dataclasses.replace(engine.facts, threshold=0.7)
    image = np.full((48, 64, 3), 153, np.uint8)  # 0.6
    assert Predictor(engine).predict(image).class_map.max() == 0
    assert Predictor(engine, threshold=0.55).predict(image).class_map.min() == 1
    assert Predictor(engine).predict(image).confidence.max() == pytest.approx(0.4)
    with pytest.raises(UserError, match="between 0 and 1"):
        Predictor(engine, threshold=55)


def test_many_classes_are_decoded_by_the_largest(engine: Any) -> None:
    engine.facts = dataclasses.replace(engine.facts, classes=Classes(names=("sky", "road", "car")))
    image, truth = card(48, 64)
    prediction = Predictor(engine).predict(image)
    assert np.array_equal(prediction.class_map, truth)
    assert prediction.probabilities is not None
    assert prediction.probabilities.shape == (3, 48, 64)


@pytest.mark.parametrize(
    ("image", "advice"),
    [
        ([[1, 2], [3, 4]], "np.asarray"),
        (np.zeros((4, 5), np.uint8), r"np\.repeat"),
        (np.zeros((3, 40, 50), np.uint8), r"transpose\(1, 2, 0\)"),
        (np.zeros((4, 5, 4), np.uint8), r"\[\.\.\., :3\]"),
        (np.zeros((2, 4, 5, 3), np.uint8), "one picture at a time.*COLOR_BGR2RGB"),
        (np.zeros((0, 5, 3), np.uint8), "shape"),
        (np.zeros((4, 5, 3), np.float32), r"\* 255"),
        (np.zeros((4, 5, 3), np.uint16), "// 257"),
    ],
)
def test_what_is_no_rgb_picture_is_refused_with_the_conversion(engine: Any, image: Any, advice: str) -> None:
    with pytest.raises(UserError, match=advice):
        Predictor(engine).predict(image)
    assert engine.seen == []


def test_loading_nothing_says_what_to_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="run folder"):
        load(tmp_path / "absent")
    with pytest.raises(ModelError, match="finished training run"):
        load(str(tmp_path))
