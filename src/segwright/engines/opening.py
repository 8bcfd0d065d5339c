"""From a path to the engine that runs what lies there."""

from __future__ import annotations

from pathlib import Path

from segwright.engines.contract import Engine
from segwright.engines.onnx import OnnxEngine
from segwright.engines.pytorch import PyTorchEngine


def open_engine(path: Path, *, device: str = "auto", threads: int | None = None) -> Engine:
    """The engine a path asks for.

    Args:
        path: a run folder or .safetensors checkpoint (PyTorch), or an .onnx file (ONNX Runtime).
        device: "auto", "cpu" or "cuda".
        threads: CPU threads; None lets the engine choose.

    Raises:
        ModelError: nothing usable there.
        MissingExtraError: the engine's library is not installed.
        UserError: the device is not there.
    """
    if path.suffix.lower() == ".onnx" and not path.is_dir():
        return OnnxEngine(path, device=device, threads=threads)
    from segwright import checkpoint

    return PyTorchEngine(checkpoint.load(path), device=device, threads=threads)
