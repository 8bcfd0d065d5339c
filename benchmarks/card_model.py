"""Score the committed card model, and runs beside it, on photographs that none of them was trained or selected on.

    python benchmarks/card_model.py REAL [RUN ...]

REAL is a data set of card photographs whose test part is measured; each RUN is another model, such as the small backbone's.
The table goes to results/card_model.md, with the difference of every model from the committed one, picture by picture.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import tables
from rich.console import Console

import segwright
from segwright.evaluation.report import Report, number

COMMITTED = Path(__file__).resolve().parents[1] / "train" / "exported_models" / "card_segmentation.onnx"
RESAMPLES = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("real", type=Path)
    parser.add_argument("runs", type=Path, nargs="*")
    options = parser.parse_args()
    console, rows = Console(), []
    first: Report | None = None
    for model in (COMMITTED, *options.runs):
        report = segwright.evaluate(model, options.real, split="test", console=console)
        first = first or report
        facts = segwright.load(model).engine.facts
        known = facts.provenance
        trained = f"{known['recipe']['fit']['minutes']:g} minutes" + (
            f" after {start}" if (start := known["recipe"]["model"]["load_model"]) else ""
        )
        worst = min(report.pictures, key=lambda picture: picture.score)
        rows.append(
            [
                f"{facts.name}, {report.model['engine']}, {facts.precision}",
                trained,
                str(report.foreground_iou),
                "" if report is first else difference(first, report),
                f"{worst.key}: {number(worst.score)}",
            ]
        )
    assert first is not None
    tables.write(
        "card_model",
        "The card model on photographs",
        f"Card IoU with its 95 % interval over the {len(first.pictures)} pictures of {first.data}/{first.split}, which no model was "
        f"trained or selected on; answering card everywhere scores {number(first.constant.foreground_iou)}. The first row is the "
        "committed file. Points are those of IoU against it, with the 95 % interval from the same pictures drawn again for both. "
        "Repeat with: `python benchmarks/card_model.py REAL RUN`.",
        ["model", "trained", "card IoU", "points", "worst picture"],
        rows,
    )


def difference(one: Report, other: Report) -> str:
    """Points of card IoU by which the other is better, with a paired 95 % interval."""

    def counts(report: Report) -> np.ndarray:
        return np.array([picture.counts.get(1, (0, 0, 0)) for picture in report.pictures])

    def iou(summed: np.ndarray) -> np.ndarray:
        right, truth, said = np.moveaxis(summed, -1, 0)
        return np.asarray(right / (truth + said - right))

    drawn = np.random.default_rng(0).integers(0, len(one.pictures), (RESAMPLES, len(one.pictures)))
    gained = [iou(counts(report)[drawn].sum(axis=1)) for report in (one, other)]
    low, high = np.percentile(100 * (gained[1] - gained[0]), [2.5, 97.5])
    return f"{100 * (other.foreground_iou.value - one.foreground_iou.value):+.1f} ({low:+.1f} to {high:+.1f})"


if __name__ == "__main__":
    main()
