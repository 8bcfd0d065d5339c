"""`evaluate`: scores on pictures with masks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from segwright import recipe
from segwright.commands.speaking import OK, console_of


def evaluate(
    model: Path,
    data: Path | None = None,
    /,
    *,
    split: str = "test",
    out: Path | None = None,
    classes: Path | None = None,
    engine: str = "file",
    device: recipe.Device = "auto",
    tile: Annotated[bool, Parameter(negative="")] = False,
    size: str | None = None,
    mean: str | None = None,
    std: str | None = None,
) -> int:
    """Measure a model on pictures with masks; writes report.json and report.html.

    Args:
        model: Run folder, checkpoint or exported .onnx file.
        data: Folder with pictures and masks; default the data the run was trained on.
        split: train, val, test, or all for every picture with a mask.
        out: Folder for the report; default evaluation-DATA-SPLIT beside the model.
        classes: Class table to use instead of the data's classes.csv, and for an .onnx file from elsewhere; for that, the names
            in their order with commas between will do.
        engine: What computes: file takes what belongs to the kind of file (PyTorch for runs); auto takes the fastest here, whose
            scores may differ in the third digit; or a name, such as onnxruntime or openvino.
        device: Where to compute: auto takes CUDA where there is one.
        tile: Cut pictures into tiles of the model's size at their own scale; models trained with --patch-size always do.
        size: Of an .onnx file from elsewhere: width x height it is to run at, such as 640x480.
        mean: Of an .onnx file from elsewhere: mean of the channels after scaling to 0..1, such as 0.485,0.456,0.406.
        std: Of an .onnx file from elsewhere: standard deviation of the channels likewise.
    """
    from segwright.evaluation.report import print_report
    from segwright.workflows import measuring
    from segwright.workflows.describing import described, table

    beside = model if model.is_dir() else model.parent
    name = f"evaluation-{data.resolve().name}-{split}" if data else f"evaluation-{split}"
    folder = out or beside / name
    console = console_of()
    report = measuring.evaluate(
        model,
        data,
        split=split,
        out=folder,
        classes_csv=table(classes),
        engine=engine,
        device=device,
        tile=tile,
        described=described(model, classes=classes, size=size, mean=mean, std=std),
        console=console,
    )
    print_report(report, console)
    console.print(f"The report lies in {folder / 'report.html'}", soft_wrap=True, highlight=False)
    return OK
