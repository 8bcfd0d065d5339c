"""Brushes of the card scenes: noise fields, colour ramps, lettering and the `Sprite` that every flat thing becomes.

Randomness is cheap here: a small random field is enlarged by `cv2.resize`, and a 256-colour ramp turns it into paint.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ImageFont

Picture = NDArray[np.uint8]
"""(H, W, 3) uint8 RGB."""
Cover = NDArray[np.uint8]
"""(H, W) uint8, 0 where nothing is, 255 where the thing hides everything behind it."""
Field = NDArray[np.float32]
"""(H, W) float32, about 0..1 unless said otherwise."""
Points = NDArray[np.float32]
"""(N, 2) float32, x and y."""
Colour = tuple[int, int, int]
"""RGB, 0..255."""

FIXED_POINT_BITS = 4
"""OpenCV draws polygons at 1/16 pixel when their points are multiplied by 16."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Sprite:
    """A flat thing that can be laid into a scene."""

    colour: Picture
    """(H, W, 3) uint8 RGB."""
    cover: Cover
    """(H, W) uint8, the outline."""
    size_mm: tuple[float, float]
    """Height and width in the world."""
    thick_mm: float = 0.3
    """How far its top is above the table; decides how long its shadow is."""


def chance(rng: np.random.Generator, probability: float) -> bool:
    """True in that share of calls."""
    return bool(rng.random() < probability)


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of the options, all equally likely."""
    return options[int(rng.integers(len(options)))]


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A number whose logarithm is uniform between the two."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


# --- fields -----------------------------------------------------------------------------------------------------


def noise(rng: np.random.Generator, size_hw: tuple[int, int], cell_hw: tuple[float, float]) -> Field:
    """Smooth random values in 0..1 whose bumps are about one cell large; cells of different sides give streaks."""
    height, width = size_hw
    cells = (max(2, round(height / cell_hw[0])), max(2, round(width / cell_hw[1])))
    small = rng.random((min(cells[0], height), min(cells[1], width)), dtype=np.float32)
    if small.shape == size_hw:
        return small
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def fractal(
    rng: np.random.Generator,
    size_hw: tuple[int, int],
    cell_hw: tuple[float, float],
    *,
    octaves: int = 4,
    persistence: float = 0.5,
) -> Field:
    """Octaves of `noise`, each half as large and weaker than the last, stretched to fill 0..1."""
    total = noise(rng, size_hw, cell_hw)
    for octave in range(1, octaves):
        cell = (max(1.0, cell_hw[0] / 2**octave), max(1.0, cell_hw[1] / 2**octave))
        total = cv2.scaleAdd(noise(rng, size_hw, cell), persistence**octave, total)
    return stretch(total)


def stretch(field: Field) -> Field:
    """The same field, moved and scaled to 0..1."""
    return np.asarray(cv2.normalize(field, None, 0.0, 1.0, cv2.NORM_MINMAX), np.float32)


def to_bytes(field: Field) -> Cover:
    """0..1 as 0..255, clipped."""
    return np.asarray(cv2.convertScaleAbs(np.maximum(field, 0.0), alpha=255.0), np.uint8)


# --- colour -----------------------------------------------------------------------------------------------------


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """RGB of hue 0..1 (wrapping), saturation 0..1 and value 0..1."""
    red, green, blue = (
        value * (1 - saturation * float(np.clip(1.5 - abs((hue * 6 + offset) % 6 - 3), 0, 1)))
        for offset in (3.0 - 3.0, 4.0, 2.0)
    )
    return int(255 * red), int(255 * green), int(255 * blue)


def any_colour(rng: np.random.Generator, *, value: tuple[float, float] = (0.1, 1.0), vivid: float = 0.7) -> Colour:
    """A random colour, more often dull than strong; `vivid` is the largest saturation."""
    return hsv(rng.random(), vivid * rng.random() ** 1.6, rng.uniform(*value))


def near(rng: np.random.Generator, colour: Colour, spread: float) -> Colour:
    """The colour, a little brighter or darker and a little tinted; spread in 0..255 steps."""
    common = rng.normal(0, spread)
    red, green, blue = (int(np.clip(part + common + rng.normal(0, spread / 3), 0, 255)) for part in colour)
    return red, green, blue


def ramp(colours: Sequence[Colour], positions: Sequence[float] | None = None) -> Picture:
    """A (256, 1, 3) uint8 table that runs through the colours."""
    places = np.linspace(0, 255, len(colours)) if positions is None else np.asarray(positions) * 255
    table = [np.interp(np.arange(256), places, [colour[channel] for colour in colours]) for channel in range(3)]
    return np.stack(table, axis=-1).astype(np.uint8).reshape(256, 1, 3)


def paint(field: Field, colours: Picture) -> Picture:
    """A field 0..1 coloured through a `ramp`."""
    return np.asarray(cv2.applyColorMap(to_bytes(field), colours), np.uint8)


def flat(size_hw: tuple[int, int], colour: Colour) -> Picture:
    """A picture of one colour."""
    return np.full((*size_hw, 3), colour, np.uint8)


def tinted(picture: Picture, gain: Field) -> Picture:
    """The picture times a (H, W) gain, clipped."""
    return np.asarray(cv2.multiply(picture, cv2.merge([gain, gain, gain]), dtype=cv2.CV_8U), np.uint8)


# --- shapes -----------------------------------------------------------------------------------------------------


def fixed(points: Points) -> NDArray[np.int32]:
    """Pixel positions in OpenCV's fixed-point notation."""
    return np.round(np.asarray(points, np.float32) * (1 << FIXED_POINT_BITS)).astype(np.int32)


