"""What pruning gave and what it cost: before and after as a table, as JSON and as a picture of all that was tried."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segwright.evaluation.report import Score, number
from segwright.export.cost import Cost, plain
from segwright.export.frontier import Kind, Point, drawn
from segwright.export.targets import Targets, megabytes
from segwright.outputs import write_text
from segwright.render import write_png

if TYPE_CHECKING:
    from rich.table import Table

RESULT, PICTURE = "prune.json", "prune.png"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One network that was thinned out and has learnt again."""

    number: int
    level: float
    """How far of the way to the targets, 0..1."""
    share: float
    """Of the channels of the unpruned network."""
    milliseconds: float
    ratio: float
    """Its time over the unpruned network's, measured in turns."""
    bytes: int
    score: Score
    """On validation pictures."""
    drop: float
    """Points of IoU that were lost; less than 0 where some were won."""
    accepted: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, as `attempt_from` takes them."""
        return {**vars(self), "score": _score(self.score)}


def attempt_from(raw: dict[str, Any]) -> Attempt:
    """Inverse of `Attempt.to_dict`.

    Raises:
        KeyError, TypeError: not what it writes.
    """
    ends = {name: math.nan if value is None else float(value) for name, value in raw["score"].items()}
    return Attempt(**{**raw, "score": Score(**ends)})


@dataclass(frozen=True, kw_only=True)
class Side:
    """A network, before or after."""

    cost: Cost
    val: Score
    test: Score | None
    """None where the data has no test pictures with masks."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Of one pruning."""

    folder: Path
    """A run folder: `best.safetensors` in it is the pruned network."""
    targets: Targets
    max_drop: float
    """Points of IoU."""
    engine: str
    """In which time was measured for the targets."""
    score_name: str
    before: Side
    after: Side
    val_change: Score
    """Of the score, after minus before on the same pictures, with its paired interval."""
    test_change: Score | None
    attempts: tuple[Attempt, ...]
    chosen: Attempt
    met: bool
    """Whether all targets are reached."""
    notes: tuple[str, ...] = ()
    """What else has to be said."""
    facts: dict[str, Any] = field(default_factory=dict)
    """How it was done: rounds, importance, pictures, machine."""

    @property
    def speedup(self) -> float:
        """In the engine that serves it, both measured in turns."""
        return self.before.cost.milliseconds[self.engine] / self.after.cost.milliseconds[self.engine]

    def sentence(self) -> str:
        """The result in one sentence."""
        before, after = self.before.cost, self.after.cost
        where, change = ("test", self.test_change) if self.test_change else ("validation", self.val_change)
        return (
            f"{self.speedup:.2f} times as fast in {self.engine} ({after.milliseconds[self.engine]:.1f} ms instead of "
            f"{before.milliseconds[self.engine]:.1f}), {megabytes(after.bytes)} instead of {megabytes(before.bytes)}; "
            f"{self.score_name} on {where} pictures changed by {points(change)}"
        )

    def shortfall(self) -> str:
        """Empty, or what was not reached and what to do about it."""
        if self.met:
            return ""
        refused = [attempt for attempt in self.attempts if not attempt.accepted]
        why = (
            f"narrower networks lost more than --max-drop {self.max_drop:g} (the next {refused[-1].drop:.1f} points); allow more, "
            "give more --epochs after each round, more --rounds, or --distill 0.5"
            if refused
            else "no narrower network of this kind is that small or fast; choose a smaller --model, or a faster engine"
        )
        return f"{self.targets.sentence()} was not reached, the best found is kept: {why}."

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; NaN becomes None."""

        def side(one: Side) -> dict[str, Any]:
            return {**plain(one.cost), "val": _score(one.val), "test": _score(one.test) if one.test else None}

        return {
            "targets": self.targets.to_dict(),
            "max_drop": self.max_drop,
            "met": self.met,
            "engine": self.engine,
            "speedup": round(self.speedup, 3),
            "score": self.score_name,
            "before": side(self.before),
            "after": side(self.after),
            "val_change": _score(self.val_change),
            "test_change": _score(self.test_change) if self.test_change else None,
            "attempts": [attempt.to_dict() for attempt in self.attempts],
            "chosen": self.chosen.number,
            "notes": list(self.notes),
            **self.facts,
        }

    def save(self) -> None:
        """Write prune.json and prune.png into the folder.

        Raises:
            OutputError: it cannot be written.
        """
        write_text(self.folder / RESULT, json.dumps(self.to_dict(), indent=1) + "\n")
        first = self.before
        least = first.val.value - self.max_drop / 100
        milliseconds = first.cost.milliseconds[self.engine]
        dots = [Point("before", milliseconds, first.val.value, first.val.low, first.val.high, "before")]
        for attempt in self.attempts:
            kind: Kind = "chosen" if attempt is self.chosen else "kept" if attempt.accepted else "refused"
            # The ratio was measured in turns, and the two times of one network at different moments may differ.
            place = attempt.ratio * milliseconds
            label = f"{1 / attempt.ratio:.2f}x"
            dots.append(Point(label, place, attempt.score.value, attempt.score.low, attempt.score.high, kind))
        picture = drawn(dots, engine=self.engine, score=self.score_name, least=least)
        write_png(self.folder / PICTURE, picture)

    def table(self) -> Table:
        """Before and after, for the terminal."""
        from rich.box import SIMPLE_HEAD
        from rich.markup import escape
        from rich.table import Table

        table = Table(
            box=SIMPLE_HEAD, padding=(0, 1), caption="95 %: intervals over pictures, of changes over the same ones"
        )
        table.caption_justify = "left"
        for column in ("", "before", "after", "change"):
            table.add_column(column, justify="left" if not column else "right", overflow="fold")
        before, after = self.before.cost, self.after.cost
        table.add_row(
            "parameters",
            f"{before.parameters / 1e6:.2f} M",
            f"{after.parameters / 1e6:.2f} M",
            _times(before.parameters, after.parameters),
        )
        table.add_row(
            "MACs", f"{before.macs / 1e9:.2f} G", f"{after.macs / 1e9:.2f} G", _times(before.macs, after.macs)
        )
        table.add_row("file", megabytes(before.bytes), megabytes(after.bytes), _times(before.bytes, after.bytes))
        for name in before.milliseconds:
            old, new = before.milliseconds[name], after.milliseconds[name]
            table.add_row(f"{name}, median", f"{old:.1f} ms", f"{new:.1f} ms", _times(old, new))
        rows = [("val", self.before.val, self.after.val, self.val_change)]
        if self.before.test and self.after.test and self.test_change:
            rows.append(("test", self.before.test, self.after.test, self.test_change))
        for split, old_score, new_score, change in rows:
            table.add_row(f"{escape(self.score_name)}, {split}", str(old_score), str(new_score), points(change))
        return table


def points(change: Score) -> str:
    """A change of a score in points, with its interval where there is one."""
    if not change.known:
        return number(change.value)
    interval = f" ({100 * change.low:+.1f} to {100 * change.high:+.1f})" if change.sure else ""
    return f"{100 * change.value:+.1f} points{interval}"


def _times(before: float, after: float) -> str:
    return f"{before / max(after, 1e-9):.2f} times less"


def _score(score: Score) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else round(value, 6) for name, value in vars(score).items()}
