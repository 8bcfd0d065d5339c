"""Exported files: their shape and facts, agreement with PyTorch, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from segwright.checkpoint import Checkpoint
from segwright.engines.contract import METADATA_KEY
from segwright.engines.onnx import OnnxEngine
from segwright.engines.pytorch import PyTorchEngine
from segwright.errors import GateError, ModelError, OutputError
from segwright.export import onnx as exporter
from segwright.export.deployable import deployed_facts, made_up_pictures
from segwright.export.onnx import PLACED_TOLERANCE, TOLERANCES, export_onnx, prove
from segwright.predict.predictor import Predictor
from tests.export.rtx import builds_an_engine

onnx = pytest.importorskip("onnx", reason="the extra segwright[onnx] is not installed")
MakeCheckpoint = Callable[..., Checkpoint]


def shapes(path: Path) -> dict[str, list[str | int]]:
    model = onnx.load(path)
    return {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }


def test_a_fixed_file_says_its_size(binary_file: Path) -> None:
    assert shapes(binary_file) == {
        "input_1": ["batch", 72, 88, 3],
        "classes": ["batch", 72, 88],
        "probabilities": ["batch", 1, 72, 88],
    }


def test_an_any_size_file_names_its_dimensions(three_file: Path) -> None:
    assert shapes(three_file) == {
        "input_1": ["batch", "height", "width", 3],
        "classes": ["batch", "height", "width"],
        "probabilities": ["batch", 3, "height", "width"],
    }


def test_the_graph_is_one_plain_file(three_file: Path) -> None:
    model = onnx.load(three_file)
    types = onnx.TensorProto
    assert [i.type.tensor_type.elem_type for i in model.graph.input] == [types.UINT8]
    assert [o.type.tensor_type.elem_type for o in model.graph.output] == [types.UINT8, types.FLOAT]
    assert {o.domain: o.version for o in model.opset_import} == {"": 20}
    assert model.ir_version == 10
    assert not any(t.data_location == types.EXTERNAL for t in model.graph.initializer)
    assert not any(v.type.tensor_type.elem_type == types.DOUBLE for v in model.graph.value_info)
    assert next(n for n in model.graph.node if "input_1" in n.input and n.op_type != "Shape").op_type == "Cast"
    assert [p.name for p in three_file.parent.iterdir()] == ["three.onnx"]
    here = str(Path(__file__).resolve().parents[2]).encode()
    assert here not in three_file.read_bytes(), "paths of the machine that exported must not travel"


def test_the_metadata_can_be_read_by_people_and_by_us(binary: Checkpoint, binary_file: Path) -> None:
    metadata = {p.key: p.value for p in onnx.load(binary_file).metadata_props}
    assert metadata["names"] == "background, card"
    assert metadata["colours"] == "#000000, #00ffff"
    assert metadata["size"] == "88x72 (width x height)"
    assert metadata["licence"] == "cards: Apache-2.0"
    facts = json.loads(metadata[METADATA_KEY])
    assert facts["provenance"]["scores"] == {"miou": 0.25}
    read = OnnxEngine(binary_file).facts
    assert (read.classes, read.size_hw, read.threshold, read.any_size) == (binary.classes, (72, 88), 0.7, False)
    assert read.name == "lraspp_mobilenet_v3_small"


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_fixed_file_answers_as_pytorch(binary: Checkpoint, binary_file: Path, batch: int) -> None:
    images = made_up_pictures(batch, (72, 88), seed=3)
    class_maps, probabilities = OnnxEngine(binary_file, threads=1).run(images)
    expected = PyTorchEngine(binary, device="cpu").probabilities(images)
    assert np.abs(probabilities - expected).max() < 1e-4
    assert class_maps.dtype == np.uint8
    assert np.array_equal(class_maps, (probabilities[:, 0] >= 0.7).astype(np.uint8))
    assert 0.02 < class_maps.mean() < 0.98, "the test would prove nothing on a constant answer"


@pytest.mark.parametrize("size_hw", [(64, 96), (65, 96), (200, 31), (9, 150), (240, 320), (1, 1)])
def test_an_any_size_file_answers_as_the_predictor(
    three: Checkpoint, three_file: Path, size_hw: tuple[int, int]
) -> None:
    (image,) = made_up_pictures(1, size_hw, seed=4)
    ours = Predictor(OnnxEngine(three_file, threads=1)).predict(image)
    theirs = Predictor(PyTorchEngine(three, device="cpu")).predict(image)
    assert ours.probabilities is not None
    assert theirs.probabilities is not None
    assert ours.class_map.shape == size_hw
    assert np.abs(ours.probabilities - theirs.probabilities).max() < 5e-3
    assert (ours.class_map == theirs.class_map).mean() > 0.999


def test_a_file_says_that_pictures_are_turned_first(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    made = make_checkpoint(size_hw=(96, 64))
    checkpoint = dataclasses.replace(made, recipe=made.recipe.with_settings(turn=True))
    engine = OnnxEngine(export_onnx(checkpoint, tmp_path / "a.onnx", any_size=True), threads=1)
    assert engine.facts.turn
    (image,) = made_up_pictures(1, (70, 110), seed=4)
    ours, theirs = (Predictor(one).predict(image) for one in (engine, PyTorchEngine(checkpoint, device="cpu")))
    assert ours.class_map.shape == (70, 110)
    assert (ours.class_map == theirs.class_map).mean() > 0.999


def test_exporting_twice_gives_the_same_facts_and_proof(binary: Checkpoint, binary_file: Path) -> None:
    facts = deployed_facts(binary, any_size=False)
    assert OnnxEngine(binary_file).facts == facts
    assert prove(binary_file, binary, facts) < TOLERANCES["fp32"][0]


def test_a_file_that_differs_is_never_written(
    binary: Checkpoint, binary_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnx.load(binary_file)
    weights = next(t for t in model.graph.initializer if len(t.dims) == 4)
    changed = onnx.numpy_helper.to_array(weights) * np.float32(1.5)
    weights.CopyFrom(onnx.numpy_helper.from_array(changed, weights.name))
    monkeypatch.setattr(exporter, "_graph", lambda *_: model)
    with pytest.raises(GateError, match="differs from PyTorch"):
        export_onnx(binary, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_placement_is_never_written(
    three: Checkpoint, three_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file fits its pictures with borders; a checkpoint that stretches them must not accept it."""
    stretching = dataclasses.replace(three, recipe=three.recipe.with_settings(fit="stretch"))
    monkeypatch.setattr(exporter, "_graph", lambda *_: onnx.load(three_file))
    with pytest.raises(GateError, match="differs from PyTorch"):
        export_onnx(stretching, tmp_path / "m.onnx", any_size=True)
    assert list(tmp_path.iterdir()) == []


