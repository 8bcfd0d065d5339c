"""`export`: a file that runs elsewhere, proven equal to the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from segwright.commands.speaking import OK, console_of
from segwright.errors import UserError

if TYPE_CHECKING:
    from segwright.workflows.tensorrt import EngineExport


def export(
    model: Path,
    /,
    *,
    to: Literal["onnx", "tensorrt"] = "onnx",
    out: Path | None = None,
    data: Path | None = None,
    precision: Literal["fp32", "fp16"] = "fp32",
    any_size: Annotated[bool, Parameter(negative="")] = False,
    pictures: int = 64,
    keep_failed: Annotated[bool, Parameter(negative="")] = False,
    classes: Path | None = None,
    shapes: str | None = None,
    workspace: int | None = None,
    timing_cache: Path | None = None,
    targets: str | None = None,
    library: Literal["tensorrt", "tensorrt_rtx"] | None = None,
    trtexec: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Export a model and prove the file equal to it on real pictures.

    Args:
        model: Run folder or checkpoint; for tensorrt also an exported .onnx file.
        to: Format.
        out: The file to write; default model.onnx (model_fp16.onnx, model_any_size.engine ...) beside the checkpoint.
        data: Pictures for the proof; default the data the run was trained on.
        precision: What the network computes in; fp16 makes half the file, for GPUs and browsers.
        any_size: Take pictures of any size and resize inside the graph.
        pictures: Compare this many at most.
        keep_failed: Leave a file that failed the proof.
        classes: Class table to use instead of the data's classes.csv.
        shapes: Shapes that a TensorRT engine takes: input_1:1x640x480x3, or MIN..OPT..MAX with three of these; default one picture.
        workspace: Most scratch memory for a layer of a TensorRT engine, in MiB; default 2048.
        timing_cache: File in which TensorRT keeps its timings for the next build; default timing.cache beside the engine.
        targets: Compute capabilities to build for, such as sm86,sm89; TensorRT for RTX only, and then no GPU is needed.
        library: Which TensorRT builds; default the first that is installed.
        trtexec: Do not build; write the .onnx file and print the trtexec commands that build it elsewhere.
    """
    console = console_of()
    common = {
        "data": data,
        "any_size": any_size,
        "precision": precision,
        "keep_failed": keep_failed,
        "limit": pictures,
        "classes_csv": classes,
        "console": console,
    }
    settings = {
        "shapes": shapes,
        "workspace": workspace,
        "timing_cache": timing_cache,
        "targets": targets and tuple(target for target in targets.split(",") if target.strip()),
        "library": library,
    }
    if to == "tensorrt":
        return _export_engine(model, out, settings, common, build=not trtexec)
    only = [
        f"--{name.replace('_', '-')}"
        for name, value in (settings | {"trtexec": trtexec or None}).items()
        if value is not None
    ]
    if only:
        raise UserError(f"{', '.join(only)} is for engines; add --to tensorrt, or leave it out.")
    from segwright.workflows import shipping

    file, certificate = shipping.export_model(model, out, **common)
    console.print(certificate.sentence(), soft_wrap=True, highlight=False)
    console.print(f"The model lies in {file}", soft_wrap=True, highlight=False)
    return OK


def _export_engine(
    model: Path, out: Path | None, settings: dict[str, Any], common: dict[str, Any], *, build: bool
) -> int:
    """`--to tensorrt`."""
    from segwright.export.tensorrt import BuildSettings
    from segwright.workflows.tensorrt import export_engine

    chosen = BuildSettings(**{name: value for name, value in settings.items() if value is not None})
    made = export_engine(model, out, chosen, build=build, **common)
    for line in _said(made):
        common["console"].print(line, soft_wrap=True, highlight=False, markup=False)
    return OK


def _said(made: EngineExport) -> list[str]:
    """What there is to say about an engine, line by line."""
    lines = []
    if made.onnx_certificate:
        lines += [made.onnx_certificate.sentence(), f"The ONNX file lies in {made.onnx}"]
    if made.certificate:
        lines.append(made.certificate.sentence())
    if made.engine:
        lines.append(f"The engine lies in {made.engine}")
        if not made.certificate:
            lines.append(
                f"The engine itself was not run here; prove it where it will run: segwright evaluate {made.engine.name} DATA"
            )
    lines.append("The same engine with trtexec, in the folder of the ONNX file:")
    return lines + [f"  TensorRT {major}: {command}" for major, command in made.commands.items()]
