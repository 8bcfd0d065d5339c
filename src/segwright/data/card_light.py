"""What light and the phone do to a scene: sun and shadow, exposure, tint, blur, noise, sharpening.

Light comes first and knows where the cards are (they shine); the lens only sees pixels.
"""

from __future__ import annotations

import cv2
import numpy as np

from segwright.data.card_paint import (
    Cover,
    Field,
    Picture,
    Points,
    blob,
    chance,
    fill,
    fractal,
    log_uniform,
    noise,
    pick,
)

COARSE = 8
"""Soft light is computed on a picture this many times smaller."""


def light_scene(rng: np.random.Generator, picture: Picture, cards: Cover, *, even: bool = False) -> Picture:
    """Light, shade and expose a scene.

    Args:
        rng: where all choices come from.
        picture: (H, W, 3) uint8 RGB, evenly lit.
        cards: (H, W) uint8, where light may glare.
        even: no sun, no glare, and an exposure by the mean.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    gain = _soft_light(rng, cards.shape)
    hard = None if even else _hard_light(rng, cards.shape)
    sun_colour, shade_colour = _light_colours(rng)
    if hard is None:
        light = cv2.merge([gain * channel for channel in sun_colour])
    else:
        light = cv2.merge(
            [gain * (shade + hard * (sun - shade)) for sun, shade in zip(sun_colour, shade_colour, strict=True)]
        )
    exposed: Field = np.asarray(cv2.multiply(picture, light, dtype=cv2.CV_32F), np.float32)
    exposed *= np.float32(_exposure(rng, exposed, cards, even=even))
    if even:
        return _develop(rng, exposed)
    if chance(rng, 0.3):
        _glare(rng, exposed, cards)
    if chance(rng, 0.2):
        _bloom(rng, exposed)
    return _develop(rng, exposed)


def _soft_light(rng: np.random.Generator, size_hw: tuple[int, int]) -> Field:
    """Lamps, the corner of a room, the vignette of the lens: about 0.3..1.2, smooth."""
    height, width = max(2, size_hw[0] // COARSE), max(2, size_hw[1] // COARSE)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x, y = x / width - 0.5, y / height - 0.5
    angle = rng.uniform(0, 2 * np.pi)
    slope = rng.uniform(0, 0.9) ** 1.5
    light = 1 + slope * (np.cos(angle) * x + np.sin(angle) * y)
    if chance(rng, 0.35):
        centre, reach = rng.uniform(-0.6, 0.6, 2), rng.uniform(0.25, 0.8)
        lamp = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * reach**2))
        low = rng.uniform(0.25, 0.8)
        light = light * (low + (1.1 - low) * lamp)
    if chance(rng, 0.5):
        cell = max(height, width) * rng.uniform(0.3, 1.0)
        light = light * (1 + rng.uniform(0.05, 0.4) * (noise(rng, (height, width), (cell, cell)) - 0.5))
    if chance(rng, 0.5):
        light = light * (1 - rng.uniform(0.1, 0.9) * (x * x + y * y))
    smooth = cv2.resize(light.astype(np.float32), (size_hw[1], size_hw[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(smooth, np.float32)


def _hard_light(rng: np.random.Generator, size_hw: tuple[int, int]) -> Field | None:
    """Where direct light falls, 1, and where something unseen stands in its way, 0; None without direct light."""
    height, width = size_hw
    side = max(height, width)
    kind = rng.random()
    if kind < 0.46:
        return None
    sun = np.zeros(size_hw, np.uint8)
    if kind < 0.60:
        for pane in _window(rng, size_hw):
            fill(sun, pane, 255)
    else:
        sun[:] = 255
        for _ in range(int(rng.integers(1, 4))):
            fill(sun, _shadow_shape(rng, size_hw), 0)
        if chance(rng, 0.12):
            leaves = fractal(rng, size_hw, (side * 0.1, side * 0.1), octaves=3)
            sun[leaves > rng.uniform(0.45, 0.7)] = 0
    blur_px = log_uniform(rng, 0.6, 14) * side / 640 if chance(rng, 0.75) else side * rng.uniform(0.02, 0.08)
    box = 2 * max(1, round(blur_px * 0.8)) + 1
    soft = cv2.blur(cv2.blur(sun, (box, box)), (box, box)) if blur_px > 0.8 else sun
    return np.asarray(soft, np.float32) / np.float32(255)


def _window(rng: np.random.Generator, size_hw: tuple[int, int]) -> list[Points]:
    """The panes of a window as slanted parallelograms."""
    height, width = size_hw
    side = max(size_hw)
    angle, lean = rng.uniform(0, np.pi), rng.normal(0, 0.4)
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-np.sin(angle + lean), np.cos(angle + lean)])
    pane = rng.uniform(0.1, 0.7, 2) * side
    gap = rng.uniform(0.01, 0.08) * side
    start = rng.uniform(-0.2, 0.5, 2) * np.array([width, height])
    blinds = chance(rng, 0.2)
    rows, columns = (int(rng.integers(5, 14)), 1) if blinds else (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
    if blinds:
        pane = np.array([side, rng.uniform(0.02, 0.06) * side])
        gap = pane[1] * rng.uniform(0.4, 1.2)
    panes = []
    for row in range(rows):
        for column in range(columns):
            corner = start + along * column * (pane[0] + gap) + across * row * (pane[1] + gap)
            quad = [
                corner,
                corner + along * pane[0],
                corner + along * pane[0] + across * pane[1],
                corner + across * pane[1],
            ]
            panes.append(np.array(quad, np.float32))
    return panes


def _shadow_shape(rng: np.random.Generator, size_hw: tuple[int, int]) -> Points:
    """The outline of a shadow: a straight edge, a head, an arm, or some thing."""
    height, width = size_hw
    side = max(size_hw)
    centre = (rng.uniform(0, width), rng.uniform(0, height))
    kind = int(rng.integers(3))
    if kind == 0:
        angle = rng.uniform(0, 2 * np.pi)
        along, deep = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
        reach = 2 * side if chance(rng, 0.5) else side * rng.uniform(0.05, 0.35)
        start = np.array(centre)
        quad = [start - along * 2 * side, start + along * 2 * side]
        return np.array([*quad, quad[1] + deep * reach, quad[0] + deep * reach], np.float32)
    if kind == 1:
        return blob(rng, centre, side * rng.uniform(0.1, 0.4), rough=0.15, count=24)
    return blob(rng, centre, side * rng.uniform(0.1, 0.5), rough=0.6, count=int(rng.integers(4, 9)))


def _light_colours(rng: np.random.Generator) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Tint of direct light and of shade, RGB gains; shade is darker and bluer."""
    warmth = rng.normal(0.0, 0.1)
    green = rng.normal(0.0, 0.03)
    sun = (1 + warmth, 1 + green, 1 - warmth)
    dark = rng.uniform(0.18, 0.7)
    cool = rng.uniform(-0.02, 0.1)
    return sun, (sun[0] * dark * (1 - cool), sun[1] * dark, sun[2] * dark * (1 + cool))


