"""Engines: PyTorch as the reference, and ONNX files of every bad kind, made by hand so that nothing is exported here."""

from __future__ import annotations

import builtins
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from segwright.checkpoint import Checkpoint
from segwright.classes import Classes
from segwright.engines import onnx as onnx_engine
from segwright.engines.contract import METADATA_KEY, ClassMapEngine, ModelFacts
from segwright.engines.onnx import OnnxEngine
from segwright.engines.opening import open_engine
from segwright.engines.pytorch import PyTorchEngine
from segwright.errors import MissingExtraError, ModelError, UserError
from segwright.models.catalogue import build
from segwright.recipe import DataRecipe, ModelRecipe, Recipe
from tests.command import loaded_by

onnx = pytest.importorskip("onnx", reason="the extra segwright[onnx] is not installed")
CLASSES = Classes(names=("background", "card"))
FACTS = ModelFacts(name="brightness", classes=CLASSES, size_hw=(8, 12), fit="pad", provenance={"licences": ["CC0"]})


def brightness_model(facts: ModelFacts | None = FACTS) -> Any:
    """A network without weights: the probability of a card is the brightness of the pixel."""
    h = onnx.helper
    nodes = [
        h.make_node("Cast", ["input_1"], ["f"], to=onnx.TensorProto.FLOAT),
        h.make_node("Transpose", ["f"], ["chw"], perm=[0, 3, 1, 2]),
        h.make_node("ReduceMean", ["chw", "axis"], ["mean"], keepdims=1),
        h.make_node("Div", ["mean", "full"], ["probabilities"]),
        h.make_node("GreaterOrEqual", ["probabilities", "half"], ["over"]),
        h.make_node("Squeeze", ["over", "axis"], ["flat"]),
        h.make_node("Cast", ["flat"], ["classes"], to=onnx.TensorProto.UINT8),
    ]
    arrays = {"axis": np.array([1]), "full": np.array(255, np.float32), "half": np.array(0.5, np.float32)}
    info = h.make_tensor_value_info
    graph = h.make_graph(
        nodes,
        "g",
        [info("input_1", onnx.TensorProto.UINT8, ["batch", "h", "w", 3])],
        [
            info("classes", onnx.TensorProto.UINT8, ["batch", "h", "w"]),
            info("probabilities", onnx.TensorProto.FLOAT, ["batch", 1, "h", "w"]),
        ],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 20)], ir_version=10)
    if facts is not None:
        model.metadata_props.add(key=METADATA_KEY, value=json.dumps(facts.to_dict()))
    return model


def written(model: Any, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def small_checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    recipe = Recipe(data=DataRecipe(width=96, height=64), model=ModelRecipe(model="lraspp_mobilenet_v3_small"))
    weights = build(recipe.model, CLASSES.channels).state_dict()
    return Checkpoint(recipe=recipe, classes=CLASSES, weights=weights, threshold=0.4, provenance={"data": "made up"})


def test_facts_survive_json() -> None:
    for facts in (FACTS, dataclasses.replace(FACTS, tiled=True), dataclasses.replace(FACTS, turn=True)):
        assert ModelFacts.from_dict(json.loads(json.dumps(facts.to_dict()))) == facts
    older = {key: value for key, value in FACTS.to_dict().items() if key != "tiled"}
    assert not ModelFacts.from_dict(older).tiled


@pytest.mark.parametrize(
    "change",
    [{"size_hw": [0, 8]}, {"size_hw": [10**9, 8]}, {"size_hw": 3}, {"threshold": 7}, {"fit": "crop"}, {"classes": {}}],
)
def test_impossible_facts_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="export the model again"):
        ModelFacts.from_dict(FACTS.to_dict() | change)


def test_pytorch_answers_as_its_network() -> None:
    checkpoint = small_checkpoint()
    engine = PyTorchEngine(checkpoint, device="cpu", threads=1)
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 96, 3), dtype=np.uint8)
    with torch.inference_mode():
        logits = checkpoint.network()(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float() / 255)
    answer = engine.probabilities(images)
    assert answer.shape == (3, 1, 64, 96)
    assert answer.dtype == np.float32
    assert np.abs(answer - logits.sigmoid().numpy()).max() < 1e-5
    assert engine.facts.threshold == 0.4
    assert engine.facts.provenance["data"] == "made up"
    assert Recipe.from_dict(engine.facts.provenance["recipe"]) == checkpoint.recipe


@pytest.mark.parametrize("count", [2, 3])
def test_pytorch_decodes_as_classes_do(count: int) -> None:
    classes = Classes(names=("background", "card", "hand")[:count])
    recipe = Recipe(data=DataRecipe(width=96, height=64), model=ModelRecipe(model="lraspp_mobilenet_v3_small"))
    torch.manual_seed(0)
    weights = build(recipe.model, classes.channels).state_dict()
    engine = PyTorchEngine(Checkpoint(recipe=recipe, classes=classes, weights=weights, threshold=0.45), device="cpu")
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), np.uint8)
    expected = [classes.decode(values, 0.45) for values in engine.probabilities(images)]
    class_maps = engine.class_maps(images)
    assert class_maps.dtype == np.uint8
    assert np.array_equal(class_maps, np.stack(expected))
    assert isinstance(engine, ClassMapEngine)


def test_read_only_pictures_are_taken_without_a_warning() -> None:
    images = np.zeros((1, 64, 96, 3), np.uint8)
    images.flags.writeable = False
    assert PyTorchEngine(small_checkpoint(), device="cpu").probabilities(images).shape == (1, 1, 64, 96)


def test_a_run_folder_and_its_file_open_with_pytorch(tmp_path: Path) -> None:
    path = small_checkpoint().save(tmp_path / "best.safetensors")
    for place in (tmp_path, path):
        assert open_engine(place, device="cpu").name == "pytorch"


