"""Shapes of the learning rate over a run, as functions from the share that is done, 0..1, to a share of the peak."""

from __future__ import annotations

import math
from collections.abc import Callable

from segwright.recipe import Schedule

FIRST, LAST = 1 / 20, 1 / 500
"""Where every warm-up begins, and where one cycle ends."""
POWER = 0.9
"""Of the polynomial (Chen et al. 2016, arXiv 1606.00915)."""
STEPS, STEP = (0.6, 0.85), 0.1
"""Shares of what follows the warm-up at which `step` falls, and to what part of itself."""


def _one_cycle(done: float) -> float:
    return between(1.0, LAST, done)


def _cosine(done: float) -> float:
    return between(1.0, 0.0, done)


def _poly(done: float) -> float:
    return (1.0 - done) ** POWER


def _step(done: float) -> float:
    return STEP ** sum(done >= place for place in STEPS)


def _level(done: float) -> float:
    return 1.0


AFTER_WARM_UP: dict[Schedule, Callable[[float], float]] = {
    "onecycle": _one_cycle,
    "cosine": _cosine,
    "poly": _poly,
    "step": _step,
    "plateau": _level,
    "constant": _level,
}
"""`plateau` falls by what the checks find; see `Plan.after_check`."""


def factor(schedule: Schedule, done: float, warm_up: float) -> float:
    """Learning rate as a share of its peak.

    One cycle (Smith and Topin 2019, arXiv 1708.07120) rises and falls along half cosines; the others rise in a straight
    line.

    Args:
        schedule: name of the shape.
        done: share of the run that is over, 0..1.
        warm_up: share of the run in which it rises, 0..0.9.

    Returns:
        0..1.
    """
    done = min(max(done, 0.0), 1.0)
    if done < warm_up:
        share = done / warm_up
        return between(FIRST, 1.0, share) if schedule == "onecycle" else FIRST + (1.0 - FIRST) * share
    return AFTER_WARM_UP[schedule]((done - warm_up) / (1.0 - warm_up))


def between(start: float, end: float, share: float) -> float:
    """From one number to another along half a cosine.

    Args:
        start: at share 0.
        end: at share 1.
        share: 0..1.
    """
    return end + (start - end) * (1 + math.cos(math.pi * min(share, 1.0))) / 2
