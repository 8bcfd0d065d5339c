"""The quickstart: every journey in a row, on drawn cards or on the user's own pictures."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from segwright.data.layouts import find_dataset
from segwright.data.sample import Sample
from segwright.errors import GateError
from segwright.outputs import require_free, require_writable
from segwright.recipe import Recipe, named_recipe
from segwright.workflows.choosing import held_out, shown
from segwright.workflows.data import check
from segwright.workflows.measuring import evaluate
from segwright.workflows.shipping import export_model
from segwright.workflows.training import train

if TYPE_CHECKING:
    from segwright.evaluation.report import Report
    from segwright.export.parity import Certificate


@dataclass(frozen=True)
class Journey:
    """What a quickstart leaves behind."""

    folder: Path
    report: Report
    certificate: Certificate
    seconds: float


QUICK_CLUTTER = 0.0
"""Share of busy scenes in the quickstart's cards: none, because three minutes from a random start teach plain ones only."""


def quick_recipe(kind: str, minutes: float) -> Recipe:
    """A named recipe for a few minutes on a CPU: the small network, mostly at half size, milder variation.

    Raises:
        RecipeError: `minutes` is refused.
    """
    return named_recipe(kind).with_settings(
        model="lraspp_mobilenet_v3_small",
        minutes=minutes,
        batch_size=8,
        lr=3e-3,
        layer_lr="same",
        small_share=0.6,
        middle_share=0.0,
        augment="light",
        ema=0.98,
        patience=0,
    )


def quickstart(
    data: Path | None = None,
    out: Path = Path("quickstart"),
    *,
    minutes: float = 3.3,
    count: int = 1000,
    console: Console | None = None,
) -> Journey:
    """The main job from end to end: data, check, training, report, export, proof, overlays.

    Args:
        data: the user's own pictures; None draws a synthetic card data set.
        out: new folder for everything.
        minutes: of training.
        count: synthetic pictures to draw.
        console: where progress is shown; None is silent.

    Raises:
        UserError: the data or the folder cannot be used.
        GateError: the data would spoil the training, or the export differs from the model.
    """
    from segwright.evaluation.report import print_report

    console = console or Console(quiet=True)
    started = time.monotonic()
    recipe = quick_recipe("card", minutes)  # a wrong --minutes is refused before anything is drawn
    require_free(out)
    if data is not None:
        find_dataset(data)  # a wrong path leaves no folder behind
    require_writable(out)
    say = _Steps(console)
    drawn = data is None
    if data is None:
        from segwright.data.cards import synthesize_cards

        say("Draw a synthetic card data set")
        data = synthesize_cards(out / "cards", count=count, seed=0, clutter=QUICK_CLUTTER, progress=shown(console))
    say(f"Check {data}")
    found = check(data, console=console)
    found.render(console)
    if found.spoils:
        raise GateError(
            f"Training on {data} would give a meaningless model; write a mended copy with: segwright check {data} --fix OUT"
        )
    say("Train LR-ASPP on MobileNetV3 small")
    run_folder = out / "run"
    if not drawn:
        recipe = quick_recipe("binary" if len(found.dataset.classes) == 2 else "multiclass", minutes)
    train(data, recipe, run_folder, console=console)
    say("Export to ONNX and prove the file equal to the model")
    file, certificate = export_model(run_folder, data=data, console=console)
    console.print(f"  {certificate.sentence()}", highlight=False)
    split, samples, _ = held_out(data, settings=recipe.to_dict())
    say(f"Measure on the {split} pictures")
    extras = {"health": found.to_dict(), "parity": certificate.to_dict()}
    report = evaluate(run_folder, data, split=split, out=out / "report", console=console, extras=extras)
    print_report(report, console)
    say("Draw overlays")
    _overlays(run_folder, samples[:24], out / "predictions", console)
    seconds = time.monotonic() - started
    _farewell(console, recipe, data, out, file, seconds)
    return Journey(out, report, certificate, seconds)


def _overlays(model: Path, samples: tuple[Sample, ...], out: Path, console: Console) -> None:
    from segwright.predict.loop import predict_samples
    from segwright.predict.predictor import load

    predict_samples(load(model), samples, out, progress=shown(console))


def _farewell(console: Console, recipe: Recipe, data: Path, out: Path, file: Path, seconds: float) -> None:
    from segwright.export.gate import certificate_path

    places = {
        "data": data,
        "trained model": out / "run",
        "training panels": out / "run" / "panels",
        "report": out / "report" / "report.html",
        "overlays": out / "predictions" / "overlays",
        "exported model": file,
        "proof of equality": certificate_path(file),
    }
    console.rule(f"[bold]Done in {seconds / 60:.1f} minutes")
    for name, place in places.items():
        console.print(f"{name:>18}  {place}", highlight=False, soft_wrap=True)
    console.print("\nTry next:")
    for line in (
        f"segwright predict {file} YOUR_PICTURES --out predictions",
        f"segwright evaluate {out / 'run'} {data} --split val",
        f"segwright train {data} --recipe {recipe.name} --minutes 60",
    ):
        console.print(f"  {line}", highlight=False, soft_wrap=True)


class _Steps:
    """Numbered headings."""

    def __init__(self, console: Console) -> None:
        self.console, self.number = console, 0

    def __call__(self, what: str) -> None:
        self.number += 1
        self.console.print(f"\n[bold cyan]{self.number}  {what}[/]")
