"""Several processes learn what one with their joint batch learns, and say what they cannot do."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from segwright import checkpoint
from segwright.errors import RecipeError
from segwright.outputs import first_process
from segwright.training import machines
from tests.command import everything_below, one_sentence, refused
from tests.tiny import make_dataset
from tests.training.conftest import tiny_recipe
from tests.training.tiny_network import NAME

ROOT = Path(__file__).resolve().parents[2]
SHARED = ("--augment", "none", "--loss", "bce", "--precision", "fp32", "--device", "cpu", "--panels", "1")


def program(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(Path(__file__).with_name("several.py")), *map(str, arguments)]
    settings = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(command, env=settings, cwd=cwd, capture_output=True, text=True, check=False, timeout=300)


def scores_of(run: Path) -> list[dict[str, float]]:
    with (run / "log.csv").open(newline="") as stream:
        return [
            {k: float(v) for k, v in row.items() if k.startswith(("val_", "step"))} for row in csv.DictReader(stream)
        ]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More pictures than whole batches, and an odd number to check with."""
    return make_dataset(tmp_path_factory.mktemp("machines") / "data", splits={"train": 21, "val": 5}, size_hw=(64, 64))


@pytest.mark.slow
def test_two_processes_score_as_one_with_the_doubled_batch(data: Path, tmp_path: Path) -> None:
    learnt = ("train", data, "--model", "plain", "--epochs", "3", "--lr", "0.05", *SHARED)
    one = program(*learnt, "--batch-size", "8", "--out", "one", cwd=tmp_path)
    two = program(*learnt, "--batch-size", "4", "--devices", "2", "--out", "two", cwd=tmp_path)
    assert (one.returncode, two.returncode) == (0, 0), one.stderr + two.stderr
    assert two.stdout.count("The run lies in") == 1, "only the first process speaks"
    assert [row["step"] for row in scores_of(tmp_path / "one")] == [3, 6, 9]
    for alone, together in zip(scores_of(tmp_path / "one"), scores_of(tmp_path / "two"), strict=True):
        for name, score in alone.items():
            assert together[name] == pytest.approx(score, abs=2e-4), name
    first, second = (checkpoint.load(tmp_path / run / "last.safetensors").weights for run in ("one", "two"))
    for key, tensor in first.items():
        assert torch.allclose(tensor, second[key], atol=1e-4), key
    assert everything_below(tmp_path / "one") - {"tensorboard"} >= {"panels/check_003.png", "best.json"}


@pytest.mark.slow
def test_two_processes_with_batch_norms_minutes_and_no_name_for_the_run(data: Path, tmp_path: Path) -> None:
    settings = ("--model", NAME, "--minutes", "0.05", "--batch-size", "4", "--ema", "0.9", "--small-share", "0.5")
    ended = program("train", data, *settings, *SHARED, "--devices", "2", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["data-multiclass"]
    run = tmp_path / "runs" / "data-multiclass"
    assert not (run / "resume.pt").exists()
    assert checkpoint.load(run).scores["val_iou"] >= 0


@pytest.mark.slow
def test_a_stopped_run_of_two_goes_on_as_two(data: Path, tmp_path: Path) -> None:
    settings = ("--model", NAME, "--epochs", "3", "--batch-size", "4", "--save-minutes", "0", *SHARED)
    assert program("train", data, *settings, "--devices", "2", "--out", "whole", cwd=tmp_path).returncode == 0
    # The first process is killed in its second pass; the other must not wait for ever.
    killed = program("train", data, *settings, "--devices", "2", "--out", "cut", cwd=tmp_path, SEGWRIGHT_TEST_KILL="5")
    assert killed.returncode != 0
    assert (tmp_path / "cut" / "resume.pt").is_file()
    alone = program("train", "--resume", "cut", cwd=tmp_path, WORLD_SIZE="1")
    assert alone.returncode == 0, alone.stderr
    first, second = (checkpoint.load(tmp_path / run / "last.safetensors").weights for run in ("whole", "cut"))
    assert all(torch.equal(tensor, second[key]) for key, tensor in first.items())


@pytest.mark.slow
def test_what_ends_one_process_is_said_once(data: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    taken = program("train", data, "--model", NAME, *SHARED, "--devices", "2", "--out", "out", cwd=tmp_path)
    assert taken.returncode == 2
    assert "not empty" in one_sentence(taken.stderr)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"strategy": "fsdp"}, "--strategy ddp"),
        ({"nodes": 2}, "torchrun"),
    ],
)
def test_what_a_cpu_cannot_do(settings: dict[str, object], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        machines.world_of(tiny_recipe().with_settings(**settings), "cpu")


def test_gpus_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert machines.world_of(tiny_recipe(devices=2), "cuda") == 2
    assert machines.world_of(tiny_recipe(devices=-1), "cuda") == 2
    assert machines.world_of(tiny_recipe(devices=-1), "cpu") == 1
    with pytest.raises(RecipeError, match="sees 2 GPUs"):
        machines.world_of(tiny_recipe(devices=3), "cuda")
    with pytest.raises(RecipeError, match="--ema 0"):
        machines.world_of(tiny_recipe(devices=2, strategy="fsdp", ema=0.9), "cuda")


def test_a_launcher_that_counts_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert machines.world_of(tiny_recipe(devices=2, nodes=2), "cpu") == 4
    with pytest.raises(RecipeError, match="4 processes were started"):
        machines.world_of(tiny_recipe(devices=2), "cpu")


@pytest.mark.parametrize(
    ("device", "precision", "expected"), [("cuda", "fp16", "16-mixed"), ("cpu", "bf16", "32-true")]
)
def test_what_lightning_is_told(device: str, precision: str, expected: str) -> None:
    told = machines.trainer_settings(tiny_recipe(accumulate=3, nodes=2), device, 8, precision)
    assert told["precision"] == expected
    assert (told["devices"], told["num_nodes"], told["accumulate_grad_batches"]) == (4, 2, 3)
    assert told["sync_batchnorm"] is (device == "cuda")
    assert type(told["strategy"]).__name__ == "DDPStrategy"
    assert "strategy" not in machines.trainer_settings(tiny_recipe(), device, 1, precision)


def test_fsdp_keeps_whole_weights() -> None:
    strategy = machines.trainer_settings(tiny_recipe(strategy="fsdp"), "cuda", 2, "fp16")["strategy"]
    assert type(strategy).__name__ == "FSDPStrategy"
    assert strategy._state_dict_type == "full"


@pytest.mark.parametrize(
    ("environment", "first"), [({}, True), ({"RANK": "0", "LOCAL_RANK": "1"}, True), ({"LOCAL_RANK": "1"}, False)]
)
def test_who_speaks(environment: dict[str, str], first: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert first_process() is first


def test_gpus_in_short(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "--device cpu" in refused("train", data, "--gpus", "1")
    assert "one or the other" in refused("train", data, "--gpus", "1", "--devices", "1")
    assert "--gpus is a number" in refused("train", data, "--gpus", "-2")


def test_the_settings_of_where_a_run_is_computed_travel_as_yaml() -> None:
    recipe = tiny_recipe(devices=2, nodes=3, strategy="ddp", save_checkpoints=True)
    assert json.loads(json.dumps(recipe.to_dict()))["run"]["nodes"] == 3
