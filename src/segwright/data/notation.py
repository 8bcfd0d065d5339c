"""Notation: look at the masks to see how classes are written on disk, and name the classes when nobody declared them.

Masks come as class numbers ("index"), as black and white ("binary") or as RGB colours ("colour"), often with soft edges
from resizing or with JPEG noise. What tells a class from a soft edge is the plateau: pixels whose neighbours to the right
and below are the same. Edges have hardly any.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from segwright.classes import IGNORED, MOST_CLASSES, Classes, ClassRow, Notation, Rgb, classes_from_rows
from segwright.data.sample import read_raw_mask
from segwright.errors import DataError
from segwright.masks import COLOUR_TOLERANCE

LOOKED_AT = 50
"""Masks that are read, evenly spaced, to tell the notation of declared classes."""

MOST_LOOKED_AT = 2000
"""Masks that are read when classes must be guessed, or when the first ones show nothing but zeros."""

LEAST_SHARE = 0.0005
"""A value must fill this share of all plateau pixels to count when soft edges are told from classes, 0..1."""

GREY_SPREAD = 8
"""RGB masks whose channels differ by no more than this (0..255) are grey: JPEG leaves such traces."""

DARKEST_WHITE, BRIGHTEST_BLACK = 223, 32


@dataclass
class Seen:
    """What a look at some masks found; pixels are counted per value."""

    files: int = 0
    coloured: int = 0
    """Masks in which something is neither black, grey nor white."""
    greys: Counter[int] = field(default_factory=Counter)
    """Value -> pixels, of grey, palette and grey RGB masks."""
    grey_plateaus: Counter[int] = field(default_factory=Counter)
    ones_beside_white: int = 0
    """Grey masks that hold both 1 and 255: there, white means ignored."""
    ones: int = 0
    """Grey masks that hold 1 but not 255."""
    whites: int = 0
    """Grey masks that hold 255 but not 1."""
    colours: Counter[int] = field(default_factory=Counter)
    """0xRRGGBB -> pixels, of every mask."""
    colour_plateaus: Counter[int] = field(default_factory=Counter)

    @property
    def blank(self) -> bool:
        """Whether nothing but zeros was found so far."""
        return not self.coloured and not any(self.greys.keys() - {0})

    def add(self, raw: np.ndarray) -> None:
        """Count one mask, (H, W) uint8/uint16 or (H, W, 3) uint8 RGB."""
        self.files += 1
        if raw.ndim == 3 and int((raw.max(axis=2) - raw.min(axis=2)).max()) > GREY_SPREAD:
            self.coloured += 1
            codes = (raw[..., 0].astype(np.int32) << 16) | (raw[..., 1].astype(np.int32) << 8) | raw[..., 2]
            for counter, found in ((self.colours, codes.ravel()), (self.colour_plateaus, _plateau(codes))):
                values, counts = np.unique(found, return_counts=True)
                counter.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
            return
        grey = raw[..., 0] if raw.ndim == 3 else raw
        for counter, in_colour, found in (
            (self.greys, self.colours, grey.ravel()),
            (self.grey_plateaus, self.colour_plateaus, _plateau(grey)),
        ):
            histogram = np.bincount(found)
            pixels_of = {int(value): int(histogram[value]) for value in np.flatnonzero(histogram)}
            counter.update(pixels_of)
            if counter is self.greys:
                self.ones_beside_white += 1 in pixels_of and 255 in pixels_of
                self.ones += 1 in pixels_of and 255 not in pixels_of
                self.whites += 1 not in pixels_of and 255 in pixels_of
            in_colour.update({min(value, 255) * 0x010101: pixels for value, pixels in pixels_of.items()})

    def two_pens(self) -> bool:
        """Whether some masks write the foreground as 1 and at least as many write it as 255."""
        return set(self.greys) <= {0, 1, 255} and not self.ones_beside_white and 0 < self.ones <= self.whites

    def main_greys(self) -> set[int]:
        """Grey values that form areas, soft edges left out."""
        return _frequent(self.grey_plateaus) or set(self.greys)

    def main_colours(self) -> list[Rgb]:
        """Colours that form areas, most frequent first, neighbours within the tolerance merged into one."""
        frequent = _frequent(self.colour_plateaus) or set(self.colours)
        kept: list[Rgb] = []
        for code in sorted(frequent, key=lambda code: (-self.colours[code], code)):
            rgb = (code >> 16, code >> 8 & 255, code & 255)
            if all(_distance(rgb, other) > COLOUR_TOLERANCE for other in kept):
                kept.append(rgb)
        return kept

    def black_and_white(self) -> bool:
        """Whether grey masks are black and white with soft edges or JPEG noise."""
        values = set(self.greys)
        main = self.main_greys()
        white = {v for v in main if DARKEST_WHITE <= v <= 255 or v == 65535}
        if not white or any(v > BRIGHTEST_BLACK for v in main - white) or max(values) not in {*range(256), 65535}:
            return False
        # Class numbers with 255 for ignored are dark and white too, but leave nothing in between.
        between = [v for v in values if v > BRIGHTEST_BLACK and v not in {255, 65535}]
        return len(between) >= 3 or (main <= {0, 255, 65535} and (bool(between) or 65535 in main))


def evenly_spaced(paths: Sequence[Path], most: int) -> list[Path]:
    """At most `most` of `paths`, spread over the whole sequence, first and last included."""
    if len(paths) <= most:
        return list(paths)
    return [paths[round(i * (len(paths) - 1) / (most - 1))] for i in range(most)]


def look(masks: Sequence[Path], *, thorough: bool) -> Seen:
    """Read some masks; unreadable ones are left to the health check.

    Args:
        masks: all mask files.
        thorough: read up to `MOST_LOOKED_AT` instead of `LOOKED_AT`.
    """
    seen = Seen()
    first = evenly_spaced(masks, MOST_LOOKED_AT if thorough else LOOKED_AT)
    rest = [] if thorough else evenly_spaced(masks, MOST_LOOKED_AT)
    with ThreadPoolExecutor(4) as pool:
        for batch in (first, *(rest[i : i + LOOKED_AT] for i in range(0, len(rest), LOOKED_AT))):
            for start in range(0, len(batch), 8):
                for raw in pool.map(_read_or_none, batch[start : start + 8]):
                    if raw is not None:
                        seen.add(raw)
            if not seen.blank:
                break
    return seen


def classes_of(masks: Sequence[Path], rows: tuple[ClassRow, ...] | None) -> Classes:
    """The class table of a data set, its notation taken from the masks themselves.

    Args:
        masks: mask files, in a fixed order.
        rows: what a `classes.csv` declares; None guesses the classes from what the masks hold.

    Raises:
        DataError: colours are needed and not declared, or masks without declared classes look like photographs.
    """
    if rows is None:
        return _guessed(look(masks, thorough=True))
    notation = _declared_notation(look(masks, thorough=False), rows)
    # White is class 1: black-and-white classes are ordered by their index, whatever the order of the lines.
    return classes_from_rows(tuple(sorted(rows, key=lambda row: row.index)) if notation == "binary" else rows, notation)


def _declared_notation(seen: Seen, rows: tuple[ClassRow, ...]) -> Notation:
    two = len({row.name for row in rows if not row.ignore}) == 2
    if seen.coloured:
        declared = np.array([row.rgb for row in rows if row.rgb is not None], float).reshape(-1, 3)
        found = seen.main_colours()
        strangers = [c for c in found if not (np.linalg.norm(declared - c, axis=1) <= COLOUR_TOLERANCE).any()]
        # Black and one bright colour of nobody's: a black-and-white mask painted in another ink.
        one_ink = two and len(found) == 2 and len(strangers) == 1 and max(strangers[0]) >= 128
        return "binary" if one_ink else "colour"
    ignores_white = any(row.index == IGNORED and row.ignore for row in rows)
    if two and not ignores_white and {row.index for row in rows if not row.ignore} <= {0, 1, 255}:
        values = set(seen.greys)
        owned = {row.index for row in rows} | {IGNORED}
        white = seen.black_and_white() or all(value >= 128 for value in values - {0})
        if values <= {0, IGNORED} or seen.two_pens() or (white and not values <= owned):
            return "binary"
    return "index"


def _guessed(seen: Seen) -> Classes:
    if seen.coloured:
        colours = seen.main_colours()
        _refuse_photographs(len(colours), "colours")
        colours = sorted(colours, key=lambda c: (c != (0, 0, 0), c))
        names = tuple("background" if c == (0, 0, 0) else "colour_{:02x}{:02x}{:02x}".format(*c) for c in colours)
        if len(names) == 1:
            names, colours = ("background", *names), [(0, 0, 0), *colours]
        return Classes(names=names, colours=tuple(colours), notation="colour")
    values = sorted(seen.greys.keys() - {IGNORED})
    if set(seen.greys) <= {0, IGNORED} or seen.two_pens() or seen.black_and_white():
        return Classes(names=("background", "foreground"), notation="binary")
    _refuse_photographs(len(values), "values")
    if len(values) == 1:
        values = [0, *values] if values[0] else [0, 1]
    named = {0: "background", values[1]: "foreground"} if len(values) == 2 and values[0] == 0 else {}
    return Classes(
        names=tuple(named.get(value, f"class_{value}") for value in values),
        values=(*((value, number) for number, value in enumerate(values)), (IGNORED, IGNORED)),
    )


def _refuse_photographs(different: int, what: str) -> None:
    if different > MOST_CLASSES:
        raise DataError(
            f"The masks hold {different} different {what}, which looks like photographs rather than classes; "
            "check the masks folder, or declare the classes in a classes.csv (index,name,r,g,b,ignore)."
        )


def _frequent(plateaus: Counter[int]) -> set[int]:
    least = LEAST_SHARE * sum(plateaus.values())
    return {value for value, pixels in plateaus.items() if pixels >= least}


def _plateau(codes: np.ndarray) -> np.ndarray:
    corner = codes[:-1, :-1]
    return corner[(corner == codes[1:, :-1]) & (corner == codes[:-1, 1:]) & (corner == codes[1:, 1:])]


def _distance(a: Rgb, b: Rgb) -> float:
    return float(np.linalg.norm(np.subtract(a, b)))


def _read_or_none(path: Path) -> np.ndarray | None:
    try:
        return read_raw_mask(path)
    except DataError:
        return None
