"""Truth beside prediction after every check, and how the predictions came about: a film strip and a small animation.

Each check_NNN.png says in itself, as JSON in a PNG text chunk, what stands where. The film is made from these files alone:
nothing is kept in memory while a run goes, and an interrupted run has its film too.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from segwright.classes import Classes
from segwright.outputs import write_bytes
from segwright.render import CAPTION, GAP, INK, PAPER, Rgb8, legend, overlay, strip, write_png
from segwright.training.tally import Shown, Tally

FACTS = "segwright"
"""Name of the text chunk."""
CELL_AREA = 300 * 225
"""Pixels of one picture in a panel."""
SHEET_WIDTH = 1900
"""Panels stand side by side up to here."""
NARROWEST = 190
"""Pixels of a column at least, so that its caption fits."""
OPACITY = 0.6
TITLE = 19
"""Size of letters above a group of panels."""

FILM_COLUMNS = 12
"""Checks in the film strip at most: first, last, and evenly between."""
FILM_AREA = 190 * 142
FILM_ROWS = 8
"""Pictures in film strip and animation at most."""
GIF_FRAMES = 40
GIF_WIDTH = 720
GIF_SECONDS = 8.0
"""Of the whole animation, without the rest at its end."""
GIF_FRAME_SECONDS = (0.08, 0.6)
GIF_REST_SECONDS = 2.5
GIF_COLOURS = 192

Box = tuple[int, int, int, int]
"""Left, top, width, height in pixels."""


def draw(folder: Path, number: int, tally: Tally, classes: Classes, row: Mapping[str, float]) -> Path | None:
    """Write check_NNN.png: the fixed pictures and the worst ones of a check as picture | truth | prediction.

    Args:
        folder: of the panels; made when needed.
        number: of the check, from 1.
        tally: what the check noted.
        classes: names and colours.
        row: this check's line of log.csv; epoch, step and val_iou are shown.

    Returns:
        The file; None when no picture is to be shown.

    Raises:
        OutputError: the folder cannot be written.
    """
    fixed, worst = tally.shown()
    if not fixed:
        return None
    panels = [_panel(shown, classes) for shown in [*fixed, *worst]]
    height, width = (max(sides) for sides in zip(*(panel.shape[:2] for panel, _ in panels), strict=True))
    columns = min(len(fixed), max(1, SHEET_WIDTH // (width + 3 * GAP)))
    whole = columns * (width + 3 * GAP) - GAP
    facts: dict[str, Any] = {"check": number} | {name: row[name] for name in ("epoch", "step") if name in row}
    facts |= {"iou": _known(row.get("val_iou", math.nan)), "pictures": []}
    facts["classes"] = [[name, *colour] for name, colour in zip(classes.names, classes.colours, strict=True)]
    strips = [strip(_sentence(facts), whole, size=TITLE)]
    top = strips[0].shape[0]
    for title, part in (
        ("the same pictures at every check", panels[: len(fixed)]),
        ("worst of the others now", panels[len(fixed) :]),
    ):
        if not part:
            continue
        strips.append(strip(title, whole, size=TITLE))
        top += strips[-1].shape[0]
        for start in range(0, len(part), columns):
            line = _paper(height + 2 * GAP, whole)
            for place, (panel, boxes) in enumerate(part[start : start + columns]):
                left = GAP + place * (width + 3 * GAP)
                line[: panel.shape[0], left : left + panel.shape[1]] = panel
                if title.startswith("the same"):
                    shown = fixed[start + place]
                    moved = {name: (x + left, y + top, w, h) for name, (x, y, w, h) in boxes.items()}
                    facts["pictures"].append({"key": shown.key, "iou": _known(shown.iou), **moved})
            strips.append(line)
            top += line.shape[0]
    strips.append(legend(classes, width=whole))
    return write_bytes(folder / f"check_{number:03d}.png", _png(np.concatenate(strips), facts))


def film_strip(folder: Path) -> tuple[Path, Path] | None:
    """Write film_strip.png and film_strip.gif: how the fixed pictures evolved over the checks.

    Args:
        folder: `panels` of a run, finished or interrupted.

    Returns:
        The two files; None when there is no readable check_NNN.png.

    Raises:
        OutputError: the folder cannot be written.
    """
    checks = [check for file in sorted(folder.glob("check_*.png"), key=_number) if (check := _read_facts(file))]
    if not checks:
        return None
    keys = [picture["key"] for picture in checks[-1].facts["pictures"]]
    keys = [keys[place] for place in _evenly(len(keys), FILM_ROWS)]
    drawn = [checks[place] for place in _evenly(len(checks), FILM_COLUMNS)]
    moving = [checks[place] for place in _evenly(len(checks), GIF_FRAMES)]
    still = write_png(folder / "film_strip.png", _strip_of(drawn, keys))
    return still, write_bytes(folder / "film_strip.gif", _animation(moving, keys))


@dataclass(frozen=True)
class _Check:
    """A check as its PNG tells it."""

    file: Path
    facts: dict[str, Any]

    def cells(self, keys: Sequence[str], columns: Sequence[str], area: int) -> dict[tuple[str, str], Rgb8]:
        """Parts of the page by (key, "picture" | "truth" | "prediction"), each about `area` pixels large."""
        found: dict[tuple[str, str], Rgb8] = {}
        try:
            with Image.open(self.file) as page:
                pixels = np.asarray(page.convert("RGB"))
        except (OSError, SyntaxError):
            return found  # cut short; the rest of the film is worth having
        for picture in self.facts["pictures"]:
            for column in columns if picture["key"] in keys else ():
                left, top, width, height = picture[column]
                found[picture["key"], column] = _fitted(pixels[top : top + height, left : left + width], area)
        return found

    def iou(self, key: str) -> float | None:
        return next((picture["iou"] for picture in self.facts["pictures"] if picture["key"] == key), None)


def _panel(shown: Shown, classes: Classes) -> tuple[Rgb8, dict[str, Box]]:
    """One picture | truth | prediction with captions, and where in it the three are."""
    image = _fitted(shown.image, CELL_AREA)
    height, width = image.shape[:2]
    maps = [
        cv2.resize(m, (width, height), interpolation=cv2.INTER_NEAREST_EXACT) for m in (shown.truth, shown.prediction)
    ]
    truth, prediction = (overlay(image, np.asarray(m, np.uint8), classes, OPACITY) for m in maps)
    column = max(width, NARROWEST)
    canvas = _paper(CAPTION + height, 3 * (column + GAP) - GAP)
    captions = (shown.key, "truth", f"prediction   IoU {_written(shown.iou)}")
    boxes: dict[str, Box] = {}
    for place, (name, caption, cell) in enumerate(
        zip(("picture", "truth", "prediction"), captions, (image, truth, prediction), strict=True)
    ):
        left = place * (column + GAP)
        canvas[:CAPTION, left : left + column] = strip(caption, column, keep_end=True)
        inner = left + (column - width) // 2
        canvas[CAPTION:, inner : inner + width] = cell
        boxes[name] = (inner, CAPTION, width, height)
    return canvas, boxes


def _strip_of(checks: Sequence[_Check], keys: Sequence[str]) -> Rgb8:
    """Rows are pictures; columns are the picture, its truth, and the prediction at each of the checks."""
    last = checks[-1].cells(keys, ("picture", "truth"), FILM_AREA)
    height, width = _largest(last.values())
    column = max(width, NARROWEST)
    canvas = _paper(2 * CAPTION + len(keys) * (CAPTION + height + GAP), (2 + len(checks)) * (column + GAP) - GAP)

    def put(row: int, place: int, caption: str, cell: Rgb8 | None) -> None:
        top, left = 2 * CAPTION + row * (CAPTION + height + GAP), place * (column + GAP)
        canvas[top : top + CAPTION, left : left + column] = strip(caption, column, keep_end=True)
        if cell is not None:
            inner = left + (column - cell.shape[1]) // 2
            canvas[top + CAPTION : top + CAPTION + cell.shape[0], inner : inner + cell.shape[1]] = cell

    def head(place: int, *lines: str) -> None:
        for number, line in enumerate(lines):
            canvas[number * CAPTION : (number + 1) * CAPTION, place * (column + GAP) :][:, :column] = strip(
                line, column
            )

    head(0, "", "picture")
    head(1, "", "truth")
    for row, key in enumerate(keys):
        put(row, 0, key, last.get((key, "picture")))
        put(row, 1, "", last.get((key, "truth")))
    for place, check in enumerate(checks, start=2):
        cells = check.cells(keys, ("prediction",), FILM_AREA)
        head(place, _when(check.facts), f"all   IoU {_written(check.facts['iou'])}")
        for row, key in enumerate(keys):
            put(row, place, f"IoU {_written(check.iou(key))}", cells.get((key, "prediction")))
    named = [(name, (r, g, b)) for name, r, g, b in checks[-1].facts["classes"]]
    classes = Classes(names=tuple(name for name, _ in named), colours=tuple(colour for _, colour in named))
    return np.concatenate([canvas, legend(classes, width=canvas.shape[1])])


def _animation(checks: Sequence[_Check], keys: Sequence[str]) -> bytes:
    """A frame for each check; one palette for all, made from three of them, so that what stands still costs nothing."""
    columns = max(1, min(len(keys), math.ceil(math.sqrt(len(keys)))))
    area = CELL_AREA
    cells = checks[-1].cells(keys, ("prediction",), area)
    _, width = _largest(cells.values())
    area = int(area * min(1.0, (GIF_WIDTH / columns - GAP) / width) ** 2)
    sample = [_frame(checks[place], keys, columns, area, 1.0) for place in _evenly(len(checks), 3)]
    width = max(frame.shape[1] for frame in sample)
    sample = [np.pad(frame, ((0, 0), (0, width - frame.shape[1]), (0, 0)), mode="edge") for frame in sample]
    palette = Image.fromarray(np.concatenate(sample)).quantize(GIF_COLOURS, Image.Quantize.MEDIANCUT, kmeans=1)

    def frames() -> Iterator[Image.Image]:
        for number, check in enumerate(checks, start=1):
            frame = Image.fromarray(_frame(check, keys, columns, area, number / len(checks)))
            yield frame.quantize(palette=palette, dither=Image.Dither.NONE)

    first, *rest = frames()
    least, most = GIF_FRAME_SECONDS
    each = round(1000 * min(max(GIF_SECONDS / len(checks), least), most))
    milliseconds = [each] * (len(checks) - 1) + [round(1000 * GIF_REST_SECONDS)]
    stream = io.BytesIO()
    first.save(stream, "GIF", save_all=True, append_images=rest, duration=milliseconds, loop=0, optimize=False)
    return stream.getvalue()


def _frame(check: _Check, keys: Sequence[str], columns: int, area: int, progress: float) -> Rgb8:
    cells = check.cells(keys, ("prediction",), area)
    height, width = _largest(cells.values())
    column = max(width, NARROWEST)
    rows = -(-len(keys) // columns)
    head = CAPTION + GAP
    canvas = _paper(head + rows * (CAPTION + height), columns * (column + GAP) - GAP)
    canvas[:CAPTION] = strip(_sentence(check.facts), canvas.shape[1])
    canvas[CAPTION : CAPTION + 3] = 60
    canvas[CAPTION : CAPTION + 3, : max(1, round(progress * canvas.shape[1]))] = INK
    for place, key in enumerate(keys):
        top, left = head + place // columns * (CAPTION + height), place % columns * (column + GAP)
        canvas[top : top + CAPTION, left : left + column] = strip(f"IoU {_written(check.iou(key))}", column)
        if (cell := cells.get((key, "prediction"))) is not None:
            inner = left + (column - cell.shape[1]) // 2
            canvas[top + CAPTION : top + CAPTION + cell.shape[0], inner : inner + cell.shape[1]] = cell
    return canvas


def _read_facts(file: Path) -> _Check | None:
    """What a panel says about itself; None for pictures that are not ours, or no longer whole."""
    try:
        with Image.open(file) as page:
            facts = json.loads(page.info[FACTS])
            found = _Check(file, {**facts, "pictures": facts["pictures"], "classes": facts["classes"]})
    except (OSError, SyntaxError, KeyError, ValueError):
        return None
    return found


def _png(picture: Rgb8, facts: Mapping[str, Any]) -> bytes:
    written = PngInfo()
    written.add_text(FACTS, json.dumps(facts))
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG", pnginfo=written, compress_level=3)
    return stream.getvalue()


def _fitted(picture: Rgb8, area: int) -> Rgb8:
    """The picture at about `area` pixels, its shape kept; no side longer than twice that of a square."""
    height, width = picture.shape[:2]
    scale = min((area / (height * width)) ** 0.5, 2 * area**0.5 / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, size, interpolation=how), np.uint8)


def _largest(cells: Iterable[Rgb8]) -> tuple[int, int]:
    sizes = [cell.shape[:2] for cell in cells]
    return max((h for h, _ in sizes), default=1), max((w for _, w in sizes), default=1)


def _evenly(count: int, most: int) -> list[int]:
    """At most `most` places of 0..count-1, first and last among them."""
    return [int(place) for place in np.unique(np.linspace(0, count - 1, min(count, most)).round())]


def _number(file: Path) -> tuple[int, str]:
    digits = file.stem.removeprefix("check_")
    return int(digits) if digits.isdecimal() else -1, file.name


def _sentence(facts: Mapping[str, Any]) -> str:
    return f"check {facts['check']}   {_when(facts)}   IoU {_written(facts['iou'])}"


def _when(facts: Mapping[str, Any]) -> str:
    return "   ".join(f"{name} {facts[name]:g}" for name in ("epoch", "step") if name in facts)


def _written(iou: float | None) -> str:
    return "-" if iou is None or math.isnan(iou) else f"{iou:.3f}"


def _known(score: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(score) else round(score, 5)


def _paper(height: int, width: int) -> Rgb8:
    return np.full((height, width, 3), PAPER, np.uint8)
