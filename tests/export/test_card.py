"""The card beside exported files: one README.md for a folder, whose Python programs run."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segwright.checkpoint import Checkpoint
from segwright.classes import Classes
from segwright.data.sample import read_image
from segwright.export.card import FIRST_LINE, card, write_card
from segwright.export.card_code import trtexec
from segwright.export.deployable import deployed_facts, made_up_pictures
from segwright.export.formats import default_name, format_of
from segwright.export.parity import Certificate
from segwright.export.request import ExportRequest
from segwright.predict.predictor import load

pytest.importorskip("onnx", reason="the extra segwright[onnx] is not installed")
MakeCheckpoint = Callable[..., Checkpoint]
PROOF = Certificate(
    model="m",
    reference="pytorch",
    candidate="onnxruntime",
    pictures=40,
    pixels=1000,
    agreement=0.9999,
    worst_agreement=0.998,
    worst_key="a/b",
    largest_difference=0.01,
    least_agreement=0.999,
    pictures_with_mask=40,
    reference_miou=0.91,
    candidate_miou=0.909,
    miou_change=(-0.001, -0.002, 0.0005),
    candidate_interval=(0.88, 0.93),
)


def test_it_says_what_a_stranger_needs(binary: Checkpoint, tmp_path: Path) -> None:
    text = card(tmp_path / "m.onnx", deployed_facts(binary), ExportRequest(), PROOF)
    for said in (
        "| input | `input_1` | uint8 | batch, 72, 88, 3 | 0..255, RGB as decoded |",
        "| output | `probabilities` | float32 | batch, 1, 72, 88 | 0..1, of the second class |",
        "| 1 | card | #00ffff |",
        "A pixel is card where its probability is 0.7 or more.",
        "Mean IoU of this file on 40 pictures with masks: 0.909 (95 % interval over pictures 0.880 to 0.930).",
        "training pictures filled up",
        "agrees with pytorch on 99.990 %",
        "Weights and data: cards: Apache-2.0.",
        "onnxruntime_cxx_api.h",
        "onnxruntime-web",
        "trtexec --onnx=m.onnx",
    ):
        assert said in text


def test_files_of_one_folder_share_a_card_and_keep_their_parts(binary: Checkpoint, tmp_path: Path) -> None:
    facts = deployed_facts(binary)
    for name in ("a.onnx", "b.onnx", "a.onnx"):
        assert write_card(tmp_path / name, facts, ExportRequest(), PROOF) == tmp_path / "README.md"
    text = (tmp_path / "README.md").read_text()
    assert text.startswith(FIRST_LINE)
    assert [line for line in text.splitlines() if line.startswith("# ")] == ["# b.onnx", "# a.onnx"]


def test_a_readme_of_somebody_else_is_left_alone(binary: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# Mine\n")
    written = write_card(tmp_path / "a.onnx", deployed_facts(binary), ExportRequest(), PROOF)
    assert written == tmp_path / "a.onnx.README.md"
    assert (tmp_path / "README.md").read_text() == "# Mine\n"


def test_names_cannot_break_the_table(binary: Checkpoint, tmp_path: Path) -> None:
    odd = dataclasses.replace(binary, classes=Classes(names=("a|b", "<script>")))
    text = card(tmp_path / "m.onnx", deployed_facts(odd), ExportRequest(), PROOF)
    assert "| 0 | a\\|b | #000000 |" in text
    assert "| 1 | &lt;script> |" in text


LYING = (70, 121)
"""Height and width of the picture that the programs read; no multiple of anything, and turned by networks that stand upright."""


@pytest.mark.parametrize(
    ("classes", "fit", "turn", "asked"),
    [
        (2, "pad", True, {}),
        (3, "stretch", False, {"outputs": ("logits",), "layout": "nchw", "batch": 2}),
        (2, "pad", True, {"any_size": True, "to": "openvino"}),
    ],
)
def test_its_python_programs_answer_as_segwright_does(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, classes: int, fit: str, turn: bool, asked: dict[str, Any]
) -> None:
    upright = make_checkpoint(
        "UnetClassic", classes=classes, size_hw=(64, 48), fit=fit, threshold=0.6, base_channels=4, padding=1
    )
    recipe = dataclasses.replace(upright.recipe, data=dataclasses.replace(upright.recipe.data, turn=turn))
    checkpoint, request = dataclasses.replace(upright, recipe=recipe), ExportRequest(**asked)
    if request.to == "openvino":
        pytest.importorskip("openvino", reason="the extra segwright[openvino] is not installed")
    out = tmp_path / default_name(request)
    form = format_of(request, out)
    form.write(checkpoint, request, out, None)
    Image.fromarray(made_up_pictures(1, LYING)[0]).save(tmp_path / "picture.jpg")
    text = card(out, deployed_facts(checkpoint, request), request, PROOF)
    programs = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(programs) == 2
    for program in programs:
        ran = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
    expected = load(out).predict(read_image(tmp_path / "picture.jpg")).class_map
    found = np.asarray(Image.open(tmp_path / "class_map.png"))
    assert found.shape == LYING
    assert len(np.unique(expected)) == classes, "a network that answers the same everywhere would prove nothing"
    assert (found == expected).mean() > 0.999


def test_the_program_of_a_tiled_model_says_that_it_answers_one_tile(tiny: Checkpoint, tmp_path: Path) -> None:
    facts = dataclasses.replace(deployed_facts(tiny), tiled=True)
    text = card(tmp_path / "m.onnx", facts, ExportRequest(), PROOF)
    assert "crop((0, 0, 64, 48))" in text
    assert "segwright.load cuts a whole one into tiles" in text


def test_trtexec_names_shapes_only_where_they_are_open(binary: Checkpoint) -> None:
    free = trtexec(Path("m.onnx"), deployed_facts(binary))
    assert "--shapes=input_1:1x72x88x3" in free
    assert "--stronglyTyped  # TensorRT 10" in free
    assert "--shapes=input_1:1x3x72x88" in trtexec(Path("m.onnx"), deployed_facts(binary, layout="nchw", any_size=True))
    assert "hapes" not in trtexec(Path("m.onnx"), deployed_facts(binary, batch=1))
