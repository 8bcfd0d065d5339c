"""How far a run is, 0..1, by steps or by the clock, and the learning rate and picture size that follow from it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from segwright.recipe import Recipe

WARM_UP = 0.1
"""Share of the run in which the learning rate rises."""
FIRST, LAST = 1 / 20, 1 / 500
"""Learning rate at the start and at the end, as shares of its peak."""


@dataclass
class Plan:
    """The course of one run.

    A run planned in minutes follows the clock, validation included, so that it ends on time on any machine, at the
    price that its exact number of steps is not known before. A run planned in epochs is counted in steps.
    """

    recipe: Recipe
    steps_per_epoch: int
    step: int = 0
    """Optimiser steps taken."""
    started: float = field(default_factory=time.monotonic)

    @property
    def total_steps(self) -> int:
        """Steps of a run planned in epochs."""
        return self.recipe.fit.epochs * self.steps_per_epoch

    @property
    def progress(self) -> float:
        """Share of the run that is done, 0..1."""
        if self.recipe.fit.minutes:
            return min((time.monotonic() - self.started) / (60 * self.recipe.fit.minutes), 1.0)
        return min(self.step / max(self.total_steps, 1), 1.0)

    def learning_rate(self) -> float:
        """One cycle (Smith and Topin 2019, arXiv 1708.07120): up along a half cosine, down along another."""
        done, peak = self.progress, self.recipe.fit.lr
        if done < WARM_UP:
            return peak * _between(FIRST, 1.0, done / WARM_UP)
        return peak * _between(1.0, LAST, (done - WARM_UP) / (1 - WARM_UP))

    def size_hw(self, step: int) -> tuple[int, int]:
        """Size of the pictures for one step: half for the first `small_share` of the run, which sees four times as many.

        Args:
            step: optimiser step, possibly ahead of `self.step`; a run planned in minutes asks the clock instead.
        """
        height, width = self.recipe.data.size_hw
        progress = self.progress if self.recipe.fit.minutes else step / max(self.total_steps, 1)
        if progress < self.recipe.fit.small_share and min(height, width) >= 128:
            return height // 2, width // 2
        return height, width


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(share, 1.0))) / 2
