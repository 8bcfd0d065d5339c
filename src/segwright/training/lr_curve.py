"""The curve of the learning-rate finder as a picture: losses over rates on a logarithmic axis, with the choice marked."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 960, 560
LEFT, RIGHT, TOP, BOTTOM = 84, 32, 64, 72
"""Margins around the curve, pixels."""
FINE = 2
"""Everything is drawn this many times as large and averaged, since Pillow's lines have no soft edges."""
PAPER, INK, FAINT = (255, 255, 255), (40, 44, 52), (222, 226, 232)
POINT, LINE, BEST, CHOSEN = (168, 182, 200), (31, 98, 180), (200, 120, 20), (24, 140, 80)


def drawn(rates: np.ndarray, losses: np.ndarray, smoothed: np.ndarray, best: float, chosen: float) -> NDArray[np.uint8]:
    """Draw one curve.

    Args:
        rates: learning rates, rising.
        losses: of single batches, as points; those that are not finite are left out.
        smoothed: as a line.
        best: rate at which the line is lowest, marked.
        chosen: the suggestion, marked.

    Returns:
        (560, 960, 3) uint8 RGB.
    """
    page = Image.new("RGB", (WIDTH * FINE, HEIGHT * FINE), PAPER)
    pen = ImageDraw.Draw(page)
    # The explosion at the end would press everything of interest flat.
    bottom, start = float(np.nanmin(smoothed)), float(smoothed[0])
    span = max(start - bottom, 1e-9)
    low, high = bottom - 0.15 * span, start + 0.5 * span

    def x(rate: float) -> float:
        share = math.log(rate / rates[0]) / max(math.log(rates[-1] / rates[0]), 1e-9)
        return (LEFT + share * (WIDTH - LEFT - RIGHT)) * FINE

    def y(loss: float) -> float:
        share = (min(max(loss, low), high) - low) / (high - low)
        return (HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)) * FINE

    def text(
        place: tuple[float, float], words: str, anchor: str, size: int = 15, colour: tuple[int, ...] = INK
    ) -> None:
        pen.text(place, words, fill=colour, font=_font(size), anchor=anchor)

    floor, ceiling = y(low), y(high)
    for power in range(math.ceil(math.log10(rates[0]) - 1e-9), math.floor(math.log10(rates[-1]) + 1e-9) + 1):
        place = x(10.0**power)
        pen.line((place, ceiling, place, floor), fill=FAINT, width=FINE)
        text((place, floor + 10 * FINE), f"{10.0**power:g}", "mt")
    for loss in _round_numbers(low, high):
        pen.line((x(rates[0]), y(loss), x(rates[-1]), y(loss)), fill=FAINT, width=FINE)
        text((x(rates[0]) - 10 * FINE, y(loss)), f"{loss:g}", "rm")
    for rate, loss in zip(rates, losses, strict=True):
        if np.isfinite(loss) and loss <= high:
            radius = 2.5 * FINE
            pen.ellipse((x(rate) - radius, y(loss) - radius, x(rate) + radius, y(loss) + radius), fill=POINT)
    beyond = np.flatnonzero(smoothed > high)
    shown = slice(0, int(beyond[0]) + 1 if beyond.size else len(rates))
    pen.line(
        [(x(rate), y(loss)) for rate, loss in zip(rates[shown], smoothed[shown], strict=True)],
        fill=LINE,
        width=3 * FINE,
        joint="curve",
    )
    # Where the smoothed line is at the chosen rate, between two points.
    at_choice = float(np.interp(math.log(chosen), np.log(rates), smoothed))
    for row, (rate, loss, colour, label) in enumerate(
        (
            (max(chosen, float(rates[0])), at_choice, CHOSEN, f"chosen: {chosen:g}"),
            (best, bottom, BEST, f"lowest at {best:.2g}"),
        )
    ):
        pen.line((x(rate), ceiling, x(rate), floor), fill=colour, width=2 * FINE)
        radius = 6 * FINE
        pen.ellipse((x(rate) - radius, y(loss) - radius, x(rate) + radius, y(loss) + radius), fill=colour)
        # Each on a line of its own, or they may cover each other.
        right = x(rate) > page.width * 0.75
        corner = x(rate) + (-8 if right else 8) * FINE, ceiling + (6 + 24 * row) * FINE
        text(corner, label, "rt" if right else "lt", 16, colour)
    pen.line((x(rates[0]), ceiling, x(rates[0]), floor, x(rates[-1]), floor), fill=INK, width=FINE)
    text((LEFT * FINE, 22 * FINE), "Learning-rate range test: loss of single batches and smoothed", "lm", 19)
    text(((LEFT + WIDTH - RIGHT) / 2 * FINE, (HEIGHT - 20) * FINE), "learning rate (logarithmic)", "mm")
    text((LEFT * FINE, (TOP - 12) * FINE), "loss", "rm")
    return np.asarray(page.resize((WIDTH, HEIGHT), Image.Resampling.BOX), np.uint8)


def _round_numbers(low: float, high: float) -> list[float]:
    """About five numbers such as 0.2, 0.4, 0.6 between two ends."""
    rough = (high - low) / 5
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * many for many in (1, 2, 5, 10) if unit * many >= rough)
    return [round(number * step, 12) for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size * FINE)
