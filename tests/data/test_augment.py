from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segwright.classes import IGNORED
from segwright.data.augment import LEVELS, Variation, augmented
from segwright.preprocess import place_image, placement
from segwright.recipe import Fit, Level

SIZES = st.tuples(st.integers(1, 90), st.integers(1, 90))
GEOMETRY = ("flip", "scale", "rotate", "shear", "perspective", "shift")


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(height, width, 3) uint8: soft colours without fine detail, so that filters hardly matter."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def drawing(height: int = 120, width: int = 160) -> tuple[np.ndarray, np.ndarray]:
    """A picture whose class map can be read off its red channel: class 1 is bright, class 0 is dark."""
    class_map = np.zeros((height, width), np.uint8)
    cv2.ellipse(class_map, (width // 2, height // 2), (width // 4, height // 5), 20, 0, 360, 1, -1)
    cv2.rectangle(class_map, (width // 10, height // 10), (width // 3, height // 4), 1, -1)
    image = np.where(class_map[..., None] == 1, np.uint8(255), np.uint8(0)).repeat(3, axis=2)
    return image, class_map


def geometry_of(variation: Variation) -> Variation:
    """The same shifts and turns without any change of colour, so that the drawing stays readable."""
    return Variation(**{name: getattr(variation, name) for name in GEOMETRY})


@pytest.mark.parametrize("fit", ["pad", "stretch"])
@pytest.mark.parametrize("image_hw", [(64, 96), (60, 90), (50, 100), (96, 64), (37, 41), (20, 30)])
def test_without_variation_a_picture_is_placed_as_for_the_network(image_hw: tuple[int, int], fit: Fit) -> None:
    image = picture(*image_hw)
    seen, labels = augmented(image, np.ones(image_hw, np.uint8), (64, 96), fit, Variation(), (0,))
    placed = place_image(image, (64, 96), fit)
    (scale_y, top), (scale_x, left) = placement(*image_hw, (64, 96), fit)
    # Half a pixel at the border is blended with black by one and not by the other.
    edge = 1 + int(np.ceil(max(scale_y, scale_x)))
    inside = np.s_[
        int(np.ceil(top)) + edge : 64 - int(np.ceil(top)) - edge,
        int(np.ceil(left)) + edge : 96 - int(np.ceil(left)) - edge,
    ]
    assert np.abs(seen[inside].astype(int) - placed[inside]).max() <= 4
    assert (labels[inside] == 1).all()
    outside = np.ones((64, 96), bool)
    outside[max(int(top) - 1, 0) : 65 - int(top), max(int(left) - 1, 0) : 97 - int(left)] = False
    assert (labels[outside] == IGNORED).all()
    assert (seen[outside] == 0).all()
    assert (placed[outside] == 0).all()


def test_a_picture_of_the_right_size_is_not_touched() -> None:
    rng = np.random.default_rng(0)
    image, class_map = rng.integers(0, 256, (64, 96, 3), np.uint8), rng.integers(0, 9, (64, 96), np.uint8)
    seen, labels = augmented(image, class_map, (64, 96), "pad", Variation(), (0,))
    assert np.array_equal(seen, image)
    assert np.array_equal(labels, class_map)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("fit", ["pad", "stretch"])
def test_picture_and_mask_stay_together(level: Level, fit: Fit) -> None:
    image, class_map = drawing()
    variation = geometry_of(LEVELS[level])
    for seed in range(40):
        seen, labels = augmented(image, class_map, (128, 96), fit, variation, (seed,))
        bright = seen[..., 0] >= 128
        # Pixels half covered may go to either side.
        surely = cv2.morphologyEx(bright.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) == 0
        kept = surely & (labels != IGNORED)
        true = labels[kept] == 1
        if true.sum() < 50:
            continue
        hit = (bright[kept] & true).sum()
        assert hit / (bright[kept] | true).sum() > 0.95, seed


@pytest.mark.parametrize("level", LEVELS)
def test_nothing_outside_the_picture_counts(level: Level) -> None:
    white = np.full((60, 40, 3), 255, np.uint8)
    variation = geometry_of(LEVELS[level])
    for seed in range(30):
        seen, labels = augmented(white, np.zeros((60, 40), np.uint8), (96, 96), "pad", variation, (seed,))
        assert set(np.unique(labels)) <= {0, IGNORED}
        assert (seen[labels == 0] >= 60).all()  # at a corner a quarter of the pixel may be picture
        assert (seen[cv2.erode((labels == IGNORED).astype(np.uint8), np.ones((5, 5), np.uint8)) == 1] == 0).all()


@pytest.mark.parametrize("level", LEVELS)
def test_a_pure_function_of_its_seed(level: Level) -> None:
    image, class_map = picture(50, 70), drawing(50, 70)[1]
    before = image.copy(), class_map.copy()
    variation = LEVELS[level]
    results: list[tuple[np.ndarray, np.ndarray]] = []
    for seed in ((1, 2, 3), (1, 2, 3), (1, 2, 4)):
        np.random.default_rng().random(3)
        cv2.setRNGSeed(len(results))
        results.append(augmented(image, class_map, (64, 64), "pad", variation, seed))
    for one, other in zip(results[0], results[1], strict=True):
        assert np.array_equal(one, other)
    assert level == "none" or not np.array_equal(results[0][0], results[2][0])
    assert np.array_equal(image, before[0])
    assert np.array_equal(class_map, before[1])


@pytest.mark.parametrize("level", LEVELS)
@given(image_hw=SIZES, size_hw=SIZES, seed=st.integers(0, 2**40), fit=st.sampled_from(["pad", "stretch"]))
def test_any_size_gives_a_sample(
    level: Level, image_hw: tuple[int, int], size_hw: tuple[int, int], seed: int, fit: Fit
) -> None:
    class_map = np.full(image_hw, 3, np.uint8)
    variation = LEVELS[level]
    seen, labels = augmented(picture(*image_hw), class_map, size_hw, fit, variation, (seed,))
    assert (seen.shape, labels.shape) == ((*size_hw, 3), size_hw)
    assert seen.dtype == labels.dtype == np.uint8
    assert set(np.unique(labels)) <= {3, IGNORED}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("image_hw", [(1, 1), (1, 3000), (3000, 1), (2, 2), (33, 1025)])
def test_strange_shapes(level: Level, image_hw: tuple[int, int]) -> None:
    for seed in range(20):
        seen, labels = augmented(
            picture(*image_hw),
            np.ones(image_hw, np.uint8),
            (64, 96),
            "pad",
            LEVELS[level],
            (seed,),
        )
        assert (seen.shape, labels.shape) == ((64, 96, 3), (64, 96))


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Variation)])
def test_each_property_varies_alone(field: str) -> None:
    """Each option does something, and geometry alone moves masks."""
    chance = {"flip", "grey", "blur", "noise", "jpeg", "shadow", "cutout"}
    value = (
        (0.5, 2.0) if field == "scale" else 1.0 if field in chance else 15.0 if field in {"rotate", "shear"} else 0.3
    )
    variation = Variation(**{field: value})  # type: ignore[arg-type]
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    class_map = drawing(64, 64)[1]
    changed_image = changed_mask = False
    for seed in range(10):
        seen, labels = augmented(image, class_map, (64, 64), "pad", variation, (seed,))
        changed_image |= not np.array_equal(seen, image)
        changed_mask |= not np.array_equal(labels, class_map)
    assert changed_image
    assert changed_mask == (field in GEOMETRY or field == "cutout")


def test_a_flip_is_a_mirror() -> None:
    image, class_map = picture(64, 64), drawing(64, 64)[1]
    seen, labels = augmented(image, class_map, (64, 64), "pad", Variation(flip=1.0), (0,))
    assert np.array_equal(seen, image[:, ::-1])
    assert np.array_equal(labels, class_map[:, ::-1])


def test_half_of_the_pictures_are_flipped() -> None:
    image, class_map = drawing(32, 48)
    flipped = sum(
        np.array_equal(augmented(image, class_map, (32, 48), "pad", Variation(flip=0.5), (n,))[1], class_map[:, ::-1])
        for n in range(400)
    )
    assert 150 < flipped < 250


def test_grey_has_no_colour() -> None:
    seen, _ = augmented(picture(40, 40), np.zeros((40, 40), np.uint8), (40, 40), "pad", Variation(grey=1.0), (0,))
    assert np.abs(seen.astype(int) - seen[..., :1]).max() <= 1


def test_what_is_cut_out_is_ignored() -> None:
    image, class_map = np.full((64, 64, 3), 7, np.uint8), np.ones((64, 64), np.uint8)
    for seed in range(20):
        seen, labels = augmented(image, class_map, (64, 64), "pad", Variation(cutout=1.0), (seed,))
        assert (labels == IGNORED).any()
        assert (seen[labels == 1] == 7).all()
