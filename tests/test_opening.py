"""The fastest engine for a model: exported where it pays, measured, remembered, and measured again when something changed."""

from __future__ import annotations

import io
import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from segwright.checkpoint import Checkpoint
from segwright.engines.contract import ModelFacts
from segwright.engines.onnx import OnnxEngine
from segwright.engines.pytorch import PyTorchEngine
from segwright.engines.race import race
from segwright.errors import ModelError, UserError
from segwright.workflows import opening
from segwright.workflows.opening import drawn_pictures, exported, load, measure, open_model
from tests.command import refused, succeeded
from tests.test_engines import brightness_model, small_checkpoint, written

onnx = pytest.importorskip("onnx", reason="the extra segwright[onnx] is not installed")


def written_at_once(checkpoint: Checkpoint, out: Path) -> Path:
    """In place of `export_onnx`, which takes ten seconds: a file that answers otherwise than the checkpoint."""
    out.parent.mkdir(parents=True, exist_ok=True)
    return written(brightness_model(ModelFacts.of(checkpoint)), out)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("opening") / "run"
    small_checkpoint().save(folder / "best.safetensors")
    return folder


@pytest.fixture
def run(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(opening, "race", partial(race, seconds=0.01))
    monkeypatch.setattr("segwright.export.onnx.export_onnx", written_at_once)
    return made


def choices(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").rglob("*.json"))


def test_for_a_few_pictures_nothing_is_exported_or_measured(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    opened = open_model(run, pictures=3)
    assert isinstance(opened.engine, PyTorchEngine)
    assert "for 3 pictures, 0 s, looking for a faster one does not pay" in opened.why
    assert not (tmp_path / "empty").exists()


@pytest.mark.slow
def test_the_exported_file_in_the_cache_answers_as_the_run(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    laps, engines = measure(made, threads=1)
    images = np.stack(drawn_pictures((64, 96)))
    difference = engines["pytorch"].probabilities(images) - engines["onnxruntime"].probabilities(images)
    assert np.abs(difference).max() < 1e-3
    assert next(lap for lap in laps if lap.engine == "onnxruntime").passed


def test_for_many_the_choice_is_measured_once_and_remembered(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = io.StringIO()
    first = open_model(run, threads=1, console=Console(file=told, width=400))
    raced = {lap.engine for lap in first.laps}
    assert {"pytorch", "onnxruntime"} <= raced
    assert not raced & opening.NOT_RACED
    assert f"Engine: {first.name}, " in told.getvalue()
    assert len(choices(tmp_path)) == 1

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("measured again")

    monkeypatch.setattr(opening, "race", never)
    again = open_model(run, threads=1, pictures=2)
    assert again.name == first.name
    assert again.laps == first.laps
    assert "segwright bench" in again.why
    images = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3), np.uint8)
    assert np.array_equal(again.engine.probabilities(images), first.engine.probabilities(images))
    with pytest.raises(AssertionError, match="measured again"):
        open_model(run, threads=2)


@pytest.mark.parametrize("damage", ["", "[]", '{"engine": "rm -rf"}', "chosen"])
def test_a_choice_that_cannot_be_used_is_made_again(run: Path, tmp_path: Path, damage: str) -> None:
    measure(run)
    (choice,) = choices(tmp_path)
    known = json.loads(choice.read_text(encoding="utf-8"))
    choice.write_text(json.dumps(known | {"engine": "absent"}) if damage == "chosen" else damage, encoding="utf-8")
    opened = open_model(run)
    assert opened.name in {lap["engine"] for lap in known["laps"]}
    assert json.loads(choice.read_text(encoding="utf-8"))["engine"] == opened.name


@pytest.mark.parametrize("names", [[], ["pytorch"]])
def test_where_only_one_engine_reads_such_files_nothing_is_measured(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    monkeypatch.setattr(opening, "_candidates", lambda model: names)
    opened = open_model(run)
    assert isinstance(opened.engine, PyTorchEngine)
    assert "the only one installed" in opened.why
    assert not choices(tmp_path)
    laps, _ = measure(run)
    assert [lap.agreement for lap in laps] == [1.0]


def test_an_engine_by_name_gets_the_exported_file_of_a_run(run: Path) -> None:
    opened = open_model(run, engine="onnxruntime", threads=1)
    assert isinstance(opened.engine, OnnxEngine)
    predictor = load(run, engine="onnxruntime", threshold=0.25)
    assert isinstance(predictor.engine, OnnxEngine)
    assert predictor.threshold == 0.25
    assert isinstance(load(run).engine, PyTorchEngine)
    with pytest.raises(UserError, match=r"no engine 'abacus'; choose auto, file, pytorch"):
        load(run, engine="abacus")
    with pytest.raises(ModelError, match="does not exist"):
        open_model(run / "absent")


def test_other_weights_are_another_export_and_an_old_one_is_not_taken(run: Path, tmp_path: Path) -> None:
    path = exported(run)
    assert exported(run / "best.safetensors") == path
    changed = small_checkpoint()
    changed.weights.update({name: value * 1.5 for name, value in changed.weights.items() if "weight" in name})
    changed.save(tmp_path / "other.safetensors")
    assert opening._sha256(tmp_path / "other.safetensors")[:32] not in path.name


def test_without_a_writable_cache_it_only_measures_again(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = Path(shutil.copy(exported(run), tmp_path / "m.onnx"))
    (tmp_path / "taken").write_text("a file, not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "taken"))
    assert {lap.engine for lap in open_model(file).laps} >= {"onnxruntime"}


def test_drawn_pictures_are_the_same_at_every_call() -> None:
    for one, other in zip(drawn_pictures((48, 64)), drawn_pictures((48, 64)), strict=True):
        assert one.shape == (48, 64, 3)
        assert np.array_equal(one, other)


def test_the_command_takes_an_engine(run: Path, tmp_path: Path) -> None:
    from PIL import Image

    shots = tmp_path / "shots"
    shots.mkdir()
    Image.fromarray(drawn_pictures((64, 96), 1)[0]).save(shots / "a.png")
    assert "1 picture, " in succeeded("predict", run, shots, "--out", tmp_path / "out", "--engine", "onnxruntime")
    assert "does not pay" in succeeded("predict", run, shots, "--out", tmp_path / "own")


def test_bench_prints_a_table_writes_the_numbers_and_makes_the_choice_anew(run: Path, tmp_path: Path) -> None:
    told = succeeded("bench", run, "--threads", 1, "--seconds", 0.01, "--json", tmp_path / "numbers.json")
    numbers = json.loads((tmp_path / "numbers.json").read_text(encoding="utf-8"))
    assert {"pytorch", "onnxruntime"} <= set(numbers["milliseconds"])
    for name, taken in numbers["milliseconds"].items():
        assert name in told
        assert taken["whole"]["p95"] >= taken["whole"]["p50"] >= taken["network"]["p50"] > 0
        assert taken["best_batch"] >= 1
    assert numbers["picture_hw"] == numbers["size_hw"] == [64, 96]
    (choice,) = choices(tmp_path)
    assert json.loads(choice.read_text(encoding="utf-8"))["engine"] == open_model(run, threads=1).name


def test_bench_of_one_engine_with_a_picture_remembers_nothing(run: Path, tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(drawn_pictures((100, 150), 1)[0]).save(tmp_path / "a.png")
    told = succeeded("bench", run, "--engine", "pytorch", "--image", tmp_path / "a.png", "--seconds", 0.01)
    assert "150x100" in told
    assert "onnxruntime" not in told
    assert not choices(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--seconds", "0"], "more than 0"),
        (["--engine", "abacus"], "no engine 'abacus'"),
        (["--image", "absent.png"], "absent.png"),
        (["--engine", "tensorrt"], "tensorrt"),
    ],
)
def test_bench_refuses_in_one_sentence(run: Path, arguments: list[str], reason: str) -> None:
    assert reason in refused("bench", run, *arguments)
