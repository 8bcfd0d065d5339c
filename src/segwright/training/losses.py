"""Losses by name, and sums of them: "bce", "ce", "dice", "ce+dice". Ignored pixels count in none."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from segwright.classes import IGNORED, Classes
from segwright.errors import RecipeError

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(logits (B, channels, H, W) float32, class maps (B, H, W) uint8) -> scalar."""


def build_loss(name: str, classes: Classes, *, label_smoothing: float = 0.0) -> Loss:
    """The loss a recipe names.

    Args:
        name: "auto", one name, or names joined by "+".
        classes: how many channels the logits have.
        label_smoothing: share of certainty taken from the true class in bce and ce, 0..0.5.

    Raises:
        RecipeError: unknown name, or one that does not fit the number of classes.
    """
    binary = classes.channels == 1
    if name == "auto":
        name = "bce+dice" if binary else "ce+dice"
    parts: list[Loss] = []
    for part in (p.strip() for p in name.split("+")):
        if part in {"bce", "ce"}:
            # With two classes both names mean the same thing: one logit holds all there is to know.
            if part == "bce" and not binary:
                raise RecipeError(f"--loss bce is for two classes, and there are {len(classes)}; use ce.")
            parts.append(_bce(label_smoothing) if binary else _ce(label_smoothing))
        elif part == "dice":
            parts.append(_dice(binary))
        else:
            raise RecipeError(f"There is no loss {part!r}; choose bce, ce, dice, or a sum such as ce+dice.")
    return lambda logits, truth: torch.stack([part(logits, truth) for part in parts]).sum()


def _bce(smoothing: float) -> Loss:
    def loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        kept = (truth != IGNORED).float()
        target = (truth == 1).float() * (1 - smoothing) + smoothing / 2
        each = F.binary_cross_entropy_with_logits(logits[:, 0], target, weight=kept, reduction="sum")
        return each / kept.sum().clamp(min=1.0)

    return loss


def _ce(smoothing: float) -> Loss:
    def loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        target = truth.long()
        each = F.cross_entropy(logits, target, ignore_index=IGNORED, label_smoothing=smoothing, reduction="sum")
        # torch's own mean is NaN for a batch in which everything is ignored.
        return each / (target != IGNORED).sum().clamp(min=1)

    return loss


def _dice(binary: bool) -> Loss:
    from segmentation_models_pytorch.losses import DiceLoss

    dice: nn.Module = DiceLoss(mode="binary" if binary else "multiclass", ignore_index=IGNORED)

    def loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = dice(logits, truth[:, None].float() if binary else truth.long())
        return answer

    return loss
