from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from segwright.engines.onnx import OnnxEngine
from segwright.errors import GateError, ModelError
from segwright.export import web_answer, web_models
from segwright.export.deployable import made_up_pictures
from tests.export.web import toy_export


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_export(tmp_path_factory.mktemp("toy") / "toy.onnx")


@pytest.fixture(scope="module")
def models(toy: Path) -> web_models.WebModels:
    return web_models.web_models([toy])


def test_both_files_answer_as_a_real_export(binary_file: Path) -> None:
    made = web_models.web_models([binary_file])
    engine = OnnxEngine(binary_file)
    image = made_up_pictures(1, engine.facts.size_hw, seed=9)
    expected = engine.probabilities(image)[0]
    assert np.abs(web_models.Answers(made.files["fp32"])(image[0]) - expected).max() < 1e-4
    half = np.abs(web_models.Answers(made.files["fp16"])(image[0]) - expected)
    assert 0 < half.mean() < web_models.OTHER_PRECISION
    assert 0 < made.difference < web_models.OTHER_PRECISION
    assert not made.without_fp16
    assert made.licence == "cards: Apache-2.0"
    assert len(made.files["fp16"]) < 0.6 * len(made.files["fp32"])
    for precision, data in made.files.items():
        in_the_form_for_browsers(data, (72, 88), 1, half=precision == "fp16")


def in_the_form_for_browsers(data: bytes, size_hw: tuple[int, int], channels: int, *, half: bool) -> None:
    model = onnx.load_model_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    shapes = {
        value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {"input_1": (1, *size_hw, 3), "probabilities": (1, channels, *size_hw)}
    assert not {"Shape", "GreaterOrEqual", "ArgMax", "Range"} & {node.op_type for node in model.graph.node}
    assert half == any(t.data_type == onnx.TensorProto.FLOAT16 for t in model.graph.initializer)
    assert "certificate" not in {entry.key for entry in model.metadata_props}


def test_the_same_model_gives_the_same_bytes(toy: Path, models: web_models.WebModels) -> None:
    assert web_models.web_models([toy]) == models


def test_several_classes(tmp_path: Path) -> None:
    several = web_models.web_models([toy_export(tmp_path / "toy.onnx", names=("ground", "card", "hand"))])
    for precision, data in several.files.items():
        in_the_form_for_browsers(data, (48, 40), 3, half=precision == "fp16")
    answer = web_models.Answers(several.files["fp16"])(made_up_pictures(1, (48, 40))[0])
    np.testing.assert_allclose(answer.sum(axis=0), 1, atol=2e-3)
    known = web_answer.known_answer(several)
    assert len(known["probabilities"]) == 3 * web_answer.ROWS * web_answer.COLUMNS


def test_the_fp32_twin_of_an_fp16_file(tmp_path: Path) -> None:
    """An FP16 export is as good as an FP32 one: the card model is kept so."""
    both = web_models.web_models([toy_export(tmp_path / "half.onnx", half=True)])
    for precision, data in both.files.items():
        in_the_form_for_browsers(data, (48, 40), 1, half=precision == "fp16")
    twin = onnx.load_model_from_string(both.files["fp32"])
    assert all(node.op_type != "Cast" or node.attribute[0].i == onnx.TensorProto.FLOAT for node in twin.graph.node)


def test_one_file_of_each_precision(toy: Path, models: web_models.WebModels, tmp_path: Path) -> None:
    both = web_models.web_models([toy, toy_export(tmp_path / "half.onnx", half=True)])
    assert both.files["fp32"] == models.files["fp32"]
    with pytest.raises(ModelError, match="No exported file"):
        web_models.web_models([])


def test_a_graph_that_no_export_has(toy: Path, tmp_path: Path) -> None:
    """Facts are copied easily; what stands around them is a stranger's."""
    model = onnx.load(toy)
    model.graph.output[1].type.tensor_type.ClearField("shape")
    onnx.save(model, tmp_path / "strange.onnx")
    with pytest.raises(ModelError, match="cannot be made ready for browsers"):
        web_models.web_models([tmp_path / "strange.onnx"])


@pytest.mark.parametrize(
    ("facts", "said"),
    [({"any_size": True}, "without --any-size"), ({"tiled": True}, "trained on patches of 40 pixels")],
)
def test_models_that_the_page_cannot_show(facts: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=said):
        web_models.web_models([toy_export(tmp_path / "toy.onnx", **facts)])


def test_a_quantised_file_is_refused(toy: Path, tmp_path: Path) -> None:
    model = onnx.load(toy)
    model.graph.initializer.extend(
        [
            onnx.numpy_helper.from_array(np.array(0.1, np.float32), "step"),
            onnx.numpy_helper.from_array(np.array(0, np.uint8), "zero"),
        ]
    )
    last = next(node for node in model.graph.node if "probabilities" in node.output)
    place = list(model.graph.node).index(last)
    model.graph.node.insert(place, onnx.helper.make_node("DequantizeLinear", ["int", "step", "zero"], ["back"]))
    model.graph.node.insert(place, onnx.helper.make_node("QuantizeLinear", ["logits", "step", "zero"], ["int"]))
    last.input[0] = "back"
    onnx.save(model, tmp_path / "int8.onnx")
    with pytest.raises(ModelError, match="quantised to 8 bits"):
        web_models.web_models([tmp_path / "int8.onnx"])


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        (None, "does not exist"),
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        (b"not a model", "not an ONNX file"),
    ],
)
def test_what_is_no_model(contents: bytes | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    if contents is not None:
        path.write_bytes(contents)
    with pytest.raises(ModelError, match=said):
        web_models.web_models([path])


def test_a_model_that_is_not_ours(toy: Path, tmp_path: Path) -> None:
    model = onnx.load(toy)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "theirs.onnx")
    with pytest.raises(ModelError, match="does not carry the facts"):
        web_models.web_models([tmp_path / "theirs.onnx"])


