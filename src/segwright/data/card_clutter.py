"""Things that are not cards: books, phones, paper, cups, cables, hands. Each is a `Sprite` of its real size.

None has the size, the proportions and the round white look of a card at once: telling them apart must stay honest.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from segwright.data.card_backgrounds import photo_like, scaled
from segwright.data.card_faces import skin_tone, words_of
from segwright.data.card_paint import (
    Colour,
    Cover,
    Picture,
    Points,
    Sprite,
    any_colour,
    blob,
    chance,
    ellipse_points,
    fill,
    flat,
    fractal,
    near,
    outline,
    pick,
    rounded,
    tinted,
    write,
    write_lines,
)

MOST_SPRITE_PX = 520
"""No distractor is painted larger than this; the camera enlarges it."""


def draw_thing(rng: np.random.Generator, pixels_per_mm: float) -> Sprite:
    """A random object.

    Args:
        rng: where all choices come from.
        pixels_per_mm: how large it will appear.
    """
    shares = np.array([share for share, _, _ in THINGS])
    _, size_of, maker = THINGS[int(rng.choice(len(THINGS), p=shares / shares.sum()))]
    height, width = size_of
    grow = rng.uniform(0.85, 1.2)
    size_mm = (height * grow * rng.uniform(0.93, 1.07), width * grow)
    k = float(np.clip(pixels_per_mm, 40 / max(size_mm), MOST_SPRITE_PX / max(size_mm)))
    return maker(rng, size_mm, k)


def _canvas(size_mm: tuple[float, float], k: float, colour: Colour) -> Picture:
    return flat((max(4, round(size_mm[0] * k)), max(4, round(size_mm[1] * k))), colour)


def _cut(colour: Picture, size_mm: tuple[float, float], *, radius_px: float = 0.0, thick_mm: float = 0.5) -> Sprite:
    return Sprite(colour=colour, cover=rounded((colour.shape[0], colour.shape[1]), radius_px), size_mm=size_mm, thick_mm=thick_mm)


def _book(rng: np.random.Generator, size_mm: tuple[float, float], k: float) -> Sprite:
    canvas = _canvas(size_mm, k, any_colour(rng))
    height, width = canvas.shape[:2]
    if chance(rng, 0.6):
        top, bottom = sorted(int(place) for place in rng.uniform(0, height, 2))
        if bottom - top > 4:
            canvas[top:bottom] = photo_like(rng, (bottom - top, width))
    for _ in range(int(rng.integers(1, 4))):
        place = (rng.uniform(0.05, 0.3) * width, rng.uniform(0.05, 0.85) * height)
        write(canvas, words_of(rng), place, rng.uniform(0.05, 0.14) * height, any_colour(rng), bold=chance(rng, 0.5))
    if chance(rng, 0.5):
        spine = max(1, round(width * rng.uniform(0.02, 0.08)))
        canvas[:, :spine] = (canvas[:, :spine] * 0.6).astype(np.uint8)
    return _cut(canvas, size_mm, thick_mm=rng.uniform(5, 35))


def _paper(rng: np.random.Generator, size_mm: tuple[float, float], k: float) -> Sprite:
    canvas = _canvas(size_mm, k, near(rng, pick(rng, ((248, 248, 246), (240, 236, 225), (225, 230, 240))), 5))
    height, width = canvas.shape[:2]
    margin = 0.1 * width
    for top in np.arange(margin, height - margin, height * 0.22):
        if top < height * 0.3 or chance(rng, 0.65):
            box = (margin, float(top), width - margin, float(top) + height * rng.uniform(0.05, 0.2))
            write_lines(rng, canvas, box, max(3.0, rng.uniform(4, 12) * k), near(rng, (50, 50, 60), 25))
    creases = fractal(rng, (height, width), (height * 0.5, width * 0.5), octaves=3)
    return _cut(tinted(canvas, 1 - rng.uniform(0.02, 0.25) * creases), size_mm, thick_mm=rng.uniform(0.2, 2))


def _envelope(rng: np.random.Generator, size_mm: tuple[float, float], k: float) -> Sprite:
    canvas = _canvas(size_mm, k, near(rng, pick(rng, ((245, 245, 243), (215, 185, 140), (235, 230, 215))), 6))
    height, width = canvas.shape[:2]
    if chance(rng, 0.5):
        canvas[round(height * 0.45) : round(height * 0.8), round(width * 0.1) : round(width * 0.5)] = near(rng, (215, 220, 225), 8)
    write_lines(rng, canvas, (width * 0.12, height * 0.5, width * 0.48, height * 0.8), 6 * k, (50, 50, 60))
    write_lines(rng, canvas, (width * 0.04, height * 0.05, width * 0.3, height * 0.25), 5 * k, any_colour(rng))
    if chance(rng, 0.6):
        y0, x0 = round(height * 0.07), round(width * 0.86)
        stamp = canvas[y0 : y0 + round(height * 0.25), x0 : round(width * 0.97)]
        stamp[:] = photo_like(rng, (stamp.shape[0], stamp.shape[1]))
    if chance(rng, 0.3):
        flap = np.array([[0, 0], [width / 2, height * 0.55], [width, 0]], np.float32)
        outline(canvas, flap, (170, 165, 155), max(1, 0.6 * k), closed=False)
    return _cut(canvas, size_mm, thick_mm=rng.uniform(0.5, 3))


def _note(rng: np.random.Generator, size_mm: tuple[float, float], k: float) -> Sprite:
    inks: tuple[Colour, ...] = ((250, 235, 120), (250, 150, 180), (150, 225, 150), (150, 205, 245), (250, 180, 90))
    canvas = _canvas(size_mm, k, near(rng, pick(rng, inks), 8))
    if chance(rng, 0.6):
        height, width = canvas.shape[:2]
        write_lines(rng, canvas, (width * 0.1, height * 0.1, width * 0.9, height * 0.8), 11 * k, (40, 40, 90))
    return _cut(canvas, size_mm, thick_mm=rng.uniform(0.5, 6))


def _phone(rng: np.random.Generator, size_mm: tuple[float, float], k: float) -> Sprite:
    canvas = _canvas(size_mm, k, near(rng, pick(rng, ((18, 18, 20), (40, 42, 48), (200, 200, 205))), 6))
    height, width = canvas.shape[:2]
    edge = max(1, round(min(height, width) * rng.uniform(0.02, 0.07)))
    screen = canvas[edge * 2 : height - edge * 2, edge : width - edge]
    if chance(rng, 0.45) and min(screen.shape[:2]) > 6:
        screen[:] = photo_like(rng, (screen.shape[0], screen.shape[1]))
        for _ in range(int(rng.integers(0, 12))):
            y, x = int(rng.integers(screen.shape[0])), int(rng.integers(screen.shape[1]))
            screen[y : y + edge * 2, x : x + edge * 4] = any_colour(rng)
    else:
        screen[:] = near(rng, (22, 24, 28), 8)
        shine = np.array([[width * 0.3, 0], [width * 0.8, 0], [width * 0.4, height], [0, height]], np.float32)
        fill(screen, shine, near(rng, (55, 58, 64), 12))
    return _cut(canvas, size_mm, radius_px=rng.uniform(3, 11) * k, thick_mm=rng.uniform(4, 12))


def _laptop(rng: np.random.Generator, size_mm: tuple[float, float], k: float) -> Sprite:
    body = near(rng, pick(rng, ((30, 30, 33), (60, 62, 66), (190, 190, 195))), 8)
    canvas = _canvas(size_mm, k, body)
    height, width = canvas.shape[:2]
    rows, columns = int(rng.integers(4, 7)), int(rng.integers(10, 16))
    bottom = 0.95 if size_mm[0] < 170 else 0.58
    keycap = near(rng, pick(rng, ((20, 20, 22), (235, 235, 235), scaled(body, 0.7))), 5)
    ys, xs = np.linspace(height * 0.05, height * bottom, rows + 1), np.linspace(width * 0.04, width * 0.96, columns + 1)
    for top, low in zip(ys[:-1], ys[1:], strict=True):
        for left, right in zip(xs[:-1], xs[1:], strict=True):
            canvas[round(top) : max(round(top) + 1, round(low - 0.2 * (low - top))),
                   round(left) : max(round(left) + 1, round(right - 0.15 * (right - left)))] = keycap  # fmt: skip
    if bottom < 0.9:
        pad = canvas[round(height * 0.65) : round(height * 0.95), round(width * 0.35) : round(width * 0.65)]
        pad[:] = scaled(body, 1.25)
    return _cut(canvas, size_mm, radius_px=5 * k, thick_mm=rng.uniform(8, 20))


def _lid(rng: np.random.Generator, size_mm: tuple[float, float], k: float) -> Sprite:
    """A closed laptop, a tray, a folder, a bag: a large plain thing."""
    canvas = _canvas(size_mm, k, any_colour(rng, value=(0.03, 0.95), vivid=0.6))
    height, width = canvas.shape[:2]
    canvas = tinted(canvas, 0.8 + 0.4 * fractal(rng, (height, width), (height * 0.6, width * 0.6), octaves=3))
    if chance(rng, 0.4):
        write(canvas, words_of(rng), (width * 0.4, height * 0.8), height * 0.06, any_colour(rng))
    return _cut(canvas, size_mm, radius_px=rng.uniform(0, 25) * k, thick_mm=rng.uniform(2, 30))


def _round_thing(rng: np.random.Generator, size_mm: tuple[float, float], k: float) -> Sprite:
    """A plate, a cup from above, a bowl, a coin, a lid."""
    canvas = _canvas(size_mm, k, (0, 0, 0))
    height, width = canvas.shape[:2]
    centre, radii = (width / 2, height / 2), (width / 2 - 1, height / 2 - 1)
    body = any_colour(rng, value=(0.15, 1.0)) if chance(rng, 0.5) else near(rng, (235, 235, 232), 10)
    canvas[:] = body
    for share in np.sort(rng.uniform(0.3, 0.97, int(rng.integers(1, 4))))[::-1]:
        tone = near(rng, body, 30) if chance(rng, 0.6) else any_colour(rng)
        fill(canvas, ellipse_points(centre, (radii[0] * share, radii[1] * share), count=48), tone)
    cover = np.zeros((height, width), np.uint8)
    fill(cover, ellipse_points(centre, radii, count=64), 255)
    shine = fractal(rng, (height, width), (height * 0.7, width * 0.7), octaves=2)
    return Sprite(colour=tinted(canvas, 0.75 + 0.5 * shine), cover=cover, size_mm=size_mm, thick_mm=rng.uniform(2, 40))


def _stick(rng: np.random.Generator, size_mm: tuple[float, float], k: float) -> Sprite:
    """A pen, a knife, a ruler, a remote control: long and narrow, with parts along it."""
    body = any_colour(rng, value=(0.03, 1.0), vivid=0.9)
    canvas = _canvas(size_mm, k, body)
    height, width = canvas.shape[:2]
    for _ in range(int(rng.integers(1, 5))):
        top = int(rng.integers(height))
        canvas[top : top + int(rng.integers(1, max(2, height // 4)))] = any_colour(rng, vivid=0.9)
    if width > 12 and chance(rng, 0.6):
        for y in np.arange(height * 0.1, height * 0.9, width * 0.35):
            for x in (0.25, 0.5, 0.75):
                fill(canvas, ellipse_points((width * x, float(y)), (width * 0.08, width * 0.08), count=10), near(rng, (120, 120, 125), 40))
    across = 1 - np.abs(np.linspace(-1, 1, width, dtype=np.float32)) ** 2 * 0.6
    shade = np.repeat((across + 0.1)[None], height, axis=0).astype(np.float32)
    return _cut(tinted(canvas, shade), size_mm, radius_px=width * rng.uniform(0, 0.5), thick_mm=rng.uniform(2, 18))


def _box(rng: np.random.Generator, size_mm: tuple[float, float], k: float) -> Sprite:
    """A carton or a package, with print and a lit edge."""
    sprite = _book(rng, size_mm, k)
    edge = max(1, round(sprite.cover.shape[1] * rng.uniform(0.03, 0.12)))
    colour = sprite.colour.copy()
    colour[:, -edge:] = scaled(any_colour(rng), 0.5)
    return Sprite(colour=colour, cover=sprite.cover, size_mm=size_mm, thick_mm=rng.uniform(15, 80))


def _lump(rng: np.random.Generator, size_mm: tuple[float, float], k: float) -> Sprite:
    """A bag, a cloth, a shoe, a cat: an irregular soft thing."""
    canvas = _canvas(size_mm, k, any_colour(rng, value=(0.05, 1.0), vivid=0.6))
    height, width = canvas.shape[:2]
    cell = height * rng.uniform(0.1, 0.6)
    canvas = tinted(canvas, 0.45 + 0.9 * fractal(rng, (height, width), (cell, cell * rng.uniform(0.5, 2)), octaves=4))
    for _ in range(int(rng.integers(0, 4))):
        seam = rng.uniform(0, 1, (4, 2)) * np.array([width, height])
        outline(canvas, seam.astype(np.float32), any_colour(rng), max(1, rng.uniform(1, 10) * k), closed=False)
    cover = np.zeros((height, width), np.uint8)
    shape = blob(rng, (width / 2, height / 2), 1.0, rough=0.3, count=int(rng.integers(7, 16))) - np.array([width / 2, height / 2])
    shape = shape * np.array([width, height]) / 2.6 + np.array([width / 2, height / 2])
    fill(cover, shape.astype(np.float32), 255)
    side = 2 * (max(height, width) // 16) + 1
    cover = np.where(cv2.blur(cover, (side, side)) > 127, 255, 0).astype(np.uint8)
    return Sprite(colour=canvas, cover=cover, size_mm=size_mm, thick_mm=rng.uniform(10, 60))


Maker = Callable[[np.random.Generator, tuple[float, float], float], Sprite]

THINGS: tuple[tuple[float, tuple[float, float], Maker], ...] = (
    (0.12, (200, 135), _book),
    (0.05, (270, 200), _book),
    (0.09, (297, 210), _paper),
    (0.04, (210, 148), _paper),
    (0.03, (150, 70), _paper),
    (0.07, (105, 225), _envelope),
    (0.04, (76, 76), _note),
    (0.07, (150, 72), _phone),
    (0.03, (250, 170), _phone),
    (0.05, (140, 430), _laptop),
    (0.05, (230, 330), _laptop),
    (0.06, (240, 340), _lid),
    (0.06, (90, 90), _round_thing),
    (0.05, (240, 240), _round_thing),
    (0.04, (24, 24), _round_thing),
    (0.05, (145, 11), _stick),
    (0.04, (180, 48), _stick),
    (0.02, (310, 35), _stick),
    (0.03, (200, 22), _stick),
    (0.05, (120, 190), _box),
    (0.03, (60, 120), _box),
    (0.08, (260, 200), _lump),
    (0.04, (110, 65), _lump),
)
"""Share, height and width in mm, and maker of each kind of object."""


# --- things drawn straight into the picture ---------------------------------------------------------------------


def draw_cable(rng: np.random.Generator, size_hw: tuple[int, int], pixels_per_mm: float) -> tuple[Picture, Cover]:
    """A cable, cord or strap that wanders across the picture; colour (H, W, 3) and cover (H, W)."""
    height, width = size_hw
    wide_px = float(np.clip(rng.uniform(2, 7) * pixels_per_mm, 1.5, 0.03 * max(size_hw)))
    knots = rng.uniform(-0.15, 1.15, (4, 2)) * np.array([width, height])
    t = np.linspace(0, 1, 40)[:, None]
    weights = np.concatenate([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3], axis=1)
    line = (weights @ knots).astype(np.float32)
    ink = any_colour(rng, value=(0.03, 0.25), vivid=0.3) if chance(rng, 0.65) else any_colour(rng)
    colour, cover = flat(size_hw, ink), np.zeros((height, width, 1), np.uint8)
    outline(cover, line, (255, 255, 255), wide_px, closed=False)
    outline(colour, line - np.array([wide_px, wide_px], np.float32) * 0.2, near(rng, scaled(ink, 1.6), 10), wide_px * 0.3, closed=False)
    return colour, cover[..., 0]


def draw_finger(
    rng: np.random.Generator,
    size_hw: tuple[int, int],
    tip_xy: tuple[float, float],
    root_xy: tuple[float, float],
    width_px: float,
    skin: Colour,
    *,
    nail: bool = True,
) -> tuple[Picture, Cover]:
    """A finger from its root to its tip, rounded by shading, with a nail most of the time.

    Returns:
        Colour (H, W, 3) uint8 RGB and cover (H, W) uint8, both of the whole picture.
    """
    height, width = size_hw
    tip, root = np.array(tip_xy), np.array(root_xy)
    along = (tip - root) / max(1.0, float(np.hypot(*(tip - root))))
    across = np.array([-along[1], along[0]])
    cover = np.zeros((height, width), np.uint8)
    knuckle = root + (tip - root) * rng.uniform(0.45, 0.65) + across * width_px * rng.normal(0, 0.12)
    spine = [(root, 1.3), (knuckle, 1.08), (root + (tip - root) * 0.85, 0.95), (tip, 0.8)]
    left: list[Points] = [point - across * width_px / 2 * share for point, share in spine]
    right: list[Points] = [point + across * width_px / 2 * share for point, share in spine]
    fill(cover, np.array([*left, *right[::-1]], np.float32), 255)
    fill(cover, ellipse_points((float(tip[0]), float(tip[1])), (width_px * 0.4, width_px * 0.4)), 255)
    x0, y0, wide, tall = cv2.boundingRect(cover)
    colour = flat(size_hw, skin)
    if not wide or not tall:
        return colour, cover
    inside = cover[y0 : y0 + tall, x0 : x0 + wide]
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 3) / max(1.0, width_px / 2)
    bulge = np.sqrt(np.clip(1 - (1 - np.clip(depth, 0, 1)) ** 2, 0, 1))
    part = tinted(np.ascontiguousarray(colour[y0 : y0 + tall, x0 : x0 + wide]), (0.55 + 0.5 * bulge).astype(np.float32))
    middle = tip - along * width_px * 0.05 - np.array([x0, y0])
    if nail and chance(rng, 0.7):
        turn = np.stack([across * width_px * 0.28, along * width_px * 0.36])
        oval = (ellipse_points((0, 0), (1, 1)) @ turn + middle).astype(np.float32)
        fill(part, oval, near(rng, tuple(min(255, part + 22) for part in skin), 6))  # type: ignore[arg-type]
    colour[y0 : y0 + tall, x0 : x0 + wide] = part
    return colour, cover


__all__ = ["draw_cable", "draw_finger", "draw_thing", "skin_tone"]
