"""Train the card model on ../dataset.

python train_card.py [--backbone large|small] [--data ../dataset] [--minutes 55 | --epochs 40] [--start RUN] [--out RUN]
python train_card.py --resume RUN

On CUDA it computes in FP16; on a CPU in whatever a short trial shows to be fastest.
"""

import argparse
import os
from pathlib import Path

from rich.console import Console

import segwright

HERE = Path(os.path.realpath(__file__)).parent


def main() -> None:
    """Read the flags and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=HERE.parent / "dataset")
    parser.add_argument("--backbone", choices=["large", "small"], default="large", help="of MobileNetV3")
    parser.add_argument("--out", type=Path, help="default runs/card_BACKBONE beside train/")
    parser.add_argument("--minutes", type=float, default=0.0, help="plan the run to fit; 0 counts epochs")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--start", default="", metavar="RUN", help="begin with the weights of that run")
    parser.add_argument("--resume", type=Path, metavar="RUN", help="go on exactly where that run was stopped")
    asked = parser.parse_args()
    out = asked.resume or asked.out or HERE.parent / "runs" / f"card_{asked.backbone}"
    how = {"epochs": asked.epochs, "minutes": asked.minutes, "batch_size": asked.batch_size, "load_model": asked.start}
    try:
        recipe = segwright.named_recipe("card").with_settings(
            model=f"lraspp_mobilenet_v3_{asked.backbone}", logger="none", **how
        )
        if asked.resume:
            segwright.resume(asked.resume, console=Console())
        else:
            segwright.train(asked.data, recipe, out, console=Console())
    except segwright.SegwrightError as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        parser.exit(2, f"Stopped. Go on with: python {Path(__file__).name} --resume {out}\n")


if __name__ == "__main__":
    main()
