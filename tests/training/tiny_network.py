"""A network of a few thousand weights, so that whole trainings take seconds: `tiny_network` puts it into the catalogue."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from segwright.recipe import ModelRecipe

NAME = "tiny"


class Tiny(nn.Module):
    """Plain, depthwise and pointwise convolutions with batch norms, at half the size."""

    def __init__(self, channels_out: int, momentum: float = 0.1) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(16, momentum=momentum),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False),
            nn.BatchNorm2d(16, momentum=momentum),
            nn.ReLU(),
            nn.Conv2d(16, 24, 1, bias=False),
            nn.BatchNorm2d(24, momentum=momentum),
            nn.ReLU(),
            nn.Conv2d(24, channels_out, 1),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layers(images)
        return F.interpolate(logits, images.shape[-2:], mode="bilinear", align_corners=False)


def build_tiny(recipe: ModelRecipe, channels_out: int, pretrained: bool) -> nn.Module:
    """As the catalogue's builders."""
    return Tiny(channels_out)


def build_forgetful(recipe: ModelRecipe, channels_out: int, pretrained: bool) -> nn.Module:
    """With torchvision's MobileNetV3 momentum of 0.01: running statistics lag hundreds of steps behind."""
    return Tiny(channels_out, momentum=0.01)
