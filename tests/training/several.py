"""The command with two tiny networks in the catalogue, as a program that Lightning can start again for each process.

python several.py train DATA --device cpu --devices 2 --model plain ...
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch
from torch import nn

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from segwright.cli import main
from segwright.data.loaders import Batch
from segwright.models import catalogue
from segwright.recipe import ModelRecipe
from segwright.training.segmenter import Segmenter
from tests.training.tiny_network import NAME, build_tiny


def build_plain(recipe: ModelRecipe, channels_out: int, pretrained: bool) -> nn.Module:
    """Without batch norms, whose statistics differ between one batch and its two halves."""
    return nn.Sequential(nn.Conv2d(3, 12, 5, padding=2), nn.ReLU(), nn.Conv2d(12, channels_out, 1))


def kill_at(step: int) -> None:
    """Kill the first process when it is about to compute the gradients of this step."""
    learn = Segmenter.training_step

    def training_step(self: Segmenter, batch: Batch, batch_index: int) -> torch.Tensor:
        if self.plan.step == step and self.global_rank == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return learn(self, batch, batch_index)

    Segmenter.training_step = training_step  # type: ignore[method-assign]


if __name__ == "__main__":
    if "SEGWRIGHT_TEST_KILL" in os.environ:
        kill_at(int(os.environ["SEGWRIGHT_TEST_KILL"]))
    torch.set_num_threads(1)
    catalogue.BUILDERS = {**catalogue.BUILDERS, NAME: build_tiny, "plain": build_plain}
    main()
