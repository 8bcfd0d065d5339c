"""Make a trained card model faster: channels are taken out, the rest learns again, and time and IoU are measured.

python prune_card.py [RUN] [--speedup 2] [--max-drop 1] [--data ../dataset] [--minutes 20 | --epochs 10] [--out PRUNED]
"""

import argparse
import os
from pathlib import Path

from rich.console import Console

import segwright

HERE = Path(os.path.realpath(__file__)).parent


def main() -> None:
    """Read the flags and prune."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", default=HERE.parent / "runs" / "card_large", help="run folder")
    parser.add_argument("--data", type=Path, default=HERE.parent / "dataset")
    parser.add_argument(
        "--speedup", type=float, default=2.0, help="times as fast in the engine that serves it best here"
    )
    parser.add_argument("--channels", type=float, help="share of the channels to keep, instead of a speed")
    parser.add_argument("--max-drop", type=float, default=1.0, help="points of card IoU that may be lost in val")
    parser.add_argument("--minutes", type=float, default=0.0, help="of learning again; 0 counts epochs")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--out", type=Path, help="default RUN_pruned")
    asked = parser.parse_args()
    out = asked.out or asked.model.with_name(f"{asked.model.name}_pruned")
    how = {"channels": asked.channels} if asked.channels else {"speedup": asked.speedup}
    how |= {"max_drop": asked.max_drop, "minutes": asked.minutes, "epochs": asked.epochs}
    try:
        segwright.prune_model(asked.model, asked.data, out, console=Console(), **how)
    except segwright.SegwrightError as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        parser.exit(2, f"Stopped. Go on with: segwright prune --resume {out}\n")
    Console().print(f"The pruned run lies in {out}; next: python export_card.py {out}", soft_wrap=True)


if __name__ == "__main__":
    main()
