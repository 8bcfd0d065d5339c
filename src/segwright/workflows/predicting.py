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
    device: str = "auto",
    tile: bool = False,
    console: Console | None = None,
) -> Summary:
    """Write index mask, colour mask and overlay for every picture of `source`.

    Args:
        model: run folder, checkpoint or exported file.
        source: a picture, or a folder of pictures.
        out: folder for what comes out.
        threshold: instead of the model's own, two classes only, 0..1.
        device: "auto", "cpu" or "cuda".
        tile: cut pictures into tiles at their own scale; see `Predictor`.
        console: where progress is shown; None is silent.

    Raises:
        UserError: nothing could be predicted.
    """
    from segwright.predict.predictor import load
    from segwright.predict.sinks import predict_folder

    predictor = load(model, threshold=threshold, device=device, tile=tile)
    return predict_folder(predictor, source, out, progress=shown(console))
