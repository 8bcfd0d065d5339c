"""`predict`: what a model finds in pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from segwright import recipe
from segwright.commands.speaking import NOT_GOOD_ENOUGH, OK, console_of, fail


def predict(
    model: Path,
    source: Path,
    /,
    *,
    out: Path = Path("predictions"),
    threshold: float | None = None,
    engine: str = "auto",
    device: recipe.Device = "auto",
    threads: int | None = None,
    tile: Annotated[bool, Parameter(negative="")] = False,
    classes: Path | None = None,
    size: str | None = None,
    mean: str | None = None,
    std: str | None = None,
) -> int:
    """Write index mask, colour mask and overlay for each picture.

    Args:
        model: Run folder, checkpoint or exported .onnx file.
        source: A picture, or a folder of pictures.
        out: Folder for what comes out.
        threshold: Least probability that counts as foreground (two classes); default the model's own.
        engine: What computes: auto takes the fastest here, measured once for each model and machine where there is enough to predict;
            file takes what belongs to the kind of file (PyTorch for runs); or a name, such as onnxruntime or openvino.
        device: Where to compute: auto takes CUDA where there is one.
        threads: CPU threads; default the engine's own choice.
        tile: Cut pictures into tiles of the model's size at their own scale; models trained with --patch-size always do.
            TIFFs of more than 50 million pixels are then read and written by rows.
        classes: Of an .onnx file from elsewhere: a class table, or the names in their order with commas between.
        size: Of an .onnx file from elsewhere: width x height it is to run at, such as 640x480.
        mean: Of an .onnx file from elsewhere: mean of the channels after scaling to 0..1, such as 0.485,0.456,0.406.
        std: Of an .onnx file from elsewhere: standard deviation of the channels likewise.
    """
    from segwright.engines.memory import keep_memory
    from segwright.workflows import predicting
    from segwright.workflows.describing import described

    console = console_of()
    keep_memory()
    summary = predicting.predict_pictures(
        model,
        source,
        out,
        threshold=threshold,
        engine=engine,
        device=device,
        threads=threads,
        tile=tile,
        described=described(model, classes=classes, size=size, mean=mean, std=std),
        console=console,
    )
    shares = ", ".join(f"{name} {100 * share:.1f} %" for name, share in summary.shares.items())
    console.print(f"{summary.pictures} pictures, {summary.milliseconds:.0f} ms each: {shares}", highlight=False)
    console.print(f"Masks, colours and overlays lie in {out}", soft_wrap=True, highlight=False)
    if summary.failures:
        unread = summary.failures
        fail(f"{len(unread)} pictures could not be read; the first: {unread[0].reason}", NOT_GOOD_ENOUGH)
    return OK
