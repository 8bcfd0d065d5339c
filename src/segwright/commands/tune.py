"""`tune`: the threshold and the clean-up that suit a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from segwright import recipe
from segwright.commands.speaking import OK, console_of

if TYPE_CHECKING:
    from segwright.evaluation.report import Score


def tune(
    run: Path,
    data: Path | None = None,
    /,
    *,
    split: str = "val",
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    classes: Path | None = None,
    device: recipe.Device = "auto",
) -> int:
    """Choose threshold and clean-up on validation pictures; takes only what is certain to be better.

    Args:
        run: Run folder or checkpoint; its threshold is changed, and exports made from then on have it.
        data: Folder with pictures and masks; default the data the run was trained on.
        split: Whose pictures to choose on: val, train, test, or all. Not those the model will be judged by.
        dry_run: Only say what was found.
        classes: Class table to use instead of the data's classes.csv.
        device: Where to compute: auto takes CUDA where there is one.
    """
    from segwright.evaluation.tuning import CLEANUPS
    from segwright.predict.cleanup import Cleanup
    from segwright.workflows import tuning

    console = console_of()
    found = tuning.tune(run, data, split=split, write=not dry_run, classes_csv=classes, device=device, console=console)

    def say(words: str) -> None:
        console.print(words, soft_wrap=True, highlight=False, markup=False)

    def flags(cleanup: Cleanup) -> str:
        texts = (f"--min-area {cleanup.smallest}", f"--fill-holes {cleanup.hole}", "--largest-only")
        asked = (cleanup.smallest, cleanup.hole, cleanup.largest_only)
        return " ".join(text for text, wanted in zip(texts, asked, strict=True) if wanted)

    say(
        f"{found.pictures} pictures of {found.split}; each gain is measured on pictures that the choice was not made on."
    )
    if found.threshold is None:
        say("Threshold: none, the most probable class is taken.")
    elif found.threshold.certain:
        say(f"Threshold {found.before:g} -> {found.after:g}: {found.score} {_gain(found.threshold.gain)}.")
    elif found.thresholds[found.threshold.best] == found.before:
        say(f"Threshold {found.before:g} stays: no other one is better here.")
    else:
        best = found.thresholds[found.threshold.best]
        say(f"Threshold {found.before:g} stays: {best:g} is best here, {_gain(found.threshold.gain)} may be chance.")
    best_cleanup = CLEANUPS[found.cleanup.best]
    if found.cleanup.certain:
        say(
            f"Clean-up: {found.score} {_gain(found.cleanup.gain)}; use it with: segwright predict {run} {flags(best_cleanup)}"
        )
    elif best_cleanup == Cleanup():
        say("Clean-up: none is better here.")
    else:
        say(f"Clean-up: none; {flags(best_cleanup)} is best here, {_gain(found.cleanup.gain)} may be chance.")
    if found.after != found.before and not dry_run:
        say(f"The threshold is in {run} now. Next: segwright export {run}")
    return OK


def _gain(gain: Score) -> str:
    from segwright.evaluation.report import signed, signed_interval

    return f"{signed(gain.value)} ({signed_interval(gain)})" if gain.sure else signed(gain.value)
