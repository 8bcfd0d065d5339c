"""Everything random that happens to a training sample: one fused warp, one colour table, then blur, noise, JPEG and shadow.

All geometry (placement into the network's size, flip, scale, rotation, shear, perspective, shift) is one matrix and one
resampling, so pixels are interpolated once; brightness, contrast and gamma are one lookup table per channel. A sample is
a pure function of (picture, mask, seed): nothing depends on the worker, the batch or what was drawn before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from segwright.classes import IGNORED
from segwright.data.patches import patch_placement
from segwright.preprocess import placement
from segwright.recipe import Fit, Level


@dataclass(frozen=True, kw_only=True)
class Variation:
    """How far each property may vary. Chances are 0..1; a chance of 0 switches its step off."""

    flip: float = 0.0
    """Chance to mirror left and right."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Smallest and largest magnification."""
    rotate: float = 0.0
    """Largest rotation either way, degrees."""
    shear: float = 0.0
    """Largest shear either way, degrees."""
    perspective: float = 0.0
    """Largest shift of a corner, share of the side."""
    shift: float = 0.0
    """Largest shift of the picture, share of the side."""
    brightness: float = 0.0
    """Largest change either way, share of full white."""
    contrast: float = 0.0
    """Largest relative change of contrast either way."""
    gamma: float = 0.0
    """Largest exponent is 1 + this, smallest its inverse."""
    saturation: float = 0.0
    """Largest relative change of saturation either way."""
    tint: float = 0.0
    """Largest relative change of one channel (white balance) either way."""
    grey: float = 0.0
    """Chance to lose all colour."""
    blur: float = 0.0
    """Chance of a Gaussian or motion blur."""
    noise: float = 0.0
    """Chance of sensor noise (standard deviation up to 0.06 of white)."""
    jpeg: float = 0.0
    """Chance of JPEG compression at quality 25..90."""
    shadow: float = 0.0
    """Chance of a straight-edged shadow."""
    cutout: float = 0.0
    """Chance of a grey rectangle whose pixels are ignored."""


LEVELS: dict[Level, Variation] = {
    "none": Variation(),
    "light": Variation(flip=0.5, scale=(0.9, 1.15), brightness=0.08, contrast=0.1),
    "medium": Variation(
        flip=0.5,
        scale=(0.75, 1.5),
        rotate=8.0,
        shear=3.0,
        shift=0.08,
        brightness=0.12,
        contrast=0.2,
        gamma=0.2,
        saturation=0.25,
        tint=0.06,
        blur=0.08,
        noise=0.1,
        jpeg=0.05,
    ),
    "strong": Variation(
        flip=0.5,
        scale=(0.5, 1.8),
        rotate=30.0,
        shear=8.0,
        perspective=0.08,
        shift=0.15,
        brightness=0.2,
        contrast=0.35,
        gamma=0.4,
        saturation=0.5,
        tint=0.15,
        grey=0.05,
        blur=0.2,
        noise=0.25,
        jpeg=0.2,
        shadow=0.15,
        cutout=0.1,
    ),
}


def augmented(
    image: np.ndarray,
    class_map: np.ndarray,
    size_hw: tuple[int, int],
    fit: Fit,
    variation: Variation,
    seed: tuple[int, ...],
    *,
    patch: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """One training sample at the network's size.

    Args:
        image: (H, W, 3) uint8 RGB.
        class_map: (H, W) uint8.
        size_hw: height and width of the result.
        fit: how a picture of another shape is placed.
        variation: how far it may vary; `Variation()` only places it.
        seed: everything random follows from these numbers.
        patch: fill the result with a random square of this side, and vary it about its middle; 0 places the whole picture.

    Returns:
        image (*size_hw, 3) uint8 and class map (*size_hw) uint8; pixels outside the picture are black and ignored.
    """
    rng = np.random.default_rng(seed)
    height, width = class_map.shape
    placed = patch_placement(class_map, size_hw, patch, seed) if patch else placement(height, width, size_hw, fit)
    matrix = _warp(rng, placed, size_hw, variation)
    height, width = size_hw
    seen = cv2.warpPerspective(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=(0, 0, 0))
    labels = cv2.warpPerspective(class_map, matrix, (width, height), flags=cv2.INTER_NEAREST, borderValue=(IGNORED,))
    seen = _colour(rng, np.asarray(seen, np.uint8), variation)
    seen = _degrade(rng, seen, variation)
    labels = np.asarray(labels, np.uint8)
    if rng.random() < variation.cutout:
        top, left = rng.integers(0, height), rng.integers(0, width)
        bottom, right = top + rng.integers(8, max(height // 3, 9)), left + rng.integers(8, max(width // 3, 9))
        seen[top:bottom, left:right] = rng.integers(0, 256, 3)
        labels[top:bottom, left:right] = IGNORED
    return seen, labels


def _warp(
    rng: np.random.Generator,
    placed: tuple[tuple[float, float], tuple[float, float]],
    size_hw: tuple[int, int],
    v: Variation,
) -> np.ndarray:
    """(3, 3) float64 from picture pixels to placed pixels (x, y, 1), pixel centres at whole numbers as OpenCV has them."""
    (scale_y, margin_y), (scale_x, margin_x) = placed
    place = np.array([[scale_x, 0, margin_x], [0, scale_y, margin_y], [0, 0, 1.0]])
    height, width = size_hw
    centre = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1.0]])
    magnify = math.exp(rng.uniform(math.log(v.scale[0]), math.log(v.scale[1])))
    angle, shear = (math.radians(rng.uniform(-most, most)) for most in (v.rotate, v.shear))
    mirror = -1.0 if rng.random() < v.flip else 1.0
    cos, sin = magnify * math.cos(angle), magnify * math.sin(angle)
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1.0]])
    bend = np.array([[mirror, math.tan(shear), 0], [0, 1, 0], [0, 0, 1.0]])
    tilt = np.eye(3)
    tilt[2, :2] = rng.uniform(-v.perspective, v.perspective, 2) * 2 / np.array([width, height])
    # A magnified picture may slide as far as its own border, so that no region is left out for good.
    slack = v.shift + max(magnify - 1.0, 0.0) / 2 * (v.scale[1] > 1.0)
    shift_x, shift_y = rng.uniform(-slack, slack, 2) * (width, height)
    back = np.array([[1, 0, width / 2 + shift_x], [0, 1, height / 2 + shift_y], [0, 0, 1.0]])
    # Half a pixel either side: our coordinates count pixel corners, OpenCV's count pixel centres.
    to_corner, to_centre = np.eye(3), np.eye(3)
    to_corner[:2, 2], to_centre[:2, 2] = 0.5, -0.5
    return np.asarray(to_centre @ back @ tilt @ turn @ bend @ centre @ place @ to_corner)


