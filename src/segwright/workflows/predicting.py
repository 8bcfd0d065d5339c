"""A model and pictures: masks, colour masks and overlays."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from segwright.workflows.choosing import shown

if TYPE_CHECKING:
    from segwright.predict.sinks import Summary


def predict_pictures(
    model: Path,
    source: Path,
    out: Path,
    *,
    threshold: float | None = None,
    engine: str = "file",
    device: str = "auto",
    threads: int | None = None,
    tile: bool = False,
    console: Console | None = None,
) -> Summary:
    """Write index mask, colour mask and overlay for every picture of `source`.

    Args:
        model: run folder, checkpoint or exported file.
        source: a picture, or a folder of pictures.
        out: folder for what comes out.
        threshold: instead of the model's own, two classes only, 0..1.
        engine: "file" for the one that belongs to the kind of file, "auto" for the fastest here, or its name; see `opening.load`.
        device: "auto", "cpu" or "cuda".
        threads: CPU threads; None lets the engine choose.
        tile: cut pictures into tiles at their own scale; see `Predictor`.
        console: where progress is shown; None is silent.

    Raises:
        UserError: nothing could be predicted.
    """
    from segwright.predict.predictor import Predictor
    from segwright.predict.sinks import predict_samples
    from segwright.predict.sources import find_pictures
    from segwright.workflows.opening import open_model

    samples = find_pictures(source, leave_out=out)
    opened = open_model(model, engine=engine, device=device, threads=threads, pictures=len(samples), console=console)
    predictor = Predictor(opened.engine, threshold=threshold, tile=tile)
    return predict_samples(predictor, samples, out, progress=shown(console))
