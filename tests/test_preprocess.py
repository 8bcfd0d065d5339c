"""Placement against Pillow, against a slow reference written another way, and its promises for any size."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from segwright.export.placing import place, unplace
from segwright.preprocess import MOST_PRODUCTS, place_image, placement, unplace_map
from segwright.recipe import Fit

SIDES = st.integers(min_value=8, max_value=150)
FITS: list[Fit] = ["pad", "stretch"]


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def slow_place(image: np.ndarray, size_hw: tuple[int, int], fit: Fit) -> np.ndarray:
    """Pixel by pixel with Python floats, as the words in preprocess.py say."""
    height, width = image.shape[:2]
    scales = [size_hw[0] / height, size_hw[1] / width]
    if fit == "pad":
        scales = [min(scales)] * 2
    starts = [(size_hw[0] - scales[0] * height) / 2, (size_hw[1] - scales[1] * width) / 2]

    def taps(position: int, axis: int) -> list[tuple[int, float]]:
        centre = (position + 0.5 - starts[axis]) / scales[axis]
        length = image.shape[axis]
        if not 0 <= centre <= length:
            return []
        reach = max(1 / scales[axis], 1.0)
        found = [(i, 1 - abs(i + 0.5 - centre) / reach) for i in range(length) if abs(i + 0.5 - centre) < reach]
        total = math.fsum(weight for _, weight in found)
        return [(i, weight / total) for i, weight in found]

    answer = np.zeros((*size_hw, image.shape[2]))
    columns = [taps(x, 1) for x in range(size_hw[1])]
    for y in range(size_hw[0]):
        for row, row_weight in taps(y, 0):
            for x, column in enumerate(columns):
                for source, weight in column:
                    answer[y, x] += row_weight * weight * image[row, source]
    return answer


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(("height", "width"), [(20, 31), (13, 40), (9, 7), (50, 17)])
def test_placing_equals_a_slow_reference(height: int, width: int, fit: Fit) -> None:
    image = picture(height, width)
    placed = place_image(image, (24, 20), fit)
    assert placed.dtype == np.uint8
    assert np.abs(placed - slow_place(image, (24, 20), fit)).max() <= 0.502


@pytest.mark.parametrize(("height", "width"), [(96, 128), (150, 220), (20, 30), (64, 31)])
def test_stretching_equals_pillow(height: int, width: int) -> None:
    image = picture(height, width)
    theirs = np.asarray(Image.fromarray(image).resize((40, 48), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(place_image(image, (48, 40), "stretch").astype(int) - theirs).max() <= 1


def test_padding_equals_pillow_in_its_middle_and_is_black_around() -> None:
    image = picture(60, 120)
    placed = place_image(image, (64, 64), "pad")
    theirs = np.asarray(Image.fromarray(image).resize((64, 32), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(placed[16:48].astype(int) - theirs).max() <= 1
    assert not placed[:16].any()
    assert not placed[48:].any()


LENGTHS = st.integers(min_value=1, max_value=400)


@given(height=LENGTHS, width=LENGTHS, fit=st.sampled_from(FITS), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_band_by_band_equals_the_whole_products(height: int, width: int, fit: Fit, seed: int) -> None:
    """What runs around a fixed graph equals what runs inside an any-size graph, but for where a sum's last bit rounds."""
    image = picture(height, width, seed)
    whole = place(torch.from_numpy(image).permute(2, 0, 1)[None].float(), (48, 80), fit)[0].permute(1, 2, 0).numpy()
    difference = np.abs(place_image(image, (48, 80), fit).astype(int) - whole.astype(int))
    assert difference.max() <= 1
    assert (difference != 0).mean() < 1e-3

    maps = np.random.default_rng(seed).random((3, 48, 80), np.float32)
    back = unplace(torch.from_numpy(maps)[None], (height, width), fit)[0].numpy()
    np.testing.assert_allclose(unplace_map(maps, (height, width), fit), back, atol=1e-6)


