from __future__ import annotations

import dataclasses
import functools
import gc
import http.server
import itertools
import json
import os
import re
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segwright import checkpoint, evaluate, pack, train
from segwright.classes import read_classes_csv
from segwright.data import shards
from segwright.data.layouts import Dataset, find_dataset
from segwright.data.loaders import Pairs, Splits, shrunk_hw
from segwright.data.sample import read_image, read_mask, read_pair
from segwright.data.splits import divide
from segwright.errors import DataError, OutputError, RecipeError
from segwright.models import catalogue
from segwright.recipe import DataRecipe, FitRecipe, Recipe, to_yaml
from segwright.training import fit
from segwright.training.prepare import with_size
from segwright.workflows.choosing import proof_samples
from tests.command import everything_below, refused, segwright, succeeded
from tests.tiny import make_dataset
from tests.training.tiny_network import NAME, build_tiny

SPLITS = {"train": 10, "val": 4, "test": 3}


@pytest.fixture(autouse=True)
def _tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "BUILDERS", {**catalogue.BUILDERS, NAME: build_tiny})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("packing") / "data", classes=3, notation="colour", splits=SPLITS)


@pytest.fixture(scope="module")
def packed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("packing") / "pack"
    pack(folder, out)
    return out


@pytest.fixture
def copy(packed: Path, tmp_path: Path) -> Path:
    out = tmp_path / "pack"
    out.mkdir()
    for path in packed.iterdir():
        (out / path.name).write_bytes(path.read_bytes())
    return out


def small(**settings: Any) -> Recipe:
    recipe = Recipe(name="test", fit=FitRecipe(epochs=2, batch_size=4, precision="fp32", lr=2e-2, small_share=0.5))
    return recipe.with_settings(model=NAME, panels=0, **settings)


def same_pictures(one: Dataset, other: Dataset) -> None:
    assert one.splits.keys() == other.splits.keys()
    for split, samples in one.splits.items():
        assert [s.key for s in samples] == [s.key for s in other.splits[split]]
        for a, b in zip(samples, other.splits[split], strict=True):
            assert (a.mask is None) == (b.mask is None)
            assert np.array_equal(read_image(a.image), read_image(b.image))
            if a.mask and b.mask:
                assert np.array_equal(read_mask(a.mask, one.classes), read_mask(b.mask, other.classes))


@pytest.mark.parametrize(
    ("layout", "notation", "suffix"),
    [
        ("split_folders", "binary", ".png"),
        ("flat", "palette", ".jpg"),
        ("side_by_side", "index", ".bmp"),
        ("twin_folders", "soft", ".webp"),
        ("pictures", "index", ".tif"),
    ],
)
def test_a_pack_is_its_folder(layout: str, notation: str, suffix: str, tmp_path: Path) -> None:
    beside = "_mask" if layout == "side_by_side" else ""
    data = make_dataset(
        tmp_path / "data", layout=layout, notation=notation, splits=SPLITS, suffix=suffix, mask_suffix=beside
    )
    if layout == "pictures":  # nothing to learn from: refused as training refuses it
        assert "not packed" in refused("pack", data, tmp_path / "pack")
        return
    said = succeeded("pack", data, tmp_path / "pack")
    assert "17 pictures lie in" in said
    here, there = find_dataset(data), find_dataset(tmp_path / "pack")
    assert there.layout == "pack"
    assert (there.classes, there.classes_declared) == (here.classes, here.classes_declared)
    same_pictures(here, there)
    apart, again = divide(here, seed=3), divide(there, seed=3)
    assert {k: [s.key for s in v] for k, v in apart.items()} == {k: [s.key for s in v] for k, v in again.items()}
    assert with_size(Recipe(), apart["train"]) == with_size(Recipe(), again["train"])


