"""Frames of a video file, none lost, each with its own time; and what is missing where the file is damaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from segwright.errors import DataError
from segwright.predict.decoders import Decoder, open_video
from segwright.predict.frame import Choice, Frame
from segwright.predict.sources import Source

MISSING_SECONDS = 0.5
"""A file that ends this much before its announced end was cut off."""


class VideoFrames:
    """The chosen frames of one video with an end: a file, or one at a web address.

    Args:
        source: of the kind "video" or "stream".
        choice: which frames.
        opened: the decoder, where it was opened already.
        opener: opens a decoder; tests put their own here.

    Raises:
        DataError: it cannot be opened.
    """

    def __init__(
        self,
        source: Source,
        choice: Choice,
        *,
        opened: Decoder | None = None,
        opener: Callable[..., Decoder] = open_video,
    ) -> None:
        self.source, self._choice = source, choice
        self._decoder = opened or opener(source.address, network=source.kind == "stream", start=choice.start)
        self.problem = ""
        """After the last frame: what is wrong with the file, as one sentence; empty when all is well."""

    @property
    def expected(self) -> int:
        """About how many frames will come; 0 when nobody knows."""
        duration, rate = self._decoder.duration, self._decoder.rate
        if not duration or not rate:
            return self._choice.most or 0
        length = min(duration, self._choice.end or duration) - self._choice.start
        count = -(-max(round(length * rate), 0) // self._choice.every)
        return min(count, self._choice.most or count)

    def __iter__(self) -> Iterator[Frame]:
        choice, decoder = self._choice, self._decoder
        number, first, given, last, whole = -1, 0, 0, 0.0, True
        try:
            for shot in decoder.shots():
                last = shot.seconds
                # Time stamps are rounded.
                if shot.seconds < choice.start - 0.002:
                    continue
                if choice.end is not None and shot.seconds >= choice.end:
                    whole = False
                    break
                # After a jump to the start, the first number is told by the clock; from there on they are counted.
                number = number + 1 if number >= 0 else round(choice.start and shot.seconds * decoder.rate)
                if given and (number - first) % choice.every:
                    continue
                if not given:
                    first = number
                yield Frame(
                    image=choice.sized(decoder.picture(shot)),
                    key=f"{self.source.name}/{number:06d}",
                    source=self.source.name,
                    index=number,
                    seconds=max(shot.seconds, 0.0),
                    arrived=shot.arrived,
                    path=Path(self.source.address) if self.source.kind == "video" else None,
                )
                given += 1
                if given == choice.most:
                    whole = False
                    break
        finally:
            decoder.close()
        self.problem = self._what_is_wrong(given, last) if whole else ""

    def _what_is_wrong(self, given: int, last: float) -> str:
        shown, decoder, choice = self.source.shown, self._decoder, self._choice
        if not given and last > 0 and choice.start > 0:
            return f"{shown} ends before --start {choice.start:g} s; choose an earlier start."
        if not given:
            return f"{shown} holds no frames; it is empty or damaged, copy it again."
        step = 1 / decoder.rate if decoder.rate else 0.0
        if decoder.duration and last + step < decoder.duration - MISSING_SECONDS:
            return f"{shown} is cut off after {last + step:.1f} of {decoder.duration:.1f} s; copy it again."
        if decoder.damaged:
            return f"{shown} is damaged in {decoder.damaged} places, and the frames there are wrong; copy it again."
        return ""


def read_video(path: Path | str, choice: Choice | None = None) -> Iterator[Frame]:
    """Frames of a video file, for code of yours.

    Args:
        path: of the file.
        choice: which frames; None takes all.

    Raises:
        DataError: it cannot be opened, holds no frames, or is cut off; the last two after its last frame.
    """
    frames = VideoFrames(Source(kind="video", name=Path(path).stem, address=str(path)), choice or Choice())
    yield from frames
    if frames.problem:
        raise DataError(frames.problem)
