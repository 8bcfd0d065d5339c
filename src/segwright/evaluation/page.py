"""Report -> one HTML page that works offline, on a phone, in the dark and on paper: no script, no address outside itself.

Python works out geometry and sentences; `report.html.jinja` says what stands where. Everything that comes from a stranger
(file names, class names, settings) is escaped by the template, and the page's own policy forbids scripts besides.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from segwright.evaluation.intervals import LEAST_PICTURES
from segwright.evaluation.report import DASH, Panel, Report, Score, interval, number

if TYPE_CHECKING:
    from jinja2 import Template

MOST_PICTURE_BYTES = 1_100_000
"""All panels together; Base64 makes 1.5 MB of it."""

WIDEST_PANEL = 1080
MOST_MATRIX_CLASSES = 24
"""A larger confusion matrix is unreadable; its largest confusions are listed all the same."""

MOST_CONFUSIONS = 8
BINS = 20


def html(report: Report, extras: Mapping[str, Any]) -> str:
    """The page as text.

    Args:
        report: what was measured.
        extras: "health", "parity" (dicts) and "curves" (rows of a log.csv as dicts), each optional.
    """
    name, score, constant = report.headline
    return _template().render(
        report=report,
        headline_name=name,
        headline=score,
        headline_constant=constant,
        verdict=_verdict(report),
        tiles=_tiles(report),
        matrix=_matrix(report) if len(report.classes) <= MOST_MATRIX_CLASSES else None,
        confusions=_confusions(report),
        histogram=_histogram(report),
        panels=_pictures(report.panels),
        charts=_charts(extras.get("curves") or ()),
        health=_health(extras.get("health")),
        parity=_flat(extras["parity"]) if isinstance(extras.get("parity"), Mapping) else [],
        model_facts=_flat({k: v for k, v in report.model.items() if k not in {"recipe", "provenance"}}),
        recipe_facts=_flat({k: v for k, v in report.model.items() if k in {"recipe", "provenance"}}),
        machine_facts=_flat(report.machine),
        least_pictures=LEAST_PICTURES,
        number=number,
        interval=interval,
        thousands=lambda n: f"{n:,}".replace(",", "\u202f"),
        dash=DASH,
    )


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    text = files("segwright.evaluation").joinpath("report.html.jinja").read_text(encoding="utf-8")
    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(
        text
    )


@dataclass(frozen=True)
class Tile:
    """One headline number."""

    name: str
    score: Score
    constant: float
    note: str


def _tiles(report: Report) -> list[Tile]:
    means = [
        Tile("mIoU", report.miou, report.constant.miou, "mean overlap of the classes"),
        Tile("Mean Dice", report.mean_dice, math.nan, "mean F1 of the pixels"),
        Tile("Pixel accuracy", report.accuracy, report.constant.accuracy, "share of pixels that are right"),
        Tile("Boundary F1", report.mean_boundary_f1, math.nan, "edges within 0.75 % of the diagonal"),
    ]
    # The headline stands above the tiles already.
    return means if report.foreground_iou.known else means[1:]


def _verdict(report: Report) -> str:
    name, score, constant = report.headline
    if not report.better_than_constant:
        return f"Not better than a constant answer, whose {name} is {number(constant)}."
    if score.sure and score.low <= constant:
        return f"Perhaps better than a constant answer, whose {name} is {number(constant)}; the interval includes it."
    return f"The best constant answer would score {number(constant)}."


def _matrix(report: Report) -> list[list[dict[str, Any]]]:
    """Rows of cells: share of the true class, 0..1, and the count behind it."""
    true = report.counts.sum(axis=1, keepdims=True)
    shares = report.counts / np.maximum(true, 1)
    return [
        [
            {
                "share": share,
                "text": DASH if not total else f"{100 * share:.0f}" if share >= 0.005 or not count else "<1",
                "count": int(count),
                "strong": share > 0.55,
                "right": row == column,
            }
            for column, (count, share) in enumerate(zip(report.counts[row], shares[row].tolist(), strict=True))
        ]
        for row, total in enumerate(true[:, 0].tolist())
    ]


def _confusions(report: Report) -> list[dict[str, Any]]:
    """Pairs of classes that share the most wrong pixels, worst first."""
    wrong = report.counts.copy()
    np.fill_diagonal(wrong, 0)
    total = int(wrong.sum())
    found = []
    for flat in np.argsort(wrong, axis=None, kind="stable")[::-1][:MOST_CONFUSIONS]:
        true, predicted = divmod(int(flat), len(wrong))
        if count := int(wrong[true, predicted]):
            found.append(
                {
                    "true": report.classes[true],
                    "predicted": report.classes[predicted],
                    "count": count,
                    "of_errors": count / total,
                    "of_class": count / report.classes[true].pixels,
                }
            )
    return found


def _histogram(report: Report) -> dict[str, Any]:
    """Bars of the pictures' scores over 0..1; pictures without a score are counted beside."""
    scores = np.array([p.score for p in report.pictures], np.float64)
    known = scores[~np.isnan(scores)]
    heights, _ = np.histogram(known, bins=BINS, range=(0.0, 1.0))
    top = max(int(heights.max()), 1)
    return {
        "top": top,
        "bars": [
            {"x": 100 * i / BINS, "height": h / top, "count": int(h), "low": i / BINS, "high": (i + 1) / BINS}
            for i, h in enumerate(heights.tolist())
        ],
        "known": len(known),
        "unknown": len(scores) - len(known),
        "median": float(np.median(known)) if len(known) else math.nan,
        "worst": float(known.min()) if len(known) else math.nan,
        "best": float(known.max()) if len(known) else math.nan,
    }


