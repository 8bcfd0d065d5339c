"""FP16 files: agreement with PyTorch, what stays FP32, and the FP32 twin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segwright.checkpoint import Checkpoint
from segwright.engines.onnx import OnnxEngine
from segwright.errors import ModelError
from segwright.export.deployable import deployed_facts, made_up_pictures
from segwright.export.half import LARGEST, float32_twin, halved
from segwright.export.onnx import TOLERANCES, export_onnx, prove

onnx = pytest.importorskip("onnx", reason="the extra segwright[onnx] is not installed")


@pytest.fixture(scope="module")
def half_file(three: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Any size, so that placing and undoing it are inside."""
    return export_onnx(three, tmp_path_factory.mktemp("half") / "three.onnx", any_size=True, precision="fp16")


def weights(path: Path) -> dict[str, Any]:
    return {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


def test_it_is_half_as_large_and_says_so(three_file: Path, half_file: Path) -> None:
    assert half_file.stat().st_size < 0.55 * three_file.stat().st_size
    metadata = {p.key: p.value for p in onnx.load(half_file).metadata_props}
    assert metadata["precision"] == OnnxEngine(half_file).facts.precision == "fp16"


def test_it_answers_as_pytorch(three: Checkpoint, half_file: Path) -> None:
    facts = deployed_facts(three, any_size=True, precision="fp16")
    assert 0 < prove(half_file, three, facts) < TOLERANCES["fp16"][0]


def test_pictures_and_probabilities_are_those_of_every_file(half_file: Path) -> None:
    types = onnx.TensorProto
    graph = onnx.load(half_file).graph
    assert [i.type.tensor_type.elem_type for i in graph.input] == [types.UINT8]
    assert [o.type.tensor_type.elem_type for o in graph.output] == [types.UINT8, types.FLOAT]


def test_placing_and_sums_stay_fp32(half_file: Path) -> None:
    model = onnx.shape_inference.infer_shapes(onnx.load(half_file), strict_mode=True)
    kinds = {v.name: v.type.tensor_type.elem_type for v in model.graph.value_info}
    kinds |= {t.name: t.data_type for t in model.graph.initializer}
    of: dict[str, set[int]] = {}
    for node in model.graph.node:
        # The enlargement of the answer is inside; what places a picture has matrices that are computed, and are no constants.
        if node.op_type != "MatMul" or not set(node.input) & {t.name for t in model.graph.initializer}:
            of.setdefault(node.op_type, set()).add(kinds.get(node.input[0], -1))
    assert of["Conv"] == {onnx.TensorProto.FLOAT16}
    assert of["MatMul"] == {onnx.TensorProto.FLOAT}, "pictures are placed in FP32"
    assert of["ReduceMean"] == {onnx.TensorProto.FLOAT}
    assert of["Exp"] == {onnx.TensorProto.FLOAT}, "softmax"


def test_weights_are_rounded_once(three_file: Path, half_file: Path) -> None:
    """Batch norms are folded in FP32 before: every FP16 weight is the nearest one of an FP32 weight."""
    whole = [w for w in weights(three_file).values() if w.ndim == 4 and w.dtype == np.float32]
    halves = [w for w in weights(half_file).values() if w.ndim == 4 and w.dtype == np.float16]
    assert len(halves) == len(whole) - 2 > 40, "all but the mean and deviation of the normalisation"
    known = {w.astype(np.float16).tobytes() for w in whole}
    assert all(w.tobytes() in known for w in halves)


def test_the_twin_has_the_same_weights_and_no_fp16(half_file: Path, tmp_path: Path) -> None:
    half = onnx.load(half_file)
    before = half.SerializeToString()
    path = tmp_path / "twin.onnx"
    path.write_bytes(float32_twin(half).SerializeToString())
    assert half.SerializeToString() == before, "the file it is made from stays"
    halves, wholes = weights(half_file), weights(path)
    assert all(w.dtype != np.float16 for w in wholes.values())
    known = {w.tobytes() for w in wholes.values()}
    assert all(w.astype(np.float32).tobytes() in known for w in halves.values() if w.dtype == np.float16)
    images = made_up_pictures(2, (70, 90), seed=6)
    one, other = OnnxEngine(half_file, threads=1).run(images), OnnxEngine(path, threads=1).run(images)
    assert np.abs(one[1] - other[1]).max() < TOLERANCES["fp16"][0]
    assert (one[0] == other[0]).mean() > 0.99


def test_the_twin_of_an_fp32_file_is_the_file(binary_file: Path) -> None:
    assert float32_twin(onnx.load(binary_file)) == onnx.load(binary_file)


def marked(weight: float) -> Any:
    """The absolute of x -> fp16 -> fp32 -> times weight -> fp16 -> fp32."""
    make, types = onnx.helper, onnx.TensorProto
    casts = [("x", "a", types.FLOAT16), ("a", "b", types.FLOAT), ("c", "d", types.FLOAT16), ("d", "e", types.FLOAT)]
    nodes = [make.make_node("Cast", [i], [o], to=kind) for i, o, kind in casts]
    nodes.insert(2, make.make_node("Mul", ["b", "w"], ["c"]))
    nodes.append(make.make_node("Abs", ["e"], ["y"]))
    values = [make.make_tensor_value_info(name, types.FLOAT, [2]) for name in "xy"]
    weights = [onnx.numpy_helper.from_array(np.array([weight, 1.0], np.float32), "w")]
    return make.make_model(
        make.make_graph(nodes, "marked", values[:1], values[1:], weights),
        ir_version=10,
        opset_imports=[make.make_opsetid("", 20)],
    )


def test_a_weight_beyond_fp16_is_refused() -> None:
    assert halved(marked(LARGEST)).graph.initializer
    with pytest.raises(ModelError, match=r"65504.*--precision fp32"):
        halved(marked(LARGEST * 1.01))


def test_a_graph_without_marks_is_refused(binary_file: Path) -> None:
    with pytest.raises(ModelError, match="marks"):
        halved(onnx.load(binary_file))
