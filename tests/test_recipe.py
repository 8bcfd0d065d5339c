"""Recipes: there and back, and every refusal an error of ours."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segwright.errors import RecipeError
from segwright.models.catalogue import require_possible
from segwright.preprocess import placement
from segwright.recipe import (
    PARTS,
    RECIPES,
    DataRecipe,
    FitRecipe,
    ModelRecipe,
    Recipe,
    RunRecipe,
    named_recipe,
    read_yaml,
    to_yaml,
)


@pytest.mark.parametrize("name", RECIPES)
def test_named_recipes_survive_dict_and_yaml(name: str, tmp_path: Path) -> None:
    recipe = named_recipe(name)
    assert recipe.name == name
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    (tmp_path / "recipe.yaml").write_text(to_yaml(recipe))
    assert read_yaml(tmp_path / "recipe.yaml") == recipe


def test_card_is_portrait_480_by_640() -> None:
    assert named_recipe("card").data.size_hw == (640, 480)


def test_patches_is_the_wide_network_for_long() -> None:
    recipe = named_recipe("patches")
    assert (recipe.model.model, recipe.model.encoder) == ("UnetPlusPlus", "resnext101_32x8d")
    assert (recipe.fit.epochs, recipe.fit.batch_size, recipe.fit.weight_decay) == (300, 8, 1e-3)


def test_person_favours_neither_way_of_holding_a_camera() -> None:
    """Pictures of 3:4 and of 4:3 fill the same share of its input, and more than a frame of either shape gives the worse one."""
    size_hw = named_recipe("person").data.size_hw

    def filled(picture_hw: tuple[int, int], frame_hw: tuple[int, int]) -> float:
        (scale, _), _ = placement(*picture_hw, frame_hw, "pad")
        return scale**2 * picture_hw[0] * picture_hw[1] / (frame_hw[0] * frame_hw[1])

    assert filled((400, 300), size_hw) == pytest.approx(filled((300, 400), size_hw)) == pytest.approx(0.75)
    assert filled((300, 400), (640, 480)) == pytest.approx(0.5625)


@pytest.mark.parametrize("name", RECIPES)
def test_named_recipes_set_nothing_that_their_model_lacks(name: str) -> None:
    require_possible(named_recipe(name).model)


def test_absent_settings_keep_their_defaults() -> None:
    assert Recipe.from_dict({"fit": {"epochs": 3}}) == Recipe(fit=FitRecipe(epochs=3))
    assert Recipe.from_dict({}) == Recipe()


def test_settings_find_their_part() -> None:
    recipe = named_recipe("card").with_settings(epochs=5, width=320, height=256, encoder="resnet18")
    assert (recipe.fit.epochs, recipe.data.size_hw, recipe.model.encoder) == (5, (256, 320), "resnet18")
    assert recipe.fit.small_share == named_recipe("card").fit.small_share
    assert named_recipe("card").with_settings() == named_recipe("card")


def test_no_setting_has_two_owners() -> None:
    names = [f.name for part in PARTS.values() for f in dataclasses.fields(part)]
    assert len(names) == len(set(names))


def test_recipes_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        named_recipe("card").fit.epochs = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"fit": {"epoch": 3}}, "did you mean fit.epochs"),
        ({"fitt": {}}, "did you mean fit"),
        ({"fit": {"loss_name": "ce"}}, "did you mean fit.loss?"),
        ({"fit": {"lr_rate": 3}}, "choose from fit.epochs, "),
        ({"lr": 3}, "did you mean fit.lr?"),
        ({"fit": {"model": "Unet"}}, "did you mean model.model?"),
        ({"batchsize": 3}, "did you mean fit.batch_size?"),
        ({"data": 5}, "holds settings by name"),
        ({"zzz": 5}, "choose from"),
        ({"name": 5}, "--name is text"),
        ({"data": {"fit": "squash"}}, "--fit is one of pad, stretch, not 'squash'"),
        ({"data": {"width": "wide", "height": 64}}, "--width is a whole number"),
        ({"data": {"width": 64.0, "height": 64}}, "--width is a whole number"),
        ({"data": {"width": True, "height": 64}}, "--width is a whole number"),
        ({"fit": {"lr": "fast"}}, "--lr is a number such as 0.5, or auto, not 'fast'"),
        ({"fit": {"lr": True}}, "--lr is a number"),
        ({"fit": {"lr": float("nan")}}, "--lr is a number"),
        ({"fit": {"lr": [1]}}, "--lr is a number"),
        ({"fit": {"optimizer": "lion"}}, "--optimizer is one of adamw, adam, sgd"),
        ({"fit": {"schedule": "linear"}}, "--schedule is one of onecycle"),
        ({"fit": {"class_weights": "1,x"}}, "--class-weights is none, auto, several, or numbers"),
        ({"fit": {"weight_decay": float("nan")}}, "--weight-decay is a number"),
        ({"fit": {"minutes": float("inf")}}, "--minutes is a number"),
        ({"model": {"channels_in": 2}}, "--channels-in is one of 1, 3"),
        ({"model": {"channels_in": True}}, "--channels-in is one of"),
        ({"model": {"model": None}}, "--model is text"),
        ({3: 4}, "no setting '3'"),
    ],
)
def test_refused_dicts_say_why(raw: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        Recipe.from_dict(raw)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epochs": 0}, "--epochs"),
        ({"minutes": -1.0}, "--minutes"),
        ({"batch_size": 0}, "--batch-size"),
        ({"lr": 0.0}, "--lr"),
        ({"momentum": 1.0}, "--momentum"),
        ({"adam_eps": 0.0}, "--adam-eps"),
        ({"warm_up": 0.95}, "--warm-up"),
        ({"plateau_checks": 0}, "--plateau-checks"),
        ({"plateau_factor": 1.0}, "--plateau-factor"),
        ({"weight_decay": -0.1}, "--weight-decay"),
        ({"label_smoothing": 0.6}, "--label-smoothing"),
        ({"small_share": 0.95}, "--small-share"),
        ({"small_share": 0.5, "middle_share": 0.5}, "--middle-share"),
        ({"layer_lr": "own"}, "--layer-lr"),
        ({"clip": 0.0}, "--clip"),
        ({"ema": 1.0}, "--ema"),
        ({"patience": -1}, "--patience"),
        ({"width": -1}, "--width"),
        ({"width": 64}, "go together"),
        ({"width": 16, "height": 64}, "at least 32"),
        ({"width": 10_000, "height": 64}, "at most 8192"),
        ({"patch_size": 31}, "--patch-size must be 32"),
        ({"patch_size": 64, "width": 64, "height": 96}, "leave out --width"),
        ({"patch_size": 64, "fit": "stretch"}, "one of the two"),
        ({"val_share": 0.0}, "--val-share"),
        ({"workers": -2}, "--workers"),
        ({"cache_gb": -1.0}, "--cache-gb"),
        ({"base_channels": -1}, "--base-channels is a number from 1 to 512"),
        ({"base_channels": 1024}, "--base-channels is a number from 1 to 512"),
        ({"padding": 2}, "--padding is one of 0, 1"),
        ({"no_batch_norm": 1}, "--no-batch-norm is bool"),
        ({"load_model": "runs/a", "weights": "imagenet"}, "--weights imagenet would have nothing to do"),
        ({"epoch": 3}, "did you mean epochs"),
        ({"qqqqqqqq": 3}, "choose from"),
    ],
)
def test_refused_settings_say_why(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        named_recipe("binary").with_settings(**changes)


def test_whole_numbers_serve_where_fractions_do() -> None:
    assert FitRecipe(minutes=3).minutes == 3


def test_a_learning_rate_to_be_found(tmp_path: Path) -> None:
    recipe = named_recipe("binary").with_settings(lr="auto")
    (tmp_path / "r.yaml").write_text(to_yaml(recipe))
    assert read_yaml(tmp_path / "r.yaml") == recipe
    assert recipe.fit.lr == "auto"


def test_numbers_without_a_dot_are_numbers(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("fit: {lr: 2e-3}\n")
    assert read_yaml(tmp_path / "r.yaml").fit.lr == 0.002


@pytest.mark.parametrize(
    "text", ["", "just words", "[1, 2]", "a: [", "fit: 2026-13-45", "\x00", "!!python/object:os.system {}", "[" * 5000]
)
def test_unreadable_yaml_is_said(text: str, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(RecipeError, match="recipe"):
        read_yaml(tmp_path / "r.yaml")


def test_missing_and_binary_yaml_are_said(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        read_yaml(tmp_path / "none.yaml")
    (tmp_path / "r.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(RecipeError, match="cannot be read"):
        read_yaml(tmp_path / "r.yaml")


def test_what_is_refused_in_a_file_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("fit: {epochs: 0}\n")
    with pytest.raises(RecipeError, match=r"r\.yaml: --epochs must be at least 1"):
        read_yaml(tmp_path / "r.yaml")


def test_unknown_recipe_suggests_the_nearest() -> None:
    with pytest.raises(RecipeError, match="did you mean card"):
        named_recipe("crad")


values = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)
)
keys = st.sampled_from([f.name for part in PARTS.values() for f in dataclasses.fields(part)]) | st.text(max_size=4)


@given(
    st.dictionaries(
        st.sampled_from(["data", "model", "fit", "name", "x"]), st.dictionaries(keys, values, max_size=3) | values
    )
)
@settings(max_examples=300, deadline=None)
def test_any_dict_is_a_recipe_or_refused(raw: dict[str, Any]) -> None:
    try:
        recipe = Recipe.from_dict(raw)
    except RecipeError:
        return
    assert Recipe.from_dict(recipe.to_dict()) == recipe


def test_every_setting_has_its_sentence() -> None:
    """The sentence under a field is its help text, so each field must have one."""
    import ast
    import inspect

    for part in (DataRecipe, ModelRecipe, FitRecipe, RunRecipe):
        body = ast.parse(inspect.getsource(part)).body[0]
        assert isinstance(body, ast.ClassDef)
        for statement, following in zip(body.body, body.body[1:], strict=False):
            if isinstance(statement, ast.AnnAssign):
                assert isinstance(following, ast.Expr), ast.unparse(statement)
                assert isinstance(following.value, ast.Constant)
