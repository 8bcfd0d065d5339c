"""OpenVINO: the same answers as ONNX Runtime, from .onnx files and from pairs of .xml and .bin, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from segwright.engines.contract import METADATA_KEY, Engine, ModelFacts
from segwright.engines.opening import open_engine
from segwright.engines.openvino import OpenVinoEngine
from segwright.errors import ModelError, UserError
from tests.test_engines import FACTS, brightness_model, written

openvino = pytest.importorskip("openvino", reason="the extra segwright[openvino] is not installed")
WritePair = Callable[..., Path]


@pytest.fixture
def write_pair(tmp_path: Path) -> WritePair:
    def write(facts: ModelFacts | None = FACTS, name: str = "m.xml") -> Path:
        model = openvino.Core().read_model(model=brightness_model(None).SerializeToString(), weights=b"")
        if facts is not None:
            model.set_rt_info(json.dumps(facts.to_dict()), [METADATA_KEY, "facts"])
        openvino.save_model(model, tmp_path / name, compress_to_fp16=False)
        return tmp_path / name

    return write


def brightness(engine: Engine) -> float:
    """Largest error of the answers to two random pictures."""
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 12, 3), dtype=np.uint8)
    answer = engine.probabilities(images)
    assert answer.shape == (2, 1, 8, 12)
    assert answer.dtype == np.float32
    return float(np.abs(answer[:, 0] - images.mean(axis=3) / 255).max())


def test_an_onnx_file_runs_with_openvino_when_asked(tmp_path: Path) -> None:
    path = written(brightness_model(), tmp_path / "m.onnx")
    fast = open_engine(path, engine="openvino", threads=1)
    exact = open_engine(path, engine="openvino-fp32", threads=1)
    assert (fast.name, fast.facts) == ("openvino", FACTS)
    assert isinstance(exact, OpenVinoEngine)
    assert exact.computes_in == "f32"
    assert brightness(exact) < 1e-6
    assert brightness(fast) < 2e-2, "bfloat16 has 8 bits"


def test_classes_and_probabilities_come_from_one_run(write_pair: WritePair) -> None:
    images = np.random.default_rng(1).integers(0, 256, (1, 8, 12, 3), dtype=np.uint8)
    class_maps, probabilities = OpenVinoEngine(write_pair()).run(images)
    assert class_maps.dtype == np.uint8
    assert np.array_equal(class_maps, (probabilities[:, 0] >= 0.5).astype(np.uint8))


@pytest.mark.parametrize(("precision", "exact"), [("fp32", True), ("fp16", False)])
def test_a_pair_is_computed_as_it_was_proven(write_pair: WritePair, precision: str, exact: bool) -> None:
    engine = open_engine(write_pair(dataclasses.replace(FACTS, precision=precision)))
    assert isinstance(engine, OpenVinoEngine)
    fastest = open_engine(write_pair(), engine="openvino")
    assert isinstance(fastest, OpenVinoEngine)
    assert engine.computes_in == ("f32" if exact else fastest.computes_in)
    assert brightness(engine) < (1e-6 if exact else 2e-2)


def test_pictures_of_another_shape_are_refused(write_pair: WritePair) -> None:
    with pytest.raises(UserError, match=r"takes uint8 pictures of shape \(B, 8, 12, 3\)"):
        OpenVinoEngine(write_pair()).probabilities(np.zeros((1, 8, 13, 3), np.uint8))


def test_files_that_cannot_be_used_are_named_in_one_sentence(write_pair: WritePair, tmp_path: Path) -> None:
    whole = write_pair()
    alone = tmp_path / "alone.xml"
    alone.write_bytes(whole.read_bytes())
    cut = write_pair(name="cut.xml")
    cut.write_bytes(cut.read_bytes()[:500])
    short = write_pair(name="short.xml")
    short.with_suffix(".bin").write_bytes(b"x")
    pointer = write_pair(name="pointer.xml")
    pointer.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 13000000\n")
    for path, said in (
        (tmp_path / "absent.xml", "does not exist"),
        (alone, r"has no alone\.bin beside it"),
        (cut, "cannot be read by OpenVINO"),
        (short, "cannot be read by OpenVINO"),
        (pointer, "git lfs pull"),
        (write_pair(None, "foreign.xml"), "does not carry the facts"),
    ):
        with pytest.raises(ModelError, match=said) as caught:
            open_engine(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["no json", "[]", "{}", "[" * 100_000])
def test_damaged_facts_are_refused(tmp_path: Path, text: str) -> None:
    model = openvino.Core().read_model(model=brightness_model(None).SerializeToString(), weights=b"")
    model.set_rt_info(text, [METADATA_KEY, "facts"])
    openvino.save_model(model, tmp_path / "m.xml")
    with pytest.raises(ModelError, match="facts are damaged"):
        open_engine(tmp_path / "m.xml")


def test_engines_are_chosen_by_name(tmp_path: Path) -> None:
    path = written(brightness_model(), tmp_path / "m.onnx")
    with pytest.raises(UserError, match=r"no engine 'caffe'; choose auto, file, pytorch, .*onnxruntime, .*openvino"):
        open_engine(path, engine="caffe")
    with pytest.raises(UserError, match=r"pytorch runs run folders and \.safetensors, not .*m\.onnx"):
        open_engine(path, engine="pytorch")
    with pytest.raises(UserError, match="on the CPU here, not on 'cuda'"):
        open_engine(path, engine="openvino", device="cuda")
