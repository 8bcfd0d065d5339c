"""Checkpoint -> one ONNX file that takes uint8 pictures, answers with classes, and carries its own classes and size.

Input  `input_1`        uint8   (batch, height, width, 3)         RGB, as decoded
Output `classes`        uint8   (batch, height, width)            class numbers
Output `probabilities`  float32 (batch, channels, height, width)  0..1, one channel for two classes

Scaling, normalisation and threshold are inside. A fixed file wants the network's own size; an any-size file places the
picture itself (`preprocess.place`, as matrix products) and answers at the picture's size. The network inside runs at one
size in both, so networks whose own dynamic export is silently wrong (UPerNet, PSPNet) are right here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.metadata
import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from segwright import __version__
from segwright.checkpoint import Checkpoint
from segwright.engines.contract import METADATA_KEY, ModelFacts
from segwright.engines.onnx import OnnxEngine
from segwright.engines.pytorch import PyTorchEngine
from segwright.errors import GateError, MissingExtraError, ModelError, OutputError
from segwright.export.half import Marked, halved
from segwright.outputs import file_being_written
from segwright.predict.predictor import Predictor
from segwright.preprocess import place, unplace

OPSET = 20
OPSETS = range(18, 22)
"""18 is the first in which the exporter writes itself; TensorRT 11 and ONNX Runtime Web read all of these."""

TOLERANCE = 1e-3
"""Largest difference of a probability between PyTorch and the new file on the same network input; about 1e-6 is usual."""

PLACED_TOLERANCE = (0.05, 1e-3)
"""Largest and mean difference where the file placed the picture itself. Of a million placed pixels some hundred lie so near
a rounding step that they fall to its other side, and one grey level there moved a probability by 0.005 in LR-ASPP large
with random weights. A picture placed wrongly differs by tenths, everywhere."""

HALF_TOLERANCE = (0.1, 0.01)
"""Largest and mean difference of an FP16 file. Random networks come to 0.003 and 0.0003; a layer that overflows is far beyond."""

PRECISIONS = ("fp32", "fp16")
"""What the network computes in; pictures, placement and probabilities are the same in all."""


class Deployable(nn.Module):
    """The network with everything around it that a picture needs.

    Args:
        checkpoint: what to deploy.
        facts: its facts; `any_size` decides whether placement is inside, and `precision` whether the body is marked for FP16.
    """

    def __init__(self, checkpoint: Checkpoint, facts: ModelFacts) -> None:
        super().__init__()
        self.network = checkpoint.network()
        if facts.precision == "fp16":
            self.network.body = Marked(self.network.body)
        self.facts = facts

    def forward(self, input_1: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures to classes and probabilities; shapes and types as in the head of this file."""
        size_hw, fit, classes = self.facts.size_hw, self.facts.fit, self.facts.classes
        # Cast first, then permute: TensorRT's Transpose takes no uint8.
        images = input_1.to(torch.float32).permute(0, 3, 1, 2)
        placed = place(images, size_hw, fit) if self.facts.any_size else images
        logits = self.network(placed / 255.0)
        probabilities = classes.probabilities(logits) if classes.channels == 1 else _softmax(logits)
        if self.facts.any_size:
            probabilities = unplace(probabilities, (images.shape[2], images.shape[3]), fit)
        if classes.channels == 1:
            return (probabilities[:, 0] >= self.facts.threshold).to(torch.uint8), probabilities
        return probabilities.argmax(dim=1).to(torch.uint8), probabilities


def _softmax(logits: torch.Tensor) -> torch.Tensor:
    """Softmax over dimension 1 in four simple steps: for 12 classes ONNX Runtime's own takes longer than the network."""
    powers = (logits - logits.amax(dim=1, keepdim=True)).exp()
    return powers / powers.sum(dim=1, keepdim=True)


