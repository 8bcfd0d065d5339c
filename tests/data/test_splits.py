from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from segwright.classes import Classes
from segwright.data.layouts import Dataset, find_dataset
from segwright.data.sample import Sample, read_image
from segwright.data.splits import (
    class_pixels,
    class_shares,
    cut_by_groups,
    divide,
    groups_of,
    repeat_factors,
    smallest_part,
)
from segwright.errors import DataError
from tests.tiny import draw_pair, make_dataset, write_mask


def sample(key: str) -> Sample:
    return Sample(key, Path(f"nowhere/{key}.png"), Path(f"nowhere/{key}_mask.png"))


def flat_of(samples: Sequence[Sample]) -> Dataset:
    return Dataset(
        root=Path("nowhere"),
        layout="flat",
        classes=Classes(names=("a", "b")),
        classes_declared=True,
        splits={"all": tuple(samples)},
    )


@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=30).filter(lambda sizes: sum(sizes) >= 2),
    val=st.floats(0.0, 0.5),
    test=st.floats(0.0, 0.4),
    seed=st.integers(0, 1000),
)
def test_a_cut_is_a_partition_into_whole_groups(sizes: list[int], val: float, test: float, seed: int) -> None:
    groups = [[sample(f"g{g:02}n{n}") for n in range(size)] for g, size in enumerate(sizes)]
    samples = [s for group in groups for s in group]
    parts = cut_by_groups(samples, groups, {"val": val, "test": test}, seed=seed)
    dealt = [s for part in parts.values() for s in part]
    assert sorted(s.key for s in dealt) == sorted(s.key for s in samples)
    assert parts["train"]
    assert parts["val"]
    if len(groups) > 1:
        for group in groups:
            assert len({part for part, members in parts.items() if set(group) & set(members)}) == 1
    assert parts == cut_by_groups(samples[::-1], groups[::-1], {"val": val, "test": test}, seed=seed)


@given(st.lists(st.integers(0, 400), min_size=2, max_size=60, unique=True), st.integers(0, 5))
def test_divide_never_depends_on_the_order_of_files(numbers: list[int], seed: int) -> None:
    samples = [sample(f"clip_{n:04}") for n in numbers]
    one, other = divide(flat_of(samples), seed=seed), divide(flat_of(samples[::-1]), seed=seed)
    assert one == other
    assert sorted(s.key for part in one.values() for s in part) == sorted(s.key for s in samples)
    assert one["train"]
    assert one["val"]


def test_another_seed_is_another_cut() -> None:
    samples = [sample(f"{a}{b}") for a in "abcdefgh" for b in "stuvwxyz"]
    assert divide(flat_of(samples), seed=0) != divide(flat_of(samples), seed=1)
    parts = divide(flat_of(samples), val_share=0.25, test_share=0.125)
    assert {part: len(members) for part, members in parts.items()} == {"val": 16, "test": 8, "train": 40}


def test_frames_of_a_video_are_cut_into_blocks() -> None:
    frames = [sample(f"clip1_{n:04}") for n in range(0, 400, 2)]
    groups = groups_of(frames, smallest_part(len(frames), {"val": 0.15}))
    assert all(len(group) == 20 for group in groups)
    assert all([s.key for s in group] == sorted(s.key for s in group) for group in groups)
    parts = divide(flat_of(frames), val_share=0.1, test_share=0.1)
    val = [int(s.key[-4:]) for s in parts["val"]]
    assert val == list(range(val[0], val[0] + 40, 2))


def test_photograph_numbers_are_not_frames() -> None:
    photos = [sample(f"IMG_{n:04}") for n in np.random.default_rng(0).choice(9000, 40, replace=False)]
    assert all(len(group) == 1 for group in groups_of(photos, 6))


def test_variants_of_one_source_stay_together() -> None:
    variants = [sample(f"cat{c}_jpg.rf.{n:032x}") for c in "abcdef" for n in range(3)]
    assert sorted(len(group) for group in groups_of(variants, 3)) == [3] * 6


def test_look_alikes_stay_together(tmp_path: Path) -> None:
    root = make_dataset(tmp_path, layout="flat", splits={"train": 20})
    for twin in ("aaa", "aac", "aae"):
        for kind in ("images", "masks"):
            shutil.copy(root / kind / f"{twin}.png", root / kind / f"zz{twin[-1]}.png")
    smaller = Image.fromarray(read_image(root / "images" / "aag.png")).resize((48, 36))
    smaller.save(root / "images" / "yyy.jpg", quality=70)
    write_mask(root / "masks" / "yyy.png", np.zeros((36, 48), np.uint8), "binary")
    groups = {tuple(s.key for s in group) for group in groups_of(find_dataset(root).splits["all"], 4) if len(group) > 1}
    assert groups == {("aaa", "zza"), ("aac", "zzc"), ("aae", "zze"), ("aag", "yyy")}
    for seed in range(5):
        where = {s.key: part for part, members in divide(find_dataset(root), seed=seed).items() for s in members}
        assert all(where[a] == where[b] for a, b in groups)


def test_what_is_divided_on_disk_stays_so(tmp_path: Path) -> None:
    dataset = find_dataset(make_dataset(tmp_path))
    assert divide(dataset, val_share=0.4, seed=9) == dataset.splits


def test_val_is_cut_from_train_and_test_stays(tmp_path: Path) -> None:
    dataset = find_dataset(make_dataset(tmp_path, splits={"train": 10, "test": 4}))
    parts = divide(dataset, val_share=0.2)
    assert (len(parts["train"]), len(parts["val"])) == (8, 2)
    assert parts["test"] == dataset.splits["test"]


