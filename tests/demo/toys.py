"""Networks made by hand whose answers are known: red things, or red and blue things, are found by their colour alone."""

from __future__ import annotations

from typing import Any

import numpy as np

HW = tuple[int, int]
RED = (255, 0, 0)
BLUE = (0, 0, 255)
GREYS = ((40, 40, 40), (110, 110, 110), (180, 180, 180), (240, 240, 240))
"""Colours no toy network finds, to tell the corners of a scene apart."""


def toy_network(size_hw: HW, *, classes: int = 2, precision: str = "fp32") -> bytes:
    """An ONNX file with the inputs and outputs of a web model.

    Args:
        size_hw: height and width.
        classes: 2 finds red, 3 finds red and blue.
        precision: fp32 or fp16; uint8 in and float32 out either way.
    """
    from onnx import TensorProto, checker, helper, numpy_helper

    # A pixel is red by (red - (green + blue) / 2 - 64) / 16.
    rows = [[1.0, -0.5, -0.5]] if classes == 2 else [[0.0, 0.0, 0.0], [1.0, -0.5, -0.5], [-0.5, -0.5, 1.0]]
    biases = [-64.0] if classes == 2 else [0.0, -64.0, -64.0]
    kind = np.float16 if precision == "fp16" else np.float32
    tensor = TensorProto.FLOAT16 if precision == "fp16" else TensorProto.FLOAT
    weights = (np.array(rows) / 16).astype(kind).reshape(len(rows), 3, 1, 1)
    nodes = [
        helper.make_node("Cast", ["input_1"], ["pixels"], to=tensor),
        helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "weights", "biases"], ["logits"], kernel_shape=[1, 1]),
        helper.make_node("Sigmoid", ["logits"], ["answer"])
        if classes == 2
        else helper.make_node("Softmax", ["logits"], ["answer"], axis=1),
        helper.make_node("Cast", ["answer"], ["probabilities"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("input_1", TensorProto.UINT8, [1, *size_hw, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, len(rows), *size_hw])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array((np.array(biases) / 16).astype(kind), "biases"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def random_network(size_hw: HW, seed: int = 0) -> bytes:
    """An ONNX file with random weights and the operators of LR-ASPP, at sides that are multiples of 4."""
    from onnx import TensorProto, checker, helper, numpy_helper

    rng = np.random.default_rng(seed)
    weights = {
        "w1": rng.normal(0, 0.4, (8, 3, 3, 3)),
        "w2": rng.normal(0, 0.5, (8, 1, 3, 3)),
        "w3": rng.normal(0, 0.4, (16, 8, 1, 1)),
        "w4": rng.normal(0, 0.4, (16, 16, 1, 1)),
        "w5": rng.normal(0, 2.0, (1, 16, 1, 1)),
        "scale": np.array(1 / 64),
        "centre": np.array(128.0),
        "sides": np.array([1, 16, *size_hw]),
    }
    node = helper.make_node
    nodes = [
        node("Cast", ["input_1"], ["pixels"], to=TensorProto.FLOAT),
        node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        node("Sub", ["planes", "centre"], ["centred"]),
        node("Mul", ["centred", "scale"], ["x0"]),
        node("Conv", ["x0", "w1"], ["x1"], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("HardSwish", ["x1"], ["x2"]),
        node("Conv", ["x2", "w2"], ["x3"], group=8, strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Conv", ["x3", "w3"], ["x4"]),
        node("Relu", ["x4"], ["x5"]),
        node("ReduceMean", ["x5"], ["x6"], keepdims=1),
        node("Conv", ["x5", "w4"], ["x7"]),
        node("HardSigmoid", ["x6"], ["gate"]),
        node("Mul", ["x7", "gate"], ["x8"]),
        node("Resize", ["x8", "", "", "sides"], ["x9"], mode="linear", coordinate_transformation_mode="half_pixel"),
        node("Conv", ["x9", "w5"], ["logits"]),
        node("Sigmoid", ["logits"], ["probabilities"]),
    ]
    graph = helper.make_graph(
        nodes,
        "random",
        [helper.make_tensor_value_info("input_1", TensorProto.UINT8, [1, *size_hw, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, 1, *size_hw])],
        [
            numpy_helper.from_array(value.astype(np.int64 if name == "sides" else np.float32), name)
            for name, value in weights.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def answer(network: bytes, image: np.ndarray) -> Any:
    """What Python's ONNX Runtime answers: (channels, height, width) float32."""
    import onnxruntime

    session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {"input_1": image[None]})[0][0]


def scene(size_hw: HW, *, blue: bool = False) -> np.ndarray:
    """Four greys in the corners, and a red bar and a red disc that no turn or mirror image can be mistaken for.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    import cv2

    height, width = size_hw
    image = np.empty((height, width, 3), np.uint8)
    image[: height // 2, : width // 2], image[: height // 2, width // 2 :] = GREYS[0], GREYS[1]
    image[height // 2 :, : width // 2], image[height // 2 :, width // 2 :] = GREYS[2], GREYS[3]
    unit = min(size_hw) / 16
    centre = (round(width / 2 + 3 * unit), round(height / 2 - 2 * unit))
    cv2.circle(image, centre, round(2.5 * unit), BLUE if blue else RED, -1)
    left, top = round(width / 2 - 5 * unit), round(height / 2 + unit)
    cv2.rectangle(image, (left, top), (left + round(4 * unit), top + round(1.5 * unit)), RED, -1)
    return image


def upright(image: np.ndarray, size_hw: HW) -> np.ndarray:
    """What the model should be given of a camera's picture: turned counter-clockwise if it lies, cropped, resized."""
    import cv2

    if image.shape[1] > image.shape[0]:
        image = np.rot90(image)
    height, width = image.shape[:2]
    scale = max(size_hw[0] / height, size_hw[1] / width)
    keep_h, keep_w = round(size_hw[0] / scale), round(size_hw[1] / scale)
    top, left = (height - keep_h) // 2, (width - keep_w) // 2
    cut = np.ascontiguousarray(image[top : top + keep_h, left : left + keep_w])
    return cv2.resize(cut, size_hw[::-1], interpolation=cv2.INTER_LINEAR)
