from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segwright.classes import IGNORED
from segwright.data.augment import (
    KEPT,
    LEVELS,
    Variation,
    Window,
    augmented,
    read_variation,
    variation_of,
    variation_yaml,
)
from segwright.errors import RecipeError
from segwright.preprocess import place_image, placement
from segwright.recipe import Fit, Level, Recipe

SIZES = st.tuples(st.integers(1, 90), st.integers(1, 90))
GEOMETRY = ("flip", "flip_vertical", "crop", "aspect", "scale", "rotate", "shear", "perspective", "shift")


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
    chance = {"flip", "flip_vertical", "grey", "blur", "motion_blur", "noise", "jpeg", "shadow", "cutout"}
    special = {"scale": (0.5, 2.0), "crop": (0.3, 0.8), "rotate": 15.0, "shear": 15.0, "hue": 40.0}
    value = special.get(field, 1.0 if field in chance else 0.3)
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


def test_a_vertical_flip_is_upside_down() -> None:
    image, class_map = picture(64, 64), drawing(64, 64)[1]
    seen, labels = augmented(image, class_map, (64, 64), "pad", Variation(flip_vertical=1.0), (0,))
    assert np.array_equal(seen, image[::-1])
    assert np.array_equal(labels, class_map[::-1])


EVERY_WAY = Variation(
    flip=0.5,
    flip_vertical=0.5,
    crop=(0.3, 1.0),
    aspect=0.4,
    scale=(0.6, 1.6),
    rotate=45.0,
    shear=15.0,
    perspective=0.2,
    shift=0.2,
)