def test_contradicting_outputs_are_never_written(
    binary: Checkpoint, binary_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "_graph", lambda *_: onnx.load(binary_file))
    with pytest.raises(GateError, match="contradict"):
        export_onnx(dataclasses.replace(binary, threshold=0.2), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_wrong_requests_are_refused_in_one_sentence(binary: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"should end in \.onnx"):
        export_onnx(binary, tmp_path / "model.bin")
    with pytest.raises(ModelError, match="Opset 11 is not supported"):
        export_onnx(binary, tmp_path / "model.onnx", opset=11)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("model", "padding", "any_size"),
    [("UnetClassic", 0, True), ("UnetAttention", 0, False), ("UnetAttention", 1, True)],
)
def test_u_nets_export(
    model: str, padding: int, any_size: bool, make_checkpoint: MakeCheckpoint, tmp_path: Path
) -> None:
    """Mirrored borders, cut skips and gates, at a size that is no multiple of 16 and smaller than the valid border."""
    checkpoint = make_checkpoint(model, classes=3, size_hw=(40, 72), base_channels=4, padding=padding)
    path = export_onnx(checkpoint, tmp_path / "m.onnx", any_size=any_size)
    facts = deployed_facts(checkpoint, any_size=any_size)
    assert prove(path, checkpoint, facts) < (PLACED_TOLERANCE[0] if any_size else TOLERANCES["fp32"][0])


@pytest.mark.slow
def test_a_network_with_frozen_pooling_is_right_at_its_size(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    checkpoint = make_checkpoint("UPerNet", "resnet18", size_hw=(70, 100), fit="stretch")
    path = export_onnx(checkpoint, tmp_path / "m.onnx", any_size=True)
    assert prove(path, checkpoint, deployed_facts(checkpoint, any_size=True)) < 1e-4
    builds_an_engine(path, (70, 100), any_size=True)