def export_onnx(
    checkpoint: Checkpoint, out: Path, *, any_size: bool = False, precision: str = "fp32", opset: int = OPSET
) -> Path:
    """Write the file, after proving on made-up pictures that it answers as PyTorch does.

    Args:
        checkpoint: a trained model.
        out: the file to write, ending in .onnx.
        any_size: take pictures of any size, and answer at their size.
        precision: one of `PRECISIONS`.
        opset: ONNX operator set, 18..21.

    Returns:
        `out`.

    Raises:
        GateError: the new file differs from PyTorch; nothing is left behind.
        ModelError: the network cannot be exported, or the opset is not supported.
        MissingExtraError: onnx, onnxscript, onnxslim or onnxruntime is not installed.
        OutputError: `out` is no .onnx file or cannot be written.
    """
    onnx = _library("onnx")
    facts = deployed_facts(checkpoint, any_size=any_size, precision=precision)
    if out.suffix.lower() != ".onnx":
        raise OutputError(f"{out} should end in .onnx, which is how every tool knows the format; rename it.")
    if opset not in OPSETS:
        raise ModelError(f"Opset {opset} is not supported; choose {OPSETS.start} to {OPSETS.stop - 1}.")
    model = _graph(Deployable(checkpoint, facts), facts, opset)
    if precision == "fp16":
        model = halved(model)
    write_facts(model, facts)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise GateError(f"The exported graph is not valid ONNX ({str(error)[:300]}); nothing was written.") from error
    with file_being_written(out) as partial:
        partial.write_bytes(model.SerializeToString())
        prove(partial, checkpoint, facts)
    return out


def deployed_facts(checkpoint: Checkpoint, *, any_size: bool, precision: str = "fp32") -> ModelFacts:
    """What an exported file of this checkpoint says about itself; nothing depends on the time, so files are repeatable.

    Raises:
        ModelError: the recipe has no size yet, any size is asked of a model that was trained on patches, or there is no such
            precision.
    """
    if precision not in PRECISIONS:
        raise ModelError(f"There is no precision {precision!r}; choose {' or '.join(PRECISIONS)}.")
    facts = ModelFacts.of(checkpoint)
    if facts.tiled and any_size:
        raise ModelError(
            f"{facts.name} was trained on patches of {facts.size_hw[1]} pixels, and an any-size file would scale pictures down to that; "
            "export it without --any-size: segwright then cuts pictures of any size into tiles."
        )
    return ModelFacts(
        name=facts.name,
        classes=facts.classes,
        size_hw=facts.size_hw,
        fit=facts.fit,
        turn=facts.turn,
        threshold=facts.threshold,
        any_size=any_size,
        tiled=facts.tiled,
        precision=precision,
        provenance={
            **facts.provenance,
            "exported_with": {
                "segwright": __version__,
                **{name: importlib.metadata.version(name) for name in ("torch", "onnx", "onnxslim")},
            },
        },
    )


def write_facts(model: Any, facts: ModelFacts, **more: str) -> None:
    """Put the facts into an ONNX model's metadata: once as JSON for `engines/onnx.py`, and in words for people.

    Args:
        model: onnx.ModelProto, changed in place.
        facts: what to write.
        more: further entries.
    """
    height, width = facts.size_hw
    kept = {p.key: p.value for p in model.metadata_props}
    kept |= {
        METADATA_KEY: json.dumps(facts.to_dict()),
        "names": ", ".join(facts.classes.names),
        "colours": ", ".join("#{:02x}{:02x}{:02x}".format(*rgb) for rgb in facts.classes.colours),
        "size": f"{width}x{height} (width x height){', placed inside: give any size' if facts.any_size else ''}",
        "fit": "tiles of this size, at the picture's own scale" if facts.tiled else facts.fit,
        "turn": "first turn a picture that lies across a quarter counter-clockwise" if facts.turn else "never",
        "threshold": f"{facts.threshold:g}",
        "precision": facts.precision,
        "licence": _licence(facts.provenance),
    } | more
    del model.metadata_props[:]
    for key, value in kept.items():
        model.metadata_props.add(key=key, value=value)


