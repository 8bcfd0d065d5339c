"""One table of formats: how each is written, opened for its proof, and given its certificate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segwright.checkpoint import Checkpoint
from segwright.engines.contract import Engine, ModelFacts
from segwright.engines.onnx import OnnxEngine
from segwright.engines.openvino import OpenVinoEngine
from segwright.errors import ModelError, OutputError
from segwright.export import onnx, openvino, torch_program
from segwright.export.int8 import Pictures
from segwright.export.request import PRECISIONS, ExportRequest


@dataclass(frozen=True, kw_only=True)
class Format:
    """One kind of file."""

    suffix: str
    write: Callable[[Checkpoint, ExportRequest, Path, Pictures | None], None]
    """Writes the file, where half a file does no harm."""
    opened: Callable[[Path, ModelFacts], Engine]
    """The engine that a user of the file will have, for the proof."""
    certify: Callable[[Path, dict[str, Any]], None]
    """Puts a certificate into the file's metadata."""
    precisions: tuple[str, ...] = PRECISIONS
    beside: tuple[str, ...] = ()
    """Suffixes of further files that belong to it."""


FORMATS: Mapping[str, Format] = {
    "onnx": Format(
        suffix=".onnx",
        write=onnx.write_onnx,
        opened=lambda path, _: OnnxEngine(path, device="cpu"),
        certify=onnx.certify,
    ),
    "openvino": Format(
        suffix=".xml",
        write=openvino.write_openvino,
        opened=lambda path, _: OpenVinoEngine(path),
        certify=openvino.certify,
        beside=(".bin",),
    ),
    "torch": Format(
        suffix=".pt2",
        write=torch_program.write_torch,
        opened=torch_program.TorchProgramEngine,
        certify=torch_program.certify,
        precisions=("fp32", "fp16"),
    ),
}


def format_of(request: ExportRequest, out: Path) -> Format:
    """The format that is asked for.

    Raises:
        ModelError: there is no such format, or it does not have the precision.
        OutputError: `out` has another format's suffix.
    """
    if request.to not in FORMATS:
        raise ModelError(f"There is no format {request.to!r}; choose {', '.join(FORMATS)}.")
    form = FORMATS[request.to]
    if request.precision not in form.precisions:
        raise ModelError(f"{request.to} has no {request.precision} here; choose {' or '.join(form.precisions)}.")
    if out.suffix.lower() != form.suffix:
        raise OutputError(f"{out} should end in {form.suffix}, which is how every tool knows the format; rename it.")
    return form


def default_name(request: ExportRequest) -> str:
    """A file name that says how it differs: model.onnx, model_fp16.onnx, model_any_size_int8_openvino.xml."""
    parts = [
        "model",
        "any_size" if request.any_size else "",
        f"batch{request.batch}" if request.batch else "",
        "nchw" if request.layout == "nchw" else "",
        request.precision if request.precision != "fp32" else "",
        request.to if request.to != "onnx" else "",
    ]
    if request.to not in FORMATS:
        raise ModelError(f"There is no format {request.to!r}; choose {', '.join(FORMATS)}.")
    return "_".join(part for part in parts if part) + FORMATS[request.to].suffix
