"""A known answer for the page: a picture that Python and JavaScript draw alike, and what the model says of it here.

The page asks its own backend the same question before it trusts it. Some graphics drivers compute wrong masks without any
error; such a backend must not pass, so of many pictures the one is taken whose answer is least like a constant.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segwright.export.web_models import Answers, WebModels

ROWS, COLUMNS = 16, 12
"""Where the answer is compared: a grid of so many pixels."""

PATCHES = (32, 64, 96, 160)
"""Sides of the coloured squares, in pixels, that are tried."""
SEEDS = 8

VARIED = 0.15
"""Mean distance from the best constant answer, 0..1, at which no further picture is tried."""

STRICT, LOOSE = 0.01, 0.03
"""Largest mean difference that the page accepts of an FP32 and of an FP16 file, where the answer varies enough."""
ROUNDING = 0.004
"""Never stricter than this: the answer is kept in steps of 1/255."""


def known_answer(models: WebModels) -> dict[str, Any]:
    """The self-test of the manifest.

    Args:
        models: what the page runs.

    Returns:
        Plain JSON values: seed and patch that draw the picture; rows, columns and probabilities (0..255, by channel, row and
        column) of the FP32 file; tolerance for each precision.
    """
    exact = Answers(models.files["fp32"])
    size_hw = models.facts.size_hw
    best: tuple[float, int, int, NDArray[np.float32]] | None = None
    for seed, patch in ((seed, patch) for seed in range(1, SEEDS + 1) for patch in PATCHES):
        grid = on_grid(exact(drawn(seed, patch, size_hw)))
        # A constant per channel is nearest at the median.
        varied = float(np.abs(grid - np.median(grid, axis=(1, 2), keepdims=True)).mean())
        if best is None or varied > best[0]:
            best = (varied, seed, patch, grid)
        if varied >= VARIED:
            break
    if best is None:
        return {}
    varied, seed, patch, grid = best
    tolerance = {"fp32": max(ROUNDING, min(STRICT, varied / 3))}
    if "fp16" in models.files:
        here = np.abs(on_grid(Answers(models.files["fp16"])(drawn(seed, patch, size_hw))) - grid).mean()
        tolerance["fp16"] = max(ROUNDING, min(LOOSE, varied / 2), 3 * float(here))
    return {
        "seed": seed,
        "patch": patch,
        "rows": ROWS,
        "columns": COLUMNS,
        "probabilities": [int(p) for p in np.round(255 * grid).astype(np.uint8).ravel()],
        "tolerance": {name: round(value, 4) for name, value in tolerance.items()},
    }


def drawn(seed: int, patch: int, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Coloured squares; `selftest.js` of the page draws the same.

    Args:
        seed: of a linear congruential generator of 32 bits.
        patch: side of a square in pixels; squares at the right and lower border are cut off.
        size_hw: of the picture.

    Returns:
        (*size_hw, 3) uint8 RGB.
    """
    rows, columns = (-(-side // patch) for side in size_hw)
    state, values = seed, []
    for _ in range(rows * columns * 3):
        state = (state * 1_664_525 + 1_013_904_223) % 2**32
        values.append(state >> 24)
    squares = np.array(values, np.uint8).reshape(rows, columns, 3)
    return squares.repeat(patch, axis=0).repeat(patch, axis=1)[: size_hw[0], : size_hw[1]].copy()


def on_grid(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """The pixels that are compared.

    Args:
        probabilities: (channels, height, width).

    Returns:
        (channels, ROWS, COLUMNS): the middle pixel of each cell.
    """
    height, width = probabilities.shape[1:]
    rows = ((np.arange(ROWS) + 0.5) * height / ROWS).astype(int)
    columns = ((np.arange(COLUMNS) + 0.5) * width / COLUMNS).astype(int)
    return probabilities[:, rows[:, None], columns]