@pytest.mark.parametrize("size_hw", [(1080, 1920), (48, 64), (7, 3000)])
def test_products_stay_too_small_to_wake_threads(size_hw: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    product = np.matmul

    def watched(left: np.ndarray, right: np.ndarray, out: np.ndarray) -> np.ndarray:
        sizes.append(left.shape[0] * left.shape[1] * right.shape[1])
        return product(left, right, out=out)

    monkeypatch.setattr("segwright.preprocess.np.matmul", watched)
    place_image(picture(*size_hw), (96, 128), "pad")
    unplace_map(np.zeros((2, 96, 128), np.float32), size_hw, "pad")
    assert sizes
    assert max(sizes) <= MOST_PRODUCTS


@given(height=SIDES, width=SIDES, fit=st.sampled_from(FITS), value=st.integers(1, 255))
@settings(max_examples=60, deadline=None)
def test_a_constant_picture_stays_constant(height: int, width: int, fit: Fit, value: int) -> None:
    placed = place_image(np.full((height, width, 3), value, np.uint8), (48, 64), fit)
    assert set(np.unique(placed)) <= {0, value}
    assert (placed == value).any()
    if fit == "stretch":
        assert (placed == value).all()


@given(height=SIDES, width=SIDES, fit=st.sampled_from(FITS))
@settings(max_examples=60, deadline=None)
def test_unplacing_a_constant_map_is_constant(height: int, width: int, fit: Fit) -> None:
    maps = unplace_map(np.full((2, 48, 64), 0.7, np.float32), (height, width), fit)
    assert maps.shape == (2, height, width)
    assert np.abs(maps - 0.7).max() < 1e-5


@given(height=SIDES, width=SIDES, fit=st.sampled_from(FITS))
@settings(max_examples=60, deadline=None)
def test_coordinates_survive_the_round_trip(height: int, width: int, fit: Fit) -> None:
    """A map that says at every network pixel which picture pixel lies there reads back as those pixels."""
    (scale_y, margin_y), (scale_x, margin_x) = placement(height, width, (96, 128), fit)
    ys = (torch.arange(96) + 0.5 - margin_y) / scale_y
    xs = (torch.arange(128) + 0.5 - margin_x) / scale_x
    maps = torch.stack([ys[:, None].expand(96, 128), xs[None].expand(96, 128)])[None]
    back = unplace(maps, (height, width), fit)[0]
    # At the border half a network pixel is cut off, so positions there are held.
    tolerance_y, tolerance_x = 0.51 * max(1.0, 1 / scale_y) + 0.05, 0.51 * max(1.0, 1 / scale_x) + 0.05
    if scale_y > 1 or scale_x > 1:
        tolerance_y, tolerance_x = tolerance_y + 0.5, tolerance_x + 0.5
    inner_y = slice(2, height - 2)
    inner_x = slice(2, width - 2)
    assert (back[0] - (torch.arange(height) + 0.5)[:, None])[inner_y].abs().max() <= tolerance_y
    assert (back[1] - (torch.arange(width) + 0.5)[None])[:, inner_x].abs().max() <= tolerance_x


@pytest.mark.parametrize("fit", FITS)
def test_nothing_changes_at_the_networks_own_size(fit: Fit) -> None:
    image, maps = picture(48, 64), np.random.default_rng(1).random((3, 48, 64), np.float32)
    assert place_image(image, (48, 64), fit) is image
    assert unplace_map(maps, (48, 64), fit) is maps
    same = place(torch.from_numpy(image).permute(2, 0, 1)[None].float(), (48, 64), fit)
    assert (same[0].permute(1, 2, 0).numpy() == image).all()
    assert np.abs(unplace(torch.from_numpy(maps)[None], (48, 64), fit)[0].numpy() - maps).max() < 1e-6


def test_a_padded_pictures_area_comes_back_at_its_place() -> None:
    mask = np.zeros((200, 100, 3), np.uint8)
    mask[50:150, 25:75] = 255
    placed = place_image(mask, (64, 96), "pad")
    back = unplace_map(placed.transpose(2, 0, 1).astype(np.float32) / 255, (200, 100), "pad")[0] >= 0.5
    truth = mask[..., 0] > 0
    assert (back & truth).sum() / (back | truth).sum() > 0.95


def test_read_only_pictures_are_placed_without_a_warning() -> None:
    image = picture(30, 40)
    image.flags.writeable = False
    assert place_image(image, (32, 32), "pad").shape == (32, 32, 3)


def test_pixels_exactly_between_two_steps_round_up_in_any_order_of_summing() -> None:
    """Halving has weights 1/8, 3/8, 3/8, 1/8 and many exact halves; they must not depend on a sum's last bit."""
    image = picture(64, 64).astype(np.int64)
    padded = image[np.clip(np.arange(-1, 65), 0, 63)][:, np.clip(np.arange(-1, 65), 0, 63)]
    weights = (1, 3, 3, 1)
    rows = np.stack([w * padded[i : i + 63 : 2] for i, w in enumerate(weights)]).sum(axis=0)
    sums = np.stack([w * rows[:, i : i + 63 : 2] for i, w in enumerate(weights)]).sum(axis=0)
    expected = (sums + 32) // 64
    inner = slice(1, -1)  # the outermost pixels have no neighbour outside, and other weights
    placed = place_image(image.astype(np.uint8), (32, 32), "stretch")
    assert np.array_equal(placed[inner, inner], expected[inner, inner])
    assert (sums[inner, inner] % 64 == 32).any()
