"""Video to pictures: PyAV, which keeps time stamps and says what is wrong, and OpenCV where PyAV is not installed.

Both were measured on three H.264 files: they decode equally fast (OpenCV 0.7 and PyAV 0.8 ms of CPU time at 768x432, 2.2
and 2.1 ms at 1280x720) and to the same pixels. PyAV comes first, because it knows when a frame belongs, and why a stream ended.
"""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from segwright.errors import DataError, MissingExtraError

OPEN_SECONDS, READ_SECONDS = 10.0, 5.0
"""How long a stream may take to answer, and to send its next packet."""
LATE_SECONDS = 1.0
"""A live stream that is read so much later than it was sent is skipped up to its next key frame."""
MOST_PIXELS = 16384 * 16384
"""Of one frame; more is hostile or damaged."""


@dataclass(frozen=True)
class Shot:
    """A decoded frame that is not a picture yet: most frames of a busy stream never become one."""

    seconds: float
    """Its time stamp: since the video began, or on a stream's own clock."""
    decoded: Any
    arrived: float = field(default_factory=time.monotonic)


class Decoder(Protocol):
    """An opened video."""

    rate: float
    """Frames per second, as announced; 0 when nothing is announced."""
    duration: float | None
    """Seconds; None for a live stream, or when nothing is announced."""
    damaged: int
    """Packets that could not be decoded."""
    skipped: int
    """Packets of a live stream that were thrown away undecoded, because they were late."""

    def shots(self) -> Iterator[Shot]:
        """Frames, one after another. Ends without an error also where a live stream was cut off."""

    def picture(self, shot: Shot) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB, upright."""

    def close(self) -> None:
        """Let go of the file, connection or camera."""


class AvDecoder:
    """A file or stream, opened by PyAV.

    Args:
        address: path or URL.
        network: whether it is read over a network.
        start: seconds from which on frames are wanted; those just before may come too.

    Raises:
        DataError: it cannot be opened, or holds no video; one sentence.
    """

    def __init__(self, address: str, *, network: bool = False, start: float = 0.0) -> None:
        import av

        # PyAV is silent from the start, and must stay so: once its log level is set, even to its quietest, its decoding threads
        # ask for Python's lock to log something, while whoever closes a decoder holds that lock and waits for those threads.
        self.damaged = self.skipped = 0
        # Without fpsprobesize=0, opening waits for frames only to learn their rate.
        options = {"rtsp_transport": "tcp", "fpsprobesize": "0"} if network else {}
        patience = READ_SECONDS
        if address.lower().startswith("rtsp"):
            patience /= 2  # FFmpeg waits twice there before it gives up
            options["timeout"] = str(int(patience * 1e6))
        try:
            self._container = av.open(address, options=options, timeout=(OPEN_SECONDS, patience) if network else None)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise DataError(cannot_open(address, error)) from error
        try:
            if not self._container.streams.video:
                raise DataError(f"{without_secrets(address)} holds no video; name another file or stream.")
            self._stream = self._container.streams.video[0]
            announced = self._stream.average_rate or self._stream.guessed_rate
            self.rate = float(announced) if announced and 0 < announced <= 1000 else 0.0
            length = self._stream.duration
            if length and self._stream.time_base:
                self.duration: float | None = float(length * self._stream.time_base)
            else:
                self.duration = self._container.duration / 1e6 if self._container.duration else None
            self.live = network and not self.duration
            # Frame threads are faster and hold frames back; a live stream cannot wait for them.
            self._stream.thread_type = "SLICE" if self.live else "AUTO"
            self._zero = float((self._stream.start_time or 0) * (self._stream.time_base or 0)) if not self.live else 0.0
            if start > 0 and not self.live:
                with contextlib.suppress(av.error.FFmpegError):  # what cannot seek is read from its beginning
                    self._container.seek(int((start + self._zero) * 1e6), backward=True)
        except BaseException:
            self._container.close()
            raise

    def shots(self) -> Iterator[Shot]:
        """See `Decoder.shots`."""
        import av

        lateness, skipping, count = Lateness(), False, 0
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except av.error.InvalidDataError:
                self.damaged += 1
                return
            except (av.error.FFmpegError, OSError):
                # A time-out or a broken connection; for the reader of a stream it is the same as an end.
                return
            if packet is None:
                return
            if self.live and packet.pts is not None and packet.time_base:
                behind = lateness.of(float(packet.pts * packet.time_base), time.monotonic())
                skipping = behind > LATE_SECONDS or (skipping and not packet.is_keyframe)
                if skipping:
                    self.skipped += 1
                    continue
            try:
                frames = packet.decode()
            except (av.error.FFmpegError, ValueError):
                self.damaged += 1
                continue
            for frame in frames:
                if frame.width * frame.height > MOST_PIXELS:
                    self.damaged += 1
                    continue
                self.damaged += bool(frame.is_corrupt)
                seconds = frame.time - self._zero if frame.time is not None else count / (self.rate or 25.0)
                count += 1
                yield Shot(float(seconds), frame)

    def picture(self, shot: Shot) -> NDArray[np.uint8]:
        """See `Decoder.picture`."""
        image = shot.decoded.to_ndarray(format="rgb24")
        quarter_turns = round(shot.decoded.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(image, quarter_turns)) if quarter_turns else image

    def close(self) -> None:
        """See `Decoder.close`."""
        self._container.close()


class CvDecoder:
    """A file, stream or webcam, opened by OpenCV.

    Args:
        address: path or URL, or the number of a webcam.
        start: as in `AvDecoder`.

    Raises:
        DataError: it cannot be opened.
    """

    def __init__(self, address: str | int, *, start: float = 0.0) -> None:
        import cv2

        camera = isinstance(address, int)
        network = not camera and "://" in str(address)
        self.damaged = self.skipped = 0
        parameters: list[int] = []
        if network:
            parameters += [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(OPEN_SECONDS * 1000)]
            parameters += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(READ_SECONDS * 1000)]
        with _quiet():
            self._capture = (
                cv2.VideoCapture(address)
                if isinstance(address, int)
                else cv2.VideoCapture(address, cv2.CAP_FFMPEG, parameters)
            )
        if not self._capture.isOpened():
            self._capture.release()
            raise DataError(_no_camera(address) if isinstance(address, int) else cannot_open(address, None))
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = float(rate) if 0 < rate <= 1000 else 0.0
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.duration = count / self.rate if not camera and count > 0 and self.rate else None
        self.live = camera or (network and not self.duration)
        if start > 0 and not self.live:
            self._capture.set(cv2.CAP_PROP_POS_MSEC, start * 1000)

    def shots(self) -> Iterator[Shot]:
        """See `Decoder.shots`."""
        import cv2

        count, before = 0, -1.0
        while True:
            with _quiet():
                read, bgr = self._capture.read()
            if not read:
                return
            seconds = time.monotonic() if self.live else self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if seconds <= before:
                # Raw streams know no time; nor do some files beyond their first frame.
                seconds = before + 1 / (self.rate or 25.0)
            before = seconds
            count += 1
            yield Shot(seconds, bgr)

    def picture(self, shot: Shot) -> NDArray[np.uint8]:
        """See `Decoder.picture`."""
        import cv2

        return np.asarray(cv2.cvtColor(shot.decoded, cv2.COLOR_BGR2RGB), np.uint8)

    def close(self) -> None:
        """See `Decoder.close`."""
        self._capture.release()


class Lateness:
    """How much later than at best packets arrive, from their own time stamps: grows when reading is slower than the stream.

    The best is that of the last minute, because two clocks drift apart; and it is forgotten when the stream's clock jumps.
    """

    def __init__(self) -> None:
        self._bests: deque[tuple[float, float]] = deque()
        self._last = 0.0

    def of(self, stamp: float, now: float) -> float:
        """Seconds by which a packet is late.

        Args:
            stamp: its time stamp in seconds.
            now: when it arrived, on any steady clock.
        """
        offset = now - stamp
        if self._bests and abs(offset - self._last) > 10.0:
            self._bests.clear()
        self._last = offset
        # One best for each ten seconds, of which the last seven are kept.
        if not self._bests or now - self._bests[-1][0] >= 10.0:
            self._bests.append((now, offset))
            if len(self._bests) > 7:
                self._bests.popleft()
        elif offset < self._bests[-1][1]:
            self._bests[-1] = (self._bests[-1][0], offset)
        return offset - min(best for _, best in self._bests)


def has_pyav() -> bool:
    """Whether PyAV is installed."""
    from importlib.util import find_spec

    return find_spec("av") is not None


def require_pyav() -> None:
    """Refuse what only PyAV can do.

    Raises:
        MissingExtraError: it is not installed.
    """
    if not has_pyav():
        raise MissingExtraError("PyAV (av)", "video")


def open_video(address: str, *, network: bool = False, start: float = 0.0) -> AvDecoder | CvDecoder:
    """The best decoder there is.

    Raises:
        DataError: as `AvDecoder`.
    """
    if has_pyav():
        return AvDecoder(address, network=network, start=start)
    return CvDecoder(address, start=start)


def without_secrets(address: str) -> str:
    """An address without the name and password in it, which belong into no message and no file."""
    return re.sub(r"(?<=://)[^/@\s]+@", "", address)


def cannot_open(address: str, error: BaseException | None) -> str:
    """One sentence about a video or stream that cannot be opened."""
    shown, network = without_secrets(address), "://" in address
    kind, said = type(error).__name__, str(getattr(error, "strerror", None) or error or "")
    if "Unauthorized" in kind or "Forbidden" in kind:
        return f"{shown} wants a name and password; write them into the address: rtsp://NAME:PASSWORD@HOST/..."
    if "NotFound" in kind and network:
        return f"{shown} does not exist on that server (404); check the path in the address."
    if isinstance(error, ConnectionRefusedError):
        return f"{shown} refuses the connection; check host and port, and that the server runs."
    if kind in {"ExitError", "TimeoutError"} or isinstance(error, TimeoutError):
        return f"{shown} does not answer within {OPEN_SECONDS:g} s; check host, port and network."
    if isinstance(error, PermissionError):
        return f"{shown} may not be read; give yourself read permission."
    if network and (host := _unknown_host(address)):
        return (
            f"{shown} is on a host that nobody knows, {host}; check its name, and that this machine is on the network."
        )
    if network:
        detail = f" ({without_secrets(said)})" if said else ""
        return f"{shown} cannot be opened as a stream{detail}; check the address, and whether another player shows it."
    return f"{shown} is not a video, or is cut off before its index or damaged; copy it again."


def _unknown_host(address: str) -> str:
    """The address's host where its name leads nowhere; else nothing."""
    try:
        host = urlsplit(address).hostname or ""
        socket.getaddrinfo(host, None)
    except (OSError, ValueError):
        return host
    return ""


def _no_camera(number: int) -> str:
    what = f"There is no webcam {number}, or another program holds it"
    return f"{what}; try another number, and see that this user may use the camera (on Linux: the group video)."


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """OpenCV prints what goes wrong as well as answering False."""
    import cv2

    log: Any = getattr(cv2, "utils", cv2).logging
    before = log.getLogLevel()
    log.setLogLevel(0)
    try:
        yield
    finally:
        log.setLogLevel(before)
