"""Teacher: a finished network whose answers are learnt beside the masks (distillation, Hinton et al. 2015, arXiv 1503.02531).

It sees each batch as its pupil does, with all variation and mixing, so that its answers belong to what the pupil saw ("a good
teacher is patient and consistent", Beyer et al. 2022, arXiv 2106.05237).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from segwright.checkpoint import load
from segwright.classes import Classes
from segwright.errors import RecipeError
from segwright.recipe import Recipe

SOFTENING = 2.0
"""Logits are divided by this first, so that what the teacher thinks of the classes it did not choose counts as well. The
gradient is then smaller by its square, which the loss makes up for."""


class Teacher:
    """No part of what is trained: its weights stay, and are neither kept nor saved with the run.

    Args:
        network: images 0..1 to logits, in evaluation mode.
        share: of the loss that is the difference from its answers, above 0 to 1.
    """

    def __init__(self, network: nn.Module, share: float) -> None:
        self._network = network.requires_grad_(False).to(memory_format=torch.channels_last)
        self._share = share

    def answer(self, logits: Callable[[nn.Module], torch.Tensor], device: torch.device) -> torch.Tensor:
        """Its logits for a batch, (B, channels, H, W) float32.

        Args:
            logits: runs a network on the batch.
            device: of the batch.
        """
        with torch.no_grad():
            return logits(self._network.to(device))

    def joined(self, loss: torch.Tensor, logits: torch.Tensor, answer: torch.Tensor) -> torch.Tensor:
        """The loss with the teacher's part in it.

        Args:
            loss: against the masks.
            logits: of the pupil, (B, channels, H, W) float32.
            answer: of the teacher, of the same shape.
        """
        return (1 - self._share) * loss + self._share * difference(logits, answer)


def difference(logits: torch.Tensor, answer: torch.Tensor) -> torch.Tensor:
    """Mean over pixels of the Kullback-Leibler divergence from softened answers, 0 where both think the same.

    Args:
        logits: (B, channels, H, W) float32.
        answer: of the teacher, of the same shape; one channel is a sigmoid's, more are a softmax's.
    """
    mine, right = logits / SOFTENING, answer / SOFTENING
    if logits.shape[1] == 1:
        wanted = right.sigmoid()
        least = F.binary_cross_entropy_with_logits(right, wanted)
        return SOFTENING**2 * (F.binary_cross_entropy_with_logits(mine, wanted) - least)
    chosen = right.log_softmax(dim=1)
    apart = F.kl_div(mine.log_softmax(dim=1), chosen, reduction="none", log_target=True).sum(dim=1)
    return SOFTENING**2 * apart.mean()


def teacher_of(recipe: Recipe, classes: Classes) -> Teacher | None:
    """The teacher a recipe names, if any.

    Args:
        recipe: with the teacher's whole path.
        classes: of the data.

    Raises:
        ModelError: nothing there, or damaged.
        RecipeError: it tells other classes apart.
    """
    if not recipe.fit.teacher:
        return None
    kept = load(Path(recipe.fit.teacher))
    theirs, ours = kept.classes.names, classes.names
    if theirs != ours and not len(theirs) == len(ours) == 2:  # two classes are background and foreground by any name
        raise RecipeError(
            f"--teacher {recipe.fit.teacher} tells apart {', '.join(theirs)}, and this data {', '.join(ours)}; "
            "choose a teacher that was trained for the same classes, in the same order."
        )
    return Teacher(kept.network(), recipe.fit.teacher_share)
