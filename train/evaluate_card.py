"""Measure a card model on the test pictures: card IoU with its 95 % interval, and report.html with the worst pictures.

python evaluate_card.py [--model exported_models/card_segmentation.onnx | RUN] [--data ../dataset] [--split test]
"""

import argparse
import os
from pathlib import Path

from rich.console import Console

import segwright

HERE = Path(os.path.realpath(__file__)).parent


def main() -> None:
    """Read the flags and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=HERE / "exported_models" / "card_segmentation.onnx")
    parser.add_argument("--data", type=Path, default=HERE.parent / "dataset")
    parser.add_argument("--split", default="test", help="train, val, test, or all")
    parser.add_argument("--out", type=Path, help="folder for the report; default runs/evaluation beside train/")
    asked = parser.parse_args()
    out = asked.out or HERE.parent / "runs" / "evaluation"
    try:
        report = segwright.evaluate(asked.model, asked.data, split=asked.split, out=out, console=Console())
    except segwright.SegwrightError as error:
        parser.error(str(error))
    name, score, _ = report.headline
    Console().print(f"{name} {score} on {len(report.pictures)} pictures; look at {out / 'report.html'}", soft_wrap=True)


if __name__ == "__main__":
    main()
