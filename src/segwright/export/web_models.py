"""The two files that a browser runs, FP16 and FP32: one picture in, probabilities out, and nothing that others need.

They are made from files that `segwright export` has proven: the second output goes (on a GPU of the browser it would be
brought back for nobody), the batch becomes 1, and what was computed from the batch's size folds away. Each is then compared
with the file that it was made from.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segwright.engines.contract import ModelFacts, first_line
from segwright.engines.onnx import OnnxEngine, read_model_file
from segwright.errors import GateError, MissingExtraError, ModelError
from segwright.export.deployable import made_up_pictures
from segwright.export.half import float32_twin, halved

Precision = Literal["fp16", "fp32"]

REWRITTEN = (0.05, 1e-3)
"""Largest and mean difference of a probability between a file and the same in the browser's shape: rounding only."""

OTHER_PRECISION = 0.01
"""Mean difference of a probability that is accepted between FP16 and FP32."""


@dataclass(frozen=True, kw_only=True)
class WebModels:
    """What the page gets to run."""

    facts: ModelFacts
    licence: str
    """In words, as the exported file states it."""
    files: dict[Precision, bytes]
    """FP32 always; FP16 wherever the network can be computed in it."""
    without_fp16: str = ""
    """Why there is no FP16 file; empty where there is one."""
    difference: float = field(default=0.0)
    """Mean difference of a probability between the two files on made-up pictures, 0..1."""


def web_models(exported: Sequence[Path]) -> WebModels:
    """Both files, from one exported file of either precision, or from one of each.

    Args:
        exported: .onnx files written by `segwright export`, of one model.

    Raises:
        ModelError: not ours, any size, trained on patches, or of a precision that browsers do not run.
        GateError: a file for the browser answers differently from the one it was made from.
        MissingExtraError: onnx, onnxruntime or onnxslim is not installed.
    """
    made: dict[Precision, bytes] = {}
    facts, licence, without = None, "", ""
    for path in exported:
        data = read_model_file(path)
        facts = suitable(OnnxEngine(path, device="cpu").facts, path)
        model = _library("onnx").load_model_from_string(data)
        licence = next((p.value for p in model.metadata_props if p.key == "licence"), "not stated")
        try:
            rewritten = _rewritten(model, facts)
        except Exception as error:  # onnxslim raises what it likes at a graph that no export of ours has
            raise ModelError(
                f"{path} cannot be made ready for browsers ({first_line(error)}); export it again."
            ) from error
        _compare(data, rewritten, facts, *REWRITTEN, f"{path.name} in the browser's shape")
        made[_precision(model)] = rewritten
    if facts is None:
        raise ModelError("No exported file was given; name a run, a checkpoint or an .onnx file.")
    if "fp32" not in made:
        twin = float32_twin(_library("onnx").load_model_from_string(made["fp16"]))
        made["fp32"] = twin.SerializeToString(deterministic=True)
        _compare(made["fp16"], made["fp32"], facts, 1.0, OTHER_PRECISION, "the FP32 twin")
    elif "fp16" not in made:
        try:
            made["fp16"] = _half(_library("onnx").load_model_from_string(made["fp32"]))
            _compare(made["fp32"], made["fp16"], facts, 1.0, OTHER_PRECISION, "the FP16 twin")
        except (ModelError, GateError) as error:
            made.pop("fp16", None)
            without = str(error)
    apart = (
        _compare(made["fp32"], made["fp16"], facts, 1.0, OTHER_PRECISION, "the FP16 file") if "fp16" in made else 0.0
    )
    return WebModels(facts=facts, licence=licence, files=made, without_fp16=without, difference=apart)


def suitable(facts: ModelFacts, path: Path) -> ModelFacts:
    """The facts themselves, where the page can show such a model.

    Args:
        facts: of the model.
        path: its file, for messages.

    Raises:
        ModelError: any size, or trained on patches.
    """
    if facts.any_size:
        raise ModelError(
            f"{path} takes pictures of any size and would resize every frame by itself; the page needs a file of one size: name the "
            "run, or export again without --any-size."
        )
    if facts.tiled:
        raise ModelError(
            f"{path} was trained on patches of {facts.size_hw[1]} pixels at the pictures' own scale, and the page shrinks a camera's "
            "whole picture to what the network takes, so the answers would not be the model's own; train with --height and --width "
            "in place of --patch-size for the page."
        )
    return facts


