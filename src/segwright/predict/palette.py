"""Colours of a user's own for what is drawn: a CSV of name,r,g,b or index,r,g,b, with or without a line of headings."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

from segwright.classes import Classes, Rgb
from segwright.errors import DataError

WANTED = "write lines like card,0,255,255 or 1,0,255,255"


def read_palette(path: Path, classes: Classes) -> Classes:
    """The classes in the colours of a palette; classes it does not name keep theirs.

    Args:
        path: of the CSV. Each line names a class by its name or its number; a heading that has index and name, as in
            classes.csv, is understood too.
        classes: of the model.

    Raises:
        DataError: unreadable, a class the model does not know, or a colour outside 0..255; the line is named.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text ({error}); {WANTED}.") from error
    colours, columns, ignored = list(classes.colours), {"class": 0, "r": 1, "g": 2, "b": 3}, None
    for number, cells in enumerate(csv.reader(text.splitlines()), start=1):
        row = [cell.strip() for cell in cells]
        if not any(row):
            continue
        if number == 1 and {"r", "g", "b"} <= (words := {cell.lower(): n for n, cell in enumerate(row)}).keys():
            named = words.get("name", words.get("index", words.get("class", 0)))
            columns = {"class": named, **{letter: words[letter] for letter in "rgb"}}
            ignored = words.get("ignore")
            continue
        if ignored is not None and row[ignored : ignored + 1] not in ([], [""], ["0"]):
            continue
        try:
            said = row[columns["class"]]
            colours[_number(said, classes)] = _rgb([row[columns[letter]] for letter in "rgb"])
        except (ValueError, IndexError) as error:
            raise DataError(f"{path}, line {number}: {error or 'too few columns'}; {WANTED}.") from error
        except DataError as error:
            raise DataError(f"{path}, line {number}: {error}") from error
    return replace(classes, colours=tuple(colours), rgb_values=())


def _number(said: str, classes: Classes) -> int:
    if said not in classes.names and said.isdecimal() and int(said) < len(classes):
        return int(said)
    return classes.number(said)


def _rgb(cells: list[str]) -> Rgb:
    r, g, b = (int(cell) for cell in cells)
    if not all(0 <= value <= 255 for value in (r, g, b)):
        raise ValueError(f"the colour {r},{g},{b} is outside 0..255")
    return r, g, b
