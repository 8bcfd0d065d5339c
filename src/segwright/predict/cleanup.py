"""Clean-up of class maps: drop specks, fill holes, keep only the largest piece of each class."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from segwright.classes import IGNORED
from segwright.errors import UserError
from segwright.metrics import class_pixels


@dataclass(frozen=True, kw_only=True)
class Cleanup:
    """What is changed. Pixels touch by their sides; what is removed takes the class that surrounds most of it."""

    smallest: int = 0
    """Pieces of a class other than 0 with fewer pixels are removed."""
    hole: int = 0
    """Pieces of class 0 with at most so many pixels are filled, unless they touch the border of the picture."""
    largest_only: bool = False
    """Of each class other than 0, only the largest piece is kept."""

    def __post_init__(self) -> None:
        if self.smallest < 0 or self.hole < 0:
            raise UserError(
                f"--min-area and --fill-holes are numbers of pixels from 0 on, not {self.smallest} and {self.hole}."
            )

    @property
    def idle(self) -> bool:
        """Whether nothing is ever changed."""
        return not (self.smallest > 1 or self.hole or self.largest_only)

    def __call__(self, class_map: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The cleaned class map.

        Args:
            class_map: (H, W), 255 where ignored; it is not changed.

        Returns:
            (H, W) uint8; the same array when nothing changed.
        """
        if self.idle:
            return class_map
        answer = class_map
        present = [number for number in np.flatnonzero(class_pixels(class_map)) if number]
        for number in (int(n) for n in present if n != IGNORED):
            answer = self._without_specks(answer, number)
        return self._without_holes(answer) if self.hole else answer

    def _without_specks(self, class_map: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
        labels, stats = _pieces(class_map, number)
        areas = stats[:, cv2.CC_STAT_AREA].copy()
        areas[0] = 0
        unwanted = areas < self.smallest
        if self.largest_only:
            unwanted |= np.arange(len(areas)) != areas.argmax()
        unwanted[0] = False
        return _replaced(class_map, labels, stats, np.flatnonzero(unwanted))

    def _without_holes(self, class_map: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = class_map.shape
        labels, stats = _pieces(class_map, 0)
        left, top = stats[:, cv2.CC_STAT_LEFT], stats[:, cv2.CC_STAT_TOP]
        right, bottom = left + stats[:, cv2.CC_STAT_WIDTH], top + stats[:, cv2.CC_STAT_HEIGHT]
        inside = (left > 0) & (top > 0) & (right < width) & (bottom < height)
        inside &= stats[:, cv2.CC_STAT_AREA] <= self.hole
        inside[0] = False
        return _replaced(class_map, labels, stats, np.flatnonzero(inside))


def _pieces(class_map: NDArray[np.uint8], number: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Labels (H, W), 0 for other classes, and OpenCV's statistics of each label."""
    mask = np.asarray(class_map == number, np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4, ltype=cv2.CV_32S)
    return np.asarray(labels, np.int32), np.asarray(stats, np.int32)


def _replaced(
    class_map: NDArray[np.uint8], labels: NDArray[np.int32], stats: NDArray[np.int32], unwanted: NDArray[np.intp]
) -> NDArray[np.uint8]:
    """Give each unwanted piece the commonest class among the pixels that touch it."""
    if not len(unwanted):
        return class_map
    answer, (height, width) = class_map.copy(), class_map.shape
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    for label in unwanted:
        left, top, wide, high = (int(value) for value in stats[label, :4])
        window = (
            slice(max(top - 1, 0), min(top + high + 1, height)),
            slice(max(left - 1, 0), min(left + wide + 1, width)),
        )
        piece = np.asarray(labels[window] == label, np.uint8)
        rim = (cv2.dilate(piece, cross) > 0) & (piece == 0)
        counts = np.bincount(answer[window][rim], minlength=256)
        counts[IGNORED] = 0
        answer[window][piece > 0] = int(counts.argmax())  # where nothing touches it, that is class 0
    return answer
