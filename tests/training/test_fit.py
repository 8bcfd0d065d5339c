from __future__ import annotations

import csv
import io
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from segwright import checkpoint
from segwright.data.loaders import Batch
from segwright.errors import DataError, OutputError, RecipeError, UserError
from segwright.recipe import Recipe, read_yaml
from segwright.training import fit
from segwright.training.machines import chosen_device
from segwright.training.prepare import with_size
from segwright.training.segmenter import Segmenter
from tests.command import succeeded
from tests.tiny import make_dataset
from tests.training.conftest import tiny_recipe
from tests.training.tiny_network import NAME


def same_weights(one: Path, other: Path) -> bool:
    first, second = checkpoint.load(one).weights, checkpoint.load(other).weights
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_black_and_white_masks_are_learnt(binary_data: Path, tmp_path: Path) -> None:
    run = fit.train(binary_data, tiny_recipe(epochs=16, panels=0), tmp_path / "run")
    assert run.scores["val_iou"] > 0.5
    assert run.steps == 16 * 3
    assert run.images_per_second > 0


def test_a_network_whose_statistics_lag_is_learnt_too(binary_data: Path, tmp_path: Path) -> None:
    run = fit.train(binary_data, tiny_recipe("forgetful", epochs=16, panels=0), tmp_path / "run")
    assert run.scores["val_iou"] > 0.5


def test_three_classes_in_colour_are_learnt(colour_data: Path, tmp_path: Path) -> None:
    run = fit.train(colour_data, tiny_recipe(epochs=20, panels=0), tmp_path / "run")
    assert run.scores["val_iou"] > 0.5
    assert len(checkpoint.load(run.folder).classes) == 3