def _pictures(panels: Sequence[Panel]) -> dict[str, list[dict[str, Any]]]:
    """Panels as data URIs, together below `MOST_PICTURE_BYTES`."""
    shown: dict[str, list[dict[str, Any]]] = {"worst": [], "best": []}
    for panel in panels:
        data, (width, height) = _webp(panel.pixels, MOST_PICTURE_BYTES // len(panels))
        uri = "data:image/webp;base64," + base64.b64encode(data).decode("ascii")
        shown.setdefault(panel.kind, []).append(
            {"key": panel.key, "score": panel.score, "uri": uri, "width": width, "height": height}
        )
    return shown


def _webp(pixels: np.ndarray, most_bytes: int) -> tuple[bytes, tuple[int, int]]:
    """Picture as WebP of at most that many bytes, made smaller until it fits; with its (width, height)."""
    picture = Image.fromarray(pixels)
    width = min(WIDEST_PANEL, picture.width)
    while True:
        size = (width, max(1, round(picture.height * width / picture.width)))
        out = io.BytesIO()
        picture.resize(size, Image.Resampling.BOX if width < picture.width else Image.Resampling.NEAREST).save(
            out, "WEBP", quality=78, method=3
        )
        if out.tell() <= most_bytes or width <= 64:
            return out.getvalue(), size
        width = round(width * 0.8)


CHART_WIDTH, CHART_HEIGHT = 640.0, 200.0
LINES = 6
"""Curves in one chart that can still be told apart."""
OF_CLASS = "val_iou_"
"""Columns of log.csv that begin so hold the IoU of one class."""


def _charts(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Line charts of a training log: losses together, scores (0..1) together, IoU of each class together."""
    columns: dict[str, list[float]] = {}
    for row in rows:
        for name, cell in row.items():
            columns.setdefault(str(name), []).append(_number_or_nan(cell))
    if len(rows) < 2:
        return []
    columns = {n: c for n, c in columns.items() if len(c) == len(rows)}
    epochs = columns.get("epoch", [])
    x = epochs if epochs and not any(map(math.isnan, epochs)) else [float(i) for i in range(len(rows))]
    # A class may be called anything, "loss" too. With two of them, the IoU of one is the score itself.
    classes = {n.removeprefix(OF_CLASS): columns.pop(n) for n in list(columns) if n.startswith(OF_CLASS)}
    # The lines that say most are those of the classes that are worst at the end.
    classes = (
        dict(sorted(classes.items(), key=lambda item: (math.isnan(item[1][-1]), item[1][-1])))
        if len(classes) > 2
        else {}
    )
    losses = {n: c for n, c in columns.items() if "loss" in n}
    scores = {
        n: c
        for n, c in columns.items()
        if any(word in n.lower() for word in ("iou", "dice", "acc", "precision", "recall", "f1"))
    }
    title = "IoU of each class" if len(classes) <= LINES else f"IoU of the {LINES} worst classes"
    charts = [_chart("Loss", x, losses), _chart("Scores", x, scores, top=1.0), _chart(title, x, classes, top=1.0)]
    return [chart for chart in charts if chart]


def _chart(
    title: str, x: Sequence[float], columns: Mapping[str, Sequence[float]], top: float | None = None
) -> dict[str, Any] | None:
    known = [v for column in columns.values() for v in column if not math.isnan(v)]
    if not known:
        return None
    high = top or max(max(known), 1e-9) * 1.05
    low = min(0.0, *known)
    span_x = max(max(x) - min(x), 1e-9)

    def points(column: Sequence[float]) -> str:
        return " ".join(
            f"{(a - min(x)) / span_x * CHART_WIDTH:.1f},{CHART_HEIGHT * (1 - (b - low) / (high - low)):.1f}"
            for a, b in zip(x, column, strict=True)
            if not math.isnan(b)
        )

    drawn = [(n, c) for n, c in columns.items() if any(not math.isnan(v) for v in c)][:LINES]
    return {
        "title": title,
        "width": CHART_WIDTH,
        "height": CHART_HEIGHT,
        "lines": [
            {"name": n, "points": points(c), "last": next(v for v in reversed(c) if not math.isnan(v))}
            for n, c in drawn
        ],
        "ticks": [
            {"y": CHART_HEIGHT * (1 - i / 4), "text": f"{low + (high - low) * i / 4:.2f}".rstrip("0").rstrip(".")}
            for i in range(5)
        ],
        "first": f"{min(x):g}",
        "last": f"{max(x):g}",
    }


def _health(health: Any) -> dict[str, Any] | None:
    """A data set's findings as a table and whatever else its summary holds as facts."""
    if not isinstance(health, Mapping):
        return None
    findings = [f for f in health.get("findings", ()) if isinstance(f, Mapping)]
    return {
        "findings": [
            {
                "severity": str(f.get("severity", "notes")),
                "message": str(f.get("message", f.get("kind", ""))),
                "count": f.get("count", ""),
            }
            for f in findings
        ],
        "facts": _flat({k: v for k, v in health.items() if k != "findings"}),
    }


def _flat(value: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Nested facts as (name, text) lines."""
    return list(_lines(value, ""))


def _lines(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _lines(inner, f"{name} {key}".strip().replace("_", " "))
    elif isinstance(value, list | tuple) and any(isinstance(v, Mapping | list | tuple) for v in value):
        for place, inner in enumerate(value, start=1):
            yield from _lines(inner, f"{name} {place}")
    elif isinstance(value, list | tuple):
        yield name, " × ".join(map(str, value)) if name.endswith("size hw") else ", ".join(map(str, value))
    elif isinstance(value, bool):
        yield name, "yes" if value else "no"
    elif isinstance(value, float):
        yield name, f"{value:.6g}"
    elif value not in (None, ""):
        yield name, str(value)


def _number_or_nan(cell: Any) -> float:
    try:
        value = float(cell)
    except (TypeError, ValueError):
        return math.nan
    return value if math.isfinite(value) else math.nan
