from __future__ import annotations

import csv
import importlib.util
import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from rich.console import Console

from segwright.errors import MissingExtraError, RecipeError
from segwright.recipe import Recipe, RunRecipe
from segwright.training import fit, loggers
from segwright.training.loggers import Kind, Loggers, slashed
from segwright.training.plan import Plan
from tests.command import everything_below, refused
from tests.training.conftest import tiny_recipe

ROOT = Path(__file__).parents[2]


def needs(library: str) -> pytest.MarkDecorator:
    absent = importlib.util.find_spec(library) is None
    return pytest.mark.skipif(absent, reason=f"{library} is not installed; pip install 'segwright[{library}]'")


class Heard:
    """What a logger was told."""

    def __init__(self) -> None:
        self.metrics: list[tuple[int, dict[str, float]]] = []
        self.pictures: list[tuple[str, str, int]] = []
        self.ended: list[bool] = []
        self.experiment: Any = None

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.metrics.append((step, dict(metrics)))


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    """Takes the place of MLflow."""
    made = Heard()
    kind = Kind(
        "json",
        lambda folder, recipe, ids, say: made,
        lambda logger, name, file, step: made.pictures.append((name, file.name, step)),
        lambda logger, well: made.ended.append(well),
    )
    monkeypatch.setitem(loggers.KINDS, "mlflow", kind)
    return made


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("tensorboard+csv", ("tensorboard",)),
        ("csv", ()),
        ("none", ()),
        ("wandb, mlflow", ("wandb", "mlflow")),
        ("MLflow+tensorboard+mlflow", ("mlflow", "tensorboard")),
    ],
)
def test_who_is_told(said: str, meant: tuple[str, ...]) -> None:
    assert RunRecipe(logger=said).loggers == meant


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("wandbb", r"no logger 'wandbb'; did you mean wandb\?"),
        ("tensorboard+tensorbord", "did you mean tensorboard"),
        ("", "choose from tensorboard, csv, wandb, mlflow, none"),
        ("none+wandb", "none and some"),
    ],
)
def test_a_logger_nobody_knows_is_refused(said: str, answer: str) -> None:
    with pytest.raises(RecipeError, match=answer):
        RunRecipe(logger=said)


def test_the_command_names_the_nearest_logger(binary_data: Path, tmp_path: Path) -> None:
    said = refused("train", binary_data, "--out", tmp_path / "run", "--logger", "wandbb")
    assert "did you mean wandb?" in said
    assert not everything_below(tmp_path)


def test_an_absent_library_is_said_before_any_work(
    binary_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    with pytest.raises(MissingExtraError, match=r"pip install 'segwright\[wandb\]'") as caught:
        fit.train(binary_data, tiny_recipe(logger="wandb"), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not everything_below(tmp_path)


def test_a_folder_of_the_librarys_name_is_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "not_a_library").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    kind = loggers.KINDS["wandb"]
    monkeypatch.setitem(loggers.KINDS, "wandb", Kind("not_a_library", kind.begin, kind.picture, kind.end))
    with pytest.raises(MissingExtraError):
        loggers.require_installed(Recipe(run=RunRecipe(logger="wandb")))
    loggers.require_installed(Recipe())


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("train_loss", "train/loss"),
        ("val_iou", "val/iou"),
        ("val_pixel_accuracy", "val/pixel_accuracy"),
        ("val_iou_road sign", "val_iou/road sign"),
        ("lr", "lr"),
    ],
)
def test_names(column: str, name: str) -> None:
    assert slashed(column) == name


