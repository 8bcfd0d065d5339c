"""Masks over time: noise is smoothed, motion is followed, cuts and gaps are respected, flicker is counted."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from segwright.classes import Classes
from segwright.errors import UserError
from segwright.predict.predictor import Details, Prediction
from segwright.predict.steady import Steady

TWO, THREE = Classes(names=("ground", "disc")), Classes(names=("ground", "disc", "ring"))


def scene(number: int, *, speed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """A disc with a pattern that moves over a patterned ground, and where it is."""
    ground = cv2.resize(np.random.default_rng(1).integers(40, 120, (12, 16, 3), np.uint8), (160, 120))
    image = np.asarray(ground, np.uint8).copy()
    disc = np.zeros((120, 160), np.uint8)
    cv2.circle(disc, (40 + speed * number, 60), 25, 1, -1)
    texture = cv2.resize(np.random.default_rng(2).integers(150, 255, (8, 8, 3), np.uint8), (60, 60))
    left = 10 + speed * number
    patch = image[30:90, left : left + 60]
    inside = disc[30:90, left : left + 60] > 0
    patch[inside] = texture[inside]
    return image, disc


def noisy(truth: np.ndarray, seed: int, classes: Classes = TWO) -> Prediction:
    blobs = np.random.default_rng(seed).normal(0, 0.35, (30, 40)).astype(np.float32)
    p = np.clip(truth * 0.8 + 0.1 + cv2.resize(blobs, (160, 120)), 0, 1).astype(np.float32)
    probabilities = p[None] if classes.channels == 1 else np.stack([1 - p, p * 0.8, p * 0.2])
    return Prediction(
        class_map=classes.decode(probabilities),
        milliseconds=1.0,
        classes=classes,
        details=lambda: Details(classes.confidence(probabilities), probabilities),
    )


@pytest.mark.parametrize("classes", [TWO, THREE], ids=["two", "three"])
def test_flicker_falls_and_masks_improve_while_things_move(classes: Classes) -> None:
    steady, wrong_before, wrong_after = Steady(0.7), 0.0, 0.0
    for number in range(12):
        image, truth = scene(number)
        raw = noisy(truth, number, classes)
        answer = steady(image, raw, number / 10)
        assert answer.class_map.dtype == np.uint8
        if number > 3:
            wrong_before += (raw.class_map != truth).mean()
            wrong_after += (answer.class_map != truth).mean()
    before, after = steady.flicker.shares()
    assert before > 0.05
    assert after < before / 3
    assert wrong_after < wrong_before / 2


def test_a_perfect_mask_of_a_moving_thing_does_not_flicker() -> None:
    steady = Steady(0.0)
    for number in range(8):
        image, truth = scene(number)
        prediction = Prediction(
            class_map=truth,
            milliseconds=1.0,
            classes=TWO,
            details=lambda: Details(np.ones((120, 160), np.float32), None),
        )
        assert steady(image, prediction, number / 10) is prediction
    before, after = steady.flicker.shares()
    assert before == after < 0.03


def test_cuts_gaps_and_other_sizes_begin_anew() -> None:
    image, truth = scene(0)
    full = noisy(truth, 0)
    for other, seconds in ((255 - image, 0.1), (image, 5.0), (image[:60], 0.1)):
        steady = Steady(0.9)
        steady(image, full, 0.0)
        nothing = Prediction(
            class_map=np.zeros(other.shape[:2], np.uint8),
            milliseconds=1.0,
            classes=TWO,
            details=lambda: Details(np.ones((1, 1), np.float32), None),
        )
        assert steady(other, nothing, seconds).class_map.max() == 0
        assert steady.flicker.pixels == 0


@pytest.mark.parametrize("strength", [-0.1, 1.0, 60.0])
def test_impossible_strengths_are_refused(strength: float) -> None:
    with pytest.raises(UserError, match="--steady"):
        Steady(strength)
