"""The committed card model: what it is, that its README tells its own numbers, and what it scores on photographs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import segwright
from segwright.evaluation.report import Report

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "train" / "exported_models" / "card_segmentation.onnx"
PHOTOGRAPHS = ROOT.parent / "shared" / "data" / "cards-real"
LARGEST = 8 * 1024 * 1024
LEAST_IOU = 0.93


def metadata() -> dict[str, str]:
    import onnx

    return {entry.key: entry.value for entry in onnx.load(MODEL).metadata_props}


def readme() -> str:
    return MODEL.with_name("README.md").read_text(encoding="utf-8")


def test_it_is_one_small_file_of_raw_pixels_in_half_precision() -> None:
    import onnx

    assert MODEL.stat().st_size < LARGEST
    model = onnx.load(MODEL)
    (given,) = model.graph.input
    assert given.name == "input_1"
    assert given.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [dim.dim_value for dim in given.type.tensor_type.shape.dim][1:] == [640, 480, 3]
    weights = sum(
        len(tensor.raw_data) for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT16
    )
    assert weights > 0.5 * MODEL.stat().st_size
    assert all(tensor.data_location != onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer)


def test_it_carries_its_facts_and_no_place_of_a_machine() -> None:
    facts = segwright.load(MODEL).engine.facts
    assert facts.name == "lraspp_mobilenet_v3_large"
    assert facts.classes.names == ("background", "card")
    assert (facts.size_hw, facts.fit, facts.turn, facts.precision) == ((640, 480), "pad", True, "fp16")
    assert "Apache-2.0" in facts.provenance["licence"]["data"]
    everything = "\n".join(metadata().values())
    assert not re.search(r"(?<![\w.~-])/(work|root|home|Users|tmp)/", everything)


def test_the_readme_tells_what_the_file_says() -> None:
    facts, certificate = segwright.load(MODEL).engine.facts, json.loads(metadata()["certificate"])
    known, text = facts.provenance, readme()
    assert certificate["passed"]
    for said in (
        f"{known['train_pictures']} pictures, {known['step']} steps",
        f"on {known['date']}",
        f"--backbone large --minutes {known['recipe']['fit']['minutes']:g}",
        known["licence"]["data"],
    ):
        assert said in text


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="the photographs beside the repository are not there")
def test_it_finds_cards_in_photographs_it_has_never_seen() -> None:
    report: Report = segwright.evaluate(MODEL, PHOTOGRAPHS, split="test")
    name, score, constant = report.headline
    assert len(report.pictures) == 17
    assert score.value >= LEAST_IOU > constant
    assert f"**{name} {score}**" in readme(), "the README was written from this very measurement"


def test_the_readme_s_python_program_answers_as_segwright_does(tmp_path: Path) -> None:
    """On a drawn scene that lies across, so that it has to be turned and turned back."""
    lying = np.rot90(segwright.draw_scene(np.random.default_rng(4)).image)[:, :600]
    Image.fromarray(np.ascontiguousarray(lying)).save(tmp_path / "picture.jpg")
    (tmp_path / MODEL.name).symlink_to(MODEL)
    (program,) = re.findall(r"without segwright.*?```python\n(.*?)```", readme(), re.DOTALL)
    ran = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    expected = segwright.load(MODEL, engine="file").predict(segwright.read_image(tmp_path / "picture.jpg")).class_map
    found = np.asarray(Image.open(tmp_path / "class_map.png"))
    assert 0.01 < expected.mean() < 0.9
    assert (found == expected).mean() > 0.9995
