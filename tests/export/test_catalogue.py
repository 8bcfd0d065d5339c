"""Every network of the catalogue as FP16 and FP32 file: both answer as PyTorch does, and TensorRT for RTX builds an engine of both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from segwright.checkpoint import Checkpoint
from segwright.export.deployable import deployed_facts
from segwright.export.half import float32_twin
from segwright.export.onnx import TOLERANCES, export_onnx, prove
from segwright.models.catalogue import BUILDERS, SETTINGS
from tests.export.rtx import builds_an_engine

onnx = pytest.importorskip("onnx", reason="the extra segwright[onnx] is not installed")
ENCODERS = {"DPT": "tu-resnet18", "Segformer": "mit_b0"}
"""Others get the smallest residual network. Vision transformers, which take ten times as long, are in benchmarks/catalogue.py."""

SLOW = ("DPT", "Segformer", "lraspp_mobilenet_v3_large")
"""Some ten seconds each, or another like it among the rest."""


@pytest.mark.filterwarnings("ignore:Encoder does not have prefix tokens")
@pytest.mark.parametrize(
    "model", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in sorted(BUILDERS)]
)
def test_it_halves_agrees_and_builds(model: str, make_checkpoint: Callable[..., Checkpoint], tmp_path: Path) -> None:
    """One traced graph serves both: the FP32 file is the twin of the FP16 file."""
    owned = SETTINGS[BUILDERS[model]]
    encoder = ENCODERS.get(model, "resnet18") if "encoder" in owned else ""
    narrow = {"base_channels": 8} if "base_channels" in owned else {}
    size_hw = (64, 96)
    checkpoint = make_checkpoint(model, encoder, classes=3, size_hw=size_hw, **narrow)
    path = export_onnx(checkpoint, tmp_path / "half.onnx", precision="fp16")
    builds_an_engine(path, size_hw)
    whole = tmp_path / "whole.onnx"
    whole.write_bytes(float32_twin(onnx.load(path)).SerializeToString())
    assert prove(whole, checkpoint, deployed_facts(checkpoint, precision="fp16")) < TOLERANCES["fp16"][0]
    builds_an_engine(whole, size_hw)
