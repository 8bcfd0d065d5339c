"""Models beside each other: their reports, and what changes from the first to each of the others."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from segwright.errors import DataError, UserError
from segwright.evaluation.paired import Change, change
from segwright.evaluation.report import JSON_NAME, Report, number, plain, read_report, signed, signed_interval

MOST_NAMED = 3
"""Pictures that are named as the most changed ones, on either side."""


@dataclass(frozen=True)
class Compared:
    """One model among those that are compared."""

    name: str
    """The path it was given by, without what all of them begin with."""
    report: Report
    change: Change | None
    """From the first model to this one; None for the first."""


def compare(models: Sequence[Path]) -> tuple[Compared, ...]:
    """Reports of two or more models, and what changes from the first to each.

    Args:
        models: report.json files, folders that hold one, or run folders that hold one folder with one.

    Raises:
        UserError: fewer than two models, or a folder with several reports.
        DataError: there is no report, or they are not of the same pictures, masks and classes.
    """
    if len(models) < 2:
        raise UserError("Name two reports or more to compare: segwright compare runs/a runs/b")
    reports = [read_report(report_of(path)) for path in models]
    names = _names(models)
    found = [Compared(names[0], reports[0], None)]
    for path, name, report in zip(models[1:], names[1:], reports[1:], strict=True):
        try:
            found.append(Compared(name, report, change(reports[0], report)))
        except DataError as error:
            raise DataError(f"{models[0]} and {path}: {error}") from error
    return tuple(found)


def _names(models: Sequence[Path]) -> list[str]:
    whole = [path.absolute() for path in models]
    shared = Path(os.path.commonpath(whole))
    if shared in whole:  # one lies inside another
        return [str(path) for path in models]
    return [path.relative_to(shared).as_posix() for path in whole]


def report_of(path: Path) -> Path:
    """The report.json that a path means.

    Raises:
        UserError: there are several.
        DataError: there is none.
    """
    if path.is_file() or (path / JSON_NAME).is_file():
        return path
    if not path.exists():
        raise DataError(f"{path} does not exist; name reports of segwright evaluate.")
    inner = sorted(path.glob(f"*/{JSON_NAME}"))
    if len(inner) > 1:
        raise UserError(f"{path} holds {len(inner)} reports; name one, such as {inner[0].parent}.")
    if not inner:
        raise DataError(f"There is no {JSON_NAME} in {path}; make one with: segwright evaluate {path}")
    return inner[0]


def to_dict(compared: Sequence[Compared]) -> dict[str, Any]:
    """Everything that `render` shows, and every changed picture, as plain JSON values."""
    first = compared[0].report

    def changes(change_: Change) -> dict[str, Any]:
        by_class = {c.name: score for c, score in zip(first.classes, change_.classes, strict=True)}
        return {**vars(change_), "verdict": change_.verdict, "classes": by_class}

    found: dict[str, Any] = plain(
        {
            "score": first.headline[0],
            "data": first.data,
            "split": first.split,
            "pictures": len(first.pictures),
            "models": [
                {
                    "name": one.name,
                    "score": one.report.headline[1],
                    "milliseconds": one.report.milliseconds,
                    "change": one.change and changes(one.change),
                }
                for one in compared
            ],
        }
    )
    return found


def render(compared: Sequence[Compared], console: Console) -> None:
    """The models as a table, then the classes and the most changed pictures of each."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    first = compared[0].report
    table = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1),
        caption="95 %: interval of the change over pictures; +/-: pictures that are better and worse",
        caption_justify="left",
    )
    table.add_column("model", overflow="fold")
    for column in (first.headline[0], "change", "95 %", "", "+/-", "ms a picture"):
        table.add_column(escape(column), justify="right", no_wrap=True)
    for one in compared:
        found: tuple[str, ...] = ("", "", "", "")
        if one.change is not None:
            headline, better, worse = one.change.headline, len(one.change.better), len(one.change.worse)
            found = (signed(headline.value), signed_interval(headline), one.change.verdict, f"+{better} -{worse}")
        table.add_row(
            escape(one.name), number(one.report.headline[1].value), *found, number(one.report.milliseconds, 1)
        )
    console.print(f"{len(first.pictures)} pictures of {escape(first.data)}/{escape(first.split)}", highlight=False)
    console.print(table)
    for one in compared[1:]:
        if one.change is not None:
            _render_change(one.name, one.change, first, console)


def _render_change(name: str, change_: Change, first: Report, console: Console) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=(0, 1), title=f"IoU of each class, {escape(name)}", title_justify="left")
    table.add_column("class", min_width=10, overflow="fold")
    table.add_column("change", justify="right")
    table.add_column("95 %", justify="right")
    for scores, score in zip(first.classes, change_.classes, strict=True):
        table.add_row(escape(scores.name), signed(score.value), signed_interval(score))
    console.print(table)
    for word, keys in (("Most gained", change_.better), ("Most lost", change_.worse)):
        if keys:
            console.print(f"{word}: {escape(', '.join(keys[:MOST_NAMED]))}", highlight=False, soft_wrap=True)
