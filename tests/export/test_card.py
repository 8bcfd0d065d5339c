"""The card beside exported files: one README.md for a folder, whose Python programs run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from segwright.checkpoint import Checkpoint
from segwright.engines.onnx import OnnxEngine
from segwright.export.card import FIRST_LINE, card, write_card
from segwright.export.card_code import trtexec
from segwright.export.deployable import deployed_facts, made_up_pictures
from segwright.export.parity import Certificate
from segwright.export.request import ExportRequest

pytest.importorskip("onnx", reason="the extra segwright[onnx] is not installed")
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
    import dataclasses

    from segwright.classes import Classes

    odd = dataclasses.replace(binary, classes=Classes(names=("a|b", "<script>")))
    text = card(tmp_path / "m.onnx", deployed_facts(odd), ExportRequest(), PROOF)
    assert "| 0 | a\\|b | #000000 |" in text
    assert "| 1 | &lt;script> |" in text


def test_its_python_programs_run(binary: Checkpoint, binary_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.onnx"
    out.write_bytes(binary_file.read_bytes())
    Image.fromarray(made_up_pictures(1, (60, 90))[0]).save(tmp_path / "picture.jpg")
    text = card(out, OnnxEngine(out).facts, ExportRequest(), PROOF)
    programs = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(programs) == 2
    for program in programs:
        ran = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
    assert "(1, 72, 88) 0 1" in ran.stdout


def test_trtexec_names_shapes_only_where_they_are_open(binary: Checkpoint) -> None:
    free = trtexec(Path("m.onnx"), deployed_facts(binary))
    assert "--shapes=input_1:1x72x88x3" in free
    assert "--stronglyTyped  # TensorRT 10" in free
    assert "--shapes=input_1:1x3x72x88" in trtexec(Path("m.onnx"), deployed_facts(binary, layout="nchw", any_size=True))
    assert "hapes" not in trtexec(Path("m.onnx"), deployed_facts(binary, batch=1))
