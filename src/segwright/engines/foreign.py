"""ONNX files from elsewhere: what can be read from the graph, what the user has to say, and the facts that follow.

Such a file does not say what its classes are, nor how pictures are to be prepared. Type and layout of the input, a fixed size,
and whether the answers are class numbers, probabilities or logits are read from the graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segwright.classes import Classes
from segwright.engines.contract import LARGEST_SIDE, ModelFacts
from segwright.engines.interface import Interface, Kind, Layout
from segwright.errors import ModelError, UserError

CERTAIN = {"Sigmoid", "Softmax", "HardSigmoid"}
"""What computes probabilities; a last operator that is none of these gives logits."""


@dataclass(frozen=True, kw_only=True)
class Described:
    """What the user says about a file that does not speak for itself; None where nothing was said."""

    classes: Classes | None = None
    size_hw: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    """Of the channels, after scaling to 0..1."""
    std: tuple[float, ...] | None = None

    @property
    def prepares(self) -> bool:
        """Whether anything is said that a file of ours knows better."""
        return self.size_hw is not None or self.mean is not None or self.std is not None


def foreign_facts(model: Any, path: Path, described: Described | None) -> ModelFacts:
    """Facts of an ONNX model without our metadata.

    Args:
        model: onnx.ModelProto.
        path: its name, for messages.
        described: what the user says about it.

    Raises:
        ModelError: the graph does not segment pictures in a way that is understood, or contradicts what was said.
        UserError: something is missing; the flag that says it is named.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if described is None or described.classes is None:
        raise ModelError(
            f"{path} does not carry the facts of a segwright model; for one from elsewhere, name its classes in their order "
            "(--classes background,card), and if it asks for them --size and --mean. Ours are made with: segwright export RUN"
        )
    if len(inputs) != 1 or len(_dimensions(inputs[0])) != 4:
        listed = ", ".join(f"{value.name} {_shown(value)}" for value in inputs)
        raise ModelError(
            f"{path} takes {listed or 'nothing'}, and only models that take one batch of pictures can be run."
        )
    (value,) = inputs
    layout, floats = _layout(value, path), _floats(value, path)
    size_hw = _size(value, layout, path, described.size_hw)
    mean, std = _preparation(path, floats, described)
    outputs, last = _outputs(model.graph, path, described.classes)
    return ModelFacts(
        name=path.stem,
        classes=described.classes,
        size_hw=size_hw,
        fit="stretch",
        interface=Interface(
            input_name=value.name,
            layout=layout,
            batch=_dimensions(value)[0],
            floats=floats,
            mean=mean,
            std=std,
            outputs=outputs,
            channels_last=last,
        ),
        provenance={"from": "elsewhere"},
    )


def _layout(value: Any, path: Path) -> Layout:
    shape = _dimensions(value)
    if (shape[1] == 3) == (shape[3] == 3):
        raise ModelError(
            f"{path} takes {_shown(value)}, where the three channels of a picture cannot be told; export it again with a fixed 3."
        )
    return "nchw" if shape[1] == 3 else "nhwc"


def _floats(value: Any, path: Path) -> bool:
    from onnx import TensorProto

    kinds = {TensorProto.UINT8: False, TensorProto.FLOAT: True}
    kind = value.type.tensor_type.elem_type
    if kind not in kinds:
        raise ModelError(
            f"{path} takes {TensorProto.DataType.Name(kind).lower()} pictures, and uint8 and float32 can be given; export it again."
        )
    return kinds[kind]


def _size(value: Any, layout: Layout, path: Path, said: tuple[int, int] | None) -> tuple[int, int]:
    shape = _dimensions(value)
    height, width = shape[2:] if layout == "nchw" else shape[1:3]
    if not (height and width) and said is None:
        raise UserError(f"{path} takes pictures of any size; say at which one it is to run, such as --size 640x480.")
    wanted = said or (height, width)
    if (height and wanted[0] != height) or (width and wanted[1] != width):
        raise UserError(f"{path} takes pictures of {width}x{height} only; leave --size out.")
    if not all(0 < side <= LARGEST_SIDE for side in wanted):
        raise UserError(f"The size is width x height in pixels, each 1 to {LARGEST_SIDE}, such as --size 640x480.")
    return wanted


def _preparation(path: Path, floats: bool, said: Described) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if not floats:
        if said.mean is not None or said.std is not None:
            raise UserError(f"{path} takes the uint8 picture itself and normalises inside; leave --mean and --std out.")
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if said.mean is None or said.std is None:
        raise UserError(
            f"{path} takes float pictures; say how they are normalised after scaling to 0..1: --mean 0.485,0.456,0.406 "
            "--std 0.229,0.224,0.225 for ImageNet's, --mean 0,0,0 --std 1,1,1 for none."
        )
    if len(said.mean) != 3 or len(said.std) != 3 or not all(number > 0 for number in said.std):
        raise UserError("--mean and --std take three numbers each, for red, green and blue, and --std no zero.")
    return said.mean, said.std


def _outputs(graph: Any, path: Path, classes: Classes) -> tuple[dict[Kind, str], bool]:
    """The outputs that are understood, and whether their channels come last."""
    found: dict[Kind, str] = {}
    last = False
    for value in graph.output:
        kind, at_end = _kind(value, graph, classes)
        if kind is not None and kind not in found:
            found[kind] = value.name
            last = last or at_end
    if not found:
        listed = "; ".join(f"{value.name} {_shown(value)}" for value in graph.output)
        raise ModelError(
            f"{path} answers with {listed}, and none of that is a map of {len(classes)} classes; name all of its classes in their order "
            "with --classes."
        )
    return found, last


def _kind(value: Any, graph: Any, classes: Classes) -> tuple[Kind | None, bool]:
    from onnx import TensorProto

    shape, kind = _dimensions(value), value.type.tensor_type.elem_type
    whole = {TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32, TensorProto.INT64}
    if kind in whole and (len(shape) == 3 or (len(shape) == 4 and shape[1] == 1)):
        return "classes", False
    accepted = {len(classes)} | ({1} if len(classes) == 2 else set())
    if kind != TensorProto.FLOAT or len(shape) != 4:
        return None, False
    # An open dimension may be the channels of some exporters; the engine looks at the answer itself then.
    first, end = shape[1] in accepted or shape[1] == 0, shape[3] in accepted
    if not first and not end:
        return None, False
    made_by = next((node.op_type for node in _backwards(graph, value.name)), "")
    return ("probabilities" if made_by in CERTAIN else "logits"), not first


def _backwards(graph: Any, name: str) -> Iterator[Any]:
    """Nodes from an output backwards along first inputs, past those that only move numbers."""
    makers = {output: node for node in graph.node for output in node.output}
    while name in makers:
        node = makers.pop(name)
        if node.op_type not in {"Transpose", "Resize", "Cast", "Identity", "Reshape", "Slice"}:
            yield node
        name = node.input[0] if node.input else ""


def _dimensions(value: Any) -> list[int]:
    """0 where a dimension is open."""
    return [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]


def _shown(value: Any) -> str:
    sides = value.type.tensor_type.shape.dim
    return "(" + ", ".join(str(side.dim_value or side.dim_param or "?") for side in sides) + ")"
