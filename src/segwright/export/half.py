"""FP16: the network's insides in half precision, everything around them in FP32; and the FP32 twin of such a file.

The graph is exported in FP32 with two marks, a pair of casts where the network's body begins and one where it ends.
Batch norms are folded into convolutions while everything is still FP32, and only then is what lies between the marks
converted. (`model.half()` before the export folds in half precision, which rounds every weight twice.)

What stays FP32: placing a picture, normalisation, threshold, sigmoid or softmax, and inside the body means, sums and
normalisations over many numbers, which some engines add up in the precision they are given.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from segwright.errors import ModelError

SENSITIVE = {
    "GlobalAveragePool",
    "GroupNormalization",
    "InstanceNormalization",
    "LayerNormalization",
    "Range",
    "ReduceL2",
    "ReduceMean",
    "ReduceSum",
    "Softmax",
}
"""Operators that add up many numbers: their sums, or squares, pass 65504 or lose their small parts in half precision.
(Range is here because ONNX has it only in FP32.)"""

LARGEST = 65504.0
"""Of the finite numbers of half precision."""


class Marked(nn.Module):
    """A network's body with a mark before and after it that survives the export.

    Args:
        body: module from (B, C, H, W) float32 to (B, channels, H, W) float32.
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """What the body answers, rounded to half precision on both sides."""
        answer: torch.Tensor = self.body(images.half().float())
        return answer.half().float()


def halved(model: Any) -> Any:
    """What lies between the marks of a graph in half precision; the marks are removed.

    Args:
        model: onnx.ModelProto of a network whose body was `Marked`; not changed.

    Returns:
        The converted onnx.ModelProto.

    Raises:
        ModelError: the marks are not there, a weight is too large, or the body branches.
    """
    import onnx

    typed = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    inside = _between_marks(typed.graph)
    _unmark(typed.graph)
    _Halving(typed.graph, inside).convert()
    del typed.graph.value_info[:]  # they still speak of FP32
    _drop_unread(typed.graph)
    return typed


def float32_twin(model: Any) -> Any:
    """The same graph with every half-precision weight cast up, bit-exact, and every computation in FP32.

    For engines that know no FP16. The answers differ from the FP16 file's only by how sums are rounded on the way.

    Args:
        model: onnx.ModelProto, FP16 or already FP32; not changed.

    Returns:
        A new onnx.ModelProto without any FP16.
    """
    import onnx
    from onnx import TensorProto, numpy_helper

    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    halves = [tensor for tensor in _tensors(twin.graph) if tensor.data_type == TensorProto.FLOAT16]
    if not halves:
        return twin
    casts = _casts_of_floats(twin)
    del twin.graph.value_info[:]
    for tensor in halves:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    for value in (*twin.graph.input, *twin.graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    for node in twin.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = casts.get(name, name)
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
    _drop_unread(twin.graph)
    onnx.checker.check_model(twin, full_check=True)
    return twin


def _casts_of_floats(model: Any) -> dict[str, str]:
    """Outputs of casts between half and single precision, and what they were cast from in the first place."""
    import onnx
    from onnx import TensorProto

    floats = {TensorProto.FLOAT16, TensorProto.FLOAT}
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input)}
    shown = {value.name for value in graph.output}
    origin: dict[str, str] = {}
    for node in graph.node:
        cast = node.op_type == "Cast" and node.attribute[0].i in floats and kinds.get(node.input[0]) in floats
        if cast and node.output[0] not in shown:
            origin[node.output[0]] = origin.get(node.input[0], node.input[0])
    return origin


def _drop_unread(graph: Any) -> None:
    """Take out what nothing reads any more: nodes, and initialisers."""
    read = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if read & set(node.output):
            read |= set(node.input)
            kept.append(node)
    weights = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(weights)


def _marks(graph: Any) -> list[tuple[Any, Any]]:
    """The two pairs of casts, in the order of computation: entrance and exit."""
    from onnx import TensorProto

    down = [node for node in graph.node if node.op_type == "Cast" and node.attribute[0].i == TensorProto.FLOAT16]
    pairs = [(node, up) for node in down for up in graph.node if up.op_type == "Cast" and up.input[0] == node.output[0]]
    if len(pairs) != 2:
        raise ModelError(f"The graph has {len(pairs)} marks where it should have 2; use --precision fp32.")
    return pairs


def _between_marks(graph: Any) -> set[str]:
    """Names of all values that the body computes."""
    (_, begins), (leaves, _) = _marks(graph)
    return _reached(begins.output[0], graph.node) & _needed(leaves.input[0], graph.node)


