from __future__ import annotations

import pickle
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from segwright.classes import IGNORED, Classes
from segwright.data.augment import LEVELS, Variation
from segwright.data.cards import draw_scene
from segwright.data.layouts import Dataset, find_dataset
from segwright.data.loaders import Drawn, Pairs, Pictures, Splits, read_shrunk, shrunk, shrunk_hw, stack
from segwright.data.order import Draw, Order
from segwright.data.sample import Sample, read_pair, read_scaled
from segwright.errors import DataError
from segwright.preprocess import place_image
from segwright.recipe import DataRecipe, Fit, FitRecipe, Recipe
from tests.tiny import make_dataset

SPLITS = {"train": 10, "val": 5}


def recipe_of(
    size_hw: tuple[int, int] = (32, 64),
    *,
    cache_gb: float = 1.0,
    workers: int = 0,
    fit: Fit = "pad",
    turn: bool = False,
) -> Recipe:
    return Recipe(
        data=DataRecipe(height=size_hw[0], width=size_hw[1], cache_gb=cache_gb, workers=workers, fit=fit, turn=turn),
        fit=FitRecipe(batch_size=4),
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return find_dataset(make_dataset(tmp_path_factory.mktemp("loaders") / "data", splits=SPLITS))


def pairs_of(dataset: Dataset, recipe: Recipe) -> Pairs:
    pairs = Pairs(Splits(dataset.splits["train"], dataset.splits["val"]), dataset.classes, recipe, "cpu")
    pairs.order.course = Stretch(pairs.order.batches_per_pass)
    return pairs


@dataclass
class Stretch:
    """A course that ends, and whose pictures grow."""

    ends: int
    batch: int = 0
    grows: int = 0

    def stretch_ends(self) -> float:
        return self.ends

    def size_hw(self, batch: int) -> tuple[int, int]:
        return 32 + self.grows * batch, 64


def draws_of(order: Order, first: int, last: int, grows: int = 0) -> list[Draw]:
    order.course = Stretch(last, first, grows)
    return list(order)


@given(
    count=st.integers(1, 60),
    batch_size=st.integers(1, 5),
    world=st.integers(1, 3),
    accumulate=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_pass_draws_every_sample(count: int, batch_size: int, world: int, accumulate: int, seed: int) -> None:
    orders = [Order(count, seed, (32, 32), batch_size, world=world, accumulate=accumulate) for _ in range(world)]
    for rank, order in enumerate(orders):
        order.rank = rank
    batches = orders[0].batches_per_pass
    assert batches % accumulate == 0
    for number in range(3):
        draws = [d for order in orders for d in draws_of(order, number * batches, (number + 1) * batches)]
        assert len(draws) == orders[0].length == batches * batch_size * world
        assert len(draws) - count < batch_size * world * accumulate
        times = Counter(draw.which for draw in draws)
        assert set(times) == set(range(count))
        assert max(times.values()) - min(times.values()) <= 1


@given(
    count=st.integers(1, 40),
    batch_size=st.integers(1, 4),
    world=st.integers(2, 4),
    cut=st.integers(0, 9),
    seed=st.integers(0, 99),
)
def test_processes_together_see_what_one_sees_and_any_batch_may_be_the_first(
    count: int, batch_size: int, world: int, cut: int, seed: int
) -> None:
    alone = draws_of(Order(count, seed, (32, 32), batch_size * world), 0, 10)
    each: list[list[Draw]] = []
    for rank in range(world):
        order = Order(count, seed, (32, 32), batch_size, world=world)
        order.rank = rank
        each.append(draws_of(order, 0, cut) + draws_of(order, cut, 10))
    dealt = [d for n in range(10) for draws in each for d in draws[n * batch_size : (n + 1) * batch_size]]
    assert dealt == alone


def test_the_order_is_seeded_and_new_in_every_pass() -> None:
    orders = Order(30, 5, (32, 32), 4), Order(30, 5, (32, 32), 4), Order(30, 6, (32, 32), 4)
    draws = [draws_of(order, 0, 24) for order in orders]
    assert draws[0] == draws[1] != draws[2]
    passes = [draws[0][start : start + 32] for start in (0, 32, 64)]
    assert [d.which for d in passes[0]] != [d.which for d in passes[1]]
    # No two draws vary alike, not even of the same sample.
    seeds = [draw.seed for one_pass in passes for draw in one_pass]
    assert len(set(seeds)) == len(seeds) == 96


def test_a_batch_has_one_size_and_its_number_decides() -> None:
    draws = draws_of(Order(10, 0, (32, 32), 4), 2, 8, grows=32)
    assert [draw.size_hw for draw in draws] == [(32 * (n // 4 + 3), 64) for n in range(24)]


def test_an_order_without_a_course_never_ends() -> None:
    order = Order(3, 0, (32, 48), 2)
    draws = [draw for draw, _ in zip(order, range(50), strict=False)]
    assert {draw.size_hw for draw in draws} == {(32, 48)}
    assert Counter(draw.which for draw in draws).most_common()[-1][1] >= 12


@given(
    repeats=st.lists(st.floats(1.0, 6.0), min_size=1, max_size=40),
    multiple=st.integers(1, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_balanced_pass_draws_each_sample_as_often_as_it_should(
    repeats: list[float], multiple: int, seed: int
) -> None:
    weights, count = np.array(repeats), len(repeats)
    orders = [Order(count, seed, (32, 32), multiple, repeats=weights) for _ in range(2)]
    expected = weights * count / weights.sum()
    for number in range(3):
        drawn = orders[0]._order_of(number)
        assert drawn.shape == (count,)
        times = np.bincount(drawn, minlength=count)
        assert (times >= np.floor(expected - 1e-9)).all()
        assert (times <= np.ceil(expected + 1e-9)).all()
    assert draws_of(orders[0], 0, 7) == draws_of(orders[1], 0, 7)


def test_over_many_passes_balancing_is_exact() -> None:
    weights = np.array([1.0, 1.0, 1.0, 3.0, 1.5])
    order = Order(5, 0, (32, 32), 1, repeats=weights)
    times = np.bincount(np.concatenate([order._order_of(n) for n in range(2000)]), minlength=5)
    assert np.abs(times / 2000 - weights * 5 / weights.sum()).max() < 0.03


def test_balancing_nothing_changes_nothing() -> None:
    order, balanced = Order(9, 4, (32, 32), 4), Order(9, 4, (32, 32), 4, repeats=np.ones(9))
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
    batches = list(pairs.train_dataloader())
    assert len(batches) == 3
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
    assert pairs.order.batches_per_pass == 1
    assert len(next(iter(pairs.train_dataloader())).keys) == 3


def test_processes_share_out_what_is_checked(dataset: Dataset) -> None:
    seen: list[str] = []
    for rank in range(3):
        pairs = Pairs(Splits(dataset.splits["train"], dataset.splits["val"]), dataset.classes, recipe_of(), "cpu", 3)
        pairs.order.rank = rank
        seen += [key for batch in pairs.val_dataloader() for key in batch.keys]
    assert sorted(seen) == sorted(sample.key for sample in dataset.splits["val"])


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_loading_processes_change_nothing(dataset: Dataset) -> None:
    alone, helped = (list(pairs_of(dataset, recipe_of(workers=n)).train_dataloader()) for n in (0, 2))
    for one, other in zip(alone, helped, strict=True):
        assert one.keys == other.keys
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.class_maps, other.class_maps)


def test_pictures_are_decoded_once(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []

    def counted(sample: Sample, classes: Classes, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
        decoded.append(sample.key)
        return read_shrunk(sample, classes, recipe)

    monkeypatch.setattr("segwright.data.loaders.read_shrunk", counted)
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


def test_training_and_validation_share_the_memory_budget(dataset: Dataset) -> None:
    of_one = 48 * 64 * 4
    both = len(dataset.splits["train"]) + len(dataset.splits["val"])
    recipe = recipe_of((48, 64), cache_gb=(both // 2) * of_one / 1e9)
    pairs = pairs_of(dataset, recipe)
    for pictures in (pairs.train_pictures, pairs.val_pictures):
        for n in range(len(pictures)):
            pictures[Draw(n, (0,), (48, 64))]
        assert 0 < len(pictures._kept) < len(pictures)
    assert len(pairs.train_pictures._kept) + len(pairs.val_pictures._kept) <= both // 2


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
    small_hw = shrunk_hw(*image_hw, recipe_of(size_hw, fit=fit))
    assert small_hw <= image_hw
    assert small_hw[1] <= image_hw[1]
    # Never smaller than the network needs, but for rounding.
    if fit == "stretch":
        assert small_hw[0] >= min(image_hw[0], size_hw[0]) - 1
        assert small_hw[1] >= min(image_hw[1], size_hw[1]) - 1


@pytest.mark.parametrize("size_hw", [(64, 48), (48, 64)])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("image_hw", [(120, 200), (200, 120), (120, 120), (65, 64)])
def test_pictures_that_lie_across_are_turned_with_their_masks(
    image_hw: tuple[int, int], suffix: str, size_hw: tuple[int, int], tmp_path: Path
) -> None:
    sample, truth = saved_pair(tmp_path, *image_hw, suffix)
    across = (image_hw[0] - image_hw[1]) * (size_hw[0] - size_hw[1]) < 0
    image, class_map = read_shrunk(sample, TWO, recipe_of(size_hw, turn=True))
    upright, labels = read_shrunk(sample, TWO, recipe_of(size_hw[::-1] if across else size_hw))
    assert np.array_equal(image, np.rot90(upright) if across else upright)
    assert np.array_equal(class_map, np.rot90(labels) if across else labels)
    assert class_map.mean() == pytest.approx(truth.mean(), abs=0.03)


def test_a_small_picture_is_left_alone(dataset: Dataset) -> None:
    sample = dataset.splits["train"][0]
    for read, whole in zip(
        read_shrunk(sample, dataset.classes, recipe_of((48, 64))), read_pair(sample, dataset.classes), strict=True
    ):
        assert np.array_equal(read, whole)


def saved_pair(
    folder: Path, height: int, width: int, suffix: str = ".jpg", seed: int = 0, **options: Any
) -> tuple[Sample, np.ndarray]:
    """A picture whose class map can be read off it, without fine detail, and that class map."""
    coarse = np.random.default_rng(seed).integers(0, 2, (3, 4), np.uint8) * 255
    soft = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    class_map = np.asarray(soft >= 128, np.uint8)
    Image.fromarray(soft).convert("RGB").save(folder / f"a{suffix}", **options)
    Image.fromarray(class_map).save(folder / "a_mask.png")
    return Sample("a", folder / f"a{suffix}", folder / "a_mask.png"), class_map


TWO = Classes(names=("dark", "bright"))


@pytest.mark.parametrize("fit", ["pad", "stretch"])
@pytest.mark.parametrize("image_hw", [(480, 640), (481, 643), (200, 1000), (96, 96)])
def test_shrinking_a_mask_before_it_is_looked_up_is_the_same(
    image_hw: tuple[int, int], fit: Fit, tmp_path: Path
) -> None:
    sample, class_map = saved_pair(tmp_path, *image_hw, suffix=".png")
    recipe = recipe_of((64, 96), fit=fit)
    image, small = read_shrunk(sample, TWO, recipe)
    height, width = shrunk_hw(*image_hw, recipe)
    assert image.shape == (height, width, 3)
    expected = cv2.resize(class_map, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    assert np.array_equal(small, expected)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("image_hw", [(480, 640), (488, 648), (481, 643), (484, 642), (482, 640), (960, 1280)])
def test_a_jpeg_decoded_smaller_stays_with_its_mask(
    image_hw: tuple[int, int], orientation: int, tmp_path: Path
) -> None:
    """Decoders round sizes up; at sizes that are no multiple of 8 a picture would then drift away from its mask."""
    exif = Image.Exif()
    exif[274] = orientation
    sample, class_map = saved_pair(tmp_path, *image_hw, quality=95, exif=exif)
    turns = {1: 0, 3: 2, 6: 3, 8: 1}[orientation]  # quarter turns against the clock
    upright = np.rot90(class_map, turns)
    assert sample.mask is not None
    Image.fromarray(np.ascontiguousarray(upright)).save(sample.mask)
    image, small = read_shrunk(sample, TWO, recipe_of((96, 96)))
    assert image.shape[:2] == small.shape
    bright = image[..., 0].astype(float)
    # A drift of a quarter of a pixel shows: the true edges lie where brightness crosses one half.
    slopes = np.hypot(*np.gradient(cv2.GaussianBlur(bright, (3, 3), 0)))
    wrong = (bright >= 128) != (small == 1)
    distance = np.abs(bright - 127.5)[wrong] / np.maximum(slopes[wrong], 4.0)
    assert distance.size == 0 or distance.max() < 0.75
    whole = cv2.resize(
        np.asarray(Image.open(sample.image).convert("L").rotate(90 * turns, expand=True)),
        small.shape[::-1],
        interpolation=cv2.INTER_AREA,
    )
    assert np.abs(whole.astype(float) - bright).mean() < 1.0


def test_only_sizes_that_divide_are_decoded_smaller(tmp_path: Path) -> None:
    for height, width, decoded in ((480, 640, 60), (484, 644, 121), (482, 642, 241), (481, 640, 481)):
        sample, _ = saved_pair(tmp_path, height, width)
        image, image_hw = read_scaled(sample.image, lambda *_: (60, 60))
        assert image_hw == (height, width)
        assert image.shape[0] == decoded


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    sample, class_map = saved_pair(tmp_path, 480, 640)
    assert sample.mask is not None
    Image.fromarray(class_map[:-1]).save(sample.mask)
    with pytest.raises(DataError, match=r"640x480 but its mask .* is 640x479"):
        read_shrunk(sample, TWO, recipe_of((64, 64)))
    with pytest.raises(DataError, match="has no mask"):
        read_shrunk(Sample("a", sample.image), TWO, recipe_of((64, 64)))


def test_a_truncated_jpeg_is_named_however_it_is_decoded(tmp_path: Path) -> None:
    sample, _ = saved_pair(tmp_path, 480, 640)
    sample.image.write_bytes(sample.image.read_bytes()[:3000])
    with pytest.raises(DataError, match=r"a\.jpg is damaged or truncated"):
        read_shrunk(sample, TWO, recipe_of((64, 64)))


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


@pytest.mark.parametrize("reduction", [1.0, 1.02, 1.09, 1.2, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("one_way", [False, True])
def test_shrunk_pictures_are_those_that_prediction_sees(reduction: float, one_way: bool) -> None:
    size_hw = (120, 160)
    large_hw = (round(size_hw[0] * reduction), size_hw[1] if one_way else round(size_hw[1] * reduction))
    image = draw_scene(np.random.default_rng(5), large_hw).image
    kept = image.copy()
    answer = shrunk(image, size_hw)
    assert answer.shape == (*size_hw, 3)
    assert answer.dtype == np.uint8
    placed = place_image(image, size_hw, "stretch")
    assert np.sqrt(np.mean((answer.astype(float) - placed) ** 2)) < (1.5 if reduction < 1.1 else 4.0)
    np.testing.assert_array_equal(image, kept)
