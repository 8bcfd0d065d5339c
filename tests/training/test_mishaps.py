from __future__ import annotations

import csv
import io
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from segwright.data.loaders import Batch, Drawn, Pictures
from segwright.data.order import Draw
from segwright.errors import DataError, UserError
from segwright.recipe import Recipe
from segwright.training import fit
from segwright.training.mishaps import Skips, in_one_sentence
from segwright.training.segmenter import Segmenter
from tests.command import refused, succeeded
from tests.tiny import make_dataset
from tests.training.conftest import tiny_recipe
from tests.training.tiny_network import NAME

FLAGS = (
    *("--model", NAME, "--epochs", "4", "--precision", "fp32", "--batch-size", "4", "--panels", "2"),
    *("--width", "64", "--height", "64", "--cache", "none"),
)


def broken_later(monkeypatch: pytest.MonkeyPatch, broken: str, epoch: int) -> None:
    """A picture file that breaks while its pass `epoch` (from 0) is drawn."""
    original = Pictures.__getitem__

    def read(self: Pictures, draw: Draw) -> Drawn:
        if len(draw.seed) > 2 and draw.seed[1] == 1 and draw.seed[2] >= epoch:
            for sample in self.samples:
                if sample.key == broken:
                    sample.image.write_bytes(b"\x89PNG\r\n\x1a\nnothing more")
        return original(self, draw)

    monkeypatch.setattr(Pictures, "__getitem__", read)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "data", splits={"train": 8, "val": 4}, size_hw=(64, 64))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")
