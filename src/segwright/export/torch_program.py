"""Checkpoint -> a program of `torch.export` (.pt2): the traced graph for PyTorch's own compilers and for C++.

Reading such a file unpickles parts of it, so it can run whatever code its author put there. Segwright reads only those that it
has just written itself, for their proof; from anybody else, use .onnx or .safetensors.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from segwright.checkpoint import Checkpoint
from segwright.engines.contract import METADATA_KEY, ModelFacts, require_fitting
from segwright.engines.interface import Answers, in_batches
from segwright.export.deployable import Deployable, deployed_facts, exporting
from segwright.export.int8 import Pictures
from segwright.export.request import ExportRequest

FACTS_FILE = f"{METADATA_KEY}.json"
"""In the archive, under extra/: the facts, which any program can read with zipfile."""


class HalfBody(nn.Module):
    """A network's body in half precision between casts.

    Args:
        body: module from (B, C, H, W) to (B, channels, H, W).
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body.half()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) float32 to (B, channels, H, W) float32."""
        answer: torch.Tensor = self.body(images.half())
        return answer.float()


class TorchProgramEngine:
    """A program that this process has just written.

    Args:
        path: the .pt2 file; reading it runs what is pickled inside.
        facts: what it says about itself.
    """

    name = "torch program"

    def __init__(self, path: Path, facts: ModelFacts) -> None:
        self.facts = facts
        self._program: Any = torch.export.load(path).module()

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Engine.probabilities`."""
        require_fitting(images, self.facts)
        interface = self.facts.interface

        def run(given: NDArray[Any]) -> Answers:
            with torch.inference_mode():
                answers = self._program(torch.from_numpy(np.require(given, requirements=["C", "W"])))
            return {kind: answer.numpy() for kind, answer in zip(interface.outputs, answers, strict=True)}

        answers = in_batches(run, interface.fed(images), interface.batch)
        return interface.probabilities(answers, self.facts.classes, images.shape[1:3])


def write_torch(checkpoint: Checkpoint, request: ExportRequest, out: Path, calibration: Pictures | None = None) -> None:
    """Write `out` (.pt2).

    Raises:
        ModelError: the network cannot be exported.
    """
    del calibration  # this format has no INT8
    facts = deployed_facts(checkpoint, request)
    module = Deployable(checkpoint, facts).eval()
    if request.precision == "fp16":
        module.network.body = HalfBody(module.network.body)
    free = module.free_dimensions()
    with exporting(facts.name, "a torch.export program"):
        program = torch.export.export(
            module, (module.example(),), dynamic_shapes=(free,) if free else None, strict=False
        )
        torch.export.save(program, out, extra_files={FACTS_FILE: json.dumps(facts.to_dict())})


def certify(path: Path, certificate: dict[str, Any]) -> None:
    """Add a certificate to the archive, beside the facts."""
    extra: dict[str, Any] = {FACTS_FILE: ""}
    program = torch.export.load(path, extra_files=extra)
    extra["certificate.json"] = json.dumps(certificate)
    torch.export.save(program, path, extra_files=extra)
