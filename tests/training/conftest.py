from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segwright.models import catalogue
from segwright.recipe import DataRecipe, ModelRecipe, Recipe
from tests.tiny import make_dataset
from tests.training.tiny_network import NAME, build_forgetful, build_tiny

MakeRecipe = Callable[..., Recipe]


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "BUILDERS", {**catalogue.BUILDERS, NAME: build_tiny, "forgetful": build_forgetful})


def tiny_recipe(model: str = NAME, size_hw: tuple[int, int] = (64, 64), augment: str = "light", **fit: Any) -> Recipe:
    settings = {"epochs": 2, "batch_size": 4, "precision": "fp32", "panels": 2, "lr": 2e-2, **fit}
    return Recipe(
        name="test",
        data=DataRecipe(height=size_hw[0], width=size_hw[1], augment=augment),
        model=ModelRecipe(model=model),
    ).with_settings(**settings)


@pytest.fixture(scope="session")
def binary_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Black-and-white masks, no class table: names are ours."""
    return make_dataset(
        tmp_path_factory.mktemp("training") / "binary",
        splits={"train": 12, "val": 4, "test": 2},
        size_hw=(64, 64),
    )


@pytest.fixture(scope="session")
def colour_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(
        tmp_path_factory.mktemp("training") / "colour",
        classes=3,
        notation="colour",
        splits={"train": 12, "val": 4, "test": 2},
        size_hw=(64, 64),
    )
