"""Checkpoint -> one ONNX file that takes uint8 pictures, answers with classes, and carries its own classes and size.

Input  `input_1`        uint8   (batch, height, width, 3)         RGB, as decoded
Output `classes`        uint8   (batch, height, width)            class numbers
Output `probabilities`  float32 (batch, channels, height, width)  0..1, one channel for two classes

Name, layout and outputs can be asked for otherwise (`request.py`); what is inside is told in `deployable.py`.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from segwright import __version__
from segwright.checkpoint import Checkpoint
from segwright.engines.contract import METADATA_KEY, ModelFacts
from segwright.engines.onnx import OnnxEngine
from segwright.engines.pytorch import PyTorchEngine
from segwright.errors import GateError, MissingExtraError, ModelError, OutputError
from segwright.export.deployable import Deployable, deployed_facts, exporting, made_up_pictures, plain_facts
from segwright.export.enlarging import by_matrices
from segwright.export.half import Marked, halved
from segwright.export.request import ExportRequest
from segwright.outputs import file_being_written
from segwright.predict.predictor import Predictor

Pictures = NDArray[np.uint8]

TOLERANCES = {"fp32": (1e-3, 1e-3), "fp16": (0.1, 0.01), "int8": (1.0, 0.25)}
"""Largest and mean difference of a probability between PyTorch and the new file on the same network input, by precision.

