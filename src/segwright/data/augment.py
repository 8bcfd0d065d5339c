"""Everything random that happens to a training sample: one fused warp, one colour matrix and curve, then blur, noise, JPEG and shadow.

All geometry (placement into the network's size, crop, flips, scale, rotation, shear, perspective, shift) is one matrix and
one resampling, so pixels are interpolated once; saturation, hue, contrast, brightness and tint are one colour matrix. A
sample is a pure function of (picture, mask, seed): nothing depends on the worker, the batch or what was drawn before.

How far each property may vary is a `Variation`: one of the `LEVELS`, or a YAML file of the user's own.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from segwright.classes import IGNORED
from segwright.data.patches import patch_placement
from segwright.errors import RecipeError
from segwright.preprocess import placement
from segwright.recipe import Fit, Level, Recipe

KEPT = "augment.yaml"
"""The file in a run folder that holds the variation of a run with ranges of its own."""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True, kw_only=True)
class Variation:
    """How far each property may vary. Chances are 0..1; a chance of 0 switches its step off.

    Raises:
        RecipeError: a value of another kind, or out of range; the range is named.
    """

    flip: float = 0.0
    """Chance to mirror left and right."""
    flip_vertical: float = 0.0
    """Chance to mirror up and down."""
    crop: tuple[float, float] = (1.0, 1.0)
    """Smallest and largest share of the picture's area that a random crop keeps; [1, 1] keeps all of it."""
    aspect: float = 0.0
    """Largest change of a crop's width against its height, relative: 0.33 crops from 3:4 to 4:3 of the picture's shape."""
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
    hue: float = 0.0
    """Largest turn of all colours about grey either way, degrees."""
    tint: float = 0.0
    """Largest relative change of one channel (white balance) either way."""
    grey: float = 0.0
    """Chance to lose all colour."""
    blur: float = 0.0
    """Chance of a soft focus."""
    motion_blur: float = 0.0
    """Chance of a streak in one direction, as from a moved camera."""
    noise: float = 0.0
    """Chance of sensor noise."""
    jpeg: float = 0.0
    """Chance of JPEG compression."""
    shadow: float = 0.0
    """Chance of a straight-edged shadow."""
    cutout: float = 0.0
    """Chance of a grey rectangle whose pixels are ignored."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, (least, most) = getattr(self, field.name), RANGES.get(field.name, (0.0, 1.0))
            if isinstance(field.default, tuple):
                if not (isinstance(value, tuple) and len(value) == 2 and all(map(_is_number, value))):
                    raise RecipeError(f"{field.name} is two numbers such as [0.5, 1.0], not {value!r}.")
                if not least <= value[0] <= value[1] <= most:
                    raise RecipeError(
                        f"{field.name} is two numbers from {least:g} to {most:g}, the smaller first, not {list(value)!r}."
                    )
            elif not _is_number(value):
                raise RecipeError(f"{field.name} is a number such as 0.1, not {value!r}.")
            elif not least <= value <= most:
                raise RecipeError(f"{field.name} lies between {least:g} and {most:g}, not at {value:g}.")


RANGES: Mapping[str, tuple[float, float]] = {
    "crop": (0.01, 1.0),
    "aspect": (0.0, 3.0),
    "scale": (0.1, 10.0),
    "rotate": (0.0, 180.0),
    "shear": (0.0, 60.0),
    "perspective": (0.0, 0.4),  # from 0.5 on, the horizon may lie inside the picture
    "gamma": (0.0, 4.0),
    "hue": (0.0, 180.0),
}
"""Sensible values of the properties that are not between 0 and 1."""

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
        blur=0.04,
        motion_blur=0.04,
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
        blur=0.1,
        motion_blur=0.1,
        noise=0.25,
        jpeg=0.2,
        shadow=0.15,
        cutout=0.1,
    ),
}


def variation_of(recipe: Recipe, run_folder: Path | None = None) -> Variation:
    """The variation a recipe names: a level, or the ranges in a YAML file.

    Args:
        recipe: its `data.augment`.
        run_folder: of a run that goes on; its own copy of the ranges is read, wherever the user's file is by now.

    Raises:
        RecipeError: no such file, or something in it is wrong.
    """
    named = recipe.data.augment
    if named in LEVELS:
        return LEVELS[named]
    return read_variation(run_folder / KEPT if run_folder else Path(named))


def read_variation(path: Path) -> Variation:
    """Ranges from a YAML file: any properties by name, and `base`, the level that all others are taken from.

    Raises:
        RecipeError: no such file, not YAML, an unknown property (the nearest right one is named), a wrong value.
    """
    import yaml

    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise RecipeError(
            f"{path} cannot be read as an augmentation ({error}); print one with: segwright augmentation medium"
        ) from error
    if not isinstance(raw, dict):
        raise RecipeError(
            f"{path} holds no properties by name; print an augmentation with: segwright augmentation medium"
        )
    names = [field.name for field in dataclasses.fields(Variation)]
    for key in raw:
        if key not in {"base", *names}:
            near = difflib.get_close_matches(str(key), ["base", *names], n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"choose from base, {', '.join(names)}."
            raise RecipeError(f"{path} has an unknown property {key!r}; {hint}")
    base = raw.pop("base", "none")
    if not isinstance(base, str) or base not in LEVELS:
        near = difflib.get_close_matches(str(base), LEVELS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(LEVELS)}."
        raise RecipeError(f"{path} builds on an unknown level {base!r}; {hint}")
    try:
        return dataclasses.replace(LEVELS[base], **{name: _from_yaml(value) for name, value in raw.items()})
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error


def variation_yaml(variation: Variation, sentences: Mapping[str, str] | None = None) -> str:
    """All ranges as YAML text that `read_variation` understands.

    Args:
        variation: to be written down.
        sentences: what each property means, put above it as a comment.
    """
    lines = []
    for name, value in dataclasses.asdict(variation).items():
        if sentences:
            lines.append(f"# {sentences[name]}")
        lines.append(f"{name}: {list(value) if isinstance(value, tuple) else value}")
    return "\n".join(lines) + "\n"


def _from_yaml(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_from_yaml(each) for each in value)
    if isinstance(value, str):  # YAML 1.1 reads 1e-1 as text, since it has no dot; people mean a number
        try:
            return float(value)
        except ValueError:
            return value
    return value


GEOMETRIC, COLOURFUL = 13, 9
"""Random numbers for the warp and for the colours: one for each thing drawn, whether it is switched on or not, so that no
property changes what another draws."""


class Window(NamedTuple):
    """A rectangle of the network's input, in pixels."""

    top: int
    left: int
    height: int
    width: int


