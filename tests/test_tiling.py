"""Tiles against a slow reference that adds up whole pictures, and against functions whose answers are known."""

from __future__ import annotations

import math
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from segwright.errors import UserError
from segwright.tiling import Block, blended, cuts

SIDES = st.tuples(st.integers(1, 90), st.integers(1, 90))
PATCHES = st.tuples(st.integers(1, 40), st.integers(1, 40))
OVERLAPS = st.floats(0.0, 0.75)


def identity(patches: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Answers with the pixels themselves."""
    return patches.transpose(0, 3, 1, 2).astype(np.float32)


def by_place(patches: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Answers differently at every place of a patch, as a network does near its border."""
    height, width = patches.shape[1:3]
    ramp = np.arange(height)[:, None] * 0.01 + np.arange(width) * 0.003
    return np.stack([identity(patches)[:, 0] / 255 + ramp, identity(patches)[:, 1] / 255 - ramp], 1).astype(np.float32)


def picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def together(blocks: list[Block], size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """The whole answer, after a look that each pixel is answered once."""
    whole = np.full((len(blocks[0].values), *size_hw), np.nan, np.float32)
    times = np.zeros(size_hw, int)
    for block in blocks:
        assert whole[:, block.rows, block.columns].shape == block.values.shape
        whole[:, block.rows, block.columns] = block.values
        times[block.rows, block.columns] += 1
    assert (times == 1).all()
    return whole


def reference(image: NDArray[np.uint8], patch_hw: tuple[int, int], overlap: float) -> NDArray[np.float64]:
    """`by_place` the slow way: weighted sums over the whole padded picture, divided by the sum of the weights at the end."""
    height, width = image.shape[:2]
    above, before = (max(side - length, 0) // 2 for side, length in zip(patch_hw, image.shape[:2], strict=True))
    padded = np.zeros((max(height, patch_hw[0]), max(width, patch_hw[1]), 3), np.uint8)
    padded[above : above + height, before : before + width] = image
    starts = []
    for length, side in zip(padded.shape[:2], patch_hw, strict=True):
        step = max(side - math.ceil(side * overlap), 1)
        count = 1 + math.ceil((length - side) / step)
        starts.append([n * (length - side) // max(count - 1, 1) for n in range(count)])
    summed = np.zeros((2, *padded.shape[:2]))
    weights = np.zeros(padded.shape[:2])
    # 1 - cos is twice the squared sine, and the factor falls away in the division.
    one, other = (1 - np.cos(2 * np.pi * (np.arange(side) + 0.5) / side) for side in patch_hw)
    for top in starts[0]:
        for left in starts[1]:
            place = np.s_[top : top + patch_hw[0], left : left + patch_hw[1]]
            summed[:, *place] += by_place(padded[place][None])[0] * np.outer(one, other)
            weights[place] += np.outer(one, other)
    return (summed / weights)[:, above : above + height, before : before + width]


@given(size_hw=SIDES, patch_hw=PATCHES, overlap=OVERLAPS, batch_size=st.integers(1, 5))
def test_blocks_are_what_the_slow_way_gives(
    size_hw: tuple[int, int], patch_hw: tuple[int, int], overlap: float, batch_size: int
) -> None:
    image = picture(*size_hw)
    blocks = list(blended(image, patch_hw, by_place, overlap=overlap, batch_size=batch_size))
    answer = together(blocks, size_hw)
    np.testing.assert_allclose(answer, reference(image, patch_hw, overlap), atol=2e-5)


@given(size_hw=SIDES, patch_hw=PATCHES, overlap=OVERLAPS)
def test_the_picture_comes_back_exactly(size_hw: tuple[int, int], patch_hw: tuple[int, int], overlap: float) -> None:
    image = picture(*size_hw)
    answer = together(list(blended(image, patch_hw, identity, overlap=overlap)), size_hw)
    assert np.abs(answer.transpose(1, 2, 0) - image).max() < 1e-3
    assert np.array_equal(answer.round().astype(np.uint8).transpose(1, 2, 0), image)


@given(size_hw=SIDES, patch_hw=PATCHES, overlap=OVERLAPS, constant=st.floats(0, 1, width=32))
def test_a_constant_stays_constant(
    size_hw: tuple[int, int], patch_hw: tuple[int, int], overlap: float, constant: float
) -> None:
    def run(patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert patches.shape[1:] == (*patch_hw, 3)
        return np.full((len(patches), 1, *patch_hw), constant, np.float32)

    answer = together(list(blended(picture(*size_hw), patch_hw, run, overlap=overlap)), size_hw)
    np.testing.assert_allclose(answer, constant, rtol=2e-6)


@given(length=st.integers(1, 500), side=st.integers(1, 120), overlap=OVERLAPS)
def test_cuts_cover_an_axis(length: int, side: int, overlap: float) -> None:
    length = max(length, side)
    found = cuts(length, side, overlap)
    assert found[0].start == 0
    assert found[-1].start + side == found[-1].following == length
    for one, following in pairwise(found):
        assert one.start < following.start == one.following
        assert one.start + side - following.start >= side * overlap or following.start == one.start + 1
    total = np.zeros(length)
    for cut in found:
        assert (cut.share > 0).all()
        total[cut.start : cut.start + side] += cut.share
    np.testing.assert_allclose(total, 1.0, atol=1e-6)
    # One patch fewer could not keep the overlap.
    if len(found) > 1:
        assert side + (len(found) - 2) * max(side - math.ceil(side * overlap), 1) < length


def test_a_patch_counts_least_where_it_ends_inside_the_picture() -> None:
    first, second = cuts(28, 16, 0.25)
    assert (first.share[:12] == 1.0).all()
    assert (np.diff(first.share[11:]) < 0).all()
    assert first.share[-1] < 0.03
    np.testing.assert_allclose(first.share, second.share[::-1])


def test_a_picture_of_one_patch_is_answered_once_and_untouched() -> None:
    image, seen = picture(24, 32), []

    def run(patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen.append(patches)
        return by_place(patches)

    blocks = list(blended(image, (24, 32), run))
    assert len(seen) == len(blocks) == 1
    assert np.array_equal(seen[0][0], image)
    assert np.array_equal(blocks[0].values, by_place(image[None])[0])


def test_a_small_picture_lies_in_the_middle_of_black() -> None:
    image = np.maximum(picture(5, 8), 1)
    seen = []

    def run(patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen.append(patches[0])
        return identity(patches)

    answer = together(list(blended(image, (16, 16), run)), (5, 8))
    assert np.array_equal(answer.transpose(1, 2, 0), image)
    assert np.array_equal(seen[0][5:10, 4:12], image)
    assert np.count_nonzero(seen[0].sum(axis=2)) == 5 * 8


def test_batches_are_no_larger_than_asked_for() -> None:
    seen = []

    def run(patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen.append(len(patches))
        return identity(patches)

    list(blended(picture(32, 100), (16, 16), run, batch_size=3))
    assert seen == [3, 3, 2] * 3


def test_memory_does_not_grow_with_the_height() -> None:
    def run(patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.ones((len(patches), 8, *patches.shape[1:3]), np.float32)

    peaks = []
    for height in (400, 4000):
        image = np.zeros((height, 300, 3), np.uint8)
        tracemalloc.start()
        for _ in blended(image, (64, 64), run):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


@pytest.mark.parametrize(("overlap", "batch_size"), [(1.0, 4), (-0.1, 4), (math.nan, 4), (0.25, 0)])
def test_impossible_tiles_are_refused(overlap: float, batch_size: int) -> None:
    with pytest.raises(UserError, match="overlap"):
        next(blended(picture(8, 8), (4, 4), identity, overlap=overlap, batch_size=batch_size))