def test_a_picture_that_breaks_in_epoch_3_is_named(
    workers: int, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_later(monkeypatch, "aac", 2)
    said = refused("train", data, "--out", tmp_path / "run", *FLAGS, "--workers", workers)
    assert "aac.png" in said
    assert "remove it" in said
    assert (tmp_path / "run" / "best.safetensors").is_file()


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")
def test_skipping_counts_and_goes_on(workers: int, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken_later(monkeypatch, "aac", 2)
    run = tmp_path / "run"
    said = succeeded("train", data, "--out", run, *FLAGS, "--workers", workers, "--skip-bad")
    assert "Unreadable pictures left out: 1 (aac)" in said
    with (run / "skipped.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert row["key"] == "aac"
    assert 1 <= int(row["times"]) <= 2
    assert "aac.png" in row["reason"]
    assert len((run / "log.csv").read_text().splitlines()) == 5


def test_pictures_that_are_bad_from_the_start(data: Path, tmp_path: Path) -> None:
    """Also the first one, whose size would be asked for, and one of the validation pictures."""
    for path in (*sorted((data / "train" / "images").iterdir())[:2], min((data / "val" / "images").iterdir())):
        path.write_bytes(b"x")
    flags = [flag for flag in FLAGS if flag not in {"--width", "--height", "64"}]
    assert "cannot be read" in refused("train", data, "--out", tmp_path / "a", *flags)
    said = succeeded("train", data, "--out", tmp_path / "run", *flags, "--skip-bad", "--augment", "none")
    assert "Unreadable pictures left out: 3 (aaa, aab, aai), met 12 times" in said
    with (tmp_path / "run" / "skipped.csv").open(newline="") as stream:
        assert {row["key"]: row["times"] for row in csv.DictReader(stream)} == {"aaa": "4", "aab": "4", "aai": "4"}


def test_nothing_to_skip_says_nothing(data: Path, tmp_path: Path) -> None:
    said = succeeded("train", data, "--out", tmp_path / "run", *FLAGS, "--skip-bad")
    assert "Unreadable" not in said
    assert not (tmp_path / "run" / "skipped.csv").exists()


def test_only_bad_pictures_are_an_error(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(sample: Any, classes: Any, recipe: Any) -> Any:
        raise DataError(f"{sample.image} is damaged.")

    monkeypatch.setattr("segwright.data.loaders.read_shrunk", broken)
    said = refused("train", data, "--out", tmp_path / "run", *FLAGS, "--skip-bad")
    assert "None of the 8 training pictures can be read" in said


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")
def test_a_killed_loading_process_is_one_sentence(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, parent = Pictures.__getitem__, os.getpid()

    def killed(self: Pictures, draw: Draw) -> Drawn:
        if os.getpid() != parent and draw.seed[1:3] == (1, 1):
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, draw)

    monkeypatch.setattr(Pictures, "__getitem__", killed)
    said = refused("train", data, "--out", tmp_path / "run", *FLAGS, "--workers", "1")
    assert "A loading process" in said
    assert "--workers" in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("DataLoader worker (pid 812) is killed by signal: Killed. ", "was killed (Killed)"),
        ("DataLoader worker (pid(s) 12, 13) exited unexpectedly", "ended unexpectedly"),
        (
            "DataLoader worker (pid 9) is killed by signal: Bus error. It is possible that dataloader's workers are out "
            "of shared memory. Please try to raise your shared memory limit.",
            "--shm-size",
        ),
        ("unable to write to file </torch_17_3812_0>: No space left on device (28)", "--shm-size"),
        ("Caught RuntimeError in DataLoader worker process 0.\nunable to open shared memory object", "--shm-size"),
        ("CUDA out of memory. Tried to allocate 2.25 GiB. GPU 0 has a total capacity of 8 GiB.\nSee", "--batch-size"),
        (
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
            "allocate 4398046511104 bytes. Error code 12 (Cannot allocate memory)",
            "--accumulate",
        ),
    ],
)
def test_what_pytorch_says_becomes_one_sentence(text: str, words: str) -> None:
    said = in_one_sentence(RuntimeError(text), Recipe().with_settings(workers=4))
    assert isinstance(said, UserError)
    assert words in str(said)
    assert "\n" not in str(said)


def test_other_errors_stay_what_they_are() -> None:
    error = RuntimeError("The size of tensor a (3) must match the size of tensor b (4)")
    assert in_one_sentence(error, Recipe()) is error


@pytest.mark.parametrize("lr", [2e-2, "auto"])
def test_memory_that_runs_out_is_one_sentence(
    lr: Any, binary_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def greedy(*_: object) -> Any:
        return torch.empty(1 << 50)

    monkeypatch.setattr("segwright.training.segmenter.batch_loss", greedy)
    monkeypatch.setattr("segwright.training.lr_finder.batch_loss", greedy)
    with pytest.raises(UserError, match=r"Memory ran out while computing batches of 4 .* --batch-size"):
        fit.train(binary_data, tiny_recipe(lr=lr), tmp_path / "run")


def test_skips_of_all_processes_are_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, other = Skips(tmp_path), Skips(tmp_path)
    batch = Batch(torch.zeros(0), torch.zeros(0), ("x",), skipped=(("a", "why a"), ("b", "why b")))
    for skips in (mine, mine, other):
        skips._note(batch)
    other._note(batch._replace(skipped=(("c", "why c"),)))

    def gather(out: list[Any], one: Any) -> None:
        out[:] = [one, (other.times, other.reasons)]

    class Trainer:
        is_global_zero = True

    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    mine.on_validation_end(Trainer(), None)  # type: ignore[arg-type]
    assert (tmp_path / "skipped.csv").read_text() == "key,times,reason\na,3,why a\nb,3,why b\nc,1,why c\n"
    assert "left out: 3 (a, b, c), met 7 times" in mine.sentence()


def test_a_resumed_run_goes_on_counting(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class PowerCutError(Exception):
        pass

    min((data / "val" / "images").iterdir()).write_bytes(b"x")
    learn = Segmenter.training_step

    def stopping(self: Segmenter, batch: Batch, batch_index: int) -> Any:
        if self.plan.step == 7:
            raise PowerCutError
        return learn(self, batch, batch_index)

    recipe = tiny_recipe(epochs=4, panels=0, save_minutes=0.0).with_settings(skip_bad=True)
    with monkeypatch.context() as patch:
        patch.setattr(Segmenter, "training_step", stopping)
        with pytest.raises(PowerCutError):
            fit.train(data, recipe, tmp_path / "run")
    said = io.StringIO()
    fit.resume(tmp_path / "run", console=Console(file=said, width=500))
    assert "left out: 1 (aai), met 4 times" in said.getvalue()
    assert "aai,4," in (tmp_path / "run" / "skipped.csv").read_text()


def test_balancing_is_told_and_written(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    said = succeeded("train", data, "--out", run, *FLAGS, "--balance", "1", "--cache-dir", tmp_path / "cache")
    assert "balanced" in said
    with (run / "class_shares.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["class"] for row in rows] == ["background", "disc"]


def test_the_cache_folder_stays_on_this_machine(data: Path, tmp_path: Path) -> None:
    from segwright import checkpoint

    recipe = tiny_recipe().with_settings(cache="disk", cache_dir=str(tmp_path / "cache"))
    run = fit.train(data, recipe, tmp_path / "run")
    assert list((tmp_path / "cache").glob("*.cache"))
    assert checkpoint.load(run.folder / "last.safetensors").recipe.data.cache_dir == ""