def _colour(rng: np.random.Generator, image: np.ndarray, v: Variation) -> np.ndarray:
    grey, saturation = rng.random() < v.grey, 1.0 + rng.uniform(-v.saturation, v.saturation)
    if grey or v.saturation:
        keep = 0.0 if grey else saturation
        luma = np.array([0.299, 0.587, 0.114])
        matrix = keep * np.eye(3) + (1 - keep) * np.repeat(luma[None], 3, axis=0)
        image = np.asarray(cv2.transform(image, matrix), np.uint8)
    if not (v.brightness or v.contrast or v.gamma or v.tint):
        return image
    levels = np.arange(256) / 255.0
    exponent = (1.0 + v.gamma) ** rng.uniform(-1, 1)
    contrast, brightness = 1 + rng.uniform(-v.contrast, v.contrast), rng.uniform(-v.brightness, v.brightness)
    tints = 1 + rng.uniform(-v.tint, v.tint, 3)
    curves = (levels[:, None] ** exponent - 0.5) * contrast + 0.5 + brightness
    table = (curves * tints * 255).round().clip(0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table[None]), np.uint8)


def _degrade(rng: np.random.Generator, image: np.ndarray, v: Variation) -> np.ndarray:
    if rng.random() < v.shadow:
        image = _shadowed(rng, image)
    if rng.random() < v.blur:
        image = _blurred(rng, image)
    if rng.random() < v.noise:
        deviation = rng.uniform(2, 15)
        # One field for the three channels, shifted: as grainy as three, a third of the random numbers.
        field = rng.standard_normal(image.shape[:2], np.float32) * deviation
        noise = np.stack([field, np.roll(field, 7, 0), np.roll(field, 11, 1)], axis=2)
        image = np.asarray(cv2.add(image, noise, dtype=cv2.CV_8U), np.uint8)
    if rng.random() < v.jpeg:
        _, code = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 91))])
        image = np.asarray(cv2.imdecode(code, cv2.IMREAD_UNCHANGED), np.uint8)
    return image


def _shadowed(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    shade: np.ndarray = np.full((height, width), 256, np.uint16)
    corners = (rng.uniform(-0.2, 1.2, (int(rng.integers(3, 6)), 2)) * (width, height)).astype(np.int32)
    cv2.fillPoly(shade, [cv2.convexHull(corners)], int(rng.integers(80, 200)))
    softness = int(rng.integers(1, 12))
    shade = np.asarray(cv2.blur(shade, (softness, softness)), np.uint16)
    return (image * shade[..., None] >> 8).astype(np.uint8)


def _blurred(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    if rng.random() < 0.5:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 2.0)), np.uint8)
    length = int(rng.integers(3, 12))
    kernel = np.zeros((length, length), np.float32)
    angle = rng.uniform(0, math.pi)
    reach = np.array([math.cos(angle), math.sin(angle)]) * length / 2
    middle = np.array([length / 2, length / 2]) - 0.5
    start, end = (middle - reach).round().astype(int), (middle + reach).round().astype(int)
    cv2.line(kernel, (int(start[0]), int(start[1])), (int(end[0]), int(end[1])), 1.0)
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.uint8)
