"""What the cards lie on: carpets, wood, tiles, cloth, stone, printed pages, and pictures made of torn shapes.

Every surface is a function `(rng, size_hw, unit) -> picture`; `unit` is 1 for a picture whose long side is 640 pixels,
so that fibres and grain keep their share of the picture. `draw_background` chooses, tilts and combines them.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from segwright.data.card_paint import (
    Colour,
    Field,
    Picture,
    any_colour,
    blob,
    chance,
    fill,
    flat,
    fractal,
    hsv,
    log_uniform,
    near,
    noise,
    outline,
    paint,
    pick,
    ramp,
    stretch,
    tinted,
    write_lines,
)

Surface = Callable[[np.random.Generator, tuple[int, int], float], Picture]

WOODS: tuple[tuple[Colour, Colour, Colour], ...] = (
    ((38, 22, 14), (92, 56, 34), (150, 104, 70)),
    ((45, 20, 12), (100, 45, 28), (140, 75, 45)),
    ((30, 22, 18), (88, 66, 50), (190, 172, 150)),
    ((120, 84, 50), (180, 136, 90), (222, 186, 140)),
    ((150, 120, 85), (205, 175, 135), (235, 215, 180)),
    ((60, 55, 50), (125, 115, 105), (185, 178, 168)),
    ((22, 18, 16), (45, 36, 30), (78, 62, 50)),
)
"""Dark, middle and light tone."""

CARPETS: tuple[Colour, ...] = (
    (150, 128, 96), (165, 150, 125), (120, 105, 85), (135, 130, 125), (90, 88, 90), (60, 45, 40), (110, 40, 40),
    (50, 60, 90), (185, 175, 160), (100, 85, 60),
)  # fmt: skip


def draw_background(rng: np.random.Generator, size_hw: tuple[int, int], *, tilt: float, plain: bool = False) -> Picture:
    """A procedural background.

    Args:
        rng: where all choices come from.
        size_hw: height and width of the picture.
        tilt: 0 when seen from straight above, 1 when the camera looks far along the surface.
        plain: one surface only, nothing torn, printed or made of keys, and no edge between two.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    unit = max(size_hw) / 640
    kind = 1.0 if plain else rng.random()
    if kind < 0.08:
        return _torn_shapes(rng, size_hw, unit)
    surfaces = SURFACES[:PRINTED_FROM] if plain else SURFACES
    ground = _seen_from(rng, _surface(rng, size_hw, unit, surfaces), size_hw, tilt)
    if kind < 0.34:
        other = _surface(rng, size_hw, unit, surfaces)
        ground = _joined(rng, ground, _seen_from(rng, other, size_hw, tilt), unit)
    return ground


def background_from_picture(rng: np.random.Generator, picture: Picture, size_hw: tuple[int, int]) -> Picture:
    """A random part of the user's picture, mirrored or not, in the size asked for."""
    height, width = picture.shape[:2]
    aspect = size_hw[1] / size_hw[0] * log_uniform(rng, 0.85, 1.18)
    part = rng.uniform(0.45, 1.0)
    crop_h = max(2, int(part * min(height, width / aspect)))
    crop_w = max(2, min(width, int(crop_h * aspect)))
    y, x = int(rng.integers(height - crop_h + 1)), int(rng.integers(width - crop_w + 1))
    crop = picture[y : y + crop_h, x : x + crop_w]
    how = cv2.INTER_AREA if crop_h > size_hw[0] else cv2.INTER_LINEAR
    placed = np.asarray(cv2.resize(crop, (size_hw[1], size_hw[0]), interpolation=how), np.uint8)
    if chance(rng, 0.5):
        placed = placed[:, ::-1]
    if chance(rng, 0.15):
        placed = placed[::-1]
    return np.ascontiguousarray(placed)


def _surface(
    rng: np.random.Generator, size_hw: tuple[int, int], unit: float, surfaces: tuple[tuple[float, Surface], ...]
) -> Picture:
    """One of the surfaces, at its own scale."""
    shares = np.array([share for share, _ in surfaces])
    surface = surfaces[int(rng.choice(len(surfaces), p=shares / shares.sum()))][1]
    return surface(rng, size_hw, unit * log_uniform(rng, 0.7, 1.5))