def test_what_a_run_leaves(binary_data: Path, tmp_path: Path) -> None:
    seen = io.StringIO()
    console = Console(file=seen, width=120)
    run = fit.train(binary_data, tiny_recipe(epochs=4, ema=0.9), tmp_path / "run", console=console)
    names = {
        path.relative_to(run.folder).as_posix() for path in run.folder.rglob("*") if "tensorboard" not in str(path)
    }
    assert names == {
        "best.json",
        "best.safetensors",
        "data.json",
        "last.json",
        "last.safetensors",
        "log.csv",
        "panels",
        *(f"panels/check_{n:03d}.png" for n in (1, 2, 3, 4)),
        "panels/film_strip.gif",
        "panels/film_strip.png",
        "recipe.yaml",
        "splits.json",
    }
    with (run.folder / "log.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["step"] for row in rows] == ["3", "6", "9", "12"]
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert list(rows[0]) == [
        *("epoch", "step", "seconds", "lr", "images_per_second", "train_loss", "train_iou", "train_dice"),
        *("val_loss", "val_iou", "val_dice", "val_pixel_accuracy", "val_iou_background", "val_iou_disc"),
    ]
    assert all(row["val_iou"] == row["val_iou_disc"] for row in rows)
    assert all(float(row["images_per_second"]) > 0 and 0 <= float(row["train_iou"]) <= 1 for row in rows)
    assert set(run.scores) == {"val_loss", "val_iou", "val_dice", "val_pixel_accuracy"}
    scores = [float(row["val_iou"]) for row in rows]
    best, last = checkpoint.load(run.folder / "best.safetensors"), checkpoint.load(run.folder / "last.safetensors")
    assert best.scores["val_iou"] == pytest.approx(max(scores), abs=1e-5)
    assert best.step == 3 * (1 + int(np.argmax(scores)))
    assert (last.step, last.epoch) == (12, 4)
    assert run.scores["val_iou"] == pytest.approx(max(scores))
    assert read_yaml(run.folder / "recipe.yaml") == best.recipe
    assert str(tmp_path) not in (run.folder / "best.json").read_text()
    with Image.open(run.folder / "panels" / "check_001.png") as panel:
        assert panel.size[0] > 3 * 64
    assert "12 pictures to learn from, 4 to check with" in seen.getvalue()


def test_the_kept_weights_score_what_they_say(binary_data: Path, tmp_path: Path) -> None:
    import segwright

    run = fit.train(binary_data, tiny_recipe(epochs=12), tmp_path / "run")
    report = segwright.evaluate(run.folder, binary_data, split="val")
    disc = next(score for score in report.classes if score.name == "disc")
    assert disc.iou.value == pytest.approx(run.scores["val_iou"], abs=1e-4)


def test_the_same_seed_gives_the_same_bits(binary_data: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(epochs=3, augment="strong")
    for name in ("one", "two"):
        torch.rand(7)  # what came before must not matter
        np.random.default_rng().random()
        fit.train(binary_data, recipe, tmp_path / name)
    assert same_weights(tmp_path / "one" / "last.safetensors", tmp_path / "two" / "last.safetensors")
    fit.train(binary_data, recipe.with_settings(seed=1), tmp_path / "three")
    assert not same_weights(tmp_path / "one" / "last.safetensors", tmp_path / "three" / "last.safetensors")


def batches_of(data: Path, recipe: Recipe, out: Path, monkeypatch: pytest.MonkeyPatch) -> list[Batch]:
    seen: list[Batch] = []
    step = Segmenter.training_step

    def watched(self: Segmenter, batch: Batch, batch_index: int) -> torch.Tensor:
        seen.append(Batch(batch.images.clone(), batch.class_maps.clone(), batch.keys))
        return step(self, batch, batch_index)

    with monkeypatch.context() as patch:
        patch.setattr(Segmenter, "training_step", watched)
        fit.train(data, recipe, out)
    return seen


def test_every_pass_is_new_and_loading_processes_change_nothing(
    binary_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_recipe(epochs=4, size_hw=(128, 128), small_share=0.5, batch_size=5, augment="strong")
    alone = batches_of(binary_data, recipe.with_settings(workers=0), tmp_path / "alone", monkeypatch)
    helped = batches_of(binary_data, recipe.with_settings(workers=2), tmp_path / "helped", monkeypatch)
    assert len(alone) == len(helped) == 4 * 3
    for one, other in zip(alone, helped, strict=True):
        assert one.keys == other.keys
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.class_maps, other.class_maps)
    assert [tuple(b.images.shape) for b in alone] == [(5, 3, 64, 64)] * 6 + [(5, 3, 128, 128)] * 6
    passes = [alone[start : start + 3] for start in range(0, 12, 3)]
    orders = [tuple(key for batch in one_pass for key in batch.keys) for one_pass in passes]
    assert {len(set(order)) for order in orders} == {12}
    assert len(set(orders)) == 4
    assert same_weights(tmp_path / "alone" / "last.safetensors", tmp_path / "helped" / "last.safetensors")


def test_a_loss_that_is_no_number_stops_the_run(
    binary_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([1.0, 1.0, 1.0, 1.0, float("nan")])

    def build(*_: object, **__: object) -> object:
        return lambda logits, truth: logits.mean() * 0 + (next(losses) if logits.requires_grad else 1.0)

    monkeypatch.setattr("segwright.training.segmenter.loss_of", build)
    with pytest.raises(UserError, match=r"nan at step 4 .*--lr than 0\.02") as caught:
        fit.train(binary_data, tiny_recipe(epochs=10), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert checkpoint.load(tmp_path / "run" / "best.safetensors").step == 3


def test_patience(binary_data: Path, tmp_path: Path) -> None:
    run = fit.train(binary_data, tiny_recipe(epochs=60, lr=1e-12, patience=2, panels=0), tmp_path / "run")
    with (run.folder / "log.csv").open(newline="") as stream:
        scores = [float(row["val_iou"]) for row in csv.DictReader(stream)]
    assert len(scores) < 60
    assert max(scores[:-2]) >= max(scores[-2:])
    assert not (run.folder / "panels").exists()


def test_minutes_end_on_time_with_a_check_of_the_last_weights(binary_data: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    run = fit.train(binary_data, tiny_recipe(minutes=0.05, patience=0), tmp_path / "run")
    assert 3.0 <= time.monotonic() - started < 20.0
    assert checkpoint.load(run.folder / "last.safetensors").step == run.steps


def test_fewer_pictures_than_a_batch(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", splits={"train": 3, "val": 1}, size_hw=(64, 64))
    assert fit.train(data, tiny_recipe(batch_size=16), tmp_path / "run").steps == 2


def test_one_picture_is_refused_or_learnt_without_a_crash(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", layout="flat", splits={"all": 1}, size_hw=(64, 64))
    with pytest.raises(DataError):
        fit.train(data, tiny_recipe(), tmp_path / "run")


def test_the_automatic_size() -> None:
    class Sizes(dict[str, tuple[int, int]]):
        pass

    recipe = Recipe()
    assert recipe.data.size_hw == (0, 0)
    with pytest.raises(DataError, match="segwright check"):
        with_size(recipe, ())


@pytest.mark.parametrize(
    ("size_hw", "expected"),
    [
        ((64, 96), (64, 96)),
        ((70, 100), (64, 96)),
        ((20, 20), (32, 32)),
        ((1280, 960), (640, 480)),
        ((16, 3000), (32, 3008)),
    ],
)
def test_the_automatic_size_follows_the_pictures(
    size_hw: tuple[int, int], expected: tuple[int, int], tmp_path: Path
) -> None:
    data = make_dataset(tmp_path / "data", splits={"train": 3}, layout="pictures", size_hw=size_hw)
    from segwright.data.sample import Sample

    samples = tuple(Sample(p.stem, p) for p in sorted(data.glob("*.png")))
    assert with_size(Recipe(), samples).data.size_hw == expected
    assert with_size(tiny_recipe(), samples) == tiny_recipe()


def test_the_advice_at_the_end_can_be_followed(tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data", splits={"train": 6, "val": 2}, size_hw=(64, 64))
    said = succeeded(
        *("train", data, "--out", tmp_path / "run", "--model", NAME, "--epochs", "1", "--precision", "fp32"),
        *("--batch-size", "4", "--panels", "0"),
    )
    advice = said.rpartition("Next: segwright ")[2].split()
    assert advice[-2:] == ["--split", "val"]
    succeeded(*advice)


def test_a_taken_folder_and_a_missing_gpu(binary_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("x")
    with pytest.raises(OutputError, match="not empty"):
        fit.train(binary_data, tiny_recipe(), tmp_path / "run")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RecipeError, match="--device cpu"):
        fit.train(binary_data, tiny_recipe(device="cuda"), tmp_path / "other")
    assert chosen_device(tiny_recipe()) == "cpu"
