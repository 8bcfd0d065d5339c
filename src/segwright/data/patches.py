"""Random square patches of training pictures: where one is cut out, and how many of each picture a pass shows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from segwright.classes import IGNORED
from segwright.data.sample import Sample, image_size_hw
from segwright.errors import DataError

PATCH = 5
"""Stream of random numbers, after a sample's own seed, that chooses the place."""

TRIES = 8
"""Places looked at until one holds a labelled pixel; a patch without any would teach nothing."""


def patch_placement(
    class_map: np.ndarray, size_hw: tuple[int, int], patch: int, seed: tuple[int, ...]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where a picture lands when a random patch of it fills the network's input: `preprocess.placement` for patches.

    Every place is equally likely. A picture smaller than the patch lies in its middle, as it does in prediction.

    Args:
        class_map: (H, W) uint8; a patch in which all is ignored is avoided.
        size_hw: of the network's input: the patch's own, or half of it while a run is at half size.
        patch: side of the patch in the picture's pixels.
        seed: of the sample; the place follows from it.

    Returns:
        ((scale_y, margin_y), (scale_x, margin_x)): input pixels per picture pixel, and input pixels before the picture, which are
        negative where the patch begins inside it.
    """
    rng = np.random.default_rng((*seed, PATCH))
    for _ in range(TRIES):
        top, left = (
            int(rng.integers(0, length - patch + 1)) if length > patch else -((patch - length) // 2)
            for length in class_map.shape
        )
        if (class_map[max(top, 0) : top + patch, max(left, 0) : left + patch] != IGNORED).any():
            break
    scale_y, scale_x = size_hw[0] / patch, size_hw[1] / patch
    return (scale_y, -top * scale_y), (scale_x, -left * scale_x)


def shown_in_a_pass(samples: Sequence[Sample], patch: int) -> np.ndarray:
    """Which picture each place of a pass shows: one place for every patch of pixels that a picture has.

    So a pass sees about as many pixels as there are, whether the pictures are many and small or few and huge.

    Args:
        samples: to learn from; only their headers are read.
        patch: side of the patch, pixels; 0 shows each picture once.

    Returns:
        (places,) numbers of samples, each at least once.
    """
    if not patch:
        return np.arange(len(samples))
    return np.repeat(np.arange(len(samples)), [_times(sample, patch) for sample in samples])


def _times(sample: Sample, patch: int) -> int:
    try:
        height, width = image_size_hw(sample.image)
    except DataError:
        return 1  # named when it is drawn
    return max(round(height * width / patch**2), 1)
