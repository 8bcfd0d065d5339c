"""A model and pictures with masks: scores, report and page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from segwright.workflows.choosing import chosen_samples, data_of, shown

if TYPE_CHECKING:
    from segwright.engines.foreign import Described
    from segwright.evaluation.report import Report


def evaluate(
    model: Path,
    data: Path | None = None,
    *,
    split: str = "test",
    out: Path | None = None,
    classes_csv: Path | None = None,
    engine: str = "file",
    device: str = "auto",
    tile: bool = False,
    described: Described | None = None,
    console: Console | None = None,
    extras: dict[str, Any] | None = None,
) -> Report:
    """Measure a model and write report.json and report.html.

    Args:
        model: run folder, checkpoint or exported file.
        data: folder in one of the known layouts; None takes the data the run was trained on.
        split: train, val, test, or "all" for every picture with a mask.
        out: folder for the report; None only returns it.
        classes_csv: class table to use instead of the data's own.
        engine: as in `opening.load`; other engines than the file's own score a little differently.
        device: "auto", "cpu" or "cuda".
        tile: cut pictures into tiles at their own scale; see `Predictor`.
        described: what is known about an .onnx file from elsewhere.
        console: where progress is shown; None is silent.
        extras: more sections for the page, see `Report.write`.

    Raises:
        UserError: model or data that cannot be used together, each with what to do.
    """
    from segwright.evaluation.evaluate import evaluate as measure
    from segwright.workflows.opening import load

    data, classes_csv = data_of(model, data, classes_csv)
    predictor = load(model, engine=engine, device=device, tile=tile, described=described)
    provenance = predictor.engine.facts.provenance
    recipe = provenance.get("recipe", {})
    # Pictures that training cut off as val are no train pictures; in any other data set they are.
    learnt_here = provenance.get("data") == data.resolve().name
    samples, classes = chosen_samples(data, split, classes_csv=classes_csv, settings=recipe if learnt_here else None)
    curves = _curves(model)
    return measure(
        predictor,
        samples,
        classes,
        split=split,
        data=data.resolve().name,
        progress=shown(console),
        out=out,
        model_file=_model_file(model),
        recipe=recipe or None,
        extras={**({"curves": curves} if curves else {}), **(extras or {})},
    )


def _curves(model: Path) -> list[dict[str, str]]:
    import csv

    log = (model if model.is_dir() else model.parent) / "log.csv"
    if not log.is_file():
        return []
    with log.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _model_file(model: Path) -> Path:
    from segwright.checkpoint import checkpoint_file

    return model if model.is_file() else checkpoint_file(model)
