"""What a network costs where it runs: parameters, multiplications, the size of its file, and milliseconds on the clock.

Time is measured, never counted: half the multiplications may be anything from half the time to all of it. Rivals take turns,
picture by picture, so that a busy moment of the machine hits all of them.
"""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.utils.flop_counter import FlopCounterMode

from segwright.checkpoint import Checkpoint
from segwright.engines.contract import Engine
from segwright.engines.opening import open_engine
from segwright.engines.pytorch import PyTorchEngine
from segwright.errors import UserError
from segwright.export.deployable import made_up_pictures
from segwright.export.onnx import export_onnx

SECONDS = 3.0
"""How long a race goes on, at most and about."""
FEWEST, MOST = 9, 200
"""Rounds of a race."""

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one picture through one network."""

    parameters: int
    macs: int
    """Multiplications with an addition, of one picture of the network's size."""
    bytes: int
    """Of the file that is served: the exported one, or the checkpoint where PyTorch serves it."""
    milliseconds: dict[str, float] = field(default_factory=dict)
    """Median by engine."""


def engines_here() -> tuple[str, ...]:
    """Names of the engines that can run a network here; the first is what serves exported files unless told otherwise."""

    def there(*libraries: str) -> bool:
        return all(importlib.util.find_spec(library) for library in libraries)

    if not there("onnx", "onnxscript", "onnxslim", "onnxruntime"):
        return ("pytorch",)
    return ("onnxruntime", "openvino", "pytorch") if there("openvino") else ("onnxruntime", "pytorch")


def engine_for(asked: str) -> str:
    """The engine a user means.

    Args:
        asked: its name, or "auto".

    Raises:
        UserError: it is not here.
    """
    here = engines_here()
    if asked == "auto":
        return here[0]
    if asked not in here:
        raise UserError(
            f"There is no engine {asked!r} here; choose {' or '.join(here)}, or install more: pip install 'segwright[onnx,openvino]'"
        )
    return asked


def opened(checkpoint: Checkpoint, name: str, folder: Path, *, threads: int | None = None) -> tuple[Engine, int]:
    """A checkpoint in the engine that is to serve it, and the bytes of the file it is served from.

    Args:
        checkpoint: with its weights; they need not be trained.
        name: from `engines_here`.
        folder: for the exported file; one for each checkpoint, in which the file is made once.
        threads: CPU threads; None lets the engine choose.

    Raises:
        ModelError: the network cannot be exported.
    """
    if name == "pytorch":
        size = sum(tensor.numel() * tensor.element_size() for tensor in checkpoint.weights.values())
        return PyTorchEngine(checkpoint, device="cpu", threads=threads), size
    file = folder / "model.onnx"
    if not file.is_file():
        export_onnx(checkpoint, file)
    return open_engine(file, engine=name, device="cpu", threads=threads), file.stat().st_size


def race(rivals: Mapping[Name, Engine], *, seconds: float = SECONDS) -> dict[Name, float]:
    """Milliseconds that each needs for one picture of its size: medians over rounds in which all take turns.

    Args:
        rivals: engines by any name.
        seconds: about how long to go on.
    """
    pictures = {name: made_up_pictures(1, engine.facts.size_hw) for name, engine in rivals.items()}
    began = time.perf_counter()
    for name, engine in rivals.items():
        engine.probabilities(pictures[name])  # memory is planned and kernels are chosen on first use
    one = time.perf_counter() - began
    taken: dict[Name, list[float]] = {name: [] for name in rivals}
    for _ in range(min(max(round(seconds / max(one, 1e-6)), FEWEST), MOST)):
        for name, engine in rivals.items():
            began = time.perf_counter()
            engine.probabilities(pictures[name])
            taken[name].append(1000.0 * (time.perf_counter() - began))
    return {name: statistics.median(times) for name, times in taken.items()}


def parameters_and_macs(checkpoint: Checkpoint) -> tuple[int, int]:
    """How large a network is, whatever runs it.

    Args:
        checkpoint: its recipe has a size.
    """
    network = checkpoint.network().to("meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.empty(1, 3, *checkpoint.recipe.data.size_hw, device="meta"))
    return sum(p.numel() for p in network.parameters()), counter.get_total_flops() // 2


def cost_of(checkpoint: Checkpoint, size: int, milliseconds: Mapping[str, float]) -> Cost:
    """All of it together.

    Args:
        checkpoint: of the network.
        size: of its file, bytes.
        milliseconds: by engine.
    """
    parameters, macs = parameters_and_macs(checkpoint)
    return Cost(parameters=parameters, macs=macs, bytes=size, milliseconds=dict(milliseconds))


def plain(cost: Cost) -> dict[str, Any]:
    """As JSON values."""
    return {
        "parameters": cost.parameters,
        "macs": cost.macs,
        "bytes": cost.bytes,
        "milliseconds": {name: round(value, 3) for name, value in cost.milliseconds.items()},
    }
