"""Pruning, one contract over several networks: smaller, rebuilt exactly, exported equal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from segwright import checkpoint
from segwright.checkpoint import Checkpoint
from segwright.errors import MissingExtraError, ModelError, RecipeError
from segwright.export.onnx import export_onnx
from segwright.export.prune import pruned, prunes, width_kept
from segwright.models import catalogue
from segwright.models.catalogue import build
from segwright.recipe import ModelRecipe
from tests.export.conftest import MakeCheckpoint

MODELS = [
    ("lraspp_mobilenet_v3_small", "", {}),
    ("UnetClassic", "", {"base_channels": 16}),
    ("UnetAttention", "", {"base_channels": 16}),
    ("Unet", "resnet18", {}),
]


@pytest.mark.parametrize(("model", "encoder", "settings"), MODELS, ids=[model for model, _, _ in MODELS])
def test_a_pruned_network_is_a_checkpoint_like_any_other(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, model: str, encoder: str, settings: dict[str, int]
) -> None:
    whole: Checkpoint = make_checkpoint(model, encoder, classes=3, **settings)
    network = whole.network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    found = pruned(network, whole.recipe.model, 3, 0.5)
    assert found.kept_whole == ""
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())  # left as it was
    sizes = [sum(p.numel() for p in n.parameters()) for n in (found.network, network)]
    assert sizes[0] < 0.32 * sizes[1]

    kept = Checkpoint(
        recipe=whole.recipe, classes=whole.classes, weights=found.network.state_dict(), widths=found.network.widths
    )
    again = checkpoint.load(kept.save(tmp_path / "pruned.safetensors"))
    assert again.widths == found.network.widths
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(again.network()(images), found.network(images))
    if model != "UnetAttention":  # its graph is the classic one's with gates; one of the two is enough to export
        export_onnx(again, tmp_path / "pruned.onnx")  # refuses what answers otherwise than PyTorch


def test_a_pruned_network_can_be_pruned_again() -> None:
    recipe = ModelRecipe(model="lraspp_mobilenet_v3_small")
    once = pruned(build(recipe, 1), recipe, 1, 0.7).network
    twice = pruned(once, recipe, 1, 0.7).network
    sizes = [sum(p.numel() for p in n.parameters()) for n in (once, twice)]
    assert sizes[1] < 0.7 * sizes[0]
    with torch.no_grad():
        assert twice(torch.rand(1, 3, 48, 48)).shape == (1, 1, 48, 48)


def test_channels_without_weight_go_first() -> None:
    recipe = ModelRecipe(model="UnetClassic", base_channels=16, no_batch_norm=True)
    network = build(recipe, 3)
    first = network.body.down[0][0]  # type: ignore[index]
    second = network.body.down[0][2]  # type: ignore[index]
    assert isinstance(first, nn.Conv2d)
    assert isinstance(second, nn.Conv2d)
    with torch.no_grad():
        first.weight[::2] = 0.0
        first.bias[::2] = 0.0  # type: ignore[index]
        second.weight[:, ::2] = 0.0
    left: Any = pruned(network, recipe, 3, 0.5).network.body.down[0][0]  # type: ignore[index]
    assert torch.equal(left.weight, first.weight[1::2])


@pytest.mark.parametrize("importance", ["bn", "taylor"])
def test_what_counts_as_important_decides_what_stays(importance: str) -> None:
    recipe = ModelRecipe(model="UnetClassic", base_channels=16)
    torch.manual_seed(0)
    network = build(recipe, 3)
    gradients = {name: torch.rand_like(p) for name, p in network.named_parameters()}
    with torch.no_grad():
        for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.weight.copy_(torch.rand_like(norm.weight))
    ours = pruned(network, recipe, 3, 0.5, importance=importance, gradients=gradients).network  # type: ignore[arg-type]
    by_size = pruned(network, recipe, 3, 0.5).network
    assert ours.widths == by_size.widths
    mine, theirs = ours.state_dict(), by_size.state_dict()
    assert any(not torch.equal(mine[name], theirs[name]) for name in mine)


def test_as_many_classes_as_a_layer_has_channels() -> None:
    """Layers that happen to be as wide as there are classes are pruned all the same; those that answer are not."""
    recipe = ModelRecipe(model="UnetClassic", base_channels=16)
    found = pruned(build(recipe, 16), recipe, 16, 0.5).network
    assert found.widths["body.down.0.0"] == [8, 3, 1]
    assert found.widths["body.head"] == [16, 8, 1]


@pytest.mark.parametrize(
    ("width", "share", "kept"),
    [
        (16, 0.5, 8),
        (16, 0.1, 8),
        (24, 0.5, 16),
        (40, 0.5, 24),
        (64, 0.3, 16),
        (12, 0.9, 8),
        (8, 0.1, 8),
        (6, 0.5, 3),
        (1, 0.1, 1),
    ],
)
def test_widths_are_multiples_and_never_nothing(width: int, share: float, kept: int) -> None:
    assert width_kept(width, share) == kept


def test_a_transformer_keeps_its_encoder() -> None:
    answer = prunes(ModelRecipe(model="Segformer", encoder="mit_b0"))
    assert answer.startswith("but for the encoder (")


def test_an_architecture_that_would_take_hours_is_refused_at_once() -> None:
    assert prunes(ModelRecipe(model="MAnet", encoder="resnet18")).startswith(
        "no (MAnet cannot be pruned (its attention"
    )


def test_what_cannot_be_pruned_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stubborn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.taken = nn.Conv2d(3, 32, 3, padding=1)
            self.answer = nn.Conv2d(32, 5, 1)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            maps = self.taken(images)
            if maps.shape[1] != 32:
                raise ValueError("32 maps or nothing")
            answer: torch.Tensor = self.answer(maps)
            return answer

    monkeypatch.setattr(catalogue, "BUILDERS", {**catalogue.BUILDERS, "stubborn": lambda *_: Stubborn()})
    assert "32 maps or nothing" in prunes(ModelRecipe(model="stubborn"))
    recipe = ModelRecipe(model="stubborn")
    with pytest.raises(ModelError, match="choose another --model"):
        pruned(build(recipe, 5), recipe, 5, 0.5)


def test_a_share_that_is_none() -> None:
    recipe = ModelRecipe(model="UnetClassic", base_channels=8)
    with pytest.raises(RecipeError, match="above 0 and at most 1"):
        pruned(build(recipe, 1), recipe, 1, 0.0)


def test_without_torch_pruning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(MissingExtraError, match=r"segwright\[prune\]"):
        prunes(ModelRecipe(model="UnetClassic", base_channels=8))
