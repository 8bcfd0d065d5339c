"""Pruning from end to end on tiny networks: what it leaves, that it can be stopped at any moment, and what it refuses."""

from __future__ import annotations

import io
import json
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from segwright import checkpoint
from segwright.engines.contract import Engine
from segwright.errors import DataError, GateError, MissingExtraError, ModelError, RecipeError, UserError
from segwright.export import cost
from segwright.models import catalogue
from segwright.training import fit
from segwright.training.segmenter import Segmenter
from segwright.workflows import pruning
from segwright.workflows.measuring import evaluate
from segwright.workflows.pruning import prune_model, resume_pruning
from tests.command import everything_below, refused, segwright, succeeded
from tests.tiny import make_dataset
from tests.training.conftest import tiny_recipe
from tests.training.tiny_network import NAME, build_tiny

QUICK: dict[str, Any] = {"engine": "pytorch", "max_drop": 100.0, "epochs": 1}


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "BUILDERS", {**catalogue.BUILDERS, NAME: build_tiny})


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Milliseconds that follow from the size of a network, so that nothing depends on how busy the machine is."""

    def race(rivals: Mapping[Any, Engine], *, seconds: float = 0.0) -> dict[Any, float]:
        return {name: _parameters(engine) / 100 for name, engine in rivals.items()}

    monkeypatch.setattr(cost, "race", race)
    monkeypatch.setattr(cost, "engines_here", lambda: ("pytorch",))  # test_cost.py has the others


def _parameters(engine: Any) -> int:
    return sum(p.numel() for p in engine._network.parameters())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(
        tmp_path_factory.mktemp("pruning") / "data", splits={"train": 8, "val": 5, "test": 5}, size_hw=(64, 64)
    )


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue, "BUILDERS", {**catalogue.BUILDERS, NAME: build_tiny})
        yield fit.train(data, tiny_recipe(epochs=3, panels=0), tmp_path_factory.mktemp("pruning") / "run").folder


def test_a_pruned_run_is_a_run(trained: Path, data: Path, tmp_path: Path) -> None:
    said = io.StringIO()
    out = tmp_path / "pruned"
    outcome = prune_model(trained, out=out, speedup=1.3, console=Console(file=said, width=200), **QUICK)
    assert outcome.met
    assert outcome.speedup >= 1.3
    assert outcome.shortfall() == ""
    written = json.loads((out / "prune.json").read_text())
    assert written["met"]
    assert written["before"]["parameters"] > written["after"]["parameters"]
    assert written["before"]["macs"] > written["after"]["macs"] > 0
    assert len(written["test_change"]) == 3
    assert (out / "prune.png").stat().st_size > 0
    assert "Network 1" in said.getvalue()
    console = Console(file=io.StringIO(), width=120)
    console.print(outcome.table())

    kept, whole = checkpoint.load(out), checkpoint.load(trained)
    assert kept.widths
    assert kept.provenance["pruned"]["speedup"] >= 1.3
    assert kept.recipe.data == whole.recipe.data
    assert kept.recipe.fit.epochs == 1
    assert evaluate(out, split="test").headline[1].value == pytest.approx(written["after"]["test"]["value"], abs=1e-6)
    further = fit.train(data, tiny_recipe(epochs=1, panels=0).with_settings(load_model=str(out)), tmp_path / "further")
    assert checkpoint.load(further.folder).widths == kept.widths
    for file in (out / "best.json", out / "prune.json", out / "plan.json"):
        assert str(tmp_path) not in file.read_text().replace(str(out), "") or file.name == "plan.json"


def test_rounds_go_step_by_step_and_end_at_the_target(trained: Path, tmp_path: Path) -> None:
    outcome = prune_model(trained, out=tmp_path / "pruned", channels=0.5, rounds=2, distill=0.5, **QUICK)
    assert [attempt.level for attempt in outcome.attempts] == [0.5, 1.0]
    assert [attempt.share for attempt in outcome.attempts] == pytest.approx([0.5**0.5, 0.5])
    assert outcome.chosen.number == 2
    assert outcome.met
    recipe = checkpoint.load(tmp_path / "pruned" / "attempts" / "2" / "run").recipe
    assert recipe.fit.teacher == "before.safetensors"


def test_it_stops_where_too_much_is_lost_and_keeps_the_last_good_one(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = pruning._judged

    def lossy(given: Any, number: int, level: float, *others: Any) -> Any:
        attempt = judged(given, number, level, *others)
        drop = 5.0 * level
        return type(attempt)(**{**vars(attempt), "drop": drop, "accepted": drop <= given.wishes.max_drop})

    monkeypatch.setattr(pruning, "_judged", lossy)
    wishes = QUICK | {"max_drop": 2.0}
    outcome = prune_model(trained, out=tmp_path / "pruned", channels=0.3, **wishes)
    # 5 points at the target, 2.5 half way, 1.25 at a quarter of it.
    assert [(a.level, a.accepted) for a in outcome.attempts] == [(1.0, False), (0.5, False), (0.25, True)]
    assert not outcome.met
    assert "the best found is kept" in outcome.shortfall()
    assert checkpoint.load(tmp_path / "pruned").provenance["pruned"]["drop"] == 1.25
    answer = segwright(
        "prune",
        trained,
        "--channels",
        "0.3",
        "--max-drop",
        "2",
        "--epochs",
        "1",
        "--engine",
        "pytorch",
        "--out",
        tmp_path / "b",
    )
    assert answer.code == 1
    assert "was not reached" in answer.err
    with pytest.raises(GateError, match="Nothing was kept"):
        prune_model(trained, out=tmp_path / "none", channels=0.3, **(wishes | {"max_drop": 0.5}))
    assert not (tmp_path / "none" / "best.safetensors").exists()


def test_a_target_out_of_reach_is_said_and_the_best_found_is_kept(trained: Path, tmp_path: Path) -> None:
    outcome = prune_model(trained, out=tmp_path / "pruned", latency="0.001ms", **QUICK)
    assert not outcome.met
    assert "out of reach" in outcome.notes[0]
    assert (
        min(min(numbers[:2]) for numbers in checkpoint.load(tmp_path / "pruned").widths.values()) <= 8
    )  # as narrow as can be
    assert "was not reached" in outcome.shortfall()


@pytest.mark.parametrize("moment", ["thinning", "learning", "measuring"])
def test_stopped_and_gone_on_with_it_ends_as_if_it_never_stopped(
    moment: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, whole = tmp_path / "pruned", tmp_path / "whole"
    arguments = ("prune", trained, "--channels", "0.5", "--rounds", "2", "--max-drop", "100", "--engine", "pytorch")
    settings = ("--epochs", "2", "--save-minutes", "0")

    def stop(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    learn = Segmenter.training_step

    def training_step(self: Segmenter, batch: Any, batch_index: int) -> torch.Tensor:
        if self.plan.step == 3:
            raise KeyboardInterrupt
        return learn(self, batch, batch_index)

    with monkeypatch.context() as patch:
        handler = signal.getsignal(signal.SIGINT)
        if moment == "learning":
            patch.setattr(Segmenter, "training_step", training_step)
        else:
            patch.setattr(pruning, "_thin" if moment == "thinning" else "_judged", stop)
        answer = segwright(*arguments, *settings, "--out", out)
        signal.signal(signal.SIGINT, handler)  # Lightning ignores further Ctrl-C while it shuts down
    assert answer.code == 2
    assert f"go on with: segwright prune --resume {out}" in answer.err
    assert not (out / "best.safetensors").exists()
    succeeded("prune", "--resume", out)
    succeeded(*arguments, *settings, "--out", whole)
    ours, theirs = checkpoint.load(out), checkpoint.load(whole)
    assert ours.widths == theirs.widths
    assert all(torch.equal(ours.weights[name], theirs.weights[name]) for name in theirs.weights)


def test_taylor_looks_at_gradients(trained: Path, tmp_path: Path) -> None:
    outcome = prune_model(trained, out=tmp_path / "pruned", channels=0.5, importance="taylor", **QUICK)
    assert outcome.met
    assert outcome.facts["importance"] == "taylor"


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        ((), "Say what to reach"),
        (("--speedup", "0.5"), "--speedup"),
        (("--latency", "soon"), "--latency soon"),
        (("--speedup", "2", "--max-drop", "-1"), "--max-drop"),
        (("--speedup", "2", "--rounds", "0"), "--rounds"),
        (("--speedup", "2", "--distill", "2"), "--distill"),
        (("--speedup", "2", "--engine", "abacus"), "no engine 'abacus'"),
        (("--speedup", "2", "--threads", "0"), "--threads"),
        (("--speedup", "2", "--model", "Unet"), "--model"),
        (("--speedup", "2", "--width", "32"), "--width"),
        (("--speedup", "2", "--epochs", "0"), "--epochs"),
        (("--size", "1GB"), "is there already"),
    ],
)
def test_wishes_that_cannot_be(wishes: tuple[str, ...], said: str, trained: Path, tmp_path: Path) -> None:
    engine = () if "--engine" in wishes else ("--engine", "pytorch")
    assert said in refused("prune", trained, *wishes, *engine, "--out", tmp_path / "pruned")
    if "--size" not in wishes:  # which is known only once the network was measured
        assert everything_below(tmp_path) == set()


def test_models_and_data_that_cannot_be(
    trained: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    five = make_dataset(tmp_path / "five", classes=3, notation="index", splits={"train": 4, "val": 2}, size_hw=(64, 64))
    with pytest.raises(ModelError, match=r"2 classes .* has 3"):
        prune_model(trained, five, tmp_path / "pruned", speedup=2, **QUICK)
    bare = make_dataset(tmp_path / "bare", layout="pictures", splits={"train": 3}, size_hw=(64, 64))
    with pytest.raises(DataError):
        prune_model(trained, bare, tmp_path / "pruned", speedup=2, **QUICK)
    with pytest.raises(ModelError, match="does not exist"):
        prune_model(tmp_path / "nowhere", data, tmp_path / "pruned", speedup=2, **QUICK)
    with pytest.raises(ModelError, match="no pruning that can be gone on with"):
        resume_pruning(trained)
    with pytest.raises(UserError, match="give nothing else"):
        pruning_command(resume=trained, speedup=2.0)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torch_pruning", None)
        with pytest.raises(MissingExtraError, match=r"segwright\[prune\]"):
            prune_model(trained, data, tmp_path / "pruned", speedup=2, **QUICK)
    assert not (tmp_path / "pruned").exists()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        prune_model(trained, data, tmp_path / "taken", speedup=2, **QUICK)
    damaged = tmp_path / "damaged"
    shutil.copytree(trained, damaged)
    file = damaged / "best.safetensors"
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(ModelError, match="damaged"):
        prune_model(damaged, data, tmp_path / "pruned", speedup=2, **QUICK)


def pruning_command(**arguments: Any) -> int:
    from segwright.commands.prune import prune

    return prune(**arguments)


def test_a_variation_of_ones_own_comes_along(trained: Path, tmp_path: Path) -> None:
    made = checkpoint.load(trained)
    own = made.recipe.with_settings(augment="mine.yaml")
    wishes = pruning.Wishes(
        targets=None,  # type: ignore[arg-type]
        max_drop=1.0,
        rounds=1,
        importance="magnitude",
        distill=0.0,
        engine="pytorch",
        threads=None,
        settings={},
    )
    with pytest.raises(RecipeError, match="--augment medium"):
        pruning.fine_tuning(own, wishes, tmp_path)
    (tmp_path / "augment.yaml").write_text("")
    assert pruning.fine_tuning(own, wishes, tmp_path).data.augment == str(tmp_path / "augment.yaml")
    assert pruning.fine_tuning(made.recipe, wishes, tmp_path).fit.epochs == 1  # a third of 3
