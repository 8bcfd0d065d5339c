"""How far a run is, 0..1, by steps or by the clock; the learning rate and picture size that follow, and when checks are due."""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass, field
from typing import Any

from segwright.recipe import SIZE_MULTIPLE, Recipe
from segwright.training.schedules import factor

LEAST_RATIO = 19.0
"""In a run planned in minutes, learning takes at least this many times as long as checking: few pictures and few minutes
make a tenth of the time a lot."""
LEAST_STRETCH = 100
"""Steps between two checks of a run planned in minutes, at least, unless a pass is shorter."""


LEAST_SHRUNK = 128
"""Inputs with a shorter side are never made smaller, pixels."""


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
    partial: int = 0
    """Batches whose gradients wait for the next optimiser step."""
    check_at: int = 0
    """Step after which the next check is made."""
    before: float = 0.0
    """Seconds that went before the first step of this process: preparing, or when resumed all earlier sittings."""
    started: float = field(default_factory=time.monotonic)
    told: float | None = None
    """Seconds by the clock of the first process, which decides where several train together."""

    plateau_best: float = -1.0
    """Best validation IoU so far, for the schedule `plateau`."""
    plateau_waited: int = 0
    """Checks since then, or since the learning rate last fell."""
    plateau_share: float = 1.0
    """What is left of the learning rate after the falls so far."""

    check_seconds: float = 0.0
    """How long the last check took; a run planned in minutes leaves as much for the one at its end."""

    def __post_init__(self) -> None:
        if not self.check_at:
            self.plan_check()

    @property
    def batch(self) -> int:
        """Batches that each process has learnt from."""
        return self.step * self.recipe.fit.accumulate + self.partial

    @property
    def epoch(self) -> int:
        """Passes begun."""
        return -(-self.step // max(self.steps_per_epoch, 1))

    @property
    def total_steps(self) -> int:
        """Steps of a run planned in epochs."""
        return self.recipe.fit.epochs * self.steps_per_epoch

    @property
    def clock(self) -> float:
        """Seconds of training so far, in all sittings, by the clock of this process."""
        return self.before + time.monotonic() - self.started

    @property
    def seconds(self) -> float:
        """The same by the clock that decides."""
        return self.clock if self.told is None else self.told

    @property
    def time(self) -> float:
        """Seconds that a run planned in minutes may learn and check, but for the check at its end."""
        whole = 60 * self.recipe.fit.minutes
        return max(whole - self.check_seconds, whole / 2)

    @property
    def progress(self) -> float:
        """Share of the run that is done, 0..1."""
        if self.recipe.fit.minutes:
            return min(self.seconds / self.time, 1.0)
        return min(self.step / max(self.total_steps, 1), 1.0)

    def learnt(self) -> bool:
        """Count one batch; True when the weights have moved."""
        self.partial += 1
        if self.partial < self.recipe.fit.accumulate:
            return False
        self.step, self.partial = self.step + 1, 0
        return True

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

    def size_hw(self, batch: int) -> tuple[int, int]:
        """Size of the pictures of one batch: half for the first `small_share` of the run, three quarters for the `middle_share`
        after it, then whole.

        Args:
            batch: possibly ahead of `self.batch`; a run planned in minutes asks the clock instead.
        """
        height, width = self.recipe.data.size_hw
        step = batch // self.recipe.fit.accumulate
        progress = self.progress if self.recipe.fit.minutes else step / max(self.total_steps, 1)
        small, middle = self.growth
        if progress >= middle or min(height, width) < LEAST_SHRUNK:
            return height, width
        if progress < small:
            return height // 2, width // 2
        return three_quarters(height), three_quarters(width)

    @property
    def growth(self) -> tuple[float, float]:
        """Progress at which pictures leave half of their size, and at which they reach all of it."""
        return self.recipe.fit.small_share, self.recipe.fit.small_share + self.recipe.fit.middle_share

    def stretch_ends(self) -> float:
        """The batch before which the next check is made."""
        return self.check_at * self.recipe.fit.accumulate

    def plan_check(self, check_seconds: float = 0.0, step_seconds: float = 0.0) -> None:
        """Decide when the next check is made, once the last one is done.

        Args:
            check_seconds: how long the last check took.
            step_seconds: how long a step took lately.
        """
        per_pass, fit, self.check_seconds = max(self.steps_per_epoch, 1), self.recipe.fit, check_seconds
        pass_ends = (self.step // per_pass + 1) * per_pass
        if fit.eval_step:
            self.check_at = (self.step // fit.eval_step + 1) * fit.eval_step
        elif fit.minutes and step_seconds:
            stretch, left = LEAST_RATIO * check_seconds, self.time - self.seconds
            # The run ends with a check; one shortly before it would cost time and tell nothing.
            ahead = self._steps_within(stretch if 2 * stretch <= left else left + step_seconds, step_seconds)
            self.check_at = self.step + max(ahead, min(per_pass, LEAST_STRETCH))
        else:
            self.check_at = pass_ends
        if self.recipe.run.save_checkpoints:
            self.check_at = min(self.check_at, pass_ends)

    def _steps_within(self, seconds: float, step_seconds: float) -> int:
        """Steps that a stretch of a run planned in minutes will have: they take longer where the pictures are larger."""
        total = self.time
        now, ends = self.seconds, self.seconds + seconds
        pace = step_seconds / self._area(self.progress)
        steps, begins = 0.0, now
        for until in (*(at * total for at in self.growth if now < at * total < ends), ends):
            steps += (until - begins) / (pace * self._area((begins + until) / 2 / total))
            begins = until
        return math.ceil(steps - 1e-9)

    def _area(self, progress: float) -> float:
        """Share of the full area that pictures have, 0..1."""
        small, middle = self.growth
        if min(self.recipe.data.size_hw) < LEAST_SHRUNK:
            return 1.0
        return 1.0 if progress >= middle else 0.25 if progress < small else 0.5625

    def state(self) -> dict[str, Any]:
        """Everything that a resumed run must know, as plain values."""
        kept = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        for settled_again in ("recipe", "steps_per_epoch", "started", "told"):
            del kept[settled_again]
        return kept | {"before": self.seconds}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        for name, value in state.items():
            setattr(self, name, value)


def three_quarters(side: int) -> int:
    """About that, as a multiple that no network pads.

    Args:
        side: pixels, at least `LEAST_SHRUNK`.
    """
    return round(0.75 * side / SIZE_MULTIPLE) * SIZE_MULTIPLE
