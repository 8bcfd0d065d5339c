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
    to: Literal["onnx", "openvino", "torch", "tensorrt"] = "onnx",
    precision: Literal["fp32", "fp16", "int8"] = "fp32",
    out: Path | None = None,
    data: Path | None = None,
    any_size: Annotated[bool, Parameter(negative="")] = False,
    batch: int = 0,
    layout: Literal["nhwc", "nchw"] = "nhwc",
    input_name: str = "input_1",
    outputs: str = "classes,probabilities",
    threshold: float | None = None,
    calibration: Path | None = None,
    max_drop: float | None = None,
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
        to: Format; openvino writes two files, .xml and .bin.
        precision: What the network computes in; fp16 makes half the file, int8 a quarter.
        out: The file to write; default beside the checkpoint, model.onnx, model_fp16.onnx, model_openvino.xml and so on.
        data: Pictures for the proof; default the data the run was trained on.
        any_size: Take pictures of any size and resize inside the graph.
        batch: Pictures in one call; 0 for any number.
        layout: Channels last, as pictures lie in memory, or first.
        input_name: What the input is called.
        outputs: What the file answers with: some of classes, probabilities and logits, with commas.
        threshold: Least probability that counts as foreground (two classes); default the model's own.
        calibration: Pictures to measure int8 ranges on; default the data's training pictures.
        max_drop: Points of mean IoU the file may lose; default 1 for int8, no limit for others.
        pictures: Compare this many at most, and 32 at least where there are as many.
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
        "keep_failed": keep_failed,
        "limit": pictures,
        "classes_csv": classes,
        "console": console,
    }
    asked: dict[str, Any] = {
        "precision": precision,
        "any_size": any_size,
        "batch": batch,
        "layout": layout,
        "input_name": input_name,
        "outputs": tuple(name.strip() for name in outputs.split(",") if name.strip()),
        "threshold": threshold,
        "calibration": calibration,
        "max_drop": max_drop,
    }
    settings = {
        "shapes": shapes,
        "workspace": workspace,
        "timing_cache": timing_cache,
        "targets": targets and tuple(target for target in targets.split(",") if target.strip()),
        "library": library,
    }
    if to == "tensorrt":
        changed = {name: value for name, value in asked.items() if value != DEFAULTS[name]}
        return _export_engine(model, out, settings, common | changed, build=not trtexec)
    only = [
        f"--{name.replace('_', '-')}"
        for name, value in (settings | {"trtexec": trtexec or None}).items()
        if value is not None
    ]
    if only:
        raise UserError(f"{', '.join(only)} is for engines; add --to tensorrt, or leave it out.")
    from segwright.workflows import shipping

    file, certificate = shipping.export_model(model, out, to=to, **common, **asked)
    console.print(certificate.sentence(), soft_wrap=True, highlight=False)
    console.print(f"The model lies in {file}", soft_wrap=True, highlight=False)
    return OK


DEFAULTS = {
    "precision": "fp32",
    "any_size": False,
    "batch": 0,
    "layout": "nhwc",
    "input_name": "input_1",
    "outputs": ("classes", "probabilities"),
    "threshold": None,
    "calibration": None,
    "max_drop": None,
}
"""Of the flags that say what an exported file is like; an .onnx file that becomes an engine has them behind it."""


def _export_engine(
    model: Path, out: Path | None, settings: dict[str, Any], options: dict[str, Any], *, build: bool
) -> int:
    """`--to tensorrt`."""
    from segwright.export.tensorrt import BuildSettings
    from segwright.workflows.tensorrt import export_engine

    chosen = BuildSettings(**{name: value for name, value in settings.items() if value is not None})
    made = export_engine(model, out, chosen, build=build, **options)
    for line in _said(made):
        options["console"].print(line, soft_wrap=True, highlight=False, markup=False)
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
