"""Pictures of results: translucent overlay with outline, colour mask, picture | truth | prediction panel, sheet, legend.

Everything takes and gives (H, W, 3) uint8 RGB; class maps are (H, W) uint8 with 255 for ignored pixels.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from segwright.classes import IGNORED, Classes
from segwright.errors import OutputError
from segwright.masks import to_colours
from segwright.outputs import write_bytes

Rgb8 = NDArray[np.uint8]

PAPER = (24, 26, 30)
"""Background of panels, sheets and legends."""
INK = (232, 234, 238)
MISSED = (235, 64, 52)
"""Red: truth says something is there, the prediction says something else."""
INVENTED = (66, 135, 245)
"""Blue: the prediction says something is there, truth says class 0."""
GAP = 6
"""Pixels between the pictures of a panel."""
CAPTION = 26
"""Height in pixels of the strip with captions."""
TEXT = 15
"""Size of letters in pixels."""


def overlay(image: Rgb8, class_map: NDArray[np.uint8], classes: Classes, opacity: float = 0.45) -> Rgb8:
    """Tint every pixel with the colour of its class, and draw a thin outline in that colour.

    Args:
        image: (H, W, 3).
        class_map: (H, W); class 0 and ignored pixels stay as they are.
        classes: whose colours.
        opacity: 0 leaves the picture, 1 hides it; the outline is always opaque.

    Returns:
        (H, W, 3), a new array.
    """
    colours = to_colours(class_map, classes)
    shown = ((class_map != 0) & (class_map != IGNORED)).astype(np.uint8)
    tinted = cv2.addWeighted(image, 1.0 - opacity, colours, opacity, 0.0)
    answer = np.array(image, np.uint8)
    cv2.copyTo(tinted, shown, answer)
    cv2.copyTo(colours, shown & outline(class_map), answer)
    return answer


def contours(image: Rgb8, class_map: NDArray[np.uint8], classes: Classes) -> Rgb8:
    """Only the outline of every class, in its colour; the picture shows through everywhere else.

    Args:
        image: (H, W, 3).
        class_map: (H, W); class 0 and ignored pixels have no outline of their own.
        classes: whose colours.

    Returns:
        (H, W, 3), a new array.
    """
    shown = ((class_map != 0) & (class_map != IGNORED)).astype(np.uint8)
    answer = np.array(image, np.uint8)
    cv2.copyTo(to_colours(class_map, classes), shown & outline(class_map), answer)
    return answer


def outline(class_map: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Where classes meet, thicker in larger pictures.

    Args:
        class_map: (H, W).

    Returns:
        (H, W) uint8: 1 on both sides of a border between classes, else 0.
    """
    reach = max(1, round(min(class_map.shape) / 400))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return np.asarray(cv2.morphologyEx(class_map, cv2.MORPH_GRADIENT, kernel) > 0, np.uint8)


def colour_mask(class_map: NDArray[np.uint8], classes: Classes) -> Rgb8:
    """The class map painted in the colours of its classes; ignored pixels are grey.

    Args:
        class_map: (H, W).

    Returns:
        (H, W, 3).
    """
    return to_colours(class_map, classes)


def errors(image: Rgb8, truth: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> Rgb8:
    """Where a prediction is wrong, over a pale grey picture.

    Args:
        image: (H, W, 3).
        truth: (H, W); ignored pixels are never wrong.
        prediction: (H, W).

    Returns:
        (H, W, 3): red where something true was missed or mistaken, blue where class 0 was taken for something.
    """
    grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) // 2 + 32, np.uint8)
    answer = np.repeat(grey[..., None], 3, axis=2)
    wrong = (truth != prediction) & (truth != IGNORED)
    answer[wrong & (truth != 0)] = MISSED
    answer[wrong & (truth == 0)] = INVENTED
    return answer


def panel(
    image: Rgb8,
    truth: NDArray[np.uint8] | None,
    prediction: NDArray[np.uint8],
    classes: Classes,
    *,
    height: int = 320,
    caption: str = "picture",
    captions: tuple[str, str] = ("truth", "prediction"),
    show_errors: bool = False,
) -> Rgb8:
    """Picture | truth | prediction (| errors), side by side under captions.

    Args:
        image: (H, W, 3).
        truth: (H, W), or None for a picture without a mask: its column is left out.
        prediction: (H, W).
        classes: whose colours.
        height: of the pictures in the panel, pixels.
        caption: above the picture, for example its key.
        captions: above truth and prediction.
        show_errors: add the column of `errors` (needs a truth).

    Returns:
        (height + CAPTION, sum of widths, 3).
    """
    width = max(1, round(image.shape[1] * height / image.shape[0]))
    small = _resized(image, height, width)
    prediction = _resized_map(prediction, height, width)
    columns = [(caption, small)]
    if truth is not None:
        truth = _resized_map(truth, height, width)
        columns.append((captions[0], overlay(small, truth, classes, 0.6)))
    columns.append((captions[1], overlay(small, prediction, classes, 0.6)))
    if truth is not None and show_errors:
        columns.append(("missed red, invented blue", errors(small, truth, prediction)))
    canvas = _paper(height + CAPTION, len(columns) * (width + GAP) - GAP)
    for number, (text, picture) in enumerate(columns):
        left = number * (width + GAP)
        canvas[CAPTION:, left : left + width] = picture
        canvas[:CAPTION, left : left + width] = strip(text, width)
    return canvas