def test_shards_are_ordinary_tar_files_with_the_original_bytes(folder: Path, tmp_path: Path) -> None:
    dataset = find_dataset(folder)
    facts = pack(folder, tmp_path / "pack")
    assert (facts.pictures, facts.shards) == (17, 3)
    for split, samples in dataset.splits.items():
        with tarfile.open(tmp_path / "pack" / f"{split}-00000.tar") as tar:
            members = [(m.name, stream.read()) for m in tar if (stream := tar.extractfile(m))]
        expected = []
        for number, sample in enumerate(samples):
            assert sample.mask
            expected.append((f"{number:08d}.image.png", sample.image.read_bytes()))
            expected.append((f"{number:08d}.mask.png", sample.mask.read_bytes()))
        assert members == expected


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_library_streams_the_same_pictures_in_the_same_order(packed: Path, folder: Path) -> None:
    import webdataset

    stream = webdataset.WebDataset(str(packed / "train-00000.tar"), shardshuffle=False)
    found = [sample["image.png"] for sample in stream]
    # The library leaves its file to the garbage collector, which would complain in whatever test it runs next.
    del stream
    gc.collect()
    assert found == [s.image.read_bytes() for s in find_dataset(folder).splits["train"]]


def test_packing_twice_gives_the_same_bytes_and_full_shards_are_closed(folder: Path, tmp_path: Path) -> None:
    one = pack(folder, tmp_path / "one")
    pack(folder, tmp_path / "two")
    names = everything_below(tmp_path / "one")
    assert names == everything_below(tmp_path / "two")
    assert all((tmp_path / "one" / n).read_bytes() == (tmp_path / "two" / n).read_bytes() for n in names)
    assert one.shards == 3
    # Pictures with noise, so that a megabyte is soon full.
    rng = np.random.default_rng(0)
    from PIL import Image

    data = make_dataset(tmp_path / "large", splits=SPLITS, size_hw=(400, 400))
    for path in sorted((data / "train" / "images").iterdir()):
        Image.fromarray(rng.integers(0, 256, (400, 400, 3), dtype=np.uint8)).save(path)
    pack(data, tmp_path / "many", shard_mb=1)
    facts = json.loads((tmp_path / "many" / "pack.json").read_text())
    assert [s["name"] for s in facts["splits"]["train"]["shards"]] == [f"train-{n:05d}.tar" for n in range(4)]
    same_pictures(find_dataset(data), find_dataset(tmp_path / "many"))


def test_training_from_a_pack_equals_training_from_the_folder(folder: Path, packed: Path, tmp_path: Path) -> None:
    recipe = small(augment="strong", width=64, height=64)
    runs = [fit.train(data, recipe, tmp_path / name) for data, name in ((folder, "a"), (packed, "b"))]
    one, other = (checkpoint.load(run.folder / "last.safetensors") for run in runs)
    assert one.step == other.step > 4
    assert one.weights.keys() == other.weights.keys()
    assert all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)
    assert runs[0].scores == runs[1].scores
    assert one.classes == other.classes


