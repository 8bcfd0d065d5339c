"""Frontier picture: what each network scores over the time it takes, with intervals, so that the trade can be seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 960, 560
LEFT, RIGHT, TOP, BOTTOM = 84, 40, 64, 72
"""Margins around the points, pixels."""
FINE = 2
"""Everything is drawn this many times as large and averaged, since Pillow's lines have no soft edges."""
PAPER, INK, FAINT = (255, 255, 255), (40, 44, 52), (222, 226, 232)
COLOURS = {"before": (96, 104, 118), "chosen": (24, 140, 80), "kept": (31, 98, 180), "refused": (190, 60, 50)}
LIMIT = (200, 120, 20)
LEAST_SPAN = 0.02
"""Scores shown cover at least this much, or the noise of a thousandth would fill the page."""

Kind = Literal["before", "chosen", "kept", "refused"]


@dataclass(frozen=True)
class Point:
    """One network."""

    label: str
    milliseconds: float
    score: float
    """0..1."""
    low: float
    """Ends of its interval; NaN for none."""
    high: float
    kind: Kind
    """refused: it lost more than was allowed."""


def drawn(points: Sequence[Point], *, engine: str, score: str, least: float) -> NDArray[np.uint8]:
    """Draw them.

    Args:
        points: at least one.
        engine: whose time it is.
        score: name of the score.
        least: score below which a network is refused, 0..1.

    Returns:
        (560, 960, 3) uint8 RGB.
    """
    page = Image.new("RGB", (WIDTH * FINE, HEIGHT * FINE), PAPER)
    pen = ImageDraw.Draw(page)
    ends = [end for p in points for end in (p.score, p.low, p.high) if math.isfinite(end)] + [least]
    middle, half = (max(ends) + min(ends)) / 2, max(max(ends) - min(ends), LEAST_SPAN) * 0.58
    bottom, top = max(middle - half, 0.0), min(middle + half, 1.0)
    longest = 1.15 * max(p.milliseconds for p in points)

    def x(milliseconds: float) -> float:
        return (LEFT + milliseconds / longest * (WIDTH - LEFT - RIGHT)) * FINE

    def y(value: float) -> float:
        return (HEIGHT - BOTTOM - (value - bottom) / max(top - bottom, 1e-9) * (HEIGHT - TOP - BOTTOM)) * FINE

    def text(
        place: tuple[float, float], words: str, anchor: str, size: int = 15, colour: tuple[int, ...] = INK
    ) -> None:
        pen.text(place, words, fill=colour, font=_font(size), anchor=anchor)

    for time in _round_numbers(0.0, longest):
        pen.line((x(time), y(top), x(time), y(bottom)), fill=FAINT, width=FINE)
        text((x(time), y(bottom) + 10 * FINE), f"{time:g}", "mt")
    for value in _round_numbers(bottom, top):
        pen.line((x(0), y(value), x(longest), y(value)), fill=FAINT, width=FINE)
        text((x(0) - 10 * FINE, y(value)), f"{value:g}", "rm")
    if bottom <= least <= top:
        pen.line((x(0), y(least), x(longest), y(least)), fill=LIMIT, width=2 * FINE)
        text((x(longest), y(least) + 6 * FINE), "least score allowed", "rt", 14, LIMIT)
    for point in points:
        colour, centre = COLOURS[point.kind], (x(point.milliseconds), y(point.score))
        if math.isfinite(point.low):
            pen.line(
                (centre[0], y(max(point.low, bottom)), centre[0], y(min(point.high, top))), fill=colour, width=FINE
            )
        radius = (9 if point.kind == "chosen" else 6) * FINE
        box = (centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius)
        pen.ellipse(box, fill=PAPER if point.kind == "refused" else colour, outline=colour, width=2 * FINE)
        right = point.milliseconds > 0.8 * longest
        text(
            (centre[0] + (-14 if right else 14) * FINE, centre[1] - 10 * FINE),
            point.label,
            "rb" if right else "lb",
            15,
            colour,
        )
    pen.line((x(0), y(top), x(0), y(bottom), x(longest), y(bottom)), fill=INK, width=FINE)
    text((LEFT * FINE, 22 * FINE), f"{score} on validation pictures over the time of one picture", "lm", 19)
    text(((LEFT + WIDTH - RIGHT) / 2 * FINE, (HEIGHT - 20) * FINE), f"milliseconds, {engine}", "mm")
    return np.asarray(page.resize((WIDTH, HEIGHT), Image.Resampling.BOX), np.uint8)


def _round_numbers(low: float, high: float) -> list[float]:
    """About five numbers such as 0.2, 0.4, 0.6 between two ends."""
    rough = max((high - low) / 5, 1e-9)
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * many for many in (1, 2, 5, 10) if unit * many >= rough)
    return [round(number * step, 12) for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size * FINE)
