"""The classic U-Net (Ronneberger et al. 2015, arXiv 1505.04597), valid or padded, and U-Net with attention gates (arXiv 1804.03999).

Valid convolutions use no made-up zeros: every answer comes from real surroundings, so that neighbouring tiles agree where
they meet. Each convolution then takes a pixel from every side, 92 in all for the paper's network, and its answer is
smaller than what it saw (572 x 572 gives 388 x 388). `UNet.forward` puts that border around the picture by mirroring, as
the paper does, so that the answer has the picture's size all the same. Padded convolutions are cheaper and fill with
zeros. Drop-out at the end of the contracting path, which the paper mentions in half a sentence, is left out.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

BASE_CHANNELS = 64
"""Channels of the first level in both papers; every level below has twice as many."""
DEPTH = 4
"""Times the size is halved."""


class UNet(nn.Module):
    """Five levels down, four up, and the maps of each level handed across.

    Args:
        channels_in: of the picture.
        channels_out: number of logits per pixel.
        base_channels: of the first level.
        padding: 1 keeps the size in every convolution; 0 is the paper's, whose skips are cut at the centre.
        batch_norm: after every 3x3 convolution; the paper has none.
        attention: weigh each skip but the first by a gate that the level below opens (Oktay et al. 2018).
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        base_channels: int = BASE_CHANNELS,
        padding: Literal[0, 1] = 1,
        batch_norm: bool = True,
        attention: bool = False,
    ) -> None:
        super().__init__()
        self.padding = padding
        widths = [base_channels << level for level in range(DEPTH + 1)]
        outer = [channels_in, *widths[:-1]]
        self.down = nn.ModuleList(
            _two_convolutions(below, width, padding, batch_norm) for below, width in zip(outer, widths, strict=True)
        )
        self.enlarge = nn.ModuleList(nn.ConvTranspose2d(2 * width, width, 2, stride=2) for width in widths[:-1])
        self.up = nn.ModuleList(_two_convolutions(2 * width, width, padding, batch_norm) for width in widths[:-1])
        # "low-level feature-maps, i.e. the first skip connections, are not used in the gating function" (section 2).
        gated = widths[1:-1] if attention else []
        self.gates = nn.ModuleList(AttentionGate(width, 2 * width) for width in gated)
        self.head = nn.Conv2d(base_channels, channels_out, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.kernel_size != (1, 1):
                _start_as_in_the_paper(module)

    @property
    def multiple(self) -> int:
        """Sides must be multiples of this; the valid network finds its own size and takes any."""
        return 1 << DEPTH if self.padding else 1

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of every pixel.

        Args:
            images: (B, channels_in, H, W) float, normalised; sides are multiples of `multiple`.

        Returns:
            (B, channels_out, H, W).
        """
        if self.padding:
            return self.core(images)
        height, width = images.shape[-2:]
        answer = self.core(mirrored(mirrored(images, 2, *valid_margins(height)), 3, *valid_margins(width)))
        return answer[..., :height, :width]

    def core(self, images: torch.Tensor) -> torch.Tensor:
        """The network as it is drawn in the paper.

        Args:
            images: (B, channels_in, H, W); for valid convolutions sides as `valid_margins` makes them.

        Returns:
            (B, channels_out, H, W), both sides smaller by twice `CONTEXT` for valid convolutions.
        """
        skips: list[torch.Tensor] = []
        maps = self.down[0](images)
        for deeper in self.down[1:]:
            skips.append(maps)
            maps = deeper(F.max_pool2d(maps, 2))
        for level in reversed(range(DEPTH)):
            larger = self.enlarge[level](maps)
            skip = centre(skips[level], larger.shape[-2], larger.shape[-1])
            if level and self.gates:
                # In this order, because pruning takes the channels of a product from its second factor, and a gate has one.
                skip = self.gates[level - 1](skip, maps) * skip
            maps = self.up[level](torch.cat([skip, larger], dim=1))
        logits: torch.Tensor = self.head(maps)
        return logits


class AttentionGate(nn.Module):
    """Additive attention of Oktay et al. 2018: how much of each place of a skip is let through, told by the level below.

    sigmoid(psi(relu(theta(skip) + phi(below)))), formed at the size of the level below and enlarged.

    Args:
        channels: of the skip, and of the space in which the two are added.
        below_channels: of the gating signal.
    """

    def __init__(self, channels: int, below_channels: int) -> None:
        super().__init__()
        # A stride of 2 brings the skip to the size of the level below.
        self.theta = nn.Conv2d(channels, channels, 2, stride=2, bias=False)
        self.phi = nn.Conv2d(below_channels, channels, 1)
        self.psi = nn.Conv2d(channels, 1, 1)

    def forward(self, skip: torch.Tensor, below: torch.Tensor) -> torch.Tensor:
        """Weights of the places of `skip`.

        Args:
            skip: (B, channels, 2h, 2w).
            below: (B, below_channels, h, w).

        Returns:
            (B, 1, 2h, 2w), 0..1.
        """
        opened = torch.sigmoid(self.psi(F.relu(self.theta(skip) + self.phi(below))))
        return F.interpolate(opened, scale_factor=2.0, mode="bilinear", align_corners=False)


def _two_convolutions(channels_in: int, channels_out: int, padding: int, batch_norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (channels_in, channels_out):
        # A bias before a batch norm would be taken off again.
        layers.append(nn.Conv2d(channels, channels_out, 3, padding=padding, bias=not batch_norm))
        if batch_norm:
            layers.append(nn.BatchNorm2d(channels_out))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def _start_as_in_the_paper(convolution: nn.Conv2d | nn.ConvTranspose2d) -> None:
    """Gaussian with variance 2/N, N being what one neuron sees (section 3): without batch norms, smaller signals die out."""
    # A transposed convolution with stride = kernel looks at one place only.
    places = 1 if isinstance(convolution, nn.ConvTranspose2d) else convolution.weight[0, 0].numel()
    nn.init.normal_(convolution.weight, std=(2.0 / (convolution.in_channels * places)) ** 0.5)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)


# Two convolutions take 4 pixels of a level's own size off each side's length; pooling and enlarging only change the scale.
_SHRINKS = sum(4 << level for level in range(DEPTH + 1)) + sum(4 << level for level in range(DEPTH))
CONTEXT = _SHRINKS // 2
"""Pixels that valid convolutions take from each side: 92."""
GATES_EDGE = 14
"""With gates, this many pixels at the border of a valid answer do depend on where the input ends: a gate is enlarged by
bilinear interpolation, which has no neighbour there (one pixel at the lowest gate, 3 and 7 at the next, 14 at the size of
the picture)."""
_FITTING = sum(4 << level for level in range(DEPTH)) % (1 << DEPTH)
"""Lengths that leave this over when divided by 16 are even at every pooling: 12, as 572 does."""


def valid_margins(length: int) -> tuple[int, int]:
    """Pixels to put before and after a side, so that valid convolutions answer for all of it.

    `CONTEXT` before; after it as much and what brings the whole to a length that pooling halves evenly.

    Args:
        length: of the side, 1 or more.
    """
    whole = length + 2 * CONTEXT
    return CONTEXT, CONTEXT + (_FITTING - whole) % (1 << DEPTH)


def mirrored(images: torch.Tensor, dimension: int, before: int, after: int) -> torch.Tensor:
    """Continue a side by mirroring it, again and again where the margin is longer than the picture.

    Like `F.pad(mode="reflect")`, which refuses margins as long as the side: a picture between two mirrors is seen in both,
    over and over. A side of one pixel has only itself to repeat.

    Args:
        images: any tensor.
        dimension: which side.
        before: pixels to add before it.
        after: pixels to add after it.
    """
    length = images.shape[dimension]
    turn = max(2 * (length - 1), 1)
    positions = torch.arange(-before, length + after, device=images.device) % turn
    return images.index_select(dimension, torch.minimum(positions, turn - positions))


def centre(maps: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The middle of (B, C, H, W), (B, C, height, width)."""
    top, left = (maps.shape[-2] - height) // 2, (maps.shape[-1] - width) // 2
    return maps[..., top : top + height, left : left + width]