def _seen_from(rng: np.random.Generator, texture: Picture, size_hw: tuple[int, int], tilt: float) -> Picture:
    """The texture, turned in its plane and narrowed towards the top as the camera tilts."""
    height, width = size_hw
    angle = rng.uniform(0, 2 * np.pi) if chance(rng, 0.6) else rng.normal(0, 0.1) + pick(rng, (0.0, np.pi / 2))
    zoom = rng.uniform(0.9, 1.5)
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    centre = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1]])
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    lean = np.array([[1, 0, 0], [0, 1 - 0.35 * tilt, 0], [0, -0.9 * tilt / height, 1]])
    back = np.linalg.inv(centre)
    matrix = back @ lean @ turn @ centre
    return np.asarray(
        cv2.warpPerspective(
            texture, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        ),
        np.uint8,
    )


def _joined(rng: np.random.Generator, below: Picture, above: Picture, unit: float) -> Picture:
    """Two surfaces that meet in a straight edge: a table over a floor, a rug on tiles, a wall behind a desk."""
    height, width = below.shape[:2]
    angle = pick(rng, (0.0, np.pi / 2, np.pi, 1.5 * np.pi)) + rng.normal(0, 0.25)
    normal = np.array([np.cos(angle), np.sin(angle)])
    start = np.array([width, height]) * (0.5 + normal * rng.uniform(-0.05, 0.42))
    along = np.array([-normal[1], normal[0]]) * 3 * max(height, width)
    deep = normal * 3 * max(height, width)
    cover = np.zeros((height, width), np.uint8)
    fill(
        cover,
        np.stack([start - along, start + along, start + along + deep, start - along + deep]).astype(np.float32),
        255,
    )
    if chance(rng, 0.6):
        shade = cv2.blur(cover, (2 * round(rng.uniform(3, 20) * unit) + 1,) * 2).astype(np.float32) / 255
        below = tinted(below, (1 - rng.uniform(0.2, 0.7) * shade).astype(np.float32))
    joined = below.copy()
    cv2.copyTo(above, cover, joined)
    if chance(rng, 0.5):
        line = np.stack([start - along, start + along]).astype(np.float32)
        outline(joined, line, any_colour(rng, vivid=0.4), rng.uniform(1, 12) * unit, closed=False)
    return joined


# --- surfaces ---------------------------------------------------------------------------------------------------


