"""A run that was stopped goes on as if it had not been: bit for bit, whenever it was stopped."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from segwright import checkpoint
from segwright.data.loaders import Batch
from segwright.errors import DataError, ModelError, OutputError, RecipeError
from segwright.models import catalogue
from segwright.recipe import ModelRecipe, Recipe
from segwright.training import fit, keeper, loggers, state
from segwright.training.segmenter import Segmenter
from tests.command import refused, segwright, succeeded
from tests.tiny import make_dataset
from tests.training.conftest import tiny_recipe
from tests.training.tiny_network import NAME, Tiny

ROOT = Path(__file__).resolve().parents[2]


class PowerCutError(Exception):
    """Stands for a power cut: nothing of ours handles it."""


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Stop when the gradients of this step are about to be computed."""
    learn = Segmenter.training_step

    def training_step(self: Segmenter, batch: Batch, batch_index: int) -> torch.Tensor:
        if self.plan.step == step:
            raise PowerCutError
        return learn(self, batch, batch_index)

    monkeypatch.setattr(Segmenter, "training_step", training_step)


def stopped_and_resumed(data: Path, recipe: Recipe, out: Path, steps: tuple[int, ...]) -> fit.Run:
    for number, step in enumerate(steps):
        with pytest.MonkeyPatch.context() as patch:
            stop_at(patch, step)
            with pytest.raises(PowerCutError):
                if number:
                    fit.resume(out)
                else:
                    fit.train(data, recipe, out)
    return fit.resume(out)


def rows_of(run: Path) -> list[dict[str, str]]:
    with (run / "log.csv").open(newline="") as stream:
        return [{k: v for k, v in row.items() if "second" not in k} for row in csv.DictReader(stream)]


def same(one: Path, other: Path) -> None:
    """The same weights, scores and log, to the bit."""
    for name in ("last.safetensors", "best.safetensors"):
        first, second = checkpoint.load(one / name), checkpoint.load(other / name)
        assert first.step == second.step
        assert first.scores == second.scores
        assert first.weights.keys() == second.weights.keys()
        for key, tensor in first.weights.items():
            assert torch.equal(tensor, second.weights[key]), key
    assert rows_of(one) == rows_of(other)


class Forgetting(Tiny):
    """With dropout, which draws from PyTorch's global generator."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(nn.functional.dropout(images, 0.2, self.training))


def build_forgetting(recipe: ModelRecipe, channels_out: int, pretrained: bool) -> nn.Module:
    return Forgetting(channels_out)


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({}, (5,)),
        ({"save_minutes": 0.0}, (4, 5, 10)),
        ({"ema": 0.9, "augment": "strong", "save_minutes": 0.0}, (7,)),
        ({"eval_step": 2, "model": "dropping"}, (3, 6)),
        ({"eval_step": 5, "save_minutes": 0.0, "model": "dropping"}, (3, 8)),
        ({"accumulate": 2, "batch_size": 2, "save_minutes": 0.0}, (5,)),
        ({"small_share": 0.5, "width": 128, "height": 128, "workers": 2, "save_minutes": 0.0}, (5, 7)),
        ({"patience": 2, "lr": 1e-12}, (7,)),
        ({"cool_down": 2, "save_checkpoints": True}, (8,)),
    ],
    ids=lambda value: "-".join(map(str, value)) or "defaults",
)
def test_a_stopped_run_goes_on_to_the_same_bits(
    settings: dict[str, Any], steps: tuple[int, ...], binary_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "BUILDERS", {**catalogue.BUILDERS, "dropping": build_forgetting})
    recipe = tiny_recipe(epochs=4, panels=0).with_settings(**settings)
    whole = fit.train(binary_data, recipe, tmp_path / "whole")
    again = stopped_and_resumed(binary_data, recipe, tmp_path / "stopped", steps)
    assert (whole.steps, whole.scores) == (again.steps, again.scores)
    same(tmp_path / "whole", tmp_path / "stopped")
    assert not (tmp_path / "stopped" / state.NAME).exists()
    names = [sorted(p.name for p in (tmp_path / run).glob("checkpoints/*")) for run in ("whole", "stopped")]
    assert names[0] == names[1]


@pytest.mark.parametrize("settings", [{}, {"patience": 1, "lr": 1e-12, "augment": "none"}], ids=["end", "patience"])
def test_a_run_that_is_killed_after_its_last_check_learns_nothing_more(
    settings: dict[str, Any], binary_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def power_cut(self: loggers.Loggers, *, well: bool) -> None:
        raise PowerCutError

    recipe = tiny_recipe(epochs=3, panels=0).with_settings(**settings)
    whole = fit.train(binary_data, recipe, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(keeper, "STATE_SHARE", math.inf)  # saved at every check, however long that takes
        patch.setattr(loggers.Loggers, "finish", power_cut)
        with pytest.raises(PowerCutError):
            fit.train(binary_data, recipe, tmp_path / "killed")
    assert state.load(tmp_path / "killed")["plan"]["step"] == whole.steps
    again = fit.resume(tmp_path / "killed")
    assert (whole.steps, whole.scores) == (again.steps, again.scores)
    same(tmp_path / "whole", tmp_path / "killed")
    assert not (tmp_path / "killed" / state.NAME).exists()


KILLED = """
import os, signal, sys
from pathlib import Path
from segwright.models import catalogue
from segwright.training import fit
from segwright.training.segmenter import Segmenter
from tests.training.conftest import tiny_recipe
from tests.training.tiny_network import NAME, build_tiny

