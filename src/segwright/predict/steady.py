"""Steady masks: mix each frame's probabilities with those before, moved along with what moved, and measure the flicker.

Flicker is the share of pixels that change class from one frame to the next although they show the same spot: the class map
before is first moved along the optical flow between the two pictures, and where the flow finds no counterpart (uncovered
background, a cut, pixels that came in from outside) nothing is counted and nothing is mixed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segwright.classes import IGNORED, Classes
from segwright.errors import UserError
from segwright.predict.predictor import Details, Prediction

FLOW_SIDE = 320
"""Pixels of the longer side at which motion is estimated; more costs time and finds no better motion for this purpose."""
SAME_SPOT = 24.0
"""Largest difference in brightness (0..255) at which two pixels may show the same spot."""
LARGEST_GAP = 1.0
"""Seconds; frames further apart are not compared."""
CUT = 0.5
"""When less of a picture than this has a counterpart in the one before, a new scene has begun."""


@dataclass
class Flicker:
    """Counted over all frames so far."""

    pixels: int = 0
    """With a counterpart in the frame before."""
    before: int = 0
    """Of them, how many changed class in what the network said."""
    after: int = 0
    """How many changed class in what was put out."""

    def shares(self) -> tuple[float, float]:
        """Before and after, 0..1; not a number where no two frames could be compared."""
        if not self.pixels:
            return float("nan"), float("nan")
        return self.before / self.pixels, self.after / self.pixels


class Steady:
    """Smooths the predictions of one source over time.

    Args:
        strength: 0..1: share that comes from the frames before; 0 changes nothing and only measures.
        threshold: least probability of class 1 that counts as class 1 (two classes only).

    Raises:
        UserError: the strength is out of range.
    """

    def __init__(self, strength: float, *, threshold: float = 0.5) -> None:
        if not 0.0 <= strength < 1.0:
            raise UserError(f"--steady is a strength from 0 to less than 1, not {strength:g}; 0.6 is a good beginning.")
        self.strength, self.flicker = strength, Flicker()
        self._threshold = threshold
        create: Any = getattr(cv2, "DISOpticalFlow_create")  # noqa: B009 - its type stub forgets it
        self._flow = create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._past: _Past | None = None

    def __call__(self, image: NDArray[np.uint8], prediction: Prediction, seconds: float | None) -> Prediction:
        """The prediction of the next frame, steadied.

        Args:
            image: (H, W, 3) uint8 RGB.
            prediction: of that frame.
            seconds: its time.

        Returns:
            A prediction with another class map, confidence and probabilities, or the same one.
        """
        grey = _small_grey(image)
        past, now = self._past, prediction.probabilities
        if now is None:
            now = _votes(prediction.class_map, prediction.classes)
        smoothed, answer = now, prediction
        if past is not None and past.fits(prediction.class_map, grey, seconds):
            moved, same = self._motion(past.grey, grey, prediction.class_map.shape)
            if same.mean() >= CUT:
                if self.strength:
                    smoothed = self._mixed(now, past.probabilities, moved, same)
                    answer = _decoded(prediction, smoothed, self._threshold)
                self._count(past, prediction.class_map, answer.class_map, moved, same)
        self._past = _Past(grey, smoothed, prediction.class_map, answer.class_map, seconds)
        return answer

    def _motion(
        self, before: NDArray[np.uint8], grey: NDArray[np.uint8], size_hw: tuple[int, ...]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Where each pixel was in the picture before (H, W, 2) x and y, and which pixels have a counterpart (H, W)."""
        height, width = grey.shape
        flow = np.asarray(self._flow.calc(grey, before, None), np.float32)
        at = flow + np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=2).astype(np.float32)
        then = _at(before, at, cv2.INTER_LINEAR)
        difference = cv2.blur(cv2.absdiff(then, grey), (3, 3))
        inside = (
            (at[..., 0] >= -0.5) & (at[..., 0] <= width - 0.5) & (at[..., 1] >= -0.5) & (at[..., 1] <= height - 0.5)
        )
        same = np.asarray((difference <= SAME_SPOT) & inside, np.uint8)
        if size_hw == (height, width):
            return at, same > 0
        full = (size_hw[1], size_hw[0])
        flow = np.asarray(cv2.resize(flow, full, interpolation=cv2.INTER_LINEAR), np.float32)
        flow *= np.array([size_hw[1] / width, size_hw[0] / height], np.float32)
        x, y = np.meshgrid(np.arange(full[0], dtype=np.float32), np.arange(full[1], dtype=np.float32))
        flow[..., 0] += x
        flow[..., 1] += y
        return flow, cv2.resize(same, full, interpolation=cv2.INTER_NEAREST) > 0

    def _mixed(
        self,
        now: NDArray[np.float32],
        before: NDArray[np.float32],
        moved: NDArray[np.float32],
        same: NDArray[np.bool_],
    ) -> NDArray[np.float32]:
        share = same.astype(np.float32) * np.float32(self.strength)
        mixed = np.empty_like(now)
        for channel in range(len(now)):
            then = _at(before[channel], moved, cv2.INTER_LINEAR)
            mixed[channel] = now[channel] + share * (then - now[channel])
        return mixed

    def _count(
        self,
        past: _Past,
        raw: NDArray[np.uint8],
        steadied: NDArray[np.uint8],
        moved: NDArray[np.float32],
        same: NDArray[np.bool_],
    ) -> None:
        self.flicker.pixels += int(same.sum())
        self.flicker.before += _changed(past.raw, raw, moved, same)
        self.flicker.after += _changed(past.steadied, steadied, moved, same)


