"""How sure a score is: percentile bootstrap over pictures, as one matrix product.

Pictures are the unit that is drawn again, because pixels of one picture are not independent: an interval over pixels would
be a hundred times too narrow. Each resample is a row of weights (how often each picture was drawn), so all resampled counts
are `weights @ counts`, and the scores are computed once for all resamples.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
COVERAGE = 0.95
LEAST_PICTURES = 5
"""With fewer pictures there are too few distinct resamples for an interval that means anything; none is given."""

CHUNK_CELLS = 16_000_000
"""Numbers held at once (resamples x used cells, or resamples x pictures), about 128 MB of float64."""

Scores = Mapping[str, NDArray[np.float64]]


def bootstrap(
    counts: NDArray[np.int64],
    scores: Callable[[NDArray[np.float64]], Scores],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, NDArray[np.float64]]:
    """95 % percentile intervals of scores that are functions of summed counts.

    Args:
        counts: (N, ...) counts of each of N pictures.
        scores: from summed counts (R, ...) float64 to named scores, each (R, ...); NaN where a score is undefined.
        seed: of the resampling; the same seed draws the same pictures.
        resamples: R.

    Returns:
        Per score (2, ...) float64: low and high. NaN throughout when N < `LEAST_PICTURES`, and where a score is undefined in
        every resample.
    """
    pictures = len(counts)
    flat = counts.reshape(pictures, -1)
    # Most pairs of classes are never confused at all; leaving them out makes 150 classes affordable.
    used = flat.any(axis=0)
    kept = flat[:, used].astype(np.float64)
    chunk = max(1, CHUNK_CELLS // max(flat.shape[1], pictures, 1))
    random = np.random.default_rng(seed)
    drawn: dict[str, list[NDArray[np.float64]]] = {}
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        weights = random.multinomial(pictures, np.full(pictures, 1.0 / pictures), size=rows).astype(np.float64)
        summed = np.zeros((rows, flat.shape[1]))
        summed[:, used] = weights @ kept
        for name, values in scores(summed.reshape(rows, *counts.shape[1:])).items():
            drawn.setdefault(name, []).append(np.asarray(values, np.float64))
    return {
        name: _percentiles(np.concatenate(parts), known=pictures >= LEAST_PICTURES) for name, parts in drawn.items()
    }


def _percentiles(values: NDArray[np.float64], *, known: bool) -> NDArray[np.float64]:
    if not known:
        return np.full((2, *values.shape[1:]), np.nan)
    tail = 50.0 * (1.0 - COVERAGE)
    with warnings.catch_warnings():
        # A class that no resample contains gives a column of NaN; its interval is NaN too, which is the right answer.
        warnings.filterwarnings("ignore", message="All-NaN slice", category=RuntimeWarning)
        return np.asarray(np.nanpercentile(values, [tail, 100.0 - tail], axis=0), np.float64)