def _exposure(rng: np.random.Generator, exposed: Field, cards: Cover, *, even: bool) -> float:
    """A gain as a phone would choose it: by the mean, by the brightest things, or badly."""
    mean = float(exposed[::8, ::8].mean())
    kind = 0.0 if even else rng.random()
    if kind < 0.6:
        target = rng.uniform(110 if even else 85, 150)
    elif kind < 0.75:
        target = rng.uniform(135, 185)
    elif kind < 0.83:
        target = rng.uniform(40, 85)
    else:
        return float(2 ** rng.uniform(-0.2, 0.8))
    lit = exposed[::8, ::8][cards[::8, ::8] > 127]
    # No camera multiplies a dark table so far that the whole card burns out completely.
    ceiling = log_uniform(rng, 230, 420) / max(20.0, float(lit.mean())) if lit.size else 6.0
    return float(np.clip(target / max(mean, 6.0), 0.35, max(0.5, min(3.5, ceiling))))


def _glare(rng: np.random.Generator, exposed: Field, cards: Cover) -> None:
    """A lamp or a window mirrored in varnish: a soft spot or streak, strongest on the cards."""
    height, width = cards.shape
    small = (max(2, height // COARSE), max(2, width // COARSE))
    y, x = np.mgrid[: small[0], : small[1]].astype(np.float32)
    places = np.argwhere(cards[::COARSE, ::COARSE] > 127)
    centre = places[int(rng.integers(len(places)))] if len(places) and chance(rng, 0.75) else rng.uniform(0, small)
    angle = rng.uniform(0, np.pi)
    across = (x - centre[1]) * np.cos(angle) + (y - centre[0]) * np.sin(angle)
    along = (y - centre[0]) * np.cos(angle) - (x - centre[1]) * np.sin(angle)
    width_cells, length_cells = rng.uniform(0.02, 0.15) * max(small), rng.uniform(0.05, 0.6) * max(small)
    spot = np.exp(-((across / width_cells) ** 2) - (along / length_cells) ** 2).astype(np.float32)
    spot = np.asarray(cv2.resize(spot, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    elsewhere = rng.uniform(0.0, 0.6)
    spot *= (elsewhere + (1 - elsewhere) / 255 * cards.astype(np.float32)) * rng.uniform(30, 220)
    exposed += spot[..., None]


def _bloom(rng: np.random.Generator, exposed: Field) -> None:
    """Bright things bleed a little."""
    height, width = exposed.shape[:2]
    small = cv2.resize(exposed, (max(1, width // 4), max(1, height // 4)), interpolation=cv2.INTER_AREA)
    small = cv2.blur(np.maximum(small - 190, 0), (2 * max(1, width // 80) + 1,) * 2)
    exposed += rng.uniform(0.2, 0.8) * cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def _develop(rng: np.random.Generator, exposed: Field) -> Picture:
    """Saturation by a colour matrix, contrast by a curve."""
    saturation = rng.uniform(0.5, 1.35)
    grey = np.array([0.299, 0.587, 0.114])
    matrix = saturation * np.eye(3) + (1 - saturation) * np.tile(grey, (3, 1))
    if chance(rng, 0.015):
        matrix = np.tile(grey, (3, 1))
    mixed = np.asarray(cv2.transform(np.minimum(exposed, 400), matrix.astype(np.float32)), np.float32)
    plain = np.asarray(np.clip(mixed, 0, 255), np.uint8)
    level = np.linspace(0, 1, 256)
    level = level ** log_uniform(rng, 0.75, 1.35)
    strength = rng.uniform(-0.15, 0.6)
    level = (1 - strength) * level + strength * level * level * (3 - 2 * level)
    black, white = rng.uniform(0, 0.07), rng.uniform(0.92, 1.0)
    curve = np.round(255 * (black + level * (white - black)) if chance(rng, 0.4) else 255 * level)
    return np.asarray(cv2.LUT(plain, np.clip(curve, 0, 255).astype(np.uint8)), np.uint8)


# --- lens and sensor --------------------------------------------------------------------------------------------


def photograph(rng: np.random.Generator, picture: Picture) -> Picture:
    """Blur, lost resolution, noise and sharpening, as phones add them; (H, W, 3) uint8 RGB in and out."""
    unit = max(picture.shape[:2]) / 640
    if chance(rng, 0.45):
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), log_uniform(rng, 0.35, 1.5) * unit), np.uint8)
    if chance(rng, 0.12):
        picture = _moved(rng, picture, rng.uniform(3, 13) * unit)
    if chance(rng, 0.25):
        picture = _coarser(rng, picture)
    if chance(rng, 0.75):
        picture = _noisy(rng, picture)
    if chance(rng, 0.5):
        picture = _sharpened(rng, picture, unit)
    return picture


def _moved(rng: np.random.Generator, picture: Picture, length_px: float) -> Picture:
    """Motion blur along a line."""
    side = 2 * max(1, round(length_px / 2)) + 1
    kernel = np.zeros((side, side), np.float32)
    angle, middle = rng.uniform(0, np.pi), side // 2
    reach = (round(middle * np.cos(angle)), round(middle * np.sin(angle)))
    cv2.line(kernel, (middle - reach[0], middle - reach[1]), (middle + reach[0], middle + reach[1]), (1.0,))
    return np.asarray(cv2.filter2D(picture, -1, kernel / kernel.sum()), np.uint8)


def _coarser(rng: np.random.Generator, picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    scale = rng.uniform(0.35, 0.85)
    small_wh = (max(8, round(width * scale)), max(8, round(height * scale)))
    small = cv2.resize(picture, small_wh, interpolation=pick(rng, (cv2.INTER_AREA, cv2.INTER_LINEAR)))
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def _noisy(rng: np.random.Generator, picture: Picture) -> Picture:
    """Grain that grows with the square root of the light, fine or blotchy, grey or coloured."""
    height, width = picture.shape[:2]
    steps = log_uniform(rng, 1.0, 14.0)
    blotchy = chance(rng, 0.4)
    shape = (height // 2 + 1, width // 2 + 1, 3) if blotchy else (height, width, 3)
    grain = np.frombuffer(rng.bytes(shape[0] * shape[1] * 3), np.uint8).reshape(shape)
    if blotchy:
        grain = np.asarray(cv2.resize(grain, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    if chance(rng, 0.4):
        grain = np.asarray(cv2.cvtColor(cv2.extractChannel(grain, 0), cv2.COLOR_GRAY2RGB), np.uint8)
    level = np.sqrt(np.arange(256) / 255)
    table = np.clip(0.35 + 0.65 * level, 0, 1).astype(np.float32)
    gain = cv2.LUT(picture, table)
    centred = cv2.multiply(grain.astype(np.float32) - 127.5, gain, scale=steps / 74)
    return np.asarray(cv2.add(picture, centred, dtype=cv2.CV_8U), np.uint8)


def _sharpened(rng: np.random.Generator, picture: Picture, unit: float) -> Picture:
    """Unsharp masking, halos included."""
    amount, sigma = rng.uniform(0.3, 1.6), rng.uniform(0.6, 1.8) * unit
    soft = cv2.GaussianBlur(picture, (0, 0), sigma)
    return np.asarray(cv2.addWeighted(picture, 1 + amount, soft, -amount, 0), np.uint8)