def test_a_truncated_model(toy: Path, tmp_path: Path) -> None:
    (tmp_path / "part.onnx").write_bytes(toy.read_bytes()[:-100])
    with pytest.raises(ModelError, match="not an ONNX file or is damaged"):
        web_models.web_models([tmp_path / "part.onnx"])


def test_a_network_that_fp16_cannot_hold_goes_without(tmp_path: Path) -> None:
    made = web_models.web_models([toy_export(tmp_path / "toy.onnx", weight=1e6)])
    assert set(made.files) == {"fp32"}
    assert "65504" in made.without_fp16
    assert web_answer.known_answer(made)["tolerance"].keys() == {"fp32"}


def test_a_file_that_answers_differently_is_noticed(
    models: web_models.WebModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = onnx.load_model_from_string(models.files["fp32"])
    kernel = next(t for t in other.graph.initializer if t.name == "kernel")
    kernel.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(kernel), kernel.name))
    with pytest.raises(GateError, match="the twin differs by"):
        web_models._compare(models.files["fp32"], other.SerializeToString(), models.facts, 1.0, 0.01, "the twin")


def test_the_known_answer(models: web_models.WebModels) -> None:
    known = web_answer.known_answer(models)
    image = web_answer.drawn(known["seed"], known["patch"], models.facts.size_hw)
    expected = np.array(known["probabilities"]).reshape(1, web_answer.ROWS, web_answer.COLUMNS) / 255
    for precision, accepted in known["tolerance"].items():
        data = models.files["fp16" if precision == "fp16" else "fp32"]
        here = web_answer.on_grid(web_models.Answers(data)(image))
        assert np.abs(here - expected).mean() <= accepted / 2
        for wrong in (0 * expected, 0 * expected + 1, 1 - expected, expected[:, ::-1], expected[:, :, ::-1]):
            assert np.abs(wrong - expected).mean() > accepted


def test_the_picture_of_the_known_answer() -> None:
    """Its first values by hand: s = (s * 1664525 + 1013904223) mod 2**32, and the top eight bits of it."""
    image = web_answer.drawn(1, 32, (50, 70))
    assert image.shape == (50, 70, 3)
    first = (1 * 1_664_525 + 1_013_904_223) % 2**32
    second = (first * 1_664_525 + 1_013_904_223) % 2**32
    assert image[0, 0].tolist()[:2] == [first >> 24, second >> 24]
    assert (image[:32, :32] == image[0, 0]).all()
    assert not (image[0, 32] == image[0, 0]).all()
    assert (image[32:, 64:] == image[49, 69]).all()


def test_the_grid_is_in_the_middle_of_its_cells() -> None:
    probabilities = np.arange(64 * 48, dtype=np.float32).reshape(1, 64, 48)
    grid = web_answer.on_grid(probabilities)
    assert grid.shape == (1, 16, 12)
    assert grid[0, 0, 0] == 2 * 48 + 2
    assert grid[0, 15, 11] == 62 * 48 + 46