def prove(path: Path, checkpoint: Checkpoint, facts: ModelFacts) -> float:
    """Compare a new file with its checkpoint on made-up pictures: two batch sizes, and two sizes when any is taken.

    Args:
        path: the .onnx file.
        checkpoint: what it was made from.
        facts: what it says about itself.

    Returns:
        The largest difference of a probability, 0..1.

    Raises:
        GateError: it is over `TOLERANCE`, `PLACED_TOLERANCE` or `HALF_TOLERANCE`, or the file's two outputs contradict each other.
    """
    engine = OnnxEngine(path, device="cpu")
    pytorch = PyTorchEngine(checkpoint, device="cpu")
    pytorch.facts = dataclasses.replace(pytorch.facts, turn=False)  # the file is given pictures as they are
    reference = Predictor(pytorch)
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
        accepted = (TOLERANCE, TOLERANCE) if size_hw == facts.size_hw else PLACED_TOLERANCE
        accepted = HALF_TOLERANCE if facts.precision == "fp16" else accepted
        for image, class_map, answer in zip(images, class_maps, probabilities, strict=True):
            if not np.array_equal(class_map, facts.classes.decode(answer, facts.threshold)):
                raise GateError("The exported file's classes contradict its own probabilities; nothing was written.")
            difference = np.abs(answer - np.asarray(reference.predict(image, probabilities=True).probabilities))
            # Written so that NaN fails too.
            if not (difference.max() <= accepted[0] and difference.mean() <= accepted[1]):
                raise GateError(
                    f"The exported file differs from PyTorch by up to {difference.max():.2g} in probability on pictures of "
                    f"{size_hw[1]}x{size_hw[0]} (at most {accepted[0]:g} is accepted, {accepted[1]:g} on average), so nothing was "
                    "written; try another model."
                )
            largest = max(largest, float(difference.max()))
    return largest


def made_up_pictures(batch: int, size_hw: tuple[int, int], seed: int = 0) -> NDArray[np.uint8]:
    """Coarse coloured patches with noise on them, the same at every call.

    Returns:
        (batch, *size_hw, 3) uint8.
    """
    rng = np.random.default_rng(seed)
    patches = rng.integers(0, 256, (batch, -(-size_hw[0] // 16), -(-size_hw[1] // 16), 3))
    coarse = patches.repeat(16, axis=1).repeat(16, axis=2)[:, : size_hw[0], : size_hw[1]]
    return (coarse + rng.integers(-40, 41, coarse.shape)).clip(0, 255).astype(np.uint8)


def _graph(module: Deployable, facts: ModelFacts, opset: int) -> Any:
    """The traced, slimmed graph, as an onnx.ModelProto without anything of ours in it yet."""
    _library("onnxscript")
    onnxslim = _library("onnxslim")
    height, width = facts.size_hw
    free: dict[int, Any] = {0: torch.export.Dim("batch", max=65535)}
    if facts.any_size:
        # Traced at sides that are no side of the network, so that nothing about the size is taken for granted.
        height, width = height + 7, width + 13
        free |= {1: torch.export.Dim("height", max=65535), 2: torch.export.Dim("width", max=65535)}
    example = torch.zeros(2, height, width, 3, dtype=torch.uint8)
    try:
        with _quiet(), torch.inference_mode(False), torch.no_grad():
            program = torch.onnx.export(
                module.eval(),
                (example,),
                dynamo=True,
                opset_version=opset,
                input_names=["input_1"],
                output_names=["classes", "probabilities"],
                dynamic_shapes=(free,),
                verbose=False,
            )
            if program is None:
                raise ModelError("PyTorch's exporter returned nothing; try another model.")
            model = onnxslim.slim(program.model_proto)
    except (torch.onnx.OnnxExporterError, RuntimeError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise ModelError(f"{facts.name} cannot be exported to ONNX ({reason}); try another --model.") from error
    _name_dimensions(model, facts)
    model.producer_name, model.producer_version = "segwright", __version__
    model.doc_string = "Semantic segmentation: uint8 RGB pictures in, class numbers and probabilities out."
    return model


def _name_dimensions(model: Any, facts: ModelFacts) -> None:
    """batch, height, width in place of the exporter's symbols, and numbers where the size is fixed."""
    height, width = ("height", "width") if facts.any_size else facts.size_hw
    shapes: dict[str, tuple[str | int, ...]] = {
        "input_1": ("batch", height, width, 3),
        "classes": ("batch", height, width),
        "probabilities": ("batch", facts.classes.channels, height, width),
    }
    for value in (*model.graph.input, *model.graph.output):
        shape = value.type.tensor_type.shape
        del shape.dim[:]
        for size in shapes[value.name]:
            shape.dim.add(**{"dim_param" if isinstance(size, str) else "dim_value": size})


def _licence(provenance: dict[str, Any]) -> str:
    stated = provenance.get("licences") or provenance.get("licence") or "not stated"
    if isinstance(stated, dict):
        return "; ".join(f"{key}: {value}" for key, value in stated.items())
    return stated if isinstance(stated, str) else "; ".join(str(line) for line in stated)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Exporters print progress, warn about their own insides and log: none of it helps who exports."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir", "onnxslim")]
    levels = [logger.level for logger in loggers]
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(name, "onnx") from error