@pytest.mark.parametrize(("fitting", "turn"), [("pad", False), ("stretch", False), ("pad", True)])
def test_training_from_decoded_pictures_equals_training_from_the_folder(
    fitting: Any, turn: bool, tmp_path: Path
) -> None:
    data = make_dataset(tmp_path / "data", layout="flat", splits={"all": 14}, size_hw=(150, 211), notation="binary")
    recipe = small(
        width=64 if turn else 96, height=96 if turn else 64, fit=fitting, turn=turn, augment="medium", seed=5
    )
    (tmp_path / "recipe.yaml").write_text(to_yaml(recipe))
    succeeded("pack", data, tmp_path / "pack", "--decoded", "--recipe", tmp_path / "recipe.yaml")
    automatic = recipe.with_settings(width=0, height=0, fit="pad", turn=False)
    runs = [
        fit.train(data, recipe, tmp_path / "a"),
        fit.train(tmp_path / "pack", recipe, tmp_path / "b"),
        fit.train(tmp_path / "pack", automatic, tmp_path / "c"),
    ]
    kept = [checkpoint.load(run.folder / "last.safetensors") for run in runs]
    for other in kept[1:]:
        assert all(torch.equal(kept[0].weights[name], other.weights[name]) for name in kept[0].weights)
        assert other.recipe.data == kept[0].recipe.data
    found = find_dataset(tmp_path / "pack")
    for sample in found.splits["train"]:
        assert sample.image.suffix == ".ppm"
        pair = read_pair(sample, found.classes)
        assert shrunk_hw(pair[1].shape[0], pair[1].shape[1], recipe) == pair[1].shape
    settings: tuple[dict[str, Any], ...] = ({"width": 128}, {"turn": not turn})
    for change in settings:
        wanted = f"--width {recipe.data.width} --height .* {'--turn' if turn else '--no-turn'};"
        with pytest.raises(RecipeError, match=wanted):
            fit.train(tmp_path / "pack", recipe.with_settings(**change), tmp_path / "d")
    unusual: tuple[dict[str, Any], ...] = ({"fit": "stretch"}, {"turn": True})
    for change in unusual:
        asked = automatic.with_settings(**change)
        if (asked.data.fit, asked.data.turn) not in {(fitting, False), ("pad", turn)}:
            with pytest.raises(RecipeError, match="holds pictures decoded for"):
                fit.train(tmp_path / "pack", asked, tmp_path / "d")
    with pytest.raises(DataError, match="decoded pack"):
        pack(tmp_path / "pack", tmp_path / "again")


def test_everything_else_works_on_a_pack(packed: Path, folder: Path, tmp_path: Path) -> None:
    for data, name in ((packed, "pack.json"), (folder, "folder.json")):
        succeeded("check", data, "--json", tmp_path / name)
    found, expected = (json.loads((tmp_path / name).read_text()) for name in ("pack.json", "folder.json"))
    differ = {key for key in expected if found[key] != expected[key]}
    assert differ == {"root", "layout"}
    run = tmp_path / "run"
    said = succeeded(
        *("train", packed, "--out", run, "--model", NAME, "--epochs", "1", "--precision", "fp32", "--panels", "2"),
        *("--batch-size", "4", "--width", "64", "--height", "64"),
    )
    assert f"segwright evaluate {run}" in said
    one, two = (evaluate(run, data, out=tmp_path / data.name).headline for data in (packed, folder))
    assert str(one) == str(two)
    succeeded("predict", run, packed, "--out", tmp_path / "predictions")
    assert len(list((tmp_path / "predictions" / "masks").rglob("*.png"))) == 17
    assert "is a pack" in refused("check", packed, "--fix", tmp_path / "fixed")
    samples, _ = proof_samples(packed)
    held_out = {sample.key for sample in find_dataset(packed).splits["test"]}
    assert {sample.key for sample in samples[: len(held_out)]} == held_out
    assert len(samples) == 17  # few are held out, so others fill up


