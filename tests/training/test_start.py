"""Weights taken over whole or refused by name, and batches of one picture that no batch norm can learn from."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import torch

from segwright import checkpoint
from segwright.checkpoint import Checkpoint
from segwright.classes import Classes
from segwright.errors import ModelError, RecipeError
from segwright.models.catalogue import BUILDERS, SETTINGS, build
from segwright.recipe import ModelRecipe, Recipe, read_yaml
from segwright.training import fit
from segwright.training.start import MOST_NAMED, load_start, refuse_lonely_batch
from tests.command import everything_below, refused, succeeded
from tests.training.conftest import tiny_recipe
from tests.training.tiny_network import NAME

TWO, THREE = Classes(names=("a", "b")), Classes(names=("a", "b", "c"))
UNET = ModelRecipe(model="UnetClassic", base_channels=2)


def saved(folder: Path, recipe: ModelRecipe, classes: Classes = TWO) -> Path:
    torch.manual_seed(1)
    weights = build(recipe, classes.channels).state_dict()
    return Checkpoint(recipe=Recipe(model=recipe), classes=classes, weights=weights).save(folder / "best.safetensors")


def started(recipe: ModelRecipe, path: Path, classes: Classes = TWO) -> dict[str, torch.Tensor]:
    torch.manual_seed(2)
    network = build(recipe, classes.channels)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    try:
        load_start(network, dataclasses.replace(recipe, load_model=str(path)), classes)
    except ModelError:
        assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
        raise
    return network.state_dict()


def refusal(recipe: ModelRecipe, path: Path, classes: Classes = TWO) -> str:
    with pytest.raises(ModelError) as caught:
        started(recipe, path, classes)
    return str(caught.value)


def test_checkpoints_and_run_folders_are_taken_whole(tmp_path: Path) -> None:
    file = saved(tmp_path, UNET)
    expected = checkpoint.load(file).weights
    for path in (file, tmp_path):
        got = started(UNET, path)
        assert got.keys() == expected.keys()
        assert all(torch.equal(tensor, got[name]) for name, tensor in expected.items())


@pytest.mark.parametrize("wrapper", ["", "module.", "model.", "network."])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_state_dicts_of_the_network_and_of_its_body_are_taken_whole(wrapper: str, suffix: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    network = build(UNET, 1)
    for state in (network.state_dict(), network.body.state_dict()):
        file = tmp_path / f"w{suffix}"
        named = {wrapper + name: tensor for name, tensor in state.items()}
        save_file(named, file) if suffix == ".safetensors" else torch.save(named, file)
        got = started(UNET, file)
        assert all(torch.equal(tensor, got[name]) for name, tensor in network.state_dict().items())


def test_no_load_model_changes_nothing() -> None:
    network = build(UNET, 1)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    load_start(network, UNET, TWO)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_every_tensor_that_does_not_fit_is_named(tmp_path: Path) -> None:
    state = build(UNET, 1).state_dict()
    state["body.down.0.0.weight"] = torch.zeros(7, 3, 3, 3)
    state["body.new"] = torch.zeros(2, 5)
    state["body.counter"] = torch.zeros(())
    del state["body.head.bias"]
    torch.save(state, tmp_path / "w.pt")
    said = refusal(UNET, tmp_path / "w.pt")
    assert "body.down.0.0.weight is 7x3x3x3 in the file and 2x3x3x3 in the network" in said
    assert "body.head.bias (1) is not in the file" in said
    assert "body.new (2x5) is not in the network" in said
    assert "body.counter (one number) is not in the network" in said
    assert "more" not in said
    assert "another architecture" not in said, "a plain state dict does not say what it is"
    assert said.endswith("use --weights in place of --load-model.")


def test_many_misfits_are_counted(tmp_path: Path) -> None:
    other = dataclasses.replace(UNET, base_channels=4)
    said = refusal(UNET, saved(tmp_path, other))
    differing = [
        name
        for (name, one), two in zip(
            build(UNET, 1).state_dict().items(), build(other, 1).state_dict().values(), strict=True
        )
        if one.shape != two.shape
    ]
    assert len(re.findall(" in the file and ", said)) == MOST_NAMED
    assert f"; and {len(differing) - MOST_NAMED} more. " in said
    assert "a checkpoint of another architecture (--base-channels 4)" in said


def test_another_architecture_is_said(tmp_path: Path) -> None:
    said = refusal(ModelRecipe(model="Unet", encoder="resnet18"), saved(tmp_path, UNET))
    because = "does not fit Unet, being a checkpoint of another architecture"
    assert f"{because} (--model UnetClassic --base-channels 2): " in said
    grey = ModelRecipe(model="UnetClassic", base_channels=2, no_batch_norm=True, channels_in=1)
    said = refusal(grey, saved(tmp_path, UNET))
    assert "another architecture (--channels-in 3 without --no-batch-norm): " in said


def test_the_default_spelled_out_is_no_other_architecture(tmp_path: Path) -> None:
    written = dataclasses.replace(UNET, model="UNETCLASSIC")
    assert "another architecture" not in refusal(written, saved(tmp_path, UNET, THREE))


def test_another_number_of_classes_names_the_head(tmp_path: Path) -> None:
    said = refusal(UNET, saved(tmp_path, UNET, THREE))
    assert "since it was trained for 3 classes and this data has 2" in said
    assert "body.head.weight is 3x2x1x1 in the file and 1x2x1x1 in the network; body.head.bias is 3 in the file" in said


def test_what_weights_copies_then(tmp_path: Path) -> None:
    """The advice in the refusal works."""
    file = saved(tmp_path, UNET, THREE)
    got = build(dataclasses.replace(UNET, weights=str(file)), 1).state_dict()
    kept = checkpoint.load(file).weights
    assert {name for name in kept if not torch.equal(kept[name], got[name])} == {"body.head.weight", "body.head.bias"}


def test_files_that_are_no_models_are_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no best.safetensors" in refusal(UNET, tmp_path / "empty")
    for name in ("w.pt", "w.safetensors"):
        (tmp_path / name).write_bytes(b"no model")
        assert "cannot be read as weights" in refusal(UNET, tmp_path / name)
    file = saved(tmp_path, UNET)
    file.write_bytes(file.read_bytes()[:-200])
    assert "cannot be read as weights" in refusal(UNET, file)


def test_a_training_goes_on_from_an_earlier_one(binary_data: Path, tmp_path: Path) -> None:
    first = fit.train(binary_data, tiny_recipe(), tmp_path / "first").folder
    second = fit.train(binary_data, tiny_recipe(load_model=str(first), lr=1e-12, epochs=1), tmp_path / "second").folder
    before, after = checkpoint.load(first).weights, checkpoint.load(second).weights
    learnt = [name for name in before if "running" not in name and "tracked" not in name]
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in learnt)
    kept = (second / "best.json").read_text()
    assert str(tmp_path) not in kept, "where the weights lie is nobody's business"
    assert checkpoint.load(second).recipe.model.load_model == "first"
    assert read_yaml(second / "recipe.yaml").model.load_model == str(first)


def test_a_missing_model_is_refused_before_any_work(binary_data: Path, tmp_path: Path) -> None:
    missing = tmp_path / "none.safetensors"
    flags = ("--model", NAME, "--epochs", "1", "--panels", "0", "--precision", "fp32")
    said = refused("train", binary_data, "--out", tmp_path / "run", *flags, "--load-model", missing)
    assert f"{missing}, from which --load-model should start, does not exist" in said
    assert "--load-model-if-exists" in said
    said = refused("train", binary_data, *flags, "--load-model", missing, "--load-model-if-exists", missing)
    assert "leave one of them out" in said
    said = refused("train", binary_data, *flags, "--load-model", missing, "--weights", "imagenet")
    assert "leave one of them out" in said
    assert everything_below(tmp_path) == set()


def test_a_model_that_may_be_missing(binary_data: Path, tmp_path: Path) -> None:
    flags = ("--model", NAME, "--epochs", "1", "--panels", "0", "--precision", "fp32", "--lr", "1e-12")
    maybe = tmp_path / "one" / "last.safetensors"
    said = succeeded("train", binary_data, "--out", tmp_path / "one", *flags, "--load-model-if-exists", maybe)
    assert said.splitlines()[0] == f"{maybe} does not exist, so the training starts from random weights."
    said = succeeded(
        *("train", binary_data, "--out", tmp_path / "two", *flags, "--seed", "5", "--load-model-if-exists", maybe)
    )
    assert said.splitlines()[0] == f"Starting from {maybe}."
    one, two = checkpoint.load(maybe).weights, checkpoint.load(tmp_path / "two" / "last.safetensors").weights
    assert torch.allclose(one["body.layers.0.weight"], two["body.layers.0.weight"], atol=1e-6)


def lonely(name: str) -> ModelRecipe:
    owned = SETTINGS[BUILDERS[name]]
    if "encoder" in owned:
        return ModelRecipe(model=name, encoder={"DPT": "tu-vit_tiny_patch16_224"}.get(name, "resnet18"))
    return ModelRecipe(model=name, base_channels=2 if "base_channels" in owned else 0)


FAST = ("lraspp_mobilenet_v3_small", "UnetClassic", "Unet", "PAN")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in BUILDERS]
)
@pytest.mark.parametrize("size_hw", [(128, 160), (32, 32)])
def test_a_batch_of_one_is_refused_exactly_where_it_would_fail(name: str, size_hw: tuple[int, int]) -> None:
    recipe = lonely(name)
    network = build(recipe, 1).eval()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    refused_before = False
    try:
        refuse_lonely_batch(network, recipe, batch_size=1, pictures=9, sizes=[size_hw])
    except RecipeError as error:
        refused_before = True
        assert f"one picture of {size_hw[1]}x{size_hw[0]}" in str(error)
        assert str(error).endswith("use --batch-size 2 or more.")
    assert not network.training
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())
    refuse_lonely_batch(network, recipe, batch_size=2, pictures=9, sizes=[size_hw])
    fails = False
    try:
        network.train()(torch.rand(1, 3, *size_hw))
    except ValueError as error:
        assert "more than 1 value per channel" in str(error)
        fails = True
    assert refused_before is fails
    assert fails is (name in {"PAN", "DeepLabV3", "DeepLabV3Plus", "UPerNet"}) or size_hw == (32, 32)


def test_one_training_picture_is_a_batch_of_one() -> None:
    recipe = lonely("PAN")
    network = build(recipe, 1)
    with pytest.raises(RecipeError, match="only one to learn from, so add pictures or choose another --model"):
        refuse_lonely_batch(network, recipe, batch_size=8, pictures=1, sizes=[(128, 128)])
    assert network.training


def test_training_refuses_a_lonely_batch(binary_data: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(model="PAN", encoder="resnet18", size_hw=(128, 128), batch_size=1)
    for lr in (2e-2, "auto"):
        with pytest.raises(RecipeError, match="--batch-size 2"):
            fit.train(binary_data, recipe.with_settings(lr=lr), tmp_path / "run")
        assert not (tmp_path / "run").exists()
