"""Export a card model to exported_models/card_segmentation.onnx, prove it equal to the run, measure it, and write its README.

python export_card.py [RUN] [--data ../dataset] [--precision fp16] [--out exported_models/card_segmentation.onnx]
"""

import argparse
import os
from pathlib import Path

from rich.console import Console

import segwright

HERE = Path(os.path.realpath(__file__)).parent
BEGIN, END = "<!-- begin how it was made -->\n", "<!-- end how it was made -->\n"


def made(model: Path, data: Path) -> str:
    """Where the model comes from and what it scores, as Markdown, from the file and from a measurement of it."""
    known, report = segwright.load(model).engine.facts.provenance, segwright.evaluate(model, data)
    recipe, (name, score, _) = known["recipe"], report.headline
    length = "minutes" if recipe["fit"]["minutes"] else "epochs"
    backbone = recipe["model"]["model"].rsplit("_", 1)[1]
    start, began = recipe["model"]["load_model"], "a random start"
    if start:
        began = f"the weights of the run {start}, of which ../README.md tells"
    return (
        f"# How {model.name} was made\n\n```bash\npython make_dataset.py --real cards-real/train\n"
        f"python train_card.py --backbone {backbone} --{length} {recipe['fit'][length]:g}{f' --start {start}' if start else ''}\n"
        f"python export_card.py ../runs/card_{backbone} --data {report.data}\n```\n\n"
        f"- Trained on {known['date']} from {began}: {known['train_pictures']} pictures, {known['step']} steps, on "
        f"{known['threads']} of {known['cores']} CPU cores, {known['precision']}, PyTorch {known['torch']}.\n"
        f"- **{name} {score}** with its 95 % interval, on the {len(report.pictures)} pictures of {report.data}/{report.split}.\n"
        f"- Licence of the pictures it has learnt from: {known['licence']['data']}.\n"
    )


def main() -> None:
    """Read the flags, export and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", default=HERE.parent / "runs" / "card_large", help="run folder")
    parser.add_argument("--data", type=Path, default=HERE.parent / "dataset", help="its test pictures are the proof")
    parser.add_argument("--precision", choices=["fp32", "fp16"], default="fp16")
    parser.add_argument("--out", type=Path, default=HERE / "exported_models" / "card_segmentation.onnx")
    asked = parser.parse_args()
    readme = asked.out.with_name("README.md")
    try:
        segwright.export_model(asked.model, asked.out, data=asked.data, precision=asked.precision, console=Console())
        part = f"{BEGIN}{made(asked.out, asked.data)}{END}"
    except segwright.SegwrightError as error:
        parser.error(str(error))
    others = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    others = others.partition(BEGIN)[0] + others.partition(END)[2]
    readme.write_text(f"{others.rstrip()}\n\n{part}".lstrip(), encoding="utf-8")


if __name__ == "__main__":
    main()