def test_another_class_table_reads_the_same_masks(packed: Path, folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "merged.csv"
    table.write_text((folder / "classes.csv").read_text().replace("square", "disc"))
    assert len(read_classes_csv(table)) == 3
    here, there = find_dataset(folder, classes_csv=table), find_dataset(packed, classes_csv=table)
    assert here.classes == there.classes
    assert len(here.classes) == 2
    same_pictures(here, there)


def test_two_machines_read_together_what_one_reads(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes its slice of the order, and reads the bytes of that slice only."""
    dataset = find_dataset(packed)
    samples = dataset.splits["train"]
    asked: list[Path] = []

    def counted(path: Path) -> bytes:
        asked.append(path)
        return shards.read_file(path)

    monkeypatch.setattr("segwright.data.sample.read_file", counted)
    data = DataRecipe(width=64, height=64, cache="none")

    def read(rank: int, world: int, batch_size: int) -> list[Path]:
        recipe = Recipe(data=data, fit=FitRecipe(batch_size=batch_size))
        pairs = Pairs(Splits(samples, samples[:1]), dataset.classes, recipe, "cpu", world)
        pairs.order.rank = rank
        asked.clear()
        drawn = list(itertools.islice(pairs.order, 3 * pairs.batch_size))
        for draw in drawn:
            pairs.train_pictures[draw]
        return list(asked)

    alone = read(0, 1, 4)
    each = [read(rank, 2, 2) for rank in (0, 1)]
    files = 2 * 2  # pictures and masks of a batch
    dealt = [path for start in range(0, 3 * files, files) for mine in each for path in mine[start : start + files]]
    assert len(alone) == 6 * files
    assert dealt == alone


# --- over a network ----------------------------------------------------------------------------------------------------


class Ranges(http.server.SimpleHTTPRequestHandler):
    """Answers requests for a part of a file, as object stores do and Python's own server does not."""

    sent: int = 0

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        data, status = path.read_bytes(), 200
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if wanted:
            data, status = data[int(wanted[1]) : int(wanted[2]) + 1], 206
        type(self).sent += len(data)
        self.send_response(status)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_HEAD(self) -> None:
        path = Path(self.translate_path(self.path))
        self.send_response(200 if path.is_file() else 404)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(path.stat().st_size if path.is_file() else 0))
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def url(packed: Path) -> Iterator[str]:
    Ranges.sent = 0
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Ranges, directory=str(packed))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.filterwarnings("ignore:This DataLoader will create", "ignore:.*multi-threaded, use of fork")
def test_a_pack_behind_a_url_trains_alike(url: str, packed: Path, tmp_path: Path) -> None:
    there = find_dataset(Path(url))
    same_pictures(find_dataset(packed), there)
    before = Ranges.sent
    read_pair(there.splits["train"][0], there.classes)
    whole = sum(path.stat().st_size for path in packed.glob("train-*.tar"))
    assert Ranges.sent - before < whole / 5  # that picture, not the shard
    recipe = small(width=64, height=64, cache="disk", cache_dir=str(tmp_path / "cache"), workers=1)
    for data, name in ((packed, "a"), (Path(url), "b")):
        train(data, recipe, tmp_path / name)
    one, other = (checkpoint.load(tmp_path / name / "last.safetensors").weights for name in "ab")
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert json.loads((tmp_path / "b" / "data.json").read_text())["data"] == Path(url).as_posix()


def test_urls_that_do_not_answer_are_refused(url: str, tmp_path: Path) -> None:
    assert "holds no pack.json" in refused("check", f"{url}/nowhere")
    assert "cannot be read" in refused("check", "http://127.0.0.1:9/pack")
    assert "not installed" in refused("train", "s3://bucket/pack", "--out", tmp_path / "run")
    assert "cannot be read" in refused("check", "nonsense://bucket/pack")
    assert not (tmp_path / "run").exists()


def test_a_file_url_is_a_folder(packed: Path) -> None:
    same_pictures(find_dataset(packed), find_dataset(Path(f"file://{packed}")))


# --- what goes wrong ---------------------------------------------------------------------------------------------------


