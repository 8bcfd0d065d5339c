"""The printed cards: pips, court figures, backs, bank, identity and business cards, and plain ones.

Everything is drawn from polygons; nothing imitates a brand. Lengths are in millimetres times `k`, pixels per millimetre.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np

from segwright.data.card_paint import (
    Colour,
    Field,
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
    noise,
    outline,
    paint,
    pick,
    ramp,
    rounded,
    tinted,
    write,
    write_lines,
)

PLAYING_CARDS_MM = ((88.0, 63.0), (88.0, 63.0), (88.0, 63.0), (89.0, 57.0), (92.0, 58.0))
ID_1_MM = (53.98, 85.6)
BUSINESS_CARDS_MM = ((55.0, 85.0), (51.0, 89.0), (50.0, 90.0))

SUITS = ("heart", "diamond", "club", "spade")
RANKS = ("A", "2", "3", "4", "5", "6", "7", "8", "9", "10")
PIPS_XY: dict[str, tuple[tuple[float, float], ...]] = {
    "2": ((0, -1), (0, 1)),
    "3": ((0, -1), (0, 0), (0, 1)),
    "4": ((-1, -1), (1, -1), (-1, 1), (1, 1)),
    "5": ((-1, -1), (1, -1), (-1, 1), (1, 1), (0, 0)),
    "6": ((-1, -1), (1, -1), (-1, 0), (1, 0), (-1, 1), (1, 1)),
    "7": ((-1, -1), (1, -1), (-1, 0), (1, 0), (-1, 1), (1, 1), (0, -0.5)),
    "8": ((-1, -1), (1, -1), (-1, 0), (1, 0), (-1, 1), (1, 1), (0, -0.5), (0, 0.5)),
    "9": ((-1, -1), (1, -1), (-1, -0.33), (1, -0.33), (-1, 0.33), (1, 0.33), (-1, 1), (1, 1), (0, 0)),
    "10": (
        (-1, -1),
        (1, -1),
        (-1, -0.33),
        (1, -0.33),
        (-1, 0.33),
        (1, 0.33),
        (-1, 1),
        (1, 1),
        (0, -0.67),
        (0, 0.67),
    ),
}
"""Pip places, x in columns -1..1 and y in -1 (top) .. 1 (bottom)."""

BACK_INKS: tuple[Colour, ...] = (
    (30, 50, 130),
    (170, 20, 35),
    (20, 90, 60),
    (25, 25, 30),
    (90, 40, 120),
    (40, 90, 160),
)


def draw_card(rng: np.random.Generator, long_side_px: int, *, playing_only: bool = False) -> Sprite:
    """A random card of a random kind.

    Args:
        rng: where all choices come from.
        long_side_px: how large to paint it.
        playing_only: draw clean faces and backs of playing cards alone.

    Returns:
        A `Sprite` with rounded corners.
    """
    kinds: tuple[tuple[float, Callable[[np.random.Generator, int], Sprite]], ...] = (
        (0.64, _playing_face),
        (0.13, _playing_back),
        (0.14, _pocket_card),
        (0.05, _business_card),
        (0.04, _plain_card),
    )
    kinds = kinds[:2] if playing_only else kinds
    shares = np.array([share for share, _ in kinds])
    which = int(rng.choice(len(kinds), p=shares / shares.sum()))
    card = kinds[which][1](rng, long_side_px)
    return card if playing_only else _worn(rng, card)


def card_from_picture(rng: np.random.Generator, picture: Picture, long_side_px: int) -> Sprite:
    """The user's own face picture as a card: its own proportions, with rounded corners."""
    height, width = picture.shape[:2]
    k = long_side_px / 88.0
    scale = 88.0 / max(height, width)
    size_mm = (height * scale, width * scale)
    size_wh = (max(8, round(size_mm[1] * k)), max(8, round(size_mm[0] * k)))
    face = np.asarray(cv2.resize(picture, size_wh, interpolation=cv2.INTER_AREA), np.uint8)
    return _worn(rng, _cut_out(rng, face, size_mm))


