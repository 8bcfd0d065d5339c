"""TensorRT for RTX, which builds engines without a GPU, where it is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from segwright.export.tensorrt import BuildSettings, build_engine

INSTALLED = importlib.util.find_spec("tensorrt_rtx") is not None
MISSING = "TensorRT for RTX (proprietary licence) is not installed; for these tests: make test EXTRAS=onnx,openvino,dev,tensorrt-rtx"


def builds_an_engine(path: Path, size_hw: tuple[int, int], *, any_size: bool = False) -> None:
    """Build the engine of an ONNX file that a test has exported anyway; nothing happens where the library is absent."""
    if not INSTALLED:
        return
    height, width = size_hw
    shapes = f"1x32x32x3..1x{height}x{width}x3..2x{2 * height}x{2 * width}x3" if any_size else ""
    settings = BuildSettings(library="tensorrt_rtx", targets=("sm86",), shapes=shapes)
    out = path.with_suffix(".engine")
    note = build_engine(path, out, settings, progress=False)
    assert note.library == "tensorrt_rtx"
    assert out.stat().st_size > 0.5 * path.stat().st_size, "an engine holds the weights"
    out.unlink()  # fifty megabytes each