def test_data_that_spoils_is_not_packed(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", splits=SPLITS)
    next((data / "train" / "images").iterdir()).write_bytes(b"")
    said = refused("pack", data, tmp_path / "pack")
    assert "is not packed" in said
    assert "segwright check" in said
    assert not (tmp_path / "pack").exists()


def test_refusals_leave_nothing_behind(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("x")
    assert "not empty" in refused("pack", folder, tmp_path / "taken")
    assert "lies inside" in refused("pack", folder, folder / "pack")
    assert "--shard-mb" in refused("pack", folder, tmp_path / "pack", "--shard-mb", "0")
    assert "does not exist" in refused("pack", tmp_path / "nowhere", tmp_path / "pack")
    assert everything_below(tmp_path) == {"taken", "taken/mine.txt"}


def test_an_interrupt_leaves_nothing_half_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from segwright.data import packing

    read: list[Path] = []

    def interrupted(path: Path) -> bytes:
        if len(read) == 25:
            raise KeyboardInterrupt
        read.append(path)
        return shards.read_file(path)

    monkeypatch.setattr(packing, "file_bytes", interrupted)
    assert "Ctrl-C" in refused("pack", folder, tmp_path / "pack")
    assert everything_below(tmp_path) == set()


def test_a_full_disk_leaves_nothing_half_written(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import webdataset

    def full(self: Any, sample: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(webdataset.TarWriter, "write", full)
    assert "No space left" in refused("pack", folder, tmp_path / "pack")
    assert everything_below(tmp_path) == set()


def test_a_cut_or_missing_shard_is_named(copy: Path) -> None:
    shard = copy / "train-00000.tar"
    data = shard.read_bytes()
    shard.write_bytes(data[: len(data) // 2])
    assert f"{shard} has {len(data) // 2} bytes instead of {len(data)}" in refused("check", copy)
    shard.unlink()
    assert f"{shard} is missing" in refused("train", copy)
    shard.write_bytes(data)
    (copy / "val.csv").unlink()
    assert "copy the pack again" in refused("train", copy)


def test_a_shard_cut_after_it_was_found_is_named(copy: Path) -> None:
    dataset = find_dataset(copy)
    (copy / "train-00000.tar").write_bytes(b"x" * 600)
    with pytest.raises(DataError, match=r"train-00000\.tar ends before it"):
        read_pair(dataset.splits["train"][-1], dataset.classes)
    (copy / "train-00000.tar").unlink()
    with pytest.raises(DataError, match="does not exist"):
        read_pair(dataset.splits["train"][0], dataset.classes)


def test_a_damaged_picture_inside_is_named(copy: Path) -> None:
    sample = find_dataset(copy).splits["train"][2]
    place = shards.inside(sample.image)
    assert place
    with (copy / "train-00000.tar").open("r+b") as stream:
        stream.seek(place.start)
        stream.write(b"\0" * place.length)
    with pytest.raises(DataError, match=re.escape(sample.image.name)):
        read_image(sample.image)
    assert segwright("check", copy, "--json", copy.parent / "found.json").code == 1
    assert sample.image.name in (copy.parent / "found.json").read_text()


HOSTILE: dict[str, Any] = {
    "not json": lambda text: "{",
    "no object": lambda text: "[]",
    "another format": lambda text: text.replace("segwright pack", "zip"),
    "a newer version": lambda text: text.replace('"version": 1', '"version": 2'),
    "a version that is no number": lambda text: text.replace('"version": 1', '"version": "1"'),
    "deep nesting": lambda text: "[" * 100_000,
    "a shard elsewhere": lambda text: text.replace("train-00000.tar", "../train-00000.tar"),
    "an absolute shard": lambda text: text.replace("train-00000.tar", "/etc/passwd"),
    "a shard that is a command": lambda text: text.replace("train-00000.tar", "pipe:ls"),
    "a split elsewhere": lambda text: text.replace('"train":', '"../train":'),
    "sizes that are text": lambda text: re.sub(r'"bytes": \d+', '"bytes": "many"', text),
    "an unknown fit": lambda text: text.replace('"shrunk_to": null', '"shrunk_to": [64, 64, "x"]'),
    "a turn that is no yes or no": lambda text: text.replace('"shrunk_to": null', '"shrunk_to": [64, 64, "pad", 1]'),
    "no classes": lambda text: text.replace('"classes":', '"klasses":'),
    "one class": lambda text: re.sub(r'"names": \[[^\]]*\]', '"names": ["a"]', text),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_pack_files_are_refused(kind: str, copy: Path) -> None:
    text = (copy / "pack.json").read_text()
    (copy / "pack.json").write_text(HOSTILE[kind](text))
    said = refused("check", copy)
    assert "pack" in said or "class" in said, said


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("key", "../../outside"),
        ("key", "/etc/passwd"),
        ("key", "a/./b"),
        ("key", ""),
        ("key", "a\\b"),
        ("key", "x\ny"),
        ("shard", "../train-00000.tar"),
        ("shard", "val-00000.tar"),
        ("image", "../a.png"),
        ("image", ".."),
        ("image", ""),
        ("image_start", "-5"),
        ("image_start", "999999999"),
        ("image_bytes", "1e9"),
        ("image_bytes", "99999999999999999999"),
        ("mask_start", ""),
    ],
)
def test_hostile_lists_are_refused(column: str, value: str, copy: Path) -> None:
    import csv

    with (copy / "train.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    rows[3][column] = value
    with (copy / "train.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    assert "pack the data again" in refused("check", copy)


@pytest.mark.parametrize("damage", ["head", "fewer", "twice", "quotes", "bytes", "wide"])
def test_damaged_lists_are_refused(damage: str, copy: Path) -> None:
    path = copy / "train.csv"
    lines = path.read_text().splitlines(keepends=True)
    if damage == "bytes":
        path.write_bytes(b"\xff\xfe\x00")
    else:
        changed = {
            "head": ["key,picture\n", *lines[1:]],
            "fewer": lines[:-1],
            "twice": [*lines[:-1], lines[1]],
            "quotes": [*lines[:-1], '"' + "x" * 200_000 + "\n"],
            "wide": [*lines[:-1], lines[-1].rstrip("\n") + ",more\n"],
        }[damage]
        path.write_text("".join(changed))
    assert "pack the data again" in refused("check", copy)


def test_packing_uses_no_pickle(packed: Path) -> None:
    assert {path.suffix for path in packed.iterdir()} == {".json", ".csv", ".tar"}
    assert b"\x80\x04\x95" not in b"".join(path.read_bytes() for path in packed.glob("*.tar"))[:512]


def test_addresses() -> None:
    path = shards.address(Path("p") / "train-00000.tar", 512, 7, "a b@1+2.png")
    assert shards.inside(path) == (Path("p/train-00000.tar"), 512, 7)
    assert (path.name, path.suffix) == ("a b@1+2.png", ".png")
    assert shards.inside(Path("p/@1+2/a.png")) is None
    assert shards.inside(Path("p/train-00000.tar/a.png")) is None
    assert shards.url_of(Path("s3://bucket/pack")) == "s3://bucket/pack"
    assert shards.url_of(Path("C:/pictures")) is None
    assert shards.url_of(Path("pictures/a:/b")) is None


def test_a_folder_called_like_a_url_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_dataset(Path("s3:/data"), splits=SPLITS)
    assert find_dataset(Path("s3://data")).layout == "split_folders"


def test_a_picture_too_narrow_to_be_decoded_is_refused(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", splits={"train": 3, "val": 1}, size_hw=(16, 3000), classes=2)
    try:
        pack(data, tmp_path / "pack", decoded=True, recipe=small(width=64, height=64))
    except (DataError, OutputError) as error:
        assert "too narrow" in str(error)
        assert os.listdir(tmp_path) == ["data"]  # noqa: PTH208
    else:
        dataset = find_dataset(tmp_path / "pack")
        recipe = small(width=64, height=64)
        for sample in dataset.splits["train"]:
            pair = read_pair(sample, dataset.classes)
            assert shrunk_hw(pair[1].shape[0], pair[1].shape[1], recipe) == pair[1].shape


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_a_pack_of_pairs_travels_to_loading_processes(packed: Path) -> None:
    dataset = find_dataset(packed)
    recipe = Recipe(data=DataRecipe(width=64, height=64), fit=FitRecipe(batch_size=4))
    for workers in (0, 2):
        pairs = Pairs(
            Splits(dataset.splits["train"], dataset.splits["val"]),
            dataset.classes,
            dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, workers=workers)),
            "cpu",
        )
        keys = [batch.keys for batch in pairs.val_dataloader()]
        assert [key for batch in keys for key in batch] == [s.key for s in dataset.splits["val"]]
