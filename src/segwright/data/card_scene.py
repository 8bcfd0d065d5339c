"""One scene: a ground, things, cards in some arrangement, hands and cables over them, then light and lens.

`draw_scene` is the whole recipe on one page; each step lives in its own `card_*` file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from segwright.data.card_backgrounds import background_from_picture, draw_background
from segwright.data.card_camera import (
    Placed,
    Pose,
    View,
    blend,
    cast_shadow,
    corners_mm,
    lay,
    paste,
    view_from,
)
from segwright.data.card_clutter import draw_cable, draw_finger, draw_thing
from segwright.data.card_faces import card_from_picture, draw_card, skin_tone
from segwright.data.card_light import light_scene, photograph
from segwright.data.card_paint import Cover, Picture, Sprite, chance, log_uniform, pick
from segwright.data.sample import image_size_hw, read_image
from segwright.errors import DataError

MOST_PIXELS = 100_000_000
"""A user's picture with more pixels is refused before it is decoded."""

CARD_COUNT_SHARES = (0.08, 0.48, 0.20, 0.09, 0.10, 0.05)
"""How often a scene has 0, 1, 2, 3, 4 and 5 cards."""
OWN_BACKGROUND_SHARE = 0.7
OWN_FACE_SHARE = 0.5
HELD_SHARE = 0.13
TEXTURE_PX = (90, 620)
"""Smallest and largest long side at which a card is painted before the camera sees it."""
CARD_MM = 88.0
"""Long side of a playing card."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One drawn picture and where its cards are."""

    image: NDArray[np.uint8]
    """(H, W, 3) uint8 RGB."""
    mask: NDArray[np.uint8]
    """(H, W) uint8, 0 background, 1 card; what covers a card is background, unless it is another card."""


@dataclass(frozen=True, kw_only=True)
class _Shadow:
    """The light that everything in a scene shares."""

    slope_xy: tuple[float, float]
    """Shadow length per height, with direction."""
    softness: float
    strength: float


def draw_scene(
    rng: np.random.Generator,
    size_hw: tuple[int, int] = (640, 480),
    *,
    clutter: float = 1.0,
    backgrounds: Sequence[Path] = (),
    faces: Sequence[Path] = (),
) -> Scene:
    """Draw one scene.

    Args:
        rng: where all choices come from; the same state draws the same scene.
        size_hw: height and width of the picture.
        clutter: chance of a busy scene, 0..1; the others show playing cards alone on one evenly lit surface.
        backgrounds: pictures without cards that are used for about 70 % of the grounds.
        faces: pictures of card faces, cut to the card's edge, that are used for about half of the cards.

    Returns:
        The picture and its mask.

    Raises:
        DataError: one of the user's pictures cannot be read.
    """
    count = int(rng.choice(len(CARD_COUNT_SHARES), p=CARD_COUNT_SHARES))
    busy = chance(rng, clutter)
    held = busy and count > 0 and chance(rng, HELD_SHARE)
    view = _view(rng, size_hw, count, near=not busy)
    shadow = _shadow(rng)
    canvas = _ground(rng, view, backgrounds, plain=not busy)
    for _ in range(int(rng.choice([0, 1, 2, 3, 5, 8], p=[0.36, 0.25, 0.17, 0.11, 0.08, 0.03])) * busy):
        _put_thing(rng, canvas, view, shadow)
    cards = np.zeros(size_hw, np.uint8)
    skin = skin_tone(rng)
    poses = _arranged(rng, view, count, held=held)
    if held:
        _put_fingers(rng, canvas, cards, poses[0], view, skin, count=int(rng.integers(1, 4)))
    for pose in poses:
        _put_card(rng, canvas, cards, view, pose, shadow, faces, lifted=held, playing_only=not busy)
    if held:
        _put_fingers(rng, canvas, cards, poses[-1], view, skin, count=int(rng.choice([1, 1, 2])))
    if busy:
        _put_occluders(rng, canvas, cards, view, poses, shadow, skin)
    lit = light_scene(rng, canvas, cards, even=not busy)
    return Scene(image=photograph(rng, lit), mask=(cards >= 128).astype(np.uint8))


def read_user_picture(path: Path, wanted_hw: tuple[int, int]) -> Picture:
    """A user's picture as (H, W, 3) uint8 RGB, shrunk while decoding where the format allows it.

    Raises:
        DataError: it cannot be read, or has more than `MOST_PIXELS`.
    """
    height, width = image_size_hw(path)
    if height * width > MOST_PIXELS:
        raise DataError(
            f"{path} is {width}x{height} pixels, more than the limit of {MOST_PIXELS // 1_000_000} million; "
            "make it smaller or remove it."
        )
    return np.asarray(read_image(path, shrink_to_hw=wanted_hw), np.uint8)