FP32 files differ by 1e-6, FP16 files of random networks by 0.003; a layer that overflows is far beyond. INT8 files were
calibrated on real pictures, and these are made up: only nonsense is found here, the real proof is `gate.py`."""

PLACED_TOLERANCE = (0.05, 1e-3)
"""The same where an FP32 file placed the picture itself. Of a million placed pixels some hundred lie so near a rounding
step that they fall to its other side, and one grey level there moved a probability by 0.005 in LR-ASPP large with random
weights. A picture placed wrongly differs by tenths, everywhere."""

LEAST_SAME = 0.99
"""Share of equal classes where a file gives no probabilities."""


def export_onnx(checkpoint: Checkpoint, out: Path, *, calibration: Pictures | None = None, **asked: Any) -> Path:
    """Write the file, after proving on made-up pictures that it answers as PyTorch does.

    Args:
        checkpoint: a trained model.
        out: the file to write, ending in .onnx.
        calibration: for INT8, (N, h, w, 3) real pictures of the network's size.
        asked: fields of `ExportRequest`.

    Returns:
        `out`.

    Raises:
        GateError: the new file differs from PyTorch; nothing is left behind.
        ModelError: the network cannot be exported, or something impossible is asked for.
        MissingExtraError: onnx, onnxscript, onnxslim or onnxruntime is not installed.
        OutputError: `out` is no .onnx file or cannot be written.
    """
    request = ExportRequest(**asked)
    if out.suffix.lower() != ".onnx":
        raise OutputError(f"{out} should end in .onnx, which is how every tool knows the format; rename it.")
    with file_being_written(out) as partial:
        write_onnx(checkpoint, request, partial, calibration)
    return out


def write_onnx(checkpoint: Checkpoint, request: ExportRequest, out: Path, calibration: Pictures | None = None) -> None:
    """`export_onnx` where half a file does no harm."""
    facts = deployed_facts(checkpoint, request)
    model = onnx_model(checkpoint, facts, request.opset, calibration)
    out.write_bytes(model.SerializeToString())
    prove(out, checkpoint, facts)


def onnx_model(checkpoint: Checkpoint, facts: ModelFacts, opset: int, calibration: Pictures | None = None) -> Any:
    """The finished onnx.ModelProto, facts included.

    Raises:
        GateError: the graph is not valid ONNX.
        ModelError, MissingExtraError: as `export_onnx`.
    """
    onnx = _library("onnx")
    module = Deployable(checkpoint, facts)
    if facts.precision == "fp16":
        module.network.body = Marked(module.network.body)
    model = by_matrices(_graph(module, facts, opset))
    if facts.precision == "fp16":
        model = halved(model)
    if facts.precision == "int8":
        from segwright.export.int8 import quantized

        model = quantized(model, facts, calibration)
    write_facts(model, facts)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise GateError(f"The exported graph is not valid ONNX ({str(error)[:300]}); nothing was written.") from error
    return model


def write_facts(model: Any, facts: ModelFacts, **more: str) -> None:
    """Put the facts into an ONNX model's metadata: once as JSON for `engines/onnx.py`, and in words for people.

    Args:
        model: onnx.ModelProto, changed in place.
        facts: what to write.
        more: further entries.
    """
    kept = {p.key: p.value for p in model.metadata_props}
    kept |= {METADATA_KEY: json.dumps(facts.to_dict())} | plain_facts(facts) | more
    del model.metadata_props[:]
    for key, value in kept.items():
        model.metadata_props.add(key=key, value=value)


def certify(path: Path, certificate: dict[str, Any]) -> None:
    """Add a certificate to the metadata of a file."""
    import onnx

    model = onnx.load(path)
    kept = [p for p in model.metadata_props if p.key != "certificate"]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    model.metadata_props.add(key="certificate", value=json.dumps(certificate))
    path.write_bytes(model.SerializeToString())


def prove(path: Path, checkpoint: Checkpoint, facts: ModelFacts) -> float:
    """Compare a new file with its checkpoint on made-up pictures: two batch sizes, and two sizes when any is taken.

    Args:
        path: the .onnx file.
        checkpoint: what it was made from.
        facts: what it says about itself.

    Returns:
        The largest difference of a probability, 0..1.

    Raises:
        GateError: it is over `TOLERANCES` or `PLACED_TOLERANCE`, or the file's two outputs contradict each other.
    """
    engine = OnnxEngine(path, device="cpu")
    pytorch = PyTorchEngine(checkpoint, device="cpu")
    pytorch.facts = dataclasses.replace(pytorch.facts, turn=False)  # the file is given pictures as they are
    reference = Predictor(pytorch, threshold=facts.threshold)
    height, width = facts.size_hw
    trials = [(1, facts.size_hw), (3, facts.size_hw)]
    if facts.any_size:
        # Sizes that differ in both sides: one flatter and one taller than the network's, one smaller and one larger.
        trials += [(1, (height - height // 3, width + width // 5)), (2, (height + height // 4 + 1, width - width // 7))]
    largest = 0.0
    for batch, size_hw in trials:
        images = made_up_pictures(batch, size_hw)
        class_maps, probabilities = engine.run(images)
        if probabilities.shape != (batch, facts.classes.channels, *size_hw):
            raise GateError(
                f"The exported file answered {batch} pictures of {size_hw} with the shape {probabilities.shape}; nothing was written."
            )
        accepted = TOLERANCES[facts.precision]
        if facts.precision == "fp32" and size_hw != facts.size_hw:
            accepted = PLACED_TOLERANCE
        for image, class_map, answer in zip(images, class_maps, probabilities, strict=True):
            largest = max(largest, _difference(image, class_map, answer, reference, facts, accepted))
    return largest


def _difference(
    image: Pictures,
    class_map: NDArray[np.uint8],
    answer: NDArray[np.float32],
    reference: Predictor,
    facts: ModelFacts,
    accepted: tuple[float, float],
) -> float:
    outputs, expected = facts.interface.outputs, reference.predict(image, probabilities=True)
    if {"classes", "probabilities"} <= outputs.keys() and not np.array_equal(
        class_map, facts.classes.decode(answer, facts.threshold)
    ):
        raise GateError("The exported file's classes contradict its own probabilities; nothing was written.")
    if outputs.keys() == {"classes"}:
        same = float((class_map == expected.class_map).mean())
        if facts.precision != "int8" and same < LEAST_SAME:
            raise GateError(
                f"The exported file chooses the class that PyTorch does on {same:.1%} of the pixels only, so nothing was written; "
                "try another model."
            )
        return 0.0
    if facts.any_size and "probabilities" not in outputs:
        # Logits were enlarged, and probabilities are enlarged elsewhere: between two pixels these differ.
        accepted = (1.0, 0.05)
    difference = np.abs(answer - np.asarray(expected.probabilities))
    # Written so that NaN fails too.
    if not (difference.max() <= accepted[0] and difference.mean() <= accepted[1]):
        raise GateError(
            f"The exported file differs from PyTorch by up to {difference.max():.2g} in probability on pictures of "
            f"{image.shape[1]}x{image.shape[0]} (at most {accepted[0]:g} is accepted, {accepted[1]:g} on average), so nothing was "
            "written; try another model."
        )
    return float(difference.max())


def _graph(module: Deployable, facts: ModelFacts, opset: int) -> Any:
    """The traced, slimmed graph, as an onnx.ModelProto without anything of ours in it yet."""
    _library("onnxscript")
    onnxslim = _library("onnxslim")
    free = module.free_dimensions()
    with exporting(facts.name, "ONNX"):
        program = torch.onnx.export(
            module.eval(),
            (module.example(),),
            dynamo=True,
            opset_version=opset,
            input_names=[facts.interface.input_name],
            output_names=list(facts.interface.outputs.values()),
            dynamic_shapes=(free,) if free else None,
            verbose=False,
        )
        if program is None:
            raise ModelError("PyTorch's exporter returned nothing; try another model.")
        model = onnxslim.slim(program.model_proto)
    _name_dimensions(model, facts)
    model.producer_name, model.producer_version = "segwright", __version__
    model.doc_string = "Semantic segmentation: uint8 RGB pictures in, class numbers and probabilities out."
    return model


def _name_dimensions(model: Any, facts: ModelFacts) -> None:
    """batch, height, width in place of the exporter's symbols, and numbers where the size is fixed."""
    batch: str | int = facts.interface.batch or "batch"
    height, width = ("height", "width") if facts.any_size else facts.size_hw
    maps = (batch, facts.classes.channels, height, width)
    shapes: dict[str, tuple[str | int, ...]] = {
        facts.interface.input_name: (batch, height, width, 3)
        if facts.interface.layout == "nhwc"
        else (batch, 3, height, width),
        "classes": (batch, height, width),
        "probabilities": maps,
        "logits": maps,
    }
    for value in (*model.graph.input, *model.graph.output):
        shape = value.type.tensor_type.shape
        del shape.dim[:]
        for size in shapes[value.name]:
            shape.dim.add(**{"dim_param" if isinstance(size, str) else "dim_value": size})


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(name, "onnx") from error