def test_a_run_tells_its_loggers(
    binary_data: Path, tmp_path: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loggers, "EVERY", 2)
    run = fit.train(binary_data, tiny_recipe(epochs=2, logger="mlflow"), tmp_path / "run")
    checks = [(step, told) for step, told in heard.metrics if "val/iou" in told]
    with (run.folder / "log.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [step for step, _ in checks] == [int(row["step"]) for row in rows] == [3, 6]
    for (_, told), row in zip(checks, rows, strict=True):
        assert told == {slashed(n): pytest.approx(float(v)) for n, v in row.items() if n != "step" and v != "nan"}
        assert {"train/loss", "train/iou", "train/dice", "val/loss", "val/dice", "lr", "images_per_second"} <= set(told)
    between = [step for step, told in heard.metrics if set(told) == {"train/loss", "lr"}]
    assert between == [2, 4]
    assert heard.pictures == [
        ("panels", "check_001.png", 3),
        ("panels", "check_002.png", 6),
        ("film", "film_strip.png", 6),
        ("film_moving", "film_strip.gif", 6),
    ]
    assert heard.ended == [True]
    assert not (run.folder / "tensorboard").exists()


def test_a_logger_that_fails_is_dropped_and_the_others_go_on(
    tmp_path: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Gone(Heard):
        def log_metrics(self, metrics: dict[str, float], step: int) -> None:
            raise ConnectionError("no route\nto host")

    kind = Kind("json", lambda *_: Gone(), lambda *_: None, lambda *_: None)
    monkeypatch.setitem(loggers.KINDS, "wandb", kind)
    said: list[str] = []
    recipe = Recipe(run=RunRecipe(logger="wandb+mlflow"))
    told = Loggers(recipe, tmp_path, Plan(recipe, steps_per_epoch=1), said.append)
    told.log_check({"step": 3, "val_iou": 0.5, "train_iou": float("nan")}, None)
    told.log_check({"step": 4, "val_iou": 0.6}, None)
    assert heard.metrics == [(3, {"val/iou": 0.5}), (4, {"val/iou": 0.6})]
    assert said == ["wandb is no longer told (no route); the run goes on, and log.csv has everything."]


def test_a_logger_that_cannot_start_is_one_sentence(
    tmp_path: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise ConnectionError("nobody answers.\nat all")

    monkeypatch.setitem(loggers.KINDS, "wandb", Kind("json", refuse, lambda *_: None, lambda *_: None))
    recipe = Recipe(run=RunRecipe(logger="mlflow+wandb"))
    with pytest.raises(RecipeError, match=r"--logger wandb cannot be started \(nobody answers\); mend") as caught:
        Loggers(recipe, tmp_path, Plan(recipe, steps_per_epoch=1), lambda line: None)
    assert "\n" not in str(caught.value)
    assert heard.ended == [False]


def test_an_interrupted_run_is_closed(tmp_path: Path, heard: Heard) -> None:
    recipe = Recipe(run=RunRecipe(logger="mlflow"))
    plan = Plan(recipe, steps_per_epoch=1)
    with pytest.raises(KeyboardInterrupt), loggers.opened(recipe, tmp_path, plan, Console(file=io.StringIO())):
        raise KeyboardInterrupt
    assert heard.ended == [False]


@pytest.mark.parametrize(
    ("variables", "mode"),
    [({}, "offline"), ({"WANDB_API_KEY": "x"}, None), ({"WANDB_MODE": "online"}, None)],
)
def test_wandb_stays_offline_unless_asked(
    variables: dict[str, str], mode: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    run = SimpleNamespace(id="abc", url="there", define_metric=lambda *_, **__: None)

    def init(**settings: Any) -> Any:
        asked.append(settings)
        return run

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, Settings=dict))
    monkeypatch.setattr(
        "lightning.pytorch.loggers.WandbLogger", lambda experiment: SimpleNamespace(experiment=experiment)
    )
    said: list[str] = []
    kept = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    for _ in range(2):
        with mock.patch.dict(os.environ, {**kept, **variables}, clear=True):
            Loggers(Recipe(run=RunRecipe(logger="wandb")), tmp_path, Plan(Recipe(), steps_per_epoch=1), said.append)
    assert [call["mode"] for call in asked] == [mode, mode]
    assert [call["id"] for call in asked] == [None, "abc"], "a resumed run goes on in the same one"
    assert asked[0]["dir"] == tmp_path
    assert ("offline" in said[0]) == (mode == "offline")


def test_mlflow_takes_any_class_name() -> None:
    inner = Heard()
    wrapped = loggers._Sayable(inner)
    for _ in range(2):
        wrapped.log_metrics({"val_iou/a+b": 1.0, "val_iou/a,b": 2.0, "lr": 3.0}, step=7)
    assert inner.metrics == [(7, {"val_iou/a_b": 1.0, "val_iou/a_b_": 2.0, "lr": 3.0})] * 2


def test_nothing_of_the_others_is_imported_by_default(tmp_path: Path) -> None:
    """With libraries of their names within reach, which would give themselves away."""
    for name in ("wandb", "mlflow", "comet_ml", "neptune"):
        (tmp_path / f"{name}.py").write_text("")
    program = (
        "import sys\nfrom pathlib import Path\nfrom segwright.recipe import Recipe\n"
        "from segwright.training import fit, loggers\nfrom segwright.training.plan import Plan\n"
        "told = loggers.Loggers(Recipe(), Path(sys.argv[1]), Plan(Recipe(), steps_per_epoch=1), print)\n"
        "told.log_check({'step': 1, 'val_iou': 0.5}, None)\ntold.finish(well=True)\n"
        "raise SystemExit(str({'wandb', 'mlflow', 'comet_ml', 'neptune'} & set(sys.modules) or ''))"
    )
    path = os.pathsep.join([str(ROOT / "src"), str(tmp_path)])
    run = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "run")],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stderr.strip() == "", run.stderr
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))


@pytest.mark.slow
@needs("wandb")
def test_the_real_wandb_writes_into_the_run_folder(binary_data: Path, tmp_path: Path) -> None:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    with mock.patch.dict(os.environ, kept, clear=True):
        run = fit.train(binary_data, tiny_recipe(epochs=2, logger="wandb"), tmp_path / "run")
    (offline,) = (run.folder / "wandb").glob("offline-run-*")
    assert list(offline.glob("*.wandb"))
    assert list(offline.rglob("panels_*.png"))
    assert list(offline.rglob("film_moving_*.gif"))


@pytest.mark.slow
@needs("mlflow")
def test_the_real_mlflow_keeps_everything_in_the_run_folder(binary_data: Path, tmp_path: Path) -> None:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW")}
    with mock.patch.dict(os.environ, kept, clear=True):
        run = fit.train(binary_data, tiny_recipe(epochs=2, logger="mlflow"), tmp_path / "run")
        from mlflow.tracking import MlflowClient

        client = MlflowClient(f"sqlite:///{run.folder / 'mlflow.db'}")
        experiment = client.get_experiment_by_name("segwright")
        assert experiment is not None
        (kept_run,) = client.search_runs([experiment.experiment_id])
        assert kept_run.info.status == "FINISHED"
        assert [m.step for m in client.get_metric_history(kept_run.info.run_id, "val/iou")] == [3, 6]
        assert {"val_iou/disc", "train/iou", "lr"} <= set(kept_run.data.metrics)
        assert len(list((run.folder / "mlflow").rglob("check_*.png"))) == 2
        assert "MLFLOW_TRACKING_URI" not in os.environ
