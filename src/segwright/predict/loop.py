"""The loop: one thread reads ahead, the network never waits, another thread draws and writes; Ctrl-C leaves whole files.

The caller's thread runs the network or hands frames to several copies of it, and it runs the window, which some systems allow nowhere
else.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from segwright.classes import Classes
from segwright.data.sample import Sample
from segwright.errors import DataError, SegwrightError
from segwright.metrics import class_pixels
from segwright.outputs import require_writable, write_text
from segwright.predict.belt import Belt
from segwright.predict.cleanup import Cleanup
from segwright.predict.crew import Crew
from segwright.predict.feed import READ_AHEAD, Ended, Failure, Feed
from segwright.predict.found import Drawing, Found, largest_area
from segwright.predict.frame import Frame
from segwright.predict.predictor import Prediction, Predicts
from segwright.predict.sinks import JsonLines, Pictures, Sink
from segwright.predict.sources import Source, find_pictures
from segwright.predict.status import Bar, Silent, Status
from segwright.predict.steady import Flicker, Steady
from segwright.predict.stream import Losses

REMEMBERED = 10_000
"""Frames whose times are kept for the median: a run may take weeks."""


class Shows(Protocol):
    """A window."""

    closed: bool

    def show(self, picture: NDArray[np.uint8], milliseconds: float, largest: int) -> None:
        """Show one frame."""

    def poll(self) -> None:
        """Read the keyboard."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a run did."""

    out: Path
    pictures: int
    """Pictures and frames, predicted and written."""
    frames: int = 0
    """How many of them belonged to videos or streams."""
    saved: frozenset[str] = frozenset()
    """What was written, in the words of `--save`."""
    failures: tuple[Failure, ...]
    milliseconds: float
    """Median per picture, reading and writing left out; of the last 10,000."""
    shares: dict[str, float]
    """Share of all predicted pixels by class name, 0..1."""
    seconds: float = 0.0
    """From the first frame read to the last one written."""
    delay: float = 0.0
    """Median seconds from a frame's arrival to its answers being written; of the last 10,000."""
    stopped: bool = False
    """Whether Ctrl-C, the window or the end of a stream's time ended it before its sources did."""
    losses: dict[str, Losses] = field(default_factory=dict)
    """Of each live source."""
    flicker: tuple[float, float] | None = None
    """Share of pixels that change class between frames, before and after smoothing; None where it was not asked for."""


def run(
    predictor: Predicts,
    feed: Feed,
    sinks: Sequence[Sink],
    out: Path,
    *,
    helpers: Sequence[Predicts] = (),
    palette: Classes | None = None,
    cleanup: Cleanup | None = None,
    steady: float | None = None,
    window: Shows | None = None,
    draw: Drawing = "overlay",
    status: Status | None = None,
) -> Summary:
    """Predict everything that a feed gives, until it ends or Ctrl-C.

    Args:
        predictor: what predicts.
        feed: where frames come from; it is stopped in the end.
        sinks: where answers go; they are closed in the end.
        out: where they lie, for the summary.
        helpers: copies of the predictor that work beside it, for more frames a second and a later answer to each.
        palette: classes in other colours than the model's.
        cleanup: of class maps.
        steady: strength of the smoothing over time; 0 only measures the flicker.
        window: shows each frame.
        draw: what the window shows of a frame.
        status: is told about each frame.

    Returns:
        What was done; `stopped` says whether it was Ctrl-C that ended it.

    Raises:
        DataError: nothing could be read.
        OutputError: something could not be written; what was finished before is whole.
    """
    places = 1 if feed.live else READ_AHEAD  # what waits on a belt only grows old
    ready: Belt[Frame | Ended] = Belt(places)
    done: Belt[tuple[Frame, Prediction] | Ended] = Belt(places)
    writer = Writer(done, sinks, palette or predictor.classes, cleanup or Cleanup(), steady, threshold_of(predictor))
    writer.draw = draw if window is not None else None
    status, stopped = status or Silent(), False
    threading.Thread(target=_read, args=(feed, ready), name="reading ahead", daemon=True).start()
    writing = threading.Thread(target=writer.work, name="writing behind", daemon=True)
    writing.start()
    began = time.monotonic()
    crew = Crew([predictor, *helpers], probabilities=steady is not None)
    try:
        while not (ready.ended and crew.idle):
            item = ready.get(0.05 if window is not None else 0.5)
            if item is not None:
                crew.give(item)
            for answer in crew.answers(everything=ready.ended):
                if not isinstance(answer, Ended):
                    status.advance(answer[1].milliseconds)
                done.put(answer)
            if done.stopped:
                break
            if window is not None:
                if (picture := writer.take_picture()) is not None:
                    window.show(*picture)
                window.poll()
                if window.closed:
                    stopped = True
                    break
    except KeyboardInterrupt:
        stopped = True
    finally:
        ready.stop()
        crew.close()
        done.finish()
        feed.stop()
        _join(writing)
        status.close()
    if writer.error is not None:
        raise writer.error
    if not writer.count and not stopped:
        failures = feed.failures
        if len(failures) == 1 and not feed.pictures:
            raise DataError(failures[0].reason)
        raise DataError(
            f"None of the {len(failures)} pictures could be read; the first: {failures[0].reason}"
            if failures
            else "No frame was chosen; choose another --start, --end or --every."
        )
    return writer.summary(out, feed, time.monotonic() - began, stopped=stopped)


