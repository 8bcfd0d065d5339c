"""A trained run and pictures with masks: the threshold that suits them, written into the run, and clean-up that helps."""

from __future__ import annotations

import bisect
import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from segwright import checkpoint
from segwright.errors import UserError
from segwright.evaluation.report import plain
from segwright.evaluation.tuning import CLEANUPS, THRESHOLDS, Choice, choice, cleanup_counts, threshold_counts
from segwright.outputs import require_writable, write_text
from segwright.predict.cleanup import Cleanup
from segwright.workflows.choosing import chosen_samples, data_of, shown

TUNED_FILE = "tuned.json"


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What was found."""

    score: str
    """Name of what was made as high as possible."""
    pictures: int
    split: str
    before: float
    """Threshold of the run so far."""
    thresholds: tuple[float, ...]
    """Those that were tried; empty with more than two classes, of which the most probable is taken."""
    threshold: Choice | None
    cleanup: Choice
    """Among `CLEANUPS`, after the threshold."""

    @property
    def after(self) -> float:
        """The threshold that should be used: another one only where it is certain to be better."""
        return self.before if self.threshold is None else self.thresholds[self.threshold.taken]

    @property
    def tidy(self) -> Cleanup:
        """The clean-up that should be used: none where none is certain to help."""
        return CLEANUPS[self.cleanup.taken]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        found: dict[str, Any] = {"score": self.score, "split": self.split, "pictures": self.pictures}
        if self.threshold is not None:
            tried = zip(self.thresholds, self.threshold.scores, strict=True)
            found["threshold"] = {
                "before": self.before,
                "after": self.after,
                "best": self.thresholds[self.threshold.best],
                "gain": self.threshold.gain,
                "scores": {f"{threshold:g}": score for threshold, score in tried},
            }
        found["cleanup"] = {
            **dataclasses.asdict(self.tidy),
            "best": dataclasses.asdict(CLEANUPS[self.cleanup.best]),
            "gain": self.cleanup.gain,
        }
        answer: dict[str, Any] = plain(found)
        return answer


def tune(
    run: Path,
    data: Path | None = None,
    *,
    split: str = "val",
    write: bool = True,
    classes_csv: Path | None = None,
    device: str = "auto",
    console: Console | None = None,
) -> Tuned:
    """Choose threshold and clean-up on pictures with masks, and write the threshold into the run.

    Only what is certain to be better is taken: the 95 % interval of the gain, on pictures the choice was not made on, lies above 0.

    Args:
        run: run folder or checkpoint.
        data: folder in one of the known layouts; None takes the data the run was trained on.
        split: whose pictures to choose on; not those the model will be judged by.
        write: put the threshold into the checkpoint, and what was found into tuned.json beside it.
        classes_csv: class table to use instead of the data's own.
        device: "auto", "cpu" or "cuda".
        console: where progress is shown; None is silent.

    Raises:
        UserError: an exported file, or data that cannot be used with the model.
        OutputError: the run cannot be written.
    """
    from rich.progress import Progress

    from segwright.workflows.opening import load

    if run.is_file() and run.suffix != ".safetensors":
        raise UserError(f"{run} is an exported file; tune the run it was made from, then export that again.")
    file = checkpoint.checkpoint_file(run)
    network = checkpoint.load(file)
    data, classes_csv = data_of(run, data, classes_csv)
    learnt_here = network.provenance.get("data") == data.resolve().name
    settings = network.recipe.to_dict() if learnt_here else None
    samples, data_classes = chosen_samples(data, split, classes_csv=classes_csv, settings=settings)
    samples = tuple(sample for sample in samples if sample.mask is not None)
    if write:
        require_writable(file.parent)
    thresholds, picked = list(THRESHOLDS), None
    with Progress(transient=True, disable=not shown(console)) as progress:
        two = len(network.classes) == 2
        task = progress.add_task("Tuning", total=len(samples) * (2 if two else 1))
        if two:
            if network.threshold not in thresholds:
                bisect.insort(thresholds, network.threshold)
            counts = threshold_counts(
                load(file, device=device), samples, data_classes, thresholds, step=lambda: progress.advance(task)
            )
            picked = choice(counts, thresholds.index(network.threshold), middle=True)
        predictor = load(file, device=device, threshold=None if picked is None else thresholds[picked.taken])
        counts = cleanup_counts(predictor, samples, data_classes, CLEANUPS, step=lambda: progress.advance(task))
    tuned = Tuned(
        score=f"{network.classes.names[1]} IoU" if two else "mIoU",
        pictures=len(samples),
        split=split,
        before=network.threshold,
        thresholds=tuple(thresholds) if two else (),
        threshold=picked,
        cleanup=choice(counts, CLEANUPS.index(Cleanup()), middle=False),
    )
    if write:
        write_text(file.parent / TUNED_FILE, json.dumps(tuned.to_dict(), indent=1, allow_nan=False) + "\n")
        if tuned.after != network.threshold:
            dataclasses.replace(network, threshold=tuned.after).save(file)
    return tuned
