from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from segwright.classes import IGNORED, Classes
from segwright.masks import (
    UNOWNED,
    class_map_from_raw,
    filled,
    from_colours,
    from_runs,
    grey_only,
    ignore_unowned,
    polygons,
    to_colours,
)

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)


@given(
    st.integers(2, 12).flatmap(
        lambda n: st.tuples(st.just(n), hnp.arrays(np.uint8, SHAPES, elements=st.integers(0, n - 1)))
    )
)
def test_colours_there_and_back(drawn: tuple[int, np.ndarray]) -> None:
    count, class_map = drawn
    classes = Classes(names=tuple(f"c{n}" for n in range(count)), notation="colour")
    assert (from_colours(to_colours(class_map, classes), classes) == class_map).all()


@given(hnp.arrays(np.uint8, SHAPES, elements=st.sampled_from([0, 1, 2, 255])))
def test_numbers_with_gaps_there_and_back(class_map: np.ndarray) -> None:
    values = ((10, 0), (70, 1), (3000, 2), (0, IGNORED))
    on_disk = np.zeros(256, np.uint16)
    for value, number in values:
        on_disk[number] = value
    classes = Classes(names=("a", "b", "c"), values=values)
    assert (class_map_from_raw(on_disk[class_map], classes) == class_map).all()


@given(hnp.arrays(np.uint8, SHAPES, elements=st.integers(0, 1)))
def test_black_and_white_there_and_back(class_map: np.ndarray) -> None:
    classes = Classes(names=("a", "b"), notation="binary")
    white = class_map * np.uint8(255)
    for raw in (white, np.dstack([white] * 3), np.dstack([white, white * 0, white * 0])):
        assert (class_map_from_raw(raw, classes) == class_map).all()


def test_black_and_white_is_cut_in_the_middle() -> None:
    classes = Classes(names=("a", "b"), notation="binary")
    assert class_map_from_raw(np.array([[0, 127, 128, 255]], np.uint8), classes).tolist() == [[0, 0, 1, 1]]


def test_values_without_an_owner() -> None:
    classes = Classes(names=("a", "b"))
    class_map = class_map_from_raw(np.array([[0, 1, 2, 255]], np.uint8), classes)
    assert class_map.tolist() == [[0, 1, UNOWNED, IGNORED]]
    assert ignore_unowned(class_map).tolist() == [[0, 1, IGNORED, IGNORED]]
    clean = class_map[:, :2]
    assert ignore_unowned(clean) is clean


def test_colours_near_a_class_belong_to_it_and_far_ones_to_nobody() -> None:
    classes = Classes(names=("a", "b"), colours=((0, 0, 0), (255, 0, 0)), notation="colour")
    rgb = np.array([[[10, 20, 10], [230, 10, 20], [128, 0, 0], [0, 255, 0]]], np.uint8)
    assert from_colours(rgb, classes).tolist() == [[0, 1, UNOWNED, UNOWNED]]
    assert class_map_from_raw(np.array([[0, 20, 30]], np.uint8), classes).tolist() == [[0, 0, UNOWNED]]


def test_jpeg_colours_find_their_class() -> None:
    classes = Classes(names=("a", "b", "c"), colours=((0, 0, 0), (255, 0, 0), (0, 0, 255)), notation="colour")
    class_map = np.zeros((64, 64), np.uint8)
    class_map[8:30, 8:56], class_map[40:60, 10:50] = 1, 2
    file = io.BytesIO()
    Image.fromarray(to_colours(class_map, classes)).save(file, "JPEG", quality=90, subsampling=0)
    again = from_colours(np.asarray(Image.open(file)), classes)
    assert (again == class_map).mean() > 0.95


def test_many_different_shades_are_matched_in_pieces() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (120, 120, 3), dtype=np.uint8)
    classes = Classes(names=("a", "b"), colours=((0, 0, 0), (255, 255, 255)), notation="colour")
    distances = np.linalg.norm(rgb[:, :, None].astype(float) - np.array(classes.colours), axis=3)
    expected = np.where(distances.min(axis=2) > 48.0, UNOWNED, distances.argmin(axis=2))
    assert (from_colours(rgb, classes) == expected).all()


def test_painting_is_a_table() -> None:
    classes = Classes(names=("background", "card", "hand"))
    class_map = np.random.default_rng(0).choice([0, 1, 2, 255], (31, 62)).astype(np.uint8)
    for seen in (class_map, class_map[:, ::2], class_map.T):
        assert np.array_equal(to_colours(seen, classes), classes.palette[seen])


def test_grey_only() -> None:
    grey = np.full((2, 2, 3), 7, np.uint8)
    assert grey_only(grey)
    grey[1, 1, 2] = 8
    assert not grey_only(grey)


