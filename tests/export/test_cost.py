"""What a network costs: counted exactly, timed in turns, in engines that are here."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from segwright.checkpoint import Checkpoint
from segwright.engines.contract import ModelFacts
from segwright.errors import UserError
from segwright.export import cost
from segwright.export.frontier import Point, drawn


class Turns:
    """Writes down who was asked when."""

    name = "turns"

    def __init__(self, who: str, asked: list[str], facts: ModelFacts) -> None:
        self.who, self.asked, self.facts = who, asked, facts

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        assert images.shape == (1, *self.facts.size_hw, 3)
        self.asked.append(self.who)
        return np.zeros((1, 1, *self.facts.size_hw), np.float32)


def test_rivals_take_turns(binary: Checkpoint) -> None:
    asked: list[str] = []
    facts = ModelFacts.of(binary)
    times = cost.race({who: Turns(who, asked, facts) for who in "ab"}, seconds=0.001)
    assert set(times) == {"a", "b"}
    assert asked[:6] == ["a", "b"] * 3
    assert len(asked) >= 2 * (cost.FEWEST + 1)


def test_parameters_and_multiplications_are_counted(binary: Checkpoint) -> None:
    parameters, macs = cost.parameters_and_macs(binary)
    assert parameters == sum(p.numel() for p in binary.network().parameters())
    # The first convolution alone: 16 kernels of 3x3x3 at half of 96x96, to which 72x88 is padded inside.
    assert macs > 16 * 27 * 40 * 44


def test_each_engine_serves_its_own_file(binary: Checkpoint, tmp_path: Path) -> None:
    here = cost.engines_here()
    assert here[-1] == "pytorch"
    assert cost.engine_for("auto") == here[0]
    with pytest.raises(UserError, match="abacus"):
        cost.engine_for("abacus")
    for name in {here[0], "pytorch"}:
        engine, size = cost.opened(binary, name, tmp_path / "place", threads=1)
        assert engine.name == name
        assert 0.9 * size < 4 * sum(tensor.numel() for tensor in binary.weights.values()) < 1.2 * size


def test_the_frontier_shows_every_network() -> None:
    dots = [
        Point("before", 40.0, 0.9, 0.88, 0.92, "before"),
        Point("2.0x", 20.0, 0.89, math.nan, math.nan, "chosen"),
        Point("4.0x", 10.0, 0.7, 0.65, 0.75, "refused"),
    ]
    picture = drawn(dots, engine="onnxruntime", score="mIoU", least=0.89)
    assert picture.shape == (560, 960, 3)
    for kind in ("before", "chosen", "refused"):
        colour = np.array(__import__("segwright.export.frontier", fromlist=["COLOURS"]).COLOURS[kind])
        assert (np.abs(picture.astype(int) - colour).max(axis=2) < 12).sum() > 20, kind
    alone = drawn(dots[:1], engine="pytorch", score="mIoU", least=0.89)
    assert not np.array_equal(alone, picture)