# --- the stage --------------------------------------------------------------------------------------------------


def _view(rng: np.random.Generator, size_hw: tuple[int, int], count: int, *, near: bool) -> View:
    """A camera whose distance makes cards 8 % to 95 % of a 4:3 picture's long side, mostly around two fifths."""
    long_px = float(np.sqrt(size_hw[0] * size_hw[1] * 4 / 3))
    share = float(np.exp(rng.triangular(np.log(0.15), np.log(0.42), np.log(0.95))))
    if near:
        share = max(share, 0.35)
    elif chance(rng, 0.25):
        share = log_uniform(rng, 0.08, 0.95)
    if count > 1:
        share = min(share, 0.9 / np.sqrt(count))
    tilt_rad = np.deg2rad(min(55.0, abs(rng.normal(0, 24))))
    roll_rad = rng.normal(0, 0.35) if chance(rng, 0.8) else rng.uniform(-np.pi, np.pi)
    return view_from(
        size_hw,
        pixels_per_mm=share * long_px / CARD_MM,
        tilt_rad=tilt_rad,
        roll_rad=float(roll_rad),
        focal_share=float(rng.uniform(0.85, 1.6)),
    )


def _shadow(rng: np.random.Generator) -> _Shadow:
    angle, slope = rng.uniform(0, 2 * np.pi), log_uniform(rng, 0.1, 2.0)
    return _Shadow(
        slope_xy=(slope * float(np.cos(angle)), slope * float(np.sin(angle))),
        softness=log_uniform(rng, 0.15, 2.5),
        strength=float(rng.uniform(0.15, 0.75)),
    )


def _ground(rng: np.random.Generator, view: View, backgrounds: Sequence[Path], *, plain: bool) -> Picture:
    if backgrounds and chance(rng, OWN_BACKGROUND_SHARE):
        side = 2 * max(view.size_hw)
        picture = read_user_picture(pick(rng, backgrounds), (side, side))
        return background_from_picture(rng, picture, view.size_hw)
    far = abs(float(view.to_pixels[2, 1])) * CARD_MM / float(view.to_pixels[2, 2])
    return draw_background(rng, view.size_hw, tilt=float(np.clip(far * 4 + rng.normal(0, 0.1), 0, 0.9)), plain=plain)


def _arranged(rng: np.random.Generator, view: View, count: int, *, held: bool) -> list[Pose]:
    """Where the cards lie, in drawing order."""
    if count == 0:
        return []
    height, width = view.size_hw
    at_border = chance(rng, 0.15)
    spread = 0.5 if at_border else 0.22
    x_px, y_px = width * (0.5 + rng.uniform(-spread, spread)), height * (0.5 + rng.uniform(-spread, spread))
    x_mm, y_mm = view.on_plane(float(x_px), float(y_px))
    angle = rng.uniform(0, 2 * np.pi) if chance(rng, 0.55) else rng.normal(0, 0.12) + pick(rng, (0.0, np.pi / 2, np.pi))
    if count == 1:
        local = np.zeros((1, 3))
    elif held:
        local = _fan(rng, count)
    else:
        local = pick(rng, (_row, _grid, _grid, _fan, _pile, _scatter))(rng, count)
    cos, sin = np.cos(angle), np.sin(angle)
    local[:, :2] -= local[:, :2].mean(axis=0)
    bends = rng.uniform(-0.06, 0.06, count) * (rng.random(count) < 0.15)
    return [
        Pose(
            x_mm=float(x_mm + cos * x - sin * y),
            y_mm=float(y_mm + sin * x + cos * y),
            angle=float(angle + turn),
            bend=float(bend),
        )
        for (x, y, turn), bend in zip(local, bends, strict=True)
    ]


Arrangement = NDArray[np.float64]
"""(N, 3) float64: x and y in mm, angle in radians."""


def _row(rng: np.random.Generator, count: int) -> Arrangement:
    step = 63 * rng.uniform(0.25, 1.35)
    places = np.zeros((count, 3))
    places[:, 0] = np.arange(count) * step
    return places + rng.normal(0, 1, (count, 3)) * (
        rng.uniform(0, 4),
        rng.uniform(0, 4),
        rng.uniform(0, 0.08),
    )