def inside(points: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Which pixel centres lie inside a polygon, by the even-odd rule."""
    height, width = size_hw
    x, y = points[:, 0], points[:, 1]
    after_x, after_y = np.roll(x, -1), np.roll(y, -1)
    answer = np.zeros(size_hw, bool)
    for row in range(height):
        middle = row + 0.5
        crosses = (y > middle) != (after_y > middle)
        share = (middle - y[crosses]) / (after_y[crosses] - y[crosses])
        at = x[crosses] + share * (after_x[crosses] - x[crosses])
        answer[row] = (at[:, None] <= np.arange(width)[None] + 0.5).sum(axis=0) % 2 == 1
    return answer


@given(st.integers(0, 100_000), st.integers(1, 12), st.integers(1, 12), st.sampled_from([0.3, 0.5, 0.8, 0.95]))
def test_exact_polygons_say_what_the_mask_says(seed: int, height: int, width: int, filled: float) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < filled
    found = polygons(mask, tolerance=0)
    drawn = np.zeros((height, width), int)
    for polygon in found:
        drawn += inside(polygon.points, (height, width))
        x, y = polygon.points.T.astype(float)
        assert abs((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2 == pytest.approx(polygon.area)
    assert np.array_equal(drawn, mask)
    assert [polygon.area for polygon in found] == sorted((polygon.area for polygon in found), reverse=True)


def test_simplified_polygons_are_short_and_close() -> None:
    rows, columns = np.mgrid[:200, :300]
    mask = (np.hypot(rows - 100, columns - 150) < 80) & (np.hypot(rows - 100, columns - 130) > 30)
    (polygon,) = polygons(mask)
    assert len(polygon.points) < 90
    drawn = inside(polygon.points, mask.shape)
    assert (drawn & mask).sum() / (drawn | mask).sum() > 0.98
    assert polygon.area == mask.sum()
    assert polygon.box_xywh == (71, 21, 159, 159)
    (outer,) = polygons(mask, most=1, holes=False)
    assert (inside(outer.points, mask.shape) & ~mask).sum() > 2000


def test_nothing_has_no_polygons() -> None:
    assert polygons(np.zeros((5, 6), np.uint8)) == []


coordinates = st.floats(-9, 40, allow_nan=False).map(lambda value: round(value, 3) + 0.0001)


@given(st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=9), st.integers(1, 30), st.integers(1, 30))
def test_filled_is_the_even_odd_rule(points: list[tuple[float, float]], height: int, width: int) -> None:
    ring = np.array(points)
    assert np.array_equal(filled(ring, (height, width)), inside(ring, (height, width)))


@given(st.integers(0, 100_000), st.integers(1, 14), st.integers(1, 14))
def test_polygons_are_filled_with_what_they_were_made_of(seed: int, height: int, width: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < 0.6
    drawn = np.zeros(mask.shape, bool)
    for polygon in polygons(mask, tolerance=0):
        drawn |= filled(polygon.points, mask.shape)
    assert np.array_equal(drawn, mask)


def test_neighbours_share_no_pixel_and_leave_none() -> None:
    cut = np.array([[7.5, -1.0], [12.25, 10.5], [3.0, 21.0]])
    left = filled(np.concatenate([cut, [[-1.0, 21.0], [-1.0, -1.0]]]), (20, 16))
    right = filled(np.concatenate([cut, [[17.0, 21.0], [17.0, -1.0]]]), (20, 16))
    assert not (left & right).any()
    assert (left | right).all()


def packed(lengths: list[int]) -> str:
    """The reference: COCO's own way of writing, number by number as its documentation describes it."""
    text = ""
    for at, length in enumerate(lengths):
        number = length - lengths[at - 2] if at > 2 else length
        while True:
            bits, number = number & 31, number >> 5
            more = number != (-1 if bits & 16 else 0)
            text += chr(48 + bits + 32 * more)
            if not more:
                break
    return text


@given(st.integers(0, 100_000), st.integers(1, 60), st.integers(1, 60), st.sampled_from([0.02, 0.5, 0.99]))
def test_runs_plain_and_packed(seed: int, height: int, width: int, share: float) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < share
    down = mask.T.ravel()
    ends = np.flatnonzero(np.diff(np.concatenate([[False], down]).astype(np.int8)))
    lengths = np.diff(np.concatenate([[0], ends, [down.size]])).tolist()
    assert np.array_equal(from_runs(lengths, mask.shape), mask)
    assert np.array_equal(from_runs(packed(lengths), mask.shape), mask)


def test_packed_runs_as_pycocotools_writes_them() -> None:
    rows, columns = np.mgrid[:40, :70]
    ellipse = (rows - 18) ** 2 / 200 + (columns - 30) ** 2 / 500 < 1
    mask = ellipse & ~((rows - 18) ** 2 + (columns - 30) ** 2 < 40)
    # pycocotools 2.0.11: mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
    text = (
        "`:5Q14L4M2N2N2O0O2N2O000O2O000O2O00AF0:NJ06OL030O000000O20N020N020N100000010M041J062F0:?"
        "001N10001N10001N2N101N2N2N3L4Ljd0"
    )
    assert np.array_equal(from_runs(text, mask.shape), mask)
    lengths = [len(list(run)) for _, run in itertools.groupby(mask.T.ravel())]
    assert packed(lengths) == text


@pytest.mark.parametrize("counts", [[3], [-1, 13], "~", "1" * 30, "Q" * 40, [4, 9]])
def test_runs_that_are_none(counts: list[int] | str) -> None:
    with pytest.raises(ValueError, match="run lengths"):
        from_runs(counts, (3, 4))
