"""How far a run is, 0..1, by steps or by the clock, and the learning rate and picture size that follow from it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from segwright.recipe import Recipe
from segwright.training.schedules import factor


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
    plateau_best: float = -1.0
    """Best validation IoU so far, for the schedule `plateau`."""
    plateau_waited: int = 0
    """Checks since then, or since the learning rate last fell."""
    plateau_share: float = 1.0
    """What is left of the learning rate after the falls so far."""

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
        """Learning rate of the next step."""
        fit = self.recipe.fit
        return float(fit.lr) * factor(fit.schedule, self.progress, fit.warm_up) * self.plateau_share

    def after_check(self, val_iou: float) -> None:
        """Let the schedule `plateau` see a check; the others fall by themselves.

        Args:
            val_iou: of the check, 0..1.
        """
        fit = self.recipe.fit
        if fit.schedule != "plateau":
            return
        if val_iou > self.plateau_best:
            self.plateau_best, self.plateau_waited = val_iou, 0
            return
        self.plateau_waited += 1
        if self.plateau_waited >= fit.plateau_checks:
            self.plateau_share, self.plateau_waited = self.plateau_share * fit.plateau_factor, 0

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
