"""INT8: weights and activations in 8 bits, their ranges measured on real pictures of the data set.

The ONNX file is written as pairs of QuantizeLinear and DequantizeLinear around convolutions, symmetric and without quantised
biases: the only form that ONNX Runtime, OpenVINO and TensorRT all read. Whether it is any faster is for the processor to say,
so `gate.py` measures it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segwright.data.sample import Sample, read_image
from segwright.engines.contract import ModelFacts
from segwright.errors import DataError, MissingExtraError, ModelError

Pictures = NDArray[np.uint8]

LEAST_PICTURES = 16
"""Ranges of activations from fewer pictures are those of these pictures, and others are clipped."""

MOST_PICTURES = 64
"""More change the ranges no further, and cost time and memory."""

OPERATORS = ["Conv", "ConvTranspose", "Gemm"]


def calibration_pictures(samples: Sequence[Sample], facts: ModelFacts, *, seed: int = 0) -> Pictures:
    """Pictures to measure ranges on, as the network sees them.

    Args:
        samples: pictures of the data set, best those of training.
        facts: of the model: its size, and whether it sees tiles.
        seed: chooses a place in each picture, where the model sees tiles.

    Returns:
        (N, h, w, 3) uint8, N between `LEAST_PICTURES` and `MOST_PICTURES`.

    Raises:
        DataError: too few pictures, or an unreadable one.
    """
    from segwright.preprocess import is_turned, place_image, turned

    if len(samples) < LEAST_PICTURES:
        raise DataError(
            f"INT8 is calibrated on at least {LEAST_PICTURES} pictures, and there are {len(samples)}; name a data set with more of "
            "them (masks are not needed), or use --precision fp16."
        )
    places = np.linspace(0, len(samples) - 1, min(len(samples), MOST_PICTURES)).round().astype(int)
    rng = np.random.default_rng(seed)
    found = []
    for number in places:
        image = read_image(samples[number].image)
        if facts.turn and is_turned(image.shape[0], image.shape[1], facts.size_hw):
            image = np.ascontiguousarray(turned(image))
        found.append(place_image(_tile(image, facts.size_hw, rng) if facts.tiled else image, facts.size_hw, facts.fit))
    return np.stack(found)


def quantized(model: Any, facts: ModelFacts, calibration: Pictures | None) -> Any:
    """The graph in 8 bits.

    Args:
        model: onnx.ModelProto in FP32.
        facts: of the file.
        calibration: (N, h, w, 3) real pictures of the network's size.

    Returns:
        A new onnx.ModelProto.

    Raises:
        ModelError: no calibration, or ONNX Runtime cannot quantise this graph.
        MissingExtraError: ONNX Runtime is not installed.
    """
    try:
        from onnxruntime import quantization
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "onnx") from error
    import tempfile

    from segwright.export.deployable import exporting

    given = (facts.interface.fed(picture[None]) for picture in required(calibration))
    if facts.interface.batch > 1:
        given = (np.repeat(picture, facts.interface.batch, axis=0) for picture in given)
    reader = _reader(quantization, facts.interface.input_name, given)
    with tempfile.TemporaryDirectory(prefix="segwright-") as folder, exporting(facts.name, "INT8"):
        out = Path(folder) / "int8.onnx"
        quantization.quantize_static(
            model,
            out,
            reader,
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=OPERATORS,
            per_channel=True,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
        )
        import onnx

        return onnx.load(out)


def required(calibration: Pictures | None) -> Pictures:
    """The pictures themselves.

    Raises:
        ModelError: there are none.
    """
    if calibration is None or not len(calibration):
        raise ModelError("INT8 needs real pictures to measure ranges on; give calibration pictures.")
    return calibration


def _reader(quantization: Any, name: str, pictures: Iterator[NDArray[Any]]) -> Any:
    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        """ONNX Runtime asks for one feed after another, and None ends it."""

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            picture = next(pictures, None)
            return None if picture is None else {name: picture}

    return Reader()


def _tile(image: Pictures, size_hw: tuple[int, int], rng: np.random.Generator) -> Pictures:
    top = int(rng.integers(0, max(image.shape[0] - size_hw[0], 0) + 1))
    left = int(rng.integers(0, max(image.shape[1] - size_hw[1], 0) + 1))
    return image[top : top + size_hw[0], left : left + size_hw[1]]
