"""How fast this machine trains: the precision a short trial finds best for this very network."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from segwright.errors import RecipeError
from segwright.recipe import Precision

LEAST_GAIN = 1.05
"""bfloat16 must be this many times faster than float32 to be worth its coarser numbers."""


@dataclass(frozen=True)
class Pace:
    """The way chosen to compute a training step."""

    precision: str
    """"fp32", "fp16" (CUDA, with loss scaling) or "bf16"; weights are always kept in float32."""
    grouped_fp32: bool
    """Whether grouped (depthwise) convolutions stay in float32: their bfloat16 backward is slow on CPUs."""
    why: str
    """One sentence for the log."""


def choose(network: nn.Module, channels_out: int, size_hw: tuple[int, int], wanted: Precision, device: str) -> Pace:
    """Pick the precision, on a CPU by timing a few steps of this network.

    Args:
        network: on its device; weights and statistics are left as they are.
        channels_out: logits per pixel.
        size_hw: height and width of the network's input.
        wanted: what the recipe says.
        device: "cpu" or "cuda".

    Raises:
        RecipeError: FP16 on a CPU, whose FP16 convolutions are tens of times slower than FP32.
    """
    if wanted == "fp16" and device == "cpu":
        raise RecipeError("--precision fp16 needs a CUDA GPU; on a CPU use --precision bf16, fp32 or auto.")
    if device != "cpu":
        precision = "fp16" if wanted == "auto" else wanted
        return Pace(precision, False, f"{precision} on {torch.cuda.get_device_name()}")
    grouped = any(isinstance(m, nn.Conv2d) and m.groups > 1 for m in network.modules())
    if wanted != "auto":
        return Pace(wanted, wanted == "bf16" and grouped, f"{wanted} as asked for")
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return Pace("fp32", False, "fp32: this CPU has no fast bfloat16")
    ways = {"fp32": Pace("fp32", False, ""), "bf16": Pace("bf16", False, "")}
    if grouped:
        ways["bf16 with grouped convolutions in fp32"] = Pace("bf16", True, "")
    seconds = _race(network, channels_out, size_hw, list(ways.values()))
    best, name = min(zip(seconds, ways, strict=True))
    if seconds[0] / best < LEAST_GAIN:
        return Pace("fp32", False, "fp32: bfloat16 was not faster in a short trial")
    return Pace("bf16", ways[name].grouped_fp32, f"{name}: {seconds[0] / best:.1f}x fp32 in a short trial")


def _race(network: nn.Module, channels_out: int, size_hw: tuple[int, int], ways: list[Pace]) -> list[float]:
    """Least seconds per step of each way, interleaved, so that a busy moment of the machine hits all alike."""
    images = torch.rand(2, 3, *size_hw).contiguous(memory_format=torch.channels_last)
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    least = [float("inf")] * len(ways)
    # One step each first: kernels are chosen and compiled on first use.
    for turn in range(3):
        for number, way in enumerate(ways):
            start = time.perf_counter()
            with computing(network, way, "cpu"):
                loss = network(images).float().square().mean()
            loss.backward()
            if turn > 0:
                least[number] = min(least[number], time.perf_counter() - start)
            network.zero_grad(set_to_none=True)
    for name, buffer in network.named_buffers():
        buffer.copy_(buffers[name])
    return least


class computing:  # noqa: N801 - used as a function is, in `with computing(...)`
    """Context in which forward passes of `network` run the way `pace` says.

    Args:
        network: its grouped convolutions are wrapped while the context is open.
        pace: what was chosen.
        device: "cpu" or "cuda".
    """

    def __init__(self, network: nn.Module, pace: Pace, device: str) -> None:
        kind = torch.float16 if pace.precision == "fp16" else torch.bfloat16
        self.autocast = torch.autocast(device, dtype=kind, enabled=pace.precision != "fp32")
        self.convolutions = [
            m for m in network.modules() if pace.grouped_fp32 and isinstance(m, nn.Conv2d) and m.groups > 1
        ]

    def __enter__(self) -> None:
        for convolution in self.convolutions:
            convolution.forward = _in_float32(convolution)  # type: ignore[assignment,method-assign]
        self.autocast.__enter__()  # type: ignore[no-untyped-call]

    def __exit__(self, *error: Any) -> None:
        self.autocast.__exit__(*error)
        for convolution in self.convolutions:
            del convolution.forward


def _in_float32(convolution: nn.Conv2d) -> Callable[[torch.Tensor], torch.Tensor]:
    def forward(images: torch.Tensor) -> torch.Tensor:
        with torch.autocast(images.device.type, enabled=False):
            return nn.Conv2d.forward(convolution, images.float())

    return forward
