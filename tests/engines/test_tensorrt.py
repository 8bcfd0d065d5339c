"""The TensorRT engine on a pretended GPU: the same answers as ONNX Runtime, batches, sizes, notes, and everything refused."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segwright.engines.interface import Interface
from segwright.engines.onnx import OnnxEngine
from segwright.engines.opening import open_engine
from segwright.engines.tensorrt_note import note_path
from segwright.errors import MissingExtraError, ModelError, UserError
from segwright.export.tensorrt import BuildSettings, build_engine
from tests.fake_gpu import absent, pretend_gpu
from tests.test_engines import FACTS, brightness_model, written

onnx = pytest.importorskip("onnx", reason="the extra segwright[onnx] is not installed")


@pytest.fixture
def trt(monkeypatch: pytest.MonkeyPatch) -> Any:
    return pretend_gpu(monkeypatch)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return written(brightness_model(), tmp_path / "m.onnx")


def built(source: Path, shapes: str = "") -> Path:
    out = source.with_suffix(".engine")
    build_engine(source, out, BuildSettings(shapes=shapes), progress=False)
    return out


def pictures(count: int, height: int = 8, width: int = 12) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("shapes", "count"),
    [("", 1), ("", 3), ("2x8x12x3..2x8x12x3..4x8x12x3", 1), ("2x8x12x3..4x8x12x3", 9), ("1x8x12x3..4x8x12x3", 4)],
)
def test_answers_are_those_of_the_onnx_file_whatever_the_batch(trt: Any, source: Path, shapes: str, count: int) -> None:
    images = pictures(count)
    images.flags.writeable = False  # as Pillow hands them out
    engine = open_engine(built(source, shapes))
    assert (engine.name, engine.facts) == ("tensorrt", FACTS)
    answer = engine.probabilities(images)
    assert answer.dtype == np.float32
    assert np.array_equal(answer, OnnxEngine(source, device="cpu").probabilities(images))


def test_class_maps_are_bytes(trt: Any, source: Path) -> None:
    engine: Any = open_engine(built(source), device="cuda", threads=2)
    class_maps, probabilities = engine.run(pictures(2))
    assert (class_maps.shape, class_maps.dtype) == ((2, 8, 12), np.uint8)
    assert np.array_equal(class_maps, (probabilities[:, 0] >= 0.5).astype(np.uint8))
    assert np.array_equal(class_maps, engine.class_maps(pictures(2)))


@pytest.mark.parametrize("floats", [False, True])
def test_channels_first_and_logits_are_understood(trt: Any, tmp_path: Path, floats: bool) -> None:
    make, types = onnx.helper, onnx.TensorProto
    given: list[Any] = ["n", 3, 8, 12]
    nodes = [
        make.make_node("Cast", ["image"], ["f"], to=types.FLOAT),
        make.make_node("ReduceMean", ["f", "axis"], ["out"], keepdims=1),
    ]
    graph = make.make_graph(
        nodes,
        "first",
        [make.make_tensor_value_info("image", types.FLOAT if floats else types.UINT8, given)],
        [make.make_tensor_value_info("out", types.FLOAT, ["n", 1, 8, 12])],
        [onnx.numpy_helper.from_array(np.array([1]), "axis")],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 20)], ir_version=10)
    interface = Interface(input_name="image", layout="nchw", floats=floats, outputs={"logits": "out"})
    facts = dataclasses.replace(FACTS, interface=interface)
    model.metadata_props.add(key="segwright", value=json.dumps(facts.to_dict()))
    source = written(model, tmp_path / "first.onnx")
    images = pictures(3) // 64
    engine: Any = open_engine(built(source, "image:1x3x8x12..2x3x8x12"))
    (class_maps, probabilities), expected = engine.run(images), OnnxEngine(source, device="cpu").run(images)
    assert np.array_equal(class_maps, expected[0])
    assert np.array_equal(probabilities, expected[1])
    assert len(np.unique(probabilities)) > 2


def test_sizes_out_of_range_are_refused(trt: Any, three_any_size: Path) -> None:
    engine = open_engine(built(three_any_size, "1x8x8x3..1x32x48x3"))
    assert engine.probabilities(pictures(1, 20, 31)).shape == (1, 1, 20, 31)
    with pytest.raises(UserError, match="was built for pictures from 8x8 to 48x32, not for 49x32"):
        engine.probabilities(pictures(1, 32, 49))
    with pytest.raises(UserError, match="no pictures in this batch"):
        engine.probabilities(pictures(0, 32, 48))


@pytest.fixture
def three_any_size(tmp_path: Path) -> Path:
    return written(brightness_model(dataclasses.replace(FACTS, any_size=True)), tmp_path / "any.onnx")


def test_an_engine_made_elsewhere_takes_its_facts_from_the_onnx_file(trt: Any, source: Path) -> None:
    engine = built(source)
    note_path(engine).unlink()
    assert open_engine(engine).facts == FACTS
    source.unlink()
    with pytest.raises(ModelError, match=r"put m\.engine\.json .* or m\.onnx .* beside it"):
        open_engine(engine)


def test_an_engine_that_is_not_the_one_of_the_note_is_never_loaded(
    trt: Any, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = built(source)
    whole = engine.read_bytes()
    monkeypatch.setattr(trt, "Runtime", lambda _: pytest.fail("it was loaded"))
    for content, said in (
        (whole[: len(whole) // 2], "another SHA-256"),
        (whole + b" ", "another SHA-256"),
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ):
        engine.write_bytes(content)
        with pytest.raises(ModelError, match=said) as caught:
            open_engine(engine)
        assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="does not exist"):
        open_engine(source.with_name("absent.engine"))


@pytest.mark.parametrize("text", ["", "no json", "[]", "{}", "null", "[" * 100_000, '{"segwright": {}}'])
def test_a_damaged_note_is_refused(trt: Any, source: Path, text: str) -> None:
    engine = built(source)
    note_path(engine).write_text(text)
    with pytest.raises(ModelError, match="damaged") as caught:
        open_engine(engine)
    assert "\n" not in str(caught.value)


def test_an_engine_of_another_version_says_so(trt: Any, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = built(source)
    monkeypatch.setattr(trt, "__version__", "10.9.0")
    monkeypatch.setattr(sys.modules["tests.fake_tensorrt"], "MAGIC", b"newer")
    with pytest.raises(
        ModelError, match=r"built by tensorrt 11\.4\.0\.106, and version 10\.9\.0, installed here.*Magic tag"
    ):
        open_engine(engine)


def test_a_foreign_engine_is_refused(trt: Any, source: Path) -> None:
    engine = built(source)
    raw = json.loads(note_path(engine).read_text())
    foreign = brightness_model()
    foreign.graph.output[1].name = foreign.graph.node[3].output[0] = foreign.graph.node[4].input[0] = "other"
    data = engine.read_bytes()
    changed = data[: data.index(source.read_bytes())] + foreign.SerializeToString()
    engine.write_bytes(changed)
    import hashlib

    note_path(engine).write_text(json.dumps(raw | {"sha256": hashlib.sha256(changed).hexdigest()}))
    with pytest.raises(ModelError, match="does not have the input and outputs that its facts promise"):
        open_engine(engine)


def test_a_failure_on_the_gpu_is_one_sentence(trt: Any, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_engine(built(source))
    monkeypatch.setattr("tests.fake_tensorrt.Engine.works", False)
    with pytest.raises(ModelError, match=r"TensorRT failed \(it gave no reason\)"):
        engine.probabilities(pictures(1))

    def out_of_memory(*_: Any, **__: Any) -> Any:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(torch, "empty", out_of_memory)
    with pytest.raises(ModelError, match="too little memory for a batch of 1x8x12x3"):
        engine.probabilities(pictures(1))


def test_what_is_missing_is_said_in_one_sentence(trt: Any, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = built(source)
    with pytest.raises(UserError, match="runs on an NVIDIA GPU only"):
        open_engine(engine, device="cpu")
    with pytest.raises(UserError, match="There is no device"):
        open_engine(engine, device="tpu")
    absent(monkeypatch, "tensorrt")
    with pytest.raises(MissingExtraError, match=r"needs tensorrt.*segwright\[tensorrt\]"):
        open_engine(engine)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="PyTorch finds no NVIDIA GPU with a driver here"):
        open_engine(engine)
