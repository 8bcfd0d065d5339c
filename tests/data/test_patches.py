"""Random patches: where they come from, at which scale, and how many of each picture."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from segwright.classes import IGNORED
from segwright.data.augment import LEVELS, Variation, augmented
from segwright.data.layouts import Dataset, find_dataset
from segwright.data.loaders import WHOLE, Pairs, Splits, shrunk_hw
from segwright.data.order import Draw
from segwright.data.patches import patch_placement, shown_in_a_pass
from segwright.data.sample import Sample, read_pair
from segwright.recipe import DataRecipe, FitRecipe, Recipe
from tests.tiny import make_dataset


def noise(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture in which no two places look alike, and a class map that can be read off it."""
    image = np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), np.uint8)
    return image, image[..., 0] % 2


def recipe_of(patch: int, *, batch_size: int = 4) -> Recipe:
    return Recipe(
        data=DataRecipe(patch_size=patch, width=patch, height=patch, augment="none", workers=0),
        fit=FitRecipe(batch_size=batch_size),
    )


@given(
    height=st.integers(1, 120),
    width=st.integers(1, 120),
    patch=st.integers(32, 64),
    seed=st.tuples(st.integers(0, 99), st.integers(0, 99)),
)
def test_without_variation_a_patch_is_a_piece_of_the_picture(
    height: int, width: int, patch: int, seed: tuple[int, int]
) -> None:
    image, class_map = noise(height, width)
    seen, labels = augmented(image, class_map, (patch, patch), "pad", Variation(), seed, patch=patch)
    (scale_y, margin_y), (scale_x, margin_x) = patch_placement(class_map, (patch, patch), patch, seed)
    assert scale_y == scale_x == 1.0
    # The independent way: lay the picture into a large black field, and cut the patch out of that.
    field, truth = np.zeros((height + 128, width + 128, 3), np.uint8), np.full((height + 128, width + 128), IGNORED)
    field[64 : 64 + height, 64 : 64 + width], truth[64 : 64 + height, 64 : 64 + width] = image, class_map
    top, left = 64 - int(margin_y), 64 - int(margin_x)
    assert np.array_equal(seen, field[top : top + patch, left : left + patch])
    assert np.array_equal(labels, truth[top : top + patch, left : left + patch])
    for length, margin in ((height, margin_y), (width, margin_x)):
        if length >= patch:
            assert 0 <= -margin <= length - patch
        else:
            assert margin == (patch - length) // 2


def test_every_place_is_as_likely_as_any_other() -> None:
    class_map = np.zeros((40, 36), np.uint8)
    starts = Counter(
        tuple(-int(margin) for _, margin in patch_placement(class_map, (32, 32), 32, (seed,))) for seed in range(4500)
    )
    assert set(starts) == {(top, left) for top in range(9) for left in range(5)}
    assert 60 < min(starts.values()) <= max(starts.values()) < 145


def test_a_run_at_half_size_sees_the_same_place_at_half_the_scale() -> None:
    _, class_map = noise(100, 90)
    (scale, margin_y), (_, margin_x) = patch_placement(class_map, (64, 64), 64, (3, 4))
    half = patch_placement(class_map, (32, 32), 64, (3, 4))
    assert scale == 1.0
    assert half == ((0.5, margin_y / 2), (0.5, margin_x / 2))


def test_patches_without_a_label_are_avoided() -> None:
    class_map = np.full((256, 256), IGNORED, np.uint8)
    class_map[:, :64] = 0
    image = np.zeros((256, 256, 3), np.uint8)
    labelled = [
        (augmented(image, class_map, (32, 32), "pad", Variation(), (seed,), patch=32)[1] != IGNORED).any()
        for seed in range(200)
    ]
    # A single look finds one in 0.28 of all cases, eight looks in 0.93.
    assert np.mean(labelled) > 0.85
    nothing = np.full_like(class_map, IGNORED)
    _, labels = augmented(image, nothing, (32, 32), "pad", Variation(), (0,), patch=32)
    assert (labels == IGNORED).all()


