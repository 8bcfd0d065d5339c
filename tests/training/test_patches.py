"""Training on patches, from the recipe to a file that answers pictures of any size in tiles."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

import segwright
from segwright import checkpoint, load
from segwright.checkpoint import Checkpoint
from segwright.classes import IGNORED
from segwright.data.layouts import find_dataset
from segwright.data.loaders import Batch, Pairs, Splits
from segwright.data.sample import Sample, read_pair
from segwright.engines.pytorch import PyTorchEngine
from segwright.errors import DataError, ModelError, RecipeError
from segwright.metrics import confusion
from segwright.models.catalogue import build
from segwright.predict.predictor import Predictor
from segwright.recipe import DataRecipe, FitRecipe, ModelRecipe, Recipe
from segwright.training import fit
from segwright.training.pace import Pace
from segwright.training.plan import Plan
from segwright.training.prepare import with_size
from segwright.training.segmenter import Segmenter
from tests.command import everything_below, refused, succeeded
from tests.tiny import draw_pair, make_dataset, write_mask
from tests.training.tiny_network import NAME


def patch_recipe(patch: int = 32, **changes: Any) -> Recipe:
    settings = {"epochs": 2, "batch_size": 4, "precision": "fp32", "panels": 2, "lr": 2e-2, "augment": "light"}
    recipe = Recipe(data=DataRecipe(patch_size=patch), model=ModelRecipe(model=NAME), fit=FitRecipe())
    return recipe.with_settings(**{**settings, **changes})


@pytest.fixture(scope="session")
def large_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of several patches, and two that differ: one is smaller than a patch in one direction."""
    root = make_dataset(
        tmp_path_factory.mktemp("patches") / "large",
        classes=3,
        notation="index",
        splits={"train": 6, "val": 3, "test": 2},
        size_hw=(80, 112),
    )
    for split, size_hw in (("train", (20, 90)), ("val", (24, 100))):
        pair = draw_pair(77, classes=3, size_hw=size_hw)
        Image.fromarray(pair.image).save(root / split / "images" / "odd.png")
        write_mask(root / split / "masks" / "odd.png", pair.class_map, "index")
    return root


