"""What a run says while it goes: a bar with frames per second for files, one quiet line for streams."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, Protocol

from segwright.predict.feed import Feed

EVERY_SECONDS = 0.5


class Status(Protocol):
    """Is told about each frame."""

    def advance(self, milliseconds: float) -> None:
        """One more frame is done."""

    def say(self, sentence: str) -> None:
        """Something that should stay to be read."""

    def close(self) -> None:
        """The run is over."""


class Silent:
    """Says nothing but to `tell`."""

    def advance(self, milliseconds: float) -> None:
        """See `Status.advance`."""

    def say(self, sentence: str) -> None:
        """See `Status.say`."""

    def close(self) -> None:
        """See `Status.close`."""


class Bar:
    """A progress bar on stderr, with frames per second; for live sources, a line with losses instead.

    Args:
        console: of rich, on stderr.
        feed: whose frames are counted.
    """

    def __init__(self, console: Any, feed: Feed) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self._feed, self._console = feed, console
        self._times: deque[float] = deque(maxlen=200)
        self._said = 0.0
        columns = (
            (TextColumn("{task.description}"), TimeElapsedColumn(), TextColumn("{task.fields[note]}"))
            if feed.live
            else (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed:.0f}/{task.total:.0f}"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
            )
        )
        self._progress = Progress(*columns, console=console, transient=True, refresh_per_second=4)
        self._task = self._progress.add_task("Watching" if feed.live else "Predicting", total=0, note="")
        self._progress.start()

    def advance(self, milliseconds: float) -> None:
        """See `Status.advance`."""
        now = time.monotonic()
        self._times.append(now)
        expected = sum(self._feed.expected.values())
        self._progress.advance(self._task)
        if now - self._said < EVERY_SECONDS:
            return
        self._said = now
        rate = (len(self._times) - 1) / (now - self._times[0]) if now > self._times[0] else 0.0
        note = f"{rate:.1f} fps, {milliseconds:.0f} ms"
        for name, losses in self._feed.losses.items():
            note += f"  {name}: {losses.replaced + losses.skipped} lost, {losses.reconnected} reconnects"
        self._progress.update(self._task, total=max(expected, self._progress.tasks[0].completed), note=note)

    def say(self, sentence: str) -> None:
        """See `Status.say`."""
        self._console.print(sentence, soft_wrap=True, highlight=False, markup=False)

    def close(self) -> None:
        """See `Status.close`."""
        self._progress.stop()