class Writer:
    """The thread that cleans, steadies, draws and writes.

    Args:
        done: where frames and predictions come from.
        sinks: where they go.
        palette: colours that are drawn.
        cleanup: of class maps.
        steady: as in `run`.
        threshold: of the predictor, 0..1.
    """

    def __init__(
        self,
        done: Belt[tuple[Frame, Prediction] | Ended],
        sinks: Sequence[Sink],
        palette: Classes,
        cleanup: Cleanup,
        steady: float | None,
        threshold: float,
    ) -> None:
        self._done, self._sinks, self._palette, self._cleanup = done, sinks, palette, cleanup
        self._strength, self._threshold = steady, threshold
        self._steady: dict[str, Steady] = {}
        self._flicker = Flicker()
        self._pixels = np.zeros(256, np.int64)
        self._milliseconds: deque[float] = deque(maxlen=REMEMBERED)
        self._delays: deque[float] = deque(maxlen=REMEMBERED)
        self._picture: tuple[NDArray[np.uint8], float, int] | None = None
        self.draw: Drawing | None = None
        """What is kept for a window; None keeps nothing."""
        self.count = self.frames = 0
        self.error: BaseException | None = None

    def work(self) -> None:
        """Write until nothing more comes or something goes wrong; then close all sinks, whatever happened."""
        try:
            while not self._done.ended:
                item = self._done.get(0.5)
                if isinstance(item, Ended):
                    self._source_ended(item.source)
                elif item is not None:
                    self._write(*item)
        except BaseException as error:  # handed to the main thread, which raises it
            self.error = error
        finally:
            self._done.stop()
            for sink in self._sinks:
                try:
                    sink.close()
                except SegwrightError as error:
                    self.error = self.error or error

    def take_picture(self) -> tuple[NDArray[np.uint8], float, int] | None:
        """The newest drawn frame that has not been shown."""
        picture, self._picture = self._picture, None
        return picture

    def summary(self, out: Path, feed: Feed, seconds: float, *, stopped: bool) -> Summary:
        """What was done."""
        names = self._palette.names
        total = max(int(self._pixels[: len(names)].sum()), 1)
        return Summary(
            out=out,
            pictures=self.count,
            frames=self.frames,
            failures=tuple(feed.failures),
            milliseconds=float(np.median(self._milliseconds)) if self._milliseconds else math.nan,
            shares={name: int(n) / total for name, n in zip(names, self._pixels, strict=False)},
            seconds=seconds,
            delay=float(np.median(self._delays)) if self._delays else math.nan,
            stopped=stopped,
            losses=feed.losses,
            flicker=None if self._strength is None else self._flicker.shares(),
        )

    def _write(self, frame: Frame, prediction: Prediction) -> None:
        if self._strength is not None and frame.moving:
            steady = self._steady.get(frame.source)
            if steady is None:
                steady = self._steady[frame.source] = Steady(self._strength, threshold=self._threshold)
                steady.flicker = self._flicker
            prediction = steady(frame.image, prediction, frame.seconds)
        if not self._cleanup.idle:
            prediction = replace(prediction, class_map=self._cleanup(prediction.class_map))
        found = Found(frame, prediction, self._palette)
        for sink in self._sinks:
            sink.write(found)
        if self.draw is not None:
            self._picture = (found.drawn(self.draw), prediction.milliseconds, largest_area(found))
        self.count += 1
        self.frames += frame.moving
        self._pixels += class_pixels(prediction.class_map)
        self._milliseconds.append(prediction.milliseconds)
        if frame.arrived:
            self._delays.append(time.monotonic() - frame.arrived)

    def _source_ended(self, source: str) -> None:
        self._steady.pop(source, None)
        for sink in self._sinks:
            sink.source_ended(source)


def threshold_of(predictor: Predicts) -> float:
    """The least probability that counts as class 1."""
    return float(getattr(predictor, "threshold", 0.5))


def predict_folder(predictor: Predicts, source: Path, out: Path, *, progress: bool = True) -> Summary:
    """Predict every picture of a file, folder or glob, and write what was found.

    Args:
        predictor: what predicts.
        source: as in `sources.find_pictures`.
        out: folder to write into; files of the same name are replaced.
        progress: show a bar on stderr.

    Returns:
        Counts, and every picture that could not be read.

    Raises:
        DataError: no pictures, or none of them could be read.
        OutputError: `out` cannot be written.
        KeyboardInterrupt: after Ctrl-C; what was finished is whole.
    """
    return predict_samples(predictor, find_pictures(source, leave_out=out), out, progress=progress)


def predict_samples(predictor: Predicts, samples: Iterable[Sample], out: Path, *, progress: bool = True) -> Summary:
    """`predict_folder` for pictures that were found already; masks are not needed."""
    require_writable(out)
    write_text(out / "classes.csv", predictor.classes.to_csv())
    feed = Feed([Source(kind="pictures", name="pictures", pictures=tuple(samples))])
    sinks: list[Sink] = [Pictures(out, frozenset({"masks", "colours", "overlays"})), JsonLines(out)]
    summary = run(predictor, feed, sinks, out, status=bar(feed) if progress else None)
    if summary.stopped:
        raise KeyboardInterrupt
    return summary


def bar(feed: Feed) -> Status:
    """Progress on stderr."""
    from rich.console import Console

    return Bar(Console(stderr=True), feed)


def _read(feed: Feed, ready: Belt[Frame | Ended]) -> None:
    """The thread that reads ahead. It waits for room first, so that the frame of a live source is chosen as late as possible."""
    try:
        items = iter(feed)
        while ready.has_room():
            item = next(items, None)
            if item is None:
                break
            ready.put(item)
    except BaseException as error:  # handed to the main thread, which raises it
        ready.finish(error)
    else:
        ready.finish()


def _join(thread: threading.Thread) -> None:
    """Wait for a thread; a second Ctrl-C does not wait."""
    while thread.is_alive():
        thread.join(0.2)