def test_patches_are_learnt_and_the_kept_weights_score_what_they_say(large_data: Path, tmp_path: Path) -> None:
    seen = io.StringIO()
    run = fit.train(large_data, patch_recipe(epochs=12), tmp_path / "run", console=Console(file=seen, width=140))
    assert "patches of 32x32" in seen.getvalue()
    assert run.scores["val_iou"] > 0.5
    # A pass shows every picture as often as patches fit into it: nine for six pictures, two for the small one.
    assert run.steps == 12 * -(-(6 * 9 + 2) // 4)
    kept = checkpoint.load(run.folder)
    assert kept.recipe.data.size_hw == (32, 32)
    assert kept.recipe.data.patch_size == 32
    report = segwright.evaluate(run.folder, large_data, split="val")
    assert report.miou.value == pytest.approx(run.scores["val_iou"], abs=1e-4)
    assert report.model["tiled"] is True
    with Image.open(run.folder / "panels" / "check_001.png") as panel:
        assert panel.size[0] > 3 * 32


def test_a_run_at_half_size_and_with_an_average(large_data: Path, tmp_path: Path) -> None:
    recipe = patch_recipe(128, small_share=0.5, ema=0.9, panels=0)
    with pytest.raises(RecipeError, match="at most 112"):
        fit.train(large_data, recipe, tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
    run = fit.train(large_data, patch_recipe(100, small_share=0.5, ema=0.9, panels=0), tmp_path / "run")
    assert 0.0 <= run.scores["val_iou"] <= 1.0


def segmenter_for(data: Path, recipe: Recipe) -> Segmenter:
    dataset = find_dataset(data)
    splits = Splits(dataset.splits["train"], dataset.splits["val"])
    recipe = with_size(recipe, splits.train)
    pairs = Pairs(splits, dataset.classes, recipe, "cpu")
    torch.manual_seed(0)
    network = build(recipe.model, dataset.classes.channels)
    segmenter = Segmenter(network, dataset.classes, recipe, Pace("fp32", False, ""), Plan(recipe, 3), pairs)
    return segmenter.eval()


def test_a_check_counts_what_the_predictor_answers(large_data: Path) -> None:
    segmenter = segmenter_for(large_data, patch_recipe())
    twin = Checkpoint(
        recipe=segmenter.recipe, classes=segmenter.classes, weights=segmenter.network.state_dict(), scores={}
    )
    predictor = Predictor(PyTorchEngine(twin, device="cpu"))
    counts = np.zeros((3, 3), np.int64)
    with torch.no_grad():
        for number, batch in enumerate(segmenter.pairs.val_dataloader()):
            segmenter.validation_step(batch, number)
    for sample in segmenter.pairs.val_pictures.samples:
        image, truth = read_pair(sample, segmenter.classes)
        counts += confusion(truth, predictor.predict(image).class_map, 3)
    assert np.array_equal(segmenter._counts, counts)
    assert counts.sum() == 3 * 80 * 112 + 24 * 100


@pytest.mark.parametrize("classes", [2, 3])
def test_the_loss_of_a_picture_of_one_tile_is_the_loss(classes: int, tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", classes=classes, notation="index", size_hw=(32, 32))
    segmenter = segmenter_for(data, patch_recipe())
    batch = next(iter(segmenter.pairs.val_dataloader()))
    with torch.no_grad():
        segmenter.validation_step(batch, 0)
        expected = segmenter.loss(segmenter.network(batch.images.float() / 255), batch.class_maps)
    assert segmenter._losses == [pytest.approx(float(expected), abs=1e-5)]


def test_a_picture_without_labels_has_no_loss(large_data: Path) -> None:
    segmenter = segmenter_for(large_data, patch_recipe())
    images, truth = torch.zeros((1, 3, 50, 70), dtype=torch.uint8), torch.full((1, 50, 70), IGNORED, dtype=torch.uint8)
    with torch.no_grad():
        segmenter.validation_step(Batch(images, truth, ("a",)), 0)
    assert segmenter._losses == [0.0]
    assert segmenter._counts.sum() == 0


def test_the_size_follows_the_patch(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", splits={"train": 3}, layout="pictures", size_hw=(40, 90))
    samples = tuple(Sample(p.stem, p) for p in sorted(data.glob("*.png")))
    assert with_size(patch_recipe(33), samples).data.size_hw == (33, 33)
    assert with_size(patch_recipe(90), samples).data.size_hw == (90, 90)  # wide enough, if not high enough
    with pytest.raises(RecipeError, match=r"larger than every training picture \(the largest is 90x40\).*at most 90"):
        with_size(patch_recipe(91), samples)
    # Also where a saved recipe brings its size with it.
    with pytest.raises(RecipeError, match="larger than every training picture"):
        with_size(patch_recipe(128, width=128, height=128), samples)
    with pytest.raises(DataError, match="segwright check"):
        with_size(patch_recipe(), ())


def test_the_command_line_from_patches_to_predictions(large_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="the extra segwright[onnx] is not installed")
    run = tmp_path / "run"
    succeeded(
        *("train", large_data, "--patch-size", "48", "--model", NAME, "--epochs", "1", "--precision", "fp32"),
        *("--panels", "0", "--out", run),
    )
    said = succeeded("export", run)
    assert "agrees with pytorch on" in said
    assert refused("export", run, "--any-size").startswith("tiny was trained on patches of 48 pixels")
    assert not (run / "model_any_size.onnx").exists()
    file = load(run / "model.onnx")
    assert file.tiled
    assert file.engine.facts.size_hw == (48, 48)
    image = draw_pair(5, classes=3, size_hw=(131, 90)).image
    one, other = load(run).predict(image), file.predict(image)
    assert one.probabilities is not None
    assert other.probabilities is not None
    assert one.class_map.shape == (131, 90)
    np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-4)
    succeeded("predict", run / "model.onnx", large_data / "test" / "images", "--out", tmp_path / "predictions")
    with Image.open(next((tmp_path / "predictions" / "masks").glob("*.png"))) as mask:
        assert mask.size == (112, 80)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--patch-size", "16"), "--patch-size must be 32 to 8192 pixels, or 0, not 16."),
        (("--patch-size", "-5"), "--patch-size must be 32"),
        (("--patch-size", "9000"), "--patch-size must be 32"),
        (("--patch-size", "64", "--width", "128", "--height", "96"), "leave out --width and --height"),
        (("--patch-size", "64", "--recipe", "card"), "set both to 0 where the recipe has them"),
        (("--patch-size", "64", "--fit", "stretch"), "use one of the two"),
        (("--patch-size", "512"), "larger than every training picture (the largest is 112x80)"),
    ],
)
def test_impossible_patches_are_refused(flags: tuple[str, ...], said: str, large_data: Path, tmp_path: Path) -> None:
    assert said in refused("train", large_data, *flags, "--out", tmp_path / "run")
    assert everything_below(tmp_path) == set()


def test_a_model_of_whole_pictures_can_be_asked_for_tiles(large_data: Path, tmp_path: Path) -> None:
    recipe = Recipe(data=DataRecipe(width=64, height=48), model=ModelRecipe(model=NAME)).with_settings(
        epochs=1, precision="fp32", panels=0
    )
    run = fit.train(large_data, recipe, tmp_path / "run").folder
    image = draw_pair(5, classes=3, size_hw=(100, 130)).image
    placed, tiled = load(run).predict(image), load(run, tile=True).predict(image)
    assert not np.array_equal(placed.confidence, tiled.confidence)
    assert placed.class_map.shape == tiled.class_map.shape
    for command in (("predict", run, large_data / "test" / "images"), ("evaluate", run, large_data)):
        succeeded(*command, "--tile", "--out", tmp_path / str(command[0]))
    with pytest.raises(ModelError, match="--any-size"):
        segwright.export_model(
            fit.train(large_data, patch_recipe(epochs=1), tmp_path / "patches").folder, data=large_data, any_size=True
        )
