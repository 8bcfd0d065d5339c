"""Pixel counts per image and class, and IoU, Dice, precision, recall, accuracy as functions of the counts.

Counts are (C, C) int64 confusion matrices, rows = truth, columns = prediction. They are summed over images before
anything is divided, so a large picture weighs more than a small one and no empty class divides by zero per picture.
"""

from __future__ import annotations

import cv2
import numpy as np

FAST_CLASSES = 15
"""Up to this many classes a (truth, prediction) pair fits one byte, ignored pixels included, and a byte histogram counts."""


EXACT_FLOAT32 = 1 << 24
"""OpenCV counts in float32, which is exact up to here; larger pictures are counted by NumPy."""


def confusion(truth: np.ndarray, prediction: np.ndarray, classes: int) -> np.ndarray:
    """Count pixel pairs of one image.

    Args:
        truth: class_map (H, W) uint8; 255, and whatever else is no class, is left out.
        prediction: class_map (H, W) uint8, all values below `classes`.
        classes: number of classes C.

    Returns:
        (C, C) int64, [t, p] = pixels of true class t predicted as p.
    """
    if classes <= FAST_CLASSES and truth.size < EXACT_FLOAT32:
        # Ignored pixels land in row C, which is cut off: one byte per pair, one pass over the picture.
        codes = cv2.add(cv2.LUT(truth, _row_table(classes)), prediction)
        counted = cv2.calcHist([codes], [0], None, [256], [0.0, 256.0]).ravel()
        return counted[: classes * classes].round().astype(np.int64).reshape(classes, classes)
    kept = truth < classes
    pairs = truth[kept].astype(np.int64) * classes + prediction[kept]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def class_pixels(class_map: np.ndarray) -> np.ndarray:
    """How many pixels hold each number: ten times as fast as `np.bincount`, which widens every pixel to 64 bits first.

    Args:
        class_map: (H, W) uint8.

    Returns:
        (256,) int64.
    """
    flat, counts = np.ascontiguousarray(class_map).reshape(-1), np.zeros(256, np.int64)
    for start in range(0, flat.size, EXACT_FLOAT32):
        part = flat[start : start + EXACT_FLOAT32]
        counts += cv2.calcHist([part], [0], None, [256], [0.0, 256.0]).ravel().astype(np.int64)
    return counts


def _row_table(classes: int) -> np.ndarray:
    table = np.full(256, min(classes * classes, 255), np.uint8)
    table[:classes] = np.arange(classes) * classes
    return table


def iou(counts: np.ndarray) -> np.ndarray:
    """Intersection over union per class (Jaccard index).

    Args:
        counts: (..., C, C).

    Returns:
        (..., C) float64, NaN for classes that are neither in truth nor in prediction.
    """
    return iou_of(*margins(counts))


def iou_of(hit: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """As `iou`, from pixels that are right, true and predicted, each (..., C)."""
    return _divide(hit, true + predicted - hit)


def dice(counts: np.ndarray) -> np.ndarray:
    """Dice coefficient (F1) per class; shapes as in `iou`."""
    hit, true, predicted = margins(counts)
    return _divide(2 * hit, true + predicted)


def precision(counts: np.ndarray) -> np.ndarray:
    """Share of predicted pixels that are right, per class; NaN where nothing was predicted."""
    hit, _, predicted = margins(counts)
    return _divide(hit, predicted)


def recall(counts: np.ndarray) -> np.ndarray:
    """Share of true pixels that were found, per class; NaN where the class does not occur."""
    hit, true, _ = margins(counts)
    return _divide(hit, true)


def mean_iou(counts: np.ndarray) -> np.ndarray:
    """Mean of `iou` over the classes that occur in the truth.

    A class that is absent from the truth is left out: it would score 0 for one stray pixel, and there is nothing to find.

    Args:
        counts: (..., C, C).

    Returns:
        (...) float64; NaN when no pixel was counted.
    """
    return mean_iou_of(*margins(counts))


def mean_iou_of(hit: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """As `mean_iou`, from pixels that are right, true and predicted, each (..., C)."""
    present = true > 0
    scores = np.where(present, np.nan_to_num(iou_of(hit, true, predicted)), 0.0)
    return _divide(scores.sum(axis=-1), present.sum(axis=-1))


def pixel_accuracy(counts: np.ndarray) -> np.ndarray:
    """Share of all counted pixels that are right; (...) float64."""
    return _divide(np.trace(counts, axis1=-2, axis2=-1), counts.sum(axis=(-2, -1)))


def constant_counts(counts: np.ndarray) -> np.ndarray:
    """The counts that the best constant predictor (the commonest true class everywhere) would have had.

    Args:
        counts: (C, C) summed over a data set.

    Returns:
        (C, C) int64.
    """
    constant = np.zeros_like(counts)
    constant[:, counts.sum(axis=1).argmax()] = counts.sum(axis=1)
    return constant


def margins(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels of each class that are right, true and predicted, each (..., C), of counts (..., C, C)."""
    return np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(axis=-1), counts.sum(axis=-2)


def _divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(below > 0, above / np.maximum(below, 1), np.nan)