catalogue.BUILDERS = {**catalogue.BUILDERS, NAME: build_tiny}
learn, seen = Segmenter.training_step, []

def training_step(self, batch, batch_index):
    seen.append(batch)
    if len(seen) == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return learn(self, batch, batch_index)

Segmenter.training_step = training_step
fit.train(Path(sys.argv[1]), tiny_recipe(epochs=4, panels=0, save_minutes=0.0, ema=0.9), Path(sys.argv[2]))
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_killed_process_leaves_enough(binary_data: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(epochs=4, panels=0, save_minutes=0.0, ema=0.9)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
    arguments = [sys.executable, "-c", KILLED, str(binary_data), str(tmp_path / "killed"), "8"]
    ended = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    fit.train(binary_data, recipe, tmp_path / "whole")
    fit.resume(tmp_path / "killed")
    same(tmp_path / "whole", tmp_path / "killed")


def test_a_run_in_minutes_goes_on_with_the_time_that_is_left(
    binary_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_recipe(minutes=0.05, panels=0, patience=0, save_minutes=0.0)
    with monkeypatch.context() as patch:
        stop_at(patch, 20)
        with pytest.raises(PowerCutError):
            fit.train(binary_data, recipe, tmp_path / "run")
    before = state.load(tmp_path / "run")["plan"]["before"]
    run = fit.resume(tmp_path / "run")
    assert 0 < before < 3.0
    assert run.steps > 20
    assert float(rows_with_seconds(tmp_path / "run")[-1]["seconds"]) >= 3.0


def rows_with_seconds(run: Path) -> list[dict[str, str]]:
    with (run / "log.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def stopped(binary_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that was stopped in its third pass."""
    with monkeypatch.context() as patch:
        stop_at(patch, 7)
        with pytest.raises(PowerCutError):
            fit.train(binary_data, tiny_recipe(epochs=4, panels=0), tmp_path / "run")
    return tmp_path / "run"


def test_the_command_goes_on(stopped: Path) -> None:
    said = succeeded("train", "--resume", stopped, "--panels", "1")
    assert re.search(r"goes on after step [36]\.", said)
    assert checkpoint.load(stopped / "last.safetensors").step == 12
    assert (stopped / "panels").is_dir()
    assert "finished" in refused("train", "--resume", stopped)


def test_what_cannot_be_resumed_is_said(stopped: Path, binary_data: Path, tmp_path: Path) -> None:
    assert "leave out --epochs" in refused("train", "--resume", stopped, "--epochs", "9")
    assert "leave out --gpus" in refused("train", "--resume", stopped, "--gpus", "1")
    assert "leave out DATA, --out" in refused("train", binary_data, "--resume", stopped, "--out", tmp_path / "x")
    assert "does not exist" in refused("train", "--resume", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "train again" in refused("train", "--resume", tmp_path / "empty")
    assert "segwright train DATA" in refused("train")
    with pytest.raises(RecipeError, match="1 processes and would go on with 2"):
        fit.resume(stopped, devices=2)


def test_a_run_of_a_gpu_in_fp16_goes_on_in_another_precision_on_a_cpu(stopped: Path) -> None:
    kept = state.load(stopped)
    kept["pace"]["precision"] = "fp16"
    state.save(stopped, kept)
    assert fit.resume(stopped, device="cpu").pace.precision != "fp16"


def test_an_absent_logger_is_named_with_its_extra(stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = dataclasses.replace(loggers.KINDS["wandb"], library="no_such_library")
    monkeypatch.setitem(loggers.KINDS, "wandb", absent)
    assert "pip install 'segwright[" in refused("train", "--resume", stopped, "--logger", "wandb")


@pytest.mark.parametrize("spoiled", ["resume.pt", "splits.json", "data.json"])
def test_a_damaged_run_is_refused(spoiled: str, stopped: Path) -> None:
    whole = (stopped / spoiled).read_bytes()
    for bad in (b"", whole[: len(whole) // 2], b"\x00\xff" * 50):
        (stopped / spoiled).write_bytes(bad)
        refused("train", "--resume", stopped)


def test_pickled_objects_are_refused(stopped: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(stopped / "evil"),)

    torch.save({"format": 1, "evil": Evil()}, stopped / state.NAME)
    with pytest.raises(ModelError, match="cannot be resumed"):
        state.load(stopped)
    assert not (stopped / "evil").exists()


def test_pictures_that_went_missing_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_dataset(tmp_path / "data", splits={"train": 8, "val": 3}, size_hw=(64, 64))
    with monkeypatch.context() as patch:
        stop_at(patch, 3)
        with pytest.raises(PowerCutError):
            fit.train(data, tiny_recipe(epochs=3, panels=0), tmp_path / "run")
    gone = json.loads((tmp_path / "run" / "splits.json").read_text())["train"][2]
    for file in [*data.rglob("*.png"), *data.rglob("*.jpg")]:
        if file.stem == Path(gone).name and "train" in file.parts:
            file.unlink()
    with pytest.raises(DataError, match=gone):
        fit.resume(tmp_path / "run")


@pytest.mark.parametrize(
    ("was", "now", "words"),
    [
        ("1,disc", "1,circle", "were background, disc, square and are now background, circle, square"),
        (
            "2,square,242,97,200,0\n",
            "2,square,242,97,200,0\n3,more,9,9,9,0\n",
            "are now background, disc, square, more",
        ),
        ("0,255,255", "0,255,254", "are written in another way"),
    ],
)
def test_classes_that_changed_are_refused(
    was: str, now: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = {"train": 8, "val": 3}
    data = make_dataset(tmp_path / "data", classes=3, notation="colour", splits=splits, size_hw=(64, 64))
    with monkeypatch.context() as patch:
        stop_at(patch, 3)
        with pytest.raises(PowerCutError):
            fit.train(data, tiny_recipe(epochs=3, panels=0), tmp_path / "run")
    table = data / "classes.csv"
    before = table.read_text(encoding="utf-8")
    assert was in before
    table.write_text(before.replace(was, now), encoding="utf-8")
    with pytest.raises(DataError, match=words):
        fit.resume(tmp_path / "run")
    table.write_text(before, encoding="utf-8")
    fit.resume(tmp_path / "run")


def test_a_full_disk_leaves_the_last_good_state(
    stopped: Path, binary_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = (stopped / state.NAME).read_bytes()

    def no_space(*_: object, **__: object) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc] . PytorchStreamWriter failed writing file data/3")

    monkeypatch.setattr(torch, "save", no_space)
    with pytest.raises(OutputError, match="free some space"):
        fit.resume(stopped)
    assert (stopped / state.NAME).read_bytes() == good
    assert not list(stopped.glob(".*partial*"))
    monkeypatch.undo()


def test_stopping_says_how_to_go_on(binary_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learn = Segmenter.training_step

    def training_step(self: Segmenter, batch: Batch, batch_index: int) -> torch.Tensor:
        if self.plan.step == 5:
            raise KeyboardInterrupt
        return learn(self, batch, batch_index)

    with monkeypatch.context() as patch:
        patch.setattr(Segmenter, "training_step", training_step)
        handler = signal.getsignal(signal.SIGINT)
        arguments = ("train", binary_data, "--out", tmp_path / "run", "--model", NAME, "--epochs", "3")
        answer = segwright(*arguments, "--batch-size", "4", "--precision", "fp32", "--panels", "0")
        signal.signal(signal.SIGINT, handler)  # Lightning ignores further Ctrl-C while it shuts down
    assert answer.code == 2
    assert f"go on with: segwright train --resume {tmp_path / 'run'}" in answer.err
    succeeded("train", "--resume", tmp_path / "run")
