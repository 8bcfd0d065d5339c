"""Report: what a model scored on which pictures, who measured it and when - as JSON, as one offline page, in the terminal.

A number that does not exist (a class that does not occur) is NaN in Python, null in JSON and a dash for people; it is never
0 or 1. File names, class names and settings come from strangers: they reach the page through an escaping template.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segwright.errors import DataError
from segwright.outputs import require_writable, write_text

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA = 1
JSON_NAME, PAGE_NAME = "report.json", "report.html"
DASH = "–"


@dataclass(frozen=True, kw_only=True)
class Score:
    """One number, 0..1, with the 95 % interval it would move in if other pictures of this kind had been measured."""

    value: float
    """NaN where there is nothing to measure."""
    low: float = math.nan
    """NaN where no interval can be given, as with fewer than five pictures."""
    high: float = math.nan

    @property
    def known(self) -> bool:
        """Whether there is a value at all."""
        return not math.isnan(self.value)

    @property
    def sure(self) -> bool:
        """Whether there is an interval."""
        return not (math.isnan(self.low) or math.isnan(self.high))

    def __str__(self) -> str:
        return f"{number(self.value)} ({number(self.low)} to {number(self.high)})" if self.sure else number(self.value)


@dataclass(frozen=True, kw_only=True)
class ClassScores:
    """How well one class was found."""

    name: str
    colour: tuple[int, int, int]
    pictures: int
    """Pictures whose truth holds the class."""
    pixels: int
    """Pixels of the class in the truth."""
    predicted: int
    """Pixels that were given this class."""
    iou: Score
    dice: Score
    precision: Score
    recall: Score
    boundary_f1: Score
    constant_iou: float
    """IoU of answering this class everywhere, which is the class's share of all pixels."""


@dataclass(frozen=True, kw_only=True)
class Constant:
    """What the best model without eyes scores: one answer for every pixel."""

    answer: str
    """The commonest class, which is the best constant for mIoU and accuracy."""
    miou: float
    accuracy: float
    foreground_iou: float
    """With two classes: IoU of answering the foreground everywhere, which is the best constant for it; else NaN."""


