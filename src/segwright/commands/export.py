"""`export`: a file that runs elsewhere, proven equal to the model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from segwright.commands.speaking import OK, console_of


def export(
    model: Path,
    /,
    *,
    to: Literal["onnx"] = "onnx",
    out: Path | None = None,
    data: Path | None = None,
    precision: Literal["fp32", "fp16"] = "fp32",
    any_size: Annotated[bool, Parameter(negative="")] = False,
    pictures: int = 64,
    keep_failed: Annotated[bool, Parameter(negative="")] = False,
    classes: Path | None = None,
) -> int:
    """Export a model and prove the file equal to it on real pictures.

    Args:
        model: Run folder or checkpoint.
        to: Format.
        out: The file to write; default model.onnx (model_fp16.onnx, model_any_size.onnx) beside the checkpoint.
        data: Pictures for the proof; default the data the run was trained on.
        precision: What the network computes in; fp16 makes half the file, for GPUs and browsers.
        any_size: Take pictures of any size and resize inside the graph.
        pictures: Compare this many at most.
        keep_failed: Leave a file that failed the proof.
        classes: Class table to use instead of the data's classes.csv.
    """
    from segwright.workflows import shipping

    console = console_of()
    file, certificate = shipping.export_model(
        model,
        out,
        data=data,
        any_size=any_size,
        precision=precision,
        keep_failed=keep_failed,
        limit=pictures,
        classes_csv=classes,
        console=console,
    )
    console.print(certificate.sentence(), soft_wrap=True, highlight=False)
    console.print(f"The model lies in {file}", soft_wrap=True, highlight=False)
    return OK