def test_samples_without_masks_are_left_out(tmp_path: Path) -> None:
    root = make_dataset(tmp_path)
    shutil.rmtree(root / "test" / "masks")
    (root / "train" / "masks" / "aaa.png").unlink()
    parts = divide(find_dataset(root))
    assert set(parts) == {"train", "val"}
    assert len(parts["train"]) == 5


def test_two_pictures_are_enough_and_one_is_not(tmp_path: Path) -> None:
    parts = divide(find_dataset(make_dataset(tmp_path / "two", layout="flat", splits={"train": 2})))
    assert {part: len(members) for part, members in parts.items()} == {"train": 1, "val": 1}
    with pytest.raises(DataError, match="1 picture"):
        divide(find_dataset(make_dataset(tmp_path / "one", layout="flat", splits={"train": 1})))
    with pytest.raises(DataError, match="leave nothing"):
        divide(find_dataset(tmp_path / "two"), val_share=0.6, test_share=0.5)


def test_copies_of_one_picture_can_still_be_divided(tmp_path: Path) -> None:
    root = make_dataset(tmp_path, layout="flat", splits={"train": 5})
    for picture in (root / "images").iterdir():
        Image.fromarray(draw_pair(0).image).save(picture)
    parts = divide(find_dataset(root))
    assert parts["train"]
    assert parts["val"]


def test_real_frames_leave_val_in_blocks(shared_data: Path) -> None:
    dataset = find_dataset(shared_data / "camvid-small")
    parts = divide(flat_of(dataset.splits["train"]), val_share=0.2, test_share=0.0)
    assert 0.1 < len(parts["val"]) / 120 < 0.25


# --- drawing rare classes more often -----------------------------------------------------------------------------------


def test_repeat_factors_are_those_of_the_paper() -> None:
    """Against the formula written out picture by picture."""
    pixels = np.array([[9, 0, 0], [5, 4, 0], [3, 0, 0], [1, 0, 7]], np.int64)
    for threshold in (0.0, 0.1, 0.3, 0.5, 1.0):
        expected = []
        for row in pixels:
            factors = [1.0]
            for number in range(3):
                frequency = sum(other[number] > 0 for other in pixels) / 4
                if row[number] > 0:
                    factors.append(max(1.0, (threshold / frequency) ** 0.5))
            expected.append(max(factors))
        assert np.allclose(repeat_factors(pixels, threshold), expected)
    assert (repeat_factors(pixels, 0.0) == 1.0).all()
    assert repeat_factors(pixels, 1.0).tolist() == [1.0, 2.0, 1.0, 2.0]
    assert repeat_factors(np.zeros((3, 2), np.int64), 1.0).tolist() == [1.0, 1.0, 1.0]


@given(
    pixels=st.lists(st.lists(st.integers(0, 5), min_size=3, max_size=3), min_size=1, max_size=40),
    balance=st.floats(0.0, 1.0),
)
def test_balancing_never_hides_a_picture_and_grows_with_its_number(pixels: list[list[int]], balance: float) -> None:
    counts = np.array(pixels, np.int64)
    factors = repeat_factors(counts, balance)
    assert (factors >= 1.0).all()
    assert (repeat_factors(counts, min(balance + 0.2, 1.0)) >= factors - 1e-12).all()


def test_class_pixels_are_counted_as_the_health_check_counts_them(tmp_path: Path) -> None:
    from segwright.data import health

    dataset = find_dataset(make_dataset(tmp_path / "data", classes=4, notation="index", splits={"train": 6, "val": 2}))
    found = health.check(dataset, progress=False)
    counted = class_pixels(dataset.splits["train"], dataset.classes)
    assert [tuple(row) for row in counted] == [
        i.mask.pixels for i in found.inspections if i.split == "train" and i.mask is not None
    ]
    mask = dataset.splits["train"][3].mask
    assert mask
    mask.write_bytes(b"x")
    with pytest.raises(DataError, match=mask.name):
        class_pixels(dataset.splits["train"], dataset.classes)
    skipped = class_pixels(dataset.splits["train"], dataset.classes, skip_bad=True)
    assert not skipped[3].any()
    assert (skipped[[0, 1, 2, 4, 5]] == counted[[0, 1, 2, 4, 5]]).all()


def test_class_shares_say_what_is_shown() -> None:
    pixels = np.array([[8, 0], [8, 0], [8, 0], [4, 4]], np.int64)
    classes = Classes(names=("road", "sign [old]"))
    shares = class_shares(pixels, repeat_factors(pixels, 1.0), classes)
    assert np.allclose(shares.pictures, [[1, 0.25], [1, 0.4]])
    assert np.allclose(shares.pixels, [[28 / 32, 4 / 32], [(24 + 8) / 40, 8 / 40]])
    assert shares.to_csv().splitlines() == [
        "class,pictures_before,pictures_after,pixels_before,pixels_after",
        "road,1.000000,1.000000,0.875000,0.800000",
        "sign [old],0.250000,0.400000,0.125000,0.200000",
    ]
    console = Console(record=True, width=100, file=io.StringIO())
    console.print(shares.table())
    lines = console.export_text().splitlines()
    assert lines[1].split() == ["sign", "[old]", "25.00", "%", "40.00", "%", "12.50", "%", "20.00", "%"]