def ramps(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture that says in red and green where it was, and a class map that says the same column by column."""
    rows, columns = np.mgrid[:height, :width]
    image = np.dstack([columns, rows, np.full_like(rows, 200)]).astype(np.uint8)
    return image, (columns // 4).astype(np.uint8)


@pytest.mark.parametrize("fit", ["pad", "stretch"])
@given(
    image_hw=st.tuples(st.integers(40, 200), st.integers(40, 200)),
    size_hw=st.tuples(st.integers(32, 128), st.integers(32, 128)),
    seed=st.integers(0, 2**40),
)
def test_every_pixel_keeps_its_label(image_hw: tuple[int, int], size_hw: tuple[int, int], seed: int, fit: Fit) -> None:
    """Picture and mask are resampled apart, and must still tell the same place of the picture."""
    image, class_map = ramps(*image_hw)
    seen, labels = augmented(image, class_map, size_hw, fit, EVERY_WAY, (seed,))
    inside = cv2.erode((labels != IGNORED).astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=0) == 1
    told, labelled = seen[..., 0].astype(float)[inside], labels[inside].astype(float)
    # The label covers four columns, [4 n - 0.5, 4 n + 3.5) between pixel centres; one step of rounding either side.
    assert ((told >= 4 * labelled - 0.5 - 1.0) & (told <= 4 * labelled + 3.5 + 1.0)).all()


@given(seed=st.integers(0, 2**40), window=st.tuples(*[st.integers(0, 63)] * 2, *[st.integers(1, 64)] * 2))
def test_a_window_is_that_part_of_the_whole(seed: int, window: tuple[int, int, int, int]) -> None:
    top, left = window[:2]
    height, width = min(window[2], 64 - top), min(window[3], 64 - left)
    image, class_map = picture(70, 90), drawing(70, 90)[1]
    variation = dataclasses.replace(EVERY_WAY, brightness=0.2, contrast=0.3, gamma=0.4, hue=60.0, tint=0.1)
    whole = augmented(image, class_map, (64, 64), "pad", variation, (seed,))
    part = augmented(image, class_map, (64, 64), "pad", variation, (seed,), window=Window(top, left, height, width))
    expected = [each[top : top + height, left : left + width] for each in whole]
    # A translation moves sums by a last bit, which may decide how a pixel rounds.
    assert (part[1] != expected[1]).mean() < 0.02
    assert (np.abs(part[0].astype(int) - expected[0]) > 2).mean() < 0.02


def test_properties_do_not_disturb_each_other() -> None:
    """Switching one on leaves what the others draw."""
    image, class_map = picture(64, 64), drawing(64, 64)[1]
    for seed in range(10):
        alone = augmented(image, class_map, (64, 64), "pad", Variation(rotate=30.0), (seed,))[1]
        more = Variation(rotate=30.0, brightness=0.2, hue=20.0, gamma=0.5, noise=1.0, blur=1.0)
        assert np.array_equal(augmented(image, class_map, (64, 64), "pad", more, (seed,))[1], alone)


def test_hue_leaves_grey_alone() -> None:
    grey = np.repeat(np.arange(64, dtype=np.uint8)[None, :, None] * 4, 64, axis=0).repeat(3, axis=2)
    zero = np.zeros((64, 64), np.uint8)
    for seed in range(10):
        seen, _ = augmented(grey, zero, (64, 64), "pad", Variation(hue=180.0), (seed,))
        assert np.abs(seen.astype(int) - grey).max() <= 1


def test_noise_is_normal() -> None:
    image, zero = np.full((256, 256, 3), 128, np.uint8), np.zeros((256, 256), np.uint8)
    for seed in range(5):
        seen, _ = augmented(image, zero, (256, 256), "pad", Variation(noise=1.0), (seed,))
        noise = seen.astype(float) - 128
        assert abs(noise.mean()) < 0.1
        deviation = noise.std()
        assert 1.5 < deviation < 16
        assert (np.abs(noise) <= deviation).mean() == pytest.approx(0.683, abs=0.12)  # whole steps are coarse at 2
        grains = noise.reshape(-1, 3)
        assert np.abs(np.corrcoef(grains.T) - np.eye(3)).max() < 0.03


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


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_as_yaml_is_that_level(level: Level, tmp_path: Path) -> None:
    sentences = {field.name: f"{field.name} does this: or that" for field in dataclasses.fields(Variation)}
    for text in (variation_yaml(LEVELS[level]), variation_yaml(LEVELS[level], sentences), f"base: {level}\n"):
        (tmp_path / "mine.yaml").write_text(text)
        assert read_variation(tmp_path / "mine.yaml") == LEVELS[level]


def test_a_file_builds_on_a_level(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("base: medium\nrotate: 90\nnoise: 1e-1\nscale: [0.5, 2]\n")
    expected = dataclasses.replace(LEVELS["medium"], rotate=90, noise=0.1, scale=(0.5, 2))
    assert read_variation(tmp_path / "mine.yaml") == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rotat: 3\n", "did you mean rotate"),
        ("base: mediun\n", "did you mean medium"),
        ("base: 3\n", "unknown level 3"),
        ("7: 3\n", "unknown property 7"),
        ("flip: 1.5\n", "flip lies between 0 and 1"),
        ("flip: yes\n", "flip is a number"),
        ("flip: often\n", "flip is a number"),
        ("rotate: .nan\n", "rotate is a number"),
        ("rotate: -5\n", "rotate lies between 0 and 180"),
        ("perspective: 0.6\n", "perspective lies between 0 and 0.4"),
        ("scale: 2\n", "scale is two numbers"),
        ("scale: [2, 1]\n", "the smaller first"),
        ("scale: [0, 1]\n", "from 0.1 to 10"),
        ("crop: [0.5, 0.7, 1]\n", "crop is two numbers"),
        ("- flip\n", "no properties by name"),
        ("", "no properties by name"),
        ("{unclosed\n", "cannot be read as an augmentation"),
    ],
)
def test_a_wrong_file_is_refused(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(RecipeError) as refusal:
        read_variation(file)
    assert words in str(refusal.value)
    assert "mine.yaml" in str(refusal.value)


def test_a_run_that_goes_on_finds_its_own_copy(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("base: light\nhue: 20\n")
    recipe = Recipe().with_settings(augment=str(tmp_path / "mine.yaml"))
    variation = variation_of(recipe)
    assert variation.hue == 20
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / KEPT).write_text(variation_yaml(variation))
    (tmp_path / "mine.yaml").unlink()
    assert variation_of(recipe.with_settings(augment="mine.yaml"), tmp_path / "run") == variation
    with pytest.raises(RecipeError, match="cannot be read"):
        variation_of(recipe)
    assert variation_of(Recipe().with_settings(augment="strong"), tmp_path / "run") == LEVELS["strong"]