# --- playing cards ----------------------------------------------------------------------------------------------


def _playing_face(rng: np.random.Generator, long_side_px: int) -> Sprite:
    size_mm = pick(rng, PLAYING_CARDS_MM)
    canvas, k = _blank(rng, size_mm, long_side_px)
    suit = pick(rng, SUITS)
    red: Colour = near(rng, (205, 25, 40), 18)
    ink = red if suit in ("heart", "diamond") else near(rng, (20, 20, 24), 8)
    if chance(rng, 0.06):
        ink = pick(rng, BACK_INKS)
    if chance(rng, 0.06):
        rank = "JOKER"
        _jester(rng, canvas, k)
    elif chance(rng, 0.36):
        rank = pick(rng, ("J", "Q", "K"))
        _court(rng, canvas, suit, ink, k)
    else:
        rank = "A" if chance(rng, 0.2) else pick(rng, RANKS)
        _pips(rng, canvas, rank, suit, ink, k)
    _indices(rng, canvas, rank, suit, ink, k)
    return _cut_out(rng, canvas, size_mm)


def _pips(rng: np.random.Generator, canvas: Picture, rank: str, suit: str, ink: Colour, k: float) -> None:
    height, width = canvas.shape[:2]
    if rank == "A":
        ornate = suit == "spade" and chance(rng, 0.7)
        pip_px = rng.uniform(30, 42) * k if ornate else rng.uniform(9, 24) * k
        _pip(canvas, suit, (width / 2, height / 2), pip_px, ink)
        if ornate:
            _ornament(rng, canvas, suit, pip_px, k)
        return
    pip_px = rng.uniform(11, 15) * k
    reach_x, reach_y = rng.uniform(0.21, 0.27) * width, rng.uniform(0.29, 0.34) * height
    for x, y in PIPS_XY[rank]:
        centre = (width / 2 + x * reach_x, height / 2 + y * reach_y)
        _pip(canvas, suit, centre, pip_px, ink, upside_down=y > 0.01)


def _ornament(rng: np.random.Generator, canvas: Picture, suit: str, pip_px: float, k: float) -> None:
    """Fine pale lines inside a large ace, and the maker's small print."""
    height, width = canvas.shape[:2]
    pale: Colour = (225, 225, 225)
    for scale in (0.78, 0.55):
        points = _pip_outline(suit) * pip_px * scale + np.array([width / 2, height / 2])
        outline(canvas, points.astype(np.float32), pale, 0.4 * k)
    for _ in range(14):
        centre = (width / 2 + rng.normal(0, pip_px * 0.12), height / 2 + rng.normal(0, pip_px * 0.12))
        outline(
            canvas,
            ellipse_points(centre, (k * rng.uniform(0.5, 2), k * rng.uniform(0.5, 2)), count=10),
            pale,
            0.3 * k,
        )
    if chance(rng, 0.7):
        top = height / 2 + pip_px * 0.6
        write_lines(rng, canvas, (width * 0.25, top, width * 0.75, top + 6 * k), 3 * k, (60, 60, 60))


