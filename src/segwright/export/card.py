"""The card beside an exported model: README.md, one part for each file of the folder, written anew when its file is.

A README.md that somebody else wrote is never touched: the card then goes to OUT's name with .README.md.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from segwright.engines.contract import ModelFacts
from segwright.export.card_code import examples
from segwright.export.deployable import licence
from segwright.export.parity import Certificate
from segwright.export.request import ExportRequest
from segwright.outputs import write_text

FIRST_LINE = "<!-- Written by segwright export: each part below belongs to one file and is written anew with it. -->"
MOST_KEPT = 4 * 1024 * 1024
"""Bytes of a README.md that are read."""


def write_card(out: Path, facts: ModelFacts, request: ExportRequest, certificate: Certificate) -> Path:
    """Write or renew the part about `out` in the README.md beside it.

    Args:
        out: the finished file.
        facts: what it says about itself.
        request: what was asked for.
        certificate: its proof.

    Returns:
        The file that holds the card.

    Raises:
        OutputError: it cannot be written.
    """
    part = f"{_begin(out)}\n{card(out, facts, request, certificate).strip()}\n{_end(out)}\n"
    readme = out.with_name("README.md")
    try:
        there = readme.read_text(encoding="utf-8") if readme.stat().st_size <= MOST_KEPT else ""
    except FileNotFoundError:
        there = f"{FIRST_LINE}\n"
    except (OSError, UnicodeDecodeError):
        there = ""
    if not there.startswith(FIRST_LINE):
        return write_text(out.with_name(f"{out.name}.README.md"), f"{FIRST_LINE}\n\n{part}")
    old = re.compile(f"{re.escape(_begin(out))}\n.*?{re.escape(_end(out))}\n", re.DOTALL)
    others = old.sub("", there).rstrip()
    return write_text(readme, f"{others}\n\n{part}")


def card(out: Path, facts: ModelFacts, request: ExportRequest, certificate: Certificate) -> str:
    """The part about one file, as Markdown."""
    colours = facts.classes.colours
    classes = [
        f"| {number} | {_cell(name)} | #{r:02x}{g:02x}{b:02x} |"
        for number, (name, (r, g, b)) in enumerate(zip(facts.classes.names, colours, strict=True))
    ]
    lines = [
        f"# {out.name}",
        "",
        f"Semantic segmentation by {facts.name}: {', '.join(facts.classes.names)}. {_precision(facts, request)}",
        "",
        "## In and out",
        "",
        "| | name | type | shape | range |",
        "|---|---|---|---|---|",
        *_signature(facts),
        "",
        _size(facts),
        "",
        "| class | name | colour |",
        "|---|---|---|",
        *classes,
        "",
        _decision(facts),
        "",
        "## How good it is",
        "",
        *_scores(facts, certificate),
        "",
        "## How to run it",
        "",
        *examples(out, facts, request),
        "",
        "## Licences",
        "",
        "- Code that runs it: whatever engine you choose; segwright itself is Apache-2.0.",
        f"- Weights and data: {licence(facts.provenance)}.",
        "",
    ]
    return "\n".join(lines)


def _precision(facts: ModelFacts, request: ExportRequest) -> str:
    said = {
        "fp32": "Computed in FP32.",
        "fp16": "The network inside is in half precision; placement, sums and probabilities are FP32.",
        "int8": "The network inside is in 8 bits, with ranges measured on real pictures of its data.",
    }[facts.precision]
    if request.to == "openvino":
        said += " This is one of two files: keep the .xml and the .bin together."
    return said


def _signature(facts: ModelFacts) -> list[str]:
    height, width = ("height", "width") if facts.any_size else facts.size_hw
    batch = facts.interface.batch or "batch"
    shape = f"{batch}, {height}, {width}, 3" if facts.interface.layout == "nhwc" else f"{batch}, 3, {height}, {width}"
    channels = facts.classes.channels
    what = "of the second class" if channels == 1 else "of each class"
    maps = f"{batch}, {channels}, {height}, {width}"
    rows = {
        "classes": f"uint8 | {batch}, {height}, {width} | class numbers, 0..{len(facts.classes) - 1}",
        "probabilities": f"float32 | {maps} | 0..1, {what}",
        "logits": f"float32 | {maps} | any number, {what}",
    }
    return [
        f"| input | `{facts.interface.input_name}` | uint8 | {shape} | 0..255, RGB as decoded |",
        *(f"| output | `{name}` | {rows[kind]} |" for kind, name in facts.interface.outputs.items()),
    ]


def _size(facts: ModelFacts) -> str:
    height, width = facts.size_hw
    turn = "Turn pictures that lie across a quarter counter-clockwise, and their answers back. " if facts.turn else ""
    if facts.any_size:
        return f"{turn}Pictures of any size are placed inside, and answered at their own size; so is normalisation."
    if facts.tiled:
        how = (
            f"Cut larger pictures into overlapping tiles of {width}x{height} at their own scale, and blend the answers"
        )
    elif facts.fit == "pad":
        how = f"Bring pictures to {width}x{height} (width x height) by scaling and centring them on black"
    else:
        how = f"Bring pictures to {width}x{height} (width x height) by scaling each side"
    return (
        f"{turn}{how}; `segwright.load` does so exactly as in training. Scaling of values and normalisation are inside."
    )


def _decision(facts: ModelFacts) -> str:
    if facts.classes.channels == 1:
        return f"A pixel is {facts.classes.names[1]} where its probability is {facts.threshold:g} or more."
    return "A pixel belongs to its most probable class."


def _scores(facts: ModelFacts, certificate: Certificate) -> list[str]:
    lines = [f"- {certificate.sentence()}.", "- The certificate lies beside this file, and in the model's metadata."]
    if certificate.candidate_miou is not None:
        interval = ""
        if certificate.candidate_interval is not None and math.isfinite(certificate.candidate_interval[0]):
            low, high = certificate.candidate_interval
            interval = f" (95 % interval over pictures {low:.3f} to {high:.3f})"
        lines.append(
            f"- Mean IoU of this file on {certificate.pictures_with_mask} pictures with masks: "
            f"{certificate.candidate_miou:.3f}{interval}. Where fewer than 32 were held out, training pictures filled up: this shows "
            "what the export kept, and `segwright evaluate` how good the model is."
        )
    kept = facts.provenance.get("scores")
    if isinstance(kept, dict) and isinstance(kept.get("miou"), float) and math.isfinite(kept["miou"]):
        lines.append(f"- Mean IoU on validation pictures when the weights were kept: {kept['miou']:.3f}.")
    return lines


def _cell(text: str) -> str:
    """Text that cannot end a table's cell or begin a tag."""
    return text.replace("|", "\\|").replace("<", "&lt;")


def _begin(out: Path) -> str:
    return f"<!-- begin {out.name} -->"


def _end(out: Path) -> str:
    return f"<!-- end {out.name} -->"