def _grid(rng: np.random.Generator, count: int) -> Arrangement:
    columns = int(np.ceil(np.sqrt(count)))
    order = np.arange(count)
    gap = rng.uniform(1.02, 1.3)
    places = np.stack([order % columns * 64 * gap, order // columns * 89 * gap, np.zeros(count)], axis=-1)
    return places + rng.normal(0, 1, (count, 3)) * (rng.uniform(0, 5), rng.uniform(0, 5), rng.uniform(0, 0.1))


def _fan(rng: np.random.Generator, count: int) -> Arrangement:
    turns = (np.arange(count) - (count - 1) / 2) * rng.uniform(0.08, 0.35)
    reach = rng.uniform(60, 150)
    return np.stack([reach * np.sin(turns), -reach * np.cos(turns), turns], axis=-1)


def _pile(rng: np.random.Generator, count: int) -> Arrangement:
    return rng.normal(0, 1, (count, 3)) * (rng.uniform(2, 35), rng.uniform(2, 35), rng.uniform(0.05, 1.5))


def _scatter(rng: np.random.Generator, count: int) -> Arrangement:
    wide = 75 * np.sqrt(count)
    return rng.uniform(-1, 1, (count, 3)) * (wide * 0.8, wide, np.pi)


# --- what is put on it ------------------------------------------------------------------------------------------


def _put_card(
    rng: np.random.Generator,
    canvas: Picture,
    cards: Cover,
    view: View,
    pose: Pose,
    shadow: _Shadow,
    faces: Sequence[Path],
    *,
    lifted: bool,
    playing_only: bool,
) -> None:
    sprite = _card_sprite(rng, view, faces, playing_only=playing_only)
    if chance(rng, 0.03):
        sprite = replace(sprite, cover=_torn(rng, sprite.cover))
    placed = lay(sprite, pose, view)
    if placed is None:
        return
    high_mm = rng.uniform(10, 60) if lifted else sprite.thick_mm + (rng.uniform(0, 6) if chance(rng, 0.4) else 0.4)
    _throw(canvas, placed, high_mm, view, shadow)
    paste(canvas, placed)
    cards[placed.box] = np.maximum(cards[placed.box], placed.cover)


def _card_sprite(rng: np.random.Generator, view: View, faces: Sequence[Path], *, playing_only: bool) -> Sprite:
    long_px = int(np.clip(1.2 * view.pixels_per_mm * CARD_MM, *TEXTURE_PX))
    if faces and chance(rng, OWN_FACE_SHARE):
        picture = read_user_picture(pick(rng, faces), (long_px, long_px))
        return card_from_picture(rng, picture, long_px)
    return draw_card(rng, long_px, playing_only=playing_only)


def _torn(rng: np.random.Generator, cover: Cover) -> Cover:
    """A dog-eared corner is missing."""
    size = round(min(cover.shape) * rng.uniform(0.08, 0.3))
    corner = np.array([[0, 0], [size, 0], [0, size]], np.int32)
    torn = cover.copy()
    cv2.fillPoly(torn, [corner], (0,), cv2.LINE_AA)
    return torn


def _put_thing(rng: np.random.Generator, canvas: Picture, view: View, shadow: _Shadow) -> None:
    """An object anywhere on the ground; its size follows the camera, within what still fits the picture."""
    long_px = max(view.size_hw)
    # Very close cameras would fill the picture with one book; very far ones would draw dust.
    scale = float(np.clip(view.pixels_per_mm, long_px / 900, long_px / 260))
    sprite = draw_thing(rng, scale)
    grown = scale / view.pixels_per_mm
    sprite = replace(sprite, size_mm=(sprite.size_mm[0] * grown, sprite.size_mm[1] * grown))
    x_px, y_px = rng.uniform(-0.15, 1.15, 2) * np.array([view.size_hw[1], view.size_hw[0]])
    x_mm, y_mm = view.on_plane(float(x_px), float(y_px))
    pose = Pose(x_mm=x_mm, y_mm=y_mm, angle=float(rng.uniform(0, 2 * np.pi)))
    placed = lay(sprite, pose, view)
    if placed is not None:
        _throw(canvas, placed, sprite.thick_mm * grown, view, shadow)
        paste(canvas, placed)


def _throw(canvas: Picture, placed: Placed, high_mm: float, view: View, shadow: _Shadow) -> None:
    """A close, dark contact shadow and a longer one away from the light."""
    high_px = min(high_mm * view.pixels_per_mm, 0.12 * max(view.size_hw))
    unit = max(view.size_hw) / 640
    cast_shadow(canvas, placed, shift_xy=(0, 0), blur_px=1.2 * unit, strength=0.5 * shadow.strength)
    cast_shadow(
        canvas,
        placed,
        shift_xy=(shadow.slope_xy[0] * high_px, shadow.slope_xy[1] * high_px),
        blur_px=float(np.clip(shadow.softness * high_px * 0.5, 0.5 * unit, 25 * unit)),
        strength=shadow.strength,
    )


def _put_fingers(
    rng: np.random.Generator,
    canvas: Picture,
    cards: Cover,
    pose: Pose,
    view: View,
    skin: tuple[int, int, int],
    *,
    count: int,
) -> None:
    """Fingers that reach from outside the picture onto an edge of the card, in front of or behind what comes next."""
    card = Sprite(colour=np.zeros((1, 1, 3), np.uint8), cover=np.zeros((1, 1), np.uint8), size_mm=(88.0, 63.0))
    quad = view.project(corners_mm(card, pose))
    middle = quad.mean(axis=0)
    side = int(rng.integers(4))
    edge = quad[side], quad[(side + 1) % 4]
    width_px = float(np.clip(17 * view.pixels_per_mm * rng.uniform(0.8, 1.15), 6, 0.28 * max(view.size_hw)))
    outward = (edge[0] + edge[1]) / 2 - middle
    outward = outward / max(1.0, float(np.hypot(*outward)))
    lean = rng.normal(0, 0.3)
    for step in range(count):
        at = edge[0] + (edge[1] - edge[0]) * float(np.clip(0.25 + 0.3 * step + rng.normal(0, 0.08), 0.05, 0.95))
        tip = at + (middle - at) * rng.uniform(0.05, 0.5)
        turn = lean + rng.normal(0, 0.12)
        away = np.array(
            [
                outward[0] * np.cos(turn) - outward[1] * np.sin(turn),
                outward[0] * np.sin(turn) + outward[1] * np.cos(turn),
            ]
        )
        root = tip + away * width_px * 6
        place = (float(tip[0]), float(tip[1])), (float(root[0]), float(root[1]))
        colour, cover = draw_finger(rng, view.size_hw, *place, width_px * float(rng.uniform(0.85, 1.1)), skin)
        _cover_with(canvas, cards, colour, cover)
    # The hand: as a very broad finger that comes from outside the picture.
    away = np.array(
        [
            outward[0] * np.cos(lean) - outward[1] * np.sin(lean),
            outward[0] * np.sin(lean) + outward[1] * np.cos(lean),
        ]
    )
    palm, arm = (
        edge[0] + (edge[1] - edge[0]) * 0.4 + away * width_px * rng.uniform(2.2, 3.5),
        away * 2 * max(view.size_hw),
    )
    place = (float(palm[0]), float(palm[1])), (float(palm[0] + arm[0]), float(palm[1] + arm[1]))
    colour, cover = draw_finger(rng, view.size_hw, *place, width_px * float(rng.uniform(2.6, 4.5)), skin, nail=False)
    _cover_with(canvas, cards, colour, cover)


def _put_occluders(
    rng: np.random.Generator,
    canvas: Picture,
    cards: Cover,
    view: View,
    poses: list[Pose],
    shadow: _Shadow,
    skin: tuple[int, int, int],
) -> None:
    """Cables, pens, hands and other things that hide part of a card now and then."""
    if chance(rng, 0.10):
        for _ in range(int(rng.integers(1, 4))):
            _cover_with(canvas, cards, *draw_cable(rng, view.size_hw, view.pixels_per_mm))
    if poses and chance(rng, 0.08):
        _put_fingers(rng, canvas, cards, pick(rng, poses), view, skin, count=int(rng.integers(1, 3)))
    if poses and chance(rng, 0.10):
        pose, sprite = pick(rng, poses), draw_thing(rng, view.pixels_per_mm)
        angle, away = rng.uniform(0, 2 * np.pi), rng.uniform(0.35, 0.6) * (max(sprite.size_mm) + 60)
        beside = Pose(
            x_mm=pose.x_mm + away * float(np.cos(angle)),
            y_mm=pose.y_mm + away * float(np.sin(angle)),
            angle=float(rng.uniform(0, 2 * np.pi)),
        )
        placed = lay(sprite, beside, view)
        if placed is not None:
            _throw(canvas, placed, sprite.thick_mm, view, shadow)
            paste(canvas, placed)
            region = cards[placed.box]
            region[:] = np.minimum(region, cv2.bitwise_not(placed.cover))


def _cover_with(canvas: Picture, cards: Cover, colour: Picture, cover: Cover) -> None:
    x, y, wide, tall = cv2.boundingRect(cover)
    if not wide or not tall:
        return
    box = slice(y, y + tall), slice(x, x + wide)
    part = np.ascontiguousarray(cover[box])
    blend(canvas[box], np.ascontiguousarray(colour[box]), part)
    cards[box] = np.minimum(cards[box], cv2.bitwise_not(part))
