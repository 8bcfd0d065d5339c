"""From a path to the engine that runs what lies there, or that the user named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from segwright.engines.contract import Engine
from segwright.engines.foreign import Described
from segwright.engines.onnx import OnnxEngine
from segwright.engines.openvino import OpenVinoEngine
from segwright.engines.pytorch import PyTorchEngine
from segwright.engines.tensorrt import TensorRTEngine
from segwright.engines.tensorrt_note import SUFFIXES
from segwright.errors import ModelError, UserError

Open = Callable[[Path, str, int | None], Engine]


def _pytorch(path: Path, device: str, threads: int | None) -> Engine:
    from segwright import checkpoint

    return PyTorchEngine(checkpoint.load(path), device=device, threads=threads)


def _pytorch_compiled(path: Path, device: str, threads: int | None) -> Engine:
    from segwright import checkpoint

    return PyTorchEngine(checkpoint.load(path), device=device, threads=threads, compiled=True)


def _onnxruntime(path: Path, device: str, threads: int | None) -> Engine:
    return OnnxEngine(path, device=device, threads=threads)


def _onnxruntime_tensorrt(path: Path, device: str, threads: int | None) -> Engine:
    return OnnxEngine(path, device=device, threads=threads, tensorrt=True)


def _openvino(path: Path, device: str, threads: int | None) -> Engine:
    return OpenVinoEngine(path, device=device, threads=threads, precision="fast")


def _openvino_fp32(path: Path, device: str, threads: int | None) -> Engine:
    return OpenVinoEngine(path, device=device, threads=threads, precision="fp32")


def _openvino_as_proven(path: Path, device: str, threads: int | None) -> Engine:
    return OpenVinoEngine(path, device=device, threads=threads, precision="file")


def _torch_program(path: Path, device: str, threads: int | None) -> Engine:
    raise ModelError(
        f"{path} is a torch.export program; reading one unpickles parts of it and so runs whatever its author put there, which "
        "segwright does not do. Use the checkpoint or an .onnx file, or call torch.export.load yourself on a file you trust."
    )


def _tensorrt(path: Path, device: str, threads: int | None) -> Engine:
    return TensorRTEngine(path, device=device, threads=threads)


ENGINES: Mapping[str, tuple[Open, tuple[str, ...]]] = {
    "pytorch": (_pytorch, ("", ".safetensors")),
    "pytorch-compiled": (_pytorch_compiled, ("", ".safetensors")),
    "onnxruntime": (_onnxruntime, (".onnx",)),
    "onnxruntime-tensorrt": (_onnxruntime_tensorrt, (".onnx",)),
    "openvino": (_openvino, (".onnx", ".xml")),
    "openvino-fp32": (_openvino_fp32, (".onnx", ".xml")),
    "tensorrt": (_tensorrt, SUFFIXES),
}
"""Engines by the names they can be asked for, and the kinds of files each takes ("" is a run folder)."""

AUTO, FILE = "auto", "file"
"""Names for the fastest engine (`workflows/opening.py` measures), and for the one that belongs to the kind of file."""

BY_SUFFIX: Mapping[str, Open] = {
    ".onnx": _onnxruntime,
    ".xml": _openvino_as_proven,
    ".pt2": _torch_program,
    **dict.fromkeys(SUFFIXES, _tensorrt),
}
"""What opens a file when no engine is named; everything else is a run or a checkpoint, which PyTorch runs."""


def open_engine(
    path: Path,
    *,
    engine: str = FILE,
    device: str = "auto",
    threads: int | None = None,
    described: Described | None = None,
) -> Engine:
    """The engine a path or the user asks for.

    Args:
        path: a run folder or .safetensors checkpoint, or an exported .onnx, .xml, .engine or .plan file.
        engine: `FILE` takes the one that belongs to the kind of file; others are named in `ENGINES`.
        device: "auto", "cpu" or "cuda".
        threads: CPU threads; None lets the engine choose.
        described: what the user says about an .onnx file from elsewhere.

    Raises:
        ModelError: nothing usable there.
        MissingExtraError: the engine's library is not installed.
        UserError: there is no such engine, it cannot run such a file, or the device is not there.
    """
    suffix = "" if path.is_dir() else path.suffix.lower()
    if described is not None and suffix == ".onnx" and engine in {FILE, "onnxruntime"}:
        return OnnxEngine(path, device=device, threads=threads, described=described)
    if described is not None and suffix == ".onnx" and engine in {"openvino", "openvino-fp32"}:
        exact = engine == "openvino-fp32"
        return OpenVinoEngine(
            path, device=device, threads=threads, precision="fp32" if exact else "fast", described=described
        )
    if described is not None and described.prepares:
        raise UserError(f"{path} says itself how pictures are prepared; leave --size, --mean and --std out.")
    if engine == FILE:
        return BY_SUFFIX.get(suffix, _pytorch)(path, device, threads)
    if engine not in ENGINES:
        raise UserError(f"There is no engine {engine!r}; choose {AUTO}, {FILE}, {', '.join(ENGINES)}.")
    opened, kinds = ENGINES[engine]
    if suffix not in kinds:
        able = " and ".join(kind or "run folders" for kind in kinds)
        raise UserError(f"The engine {engine} runs {able}, not {path}; leave --engine out, or export the model for it.")
    return opened(path, device, threads)
