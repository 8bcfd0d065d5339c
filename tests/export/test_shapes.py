"""`--shapes`: what it may look like, and what the file allows."""

from __future__ import annotations

import dataclasses

import pytest

from segwright.classes import Classes
from segwright.engines.contract import ModelFacts
from segwright.engines.interface import Interface
from segwright.engines.tensorrt_note import Shapes
from segwright.errors import UserError
from segwright.export.shapes import chosen_shapes, free_shape
from segwright.export.trtexec import VERSIONS, trtexec_command, trtexec_commands

FACTS = ModelFacts(name="m", classes=Classes(names=("background", "card")), size_hw=(640, 480), fit="pad")
FIXED = (None, 640, 480, 3)
ANY = (None, None, None, 3)
ONE = (1, 640, 480, 3)


def test_without_any_it_is_one_picture_of_the_models_size() -> None:
    shapes = chosen_shapes("", "input_1", FIXED, FACTS)
    assert (shapes.least, shapes.best, shapes.most, shapes.fixed) == (ONE, ONE, ONE, True)


@pytest.mark.parametrize("text", ["input_1:1x640x480x3", "1x640x480x3", " input_1:1X640X480X3 "])
def test_the_form_of_trtexec_is_taken(text: str) -> None:
    assert chosen_shapes(text, "input_1", FIXED, FACTS) == Shapes(name="input_1", least=ONE, best=ONE, most=ONE)


def test_ranges() -> None:
    three = chosen_shapes("input_1:1x640x480x3..4x640x480x3..8x640x480x3", "input_1", FIXED, FACTS)
    assert (three.least[0], three.best[0], three.most[0], three.fixed) == (1, 4, 8, False)
    two = chosen_shapes("1x32x32x3..1x1280x960x3", "input_1", ANY, dataclasses.replace(FACTS, any_size=True))
    assert (two.least, two.best, two.most) == ((1, 32, 32, 3), (1, 1280, 960, 3), (1, 1280, 960, 3))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("input_1:1x480x640x3", "takes Nx640x480x3, not 1x480x640x3"),
        ("input_1:1x3x640x480", "takes Nx640x480x3"),
        ("images:1x640x480x3", "names the input images, but the model's is input_1"),
        ("input_1:1x640x480x3,mask:1x640x480", "names several inputs"),
        ("input_1:640x480", "has 2 numbers instead of 4"),
        ("input_1:", "is no shape"),
        ("1x640xwidex3", "is no shape"),
        ("8x640x480x3..1x640x480x3", "must not shrink"),
        ("1x640x480x3.." * 4 + "1x640x480x3", "more than three"),
        ("0x640x480x3", "batches go to"),
        ("99999x640x480x3", "batches go to"),
        ("-1x640x480x3", "batches go to"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        chosen_shapes(text, "input_1", FIXED, FACTS)
    assert "\n" not in str(caught.value)


def test_an_any_size_engine_needs_its_sizes() -> None:
    with pytest.raises(UserError, match=r"give --shapes input_1:1x640x480x3\.\.1x1280x960x3\.\.1x2560x1920x3"):
        chosen_shapes("", "input_1", ANY, dataclasses.replace(FACTS, any_size=True))


def test_trtexec_lines_differ_by_version() -> None:
    one = Shapes(name="input_1", least=ONE, best=ONE, most=ONE)
    lines = trtexec_commands("m.onnx", "m.engine", shapes=one, precision="fp16", workspace=2048)
    start = "trtexec --onnx=m.onnx --saveEngine=m.engine --shapes=input_1:1x640x480x3"
    assert lines == {
        8: f"{start} --workspace=2048 --fp16",
        10: f"{start} --memPoolSize=workspace:2048 --stronglyTyped",
        11: f"{start} --memPoolSize=workspace:2048",
    }


def test_trtexec_takes_no_shapes_for_a_file_that_leaves_none_open() -> None:
    line = trtexec_command(11, "m.onnx", "m.engine", shapes=None, precision="fp32", workspace=1)
    assert line == "trtexec --onnx=m.onnx --saveEngine=m.engine --memPoolSize=workspace:1"


def test_files_with_another_interface() -> None:
    first = dataclasses.replace(FACTS, interface=Interface(input_name="pixels", layout="nchw", batch=2))
    assert free_shape(first) == (2, 3, 640, 480)
    shapes = chosen_shapes("", "pixels", free_shape(first), first)
    assert (shapes.name, shapes.best, shapes.fixed) == ("pixels", (2, 3, 640, 480), True)


def test_trtexec_lines_of_ranges_and_odd_names() -> None:
    several = Shapes(name="input_1", least=ONE, best=(4, *ONE[1:]), most=(8, *ONE[1:]))
    line = trtexec_command(
        11, "my model.onnx", "m.engine", shapes=several, precision="int8", workspace=64, timing_cache="t.cache"
    )
    assert line == (
        "trtexec '--onnx=my model.onnx' --saveEngine=m.engine --minShapes=input_1:1x640x480x3 --optShapes=input_1:4x640x480x3 "
        "--maxShapes=input_1:8x640x480x3 --memPoolSize=workspace:64 --timingCacheFile=t.cache"
    )
    eight = trtexec_command(8, "m.onnx", "m.engine", shapes=several, precision="int8", workspace=64)
    assert eight.endswith("--workspace=64 --int8")
    assert VERSIONS == (8, 10, 11)
