from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segwright.data.augment import LEVELS, Variation, Window
from segwright.data.layouts import Dataset, find_dataset
from segwright.data.loaders import Batch, Pairs, Pictures, Splits
from segwright.data.mixing import Mixing, blended, composed, quarters, rectangle
from segwright.data.order import Draw
from segwright.errors import DataError
from segwright.recipe import DataRecipe, FitRecipe, Recipe
from tests.tiny import make_dataset

SIZES = st.tuples(st.integers(32, 90), st.integers(32, 90))
ALL = Mixing(mosaic=0.5, cutmix=0.5, mixup=0.5)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = tmp_path_factory.mktemp("mixing") / "data"
    return find_dataset(make_dataset(root, classes=3, notation="index", splits={"train": 9, "val": 3}))


def flat(size_hw: tuple[int, int]) -> object:
    """Pictures of one colour: sample n is n everywhere, and so is its mask."""

    def look(which: int, seed: tuple[int, ...], window: Window) -> tuple[np.ndarray, np.ndarray]:
        assert 0 <= window.top <= window.top + window.height <= size_hw[0]
        assert 0 <= window.left <= window.left + window.width <= size_hw[1]
        shape = (window.height, window.width)
        return np.full((*shape, 3), which, np.uint8), np.full(shape, which, np.uint8)

    return look


@given(size_hw=SIZES, seed=st.integers(0, 2**40))
def test_quarters_cover_every_pixel_once(size_hw: tuple[int, int], seed: int) -> None:
    covered = np.zeros(size_hw, int)
    for top, left, height, width in quarters(np.random.default_rng(seed), size_hw):
        assert min(height, width) > 0
        covered[top : top + height, left : left + width] += 1
    assert (covered == 1).all()


@given(size_hw=SIZES, seed=st.integers(0, 2**40))
def test_rectangles_lie_inside(size_hw: tuple[int, int], seed: int) -> None:
    top, left, height, width = rectangle(np.random.default_rng(seed), size_hw)
    assert 0 <= top <= top + height <= size_hw[0]
    assert 0 <= left <= left + width <= size_hw[1]


@pytest.mark.parametrize("mixing", [Mixing(mosaic=1.0), Mixing(cutmix=1.0), Mixing(mosaic=1.0, cutmix=1.0)])
@given(size_hw=SIZES, seed=st.integers(0, 2**40))
def test_pixels_and_labels_are_pasted_together(mixing: Mixing, size_hw: tuple[int, int], seed: int) -> None:
    image, class_map, used = composed(7, (1, seed), size_hw, 50, mixing, flat(size_hw))  # type: ignore[arg-type]
    assert image.shape == (*size_hw, 3)
    assert np.array_equal(image, class_map[..., None].repeat(3, axis=2))
    assert used[0] == 7
    assert set(np.unique(class_map)) <= set(used)
    assert len(used) <= 1 + 3 * bool(mixing.mosaic) + bool(mixing.cutmix)


def test_chances_are_kept() -> None:
    size_hw = (32, 32)
    for mixing, expected in ((Mixing(mosaic=0.25), 4), (Mixing(cutmix=0.25), 2)):
        counts = [len(composed(0, (n,), size_hw, 50, mixing, flat(size_hw))[2]) for n in range(400)]  # type: ignore[arg-type]
        assert set(counts) == {1, expected}
        assert 60 < counts.count(expected) < 140


def test_what_is_not_mixed_is_as_it_was(dataset: Dataset) -> None:
    """The drawn sample keeps its own variation: unmixed pixels are those it has without mixing."""
    recipe = Recipe(data=DataRecipe(height=64, width=64))
    geometry = Variation(flip=0.5, rotate=20.0, scale=(0.8, 1.4))
    plain, cut = (
        Pictures(dataset.splits["train"], dataset.classes, recipe, geometry, mixing=mixing)
        for mixing in (Mixing(), Mixing(cutmix=1.0))
    )
    changed = 0
    for n in range(9):
        draw = Draw(n, (3, n), (64, 64))
        one, other = plain[draw], cut[draw]
        same = (one[0] == other[0]).all(axis=2)
        rows, columns = np.nonzero(~same)
        if not rows.size:
            continue
        changed += 1
        outside = np.ones((64, 64), bool)
        outside[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = False
        assert same[outside].all()
        assert (one[1][outside] == other[1][outside]).all()
        assert other[2].startswith(one[2])
    assert changed > 4


@given(count=st.integers(2, 6), seed=st.integers(0, 2**40))
def test_blends_are_the_weighted_sum_of_two_pictures(count: int, seed: int) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (count, 8, 6, 3), np.uint8)
    before = images.copy()
    mixed = blended(images, (seed,), Mixing(mixup=1.0))
    assert mixed is not None
    answer, away, share = mixed
    assert 0.5 <= share <= 1.0
    assert 0 < away < count
    for n in range(count):
        expected = share * before[n] + (1 - share) * before[(n + away) % count].astype(float)
        assert np.abs(answer[n] - expected).max() <= 0.51
    assert np.array_equal(images, before)