@dataclass(frozen=True)
class _Past:
    """What is kept of the frame before."""

    grey: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
    raw: NDArray[np.uint8]
    steadied: NDArray[np.uint8]
    seconds: float | None

    def fits(self, class_map: NDArray[np.uint8], grey: NDArray[np.uint8], seconds: float | None) -> bool:
        """Whether the next frame can be compared with this one."""
        close = seconds is None or self.seconds is None or 0 <= seconds - self.seconds <= LARGEST_GAP
        return close and self.raw.shape == class_map.shape and self.grey.shape == grey.shape


def _small_grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
    scale = FLOW_SIDE / max(grey.shape)
    # DIS needs room for its patches.
    height, width = (max(round(side * min(scale, 1.0)), 16) for side in grey.shape)
    if grey.shape == (height, width):
        return grey
    return np.asarray(cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _votes(class_map: NDArray[np.uint8], classes: Classes) -> NDArray[np.float32]:
    """1 for the class of each pixel, where a predictor keeps no probabilities."""
    if classes.channels == 1:
        return np.asarray(class_map == 1, np.float32)[None]
    return np.stack([np.asarray(class_map == number, np.float32) for number in range(len(classes))])


def _decoded(prediction: Prediction, probabilities: NDArray[np.float32], threshold: float) -> Prediction:
    classes = prediction.classes
    class_map = classes.decode(probabilities, threshold)
    ignored = prediction.class_map == IGNORED
    if ignored.any():
        class_map[ignored] = IGNORED
    details = lambda: Details(classes.confidence(probabilities, threshold), probabilities)  # noqa: E731
    return replace(prediction, class_map=class_map, details=details)


def _changed(
    before: NDArray[np.uint8], now: NDArray[np.uint8], moved: NDArray[np.float32], same: NDArray[np.bool_]
) -> int:
    then = _at(before, moved, cv2.INTER_NEAREST)
    return int(((then != now) & same).sum())


def _at(values: Any, moved: NDArray[np.float32], how: int) -> Any:
    """Values read at other places: (H, W) at x and y (H, W, 2)."""
    remap: Any = cv2.remap
    return remap(values, moved, None, how, borderMode=cv2.BORDER_REPLICATE)
