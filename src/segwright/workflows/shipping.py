"""A model on its way out: exported, and proven equal to what was trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from segwright.errors import UserError
from segwright.workflows.choosing import calibration_samples, data_of, proof_samples, shown

if TYPE_CHECKING:
    from segwright.data.sample import Sample
    from segwright.export.parity import Certificate


def export_model(
    model: Path,
    out: Path | None = None,
    *,
    data: Path | None = None,
    calibration: Path | None = None,
    keep_failed: bool = False,
    limit: int = 64,
    max_drop: float | None = None,
    classes_csv: Path | None = None,
    runs_here: bool = True,
    console: Console | None = None,
    **asked: Any,
) -> tuple[Path, Certificate]:
    """Export a model and prove the file equal to it on real pictures.

    Args:
        model: run folder or checkpoint.
        out: the file; None puts model.onnx, model_fp16.onnx, model_openvino.xml ... beside the checkpoint.
        data: pictures for the proof; None takes the data the run was trained on.
        calibration: folder of pictures to measure INT8 ranges on; None takes the training pictures of the data.
        keep_failed: leave a file that failed the proof, for inspection.
        limit: pictures to compare at most, and 32 at least where there are as many.
        max_drop: points of mean IoU (0..100) that the file may lose; None is 1 for INT8, and no limit for others.
        classes_csv: class table to use instead of the data's own.
        runs_here: an INT8 file must be faster than FP32 on this machine; False for one that another is built from.
        console: where progress is shown; None is silent.
        asked: fields of `ExportRequest`: to, precision, any_size, batch, layout, input_name, outputs, threshold, opset.

    Raises:
        GateError: the file differs from the model; it was removed.
        UserError: model, data or place cannot be used.
    """
    from segwright import checkpoint
    from segwright.export.formats import default_name
    from segwright.export.gate import export_checked
    from segwright.export.request import ExportRequest

    request = ExportRequest(**asked)
    if limit < 1:
        raise UserError(f"The proof needs at least one picture, not {limit}; give --pictures 64, for example.")
    file = checkpoint.checkpoint_file(model)
    out = out or file.with_name(default_name(request))
    data, classes_csv = data_of(model, data, classes_csv)
    settings = checkpoint.load(file).recipe.to_dict()
    samples, classes = proof_samples(data, classes_csv=classes_csv, settings=settings)
    certificate = export_checked(
        file,
        samples,
        classes,
        out,
        request,
        calibration=_calibration(request.precision, calibration or data, classes_csv, settings),
        most_drop=max_drop,
        runs_here=runs_here,
        keep_failed=keep_failed,
        limit=limit,
        progress=shown(console),
    )
    return out, certificate


def _calibration(
    precision: str, folder: Path, classes_csv: Path | None, settings: dict[str, Any]
) -> tuple[Sample, ...]:
    return calibration_samples(folder, classes_csv=classes_csv, settings=settings) if precision == "int8" else ()
