"""ONNX files from elsewhere: what is read from the graph, what has to be said, and one sentence for what is missing."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segwright.classes import Classes
from segwright.engines.foreign import Described
from segwright.engines.opening import open_engine
from segwright.errors import ModelError, UserError
from segwright.workflows.describing import described, table
from tests.test_engines import brightness_model, written

onnx = pytest.importorskip("onnx", reason="the extra segwright[onnx] is not installed")
TWO = Classes(names=("background", "card"))
THREE = Classes(names=("red", "green", "blue"))
PLAIN = Described(classes=TWO, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def graph(
    nodes: list[tuple[str, list[str], list[str], dict[str, Any]]],
    *,
    given: list[Any],
    kind: int | None = None,
    outputs: dict[str, tuple[int, list[Any]]],
    **constants: np.ndarray,
) -> Any:
    make = onnx.helper
    return make.make_model(
        make.make_graph(
            [make.make_node(op, i, o, **settings) for op, i, o, settings in nodes],
            "elsewhere",
            [make.make_tensor_value_info("image", kind or onnx.TensorProto.FLOAT, given)],
            [make.make_tensor_value_info(name, *rest) for name, rest in outputs.items()],
            [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
        ),
        opset_imports=[make.make_opsetid("", 20)],
        ir_version=10,
    )


def brightness(given: list[Any], *, sure: bool, channels_last: bool = False) -> Any:
    """One logit, or probability, of a card: how bright a pixel is."""
    nodes: list[tuple[str, list[str], list[str], dict[str, Any]]] = [
        ("ReduceMean", ["image", "axis"], ["bright"], {"keepdims": 1}),
        ("Sigmoid", ["bright"], ["out"], {}) if sure else ("Identity", ["bright"], ["out"], {}),
    ]
    axis = 3 if channels_last else 1
    shown: list[Any] = [*given[:axis], 1, *given[axis + 1 :]]
    return graph(nodes, given=given, outputs={"out": (onnx.TensorProto.FLOAT, shown)}, axis=np.array([axis]))


def colours(kind: str) -> Any:
    """Three logits, which are the colours themselves, or the number of the strongest."""
    if kind == "numbers":
        nodes: list[tuple[str, list[str], list[str], dict[str, Any]]] = [
            ("ArgMax", ["image"], ["out"], {"axis": 1, "keepdims": 0})
        ]
        return graph(nodes, given=["n", 3, 8, 12], outputs={"out": (onnx.TensorProto.INT64, ["n", 8, 12])})
    if kind == "half size":
        nodes = [("AveragePool", ["image"], ["out"], {"kernel_shape": [2, 2], "strides": [2, 2]})]
        return graph(nodes, given=["n", 3, 8, 12], outputs={"out": (onnx.TensorProto.FLOAT, ["n", 3, 4, 6])})
    last = kind == "channels last"
    given = ["n", 8, 12, 3] if last else ["n", 3, 8, 12]
    return graph([("Identity", ["image"], ["out"], {})], given=given, outputs={"out": (onnx.TensorProto.FLOAT, given)})


IMAGES = np.random.default_rng(0).integers(0, 256, (2, 8, 12, 3), dtype=np.uint8)


@pytest.mark.parametrize("sure", [False, True])
@pytest.mark.parametrize("channels_last", [False, True])
def test_type_layout_and_meaning_are_read_from_the_graph(tmp_path: Path, sure: bool, channels_last: bool) -> None:
    given: list[Any] = ["n", 8, 12, 3] if channels_last else ["n", 3, 8, 12]
    path = written(brightness(given, sure=sure, channels_last=channels_last), tmp_path / "m.onnx")
    said = dataclasses.replace(PLAIN, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    engine = open_engine(path, described=said, threads=1)
    assert engine.facts.size_hw == (8, 12)
    assert engine.facts.interface.layout == ("nhwc" if channels_last else "nchw")
    assert list(engine.facts.interface.outputs) == ["probabilities" if sure else "logits"]
    bright = ((IMAGES / 255 - 0.5) / 0.25).mean(axis=3)
    assert np.abs(engine.probabilities(IMAGES)[:, 0] - 1 / (1 + np.exp(-bright))).max() < 1e-5


@pytest.mark.parametrize("kind", ["logits", "channels last", "numbers", "half size"])
def test_several_classes_in_every_form(tmp_path: Path, kind: str) -> None:
    path = written(colours(kind), tmp_path / "m.onnx")
    engine = open_engine(path, described=dataclasses.replace(PLAIN, classes=THREE), threads=1)
    answer = engine.probabilities(IMAGES)
    assert answer.shape == (2, 3, 8, 12)
    assert np.abs(answer.sum(axis=1) - 1).max() < 1e-5
    if kind != "half size":
        assert np.array_equal(answer.argmax(axis=1), IMAGES.argmax(axis=3))


def test_openvino_runs_it_too(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="the extra segwright[openvino] is not installed")
    path = written(brightness(["n", 3, 8, 12], sure=True), tmp_path / "m.onnx")
    one = open_engine(path, described=PLAIN).probabilities(IMAGES)
    assert np.abs(open_engine(path, engine="openvino-fp32", described=PLAIN).probabilities(IMAGES) - one).max() < 1e-5


def test_what_is_missing_is_named_in_one_sentence(tmp_path: Path) -> None:
    fixed = written(brightness(["n", 3, 8, 12], sure=True), tmp_path / "fixed.onnx")
    free = written(brightness(["n", 3, "h", "w"], sure=True), tmp_path / "free.onnx")
    ours = written(brightness_model(), tmp_path / "ours.onnx")
    for path, said, error, expected in (
        (fixed, None, ModelError, r"--classes background,card.*segwright export"),
        (fixed, Described(classes=TWO), UserError, r"float pictures.*--mean 0\.485.*--std"),
        (fixed, dataclasses.replace(PLAIN, size_hw=(9, 12)), UserError, "takes pictures of 12x8 only"),
        (fixed, dataclasses.replace(PLAIN, std=(1.0, 0.0, 1.0)), UserError, "three numbers each"),
        (fixed, dataclasses.replace(PLAIN, classes=THREE), ModelError, "none of that is a map of 3 classes"),
        (free, PLAIN, UserError, "any size; say at which one.*--size 640x480"),
        (free, dataclasses.replace(PLAIN, size_hw=(0, 12)), UserError, "each 1 to 8192"),
        (ours, PLAIN, UserError, "says itself how pictures are prepared"),
    ):
        with pytest.raises(error, match=expected) as caught:
            open_engine(path, described=said)
        assert str(path) in str(caught.value) or "--s" in str(caught.value)
        assert "\n" not in str(caught.value)
    assert open_engine(free, described=dataclasses.replace(PLAIN, size_hw=(8, 12))).facts.size_hw == (8, 12)
    assert open_engine(ours, described=Described(classes=THREE)).facts.classes == TWO


def test_graphs_that_do_not_take_pictures_are_refused(tmp_path: Path) -> None:
    for given, kind, said in (
        (["n", 5, 8, 12], onnx.TensorProto.FLOAT, "channels of a picture cannot be told"),
        (["n", 8], onnx.TensorProto.FLOAT, "only models that take one batch of pictures"),
        (["n", 3, 8, 12], onnx.TensorProto.FLOAT16, "takes float16 pictures"),
    ):
        model = graph([("Identity", ["image"], ["out"], {})], given=given, kind=kind, outputs={"out": (kind, given)})
        with pytest.raises(ModelError, match=said):
            open_engine(written(model, tmp_path / "m.onnx"), described=PLAIN)


def test_flags_become_a_description(tmp_path: Path) -> None:
    model, csv = Path("m.onnx"), tmp_path / "classes.csv"
    csv.write_text(THREE.to_csv())
    made = described(model, classes=Path("background, card"), size="12x8", mean="0,0,0", std="1,1,1")
    assert made == dataclasses.replace(PLAIN, size_hw=(8, 12))
    assert described(model) is None
    by_table = described(model, classes=csv)
    assert by_table is not None
    assert by_table.classes is not None
    assert by_table.classes.names == THREE.names
    assert (table(csv), table(Path("a,b")), table(None)) == (csv, None, None)
    for flag, text, said in (
        ("size", "12", "width x height"),
        ("size", "axb", "width x height"),
        ("mean", "a,b,c", "three numbers"),
    ):
        with pytest.raises(UserError, match=said):
            described(model, **dict[str, Any]({flag: text}))
    with pytest.raises(UserError, match=r"for \.onnx files from elsewhere"):
        described(Path("run"), size="12x8")
