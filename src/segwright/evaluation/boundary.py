"""How good the edges are: boundary F1 per class, from counts that are summed over pictures before dividing.

An edge pixel is a pixel with another class among its eight neighbours; it belongs to the class it has itself. It is right
when an edge pixel of the same class of the other map lies within the tolerance (Chebyshev distance: a square window, which
OpenCV dilates in time that hardly grows with its size). The picture's border is no edge. Edges near ignored pixels are left out on both
sides, since nobody knows where the true edge is there.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from segwright.classes import IGNORED

TOLERANCE = 0.0075
"""Share of the picture's diagonal: 6 pixels of a 480x640 picture."""


def tolerance_pixels(height: int, width: int) -> int:
    """Largest distance, in pixels, at which an edge still counts as found; at least 1."""
    return max(1, round(TOLERANCE * float(np.hypot(height, width))))


def boundary_counts(
    truth: NDArray[np.uint8], prediction: NDArray[np.uint8], classes: int, tolerance: int
) -> NDArray[np.int64]:
    """Edge pixels of one picture.

    Args:
        truth: class_map (H, W) uint8, 255 where ignored.
        prediction: class_map (H, W) uint8, all values below `classes`.
        classes: number of classes C.
        tolerance: in pixels, 1 or more.

    Returns:
        (C, 4) int64: true edge pixels, those of them that were found, predicted edge pixels, those of them that are right.
    """
    counts = np.zeros((classes, 4), np.int64)
    window = cv2.getStructuringElement(cv2.MORPH_RECT, (2 * tolerance + 1, 2 * tolerance + 1))
    true_edges, predicted_edges = _edges(truth), _edges(prediction)
    ignored = cv2.compare(truth, IGNORED, cv2.CMP_EQ)
    if cv2.countNonZero(ignored):
        unsure = cv2.dilate(ignored, cv2.getStructuringElement(cv2.MORPH_RECT, (2 * tolerance + 3, 2 * tolerance + 3)))
        sure = cv2.bitwise_not(unsure)
        true_edges, predicted_edges = cv2.bitwise_and(true_edges, sure), cv2.bitwise_and(predicted_edges, sure)
    for number in range(classes):
        true = cv2.bitwise_and(cv2.compare(truth, number, cv2.CMP_EQ), true_edges)
        predicted = cv2.bitwise_and(cv2.compare(prediction, number, cv2.CMP_EQ), predicted_edges)
        counts[number, 0], counts[number, 2] = cv2.countNonZero(true), cv2.countNonZero(predicted)
        if counts[number, 0] and counts[number, 2]:
            counts[number, 1] = cv2.countNonZero(cv2.bitwise_and(true, cv2.dilate(predicted, window)))
            counts[number, 3] = cv2.countNonZero(cv2.bitwise_and(predicted, cv2.dilate(true, window)))
    return counts


def boundary_f1(counts: NDArray[np.int64] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Harmonic mean of the share of true edges found and the share of predicted edges that are right.

    Args:
        counts: (..., C, 4) as `boundary_counts` gives them, summed over pictures.

    Returns:
        (..., C) float64; NaN for classes without a true edge, 0 for those whose edges were all missed.
    """
    true, found, predicted, right = (np.asarray(counts[..., i], np.float64) for i in range(4))
    recall, precision = found / np.maximum(true, 1.0), right / np.maximum(predicted, 1.0)
    score = 2.0 * recall * precision / np.maximum(recall + precision, 1e-12)
    return np.where(true > 0, score, np.nan)


def _edges(class_map: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """255 where a neighbour has another class, else 0; (H, W) uint8."""
    neighbours = cv2.getStructuringElement(cv2.MORPH_RECT, (3, 3))
    return cv2.compare(cv2.dilate(class_map, neighbours), cv2.erode(class_map, neighbours), cv2.CMP_NE)
