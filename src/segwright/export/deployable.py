"""The network with everything around it that a picture needs: what every format is made from, and a proof of what it says.

Scaling, normalisation, sigmoid or softmax and the threshold are inside. A fixed file wants the network's own size; an any-size
file places the picture itself (`placing.place`, as matrix products) and answers at the picture's size. The network inside
runs at one size in both, so networks whose own dynamic export is silently wrong (UPerNet, PSPNet) are right here.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from segwright import __version__
from segwright.checkpoint import Checkpoint
from segwright.engines.contract import ModelFacts
from segwright.errors import ModelError
from segwright.export.placing import place, unplace
from segwright.export.request import ExportRequest

LARGEST_SIZE = 65535
"""Largest side of a picture, and largest batch, that an exported graph is asked to take."""


class Deployable(nn.Module):
    """From pictures to classes, probabilities and logits.

    Args:
        checkpoint: what to deploy.
        facts: those of the file to be; its interface says what goes in and comes out.
    """

    def __init__(self, checkpoint: Checkpoint, facts: ModelFacts) -> None:
        super().__init__()
        self.network: Any = checkpoint.network()
        self.facts = facts

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """What the file answers.

        Args:
            images: (B, H, W, 3) or (B, 3, H, W) uint8.

        Returns:
            Those of classes (B, H, W) uint8, probabilities and logits (B, channels, H, W) float32 that are asked for.
        """
        size_hw, fit, classes = self.facts.size_hw, self.facts.fit, self.facts.classes
        # Cast first, then permute: TensorRT's Transpose takes no uint8.
        pixels = images.to(torch.float32)
        pixels = pixels.permute(0, 3, 1, 2) if self.facts.interface.layout == "nhwc" else pixels
        placed = place(pixels, size_hw, fit) if self.facts.any_size else pixels
        logits = self.network(placed / 255.0)
        probabilities = classes.probabilities(logits) if classes.channels == 1 else _softmax(logits)
        if self.facts.any_size:
            shown_hw = (pixels.shape[2], pixels.shape[3])
            probabilities, logits = unplace(probabilities, shown_hw, fit), unplace(logits, shown_hw, fit)
        if classes.channels == 1:
            class_map = (probabilities[:, 0] >= self.facts.threshold).to(torch.uint8)
        else:
            class_map = probabilities.argmax(dim=1).to(torch.uint8)
        answers = {"classes": class_map, "probabilities": probabilities, "logits": logits}
        return tuple(answers[kind] for kind in self.facts.interface.outputs)

    def example(self) -> torch.Tensor:
        """Pictures to trace it with."""
        height, width = self.facts.size_hw
        if self.facts.any_size:
            # Sides that are no side of the network, so that nothing about the size is taken for granted.
            height, width = height + 7, width + 13
        batch = self.facts.interface.batch or 2
        shape = (batch, height, width, 3) if self.facts.interface.layout == "nhwc" else (batch, 3, height, width)
        return torch.zeros(shape, dtype=torch.uint8)

    def free_dimensions(self) -> dict[int, Any]:
        """Which dimensions of the pictures are open, for `torch.export`."""
        first = 1 if self.facts.interface.layout == "nhwc" else 2
        free: dict[int, Any] = {}
        if not self.facts.interface.batch:
            free[0] = torch.export.Dim("batch", max=LARGEST_SIZE)
        if self.facts.any_size:
            free[first] = torch.export.Dim("height", max=LARGEST_SIZE)
            free[first + 1] = torch.export.Dim("width", max=LARGEST_SIZE)
        return free


def _softmax(logits: torch.Tensor) -> torch.Tensor:
    """Softmax over dimension 1 in four simple steps: for 12 classes ONNX Runtime's own takes longer than the network."""
    powers = (logits - logits.amax(dim=1, keepdim=True)).exp()
    return powers / powers.sum(dim=1, keepdim=True)


def deployed_facts(checkpoint: Checkpoint, request: ExportRequest | None = None, **asked: Any) -> ModelFacts:
    """What an exported file of this checkpoint says about itself; nothing depends on the time, so files are repeatable.

    Args:
        checkpoint: a trained model.
        request: what is asked of the export.
        asked: fields of `ExportRequest` in place of a request.

    Raises:
        ModelError, UserError: as `ExportRequest.applied`; the recipe has no size yet.
    """
    facts = (request or ExportRequest(**asked)).applied(ModelFacts.of(checkpoint))
    versions = {"segwright": __version__}
    for name in ("torch", "onnx", "onnxslim", "openvino"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return replace(facts, provenance={**facts.provenance, "exported_with": versions})


def plain_facts(facts: ModelFacts) -> dict[str, str]:
    """The facts in words for people, as an exported file's metadata holds them."""
    height, width = facts.size_hw
    return {
        "names": ", ".join(facts.classes.names),
        "colours": ", ".join("#{:02x}{:02x}{:02x}".format(*rgb) for rgb in facts.classes.colours),
        "size": f"{width}x{height} (width x height){', placed inside: give any size' if facts.any_size else ''}",
        "fit": "tiles of this size, at the picture's own scale" if facts.tiled else facts.fit,
        "turn": "first turn a picture that lies across a quarter counter-clockwise" if facts.turn else "never",
        "threshold": f"{facts.threshold:g}",
        "precision": facts.precision,
        "licence": licence(facts.provenance),
    }


def licence(provenance: dict[str, Any]) -> str:
    """Licences of weights and data, as far as they were stated."""
    stated = provenance.get("licences") or provenance.get("licence") or "not stated"
    if isinstance(stated, dict):
        return "; ".join(f"{key}: {value}" for key, value in stated.items())
    return stated if isinstance(stated, str) else "; ".join(str(line) for line in stated)


def made_up_pictures(batch: int, size_hw: tuple[int, int], seed: int = 0) -> NDArray[np.uint8]:
    """Coarse coloured patches with noise on them, the same at every call.

    Returns:
        (batch, *size_hw, 3) uint8.
    """
    rng = np.random.default_rng(seed)
    patches = rng.integers(0, 256, (batch, -(-size_hw[0] // 16), -(-size_hw[1] // 16), 3))
    coarse = patches.repeat(16, axis=1).repeat(16, axis=2)[:, : size_hw[0], : size_hw[1]]
    return (coarse + rng.integers(-40, 41, coarse.shape)).clip(0, 255).astype(np.uint8)


@contextlib.contextmanager
def exporting(name: str, into: str) -> Iterator[None]:
    """Keep PyTorch's exporters quiet, and turn what they raise into one sentence.

    They print progress, warn about their own insides and log: none of it helps who exports.

    Args:
        name: of the network.
        into: of the format, for people.

    Raises:
        ModelError: the network cannot be exported.
    """
    loggers = [
        logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir", "onnxslim", "nncf")
    ]
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
            with torch.inference_mode(False), torch.no_grad():
                yield
        except (torch.onnx.OnnxExporterError, RuntimeError, ValueError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
            raise ModelError(f"{name} cannot be exported to {into} ({reason}); try another --model.") from error
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
