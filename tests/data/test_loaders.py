from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segwright.classes import IGNORED, Classes
from segwright.data.augment import LEVELS, Variation
from segwright.data.layouts import Dataset, find_dataset
from segwright.data.loaders import Draw, Drawn, Order, Pairs, Pictures, Splits, shrunk, stack
from segwright.data.sample import Sample, read_pair
from segwright.errors import DataError
from segwright.recipe import DataRecipe, Fit, FitRecipe, Recipe
from tests.tiny import make_dataset

SPLITS = {"train": 10, "val": 5}


def recipe_of(
    size_hw: tuple[int, int] = (32, 64), *, cache_gb: float = 1.0, workers: int = 0, fit: Fit = "pad"
) -> Recipe:
    return Recipe(
        data=DataRecipe(height=size_hw[0], width=size_hw[1], cache_gb=cache_gb, workers=workers, fit=fit),
        fit=FitRecipe(batch_size=4),
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return find_dataset(make_dataset(tmp_path_factory.mktemp("loaders") / "data", splits=SPLITS))


def pairs_of(dataset: Dataset, recipe: Recipe) -> Pairs:
    return Pairs(Splits(dataset.splits["train"], dataset.splits["val"]), dataset.classes, recipe, "cpu")


@given(count=st.integers(1, 60), multiple=st.integers(1, 9), seed=st.integers(0, 2**32 - 1))
def test_every_pass_draws_every_sample(count: int, multiple: int, seed: int) -> None:
    order = Order(count, seed, (32, 32), multiple)
    for _ in range(3):
        draws = list(order)
        assert len(draws) == len(order)
        assert len(draws) % multiple == 0
        assert len(draws) - count < multiple
        times = Counter(draw.which for draw in draws)
        assert set(times) == set(range(count))
        assert max(times.values()) - min(times.values()) <= 1


def test_the_order_is_seeded_and_new_in_every_pass() -> None:
    one, other, third = Order(30, 5, (32, 32), 4), Order(30, 5, (32, 32), 4), Order(30, 6, (32, 32), 4)
    passes = [list(one) for _ in range(3)]
    assert [list(other) for _ in range(3)] == passes
    assert list(third) != passes[0]
    assert [d.which for d in passes[0]] != [d.which for d in passes[1]]
    # No two draws vary alike, not even of the same sample.
    seeds = [draw.seed for one_pass in passes for draw in one_pass]
    assert len(set(seeds)) == len(seeds)


def test_a_pass_counts_even_if_nobody_asks_for_its_end() -> None:
    """Lightning takes as many batches as the loader is long, and no more: the generator never reaches its end."""
    order = Order(8, 0, (32, 32), 4)
    first = [draw for draw, _ in zip(order, range(8), strict=False)]
    second = [draw for draw, _ in zip(order, range(8), strict=False)]
    assert [d.which for d in first] != [d.which for d in second]
    assert {d.seed for d in first}.isdisjoint(d.seed for d in second)


def test_a_batch_has_one_size_and_its_step_decides() -> None:
    order = Order(10, 0, (32, 32), 4)
    asked: list[int] = []

    def size_at(step: int) -> tuple[int, int]:
        asked.append(step)
        return (32 * (step + 1), 32)

    order.size_at = size_at
    draws = [*order, *order]
    assert asked == [0, 1, 2, 3, 4, 5]
    assert [draw.size_hw[0] for draw in draws] == [32 * (n // 4 + 1) for n in range(24)]


@given(
    repeats=st.lists(st.floats(1.0, 6.0), min_size=1, max_size=40),
    multiple=st.integers(1, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_balanced_pass_draws_each_sample_as_often_as_it_should(
    repeats: list[float], multiple: int, seed: int
) -> None:
    weights, count = np.array(repeats), len(repeats)
    orders = [Order(count, seed, (32, 32), multiple, weights) for _ in range(2)]
    assert len(orders[0]) == len(Order(count, seed, (32, 32), multiple))
    expected = weights * count / weights.sum()
    for number in range(3):
        drawn = orders[0]._order_of(number)
        assert drawn.shape == (count,)
        times = np.bincount(drawn, minlength=count)
        assert (times >= np.floor(expected - 1e-9)).all()
        assert (times <= np.ceil(expected + 1e-9)).all()
    assert [list(orders[0]) for _ in range(2)] == [list(orders[1]) for _ in range(2)]


def test_over_many_passes_balancing_is_exact() -> None:
    weights = np.array([1.0, 1.0, 1.0, 3.0, 1.5])
    order = Order(5, 0, (32, 32), 1, weights)
    times = np.bincount(np.concatenate([order._order_of(n) for n in range(2000)]), minlength=5)
    assert np.abs(times / 2000 - weights * 5 / weights.sum()).max() < 0.03


def test_balancing_nothing_changes_nothing() -> None:
    order, balanced = Order(9, 4, (32, 32), 4), Order(9, 4, (32, 32), 4, np.ones(9))
    assert sorted(balanced._order_of(1).tolist()) == sorted(order._order_of(1).tolist()) == list(range(9))


def test_pairs_balance_by_their_masks(tmp_path: Path) -> None:
    """One picture of eight holds a square; counts are kept for the next run."""
    from PIL import Image

    data = make_dataset(tmp_path / "data", classes=3, notation="index", splits={"train": 8, "val": 2})
    dataset = find_dataset(data)
    for sample in dataset.splits["train"][1:]:
        assert sample.mask
        mask = np.asarray(Image.open(sample.mask)).copy()
        Image.fromarray(np.where(mask == 2, 0, mask).astype(np.uint8)).save(sample.mask)
    recipe = recipe_of().with_settings(balance=1.0, cache_dir=str(tmp_path / "cache"))
    pairs = pairs_of(dataset, recipe)
    assert pairs.shares
    assert np.isclose(pairs.shares.pictures[0, 2], 1 / 8)
    assert np.isclose(pairs.shares.pictures[1, 2], 8**0.5 / (7 + 8**0.5))
    passes = [[d.which for d in pairs.order] for _ in range(20)]
    assert 1.5 < sum(p.count(0) for p in passes) / 20 < 3
    assert len(list((tmp_path / "cache").glob("classes-*.npy"))) == 1
    assert np.array_equal(pairs_of(dataset, recipe).order.repeats, pairs.order.repeats)  # type: ignore[arg-type]
    assert pairs_of(dataset, recipe_of()).shares is None


def test_training_batches(dataset: Dataset) -> None:
    pairs = pairs_of(dataset, recipe_of())
    loader = pairs.train_dataloader()
    batches = list(loader)
    assert len(batches) == len(loader) == 3
    for batch in batches:
        assert (batch.images.shape, batch.images.dtype) == ((4, 3, 32, 64), torch.uint8)
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        assert (batch.class_maps.shape, batch.class_maps.dtype) == ((4, 32, 64), torch.uint8)
        assert set(batch.class_maps.unique().tolist()) <= {0, 1, IGNORED}
        assert len(batch.keys) == 4
    assert {key for batch in batches for key in batch.keys} == {sample.key for sample in dataset.splits["train"]}


def test_validation_batches_are_in_order_and_whole(dataset: Dataset) -> None:
    pairs = pairs_of(dataset, recipe_of())
    one, other = list(pairs.val_dataloader()), list(pairs.val_dataloader())
    assert [key for batch in one for key in batch.keys] == [sample.key for sample in dataset.splits["val"]]
    assert [len(batch.keys) for batch in one] == [4, 1]
    assert all(torch.equal(a.images, b.images) for a, b in zip(one, other, strict=True))


def test_a_batch_is_never_larger_than_the_training_set(dataset: Dataset) -> None:
    few = Splits(dataset.splits["train"][:3], dataset.splits["val"])
    pairs = Pairs(few, dataset.classes, recipe_of(), "cpu")
    assert pairs.batch_size == 3
    assert len(list(pairs.train_dataloader())) == 1


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_loading_processes_change_nothing(dataset: Dataset) -> None:
    alone, helped = (list(pairs_of(dataset, recipe_of(workers=n)).train_dataloader()) for n in (0, 2))
    for one, other in zip(alone, helped, strict=True):
        assert one.keys == other.keys
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.class_maps, other.class_maps)


def test_pictures_are_decoded_once(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []

    def counted(sample: Sample, classes: Classes) -> tuple[np.ndarray, np.ndarray]:
        decoded.append(sample.key)
        return read_pair(sample, classes)

    monkeypatch.setattr("segwright.data.loaders.read_pair", counted)
    pictures = Pictures(dataset.splits["train"], dataset.classes, recipe_of(), Variation())
    draws = [Draw(n, (0,), (32, 64)) for n in range(len(pictures))]
    first = [pictures[draw][0] for draw in draws]
    again = [pictures[draw][0] for draw in draws]
    assert len(decoded) == len(draws)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("fitting", [0, 1, 4])
def test_the_memory_budget_is_kept(dataset: Dataset, fitting: int) -> None:
    of_one = 48 * 64 * 4  # the size of the pictures of tests.tiny, four bytes for each pixel
    recipe = recipe_of((48, 64), cache_gb=(fitting * of_one + of_one / 2) / 1e9)
    pictures = Pictures(dataset.splits["train"], dataset.classes, recipe, Variation())
    for n in range(len(pictures)):
        pictures[Draw(n, (0,), (48, 64))]
    assert len(pictures._kept) == fitting
    assert sum(a.nbytes + b.nbytes for a, b in pictures._kept.values()) <= recipe.data.cache_gb * 1e9


def test_kept_pictures_are_not_spoilt_by_variation(dataset: Dataset) -> None:
    pictures = Pictures(dataset.splits["train"], dataset.classes, recipe_of((48, 64)), LEVELS["strong"])
    pictures[Draw(0, (0,), (48, 64))]
    before = [array.copy() for array in pictures._kept[0]]
    for seed in range(30):
        pictures[Draw(0, (seed,), (48, 64))]
    assert all(np.array_equal(a, b) for a, b in zip(before, pictures._kept[0], strict=True))


@given(
    image_hw=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    size_hw=st.tuples(st.integers(32, 160), st.integers(32, 160)),
    fit=st.sampled_from(["pad", "stretch"]),
)
def test_shrinking_never_enlarges(image_hw: tuple[int, int], size_hw: tuple[int, int], fit: Fit) -> None:
    image, class_map = np.full((*image_hw, 3), 9, np.uint8), np.full(image_hw, 2, np.uint8)
    small, labels = shrunk(image, class_map, recipe_of(size_hw, fit=fit))
    assert small.shape[:2] == labels.shape
    assert labels.shape[0] <= image_hw[0]
    assert labels.shape[1] <= image_hw[1]
    assert small.dtype == labels.dtype == np.uint8
    assert (small == 9).all()
    assert (labels == 2).all()
    # Never smaller than the network needs, but for rounding.
    if fit == "stretch":
        assert labels.shape[0] >= min(image_hw[0], size_hw[0]) - 1
        assert labels.shape[1] >= min(image_hw[1], size_hw[1]) - 1


def test_a_small_picture_is_left_alone() -> None:
    image, class_map = np.zeros((20, 30, 3), np.uint8), np.zeros((20, 30), np.uint8)
    small, labels = shrunk(image, class_map, recipe_of((64, 64)))
    assert small is image
    assert labels is class_map


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", splits=SPLITS)
    dataset = find_dataset(data)
    dataset.splits["train"][0].image.write_bytes(b"")
    pictures = Pictures(dataset.splits["train"], dataset.classes, recipe_of(), Variation())
    with pytest.raises(DataError, match=dataset.splits["train"][0].image.name):
        pictures[Draw(0, (0,), (32, 64))]


def bad_dataset(root: Path, bad: int, splits: dict[str, int] = SPLITS) -> Dataset:
    dataset = find_dataset(make_dataset(root, splits=splits))
    for sample in dataset.splits["train"][:bad]:
        sample.image.write_bytes(b"x")
    return dataset


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_another_picture_stands_in_for_a_bad_one(tmp_path: Path) -> None:
    dataset = bad_dataset(tmp_path / "data", 2)
    bad = {sample.key for sample in dataset.splits["train"][:2]}
    recipe = recipe_of().with_settings(skip_bad=True)
    runs = [list(pairs_of(dataset, recipe.with_settings(workers=n)).train_dataloader()) for n in (0, 2)]
    for one, other in zip(*runs, strict=True):
        assert one.keys == other.keys
        assert one.skipped == other.skipped
        assert torch.equal(one.images, other.images)
        assert not set(one.keys) & bad
    skipped = [skip for batch in runs[0] for skip in batch.skipped]
    assert {key for key, _ in skipped} == bad
    assert all(key in reason or "png" in reason for key, reason in skipped)
    # The same draw gets the same stand-in, another draw another one.
    pictures = Pictures(dataset.splits["train"], dataset.classes, recipe, Variation())
    draws = [Draw(0, (5, 1, n), (32, 64)) for n in range(30)]
    keys = [pictures[draw].key for draw in draws]
    assert keys == [pictures[draw].key for draw in draws]
    assert len(set(keys)) > 3
    with pytest.raises(DataError):
        list(pairs_of(dataset, recipe_of()).train_dataloader())


def test_a_bad_validation_picture_is_ignored_everywhere(tmp_path: Path) -> None:
    dataset = find_dataset(make_dataset(tmp_path / "data", splits=SPLITS))
    dataset.splits["val"][1].image.write_bytes(b"x")
    batches = list(pairs_of(dataset, recipe_of().with_settings(skip_bad=True)).val_dataloader())
    assert [key for batch in batches for key in batch.keys] == [s.key for s in dataset.splits["val"]]
    assert (batches[0].class_maps[1] == IGNORED).all()
    assert not (batches[0].class_maps[0] == IGNORED).all()
    assert [key for key, _ in batches[0].skipped] == [dataset.splits["val"][1].key]


def test_only_bad_pictures_are_an_error(tmp_path: Path) -> None:
    dataset = bad_dataset(tmp_path / "data", 10)
    pictures = Pictures(dataset.splits["train"], dataset.classes, recipe_of().with_settings(skip_bad=True), Variation())
    with pytest.raises(DataError, match="None of the 10 training pictures"):
        pictures[Draw(3, (0, 1), (32, 64))]


def test_more_workers_than_cores_are_told(dataset: Dataset) -> None:
    (note,) = pairs_of(dataset, recipe_of(workers=500)).notes
    assert "--workers 500" in note
    assert not pairs_of(dataset, recipe_of(workers=1)).notes


def test_pictures_travel_to_loading_processes(dataset: Dataset) -> None:
    """Where processes are spawned and not forked, the data set is pickled."""
    pictures = Pictures(dataset.splits["train"], dataset.classes, recipe_of(), LEVELS["medium"])
    twin = pickle.loads(pickle.dumps(pictures))
    draw = Draw(1, (1, 2), (32, 64))
    assert np.array_equal(twin[draw][0], pictures[draw][0])


def test_stacking() -> None:
    rng = np.random.default_rng(0)
    drawn = [
        Drawn(rng.integers(0, 256, (8, 6, 3), np.uint8), rng.integers(0, 2, (8, 6), np.uint8), str(n)) for n in range(3)
    ]
    batch = stack(drawn)
    for n, (image, class_map, key, _) in enumerate(drawn):
        assert np.array_equal(batch.images[n].permute(1, 2, 0).numpy(), image)
        assert np.array_equal(batch.class_maps[n].numpy(), class_map)
        assert batch.keys[n] == key
