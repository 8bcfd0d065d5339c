from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segwright import checkpoint
from segwright.classes import IGNORED, Classes
from segwright.data.augment import LEVELS, read_variation
from segwright.data.loaders import Batch
from segwright.training import contact_sheet, fit
from tests.command import everything_below, refused, succeeded
from tests.training.conftest import tiny_recipe

THREE = Classes(names=("nothing", "red", "green"), colours=((0, 0, 0), (255, 0, 0), (0, 255, 0)))
SMALL = ("--width", "64", "--height", "64", "--batch-size", "4")


def batch_of(count: int = 2, blended: bool = False) -> Batch:
    images = torch.full((count, 3, 64, 64), 90, dtype=torch.uint8)
    class_maps = torch.zeros(count, 64, 64, dtype=torch.uint8)
    class_maps[:, :20], class_maps[:, 40:] = 1, IGNORED
    others = torch.full_like(class_maps, 2) if blended else None
    return Batch(images, class_maps, tuple("ab"[:count]), others, 0.75 if blended else 1.0)


def test_a_mask_is_tinted_and_what_is_ignored_is_hatched() -> None:
    batch = batch_of()
    image, class_map = np.full((64, 64, 3), 90, np.uint8), batch.class_maps[0].numpy()
    shown = contact_sheet.masked(image, class_map, THREE)
    assert (shown[5, :, 0] > 120).all()
    assert (shown[30] == 90).all()
    stripes = (shown[45:, :] == contact_sheet.HATCH).all(axis=2)
    assert 0.1 < stripes.mean() < 0.4
    assert (shown[45:][~stripes] < 90).all()
    assert (image == 90).all()


def test_blended_samples_show_both_masks() -> None:
    plain = contact_sheet.contact_sheet([batch_of()], THREE, "words")
    both = contact_sheet.contact_sheet([batch_of(), batch_of(blended=True)], THREE, "words")
    green = (both[..., 1] > both[..., 0].astype(int) + 60).sum()
    # The legend has a green swatch as well.
    assert green > 2 * 60 * 60 > (plain[..., 1] > plain[..., 0].astype(int) + 60).sum()
    assert both.dtype == np.uint8


def test_only_so_many_are_drawn() -> None:
    many = Batch(
        torch.zeros(90, 3, 32, 32, dtype=torch.uint8),
        torch.zeros(90, 32, 32, dtype=torch.uint8),
        tuple(str(n) for n in range(90)),
    )
    sheet = contact_sheet.contact_sheet([many, many], THREE, "words")
    assert sheet.shape[0] * sheet.shape[1] < 40 * (32 + 60) * (64 + 30)


def test_the_command_draws_and_trains_nothing(
    binary_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = succeeded("train", binary_data, *SMALL, "--show-batch", "--mosaic", "0.5", "--mixup", "1")
    assert "show-batch.png" in words
    with Image.open("show-batch.png") as sheet:
        assert sheet.width > 4 * 64
    succeeded("train", binary_data, *SMALL, "--show-batch", "--out", "runs/a")
    assert everything_below(tmp_path) == {"show-batch.png", "runs", "runs/a-batch.png"}


def test_the_same_seed_draws_the_same_sheet(binary_data: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(augment="strong").with_settings(mosaic=0.5, cutmix=0.5, mixup=0.5)
    one = contact_sheet.show_batch(binary_data, recipe, tmp_path / "one.png").read_bytes()
    assert contact_sheet.show_batch(binary_data, recipe, tmp_path / "two.png").read_bytes() == one
    other = recipe.with_settings(seed=1)
    assert contact_sheet.show_batch(binary_data, other, tmp_path / "three.png").read_bytes() != one


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("--augment", "mine.yaml"), "mine.yaml cannot be read"),
        (("--augment", "stronk"), "did you mean strong?"),
        (("--mosaic", "1.5"), "--mosaic is a chance between 0 and 1"),
        (("--cutmix", "-0.1"), "--cutmix is a chance"),
        (("--mixup", "nan"), "--mixup is a number"),
    ],
)
@pytest.mark.parametrize("show", [True, False])
def test_what_is_refused(
    settings: tuple[str, str],
    words: str,
    show: bool,
    binary_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ("train", binary_data, *SMALL, *settings, *(["--show-batch"] if show else ["--out", "run"]))
    assert words in refused(*arguments)
    assert not everything_below(tmp_path)


def test_no_data_no_sheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused("train", tmp_path / "nowhere", "--show-batch")
    assert not everything_below(tmp_path)


def test_a_level_can_be_printed_edited_and_used(binary_data: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(succeeded("augmentation", "strong"))
    assert read_variation(file) == LEVELS["strong"]
    assert "# Chance to mirror left and right." in file.read_text()
    file.write_text("base: light\nhue: 30\n")
    assert "hue: 30" in succeeded("augmentation", file)
    assert "did you mean" in refused("augmentation", "mediun")
    assert "mine.yml" in refused("augmentation", tmp_path / "mine.yml")

    recipe = tiny_recipe(epochs=1, augment=str(file), panels=0).with_settings(mosaic=0.5, cutmix=0.5, mixup=1.0)
    run = fit.train(binary_data, recipe, tmp_path / "run")
    assert read_variation(run.folder / "augment.yaml") == read_variation(file)
    kept = checkpoint.load(run.folder / "best.safetensors").recipe
    assert kept.data.augment == "mine.yaml"
    for name in ("best.json", "last.json"):
        assert str(tmp_path) not in (run.folder / name).read_text()
