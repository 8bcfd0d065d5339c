"""An engine whose answers are known: the probability of class 1 is the brightness of the pixel."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from segwright.classes import Classes
from segwright.engines.contract import ModelFacts


@dataclass
class BrightnessEngine:
    facts: ModelFacts
    name: str = "brightness"
    seen: list[tuple[int, ...]] = field(default_factory=list)

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.seen.append(images.shape)
        bright = images.mean(axis=3, dtype=np.float32)[:, None] / 255
        if self.facts.classes.channels == 1:
            return bright
        return np.concatenate([1 - bright, bright * 0.9, bright * 0.1], axis=1).astype(np.float32)


@pytest.fixture
def engine() -> BrightnessEngine:
    """Two classes at 48 x 64."""
    classes = Classes(names=("background", "card"))
    return BrightnessEngine(ModelFacts(name="brightness", classes=classes, size_hw=(48, 64), fit="pad"))
