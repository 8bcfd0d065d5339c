"""A model and pictures: masks, colour masks and overlays."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from segwright.errors import DataError
from segwright.workflows.choosing import shown

if TYPE_CHECKING:
    from segwright.engines.foreign import Described
    from segwright.predict.predictor import Predictor
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
    described: Described | None = None,
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
        described: what is known about an .onnx file from elsewhere.
        console: where progress is shown; None is silent.

    Raises:
        UserError: nothing could be predicted.
    """
    from segwright.predict.large import predict_large_ones
    from segwright.predict.predictor import Predictor
    from segwright.predict.sinks import predict_samples
    from segwright.predict.sources import find_pictures
    from segwright.workflows.opening import open_model

    samples = find_pictures(source, leave_out=out)
    opened = open_model(
        model,
        engine=engine,
        device=device,
        threads=threads,
        pictures=len(samples),
        described=described,
        console=console,
    )
    predictor = Predictor(opened.engine, threshold=threshold, tile=tile)
    others, lines, failures = predict_large_ones(predictor, samples, out)
    if not lines and not failures:
        return predict_samples(predictor, samples, out, progress=shown(console))
    summary = predict_samples(predictor, others, out, progress=shown(console)) if others else None
    return _with_large(summary, lines, failures, predictor, out)


def _with_large(
    summary: Summary | None,
    lines: list[dict[str, Any]],
    failures: list[tuple[Path, str]],
    predictor: Predictor,
    out: Path,
) -> Summary:
    """One summary of small pictures, where there were some, and of large ones."""
    from segwright.outputs import write_text
    from segwright.predict.large import add_lines
    from segwright.predict.sinks import Failure, Summary

    if summary is None and not lines:
        raise DataError(f"None of the {len(failures)} pictures could be read; the first: {failures[0][1]}")
    write_text(out / "classes.csv", predictor.classes.to_csv())
    add_lines(out, lines, others=summary is not None)
    every = [json.loads(line) for line in (out / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    pixels = {name: sum(line["pixels"][name] for line in every) for name in predictor.classes.names}
    total = max(sum(pixels.values()), 1)
    return Summary(
        out=out,
        pictures=len(every),
        failures=(
            *(summary.failures if summary else ()),
            *(Failure(path=path, reason=reason) for path, reason in failures),
        ),
        milliseconds=statistics.median(line["milliseconds"] for line in every),
        shares={name: count / total for name, count in pixels.items()},
    )
