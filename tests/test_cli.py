from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from segwright import __version__, cli, recipe
from segwright.commands import settings, speaking
from segwright.errors import GateError
from segwright.recipe import FitRecipe, Recipe, named_recipe, read_yaml
from tests.command import loaded_by, refused, segwright, succeeded

ALL_COMMANDS = [*((name,) for name in cli.COMMANDS), ("synth",), *(("synth", name) for name in cli.SYNTH)]
HEAVY = {
    "torch",
    "torchvision",
    "numpy",
    "cv2",
    "PIL",
    "lightning",
    "onnx",
    "onnxruntime",
    "segmentation_models_pytorch",
}


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Help that is not wrapped can be searched."""
    monkeypatch.setenv("COLUMNS", "400")


def test_version() -> None:
    assert succeeded("--version").strip() == __version__


@pytest.mark.parametrize("command", ALL_COMMANDS, ids=" ".join)
def test_every_command_helps(command: tuple[str, ...]) -> None:
    said = succeeded(*command, "--help")
    function = cli.SYNTH.get(command[-1]) or cli.COMMANDS.get(command[-1])
    if function is not None:
        assert function.__doc__
        assert function.__doc__.splitlines()[0] in said
    assert "Usage: segwright " + " ".join(command) in said


def test_the_first_page_names_every_command() -> None:
    said = succeeded("--help")
    assert succeeded() == said
    for name in (*cli.COMMANDS, "synth"):
        assert f" {name} " in said


@pytest.mark.parametrize("command", [(), ("train", "--help"), ("--version",), ("recipe", "card"), ("nonsense",)])
def test_help_is_light(command: tuple[str, ...]) -> None:
    """What needs no pixels imports nothing that is made for pixels."""
    assert not loaded_by(*command) & HEAVY


@pytest.mark.parametrize("command", ["train", "recipe"])
def test_every_setting_has_a_flag_and_a_sentence(command: str) -> None:
    said = " ".join(succeeded(command, "--help").replace("│", " ").split())
    for kind in recipe.PARTS.values():
        sentences = settings.field_sentences(kind)
        for field in dataclasses.fields(kind):
            assert f"--{field.name.replace('_', '-')} " in said
            sentence = " ".join(sentences[field.name].replace("`", "").split())
            assert sentence in said
            assert sentence.endswith(".")


def test_no_setting_has_the_name_of_another() -> None:
    names = [field.name for kind in recipe.PARTS.values() for field in dataclasses.fields(kind)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (("trian", "x"), "train"),
        (("evalute", "x"), "evaluate"),
        (("train", "x", "--epohs", "3"), "--epochs"),
        (("train", "x", "--batchsize", "3"), "--batch-size"),
        (("export", "x", "--any-sise"), "--any-size"),
        (("recipe", "crad"), "card"),
        (("train", "x", "--recipe", "binry"), "binary"),
        (("synth", "crads", "x"), "cards"),
        (("train", "x", "--augment", "strng"), "strong"),
    ],
)
def test_a_misspelling_gets_the_nearest_right_one(arguments: tuple[str, ...], nearest: str) -> None:
    assert nearest in refused(*arguments)


@pytest.mark.parametrize("model", ["lraspp_mobilenet_v3_smal", "unett"])
def test_a_misspelt_model(model: str, tmp_path: Path) -> None:
    from tests.tiny import make_dataset

    data = make_dataset(tmp_path / "data", size_hw=(64, 64))
    assert "did you mean" in refused("train", data, "--model", model, "--out", tmp_path / "run")


@pytest.mark.parametrize(
    "arguments",
    [
        ("train",),
        ("evaluate",),
        ("predict", "x"),
        ("synth", "cards"),
        ("train", "x", "--epochs", "many"),
        ("train", "x", "--lr", "fast"),
        ("train", "x", "--lr"),
    ],
)
def test_what_is_missing_or_no_number(arguments: tuple[str, ...]) -> None:
    refused(*arguments)


def test_exit_codes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def raising(error: BaseException) -> None:
        def models() -> int:
            raise error

        monkeypatch.setitem(cli.COMMANDS, "models", models)

    assert segwright("models").code == speaking.OK
    refused("check", tmp_path / "absent", code=speaking.USER_ERROR)
    raising(GateError("Not good enough; do better."))
    assert refused("models", code=speaking.NOT_GOOD_ENOUGH) == "Not good enough; do better."
    raising(KeyboardInterrupt())
    assert "Ctrl-C" in refused("models", code=speaking.USER_ERROR)


def test_an_error_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake in the program is no mistake of the user: its traceback is wanted."""

    def models() -> int:
        raise ZeroDivisionError

    monkeypatch.setitem(cli.COMMANDS, "models", models)
    with pytest.raises(ZeroDivisionError):
        segwright("models")


def test_a_reader_that_goes_away() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        ["/bin/sh", "-c", f"{sys.executable} -m segwright recipe card | true"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.stderr == ""


@pytest.mark.parametrize("name", recipe.RECIPES)
def test_a_recipe_survives_its_file(name: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(succeeded("recipe", name), encoding="utf-8")
    assert read_yaml(file) == named_recipe(name)
    assert succeeded("recipe", file) == file.read_text()


def test_settings_override_a_recipe_and_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(succeeded("recipe", "card", "--epochs", "3", "--lr", "0.5", "--fit", "stretch"))
    given: list[Recipe] = []

    def train(data: Path, chosen: Recipe, out: Path, **_: object) -> object:
        given.append(chosen)
        raise GateError("Enough.")

    monkeypatch.setattr("segwright.workflows.training.train", train)
    refused("train", tmp_path, "--recipe", file, "--lr", "0.25", "--out", tmp_path / "run", code=1)
    assert given == [named_recipe("card").with_settings(epochs=3, lr=0.25, fit="stretch")]
    refused("train", tmp_path, "--recipe", file, "--seed", "0", "--ema", "0", "--out", tmp_path / "run", code=1)
    assert given[1].fit == FitRecipe(**{**vars(named_recipe("card").fit), "epochs": 3, "lr": 0.5, "ema": 0.0})


def test_what_a_recipe_switches_on_can_be_switched_off() -> None:
    assert "turn: true\n" in succeeded("recipe", "card")
    assert "turn: false\n" in succeeded("recipe", "card", "--no-turn")
    assert "turn: true\n" in succeeded("recipe", "binary", "--turn")


@pytest.mark.parametrize(("said", "meant"), [("auto", "auto"), ("3e-3", 0.003), ("1", 1.0)])
def test_a_learning_rate_is_a_number_or_auto(said: str, meant: object) -> None:
    assert f"lr: {meant}\n" in succeeded("recipe", "card", "--lr", said)


def test_a_learning_rate_of_another_word() -> None:
    said = refused("recipe", "card", "--lr", "fast")
    assert said == "--lr is a number such as 0.5, or auto, not 'fast'."


def test_runs_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    places: list[Path] = []

    def train(data: Path, chosen: Recipe, out: Path, **_: object) -> object:
        places.append(out)
        out.mkdir(parents=True)
        raise GateError("Enough.")

    monkeypatch.setattr("segwright.workflows.training.train", train)
    for _ in range(3):
        refused("train", "photos", "--recipe", "binary", code=1)
    assert places == [Path("runs/photos-binary"), Path("runs/photos-binary-2"), Path("runs/photos-binary-3")]


def test_models_lists_the_catalogue() -> None:
    from segwright.models.catalogue import BUILDERS

    assert succeeded("models").split() == list(BUILDERS)
