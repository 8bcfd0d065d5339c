"""A model on its way out: exported, and proven equal to what was trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from segwright.errors import UserError
from segwright.workflows.choosing import data_of, proof_samples, shown

if TYPE_CHECKING:
    from segwright.export.parity import Certificate


def export_model(
    model: Path,
    out: Path | None = None,
    *,
    data: Path | None = None,
    any_size: bool = False,
    precision: str = "fp32",
    keep_failed: bool = False,
    limit: int = 64,
    classes_csv: Path | None = None,
    console: Console | None = None,
) -> tuple[Path, Certificate]:
    """Export to ONNX and prove the file equal to the model on real pictures.

    Args:
        model: run folder or checkpoint.
        out: the .onnx file; None puts model.onnx, model_fp16.onnx, model_any_size.onnx ... beside the checkpoint.
        data: pictures for the proof; None takes the data the run was trained on.
        any_size: take pictures of any size and resize inside the graph.
        precision: "fp32", or "fp16" for half the size.
        keep_failed: leave a file that failed the proof, for inspection.
        limit: pictures to compare at most.
        classes_csv: class table to use instead of the data's own.
        console: where progress is shown; None is silent.

    Raises:
        GateError: the file differs from the model; it was removed.
        UserError: model, data or place cannot be used.
    """
    from segwright import checkpoint
    from segwright.export.parity import export_checked

    if limit < 1:
        raise UserError(f"The proof needs at least one picture, not {limit}; give --pictures 64, for example.")
    file = checkpoint.checkpoint_file(model)
    name = "model" + ("_any_size" if any_size else "") + ("" if precision == "fp32" else f"_{precision}")
    out = out or file.with_name(f"{name}.onnx")
    data, classes_csv = data_of(model, data, classes_csv)
    settings = checkpoint.load(file).recipe.to_dict()
    samples, classes = proof_samples(data, classes_csv=classes_csv, settings=settings)
    certificate = export_checked(
        file,
        samples,
        classes,
        out,
        any_size=any_size,
        precision=precision,
        keep_failed=keep_failed,
        limit=limit,
        progress=shown(console),
    )
    return out, certificate
