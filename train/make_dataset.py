"""Draw a data set of cards into ../dataset, with photographed cards among them where you have some.

python make_dataset.py [--real FOLDER_WITH_IMAGES_AND_MASKS] [--count 5000] [--out ../dataset]

The photographs behind the committed model are described in README.md; they are under Apache-2.0.
"""

import argparse
import os
from pathlib import Path

import segwright

HERE = Path(os.path.realpath(__file__)).parent


def main() -> None:
    """Read the flags and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE.parent / "dataset")
    parser.add_argument("--real", type=Path, help="photographs: images/*.jpg and masks/*.png, white = card")
    parser.add_argument("--real-share", type=float, default=0.4, help="of them in what is trained on")
    parser.add_argument("--count", type=int, default=5000, help="drawn pictures")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, help="processes that draw; default one for each core")
    asked = parser.parse_args()
    share = {"photographs": asked.real, "photo_share": asked.real_share}
    try:
        segwright.mixed_cards(asked.out, count=asked.count, seed=asked.seed, workers=asked.workers, **share)
    except segwright.SegwrightError as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        parser.exit(2, "Stopped; nothing was written.\n")


if __name__ == "__main__":
    main()
