"""`bench`: how fast a model is on this machine, with every engine that is installed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from segwright import recipe
from segwright.commands.speaking import OK, console_of

if TYPE_CHECKING:
    from segwright.workflows.benching import Benchmark


def bench(
    model: Path,
    /,
    *,
    image: Path | None = None,
    engine: str = "",
    device: recipe.Device = "auto",
    threads: int | None = None,
    seconds: float = 3.0,
    tile: Annotated[bool, Parameter(negative="")] = False,
    json: Path | None = None,
) -> int:
    """Measure how fast a model is here, with every engine that is installed; `--engine auto` takes the fastest from then on.

    Args:
        model: Run folder, checkpoint or exported file; a run is exported into the cache.
        image: Picture to predict; default one is drawn, of the model's own size.
        engine: Only this one; default all.
        device: Where to compute: auto takes CUDA where there is one.
        threads: CPU threads; default each engine's own choice.
        seconds: For each engine.
        tile: Cut the picture into tiles of the model's size at their own scale.
        json: File for the numbers.
    """
    from segwright.engines.memory import keep_memory
    from segwright.workflows import benching

    keep_memory()
    console = console_of()
    found = benching.bench(
        model,
        image=image,
        engine=engine,
        device=device,
        threads=threads,
        seconds=seconds,
        tile=tile,
        out=json,
        console=console,
    )
    _show(found, console)
    if json is not None:
        console.print(f"The numbers lie in {json}", soft_wrap=True, highlight=False)
    return OK


def _show(found: Benchmark, console: Any) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    height, width = found.picture_hw
    title = f"{found.model}, {found.classes} classes, {width}x{height} pixels; ms, p50 above p95"
    # Narrow enough for 80 columns.
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("engine", "preparation", "network", "finishing", "whole", "CPU", "best\nbatch", "same\nclass %"):
        table.add_column(column, justify="left" if column == "engine" else "right", no_wrap=True, vertical="top")
    for lap in found.laps:
        if lap.problem:
            continue
        taken = found.latencies[lap.engine]
        spreads = (taken.preparation, taken.network, taken.finishing, taken.whole)
        table.add_row(
            f"{lap.engine} *" if lap.engine == found.fastest else lap.engine,
            *(f"{spread.p50:.1f}\n{spread.p95:.1f}" for spread in spreads),
            f"{taken.processor.p50:.1f}",
            f"{taken.best_batch}: {taken.best_batch_milliseconds:.1f}",
            f"{100 * lap.agreement:.2f}",
        )
    console.print(table)
    for lap in found.laps:
        if lap.problem:
            console.print(f"{lap.engine} could not run: {lap.problem}", soft_wrap=True, highlight=False)
    console.print(
        "* the fastest that agrees. Whole: from the picture in memory to its class map. CPU: of all threads together. "
        "Best batch: so many pictures at once take the network least for each.",
        soft_wrap=True,
        highlight=False,
    )
