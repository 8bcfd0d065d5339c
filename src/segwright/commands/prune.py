"""`prune`: a smaller and faster network, at a loss that is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from segwright.commands.settings import NOTHING_SAID, Flags, Settings, given_in
from segwright.commands.speaking import NOT_GOOD_ENOUGH, OK, console_of, fail, fresh
from segwright.errors import UserError


def prune(
    run: Path | None = None,
    data: Path | None = None,
    /,
    *,
    speedup: float | None = None,
    latency: str = "",
    size: str = "",
    channels: float | None = None,
    max_drop: float = 1.0,
    rounds: int = 1,
    importance: Literal["magnitude", "bn", "taylor"] = "magnitude",
    distill: float = 0.0,
    engine: str = "auto",
    threads: int | None = None,
    out: Path | None = None,
    classes: Path | None = None,
    resume: Path | None = None,
    settings: Annotated[Settings, Flags] = NOTHING_SAID,
) -> int:
    """Make a trained network smaller and faster, and say what that costs.

    Channels are taken out, the network learns again, and time and IoU are measured. Settings of the training that
    follows, such as --epochs, are the run's own unless given.

    Args:
        run: Run folder or checkpoint.
        data: Folder with pictures and masks; default the data the run was trained on.
        speedup: How many times as fast it should be, such as 2.
        latency: Time for one picture, such as 20ms.
        size: Size of the file that is served, such as 2MB.
        channels: Share of the channels to keep, such as 0.5, which leaves about a quarter of the parameters.
        max_drop: Points of IoU that may be lost on validation pictures; the last network that lost no more is kept.
        rounds: Steps to the target, each with a training after it.
        importance: Which channels stay: those with large weights, large batch-norm scales, or a large effect on the loss (taylor).
        distill: Share of the loss that is the difference from the unpruned network's answers, 0 to 1.
        engine: In which engine time is measured: auto, onnxruntime or pytorch.
        threads: CPU threads of that engine; default its own choice.
        out: New folder; default RUN-pruned, numbered.
        classes: Class table to use instead of the data's classes.csv.
        resume: Go on with this pruning, which was stopped; it brings everything.
        settings: Of the training after each thinning.
    """
    from segwright.workflows import pruning

    console = console_of()
    given = given_in(settings)
    if resume is not None:
        asked = (run, data, speedup, latency, size, channels, out, classes, given)
        if any(value not in (None, "", {}) for value in asked):
            raise UserError("--resume brings its model, data and wishes; give nothing else with it.")
        folder = resume
    elif run is None:
        raise UserError("Name the run to prune: segwright prune RUN --speedup 2 (or --resume FOLDER).")
    else:
        folder = out or fresh(run.with_name(f"{run.stem if run.is_file() else run.name}-pruned"))
    try:
        if run is None:
            outcome = pruning.resume_pruning(folder, console=console)
        else:
            outcome = pruning.prune_model(
                run,
                data,
                folder,
                speedup=speedup,
                latency=latency,
                size=size,
                channels=channels,
                max_drop=max_drop,
                rounds=rounds,
                importance=importance,
                distill=distill,
                engine=engine,
                threads=threads,
                classes_csv=classes,
                console=console,
                **given,
            )
    except KeyboardInterrupt:
        left = (
            f"go on with: segwright prune --resume {folder}"
            if (folder / pruning.PLAN).is_file()
            else "nothing was begun"
        )
        raise UserError(f"Pruning was stopped; {left}.") from None
    console.print(outcome.table())
    console.print(f"{outcome.sentence()}.", soft_wrap=True, highlight=False)
    console.print(
        f"The pruned network lies in {folder}, all that was tried in {folder / 'prune.png'}. Next: segwright export {folder}",
        soft_wrap=True,
        highlight=False,
    )
    if outcome.shortfall():
        fail(outcome.shortfall(), NOT_GOOD_ENOUGH)
    return OK