def sheet(panels: Sequence[Rgb8], *, columns: int = 0) -> Rgb8:
    """Panels in a grid: columns as wide as the widest panel, rows as high as their own highest.

    Args:
        panels: (h, w, 3) each; at least one.
        columns: of the grid; 0 chooses a grid about as wide as high.

    Returns:
        (H, W, 3).

    Raises:
        ValueError: there are no panels.
    """
    if not panels:
        raise ValueError("a sheet needs at least one panel")
    sizes = np.array([p.shape[:2] for p in panels]) + 2 * GAP
    height, width = sizes.max(axis=0)
    columns = min(len(panels), columns or max(1, round(math.sqrt(len(panels) * height / width))))
    heights = [int(sizes[start : start + columns, 0].max()) for start in range(0, len(panels), columns)]
    canvas = _paper(sum(heights), columns * int(width))
    for number, picture in enumerate(panels):
        top = sum(heights[: number // columns]) + GAP
        left = number % columns * int(width) + GAP
        canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return canvas


def legend(classes: Classes, *, width: int = 640) -> Rgb8:
    """A swatch and a name for every class, in as many lines as `width` needs.

    Args:
        classes: whose names and colours.
        width: in pixels.

    Returns:
        (height, width, 3).
    """
    places: list[tuple[int, int]] = []
    names = [_drawable(name) for name in classes.names]
    left, line = GAP, 0
    for name in names:
        needed = CAPTION + round(_font().getlength(name)) + 3 * GAP
        if left > GAP and left + needed > width:
            left, line = GAP, line + 1
        places.append((left, line * CAPTION))
        left += needed
    page = Image.fromarray(_paper((line + 1) * CAPTION + GAP, width))
    pen = ImageDraw.Draw(page)
    for (x, y), name, colour in zip(places, names, classes.colours, strict=True):
        pen.rounded_rectangle((x, y + 7, x + 17, y + 23), radius=3, fill=colour, outline=INK)
        pen.text((x + CAPTION, y + 15), name, fill=INK, font=_font(), anchor="lm")
    return np.array(page)


def titled(picture: Rgb8, text: str) -> Rgb8:
    """A picture under a strip of text, which is cut off where it is too long.

    Args:
        picture: (H, W, 3).
        text: one line.

    Returns:
        (H + CAPTION, W, 3).
    """
    return np.concatenate([strip(text, picture.shape[1]), picture])


def _drawable(text: str) -> str:
    """Text in the letters the font has, which is ASCII: accents are dropped, other scripts become question marks."""
    letters = unicodedata.normalize("NFKD", text)
    return "".join(c for c in letters if not unicodedata.combining(c)).encode("ascii", "replace").decode()


def strip(text: str, width: int, *, keep_end: bool = False, size: int = TEXT) -> Rgb8:
    """One line of text; what does not fit is cut off and marked with dots.

    Args:
        text: accents are dropped, other scripts become question marks.
        width: in pixels.
        keep_end: cut at the front, since names of pictures tend to differ at their end.
        size: of letters in pixels.

    Returns:
        (CAPTION, width, 3), higher for larger letters.
    """
    text, font = _drawable(text), _font(size)
    page = Image.fromarray(_paper(CAPTION + size - TEXT, width))
    if font.getlength(text) > width - 8:
        while text and font.getlength(f"{text}...") > width - 8:
            text = text[1:] if keep_end else text[:-1]
        text = f"...{text}" if keep_end else f"{text}..."
    ImageDraw.Draw(page).text((4, page.height // 2), text, fill=INK, font=font, anchor="lm")
    return np.array(page)


@lru_cache(maxsize=4)
def _font(size: int = TEXT) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    # Pillow carries this one, and it is far smoother than OpenCV's strokes.
    return ImageFont.load_default(size)


def _paper(height: int, width: int) -> Rgb8:
    return np.full((height, width, 3), PAPER, np.uint8)


def _resized(image: Rgb8, height: int, width: int) -> Rgb8:
    if image.shape[:2] == (height, width):
        return image
    how = cv2.INTER_AREA if height < image.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=how), np.uint8)


def _resized_map(class_map: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(class_map, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)


def write_png(path: Path, picture: NDArray[np.uint8]) -> Path:
    """Write a grey (H, W) or RGB (H, W, 3) uint8 picture as PNG, whole or not at all.

    Raises:
        OutputError: the place cannot be written, or a side is beyond what PNG writers take.
    """
    try:
        done, data = cv2.imencode(".png", picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    except cv2.error as error:
        raise OutputError(f"{path} cannot be encoded as PNG ({error}); make the picture smaller.") from error
    if not done:
        raise OutputError(f"{path} cannot be encoded as PNG; make the picture smaller.")
    return write_bytes(path, data.tobytes())