def _unmark(graph: Any) -> None:
    """Take the marks out of the graph."""
    for down, up in _marks(graph):
        for node in graph.node:
            for place, name in enumerate(node.input):
                if name == up.output[0]:
                    node.input[place] = down.input[0]
        graph.node.remove(down)
        graph.node.remove(up)


def _reached(start: str, nodes: Any) -> set[str]:
    """Every value that depends on `start`."""
    reached = {start}
    for node in nodes:
        if reached & set(node.input):
            reached |= set(node.output)
    return reached - {start}


def _needed(end: str, nodes: Any) -> set[str]:
    """Every value that `end` depends on, itself included."""
    needed = {end}
    for node in reversed(nodes):
        if needed & set(node.output):
            needed |= set(node.input)
    return needed


def _tensors(graph: Any) -> Iterator[Any]:
    """Every tensor a graph holds: initialisers, and constants in attributes."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t


class _Halving:
    """One conversion: which values are half by now, and the casts that were made for others.

    Args:
        graph: onnx.GraphProto with the types of all values; changed in place.
        inside: names of the values that are to be half.
    """

    def __init__(self, graph: Any, inside: set[str]) -> None:
        from onnx import TensorProto

        self.graph, self.inside = graph, inside
        self.single, self.half = TensorProto.FLOAT, TensorProto.FLOAT16
        known = (*graph.value_info, *graph.input, *graph.output)
        self.floats = {value.name for value in known if value.type.tensor_type.elem_type == self.single}
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.halves: set[str] = set()
        self.made: dict[tuple[str, int], str] = {}
        self.nodes: list[Any] = []

    def convert(self) -> None:
        """Go through the nodes in order."""
        for node in self.graph.node:
            if self.inside & set(node.output):
                self._inside(node)
            else:
                self._feed(node, self.single, range(len(node.input)))
                self.nodes.append(node)
        del self.graph.node[:]
        self.graph.node.extend(self.nodes)

    def _inside(self, node: Any) -> None:
        import onnx

        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            raise ModelError(f"The network branches ({node.op_type}), which FP16 cannot follow; use --precision fp32.")
        kept = node.op_type in SENSITIVE
        for attribute in node.attribute:
            if attribute.HasField("t") and attribute.t.data_type == self.single and not kept:
                attribute.t.CopyFrom(self._rounded(attribute.t, attribute.t.name))
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == self.single:
                attribute.i = self.half
        # Scales and regions of Resize are FP32 in every precision.
        places = range(1) if node.op_type == "Resize" else range(len(node.input))
        self._feed(node, self.single if kept else self.half, places)
        self.nodes.append(node)
        for place, name in enumerate(node.output):
            if name not in self.floats:
                continue
            self.halves.add(name)
            if kept:
                # Whoever wants this value in FP32 takes what was computed, not the rounded one cast up again.
                node.output[place] = self.made[name, self.single] = f"{name}_single"
                self.nodes.append(onnx.helper.make_node("Cast", [node.output[place]], [name], to=self.half))

    def _feed(self, node: Any, kind: int, places: range) -> None:
        """Give a node its float inputs in the precision it wants."""
        for place in places:
            name = node.input[place]
            if name in self.constants:
                if kind == self.half and self.constants[name].data_type == self.single:
                    node.input[place] = self._constant(name)
            elif name in self.floats and (name in self.halves) != (kind == self.half):
                node.input[place] = self._cast(name, kind)

    def _constant(self, name: str) -> str:
        if (name, self.half) not in self.made:
            rounded = self._rounded(self.constants[name], f"{name}_half")
            self.graph.initializer.append(rounded)
            self.made[name, self.half] = rounded.name
        return self.made[name, self.half]

    def _cast(self, name: str, kind: int) -> str:
        import onnx

        if (name, kind) not in self.made:
            self.made[name, kind] = f"{name}_{'half' if kind == self.half else 'single'}"
            self.nodes.append(onnx.helper.make_node("Cast", [name], [self.made[name, kind]], to=kind))
        return self.made[name, kind]

    @staticmethod
    def _rounded(tensor: Any, name: str) -> Any:
        from onnx import numpy_helper

        values = numpy_helper.to_array(tensor)
        if (np.isfinite(values) & (np.abs(values) > LARGEST)).any():
            raise ModelError("A weight of the network is over 65504, the largest number of FP16; use --precision fp32.")
        return numpy_helper.from_array(values.astype(np.float16), name)
