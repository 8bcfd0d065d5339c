from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from torch import nn

from segwright import checkpoint
from segwright.data.loaders import Batch
from segwright.errors import RecipeError
from segwright.models.catalogue import Network
from segwright.recipe import Optimiser, Recipe, read_yaml
from segwright.training import fit
from segwright.training.lr_curve import drawn
from segwright.training.lr_finder import FIRST, LAST, find, read
from segwright.training.optimisers import build_optimiser
from segwright.training.pace import Pace
from tests.command import refused
from tests.training.conftest import tiny_recipe
from tests.training.tiny_network import NAME, Tiny

PLAIN = Pace("fp32", False, "")
RATES = np.geomspace(1e-6, 10, 85)


def test_a_tenth_of_where_the_loss_is_lowest() -> None:
    """A smooth valley at 0.1, an explosion after it, and noise that the smoothing must see through."""
    noise = np.random.default_rng(0).normal(0, 0.03, len(RATES))
    losses = 1.0 + 0.2 * (np.log10(RATES) + 1) ** 2 / 5 + noise
    losses[-8:] = [3, 9, 80, 2e3, 1e5, 1e9, np.inf, np.nan]
    curve = read(RATES, losses)
    assert 0.05 < curve.best < 0.2
    assert curve.chosen == pytest.approx(curve.best / 10, rel=0.05)
    assert curve.chosen == float(f"{curve.chosen:.2g}")


@pytest.mark.parametrize("losses", [np.ones(85), np.geomspace(1, 50, 85), np.full(85, np.nan)])
def test_a_curve_that_never_falls_says_nothing(losses: np.ndarray) -> None:
    with pytest.raises(RecipeError, match=r"give a number, for example --lr 0\.002"):
        read(RATES, losses)


class Bowl(nn.Module):
    """One number for each pixel that knows nothing of its picture: the loss is a quadratic, with dropout drawing along."""

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.full((1, 1, 4, 4), 3.0))
        self.dropout = nn.Dropout(0.1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.level).expand(len(images), 1, 4, 4)


def quadratic(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    return logits.square().mean()


def empty_batches() -> Iterator[Batch]:
    while True:
        yield Batch(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2, 4, 4, dtype=torch.uint8), ("a", "b"))


@pytest.mark.parametrize("optimiser", ["adamw", "adam", "sgd"])
def test_on_a_quadratic_the_suggestion_is_sane_and_trains(optimiser: Optimiser) -> None:
    recipe = Recipe().with_settings(optimizer=optimiser, weight_decay=0.0)
    network = Bowl()
    curve = find(network, quadratic, empty_batches(), recipe, PLAIN, "cpu")
    assert FIRST < curve.chosen <= LAST / 10
    used = build_optimiser(network, recipe.fit, curve.chosen)
    before = float(quadratic(network.level, network.level).detach())
    for _ in range(300):
        used.zero_grad()
        quadratic(network(torch.zeros(1)), network.level).backward()  # type: ignore[no-untyped-call]
        used.step()
    assert float(quadratic(network.level, network.level).detach()) < 0.1 * before


def test_nothing_of_the_run_is_touched() -> None:
    torch.manual_seed(0)
    network = Network(nn.Sequential(Tiny(1), nn.Dropout(0.2)), 3).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    random = torch.get_rng_state()
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    batches = iter([Batch(images, (images[:, 0] > 128).byte(), ("a",) * 4)] * 100)
    curves = []
    for _ in range(2):
        from segwright.classes import Classes
        from segwright.training.losses import build_loss

        loss = build_loss("auto", Classes(names=("a", "b")))
        curves.append(find(network, loss, batches, Recipe(), PLAIN, "cpu"))
        batches = iter([Batch(images, (images[:, 0] > 128).byte(), ("a",) * 4)] * 100)
        torch.rand(3)
    assert curves[0] == curves[1]
    torch.set_rng_state(random)
    find(network, loss, batches, Recipe(), PLAIN, "cpu")
    assert torch.equal(torch.get_rng_state(), random)
    assert not network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_run_with_the_found_number_given_by_hand_is_the_same(binary_data: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"epochs": 2, "class_weights": "auto", "augment": "strong", "loss": "ce+lovasz"}
    seen = io.StringIO()
    found = fit.train(
        binary_data, tiny_recipe(lr="auto", **settings), tmp_path / "found", console=Console(file=seen, width=300)
    )
    recipe = read_yaml(found.folder / "recipe.yaml")
    assert isinstance(recipe.fit.lr, float)
    assert 1e-5 < recipe.fit.lr < 1.0
    assert f"--lr auto: {recipe.fit.lr:g}" in seen.getvalue()
    assert len(recipe.fit.class_weights.split(",")) == 2
    kept = checkpoint.load(found.folder / "last.safetensors")
    assert kept.recipe.fit == recipe.fit
    assert kept.provenance["found_by_the_run"] == ["lr", "class_weights"]
    with Image.open(found.folder / "lr_finder.png") as picture:
        assert picture.size == (960, 560)
    with (found.folder / "lr_finder.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert float(rows[0]["lr"]) == pytest.approx(FIRST)
    assert len(rows) > 40

    fit.train(binary_data, recipe, tmp_path / "given")
    other = checkpoint.load(tmp_path / "given" / "last.safetensors")
    assert all(torch.equal(kept.weights[name], other.weights[name]) for name in other.weights)
    assert other.provenance["found_by_the_run"] == []
    assert not (tmp_path / "given" / "lr_finder.png").exists()


def test_a_loss_that_falls_at_no_rate_is_refused_and_leaves_nothing(
    binary_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "segwright.training.lr_finder.loss_of", lambda *_, **__: lambda logits, truth: logits.mean() * 0 + 1
    )
    flags = ("--model", NAME, "--precision", "fp32", "--lr", "auto")
    said = refused("train", binary_data, "--out", tmp_path / "run", *flags)
    assert "the loss fell at no learning rate" in said
    assert not (tmp_path / "run").exists()


def test_the_picture_marks_best_and_chosen() -> None:
    losses = 1.0 + 0.2 * (np.log10(RATES) + 1) ** 2 / 5
    picture = drawn(RATES, losses, losses, 0.1, 0.01)
    assert picture.shape == (560, 960, 3)
    assert picture.dtype == np.uint8
    green = np.flatnonzero((picture[300] == (24, 140, 80)).all(axis=1))
    orange = np.flatnonzero((picture[300] == (200, 120, 20)).all(axis=1))
    decade = (960 - 84 - 32) / 7
    assert orange.mean() - green.mean() == pytest.approx(decade, abs=1.5)
    assert green.mean() == pytest.approx(84 + 4 * decade, abs=1.5)