def augmented(
    image: np.ndarray,
    class_map: np.ndarray,
    size_hw: tuple[int, int],
    fit: Fit,
    variation: Variation,
    seed: tuple[int, ...],
    *,
    window: Window | None = None,
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
        window: compute only this part of the result; its place and colours are those of the whole.
        patch: fill the result with a random square of this side, and vary it about its middle; 0 places the whole picture.

    Returns:
        image (*size_hw, 3) uint8 and class map (*size_hw) uint8 (of the window's size where one is given), both new
        arrays; pixels outside the picture are black and ignored.
    """
    rng = np.random.default_rng(seed)
    top, left, height, width = window or (0, 0, *size_hw)
    picture_hw = class_map.shape[0], class_map.shape[1]
    placed = patch_placement(class_map, size_hw, patch, seed) if patch else placement(*picture_hw, size_hw, fit)
    matrix = _warp(rng.random(GEOMETRIC).tolist(), placed, size_hw, variation)
    if window:
        matrix = _moved(-left, -top) @ matrix
    seen, labels = _warped(image, class_map, matrix, height, width)
    seen = _colour(rng.random(COLOURFUL).tolist(), seen, variation)
    seen = _degrade(rng, seen, variation)
    if rng.random() < variation.cutout:
        row, column = int(rng.integers(0, height)), int(rng.integers(0, width))
        rows = slice(row, row + int(rng.integers(8, max(height // 3, 9))))
        columns = slice(column, column + int(rng.integers(8, max(width // 3, 9))))
        seen[rows, columns] = rng.integers(0, 256, 3)
        labels[rows, columns] = IGNORED
    return seen, labels


def _warp(
    u: list[float], placed: tuple[tuple[float, float], tuple[float, float]], size_hw: tuple[int, int], v: Variation
) -> np.ndarray:
    """(3, 3) float64 from picture pixels to placed pixels (x, y, 1), pixel centres at whole numbers as OpenCV has them."""
    (scale_y, margin_y), (scale_x, margin_x) = placed
    height, width = size_hw
    # From picture to frame, counted from the middle of the frame; a crop is enlarged until it fills the frame.
    share, stretch = _between(u[0], v.crop), (1.0 + v.aspect) ** _either_way(u[1], 1.0)
    kept_x, kept_y = min(math.sqrt(share * stretch), 1.0), min(math.sqrt(share / stretch), 1.0)
    move_x = margin_x - width / 2 - width * (1.0 - kept_x) * (u[2] - 0.5)
    move_y = margin_y - height / 2 - height * (1.0 - kept_y) * (u[3] - 0.5)
    place = np.array(
        [[scale_x / kept_x, 0.0, move_x / kept_x], [0.0, scale_y / kept_y, move_y / kept_y], [0.0, 0.0, 1.0]]
    )
    magnify = math.exp(_between(u[4], (math.log(v.scale[0]), math.log(v.scale[1]))))
    angle, shear = math.radians(_either_way(u[5], v.rotate)), math.radians(_either_way(u[6], v.shear))
    mirror, upside_down = (-1.0 if u[7] < v.flip else 1.0), (-1.0 if u[8] < v.flip_vertical else 1.0)
    cos, sin = magnify * math.cos(angle), magnify * math.sin(angle)
    # A magnified picture may slide as far as its own border, so that no region is left out for good.
    slack = v.shift + max(magnify - 1.0, 0.0) / 2 * (v.scale[1] > 1.0)
    shift_x, shift_y = _either_way(u[9], slack) * width, _either_way(u[10], slack) * height
    turn = np.array([[cos, -sin, shift_x], [sin, cos, shift_y], [0.0, 0.0, 1.0]])
    bend = np.array([[mirror, math.tan(shear), 0.0], [0.0, upside_down, 0.0], [0.0, 0.0, 1.0]])
    tilt = np.eye(3)
    tilt[2, :2] = _either_way(u[11], v.perspective) * 2 / width, _either_way(u[12], v.perspective) * 2 / height
    # Half a pixel either side: our coordinates count pixel corners, OpenCV's count pixel centres.
    return _moved(width / 2 - 0.5, height / 2 - 0.5) @ tilt @ turn @ bend @ place @ _moved(0.5, 0.5)


UNMOVED = np.eye(3)


def _moved(x: float, y: float) -> np.ndarray:
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def _either_way(u: float, most: float) -> float:
    return (2.0 * u - 1.0) * most


def _between(u: float, ends: tuple[float, float]) -> float:
    return ends[0] + u * (ends[1] - ends[0])


def _warped(
    image: np.ndarray, class_map: np.ndarray, matrix: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    if class_map.shape == (height, width) and np.abs(matrix - UNMOVED).max() < 1e-9:
        return image.copy(), class_map.copy()
    # OpenCV moves four channels in half the time of three, and parallels a little faster; answers are the same to the bit.
    flat = matrix[2, 0] == matrix[2, 1] == 0.0
    warp, matrix = (cv2.warpAffine, matrix[:2]) if flat else (cv2.warpPerspective, matrix)
    four = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA)
    four = warp(four, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=(0, 0, 0, 0))
    labels = warp(class_map, matrix, (width, height), flags=cv2.INTER_NEAREST, borderValue=(IGNORED,))
    return np.asarray(cv2.cvtColor(four, cv2.COLOR_RGBA2RGB), np.uint8), np.asarray(labels, np.uint8)


LUMA = np.array([0.299, 0.587, 0.114])
ROUND_GREY = np.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3.0)
"""Derivative of turning colours about the grey axis."""


def _colour(u: list[float], image: np.ndarray, v: Variation) -> np.ndarray:
    grey = u[0] < v.grey
    if grey or v.saturation or v.hue or v.contrast or v.brightness or v.tint:
        keep = 0.0 if grey else 1.0 + _either_way(u[1], v.saturation)
        turn = math.radians(_either_way(u[2], v.hue))
        hue = math.cos(turn) * np.eye(3) + (1.0 - math.cos(turn)) / 3.0 + math.sin(turn) * ROUND_GREY
        contrast, brightness = 1.0 + _either_way(u[3], v.contrast), _either_way(u[4], v.brightness)
        tints = 1.0 + np.array([_either_way(each, v.tint) for each in u[5:8]])
        matrix = np.empty((3, 4), np.float32)
        matrix[:, :3] = tints[:, None] * contrast * ((keep * np.eye(3) + (1.0 - keep) * LUMA) @ hue)
        matrix[:, 3] = tints * (0.5 * (1.0 - contrast) + brightness) * 255.0
        image = np.asarray(cv2.transform(image, matrix), np.uint8)
    if v.gamma:
        curve = np.linspace(0.0, 1.0, 256) ** (1.0 + v.gamma) ** _either_way(u[8], 1.0)
        image = np.asarray(cv2.LUT(image, (curve * 255.0).round().astype(np.uint8)), np.uint8)
    return image


def _degrade(rng: np.random.Generator, image: np.ndarray, v: Variation) -> np.ndarray:
    shadow, blur, motion_blur, noise, jpeg = rng.random(5).tolist()
    if shadow < v.shadow:
        image = _shadowed(rng, image)
    if blur < v.blur:
        deviation = rng.uniform(0.4, 2.0)
        reach = 2 * math.ceil(2 * deviation) + 1  # what lies further away hardly counts, and doubles the time
        image = np.asarray(cv2.GaussianBlur(image, (reach, reach), deviation), np.uint8)
    if motion_blur < v.motion_blur:
        image = _streaked(rng, image)
    if noise < v.noise:
        image = _grainy(rng, image)
    if jpeg < v.jpeg:
        _, code = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 91))])
        image = np.asarray(cv2.imdecode(code, cv2.IMREAD_UNCHANGED), np.uint8)
    return image


def _shadowed(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    shade: np.ndarray = np.full((height, width), 255, np.uint8)
    corners = (rng.uniform(-0.2, 1.2, (int(rng.integers(3, 6)), 2)) * (width, height)).astype(np.int32)
    cv2.fillPoly(shade, [cv2.convexHull(corners)], int(rng.integers(80, 200)))
    softness = int(rng.integers(1, 12))
    shade = np.asarray(cv2.blur(shade, (softness, softness)), np.uint8)
    return np.asarray(cv2.multiply(image, cv2.merge([shade] * 3), scale=1 / 255), np.uint8)


def _streaked(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    length = int(rng.integers(3, 12))
    kernel = np.zeros((length, length), np.float32)
    angle = rng.uniform(0, math.pi)
    reach = np.array([math.cos(angle), math.sin(angle)]) * length / 2
    middle = np.array([length / 2, length / 2]) - 0.5
    start, end = (middle - reach).round().astype(int), (middle + reach).round().astype(int)
    cv2.line(kernel, (int(start[0]), int(start[1])), (int(end[0]), int(end[1])), 1.0)
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.uint8)


BELL = np.array([statistics.NormalDist().inv_cdf((n + 0.5) / 256) for n in range(256)], np.float32)
"""Quantiles of the normal distribution: a random byte becomes a normal number by one look into a table."""


def _grainy(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    deviation = rng.uniform(2, 15)
    count = image.size // 8 + 1
    raw = rng.integers(0, 2**64, count, np.uint64).view(np.uint8)[: image.size].reshape(image.shape)
    noise = cv2.LUT(raw, (BELL * deviation).round().astype(np.int16))
    return np.asarray(cv2.add(image, noise, dtype=cv2.CV_8U), np.uint8)