def test_variation_turns_a_patch_about_its_own_middle_and_brings_neighbours_in() -> None:
    """Around a patch there is picture, not black: turning it leaves no black corners."""
    image = np.full((400, 400, 3), 200, np.uint8)
    class_map = np.ones((400, 400), np.uint8)
    inside = 0
    for seed in range(60):
        _, labels = augmented(image, class_map, (64, 64), "pad", LEVELS["medium"], (seed,), patch=64)
        placed = patch_placement(class_map, (64, 64), 64, (seed,))
        if all(64 < -margin < 400 - 128 for _, margin in placed):
            inside += 1
            assert (labels == 1).all()
    assert inside > 5


def test_the_same_seed_gives_the_same_patch_and_another_another() -> None:
    image, class_map = noise(150, 170)
    draws = [augmented(image, class_map, (64, 64), "pad", LEVELS["strong"], (7, n), patch=64) for n in (0, 0, 1)]
    assert np.array_equal(draws[0][0], draws[1][0])
    assert np.array_equal(draws[0][1], draws[1][1])
    assert not np.array_equal(draws[0][0], draws[2][0])


def test_a_pass_sees_as_many_pixels_as_there_are(tmp_path: Path) -> None:
    samples = []
    for name, size in (("small", (20, 30)), ("one", (64, 64)), ("wide", (640, 64)), ("large", (200, 130))):
        Image.new("RGB", size).save(tmp_path / f"{name}.png")
        samples.append(Sample(name, tmp_path / f"{name}.png"))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    samples.append(Sample("broken", tmp_path / "broken.png"))
    shown = Counter(shown_in_a_pass(samples, 64).tolist())
    assert shown == {0: 1, 1: 1, 2: 10, 3: 6, 4: 1}
    assert shown_in_a_pass(samples, 0).tolist() == [0, 1, 2, 3, 4]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return find_dataset(
        make_dataset(tmp_path_factory.mktemp("patches") / "data", splits={"train": 5, "val": 3}, size_hw=(70, 90))
    )


def test_batches_of_patches_and_whole_pictures_to_check_with(dataset: Dataset) -> None:
    pairs = Pairs(Splits(dataset.splits["train"], dataset.splits["val"]), dataset.classes, recipe_of(32), "cpu")
    batches = list(itertools.islice(pairs.train_dataloader(), pairs.order.batches_per_pass))
    assert len(batches) == -(-5 * 6 // 4)  # 70 x 90 pixels are six patches of 32
    assert {tuple(batch.images.shape) for batch in batches} == {(4, 3, 32, 32)}
    times = Counter(key for batch in batches for key in batch.keys)
    assert set(times) == {sample.key for sample in dataset.splits["train"]}
    assert min(times.values()) >= 6
    assert len(pairs.train_pictures._kept) == 5  # decoded once each, however often they are shown
    whole = list(pairs.val_dataloader())
    assert len(whole) == 3
    for batch, sample in zip(whole, dataset.splits["val"], strict=True):
        image, class_map = read_pair(sample, dataset.classes)
        assert batch.keys == (sample.key,)
        assert np.array_equal(batch.images[0].permute(1, 2, 0).numpy(), image)
        assert np.array_equal(batch.class_maps[0].numpy(), class_map)


def test_a_panel_shows_the_same_patch_after_every_check(dataset: Dataset) -> None:
    pairs = Pairs(Splits(dataset.splits["train"], dataset.splits["val"]), dataset.classes, recipe_of(32), "cpu")
    one, other = (pairs.val_pictures[Draw(1, (0,), (32, 32))] for _ in range(2))
    whole, _, key, _ = pairs.val_pictures[Draw(1, (0,), WHOLE)]
    assert one[0].shape == (32, 32, 3)
    assert np.array_equal(one[0], other[0])
    assert one[2] == key
    windows = np.lib.stride_tricks.sliding_window_view(whole, (32, 32, 3))
    assert (windows == one[0]).all(axis=(-3, -2, -1)).any()


def test_pictures_for_patches_keep_their_scale() -> None:
    assert shrunk_hw(300, 200, recipe_of(32)) == (300, 200)
