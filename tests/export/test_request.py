"""Files with other names, layouts, outputs and batches: written, read by every engine, and right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from segwright.checkpoint import Checkpoint
from segwright.engines.onnx import OnnxEngine
from segwright.engines.opening import open_engine
from segwright.engines.pytorch import PyTorchEngine
from segwright.errors import UserError
from segwright.export.deployable import deployed_facts, made_up_pictures
from segwright.export.formats import default_name
from segwright.export.onnx import export_onnx
from segwright.export.request import ExportRequest
from segwright.predict.predictor import Predictor

onnx = pytest.importorskip("onnx", reason="the extra segwright[onnx] is not installed")


def test_channels_first_another_name_logits_and_a_fixed_batch(tiny: Checkpoint, tmp_path: Path) -> None:
    path = export_onnx(
        tiny, tmp_path / "m.onnx", layout="nchw", input_name="pixels", outputs=("logits",), batch=2, threshold=0.3
    )
    graph = onnx.load(path).graph
    shapes = {
        value.name: [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    assert shapes == {"pixels": [2, 3, 48, 64], "logits": [2, 1, 48, 64]}
    images = made_up_pictures(5, (48, 64), seed=2)
    expected = PyTorchEngine(tiny, device="cpu").probabilities(images)
    engine = OnnxEngine(path, threads=1)
    class_maps, probabilities = engine.run(images)
    assert np.abs(probabilities - expected).max() < 1e-4, "five pictures, two at a time"
    assert np.array_equal(class_maps, (probabilities[:, 0] >= 0.3).astype(np.uint8))
    assert engine.facts.threshold == 0.3
    if pytest.importorskip("openvino", reason="the extra segwright[openvino] is not installed"):
        other = open_engine(path, engine="openvino-fp32", threads=1)
        assert np.abs(other.probabilities(images) - expected).max() < 1e-4


def test_classes_alone_of_any_size(tiny: Checkpoint, tmp_path: Path) -> None:
    path = export_onnx(tiny, tmp_path / "m.onnx", any_size=True, outputs=("classes",))
    assert [output.name for output in onnx.load(path).graph.output] == ["classes"]
    (image,) = made_up_pictures(1, (50, 130), seed=2)
    ours = Predictor(OnnxEngine(path, threads=1)).predict(image)
    theirs = Predictor(PyTorchEngine(tiny, device="cpu")).predict(image)
    assert ours.class_map.shape == (50, 130)
    assert (ours.class_map == theirs.class_map).mean() > 0.999


def test_several_classes_have_no_threshold(three: Checkpoint) -> None:
    with pytest.raises(UserError, match=r"3 classes apart.*leave --threshold out"):
        deployed_facts(three, threshold=0.4)


def test_default_names_differ_where_files_do() -> None:
    requests = [
        ExportRequest(),
        ExportRequest(precision="fp16"),
        ExportRequest(any_size=True),
        ExportRequest(batch=1),
        ExportRequest(layout="nchw"),
        ExportRequest(to="openvino", precision="int8"),
        ExportRequest(to="torch"),
    ]
    names = [default_name(request) for request in requests]
    assert len({Path(name).stem for name in names}) == len(names), "certificates are named after the stem"
    assert names[0] == "model.onnx"
    assert names[5] == "model_int8_openvino.xml"