def fill(canvas: NDArray[np.uint8], points: Points, colour: Colour | int) -> None:
    """Fill a polygon given in pixels, with smooth edges."""
    value = (colour,) if isinstance(colour, int) else colour
    cv2.fillPoly(canvas, [fixed(points)], value, cv2.LINE_AA, FIXED_POINT_BITS)


def outline(canvas: NDArray[np.uint8], points: Points, colour: Colour, width_px: float, *, closed: bool = True) -> None:
    """Draw a line through the points."""
    cv2.polylines(canvas, [fixed(points)], closed, colour, max(1, round(width_px)), cv2.LINE_AA, FIXED_POINT_BITS)


def rounded(size_hw: tuple[int, int], radius_px: float) -> Cover:
    """The cover of a rectangle with round corners that fills the whole canvas."""
    height, width = size_hw
    radius = min(radius_px, height / 2, width / 2)
    if radius < 0.5:
        return np.full(size_hw, 255, np.uint8)
    quarter = np.linspace(0, np.pi / 2, 9)
    corner = np.stack([np.cos(quarter), np.sin(quarter)], axis=-1) * radius
    right, bottom = width - 1 - radius, height - 1 - radius
    turns = [((right, bottom), (1, 1)), ((radius, bottom), (-1, 1)), ((radius, radius), (-1, -1)), ((right, radius), (1, -1))]
    arcs = [
        (corner if flip[0] * flip[1] > 0 else corner[::-1]) * np.array(flip) + np.array(centre) for centre, flip in turns
    ]
    cover = np.zeros(size_hw, np.uint8)
    fill(cover, np.concatenate(arcs).astype(np.float32), 255)
    return cover


def ellipse_points(centre_xy: tuple[float, float], radii_xy: tuple[float, float], *, count: int = 24) -> Points:
    """A closed ellipse as polygon points."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    points = np.stack([np.cos(angle) * radii_xy[0], np.sin(angle) * radii_xy[1]], axis=-1) + np.array(centre_xy)
    return points.astype(np.float32)


def blob(
    rng: np.random.Generator, centre_xy: tuple[float, float], radius: float, *, rough: float = 0.3, count: int = 14
) -> Points:
    """A random roundish polygon; rough 0 is a circle."""
    angle = np.sort(rng.random(count)) * 2 * np.pi
    reach = radius * (1 + rough * rng.uniform(-1, 1, count))
    points = np.stack([np.cos(angle) * reach, np.sin(angle) * reach], axis=-1) + np.array(centre_xy)
    return points.astype(np.float32)


# --- lettering --------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _glyphs(text: str, height_px: int) -> Cover:
    """The text in Pillow's own font, cut to its ink."""
    mask = ImageFont.load_default(height_px).getmask(text, mode="L")
    width, height = mask.size
    return np.asarray(list(mask), np.uint8).reshape(height, width) if width and height else np.zeros((1, 1), np.uint8)


def write(
    canvas: Picture,
    text: str,
    top_left_xy: tuple[float, float],
    height_px: float,
    colour: Colour,
    *,
    bold: bool = False,
    width_scale: float = 1.0,
) -> float:
    """Write text whose ink is about `height_px` high.

    Returns:
        The width of the ink in pixels.
    """
    ink = _glyphs(text, max(8, round(height_px * 1.35)))
    size_wh = (max(1, round(ink.shape[1] * height_px / ink.shape[0] * width_scale)), max(1, round(height_px)))
    ink = np.asarray(cv2.resize(ink, size_wh, interpolation=cv2.INTER_AREA), np.uint8)
    if bold:
        ink = np.asarray(cv2.dilate(ink, np.ones((2, 2), np.uint8)), np.uint8)
    stamp(canvas, ink, top_left_xy, colour)
    return float(size_wh[0])


def stamp(canvas: Picture, ink: Cover, top_left_xy: tuple[float, float], colour: Colour) -> None:
    """Colour the canvas where the ink is; what falls outside is cut off."""
    left, top = round(top_left_xy[0]), round(top_left_xy[1])
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + ink.shape[1], canvas.shape[1]), min(top + ink.shape[0], canvas.shape[0])
    if x1 <= x0 or y1 <= y0:
        return
    share = ink[y0 - top : y1 - top, x0 - left : x1 - left, None].astype(np.uint16)
    under = canvas[y0:y1, x0:x1]
    under[:] = ((under * (255 - share) + np.array(colour, np.uint16) * share) // 255).astype(np.uint8)


def words(rng: np.random.Generator, letters: int) -> str:
    """Random letters and gaps that look like a line of text from afar."""
    alphabet = string.ascii_lowercase + "eeaaiott    " + ("0123456789" if chance(rng, 0.3) else "")
    return "".join(alphabet[index] for index in rng.integers(len(alphabet), size=letters))


def write_lines(
    rng: np.random.Generator,
    canvas: Picture,
    box_xyxy: tuple[float, float, float, float],
    line_px: float,
    colour: Colour,
) -> None:
    """Fill a box with lines of unreadable text."""
    x0, y0, x1, y1 = box_xyxy
    scale = line_px * 0.62 / 22
    letters = max(2, int((x1 - x0) / (line_px * 0.45)))
    for y in np.arange(y0 + line_px, y1, line_px):
        share = rng.uniform(0.3, 0.9) if chance(rng, 0.25) else 1.0
        text = words(rng, max(2, int(letters * share)))
        cv2.putText(
            canvas, text, (round(x0), round(float(y))), cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA
        )