def test_a_single_picture_or_no_chance_is_not_blended() -> None:
    images = np.zeros((1, 8, 8, 3), np.uint8)
    assert blended(images, (0,), Mixing(mixup=1.0)) is None
    assert blended(images.repeat(2, axis=0), (0,), Mixing()) is None


def pairs_of(dataset: Dataset, workers: int = 0, mixing: Mixing = ALL) -> Pairs:
    recipe = Recipe(
        data=DataRecipe(
            height=32,
            width=48,
            workers=workers,
            augment="strong",
            mosaic=mixing.mosaic,
            cutmix=mixing.cutmix,
            mixup=mixing.mixup,
        ),
        fit=FitRecipe(batch_size=3),
    )
    return Pairs(Splits(dataset.splits["train"], dataset.splits["val"]), dataset.classes, recipe, "cpu")


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_loading_processes_change_nothing_about_mixed_batches(dataset: Dataset) -> None:
    def passes(workers: int) -> list[Batch]:
        pairs = pairs_of(dataset, workers)
        return list(itertools.islice(pairs.train_dataloader(), 3 * pairs.order.batches_per_pass))

    alone, helped = passes(0), passes(2)
    assert any(batch.other_maps is not None for batch in alone)
    assert any(batch.other_maps is None for batch in alone)
    for one, other in zip(alone, helped, strict=True):
        assert one.keys == other.keys
        assert one.share == other.share
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.class_maps, other.class_maps)
        assert (one.other_maps is None) == (other.other_maps is None)
        if one.other_maps is not None and other.other_maps is not None:
            assert torch.equal(one.other_maps, other.other_maps)


def test_blended_batches_keep_both_masks(dataset: Dataset) -> None:
    mixed = next(iter(pairs_of(dataset, mixing=Mixing(mixup=1.0)).train_dataloader()))
    plain = next(iter(pairs_of(dataset, mixing=Mixing()).train_dataloader()))
    assert plain.other_maps is None
    assert plain.share == 1.0
    assert torch.equal(mixed.class_maps, plain.class_maps)
    assert mixed.other_maps is not None
    away = next(n for n in (1, 2) if torch.equal(mixed.other_maps, plain.class_maps.roll(-n, 0)))
    for n, key in enumerate(mixed.keys):
        assert key == f"{plain.keys[n]} + {plain.keys[(n + away) % 3]}"
    blend = mixed.share * plain.images.float() + (1 - mixed.share) * plain.images.roll(-away, 0).float()
    assert (mixed.images.float() - blend).abs().max() <= 0.51
    assert mixed.images.is_contiguous(memory_format=torch.channels_last)


def test_the_loss_of_a_blend_is_the_weighted_sum() -> None:
    maps, others = torch.zeros(2, 4, 4, dtype=torch.uint8), torch.ones(2, 4, 4, dtype=torch.uint8)
    batch = Batch(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), maps, ("a", "b"), others, 0.75)
    assert batch.weigh(lambda class_maps: class_maps.float().mean() * 8 + 1) == pytest.approx(0.75 * 1 + 0.25 * 9)
    assert Batch(*batch[:3]).weigh(lambda class_maps: class_maps.float().mean() + 1) == 1.0


def test_validation_is_never_mixed(dataset: Dataset) -> None:
    pairs = pairs_of(dataset, mixing=Mixing(1.0, 1.0, 1.0))
    keys = [key for batch in pairs.val_dataloader() for key in batch.keys]
    assert keys == [sample.key for sample in dataset.splits["val"]]


def test_a_damaged_partner_is_named(tmp_path: Path) -> None:
    data = find_dataset(make_dataset(tmp_path / "data", splits={"train": 2, "val": 1}))
    broken = data.splits["train"][1].image
    broken.write_bytes(broken.read_bytes()[:200])
    recipe = Recipe(data=DataRecipe(height=32, width=32))
    pictures = Pictures(data.splits["train"], data.classes, recipe, LEVELS["none"], mixing=Mixing(mosaic=1.0))
    with pytest.raises(DataError, match=broken.name):
        for n in range(20):
            pictures[Draw(0, (n,), (32, 32))]