def _carpet(rng: np.random.Generator, size_hw: tuple[int, int], unit: float) -> Picture:
    """Loops and fibres, lit from one side."""
    base = near(rng, pick(rng, CARPETS), 18) if chance(rng, 0.8) else any_colour(rng, value=(0.15, 0.8))
    cell = log_uniform(rng, 2.5, 12) * unit
    stretch_x = log_uniform(rng, 0.6, 1.7)
    tufts = noise(rng, size_hw, (cell, cell * stretch_x)) + 0.6 * noise(rng, size_hw, (max(1, cell / 2.5),) * 2)
    step = max(1, round(cell / 3))
    lit = tufts - np.roll(tufts, (step, step // 2), axis=(0, 1))
    pile = 0.5 * tufts + rng.uniform(0.3, 0.9) * lit + rng.uniform(0.1, 0.5) * rng.random(size_hw, dtype=np.float32)
    middle, spread = cv2.meanStdDev(pile)
    pile = np.clip(
        (pile - middle[0, 0]) / (rng.uniform(3.0, 4.5) * spread[0, 0]) + rng.uniform(0.45, 0.6), 0, 1
    ).astype(np.float32)
    tracks = fractal(rng, size_hw, (120 * unit, 160 * unit), octaves=2)
    depth = rng.uniform(0.4, 1.25)
    colours = ramp((near(rng, scaled(base, 1 - 0.75 * depth), 4), base, near(rng, scaled(base, 1 + 0.45 * depth), 6)))
    carpet = paint(pile, colours)
    carpet = tinted(carpet, 0.85 + rng.uniform(0.05, 0.3) * tracks)
    if chance(rng, 0.3):
        spots = noise(rng, size_hw, (3 * unit, 3 * unit)) > rng.uniform(0.75, 0.95)
        carpet[spots] = (carpet[spots] * rng.uniform(0.3, 0.6)).astype(np.uint8)
    return carpet


def _wood(rng: np.random.Generator, size_hw: tuple[int, int], unit: float) -> Picture:
    """Grain with cathedral arches, fibres and, often, planks."""
    _height, _width = size_hw
    dark, middle, light = (near(rng, tone, 8) for tone in pick(rng, WOODS))
    arches = fractal(rng, size_hw, (rng.uniform(30, 110) * unit, rng.uniform(150, 500) * unit), octaves=2)
    lines = np.sin(arches * log_uniform(rng, 15, 110)).astype(np.float32)
    fibres = noise(rng, size_hw, (1.2 * unit, rng.uniform(30, 120) * unit))
    fibres += noise(rng, size_hw, (3 * unit, rng.uniform(50, 200) * unit))
    patches = noise(rng, size_hw, (40 * unit, 150 * unit))
    weights = rng.uniform(0.05, 0.5), rng.uniform(0.15, 0.6), rng.uniform(0.2, 0.8)
    grain = weights[0] * 0.5 * lines + weights[1] * 0.7 * fibres + weights[2] * patches
    contrast = log_uniform(rng, 0.8, 2.6)
    grain = np.clip((stretch(grain) - 0.5) * contrast + rng.uniform(0.35, 0.6), 0, 1).astype(np.float32)
    if chance(rng, 0.45):
        grain = _planks(rng, grain, unit)
    wood = paint(grain, ramp((dark, middle, light)))
    if chance(rng, 0.3):
        wood = tinted(wood, 0.75 + 0.5 * fractal(rng, size_hw, (2 * unit, 12 * unit), octaves=2))
    return wood


def _planks(rng: np.random.Generator, grain: Field, unit: float) -> Field:
    plank_px = max(12, round(rng.uniform(35, 150) * unit))
    rows = []
    for top in range(0, grain.shape[0], plank_px):
        plank = np.roll(grain[top : top + plank_px], int(rng.integers(grain.shape[1])), axis=1)
        plank = np.clip(plank + rng.normal(0, 0.12), 0, 1)
        plank[: max(1, round(unit * rng.uniform(0.8, 3)))] *= rng.uniform(0.0, 0.5)
        rows.append(plank)
    return np.concatenate(rows).astype(np.float32)


def _tiles(rng: np.random.Generator, size_hw: tuple[int, int], unit: float) -> Picture:
    """Stone tiles with grout; small ones make a mosaic."""
    height, width = size_hw
    base = pick(rng, ((205, 180, 145), (225, 215, 200), (150, 145, 140), (235, 235, 232), (120, 80, 60), (70, 75, 80)))
    cell = rng.uniform(20, 120) * unit
    stone = fractal(rng, size_hw, (cell, cell), octaves=5, persistence=0.65)
    tone = near(rng, base, 12)
    depth = rng.uniform(0.1, 0.4)
    tiles = paint(stone, ramp((scaled(tone, 1 - depth), tone, scaled(tone, 1 + depth / 2))))
    side_y = max(8, round(log_uniform(rng, 25, 260) * unit))
    side_x = max(8, round(side_y * pick(rng, (1, 1, 2, 3))))
    count = (height // side_y + 2, width // side_x + 2)
    tone_of = (1 + rng.normal(0, rng.uniform(0.0, 0.1), count)).astype(np.float32)
    gain = cv2.resize(tone_of, (count[1] * side_x, count[0] * side_y), interpolation=cv2.INTER_NEAREST)[:height, :width]
    tiles = tinted(tiles, np.ascontiguousarray(gain))
    grout_px = max(1, round(rng.uniform(1, 9) * unit * min(1, side_y / 60)))
    grout = scaled(tone, pick(rng, (0.45, 0.7, 1.25)))
    rows, columns = np.arange(height) % side_y < grout_px, np.arange(width) % side_x < grout_px
    tiles[rows], tiles[:, columns] = grout, grout
    return tiles


def _cloth(rng: np.random.Generator, size_hw: tuple[int, int], unit: float) -> Picture:
    """Woven threads, plain, striped or plaid, with soft folds."""
    height, width = size_hw
    base = any_colour(rng, value=(0.1, 0.95), vivid=0.8)
    if chance(rng, 0.25):
        base = near(rng, (238, 236, 230), 8)
    cloth = flat(size_hw, base)
    for axis in range(2):
        if chance(rng, 0.35):
            period = max(3, round(log_uniform(rng, 8, 120) * unit))
            band = np.arange(size_hw[axis]) % period < period * rng.uniform(0.15, 0.6)
            ink = np.array(any_colour(rng, vivid=0.9), np.float32)
            lines = cloth[band] if axis == 0 else cloth[:, band]
            mixed = (0.4 * lines + 0.6 * ink).astype(np.uint8)
            if axis == 0:
                cloth[band] = mixed
            else:
                cloth[:, band] = mixed
    pitch = log_uniform(rng, 1.6, 7) * unit
    y, x = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None]
    threads = np.sin(y * (2 * np.pi / pitch)) * np.sin(x * (2 * np.pi / pitch)) * rng.uniform(0.02, 0.3)
    folds = fractal(rng, size_hw, (rng.uniform(60, 260) * unit, rng.uniform(60, 260) * unit), octaves=2) - 0.5
    fuzz = (rng.random(size_hw, dtype=np.float32) - 0.5) * rng.uniform(0.02, 0.25)
    return tinted(cloth, (1 + threads + folds * rng.uniform(0.05, 0.9) + fuzz).astype(np.float32))


def _stone(rng: np.random.Generator, size_hw: tuple[int, int], unit: float) -> Picture:
    """Granite specks or marble veins."""
    if chance(rng, 0.5):
        cell = log_uniform(rng, 2, 14) * unit
        field = fractal(rng, size_hw, (cell, cell), octaves=3, persistence=0.8)
        field = np.clip((field - 0.5) * rng.uniform(1, 3) + 0.5, 0, 1)
    else:
        cell = rng.uniform(100, 300) * unit
        field = np.abs(fractal(rng, size_hw, (cell, cell), octaves=5) - 0.5) ** rng.uniform(0.3, 0.7)
        field = stretch(field)
    tones = [
        near(rng, hsv(rng.random(), rng.uniform(0, 0.25), level), 8) for level in np.sort(rng.uniform(0.1, 1.0, 3))
    ]
    return paint(field.astype(np.float32), ramp(tones))


def _leather(rng: np.random.Generator, size_hw: tuple[int, int], unit: float) -> Picture:
    """Fine creases on one dark or warm colour, with broad folds."""
    base = near(rng, pick(rng, ((140, 85, 35), (50, 32, 25), (30, 30, 32), (110, 30, 30), (200, 190, 175))), 10)
    cell = rng.uniform(4, 12) * unit
    creases = np.abs(noise(rng, size_hw, (cell, cell)) - 0.5)
    folds = fractal(rng, size_hw, (rng.uniform(80, 200) * unit, rng.uniform(120, 400) * unit), octaves=3) - 0.5
    return tinted(
        flat(size_hw, base),
        (0.85 + creases * rng.uniform(0.1, 0.5) + folds * rng.uniform(0.2, 0.9)).astype(np.float32),
    )


def _plain(rng: np.random.Generator, size_hw: tuple[int, int], unit: float) -> Picture:
    """A desk, a wall, a table top: one colour running softly into another, with a little grain."""
    first = any_colour(rng, value=(0.03, 1.0), vivid=0.6)
    if chance(rng, 0.4):
        level = int(rng.choice([20, 45, 90, 180, 225, 245]))
        first = near(rng, (level, level, level), 8)
    field = noise(rng, size_hw, (rng.uniform(300, 900) * unit, rng.uniform(300, 900) * unit))
    field = field + (rng.random(size_hw, dtype=np.float32) - 0.5) * rng.uniform(0, 0.5)
    plain = paint(field, ramp((first, near(rng, first, 22))))
    for _ in range(int(rng.integers(0, 6))):
        start, end = rng.uniform(0, max(size_hw), 2), rng.uniform(0, max(size_hw), 2)
        outline(plain, np.stack([start, end]).astype(np.float32), near(rng, first, 30), unit, closed=False)
    return plain


def _grass(rng: np.random.Generator, size_hw: tuple[int, int], unit: float) -> Picture:
    """Blades, leaves or gravel: ridged noise in earthy or green colours."""
    cell = log_uniform(rng, 3, 16) * unit
    ridges = 1 - np.abs(fractal(rng, size_hw, (cell * log_uniform(rng, 0.5, 2), cell), octaves=3) - 0.5) * 2
    hue = rng.uniform(0.08, 0.38)
    tones = [hsv(hue + rng.normal(0, 0.03), rng.uniform(0.2, 0.7), level) for level in (0.08, 0.35, 0.75)]
    return paint(ridges**2, ramp(tones))


def _page(rng: np.random.Generator, size_hw: tuple[int, int], unit: float) -> Picture:
    """A newspaper or magazine that fills the picture: columns of text, headlines and photos."""
    height, width = size_hw
    paper = near(rng, pick(rng, ((240, 238, 230), (225, 222, 212), (250, 250, 250), (30, 32, 40))), 6)
    ink: Colour = (25, 25, 25) if sum(paper) > 380 else (225, 225, 225)
    page = flat(size_hw, paper)
    column_px = width / int(rng.integers(1, 5))
    line_px = rng.uniform(7, 16) * unit
    for left in np.arange(0, width - 1, column_px):
        y = rng.uniform(0, 60) * unit
        while y < height:
            tall = rng.uniform(60, 220) * unit
            box = (float(left) + 5 * unit, y, float(left) + column_px - 5 * unit, min(y + tall, height))
            if chance(rng, 0.3):
                x0, y0, x1, y1 = (round(side) for side in box)
                if x1 - x0 > 4 and y1 - y0 > 4:
                    page[y0:y1, x0:x1] = photo_like(rng, (y1 - y0, x1 - x0))
            elif chance(rng, 0.2):
                write_lines(rng, page, box, line_px * 3, ink)
            else:
                write_lines(rng, page, box, line_px, ink)
            y += tall + 10 * unit
    return page


def _keys(rng: np.random.Generator, size_hw: tuple[int, int], unit: float) -> Picture:
    """A grid of raised blocks: a keyboard, vents, knitted mats."""
    height, width = size_hw
    pitch_y, pitch_x = log_uniform(rng, 10, 60) * unit, log_uniform(rng, 10, 60) * unit
    gap = rng.uniform(0.08, 0.35)
    y, x = np.arange(height)[:, None] / pitch_y, np.arange(width)[None] / pitch_x
    shift = np.floor(y) * rng.uniform(0, 0.5)
    block = ((y % 1) > gap) & (((x + shift) % 1) > gap)
    body = any_colour(rng, value=(0.03, 0.9), vivid=0.3)
    keys = np.where(block[..., None], np.array(near(rng, body, 35), np.uint8), np.array(body, np.uint8))
    gain = 0.9 + 0.2 * noise(rng, size_hw, (pitch_y * 3, pitch_x * 3)) + 0.1 * ((y % 1) + 0 * x)
    return tinted(np.ascontiguousarray(keys), gain.astype(np.float32))


def _rug(rng: np.random.Generator, size_hw: tuple[int, int], unit: float) -> Picture:
    """Blocky woven ornaments in a few strong colours."""
    cell = max(2, round(rng.uniform(4, 16) * unit))
    small_hw = (size_hw[0] // cell // 2 + 2, size_hw[1] // cell // 2 + 2)
    field = np.floor(noise(rng, small_hw, (3.0, 5.0)) * 4.99).clip(0, 4) / 4
    field = np.block([[field, field[:, ::-1]], [field[::-1], field[::-1, ::-1]]]).astype(np.float32)
    field = cv2.resize(field, None, fx=cell, fy=cell, interpolation=cv2.INTER_NEAREST)[: size_hw[0], : size_hw[1]]
    inks = [any_colour(rng, value=(0.08, 0.75), vivid=0.9) for _ in range(5)]
    rug = paint(np.ascontiguousarray(field), ramp(inks))
    fuzz = noise(rng, size_hw, (1.5 * unit, 3 * unit))
    return tinted(rug, 0.6 + rng.uniform(0.4, 0.8) * fuzz)


SURFACES: tuple[tuple[float, Surface], ...] = (
    (0.25, _carpet),
    (0.26, _wood),
    (0.09, _tiles),
    (0.13, _cloth),
    (0.06, _stone),
    (0.06, _leather),
    (0.10, _plain),
    (0.03, _grass),
    (0.03, _page),
    (0.03, _keys),
    (0.03, _rug),
)
"""Share and maker of each surface."""
PRINTED_FROM = next(number for number, (_, made) in enumerate(SURFACES) if made is _page)
"""From here on surfaces bear signs or keys, which resemble faces of cards."""


# --- photo-like pictures ----------------------------------------------------------------------------------------


def photo_like(rng: np.random.Generator, size_hw: tuple[int, int]) -> Picture:
    """A cheap colourful picture with large soft areas, for covers, screens and printed photos."""
    side = float(max(size_hw))
    colours = [any_colour(rng, vivid=0.9) for _ in range(int(rng.integers(2, 5)))]
    cell = side * rng.uniform(0.15, 0.8)
    picture = paint(fractal(rng, size_hw, (cell, cell), octaves=3), ramp(colours))
    for _ in range(int(rng.integers(0, 6))):
        centre = (rng.uniform(0, size_hw[1]), rng.uniform(0, size_hw[0]))
        fill(picture, blob(rng, centre, side * rng.uniform(0.05, 0.35)), any_colour(rng, vivid=0.9))
    return picture


def _torn_shapes(rng: np.random.Generator, size_hw: tuple[int, int], unit: float) -> Picture:
    """Dead leaves: shapes of all sizes, each torn from some surface, cover one another as objects do in photographs."""
    sources = [_surface(rng, size_hw, unit, SURFACES), _surface(rng, size_hw, unit, SURFACES), photo_like(rng, size_hw)]
    canvas = sources[0].copy()
    for _ in range(int(rng.integers(20, 90))):
        radius = log_uniform(rng, 10, 200) * unit
        centre = (rng.uniform(0, size_hw[1]), rng.uniform(0, size_hw[0]))
        kind = int(rng.integers(3))
        count = (4, 7, 24)[kind]
        shape = blob(rng, centre, radius, rough=(0.5, 0.4, 0.1)[kind], count=count)
        x0, y0 = np.maximum(shape.min(axis=0).astype(int), 0)
        x1, y1 = np.minimum(shape.max(axis=0).astype(int) + 1, (size_hw[1], size_hw[0]))
        if x1 <= x0 or y1 <= y0:
            continue
        region = canvas[y0:y1, x0:x1]
        cover = np.zeros(region.shape[:2], np.uint8)
        fill(cover, shape - np.array([x0, y0], np.float32), 255)
        if chance(rng, 0.5):
            leaf = flat((y1 - y0, x1 - x0), any_colour(rng, value=(0.03, 1.0)))
        else:
            source = pick(rng, sources)
            top, left = (
                int(rng.integers(size_hw[0] - (y1 - y0) + 1)),
                int(rng.integers(size_hw[1] - (x1 - x0) + 1)),
            )
            leaf = np.ascontiguousarray(source[top : top + y1 - y0, left : left + x1 - x0])
            leaf = np.asarray(cv2.convertScaleAbs(leaf, alpha=rng.uniform(0.4, 1.4)), np.uint8)
        canvas[y0:y1, x0:x1] = np.asarray(cv2.copyTo(leaf, cover, region), np.uint8)
    return canvas


def scaled(colour: Colour, gain: float) -> Colour:
    """The colour, brighter or darker."""
    red, green, blue = (int(np.clip(part * gain, 0, 255)) for part in colour)
    return red, green, blue
