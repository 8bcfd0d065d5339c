"""Classes: the one owner of what a pixel can be - names, colours, values on disk - and of how logits become a class map.

Class numbers run from 0 without gaps, in the order in which the names first appear; 255 is the ignored value. What lies
on disk may differ (0/255, gaps, colours): `notation`, `values` and `rgb_values` say how it is read, see `masks.py`.

Two classes share one logit: the network answers one channel, the logit of class 1 ("foreground"). More classes have one
channel each. Nobody else asks that question.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from segwright.errors import DataError, ModelError
from segwright.outputs import csv_text

if TYPE_CHECKING:
    import torch

IGNORED = 255
MOST_CLASSES = 254

Rgb = tuple[int, int, int]
Notation = Literal["index", "binary", "colour"]


def default_colours(count: int) -> tuple[Rgb, ...]:
    """Black for class 0, cyan for class 1, then hues a golden angle apart, so that neighbours differ.

    Args:
        count: number of classes.

    Returns:
        `count` RGB triples, 0..255.
    """
    import colorsys

    colours: list[Rgb] = [(0, 0, 0), (0, 255, 255)]
    for number in range(2, count):
        hue = (0.5 + 0.381966 * (number - 1)) % 1.0
        r, g, b = colorsys.hsv_to_rgb(hue, 0.85 if number % 2 else 0.6, 0.95 if number % 3 else 0.75)
        colours.append((round(r * 255), round(g * 255), round(b * 255)))
    return tuple(colours[:count])


@dataclass(frozen=True, kw_only=True)
class Classes:
    """Ordered names and colours, and how each class is written on disk."""

    names: tuple[str, ...]
    colours: tuple[Rgb, ...] = ()
    notation: Notation = "index"
    values: tuple[tuple[int, int], ...] = field(default=())
    """(value on disk, class number or 255) for "index" masks; a value that is not listed has no owner."""
    rgb_values: tuple[tuple[Rgb, int], ...] = field(default=())
    """((r, g, b), class number or 255) for "colour" masks."""

    def __post_init__(self) -> None:
        count = len(self.names)
        if count < 2:
            raise DataError(
                f"A model needs at least two classes, and {list(self.names)} has {count}; name the background too."
            )
        if count > MOST_CLASSES:
            raise DataError(
                f"{count} classes are declared, and masks of 8 bits hold at most {MOST_CLASSES}; merge some."
            )
        if len(set(self.names)) != count:
            raise DataError(
                f"Class names must differ, but these repeat: {sorted(n for n in self.names if self.names.count(n) > 1)}"
            )
        if not self.colours:
            object.__setattr__(self, "colours", default_colours(count))
        if len(self.colours) != count:
            raise DataError(
                f"{count} class names come with {len(self.colours)} colours; give one colour for each name."
            )
        if self.notation == "index" and not self.values:
            object.__setattr__(self, "values", (*tuple((n, n) for n in range(count)), (IGNORED, IGNORED)))
        if self.notation == "binary" and count != 2:
            raise DataError(
                f"Black-and-white masks hold two classes, but {count} are declared; use index or colour masks."
            )
        if self.notation == "colour" and not self.rgb_values:
            object.__setattr__(self, "rgb_values", tuple((c, n) for n, c in enumerate(self.colours)))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def channels(self) -> int:
        """Channels a network for these classes answers with: 1 for two classes, else one each."""
        return 1 if len(self.names) == 2 else len(self.names)

    @property
    def palette(self) -> np.ndarray:
        """Colours as a (256, 3) uint8 table, so that `palette[class_map]` is a picture; ignored pixels are grey."""
        table = np.zeros((256, 3), np.uint8)
        table[: len(self)] = np.array(self.colours, np.uint8)
        table[IGNORED] = (128, 128, 128)
        return table

    @property
    def index_table(self) -> np.ndarray:
        """(65536,) uint8: class number of every value an index mask may hold, 255 for ignored; 254 for values nobody owns."""
        table = np.full(65536, 254, np.uint8)
        for value, number in self.values:
            table[value] = number
        return table

    def number(self, name: str) -> int:
        """Class number of `name`.

        Raises:
            DataError: no class has that name.
        """
        if name not in self.names:
            raise DataError(f"There is no class {name!r}; the classes are {', '.join(self.names)}.")
        return self.names.index(name)

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """Sigmoid of one channel, softmax over several.

        Args:
            logits: (B, channels, H, W), any float dtype.

        Returns:
            (B, channels, H, W), 0..1.
        """
        return logits.sigmoid() if self.channels == 1 else logits.softmax(dim=1)

    def decode(self, probabilities: np.ndarray, threshold: float = 0.5) -> np.ndarray:
        """Probabilities to class numbers.

        Args:
            probabilities: (channels, H, W) float, 0..1, as `probabilities` gives them.
            threshold: least probability of class 1 that counts as class 1; used with two classes only.

        Returns:
            class_map (H, W) uint8.
        """
        if self.channels == 1:
            return (probabilities[0] >= threshold).astype(np.uint8)
        # NumPy's argmax over the first axis takes twice as long as this running maximum; of equals the first wins in both.
        most = probabilities[0].copy()
        class_map = np.zeros(most.shape, np.uint8)
        for number in range(1, len(probabilities)):
            # A later class has a larger number, so where it wins the maximum of the numbers is its own.
            np.maximum(class_map, (probabilities[number] > most).view(np.uint8) * np.uint8(number), out=class_map)
            np.maximum(most, probabilities[number], out=most)
        return class_map

    def confidence(self, probabilities: np.ndarray, threshold: float = 0.5) -> np.ndarray:
        """Probability of the class that `decode` chose.

        Args:
            probabilities: (channels, H, W) float, 0..1.
            threshold: as in `decode`.

        Returns:
            (H, W) float32, 0..1.
        """
        if self.channels == 1:
            p = probabilities[0]
            return np.where(p >= threshold, p, 1.0 - p).astype(np.float32)
        return probabilities.max(axis=0).astype(np.float32)

    def numbers_in(self, other: Classes) -> np.ndarray:
        """Table from the class numbers of `other` to ours, matched by name (255 stays 255).

        Two classes each are taken to be background and foreground whatever they are called.

        Args:
            other: the classes of a data set.

        Returns:
            (256,) uint8.

        Raises:
            DataError: a class of `other` has no namesake here.
        """
        table = np.full(256, IGNORED, np.uint8)
        if len(self) == len(other) == 2:
            table[:2] = (0, 1)
            return table
        missing = [name for name in other.names if name not in self.names]
        if missing:
            raise DataError(
                f"The data has classes the model does not know ({', '.join(missing)}); the model knows {', '.join(self.names)}. "
                "Merge or ignore them in the data's classes.csv."
            )
        for number, name in enumerate(other.names):
            table[number] = self.names.index(name)
        return table

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, for JSON and for the metadata of exported models."""
        return {
            "names": list(self.names),
            "colours": [list(c) for c in self.colours],
            "notation": self.notation,
            "values": [list(pair) for pair in self.values],
            "rgb_values": [[list(rgb), number] for rgb, number in self.rgb_values],
        }

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Classes:
        """Inverse of `to_dict`.

        Raises:
            ModelError: the dict was not written by `to_dict`.
        """
        try:
            return cls(
                names=tuple(str(n) for n in raw["names"]),
                colours=tuple(_rgb(c) for c in raw["colours"]),
                notation=raw.get("notation", "index"),
                values=tuple((int(v), int(n)) for v, n in raw.get("values", ())),
                rgb_values=tuple((_rgb(c), int(n)) for c, n in raw.get("rgb_values", ())),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"The stored class table cannot be read ({error!r}); export or train the model again."
            ) from error

    def to_csv(self) -> str:
        """This table as the text of a `classes.csv` whose indexes are the class numbers."""
        named = enumerate(zip(self.names, self.colours, strict=True))
        rows = ([number, name, *colour, 0] for number, (name, colour) in named)
        return csv_text(["index", "name", "r", "g", "b", "ignore"], rows)


