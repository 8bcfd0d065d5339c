"""Where the camera is, and how flat things are laid into its picture with true perspective and shadows."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from segwright.data.card_paint import Cover, Picture, Points, Sprite

Matrix = NDArray[np.float64]
"""(3, 3) float64."""


@dataclass(frozen=True, kw_only=True)
class View:
    """A camera over a plane."""

    to_pixels: Matrix
    """Homography from the plane in mm, x right and y down, to pixels."""
    size_hw: tuple[int, int]
    pixels_per_mm: float
    """At the middle of the picture."""

    def project(self, points_mm: Points) -> Points:
        """(N, 2) millimetres on the plane as (N, 2) pixels."""
        placed = cv2.perspectiveTransform(np.asarray(points_mm, np.float64)[None], self.to_pixels)
        return np.asarray(placed[0], np.float32)

    def on_plane(self, x_px: float, y_px: float) -> tuple[float, float]:
        """The place on the plane, in mm, that is seen at a pixel."""
        x, y, w = np.linalg.inv(self.to_pixels) @ np.array([x_px, y_px, 1.0])
        return float(x / w), float(y / w)


@dataclass(frozen=True, kw_only=True)
class Pose:
    """A place on the plane."""

    x_mm: float
    y_mm: float
    angle: float
    """Radians, in the plane."""
    bend: float = 0.0
    """How far the middle bulges, as a share of the height; 0 is flat."""


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A sprite as the camera sees it, cut to its own box."""

    x0: int
    y0: int
    colour: Picture
    cover: Cover

    @property
    def box(self) -> tuple[slice, slice]:
        """Where it belongs in the picture."""
        height, width = self.cover.shape
        return slice(self.y0, self.y0 + height), slice(self.x0, self.x0 + width)


def view_from(
    size_hw: tuple[int, int], *, pixels_per_mm: float, tilt_rad: float, roll_rad: float, focal_share: float
) -> View:
    """A pinhole camera looking at the plane's origin.

    Args:
        size_hw: height and width of the picture.
        pixels_per_mm: scale in the middle of the picture.
        tilt_rad: 0 looks straight down.
        roll_rad: which way it leans; 0 makes the upper part of the picture the far one.
        focal_share: focal length as a share of the picture's long side.
    """
    focal_px = focal_share * max(size_hw)
    cos, sin = np.cos(roll_rad), np.sin(roll_rad)
    roll = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    cos, sin = np.cos(tilt_rad), np.sin(tilt_rad)
    tilt = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    turn = roll @ tilt @ roll.T
    # A point of the plane has no depth of its own, so the third column gives way to the distance.
    pose = turn.copy()
    pose[:, 2] = (0, 0, focal_px / pixels_per_mm)
    # Far is up in a picture: depth must grow where y shrinks.
    pose[2, :2] *= -1
    lens = np.array([[focal_px, 0, size_hw[1] / 2], [0, focal_px, size_hw[0] / 2], [0, 0, 1]])
    return View(to_pixels=lens @ pose, size_hw=size_hw, pixels_per_mm=pixels_per_mm)


def corners_mm(sprite: Sprite, pose: Pose) -> Points:
    """The four corners of the sprite on the plane, clockwise from its upper left, (4, 2) millimetres."""
    height, width = sprite.size_mm
    square = np.array([[-width, -height], [width, -height], [width, height], [-width, height]]) / 2
    cos, sin = np.cos(pose.angle), np.sin(pose.angle)
    turned = square @ np.array([[cos, sin], [-sin, cos]])
    return (turned + np.array([pose.x_mm, pose.y_mm])).astype(np.float32)