class Answers:
    """An ONNX file held open, to be asked several times.

    Args:
        data: an exported file or one for the browser.

    Raises:
        ModelError: the file cannot be run.
        MissingExtraError: ONNX Runtime is not installed.
    """

    def __init__(self, data: bytes) -> None:
        runtime = _library("onnxruntime")
        options = runtime.SessionOptions()
        options.log_severity_level = 4
        try:
            self._session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime has one unrelated exception type per status code
            raise ModelError(
                f"The model cannot be run by ONNX Runtime ({first_line(error)}); export it again."
            ) from error

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities that ONNX Runtime computes on the CPU.

        Args:
            image: (height, width, 3) uint8 RGB of the model's size.

        Returns:
            (channels, height, width) float32, 0..1.
        """
        answer = self._session.run(["probabilities"], {self._session.get_inputs()[0].name: image[None]})[0]
        return np.asarray(answer[0], np.float32)


def _rewritten(model: Any, facts: ModelFacts) -> bytes:
    """The graph without the output that the page does not read, for a batch of 1, slimmed."""
    onnx, onnxslim = _library("onnx"), _library("onnxslim")
    one = onnx.ModelProto()
    one.CopyFrom(model)
    for value in [v for v in one.graph.output if v.name != "probabilities"]:
        one.graph.output.remove(value)
    for value in (*one.graph.input, *one.graph.output):
        value.type.tensor_type.shape.dim[0].Clear()
        value.type.tensor_type.shape.dim[0].dim_value = 1
    del one.graph.value_info[:]  # they speak of any batch
    slim = onnxslim.slim(one)
    del slim.graph.value_info[:]  # 60 kB that the browser works out by itself
    slim.doc_string = f"Semantic segmentation for browsers: one uint8 RGB picture of {facts.size_hw[1]}x{facts.size_hw[0]}, probabilities."
    # The proof in the metadata speaks of the file that this one was made from.
    for entry in [p for p in slim.metadata_props if p.key == "certificate"]:
        slim.metadata_props.remove(entry)
    data: bytes = slim.SerializeToString(deterministic=True)
    return data


def _precision(model: Any) -> Precision:
    """Of the weights, whatever the facts say.

    Raises:
        ModelError: quantised to integers.
    """
    tensor_type = _library("onnx").TensorProto
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    if any(node.op_type in {"QuantizeLinear", "DequantizeLinear"} for node in model.graph.node):
        raise ModelError(
            "The page runs FP16 and FP32 files, and this one is quantised to 8 bits; name the run, or its FP32 export."
        )
    return "fp16" if tensor_type.FLOAT16 in kinds else "fp32"


def _half(model: Any) -> bytes:
    """An FP32 file in half precision: the body is marked where an export would have marked it, then converted."""
    onnx = _library("onnx")
    graph = model.graph
    last = next(node for node in graph.node if "probabilities" in node.output)
    first = next((node for node in graph.node if node.op_type == "Conv"), None)
    if last.op_type not in {"Sigmoid", "Softmax"} or first is None:
        raise ModelError(
            "The network does not begin with a convolution or end as ours do; export it with --precision fp16."
        )
    begins, ends = first.input[0], last.input[0]
    for name, users in ((begins, [n for n in graph.node if begins in n.input]), (ends, [last])):
        down = onnx.helper.make_node("Cast", [name], [f"{name}_marked_half"], to=onnx.TensorProto.FLOAT16)
        up = onnx.helper.make_node("Cast", [down.output[0]], [f"{name}_marked"], to=onnx.TensorProto.FLOAT)
        place = min(index for index, node in enumerate(graph.node) if node in users)
        for node in users:
            for index, given in enumerate(node.input):
                if given == name:
                    node.input[index] = up.output[0]
        graph.node.insert(place, up)
        graph.node.insert(place, down)
    data: bytes = halved(model).SerializeToString(deterministic=True)
    return data


def _compare(one: bytes, other: bytes, facts: ModelFacts, largest: float, mean: float, what: str) -> float:
    """Mean difference of a probability on two made-up pictures.

    Raises:
        GateError: it, or the largest difference, is over the limit, or an answer is no number.
    """
    images = made_up_pictures(2, facts.size_hw, seed=1)
    first, second = Answers(one), Answers(other)
    differences = [np.abs(first(image) - second(image)) for image in images]
    worst, average = float(np.max(differences)), float(np.mean(differences))
    # Written so that NaN fails too.
    if not (worst <= largest and average <= mean):
        raise GateError(
            f"{what} differs by {average:.2g} in probability on average and {worst:.2g} at most ({mean:g} and {largest:g} are accepted)"
        )
    return average


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(name, "onnx") from error
