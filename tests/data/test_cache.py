from __future__ import annotations

import itertools
import multiprocessing
import os
import pickle
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segwright.classes import Classes
from segwright.data import cache
from segwright.data.augment import LEVELS, Variation
from segwright.data.layouts import Dataset, find_dataset
from segwright.data.loaders import Pairs, Pictures, Splits, read_shrunk
from segwright.data.order import Draw
from segwright.data.sample import Sample
from segwright.errors import RecipeError
from segwright.recipe import DataRecipe, FitRecipe, Recipe
from tests.tiny import draw_pair, make_dataset, write_mask


def recipe_of(folder: Path, **data: Any) -> Recipe:
    settings = {"width": 64, "height": 32, "cache": "disk", "cache_dir": str(folder), "workers": 0, **data}
    return Recipe(data=DataRecipe(**settings), fit=FitRecipe(batch_size=4))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Pictures of several sizes."""
    from PIL import Image

    data = make_dataset(tmp_path_factory.mktemp("cache") / "data", splits={"train": 8, "val": 3})
    for number, size in enumerate([(40, 90), (20, 30), (100, 64), (33, 57)]):
        pair = draw_pair(number, size_hw=size)
        Image.fromarray(pair.image).save(data / "train" / "images" / f"size{'abcd'[number]}.png")
        write_mask(data / "train" / "masks" / f"size{'abcd'[number]}.png", pair.class_map, "binary")
    return find_dataset(data)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys of the samples that were decoded, in order."""
    keys: list[str] = []

    def counted(sample: Sample, classes: Classes, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
        keys.append(sample.key)
        return read_shrunk(sample, classes, recipe)

    monkeypatch.setattr("segwright.data.loaders.read_shrunk", counted)
    return keys


def pictures_of(dataset: Dataset, recipe: Recipe, variation: Variation = LEVELS["strong"]) -> Pictures:
    pictures = Pictures(dataset.splits["train"], dataset.classes, recipe, variation)
    assert pictures.fill("train") == ""
    return pictures


def drawn(pictures: Pictures) -> list[np.ndarray]:
    draws = [Draw(n, (3, n), (32, 64)) for n in range(len(pictures))]
    return [array for draw in draws for array in pictures[draw][:2]]


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("fit", ["pad", "stretch"])
def test_every_cache_gives_the_same_pictures(dataset: Dataset, fit: Any, tmp_path: Path, decoded: list[str]) -> None:
    expected = drawn(pictures_of(dataset, recipe_of(tmp_path, cache="none", fit=fit)))
    assert same(drawn(pictures_of(dataset, recipe_of(tmp_path, cache="ram", fit=fit))), expected)
    assert not list(tmp_path.iterdir())
    decoded.clear()
    pictures = pictures_of(dataset, recipe_of(tmp_path, fit=fit))
    assert sorted(decoded) == [s.key for s in dataset.splits["train"]]
    for _ in range(2):
        assert same(drawn(pictures), expected)
    assert same(drawn(pictures_of(dataset, recipe_of(tmp_path, fit=fit))), expected)
    assert len(decoded) == len(pictures)  # the second run decoded nothing
    assert same(drawn(pickle.loads(pickle.dumps(pictures))), expected)
    assert len(pickle.dumps(pictures)) < 20_000  # a path travels, not the pixels


def test_no_cache_decodes_every_time(dataset: Dataset, tmp_path: Path, decoded: list[str]) -> None:
    for settings in ({"cache": "none"}, {"cache": "ram", "cache_gb": 0.0}, {"cache": "disk", "cache_gb": 0.0}):
        decoded.clear()
        pictures = pictures_of(dataset, recipe_of(tmp_path, **settings))
        drawn(pictures), drawn(pictures)
        assert len(decoded) == 2 * len(pictures)
    assert not list(tmp_path.iterdir())


def test_what_changes_the_pixels_makes_another_file(dataset: Dataset, tmp_path: Path) -> None:
    def files() -> set[str]:
        return {path.name for path in tmp_path.glob("*.cache")}

    pictures_of(dataset, recipe_of(tmp_path))
    assert len(files()) == 1
    pictures_of(dataset, recipe_of(tmp_path, augment="none", val_share=0.3))
    assert len(files()) == 1
    pictures_of(dataset, recipe_of(tmp_path, fit="stretch"))
    pictures_of(dataset, recipe_of(tmp_path, width=96))
    assert len(files()) == 3
    pictures_of(dataset, recipe_of(tmp_path, turn=True))
    assert len(files()) == 4


def test_patches_and_whole_pictures_of_one_size_have_files_of_their_own(dataset: Dataset, tmp_path: Path) -> None:
    whole = pictures_of(dataset, recipe_of(tmp_path, width=32))
    patches = pictures_of(dataset, recipe_of(tmp_path, width=32, patch_size=32))
    assert whole._file and patches._file
    stored = whole._file.get(0), patches._file.get(0)
    assert [pair[1].shape for pair in stored if pair] == [(24, 32), (48, 64)]


def test_a_changed_picture_is_decoded_again(tmp_path: Path) -> None:
    from PIL import Image

    dataset = find_dataset(make_dataset(tmp_path / "data", splits={"train": 4, "val": 2}))
    recipe = recipe_of(tmp_path / "cache")
    before = drawn(pictures_of(dataset, recipe, Variation()))
    path = dataset.splits["train"][1].image
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(path)
    after = drawn(pictures_of(dataset, recipe, Variation()))
    assert not after[2].any()
    assert same(before[:2] + before[3:], after[:2] + after[3:])
    # The same size and content, but touched: when in doubt, decode.
    os.utime(path, (1, 1))
    pictures_of(dataset, recipe, Variation())
    assert len(list((tmp_path / "cache").glob("*.cache"))) == 3


@pytest.mark.parametrize("damage", ["truncated", "longer", "head", "empty", "digest"])
def test_a_damaged_file_is_written_again(dataset: Dataset, damage: str, tmp_path: Path) -> None:
    expected = drawn(pictures_of(dataset, recipe_of(tmp_path)))
    (path,) = tmp_path.glob("*.cache")
    data = path.read_bytes()
    path.write_bytes(
        {
            "truncated": data[: len(data) // 2],
            "longer": data + b"x",
            "head": b"x" + data[1:],
            "empty": b"",
            "digest": data[:20] + bytes([data[20] ^ 1]) + data[21:],
        }[damage]
    )
    assert same(drawn(pictures_of(dataset, recipe_of(tmp_path))), expected)
    assert path.read_bytes() == data


def test_the_budget_is_kept(dataset: Dataset, tmp_path: Path, decoded: list[str]) -> None:
    pictures = pictures_of(dataset, recipe_of(tmp_path, cache_gb=30e3 / 1e9))
    (path,) = tmp_path.glob("*.cache")
    assert 10e3 < path.stat().st_size <= 30e3
    assert pictures._file
    assert 0 < len(pictures._file) < len(pictures)
    decoded.clear()
    assert same(drawn(pictures), drawn(pictures_of(dataset, recipe_of(tmp_path, cache="none"))))
    assert not pictures._kept


def test_memory_is_shared_among_loading_processes(dataset: Dataset, tmp_path: Path) -> None:
    gigabytes = 8 * 64 * 48 * 4 / 1e9
    recipe = recipe_of(tmp_path, cache="ram", width=640, height=480, cache_gb=gigabytes)
    pictures = Pictures(dataset.splits["train"][:8], dataset.classes, recipe, Variation(), processes=4)
    drawn(pictures)
    assert len(pictures._kept) == 2


def test_a_full_disk_falls_back_to_memory(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[str]
) -> None:
    def full(*args: Any) -> None:
        args[0].write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "_write", full)
    pairs = Pairs(
        Splits(dataset.splits["train"], dataset.splits["val"]), dataset.classes, recipe_of(tmp_path / "cache"), "cpu"
    )
    assert len(pairs.notes) == 2
    assert all("No space left" in note and "memory is used instead" in note for note in pairs.notes)
    assert not [path for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock"]
    list(itertools.islice(pairs.train_dataloader(), 3 * pairs.order.batches_per_pass))
    assert len(decoded) == len(dataset.splits["train"])


def test_a_folder_that_cannot_be_made_falls_back_to_memory(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    pictures = Pictures(dataset.splits["train"], dataset.classes, recipe_of(tmp_path / "file"), Variation())
    note = pictures.fill("train")
    assert "memory is used instead" in note
    assert "\n" not in note
    drawn(pictures)
    assert len(pictures._kept) == len(pictures)


def _fill(root: str, folder: str) -> int:
    dataset = find_dataset(Path(root))
    return len(drawn(pictures_of(dataset, recipe_of(Path(folder)))))


def test_two_runs_fill_one_file(dataset: Dataset, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        found = pool.starmap(_fill, [(str(dataset.root), str(tmp_path / "cache"))] * 2)
    assert found == [24, 24]
    assert len(list((tmp_path / "cache").glob("*.cache"))) == 1
    assert not list((tmp_path / "cache").glob("*.partial*"))


def test_forgotten_files_are_removed(dataset: Dataset, tmp_path: Path) -> None:
    month = time.time() - 31 * 86400
    for name, old in (("old.cache", True), ("new.cache", False), (".a.12.partial.cache", True), ("mine.txt", True)):
        (tmp_path / name).write_text("x")
        if old:
            os.utime(tmp_path / name, (month, month))
    pictures_of(dataset, recipe_of(tmp_path))
    left = {path.name for path in tmp_path.iterdir() if not path.name.startswith("train")}
    assert left == {"new.cache", "mine.txt"}


def test_an_unreadable_picture_is_named_when_it_is_drawn(tmp_path: Path) -> None:
    from segwright.errors import DataError

    dataset = find_dataset(make_dataset(tmp_path / "data", splits={"train": 4, "val": 2}))
    dataset.splits["train"][2].image.write_bytes(b"x")
    pictures = pictures_of(dataset, recipe_of(tmp_path / "cache"))
    pictures[Draw(1, (0,), (32, 64))]
    with pytest.raises(DataError, match=dataset.splits["train"][2].image.name):
        pictures[Draw(2, (0,), (32, 64))]


def test_the_folder_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.cache_folder(Recipe()) == tmp_path / "segwright"
    assert cache.cache_folder(recipe_of(tmp_path / "x")) == tmp_path / "x"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.cache_folder(Recipe()).is_relative_to(Path.home())


def test_remembered_arrays(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> np.ndarray:
        made.append(1)
        return np.arange(6).reshape(2, 3)

    path = tmp_path / "deep" / "counts.npy"
    for _ in range(2):
        assert np.array_equal(cache.remembered(path, make), np.arange(6).reshape(2, 3))
    assert len(made) == 1
    path.write_bytes(pickle.dumps([1]))  # pickled data is not loaded, but made again
    assert np.array_equal(cache.remembered(path, make), np.arange(6).reshape(2, 3))
    path.write_bytes(path.read_bytes()[:-5])
    cache.remembered(path, make)
    assert len(made) == 3
    (tmp_path / "file").write_text("")
    cache.remembered(tmp_path / "file" / "counts.npy", make)
    assert len(made) == 4


def test_an_unknown_cache_is_refused() -> None:
    with pytest.raises(RecipeError, match="--cache is one of ram, disk, none"):
        DataRecipe(cache="tape")  # type: ignore[arg-type]
