"""Bilinear enlargements at the end of a network as two matrix products each.

Engines spend very different times on `Resize`: OpenVINO needs 5 of 23 ms for the last one of LR-ASPP large at 480x640, and
the same sums as matrix products take less than 1 ms there and no longer in ONNX Runtime. The weights are exact in half
precision and bfloat16 at whole factors up to 64. Only few channels are worth it: the products grow with both sides.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_CHANNELS = 32
"""With more channels the products cost more than they save."""

CENTRES = {"half_pixel", "pytorch_half_pixel", "align_corners"}
"""Ways of matching pixels of the small and the large map that are understood here."""


def by_matrices(model: Any) -> Any:
    """Replace every bilinear enlargement of few channels, where both sizes are known.

    Args:
        model: onnx.ModelProto, not changed.

    Returns:
        An onnx.ModelProto that answers the same, up to rounding.
    """
    import onnx

    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    shapes = _shapes(onnx.shape_inference.infer_shapes(model, data_prop=True).graph)
    nodes = []
    for node in changed.graph.node:
        nodes += _replacement(node, shapes, changed.graph.initializer) or [node]
    del changed.graph.node[:]
    changed.graph.node.extend(nodes)
    return changed


def _replacement(node: Any, shapes: dict[str, list[int]], constants: Any) -> list[Any]:
    """The two products in place of a node, or nothing where it stays."""
    from onnx import helper, numpy_helper

    if node.op_type != "Resize":
        return []
    settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    mode, centres = settings.get("mode", b""), settings.get("coordinate_transformation_mode", b"half_pixel").decode()
    small, large = shapes.get(node.input[0], []), shapes.get(node.output[0], [])
    known = len(small) == len(large) == 4 and min(*small[1:], *large[1:]) > 0
    plain = mode == b"linear" and centres in CENTRES and settings.get("antialias", 0) == 0
    if not known or not plain or small[1] > MOST_CHANNELS or large[2] < small[2] or large[3] < small[3]:
        return []
    rows = f"{node.output[0]}_rows", interpolation(small[2], large[2], centres)
    columns = f"{node.output[0]}_columns", np.ascontiguousarray(interpolation(small[3], large[3], centres).T)
    for name, weights in (rows, columns):
        constants.append(numpy_helper.from_array(weights, name))
    wide = f"{node.output[0]}_wide"
    return [
        helper.make_node("MatMul", [node.input[0], columns[0]], [wide]),
        helper.make_node("MatMul", [rows[0], wide], [node.output[0]]),
    ]


def interpolation(small: int, large: int, centres: str) -> NDArray[np.float32]:
    """Weights of every pixel of the small map in every pixel of the large one, along one axis.

    Args:
        small: pixels there are.
        large: pixels wanted, at least `small`.
        centres: one of `CENTRES`.

    Returns:
        (large, small) float32; rows sum to 1.
    """
    if centres == "align_corners":
        at = np.arange(large) * ((small - 1) / (large - 1) if large > 1 else 0.0)
    else:
        at = (np.arange(large) + 0.5) * small / large - 0.5
    distance = np.abs(np.arange(small)[None] - at.clip(0, small - 1)[:, None])
    return (1.0 - distance).clip(0.0).astype(np.float32)


def _shapes(graph: Any) -> dict[str, list[int]]:
    """Shapes of all values; 0 for a side that is open."""
    return {
        value.name: [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