def lay(sprite: Sprite, pose: Pose, view: View) -> Placed | None:
    """The sprite seen by the camera, or None when it is outside the picture.

    Small things are drawn at twice their size and averaged, so that edges look photographed.
    """
    quad = view.project(corners_mm(sprite, pose))
    margin = 2 + abs(pose.bend) * float(np.ptp(quad, axis=0).max())
    x0, y0 = np.maximum(np.floor(quad.min(axis=0) - margin), 0).astype(int)
    x1, y1 = np.minimum(np.ceil(quad.max(axis=0) + margin), (view.size_hw[1], view.size_hw[0])).astype(int)
    if x1 - x0 < 2 or y1 - y0 < 2 or not _in_front(view, corners_mm(sprite, pose)):
        return None
    fine = 2 if (x1 - x0) * (y1 - y0) < 160 * 160 else 1
    size_wh = (int(x1 - x0) * fine, int(y1 - y0) * fine)
    height, width = sprite.cover.shape
    source = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32) - 0.5
    target = (quad - np.array([x0, y0], np.float32)) * fine - 0.5
    matrix = cv2.getPerspectiveTransform(source, target.astype(np.float32))
    if pose.bend:
        maps = _bent_maps(matrix, size_wh, (height, width), pose.bend)
        colour = cv2.remap(sprite.colour, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        cover = cv2.remap(sprite.cover, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    else:
        colour = cv2.warpPerspective(sprite.colour, matrix, size_wh, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        cover = cv2.warpPerspective(sprite.cover, matrix, size_wh, flags=cv2.INTER_LINEAR)
    if fine > 1:
        small = (size_wh[0] // fine, size_wh[1] // fine)
        colour = cv2.resize(colour, small, interpolation=cv2.INTER_AREA)
        cover = cv2.resize(cover, small, interpolation=cv2.INTER_AREA)
    return Placed(x0=int(x0), y0=int(y0), colour=np.asarray(colour, np.uint8), cover=np.asarray(cover, np.uint8))


def _in_front(view: View, points_mm: Points) -> bool:
    depth = points_mm @ view.to_pixels[2, :2] + view.to_pixels[2, 2]
    return bool(depth.min() > 0.15 * view.to_pixels[2, 2])


def _bent_maps(
    matrix: Matrix, size_wh: tuple[int, int], texture_hw: tuple[int, int], bend: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where each pixel looks in the texture when the card bulges across its width."""
    inverse = np.linalg.inv(matrix)
    x, y = np.meshgrid(np.arange(size_wh[0], dtype=np.float32), np.arange(size_wh[1], dtype=np.float32))
    depth = inverse[2, 0] * x + inverse[2, 1] * y + inverse[2, 2]
    u = (inverse[0, 0] * x + inverse[0, 1] * y + inverse[0, 2]) / depth
    v = (inverse[1, 0] * x + inverse[1, 1] * y + inverse[1, 2]) / depth
    v = v + bend * texture_hw[0] * (1 - (2 * u / texture_hw[1] - 1) ** 2)
    return u.astype(np.float32), v.astype(np.float32)


def paste(canvas: Picture, placed: Placed) -> None:
    """Put the thing into the picture."""
    blend(canvas[placed.box], placed.colour, placed.cover)


def blend(region: Picture, colour: Picture, cover: Cover) -> None:
    """Mix a colour over a region of the same size, in place."""
    share = cv2.merge([cover, cover, cover])
    over = cv2.multiply(colour, share, scale=1 / 255, dtype=cv2.CV_8U)
    under = cv2.multiply(region, cv2.bitwise_not(share), scale=1 / 255, dtype=cv2.CV_8U)
    cv2.add(over, under, dst=region)


def cast_shadow(
    canvas: Picture, placed: Placed, *, shift_xy: tuple[float, float], blur_px: float, strength: float
) -> None:
    """Darken the ground beside a thing that is about to be pasted.

    Args:
        canvas: darkened in place.
        placed: what throws the shadow.
        shift_xy: pixels the shadow is moved by.
        blur_px: how soft it is.
        strength: 0 none, 1 black.
    """
    pad = int(np.ceil(2 * blur_px)) + 1
    wide = cv2.copyMakeBorder(placed.cover, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=(0,))
    if blur_px > 0.4:
        side = 2 * int(np.ceil(blur_px)) + 1
        wide = cv2.blur(cv2.blur(wide, (side, side)), (side, side))
    left, top = placed.x0 - pad + round(shift_xy[0]), placed.y0 - pad + round(shift_xy[1])
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + wide.shape[1], canvas.shape[1]), min(top + wide.shape[0], canvas.shape[0])
    if x1 <= x0 or y1 <= y0:
        return
    light = cv2.convertScaleAbs(wide[y0 - top : y1 - top, x0 - left : x1 - left], alpha=-strength, beta=255)
    region = canvas[y0:y1, x0:x1]
    cv2.multiply(region, cv2.merge([light, light, light]), dst=region, scale=1 / 255, dtype=cv2.CV_8U)