def _indices(rng: np.random.Generator, canvas: Picture, rank: str, suit: str, ink: Colour, k: float) -> None:
    """Rank over suit in the upper left corner, and again, turned, in the lower right."""
    height, width = canvas.shape[:2]
    corner = canvas[: height // 2, : width // 3]
    left, top, tall = rng.uniform(2.2, 3.6) * k, rng.uniform(3.0, 4.5) * k, rng.uniform(6.5, 10) * k
    if rank == "JOKER":
        for step, letter in enumerate(rank):
            write(corner, letter, (left, top + step * tall * 0.55), tall * 0.5, ink, bold=True)
    else:
        squeeze = 0.8 if rank == "10" else rng.uniform(0.8, 1.0)
        wide = write(corner, rank, (left, top), tall, ink, bold=chance(rng, 0.6), width_scale=squeeze)
        _pip(corner, suit, (left + wide / 2, top + tall * 1.5), tall * 0.75, ink)
    canvas[height - height // 2 :, width - width // 3 :] = np.minimum(
        canvas[height - height // 2 :, width - width // 3 :], corner[::-1, ::-1]
    )


def _court(rng: np.random.Generator, canvas: Picture, suit: str, ink: Colour, k: float) -> None:
    """A framed, busy, point-symmetric figure in flat colours."""
    height, width = canvas.shape[:2]
    x0, y0 = round(rng.uniform(7, 12) * k), round(rng.uniform(7, 11) * k)
    half_h, wide = height // 2 - y0, width - 2 * x0
    half = canvas[y0 : y0 + half_h, x0 : x0 + wide].copy()
    inks: tuple[Colour, ...] = (
        near(rng, (205, 30, 40), 15),
        near(rng, (35, 60, 150), 15),
        near(rng, (235, 195, 50), 15),
        (25, 25, 28),
        (245, 243, 238),
    )
    _robe(rng, half, inks, k)
    _head(rng, half, inks, k)
    if chance(rng, 0.6):
        x = rng.uniform(0.8, 0.95) * wide
        staff = np.array([[x, half_h * 0.05], [x - rng.uniform(-0.1, 0.3) * wide, half_h]], np.float32)
        outline(half, staff, pick(rng, inks[:4]), 1.4 * k, closed=False)
    _pip(half, suit, (8 * k, 8 * k), rng.uniform(9, 13) * k, ink)
    figure = np.concatenate([half, half[::-1, ::-1]])
    if chance(rng, 0.5):
        mix = np.tri(figure.shape[0], wide, round(-0.5 * wide), dtype=bool)
        lean = np.concatenate([half[:, ::-1], half[::-1]]) if chance(rng, 0.3) else figure
        figure = np.where(mix[..., None], figure, lean)
    canvas[y0 : y0 + figure.shape[0], x0 : x0 + wide] = figure
    frame = np.array([[0, 0], [wide, 0], [wide, 2 * half_h], [0, 2 * half_h]], np.float32) + np.array(
        [x0, y0], np.float32
    )
    if chance(rng, 0.85):
        outline(canvas, frame, pick(rng, (inks[1], inks[3], inks[1])), 0.45 * k)


def _robe(rng: np.random.Generator, half: Picture, inks: tuple[Colour, ...], k: float) -> None:
    height, width = half.shape[:2]
    black = inks[3]
    shoulders = height * rng.uniform(0.42, 0.58)
    body = np.array(
        [[0, height], [width * rng.uniform(0, 0.1), shoulders * 1.1], [width * 0.3, shoulders * 0.85],
         [width * 0.72, shoulders * 0.85], [width * rng.uniform(0.9, 1), shoulders * 1.1], [width, height]],
        np.float32,
    )  # fmt: skip
    robe = half.copy()
    fill(robe, body, pick(rng, inks[:3]))
    for _ in range(int(rng.integers(11, 20))):
        ink = pick(rng, inks)
        start = np.array([rng.uniform(0, width), rng.uniform(shoulders * 0.8, height)])
        along = np.array([rng.uniform(-0.5, 0.5) * width, rng.uniform(0.1, 0.6) * height])
        across = np.array([along[1], -along[0]]) / max(1.0, float(np.hypot(*along))) * rng.uniform(1.5, 6) * k
        band = np.stack([start, start + along, start + along + across, start + across]).astype(np.float32)
        fill(robe, band, ink)
        outline(robe, band, black, 0.35 * k)
        for share in np.linspace(0.1, 0.9, int(rng.integers(3, 8))):
            dot = tuple(start + along * share + across / 2)
            fill(robe, ellipse_points((dot[0], dot[1]), (0.9 * k, 0.9 * k), count=8), pick(rng, inks))
    inside = np.zeros((height, width), np.uint8)
    fill(inside, body, 255)
    cv2.copyTo(robe, inside, half)
    outline(half, body, black, 0.4 * k)


def _head(rng: np.random.Generator, half: Picture, inks: tuple[Colour, ...], k: float) -> None:
    height, width = half.shape[:2]
    black = inks[3]
    x, y = width * rng.uniform(0.45, 0.58), height * rng.uniform(0.38, 0.46)
    face_w, face_h = 5.5 * k, 7.5 * k
    hair = blob(rng, (x, y + 1.5 * k), 9.5 * k, rough=0.15)
    fill(half, hair, pick(rng, (inks[2], inks[3], (200, 200, 205), inks[1])))
    outline(half, hair, black, 0.35 * k)
    fill(half, ellipse_points((x, y), (face_w, face_h)), pick(rng, ((250, 248, 242), (245, 215, 190))))
    outline(half, ellipse_points((x, y), (face_w, face_h)), black, 0.35 * k)
    for side in (-1, 1):
        fill(half, ellipse_points((x + side * 2.2 * k, y - 1.2 * k), (0.9 * k, 0.6 * k), count=8), black)
    features = [[x, y - k], [x - 0.7 * k, y + 1.6 * k], [x + 0.5 * k, y + 1.6 * k]]
    outline(half, np.array(features, np.float32), black, 0.3 * k, closed=False)
    mouth = [[x - 1.5 * k, y + 3.6 * k], [x + 1.5 * k, y + 3.6 * k]]
    outline(half, np.array(mouth, np.float32), inks[0], 0.5 * k, closed=False)
    teeth = int(rng.integers(3, 6))
    xs = np.linspace(-8, 8, 2 * teeth + 1) * k + x
    ys = np.where(np.arange(2 * teeth + 1) % 2, y - 14 * k, y - 10 * k)
    crown = np.stack([np.r_[xs, xs[-1], xs[0]], np.r_[ys, y - 6 * k, y - 6 * k]], axis=-1).astype(np.float32)
    fill(half, crown, pick(rng, inks[:3]))
    outline(half, crown, black, 0.4 * k)


def _jester(rng: np.random.Generator, canvas: Picture, k: float) -> None:
    """A loose figure of coloured patches for jokers and fancy decks."""
    height, width = canvas.shape[:2]
    one_ink = chance(rng, 0.3)
    base = any_colour(rng, value=(0.1, 0.8))
    for _ in range(int(rng.integers(10, 22))):
        centre = (width * rng.normal(0.5, 0.11), height * rng.normal(0.5, 0.14))
        shape = blob(rng, centre, rng.uniform(3, 11) * k, rough=0.6, count=int(rng.integers(4, 12)))
        fill(canvas, shape, near(rng, base, 30) if one_ink else any_colour(rng, vivid=1.0))
        outline(canvas, shape, (25, 25, 28), 0.35 * k)


def _playing_back(rng: np.random.Generator, long_side_px: int) -> Sprite:
    size_mm = pick(rng, PLAYING_CARDS_MM)
    canvas, k = _blank(rng, size_mm, long_side_px)
    ink = near(rng, pick(rng, BACK_INKS), 12) if chance(rng, 0.85) else any_colour(rng, value=(0.15, 0.8), vivid=1.0)
    pale = near(rng, (240, 238, 232), 6)
    margin = 0 if chance(rng, 0.12) else round(rng.uniform(2.5, 6.5) * k)
    inner = canvas[margin : canvas.shape[0] - margin, margin : canvas.shape[1] - margin]
    inner[:] = paint(_back_pattern(rng, (inner.shape[0], inner.shape[1]), k), ramp((ink, pale)))
    height, width = inner.shape[:2]
    if chance(rng, 0.5):
        for radius, tone in ((rng.uniform(9, 18), pale), (rng.uniform(5, 8.5), ink)):
            fill(inner, ellipse_points((width / 2, height / 2), (radius * k, radius * k)), tone)
    if chance(rng, 0.6):
        gap = rng.uniform(1, 3) * k
        frame = [[gap, gap], [width - gap, gap], [width - gap, height - gap], [gap, height - gap]]
        outline(inner, np.array(frame, np.float32), pale, rng.uniform(0.4, 1.2) * k)
    return _cut_out(rng, canvas, size_mm)


def _back_pattern(rng: np.random.Generator, size_hw: tuple[int, int], k: float) -> Field:
    """A symmetric ornament: lattice, guilloche, flowers, diamonds or a fine weave."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]].astype(np.float32)
    x, y = (x - size_hw[1] / 2) / k, (y - size_hw[0] / 2) / k
    pitch = rng.uniform(0.5, 1.8)
    radius, angle = np.sqrt(x * x + y * y), np.arctan2(y, x)
    kind = int(rng.integers(5))
    if kind == 0:
        wave = np.sin(pitch * (x + y)) * np.sin(pitch * (x - y))
    elif kind == 1:
        wave = np.sin(pitch * radius + rng.uniform(1, 4) * np.cos(int(rng.integers(3, 12)) * angle))
    elif kind == 2:
        wave = np.cos(pitch * x) * np.cos(pitch * y) + 0.6 * np.cos(int(rng.integers(4, 9)) * angle + 0.3 * radius)
    elif kind == 3:
        wave = np.abs(np.mod(x * pitch * 0.4, 2) - 1) + np.abs(np.mod(y * pitch * 0.3, 2) - 1) - 1
    else:
        wave = np.sin(pitch * 2 * (x + np.sin(y * pitch))) * np.sin(pitch * 2 * (y + np.sin(x * pitch)))
    sharp = rng.uniform(1.5, 6)
    return np.asarray(np.clip(wave * sharp + rng.uniform(0.1, 0.7), 0, 1), np.float32)


# --- pocket, business and plain cards ---------------------------------------------------------------------------


def _pocket_card(rng: np.random.Generator, long_side_px: int) -> Sprite:
    """A bank, identity or membership card of ID-1 size, without any brand."""
    canvas, k = _blank(rng, ID_1_MM, long_side_px)
    height, width = canvas.shape[:2]
    canvas[:] = _print_ground(rng, (height, width), pale=chance(rng, 0.4))
    ink: Colour = (245, 245, 245) if canvas.mean() < 130 else (30, 30, 40)
    kind = pick(rng, ("bank", "bank", "identity", "member", "back"))
    if kind == "bank":
        _chip(rng, canvas, k)
        digits = " ".join(f"{part:04d}" for part in rng.integers(0, 10000, 4))
        write(canvas, digits, (8 * k, height * 0.56), 4.2 * k, ink, bold=True)
        write(canvas, f"{rng.integers(1, 13):02d}/{rng.integers(24, 35)}", (34 * k, height * 0.70), 2.6 * k, ink)
        write_lines(rng, canvas, (8 * k, height * 0.76, 48 * k, height * 0.9), 4 * k, ink)
        _emblem(rng, canvas, (width - 12 * k, height * 0.78), 6 * k)
    elif kind == "identity":
        canvas[: round(8 * k)] = any_colour(rng, value=(0.2, 0.8))
        _portrait(rng, canvas, (5 * k, 13 * k, 27 * k, 42 * k), k)
        write_lines(rng, canvas, (32 * k, 12 * k, 80 * k, 46 * k), rng.uniform(3.5, 6) * k, ink)
        _emblem(rng, canvas, (width - 10 * k, 16 * k), 5 * k)
    elif kind == "member":
        write(canvas, words_of(rng), (7 * k, 7 * k), rng.uniform(5, 9) * k, ink, bold=True)
        _emblem(rng, canvas, (width * rng.uniform(0.6, 0.85), height * 0.5), rng.uniform(7, 14) * k)
        if chance(rng, 0.5):
            _barcode(rng, canvas, (8 * k, height - 15 * k, 50 * k, height - 5 * k))
    else:
        canvas[round(5 * k) : round(17 * k)] = near(rng, (25, 22, 22), 8)
        canvas[round(22 * k) : round(30 * k), round(6 * k) : round(58 * k)] = near(rng, (235, 235, 230), 6)
        write_lines(rng, canvas, (6 * k, 32 * k, 80 * k, 50 * k), 3 * k, ink)
    return _turned(rng, _cut_out(rng, canvas, ID_1_MM))


def _print_ground(rng: np.random.Generator, size_hw: tuple[int, int], *, pale: bool) -> Picture:
    """A printed gradient, with or without waves."""
    value = (0.75, 1.0) if pale else (0.08, 0.85)
    vivid = 0.25 if pale else 0.95
    colours = [any_colour(rng, value=value, vivid=vivid) for _ in range(int(rng.integers(1, 4)))]
    colours = [*colours, near(rng, colours[0], 15)]
    field = noise(rng, size_hw, (size_hw[0] * rng.uniform(0.4, 2), size_hw[1] * rng.uniform(0.4, 2)))
    if chance(rng, 0.4):
        field = 0.8 * field + 0.1 + 0.1 * np.sin(field * rng.uniform(40, 160)).astype(np.float32)
    return paint(field, ramp(colours))


def _chip(rng: np.random.Generator, canvas: Picture, k: float) -> None:
    gold = near(rng, pick(rng, ((212, 175, 90), (200, 200, 205))), 12)
    x, y, w, h = 9 * k, 17 * k, 12 * k, 9.5 * k
    fill(canvas, np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]], np.float32), gold)
    for share in (0.33, 0.66):
        outline(
            canvas,
            np.array([[x, y + h * share], [x + w, y + h * share]], np.float32),
            (90, 75, 40),
            0.3 * k,
            closed=False,
        )
    outline(canvas, ellipse_points((x + w / 2, y + h / 2), (w * 0.2, h * 0.3)), (90, 75, 40), 0.3 * k)


def _emblem(rng: np.random.Generator, canvas: Picture, centre_xy: tuple[float, float], radius_px: float) -> None:
    """A made-up sign: a ring, a star, a blob or stacked bars."""
    ink, other = any_colour(rng, vivid=1.0), any_colour(rng, vivid=1.0)
    kind = int(rng.integers(3))
    if kind == 0:
        fill(canvas, ellipse_points(centre_xy, (radius_px, radius_px)), ink)
        fill(canvas, ellipse_points(centre_xy, (radius_px * 0.6, radius_px * 0.6)), other)
    elif kind == 1:
        angle = np.linspace(0, 2 * np.pi, 2 * int(rng.integers(4, 9)), endpoint=False)
        reach = np.where(np.arange(angle.size) % 2, 0.5, 1.0) * radius_px
        star = np.stack([np.cos(angle) * reach, np.sin(angle) * reach], axis=-1) + np.array(centre_xy)
        fill(canvas, star.astype(np.float32), ink)
    else:
        fill(canvas, blob(rng, centre_xy, radius_px, rough=0.5, count=6), ink)


def _portrait(rng: np.random.Generator, canvas: Picture, box_xyxy: tuple[float, float, float, float], k: float) -> None:
    x0, y0, x1, y1 = (round(side) for side in box_xyxy)
    photo = canvas[y0:y1, x0:x1]
    photo[:] = any_colour(rng, value=(0.5, 0.95), vivid=0.3)
    height, width = photo.shape[:2]
    skin = skin_tone(rng)
    fill(
        photo,
        ellipse_points((width / 2, height * 1.05), (width * 0.48, height * 0.32)),
        any_colour(rng, value=(0.1, 0.8)),
    )
    hair: Colour = pick(rng, ((30, 22, 18), (80, 55, 30), (170, 130, 70), (150, 150, 150)))
    fill(photo, ellipse_points((width / 2, height * 0.4), (width * 0.32, height * 0.32)), hair)
    fill(photo, ellipse_points((width / 2, height * 0.46), (width * 0.24, height * 0.29)), skin)
    for side in (-1, 1):
        fill(
            photo,
            ellipse_points((width * (0.5 + 0.1 * side), height * 0.42), (0.8 * k, 0.5 * k), count=8),
            (40, 30, 30),
        )
    outline(
        photo,
        np.array([[width * 0.42, height * 0.6], [width * 0.58, height * 0.6]], np.float32),
        (150, 70, 70),
        0.5 * k,
    )


def _barcode(rng: np.random.Generator, canvas: Picture, box_xyxy: tuple[float, float, float, float]) -> None:
    x0, y0, x1, y1 = (round(side) for side in box_xyxy)
    bars = np.repeat(rng.random(max(1, (x1 - x0) // 2 + 1)) < 0.5, 2)[: x1 - x0]
    canvas[y0:y1, x0:x1] = np.where(bars[None, :, None], 20, 245)


def _business_card(rng: np.random.Generator, long_side_px: int) -> Sprite:
    size_mm = pick(rng, BUSINESS_CARDS_MM)
    canvas, k = _blank(rng, size_mm, long_side_px)
    height, width = canvas.shape[:2]
    if chance(rng, 0.35):
        canvas[:] = _print_ground(rng, (height, width), pale=chance(rng, 0.5))
    ink: Colour = (240, 240, 240) if canvas.mean() < 130 else near(rng, (40, 40, 50), 20)
    left = width * pick(rng, (0.08, 0.45))
    write(
        canvas,
        words_of(rng),
        (left, height * rng.uniform(0.15, 0.4)),
        rng.uniform(4, 7) * k,
        ink,
        bold=chance(rng, 0.5),
    )
    write_lines(rng, canvas, (left, height * 0.5, left + width * 0.45, height * 0.9), rng.uniform(3, 5) * k, ink)
    if chance(rng, 0.7):
        _emblem(
            rng,
            canvas,
            (width * pick(rng, (0.2, 0.8)), height * rng.uniform(0.2, 0.7)),
            rng.uniform(5, 10) * k,
        )
    if chance(rng, 0.25):
        canvas[:, : round(rng.uniform(3, 20) * k)] = any_colour(rng, vivid=1.0)
    return _turned(rng, _cut_out(rng, canvas, size_mm, sharp=chance(rng, 0.5)))


def _plain_card(rng: np.random.Generator, long_side_px: int) -> Sprite:
    size_mm = pick(rng, (*PLAYING_CARDS_MM[:1], ID_1_MM, *BUSINESS_CARDS_MM[:1]))
    canvas, k = _blank(rng, size_mm, long_side_px)
    if chance(rng, 0.3):
        height, width = canvas.shape[:2]
        write_lines(
            rng,
            canvas,
            (6 * k, 6 * k, width * 0.9, height * rng.uniform(0.3, 0.9)),
            rng.uniform(4, 9) * k,
            (40, 50, 90),
        )
    return _cut_out(rng, canvas, size_mm)


# --- shared by all kinds ----------------------------------------------------------------------------------------


def skin_tone(rng: np.random.Generator) -> Colour:
    """A human skin colour, from very light to very dark."""
    tones: tuple[Colour, ...] = (
        (255, 224, 205),
        (240, 195, 165),
        (215, 160, 125),
        (180, 120, 85),
        (130, 80, 55),
        (80, 50, 38),
    )
    return near(rng, pick(rng, tones), 8)


def words_of(rng: np.random.Generator) -> str:
    """A made-up name in capitals."""
    return "".join(pick(rng, "BCDFGKLMNPRSTV") + pick(rng, "AEIOU") for _ in range(int(rng.integers(2, 5))))


def _blank(rng: np.random.Generator, size_mm: tuple[float, float], long_side_px: int) -> tuple[Picture, float]:
    """White or yellowed stock, and its pixels per millimetre."""
    k = long_side_px / max(size_mm)
    stock = near(rng, pick(rng, ((250, 250, 248), (246, 246, 246), (240, 236, 224), (252, 250, 240))), 4)
    return flat((round(size_mm[0] * k), round(size_mm[1] * k)), stock), k


def _cut_out(rng: np.random.Generator, face: Picture, size_mm: tuple[float, float], *, sharp: bool = False) -> Sprite:
    k = face.shape[0] / size_mm[0]
    radius_px = 0.0 if sharp else rng.uniform(2.5, 3.6) * k
    return Sprite(colour=face, cover=rounded((face.shape[0], face.shape[1]), radius_px), size_mm=size_mm)


def _turned(rng: np.random.Generator, sprite: Sprite) -> Sprite:
    """The sprite, or the sprite turned by 90 degrees."""
    if chance(rng, 0.5):
        return sprite
    colour, cover = np.rot90(sprite.colour), np.rot90(sprite.cover)
    size_mm = (sprite.size_mm[1], sprite.size_mm[0])
    return Sprite(colour=np.ascontiguousarray(colour), cover=np.ascontiguousarray(cover), size_mm=size_mm)


def _worn(rng: np.random.Generator, sprite: Sprite) -> Sprite:
    """Uneven tone everywhere; sometimes dirt, yellowing, and edges that catch the light."""
    size_hw = (sprite.colour.shape[0], sprite.colour.shape[1])
    depth = rng.uniform(0.0, 0.08) if chance(rng, 0.8) else rng.uniform(0.08, 0.3)
    cell = size_hw[0] * rng.uniform(0.3, 1.2)
    colour = tinted(sprite.colour, (1 - depth * fractal(rng, size_hw, (cell, cell), octaves=3)).astype(np.float32))
    if chance(rng, 0.2):
        colour = np.minimum(colour, np.array(near(rng, (245, 232, 200), 8), np.uint8))
    if chance(rng, 0.5):
        rim = cv2.morphologyEx(sprite.cover, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
        rim[[0, -1]], rim[:, [0, -1]] = 255, 255
        tone = pick(rng, ((255, 255, 255), (170, 170, 170), (110, 105, 100)))
        share = (rim[..., None] > 127) * rng.uniform(0.2, 0.7)
        colour = (colour * (1 - share) + np.array(tone) * share).astype(np.uint8)
    return Sprite(colour=colour, cover=sprite.cover, size_mm=sprite.size_mm)


@lru_cache(maxsize=8)
def _pip_outline(suit: str) -> Points:
    """The suit's main outline, one unit high, centred on 0, point of the heart downwards."""
    if suit == "diamond":
        turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        points = np.stack([0.40 * np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** 2.2,
                           0.5 * np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** 2.2], axis=-1)  # fmt: skip
        return np.asarray(points, np.float32)
    t = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    heart = np.stack([x / 32 * 0.95, (y - 2.5) / 29], axis=-1)
    if suit == "spade":
        heart = heart * np.array([0.95, -0.85]) - np.array([0, 0.08])
    return np.asarray(heart, np.float32)


def _pip(
    canvas: Picture,
    suit: str,
    centre_xy: tuple[float, float],
    size_px: float,
    ink: Colour,
    *,
    upside_down: bool = False,
) -> None:
    turn = -1.0 if upside_down else 1.0
    centre = np.array(centre_xy)

    def place(points: Points) -> Points:
        return np.asarray(points * size_px * turn + centre, np.float32)

    if suit in ("club", "spade"):
        fill(canvas, place(np.array([[-0.03, 0.0], [-0.17, 0.5], [0.17, 0.5], [0.03, 0.0]], np.float32)), ink)
    if suit == "club":
        for x, y in ((0.0, -0.25), (-0.24, 0.1), (0.24, 0.1)):
            fill(canvas, place(ellipse_points((x, y), (0.235, 0.235), count=16)), ink)
    else:
        fill(canvas, place(_pip_outline(suit)), ink)


__all__ = ["card_from_picture", "draw_card", "skin_tone"]
