"""The scripts in train/: thin, at home anywhere, and the whole way from a data set to an exported model."""

from __future__ import annotations

import ast
import inspect
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import segwright
from segwright.predict.predictor import load

ROOT = Path(__file__).resolve().parents[2]
TRAIN = ROOT / "train"
SCRIPTS = sorted(path.name for path in TRAIN.glob("*.py"))
MOST_LINES = 45
"""Some forty."""


def run(script: Path, *arguments: object, cwd: Path, code: int = 0) -> str:
    """Run one script in a process of its own; returns what it printed, errors included."""
    done = subprocess.run(
        [sys.executable, script, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
    )
    assert done.returncode == code, done.stdout[-3000:]
    return done.stdout


def test_there_are_scripts() -> None:
    assert set(SCRIPTS) == {
        f"{name}.py" for name in ("make_dataset", "train_card", "evaluate_card", "prune_card", "export_card")
    }


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_thin_and_find_themselves(name: str) -> None:
    text = (TRAIN / name).read_text(encoding="utf-8")
    tree = ast.parse(text)
    code = [line for line in text.replace(ast.get_docstring(tree, clean=False) or "", "").splitlines() if line.strip()]
    assert len(code) <= MOST_LINES
    assert "os.path.realpath(__file__)" in text
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not [each for each in imported if each.startswith("segwright.")], "scripts see public names only"
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and str(n.module).startswith("segwright")]
    assert name.removesuffix(".py") not in {*sys.stdlib_module_names, "torch", "numpy", "segwright", "onnx"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_readme_names_every_script(name: str) -> None:
    assert name in (TRAIN / "README.md").read_text(encoding="utf-8")


def test_what_is_wrong_is_said_in_one_sentence(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    for script, arguments, words in (
        ("make_dataset.py", ("--real", nowhere, "--out", tmp_path / "a"), "does not exist"),
        ("train_card.py", ("--data", nowhere, "--out", tmp_path / "a"), "does not exist"),
        ("evaluate_card.py", ("--model", nowhere, "--out", tmp_path / "a"), "does not exist"),
        ("export_card.py", (nowhere, "--out", tmp_path / "a" / "b.onnx"), "does not exist"),
        ("prune_card.py", (nowhere, "--out", tmp_path / "a"), "does not exist"),
    ):
        said = run(TRAIN / script, *arguments, cwd=tmp_path, code=2)
        assert words in said
        assert "Traceback" not in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "wish"),
    [((), {"speedup": 2.0}), (("--channels", "0.7", "--minutes", "3"), {"channels": 0.7, "minutes": 3.0})],
)
def test_pruning_asks_the_package_for_what_its_flags_say(
    flags: tuple[str, ...], wish: dict[str, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pruning itself takes minutes and is proven where it lives; here is that the script's question fits it."""
    whole = inspect.signature(segwright.prune_model)
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(segwright, "prune_model", lambda *a, **k: asked.append(whole.bind(*a, **k).arguments))
    monkeypatch.setattr(sys, "argv", ["prune_card.py", str(tmp_path / "run"), *flags])
    runpy.run_path(str(TRAIN / "prune_card.py"), run_name="__main__")
    (one,) = asked
    assert one["model"] == tmp_path / "run"
    assert one["out"] == tmp_path / "run_pruned"
    assert wish.items() <= {**one, **one["settings"]}.items()
    segwright.named_recipe("card").with_settings(**one["settings"])


@pytest.mark.slow
def test_from_a_data_set_to_an_exported_model(tmp_path: Path) -> None:
    """Copied elsewhere, called through a link and from another folder, the scripts keep to their places."""
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    (project / "train").mkdir(parents=True)
    elsewhere.mkdir()
    for name in SCRIPTS:
        shutil.copy(TRAIN / name, project / "train" / name)
        (elsewhere / name).symlink_to(project / "train" / name)

    run(elsewhere / "make_dataset.py", "--count", 6, "--workers", 0, cwd=elsewhere)
    data = project / "dataset"
    for split in ("train", "test"):
        images, masks = ({p.stem for p in (data / split / kind).iterdir()} for kind in ("images", "masks"))
        assert images == masks
    assert "Licence: " in (data / "SOURCE.md").read_text() or "licence: " in (data / "SOURCE.md").read_text()

    said = run(elsewhere / "train_card.py", "--backbone", "small", "--epochs", 1, "--batch-size", 2, cwd=elsewhere)
    assert "lraspp_mobilenet_v3_small" in said
    assert (project / "runs" / "card_small" / "best.safetensors").is_file()

    run(elsewhere / "export_card.py", project / "runs" / "card_small", cwd=elsewhere)
    model = project / "train" / "exported_models" / "card_segmentation.onnx"
    facts = load(model).engine.facts
    assert (facts.size_hw, facts.turn, facts.precision) == ((640, 480), True, "fp16")
    readme = model.with_name("README.md").read_text(encoding="utf-8")
    assert "--backbone small --epochs 1" in readme
    assert "CC0-1.0" in readme
    assert str(tmp_path) not in readme
    run(elsewhere / "export_card.py", project / "runs" / "card_small", cwd=elsewhere)
    assert model.with_name("README.md").read_text(encoding="utf-8").count("card IoU") == readme.count("card IoU")

    said = run(elsewhere / "evaluate_card.py", cwd=elsewhere)
    assert "card IoU" in said
    assert (project / "runs" / "evaluation" / "report.html").is_file()
    assert {path.name for path in elsewhere.iterdir()} == set(SCRIPTS), "nothing was left where it was called from"
