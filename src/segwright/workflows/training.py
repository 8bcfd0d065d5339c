"""Journeys of training: begin, go on, look at the first batch, compute a failed step again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from segwright.recipe import Recipe

if TYPE_CHECKING:
    from segwright.training.fit import Run
    from segwright.training.replay import Replay


def train(
    data: Path, recipe: Recipe, out: Path, *, classes_csv: Path | None = None, console: Console | None = None
) -> Run:
    """Train a model; see `segwright.training.fit.train`. The run remembers where its data lies."""
    from segwright.training import fit

    return fit.train(data, recipe, out, classes_csv=classes_csv, console=console)


def resume(run: Path, *, console: Console | None = None, **changes: Any) -> Run:
    """Go on with a training that was stopped; see `segwright.training.fit.resume`."""
    from segwright.training import fit

    return fit.resume(run, console=console, **changes)


def replay(run: Path) -> Replay:
    """Compute a step again that was not finite; see `segwright.training.replay.replay`."""
    from segwright.training.replay import replay as again

    return again(run)


def show_batch(
    data: Path, recipe: Recipe, out: Path, *, classes_csv: Path | None = None, console: Console | None = None
) -> Path:
    """Draw what the network would see; see `segwright.training.contact_sheet.show_batch`."""
    from segwright.training import contact_sheet

    return contact_sheet.show_batch(data, recipe, out, classes_csv=classes_csv, console=console)