def test_an_onnx_file_opens_with_onnxruntime(tmp_path: Path) -> None:
    engine = open_engine(written(brightness_model(), tmp_path / "m.onnx"), device="cpu", threads=1)
    assert (engine.name, engine.facts) == ("onnxruntime", FACTS)
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 12, 3), dtype=np.uint8)
    answer = engine.probabilities(images)
    assert answer.shape == (2, 1, 8, 12)
    assert answer.dtype == np.float32
    assert np.abs(answer[:, 0] - images.mean(axis=3) / 255).max() < 1e-6


@pytest.mark.parametrize("shape", [(8, 12, 3), (1, 8, 13, 3), (1, 3, 8, 12), (1, 8, 12, 4)])
def test_pictures_of_another_shape_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    engine = OnnxEngine(written(brightness_model(), tmp_path / "m.onnx"))
    with pytest.raises(UserError, match=r"takes uint8 pictures of shape \(B, 8, 12, 3\)"):
        engine.probabilities(np.zeros(shape, np.uint8))


def test_files_that_are_no_model_are_named(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 13000000\n"
    whole = brightness_model().SerializeToString()
    for content, said in (
        (b"", "is empty"),
        (pointer, "git lfs pull"),
        (b"\xff\xd8\xff\xe0 a jpeg", "not an ONNX file or is damaged"),
        (whole[: len(whole) // 2], "damaged|facts"),
        (brightness_model(None).SerializeToString(), "does not carry the facts"),
    ):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=said) as caught:
            open_engine(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="does not exist"):
        open_engine(tmp_path / "absent.onnx")


def test_an_oversized_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(brightness_model(), tmp_path / "m.onnx")
    monkeypatch.setattr(onnx_engine, "LARGEST_FILE", 100)
    with pytest.raises(ModelError, match="holds at most 2"):
        open_engine(path)


@pytest.mark.parametrize("where", ["initializer", "constant", "subgraph"])
def test_weights_in_other_files_are_refused_wherever_they_hide(tmp_path: Path, where: str) -> None:
    model = brightness_model()
    tensor = onnx.TensorProto(name="secret", dims=[1], data_type=onnx.TensorProto.FLOAT)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")
    if where == "initializer":
        model.graph.initializer.append(tensor)
    elif where == "constant":
        model.graph.node.append(onnx.helper.make_node("Constant", [], ["x"], value=tensor))
    else:
        branch = onnx.helper.make_graph([], "branch", [], [], [tensor])
        model.graph.node.append(onnx.helper.make_node("If", ["over"], ["y"], then_branch=branch, else_branch=branch))
    with pytest.raises(ModelError, match="keeps weights in other files"):
        open_engine(written(model, tmp_path / "m.onnx"))


@pytest.mark.parametrize("text", ["no json", "[]", "{}", "null", "[" * 100_000])
def test_damaged_facts_are_refused(tmp_path: Path, text: str) -> None:
    model = brightness_model(None)
    model.metadata_props.add(key=METADATA_KEY, value=text)
    with pytest.raises(ModelError, match="facts are damaged"):
        open_engine(written(model, tmp_path / "m.onnx"))


def test_a_graph_that_onnxruntime_refuses_is_one_sentence(tmp_path: Path) -> None:
    model = brightness_model()
    model.graph.node[1].op_type = "NoSuchOperator"
    with pytest.raises(ModelError, match="cannot be run by ONNX Runtime") as caught:
        open_engine(written(model, tmp_path / "m.onnx"))
    assert "\n" not in str(caught.value)


def test_our_facts_on_a_foreign_graph_are_refused(tmp_path: Path) -> None:
    model = brightness_model()
    model.graph.output[1].name = model.graph.node[3].output[0] = model.graph.node[4].input[0] = "other"
    with pytest.raises(ModelError, match="not our input and outputs"):
        open_engine(written(model, tmp_path / "m.onnx"))


@pytest.mark.parametrize("library", ["onnx", "onnxruntime"])
def test_a_missing_library_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    path = written(brightness_model(), tmp_path / "m.onnx")
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".")[0] == library:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=rf"needs {library}.*segwright\[onnx\]"):
        open_engine(path)


def test_devices_and_threads_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(brightness_model(), tmp_path / "m.onnx")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for options in ({"device": "tpu"}, {"device": "cuda"}, {"threads": 0}):
        with pytest.raises(UserError):
            PyTorchEngine(small_checkpoint(), **options)
    for options in ({"device": "tpu"}, {"threads": -1}):
        with pytest.raises(UserError):
            OnnxEngine(path, **options)
    assert PyTorchEngine(small_checkpoint()).device == "cpu"


def test_a_checkpoint_without_a_size_is_refused() -> None:
    checkpoint = Checkpoint(recipe=Recipe(), classes=CLASSES, weights={})
    with pytest.raises(ModelError, match="no picture size"):
        ModelFacts.of(checkpoint)


def test_an_exported_model_runs_without_pytorch(tmp_path: Path) -> None:
    """Which takes seconds to load, and half a gigabyte of memory, on the machine behind a camera."""
    model = written(brightness_model(), tmp_path / "m.onnx")
    for number, size_hw in enumerate([(8, 12), (30, 50)]):
        Image.fromarray(np.zeros((*size_hw, 3), np.uint8)).save(tmp_path / f"{number}.png")
    pictures = str(tmp_path / "*.png")
    loaded = loaded_by("predict", str(model), pictures, "--out", str(tmp_path / "out"), "--save", "overlays,coco,jsonl")
    assert (tmp_path / "out" / "coco.json").is_file()
    assert "onnxruntime" in loaded
    assert not loaded & {"torch", "torchvision", "lightning", "segmentation_models_pytorch"}