@dataclass(frozen=True, kw_only=True)
class PictureScore:
    """One picture."""

    key: str
    size_hw: tuple[int, int]
    miou: float
    """Mean IoU over the classes in this picture's truth."""
    foreground_iou: float
    """With two classes: IoU of the second; NaN when it is neither there nor predicted, and with more classes."""
    accuracy: float
    milliseconds: float
    pixels: int
    """Pixels that were counted, without ignored ones."""
    counts: Mapping[int, tuple[int, int, int]]
    """Class number -> pixels (right, in the truth, predicted); classes that are neither in truth nor predicted are absent."""

    @property
    def score(self) -> float:
        """What pictures are ranked by: the foreground's IoU where there is one, else mIoU."""
        return self.miou if math.isnan(self.foreground_iou) else self.foreground_iou


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A picture, its truth and the prediction side by side, for the page only; not part of the JSON."""

    key: str
    kind: str
    """worst or best."""
    score: float
    pixels: NDArray[np.uint8]
    """(H, W, 3) uint8 RGB."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that was measured in one pass over one split."""

    model: Mapping[str, Any]
    """name, sha256 of the weights (or None), size, precision, threshold, engine, recipe."""
    data: str
    """Name of the data set."""
    split: str
    classes: tuple[ClassScores, ...]
    counts: NDArray[np.int64]
    """(C, C) pixels summed over all pictures; rows are the truth, columns the prediction."""
    ignored_pixels: int
    miou: Score
    mean_dice: Score
    accuracy: Score
    foreground_iou: Score
    """With two classes: IoU of the second; else NaN."""
    mean_boundary_f1: Score
    constant: Constant
    pictures: tuple[PictureScore, ...]
    milliseconds: float
    """Mean time of one prediction, the first one left out (it warms up)."""
    warnings: tuple[str, ...]
    """Plain sentences about what these numbers cannot say."""
    measured: str
    """UTC date and time, ISO 8601."""
    machine: Mapping[str, Any]
    """Processor count and versions; no names of hosts, users or folders."""
    seed: int
    resamples: int
    panels: tuple[Panel, ...] = field(default=(), compare=False, repr=False)

    @property
    def headline(self) -> tuple[str, Score, float]:
        """Name of the number to quote, the number, and what the best constant scores."""
        if self.foreground_iou.known:
            return f"{self.classes[1].name} IoU", self.foreground_iou, self.constant.foreground_iou
        return "mIoU", self.miou, self.constant.miou

    @property
    def better_than_constant(self) -> bool:
        """Whether the headline score lies above the best constant's."""
        _, score, constant = self.headline
        return score.value > constant

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; NaN becomes None."""
        raw = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "panels"}
        return {"schema": SCHEMA, **plain(raw)}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Report:
        """Inverse of `to_dict`, without panels.

        Raises:
            DataError: not a report, or one from a newer segwright.
        """
        try:
            schema = int(raw["schema"])
            if schema > SCHEMA:
                raise DataError(
                    f"The report has schema {schema}, newer than {SCHEMA}; upgrade: pip install -U segwright"
                )
            return cls(
                model=dict(raw["model"]),
                data=str(raw["data"]),
                split=str(raw["split"]),
                classes=tuple(_class_scores(c) for c in raw["classes"]),
                counts=_square(raw["counts"], len(raw["classes"])),
                ignored_pixels=int(raw["ignored_pixels"]),
                constant=_constant(raw["constant"]),
                pictures=tuple(_picture_score(p) for p in raw["pictures"]),
                milliseconds=_float(raw["milliseconds"]),
                warnings=tuple(str(w) for w in raw["warnings"]),
                measured=str(raw["measured"]),
                machine=dict(raw["machine"]),
                seed=int(raw["seed"]),
                resamples=int(raw["resamples"]),
                miou=_score(raw["miou"]),
                mean_dice=_score(raw["mean_dice"]),
                accuracy=_score(raw["accuracy"]),
                foreground_iou=_score(raw["foreground_iou"]),
                mean_boundary_f1=_score(raw["mean_boundary_f1"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"The report lacks a number or holds a wrong one ({error!r}); measure again with: segwright evaluate"
            ) from error

    def write(self, out: Path, *, extras: Mapping[str, Any] | None = None) -> Path:
        """Write report.json and report.html into a folder.

        Args:
            out: folder, made when absent.
            extras: more for the page: "health" and "parity" (dicts of findings and facts), "curves" (the rows of a run's
                log.csv as dicts).

        Returns:
            The page.

        Raises:
            OutputError: the folder cannot be written to.
        """
        from segwright.evaluation.page import html

        require_writable(out)
        write_text(out / JSON_NAME, json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n")
        write_text(out / PAGE_NAME, html(self, extras or {}))
        return out / PAGE_NAME


def read_report(path: Path) -> Report:
    """A report from its report.json, or from the folder that holds it.

    Raises:
        DataError: nothing there, not JSON, or not a report.
    """
    file = path / JSON_NAME if path.is_dir() else path
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{file} cannot be read as a report ({error}); make one with: segwright evaluate") from error
    if not isinstance(raw, dict):
        raise DataError(f"{file} is not a report; make one with: segwright evaluate")
    return Report.from_dict(raw)


def print_report(report: Report, console: Console) -> None:
    """The same numbers as a table in the terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    name, score, constant = report.headline
    console.print(
        f"[bold]{escape(name)} {score}[/bold]   best constant answer {number(constant)}   "
        f"{len(report.pictures)} pictures of {escape(report.data)}/{escape(report.split)}",
        highlight=False,
    )
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), caption="95 %: interval over pictures", caption_justify="left")
    table.add_column("class", min_width=10, overflow="fold")
    for column in ("IoU", "95 %", "Dice", "prec.", "recall", "edge F1", "share"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in report.classes:
        table.add_row(
            escape(row.name),
            number(row.iou.value),
            interval(row.iou),
            *(number(s.value) for s in (row.dice, row.precision, row.recall, row.boundary_f1)),
            number(row.constant_iou),
        )
    table.add_section()
    table.add_row(
        "mean",
        number(report.miou.value),
        interval(report.miou),
        number(report.mean_dice.value),
        "",
        "",
        number(report.mean_boundary_f1.value),
    )
    console.print(table)
    console.print(
        f"pixel accuracy {report.accuracy}   {report.milliseconds:.1f} ms per picture"
        if not math.isnan(report.milliseconds)
        else f"pixel accuracy {report.accuracy}",
        highlight=False,
    )
    for warning in report.warnings:
        console.print(f"[yellow]Note:[/yellow] {escape(warning)}", highlight=False)


def number(value: float, digits: int = 3) -> str:
    """A score for people: three digits, or a dash where there is none."""
    return DASH if math.isnan(value) else f"{value:.{digits}f}"


def interval(score: Score) -> str:
    """An interval for people, or a dash where there is none."""
    return f"{number(score.low)}–{number(score.high)}" if score.sure else DASH


def signed(value: float) -> str:
    """A change for people, with its sign, or a dash where there is none."""
    text = number(value)
    return f"+{text}" if value > 0 else text


def signed_interval(score: Score) -> str:
    """An interval of a change for people, or a dash."""
    return f"{signed(score.low)} to {signed(score.high)}" if score.sure else number(score.low)


def plain(value: Any) -> Any:
    """Dataclasses, arrays and NaN as JSON values; NaN becomes None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _float(value: Any) -> float:
    return math.nan if value is None else float(value)


def _score(raw: Mapping[str, Any]) -> Score:
    return Score(value=_float(raw["value"]), low=_float(raw["low"]), high=_float(raw["high"]))


def _class_scores(raw: Mapping[str, Any]) -> ClassScores:
    r, g, b = (min(max(int(v), 0), 255) for v in raw["colour"])
    return ClassScores(
        name=str(raw["name"]),
        colour=(r, g, b),
        pictures=int(raw["pictures"]),
        pixels=int(raw["pixels"]),
        predicted=int(raw["predicted"]),
        constant_iou=_float(raw["constant_iou"]),
        **{name: _score(raw[name]) for name in ("iou", "dice", "precision", "recall", "boundary_f1")},
    )


def _constant(raw: Mapping[str, Any]) -> Constant:
    return Constant(answer=str(raw["answer"]), **{n: _float(raw[n]) for n in ("miou", "accuracy", "foreground_iou")})


def _picture_score(raw: Mapping[str, Any]) -> PictureScore:
    height, width = (int(v) for v in raw["size_hw"])
    counts: dict[int, tuple[int, int, int]] = {}
    for key, triple in raw["counts"].items():
        hit, true, predicted = (int(v) for v in triple)
        counts[int(key)] = (hit, true, predicted)
    return PictureScore(
        key=str(raw["key"]),
        size_hw=(height, width),
        pixels=int(raw["pixels"]),
        counts=counts,
        **{n: _float(raw[n]) for n in ("miou", "foreground_iou", "accuracy", "milliseconds")},
    )


def _square(raw: Any, classes: int) -> NDArray[np.int64]:
    counts = np.array(raw, np.int64)
    if counts.shape != (classes, classes) or classes < 2:
        raise ValueError(f"counts of shape {counts.shape} for {classes} classes")
    return counts
