"""A live source, read by a thread of its own: always the newest frame, reconnected with back-off for ever, losses counted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from segwright.errors import DataError
from segwright.predict.decoders import CvDecoder, Decoder, Shot, open_video
from segwright.predict.frame import Choice, Frame
from segwright.predict.sources import Source

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds before the first attempt to connect again, doubled with each that fails, and the most they grow to."""

Tell = Callable[[str], None]


@dataclass
class Losses:
    """What happened to the frames of a live source."""

    received: int = 0
    """Decoded."""
    replaced: int = 0
    """Decoded, but a newer one came before anybody had time for them."""
    skipped: int = 0
    """Packets thrown away undecoded, because reading them had fallen behind."""
    damaged: int = 0
    """Packets or frames that could not be decoded, or only with holes."""
    reconnected: int = 0
    """Times the connection was lost and made again."""
    seconds_away: float = 0.0
    """Time without a connection, all together."""


class LiveStream:
    """One stream or webcam.

    Args:
        source: of the kind "stream" or "webcam".
        choice: which frames; seconds count from the first connection.
        changed: notified when there is something to take.
        opener: opens a decoder; tests put their own here.
        tell: is told in one sentence when the connection is lost and found again.
    """

    def __init__(
        self,
        source: Source,
        choice: Choice,
        changed: threading.Condition,
        *,
        opened: Decoder | None = None,
        opener: Callable[[Source], Decoder] | None = None,
        tell: Tell | None = None,
    ) -> None:
        self.source, self.losses = source, Losses()
        self.problem = ""
        """Why it could not be opened at all, as one sentence."""
        self._choice, self._changed, self._tell = choice, changed, tell or (lambda _: None)
        self._opener, self._opened = opener or open_live, opened
        self._newest: tuple[Decoder, Shot, float, int] | None = None
        self._given = 0
        self._named = datetime.min.replace(tzinfo=UTC)
        self._over = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, name=f"reading {source.name}", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading; a read that waits for the network is left to its time-out."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(0.5)

    def take(self) -> Frame | None:
        """The newest frame that nobody has taken yet, or None."""
        with self._changed:
            newest, self._newest = self._newest, None
        if newest is None:
            return None
        decoder, shot, seconds, number = newest
        self._given += 1
        if self._given == self._choice.most:
            self._stop.set()
        frame = Frame(
            image=self._choice.sized(decoder.picture(shot)),
            key=self.source.name,
            source=self.source.name,
            index=number,
            seconds=seconds,
            arrived=shot.arrived,
            live=True,
        )
        # Named by the time: numbers begin anew with each run, and would overwrite what an earlier one found. Of frames that came in
        # one burst, several may have been decoded in the same millisecond.
        self._named = max(frame.moment, self._named + timedelta(milliseconds=1))
        return replace(
            frame, key=f"{self.source.name}/{self._named:%Y%m%d-%H%M%S}-{self._named.microsecond // 1000:03d}"
        )

    @property
    def over(self) -> bool:
        """Whether nothing more will come: it could not be opened, or all wanted frames were taken."""
        with self._changed:
            done = self._given == self._choice.most
            return done or (self._over and self._newest is None)

    def _read(self) -> None:
        """The thread: connect, read until it breaks, wait, connect again."""
        try:
            self._connect_for_ever()
        except DataError as error:
            self.problem = str(error)
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()

    def _connect_for_ever(self) -> None:
        began = lost = time.monotonic()
        attempt = number = 0
        while not self._stop.is_set() and time.monotonic() - began < (self._choice.end or float("inf")):
            why = "the stream ended"
            try:
                decoder, self._opened = self._opened or self._opener(self.source), None
            except DataError as error:
                if not number:
                    raise
                decoder, why = None, str(error)
            if decoder is not None:
                before = number
                try:
                    number = self._receive(decoder, began, number, lost if number else None)
                finally:
                    self.losses.damaged += decoder.damaged
                    self.losses.skipped += decoder.skipped
                if number > before:
                    attempt, lost = 0, time.monotonic()
                elif not number and not self._stop.is_set():
                    raise DataError(
                        f"{self.source.shown} answers but sends no frame; check that the camera is on and sends video."
                    )
            if self._stop.is_set():
                return
            pause = min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE)
            if attempt == 0:
                self._tell(f"{self.source.shown}: connection lost ({why}); trying again until it is back.")
            attempt += 1
            self._stop.wait(pause)

    def _receive(self, decoder: Decoder, began: float, number: int, lost: float | None) -> int:
        """Read one connection until it breaks; returns the number of the next frame."""
        first: float | None = None
        ahead = 0.0
        try:
            for shot in decoder.shots():
                if lost is not None and first is None:
                    self.losses.reconnected += 1
                    self.losses.seconds_away += shot.arrived - lost
                    self._tell(f"{self.source.shown}: connected again after {shot.arrived - lost:.1f} s.")
                # The stream's own clock is even, arrivals are not; but it may jump, and starts anew with each connection.
                if first is None or abs((shot.seconds - first) + ahead - (shot.arrived - began)) > 1.0:
                    first, ahead = shot.seconds, shot.arrived - began
                seconds = max(shot.seconds - first + ahead, 0.0)
                self.losses.received += 1
                if self._choice.end is not None and seconds >= self._choice.end:
                    self._stop.set()
                if self._stop.is_set():
                    return number
                wanted = number % self._choice.every == 0 and seconds >= self._choice.start
                if wanted:
                    with self._changed:
                        self.losses.replaced += self._newest is not None
                        self._newest = (decoder, shot, seconds, number)
                        self._changed.notify_all()
                number += 1
        finally:
            # A frame that was decoded outlives its decoder.
            decoder.close()
        return number


def open_live(source: Source) -> Decoder:
    """The decoder of a stream or webcam.

    Raises:
        DataError: it cannot be opened.
    """
    if source.kind == "webcam":
        return CvDecoder(int(source.address))
    return open_video(source.address, network=True)