@dataclass(frozen=True)
class ClassRow:
    """One line of a `classes.csv`."""

    index: int
    name: str
    rgb: Rgb | None
    ignore: bool


def read_classes_csv(path: Path) -> tuple[ClassRow, ...]:
    """Read `index,name,r,g,b,ignore`; colour and ignore columns may be absent, and so may `index` (then rows are numbered).

    Rows that share a name are one class: that is how classes are merged.

    Raises:
        DataError: unreadable file, missing name, a value outside 0..65535 or a colour outside 0..255; the line is named.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read as text ({error}); it should be a CSV with the columns index,name,r,g,b,ignore."
        ) from error
    reader = csv.DictReader(io.StringIO(text))
    columns = {(c or "").strip().lower(): c for c in reader.fieldnames or ()}
    if "name" not in columns:
        raise DataError(f"{path} has no column 'name'; its first line should be index,name,r,g,b,ignore.")
    rows: list[ClassRow] = []
    for number, raw in enumerate(reader):
        line = number + 2

        def cell(column: str, raw: dict[str, str] = raw) -> str:
            return (raw.get(columns.get(column, "")) or "").strip()

        try:
            name = cell("name")
            index = int(cell("index")) if cell("index") else number
            rgb = _rgb([cell("r"), cell("g"), cell("b")]) if cell("r") and cell("g") and cell("b") else None
            ignore = cell("ignore").lower() in {"1", "true", "yes", "y"}
        except ValueError as error:
            raise DataError(f"{path}, line {line}: {error}; write numbers like 1,card,0,255,255,0.") from error
        if not name or not 0 <= index <= 65535:
            raise DataError(f"{path}, line {line}: every class needs a name and an index between 0 and 65535.")
        rows.append(ClassRow(index, name, rgb, ignore))
    if len({row.index for row in rows}) != len(rows):
        raise DataError(f"{path} gives one index twice; give every row an index of its own (rows may share a name).")
    return tuple(rows)


def classes_from_rows(rows: tuple[ClassRow, ...], notation: Notation = "index") -> Classes:
    """Class table of a `classes.csv`.

    Args:
        rows: as `read_classes_csv` gives them.
        notation: how the masks are written; "colour" needs r, g, b in every row.

    Raises:
        DataError: fewer than two classes remain, or colours are needed and absent.
    """
    names = tuple(dict.fromkeys(row.name for row in rows if not row.ignore))
    if notation == "colour" and any(row.rgb is None for row in rows):
        raise DataError("The masks are colour pictures, but classes.csv has rows without r, g, b; add the colours.")
    defaults = default_colours(max(len(names), 2))
    first = {row.name: row.rgb for row in reversed(rows)}
    numbers = {row.index: IGNORED if row.ignore else names.index(row.name) for row in rows}
    return Classes(
        names=names,
        colours=tuple(first[name] or defaults[number] for number, name in enumerate(names)),
        notation=notation,
        values=tuple(sorted(numbers.items())) + (() if IGNORED in numbers else ((IGNORED, IGNORED),)),
        rgb_values=tuple((row.rgb, numbers[row.index]) for row in rows if row.rgb is not None)
        if notation == "colour"
        else (),
    )


def _rgb(raw: Any) -> Rgb:
    r, g, b = (int(v) for v in raw)
    if not all(0 <= v <= 255 for v in (r, g, b)):
        raise ValueError(f"the colour {r},{g},{b} is outside 0..255")
    return (r, g, b)
