"""All sources of a run as one row of frames: files one after another, and live sources at the same time, each in its turn."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from segwright.data.sample import Sample, read_image
from segwright.errors import DataError
from segwright.predict.decoders import Decoder
from segwright.predict.frame import Choice, Frame
from segwright.predict.sources import Source
from segwright.predict.stream import LiveStream, Losses, Tell, open_live
from segwright.predict.video import VideoFrames

READ_AHEAD = 4
"""Frames of files that are decoded before they are needed."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A picture, video or stream that could not be read, and why in one sentence."""

    path: Path
    reason: str


@dataclass(frozen=True, kw_only=True)
class Ended:
    """Comes behind the last frame of a source."""

    source: str


class Feed:
    """Frames of several sources.

    Args:
        sources: as `find_sources` gives them.
        choice: which frames.
        tell: is told in one sentence about lost connections.
        opener: opens a live source; tests put their own here.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        choice: Choice | None = None,
        *,
        tell: Tell | None = None,
        opener: Callable[[Source], Decoder] = open_live,
    ) -> None:
        self.choice = choice or Choice()
        self.failures: list[Failure] = []
        """Grows while frames are read."""
        self.pictures = any(source.kind == "pictures" for source in sources)
        """Whether there are pictures among the sources."""
        self.expected: dict[str, int] = {}
        """Source -> frames that will come, as far as known; videos are added when their turn comes."""
        self._changed = threading.Condition()
        self._files: list[tuple[Source, VideoFrames | None]] = []
        self._streams: list[LiveStream] = []
        self._stopped = False
        for source in sources:
            if source.kind in {"pictures", "video"}:
                self._files.append((source, None))
                if source.kind == "pictures":
                    self.expected[source.name] = len(source.pictures)
                continue
            # Opened here and not in a thread, so that what cannot be opened is said before anything else begins.
            try:
                decoder = opener(source)
            except DataError as error:
                self.failures.append(Failure(path=Path(source.shown), reason=str(error)))
                if tell is not None and len(sources) > 1:
                    tell(f"{error} The other sources are watched without it.")
                continue
            if source.kind == "stream" and decoder.duration:
                self._files.append((source, VideoFrames(source, self.choice, opened=decoder)))
            else:
                stream = LiveStream(
                    source,
                    self.choice,
                    self._changed,
                    opened=decoder,
                    opener=opener,
                    tell=tell,
                )
                self._streams.append(stream)

    @property
    def live(self) -> bool:
        """Whether a live source is among them: then nothing is read ahead, since it would only grow old."""
        return bool(self._streams)

    @property
    def losses(self) -> dict[str, Losses]:
        """Of each live source by its name."""
        return {stream.source.name: stream.losses for stream in self._streams}

    def __iter__(self) -> Iterator[Frame | Ended]:
        for stream in self._streams:
            stream.start()
        lanes = ([self._from_files()] if self._files else []) + [self._from(stream) for stream in self._streams]
        while lanes and not self._stopped:
            waiting = 0
            for lane in list(lanes):
                try:
                    item = next(lane)
                except StopIteration:
                    lanes.remove(lane)
                    continue
                if item is None:
                    waiting += 1
                else:
                    yield item
            if lanes and waiting == len(lanes):
                with self._changed:
                    self._changed.wait(0.2)

    def stop(self) -> None:
        """Let go of all sources."""
        self._stopped = True
        for stream in self._streams:
            stream.stop()

    def _from(self, stream: LiveStream) -> Iterator[Frame | Ended | None]:
        while not stream.over:
            yield stream.take()
        if stream.problem:
            self.failures.append(Failure(path=Path(stream.source.shown), reason=stream.problem))
        yield Ended(source=stream.source.name)

    def _from_files(self) -> Iterator[Frame | Ended]:
        for source, opened in self._files:
            if source.kind == "pictures":
                yield from self._from_pictures(source)
            else:
                yield from self._from_video(source, opened)
            yield Ended(source=source.name)

    def _from_pictures(self, source: Source) -> Iterator[Frame]:
        for sample in source.pictures:
            try:
                yield picture_frame(sample, self.choice, source=source.name)
            except DataError as error:
                self.failures.append(Failure(path=sample.image, reason=str(error)))

    def _from_video(self, source: Source, opened: VideoFrames | None) -> Iterator[Frame]:
        try:
            frames = opened or VideoFrames(source, self.choice)
        except DataError as error:
            self.failures.append(Failure(path=Path(source.shown), reason=str(error)))
            return
        self.expected[source.name] = frames.expected
        yield from frames
        if frames.problem:
            self.failures.append(Failure(path=Path(source.shown), reason=frames.problem))


def picture_frame(sample: Sample, choice: Choice, *, source: str = "pictures") -> Frame:
    """A picture from disk as a frame.

    Raises:
        DataError: it cannot be read.
    """
    return Frame(image=choice.sized(read_image(sample.image)), key=sample.key, source=source, path=sample.image)


def frames(*words: str | Path, choice: Choice | None = None) -> Iterator[Frame]:
    """Frames of pictures, videos, streams and webcams, for code of yours; `segwright.frames`.

    Args:
        words: as in `find_sources`.
        choice: which frames.

    Raises:
        DataError: nothing there, or, after the last frame, what could not be read.
    """
    from segwright.predict.sources import find_sources

    feed = Feed(find_sources(words), choice)
    try:
        for item in feed:
            if isinstance(item, Frame):
                yield item
    finally:
        feed.stop()
    if feed.failures:
        more = f" ({len(feed.failures)} could not be read)" if len(feed.failures) > 1 else ""
        raise DataError(f"{feed.failures[0].reason}{more}")
