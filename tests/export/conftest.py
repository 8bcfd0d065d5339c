"""Small random-weight checkpoints whose answers are not all alike, and two exported files that many tests read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from segwright.checkpoint import Checkpoint
from segwright.classes import Classes
from segwright.export.deployable import made_up_pictures
from segwright.export.onnx import export_onnx
from segwright.models.catalogue import build
from segwright.recipe import DataRecipe, Fit, ModelRecipe, Recipe

MakeCheckpoint = Callable[..., Checkpoint]


def small_checkpoint(
    model: str = "lraspp_mobilenet_v3_small",
    encoder: str = "",
    *,
    classes: int = 2,
    size_hw: tuple[int, int] = (64, 96),
    fit: Fit = "pad",
    threshold: float = 0.5,
    **settings: Any,
) -> Checkpoint:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    names = Classes(names=("background", "card", "hand", "table")[:classes])
    recipe = Recipe(
        data=DataRecipe(height=size_hw[0], width=size_hw[1], fit=fit),
        model=ModelRecipe(model=model, encoder=encoder, **settings),
    )
    network = build(recipe.model, names.channels)
    # Random networks answer almost the same everywhere. Statistics of pictures and a centred, stretched head make every
    # class occur and few pixels lie near a boundary.
    images = torch.from_numpy(made_up_pictures(4, size_hw, seed=5)).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        network.train()
        for _ in range(20):
            network(images)
        logits = network.eval()(images)
        heads = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d) and m.out_channels == names.channels]
        scale = 4.0 / float(logits.std())
        for number, head in enumerate(heads):
            head.weight *= scale
            if head.bias is not None:
                head.bias *= scale
                if number == len(heads) - 1:
                    head.bias -= scale * logits.mean(dim=(0, 2, 3))
    return Checkpoint(
        recipe=recipe,
        classes=names,
        weights=network.state_dict(),
        threshold=threshold,
        scores={"miou": 0.25},
        provenance={"data": "made up", "licences": ["cards: Apache-2.0"]},
    )


@pytest.fixture(scope="session")
def make_checkpoint() -> MakeCheckpoint:
    return small_checkpoint


@pytest.fixture(scope="session")
def binary() -> Checkpoint:
    """Two classes, sides that are no multiples of 32, an uneven threshold."""
    return small_checkpoint(size_hw=(72, 88), threshold=0.7)


@pytest.fixture(scope="session")
def tiny() -> Checkpoint:
    """The network that is exported fastest, for tests that export several times."""
    return small_checkpoint("UnetClassic", size_hw=(48, 64), threshold=0.7, base_channels=4, padding=1)


@pytest.fixture(scope="session")
def binary_file(binary: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fixed size."""
    return export_onnx(binary, tmp_path_factory.mktemp("fixed") / "binary.onnx")


@pytest.fixture(scope="session")
def three() -> Checkpoint:
    return small_checkpoint(classes=3)


@pytest.fixture(scope="session")
def three_file(three: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Any size."""
    return export_onnx(three, tmp_path_factory.mktemp("any") / "three.onnx", any_size=True)
