"""Annotated video: each source drawn over its own pictures, H.264 in MP4, at the original times, with its sound when asked.

OUT/videos/NAME.mp4 is written beside its place in fragments, each of which is whole: what was written plays even after a
power cut. When the source ends, or at Ctrl-C, the file gets an ordinary index and its name. A live source begins a new file
every hour, and any source does when its pictures change their size. Files of a live source are named by the time of their
first picture, NAME/20261126-030726-123.mp4, so that a run never overwrites those of an earlier one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from segwright.errors import OutputError
from segwright.machine import cores_here
from segwright.predict.decoders import require_pyav
from segwright.predict.found import Drawing, Found
from segwright.predict.frame import Frame

TICKS = 90_000
"""Steps of a second in which times are written, as MPEG has them."""
KEY_FRAMES = 50
"""Frames from one key frame to the next: players can jump there, and a power cut costs no more than these."""
QUICK = {"preset": "ultrafast", "crf": "23"}
"""x264 for video files: 1.1 ms of CPU time for a 640x480 frame and about as many bytes as MPEG-4 by OpenCV. A network on the same
cores would have to wait for more."""
SMALL = {"preset": "veryfast", "crf": "23", "bf": "0"}
"""x264 for live sources, which come no faster than they come, and for weeks: half the bytes, 2.8 ms. Without B-frames (which
ultrafast leaves out anyway), files begin at time 0."""
LONGEST_PART = 3600.0
"""Seconds of a live source in one file."""
COPIED = frozenset({"aac", "mp3", "ac3", "eac3", "opus", "alac", "flac"})
"""Sound that MP4 takes as it is; other sound is encoded again as AAC."""


class Recorder:
    """Writes one video for each source that moves.

    Args:
        out: folder; videos go into OUT/videos.
        draw: what is drawn.
        keep_audio: take the sound of video files along.

    Raises:
        MissingExtraError: PyAV is not installed.
    """

    def __init__(self, out: Path, *, draw: Drawing = "overlay", keep_audio: bool = False) -> None:
        require_pyav()
        self._out, self._draw, self._keep_audio = out, draw, keep_audio
        self._parts: dict[str, _Part] = {}
        self._named: set[Path] = set()
        self.written: list[Path] = []
        """Finished files."""

    def write(self, found: Found) -> None:
        """See `Sink.write`; pictures, which have no time, are left out."""
        frame = found.frame
        if frame.seconds is None:
            return
        picture = found.drawn(self._draw)
        part = self._parts.get(frame.source)
        too_long = part is not None and frame.live and frame.seconds - part.first >= LONGEST_PART
        if part is not None and (part.size_hw != picture.shape[:2] or too_long):
            self.source_ended(frame.source)
            part = None
        if part is None:
            sound = frame.path if self._keep_audio else None
            path, encoder = self._name(frame), SMALL if frame.live else QUICK
            size_hw = (picture.shape[0], picture.shape[1])
            part = self._parts[frame.source] = _Part(path, size_hw, frame.seconds, sound, encoder)
        part.add(picture, frame.seconds)

    def _name(self, frame: Frame) -> Path:
        """A name that no other file of this run has."""
        name, number = frame.key if frame.live else frame.source, 1
        while (path := self._out / "videos" / f"{name}{'' if number == 1 else f'-{number}'}.mp4") in self._named:
            number += 1
        self._named.add(path)
        return path

    def source_ended(self, source: str) -> None:
        """See `Sink.source_ended`."""
        part = self._parts.pop(source, None)
        if part is not None:
            self.written.append(part.finish())

    def close(self) -> None:
        """See `Sink.close`."""
        problem: OutputError | None = None
        for source in list(self._parts):
            try:
                self.source_ended(source)
            except OutputError as error:
                problem = problem or error
        if problem is not None:
            raise problem


class _Part:
    """One file being written.

    Args:
        path: its name when it is finished.
        size_hw: of its pictures.
        first: seconds of its first frame, which becomes time 0.
        sound: the video file to take the sound from.
        encoder: options of x264.
    """

    def __init__(
        self, path: Path, size_hw: tuple[int, int], first: float, sound: Path | None, encoder: dict[str, str] = QUICK
    ) -> None:
        import av

        self.size_hw, self.first = size_hw, first
        self._path = path
        self._partial = path.with_name(f".{path.stem}.{os.getpid()}.partial.mp4")
        self._last, self._step = -1, TICKS // 25
        self._broken = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._container = av.open(
                str(self._partial),
                "w",
                # Each fragment is written out as soon as it is whole; hybrid: in the end it becomes an ordinary file.
                options={
                    "movflags": "hybrid_fragmented+frag_keyframe+empty_moov+default_base_moof",
                    "flush_packets": "1",
                },
            )
        except OSError as error:
            raise self._unwritable(error) from error
        height, width = size_hw
        self._stream: Any = self._container.add_stream("libx264", options={**encoder, "g": str(KEY_FRAMES)})
        self._stream.width, self._stream.height = width + width % 2, height + height % 2
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        context.time_base = Fraction(1, TICKS)
        context.thread_count = min(cores_here(), 4)
        # OpenCV converts with the matrix of ITU-R BT.601, and players guess another one for large pictures.
        context.colorspace, context.color_range = 6, 1
        self._sound = _Sound(sound, first, self._container) if sound else None

    def add(self, picture: NDArray[np.uint8], seconds: float) -> None:
        """Append one frame.

        Args:
            picture: (H, W, 3) uint8 RGB.
            seconds: when, on its source's clock; later than the frame before.

        Raises:
            OutputError: the disk is full, for instance.
        """
        import av

        height, width = self.size_hw
        if height % 2 or width % 2:
            picture = np.asarray(
                cv2.copyMakeBorder(picture, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE), np.uint8
            )
        planes = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420), np.uint8)
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        stamp = max(round((seconds - self.first) * TICKS), self._last + 1)
        if self._last >= 0:
            self._step = stamp - self._last
        self._last = stamp
        frame.pts, frame.time_base, frame.duration = stamp, Fraction(1, TICKS), self._step
        frame.colorspace, frame.color_range = 6, 1
        self._mux(self._stream.encode(frame))
        if self._sound is not None:
            self._mux(self._sound.until(stamp / TICKS))

    def finish(self) -> Path:
        """Give the file an index and its name; what was written before an error is kept.

        Raises:
            OutputError: it cannot be finished.
        """
        problem: OutputError | None = None
        try:
            if not self._broken:
                self._mux(self._stream.encode(None))
                if self._sound is not None:
                    self._mux(self._sound.until((self._last + self._step) / TICKS))
        except OutputError as error:
            problem = error
        finally:
            if self._sound is not None:
                self._sound.close()
            written = _beginning(self._partial) if self._broken else None
            try:
                self._container.close()
            except OSError as error:
                problem = problem or self._unwritable(error)
            played = written is None or _restore(self._partial, *written)
        try:
            if played:
                self._partial.replace(self._path)
            else:
                self._partial.unlink()
        except OSError as error:
            problem = problem or self._unwritable(error)
        if problem is not None:
            raise problem
        return self._path

    def _mux(self, packets: Any) -> None:
        try:
            for packet in packets:
                self._container.mux(packet)
        except OSError as error:
            self._broken = True
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> OutputError:
        return OutputError(
            f"{self._path} cannot be written ({error.strerror or error}); choose another place or free some space."
        )


def _beginning(file: Path) -> tuple[bytes, int]:
    """The first bytes of a file, and its length."""
    with file.open("rb") as stream:
        return stream.read(1 << 16), file.stat().st_size


def _restore(file: Path, beginning: bytes, length: int) -> bool:
    """Undo what closing did to a file that could not be written to its end, and cut it behind its last whole fragment.

    Closing writes an index behind the fragments and a new beginning that relies on it; on a full disk only the latter succeeds.

    Returns:
        Whether there is a whole fragment.
    """
    fragments = 0
    with file.open("r+b") as stream:
        stream.write(beginning)
        stream.truncate(length)
        whole = at = 0
        while len(head := _read_at(stream, at, 16)) >= 8:
            size = int.from_bytes(head[:4]) if head[:4] != b"\0\0\0\1" else int.from_bytes(head[8:16])
            if size < 8 or at + size > length:
                break
            at += size
            # A fragment is a moof with the mdat that follows it.
            whole = whole if head[4:8] == b"moof" else at
            fragments += head[4:8] == b"mdat"
        stream.truncate(whole)
    return fragments > 0


def _read_at(stream: BinaryIO, at: int, count: int) -> bytes:
    stream.seek(at)
    return stream.read(count)


@dataclass
class _Waiting:
    """A packet that comes later than the frame at hand."""

    packet: Any
    seconds: float


class _Sound:
    """The sound of a video file, handed out up to a time.

    Args:
        path: of the file.
        first: second of the file that is time 0 of the video being written.
        container: the video being written; a stream is added to it where there is sound.
    """

    def __init__(self, path: Path, first: float, container: Any) -> None:
        import av

        self._first = first
        self._waiting: _Waiting | None = None
        self._source = av.open(str(path))
        self._packets: Iterator[Any] = iter(())
        if not self._source.streams.audio:
            return
        stream = self._source.streams.audio[0]
        if first > 0:
            self._source.seek(int(first * 1e6), backward=True)
        if stream.codec_context.name in COPIED:
            self._stream = container.add_stream_from_template(stream)
            self._packets = self._copied(stream)
        else:
            self._stream = container.add_stream("aac", rate=stream.rate)
            self._packets = self._encoded(stream)

    def until(self, seconds: float) -> Iterator[Any]:
        """Packets up to a time of the video being written."""
        while True:
            waiting = self._waiting or self._next()
            if waiting is None or waiting.seconds > seconds:
                self._waiting = waiting
                return
            self._waiting = None
            yield waiting.packet

    def close(self) -> None:
        """Let go of the file."""
        self._source.close()

    def _next(self) -> _Waiting | None:
        packet = next(self._packets, None)
        return None if packet is None else _Waiting(packet, float(packet.dts * packet.time_base))

    def _copied(self, stream: Any) -> Iterator[Any]:
        offset = round(self._first / stream.time_base)
        for packet in self._source.demux(stream):
            if packet.dts is None or packet.pts is None or packet.pts < offset:
                continue
            packet.pts, packet.dts = packet.pts - offset, packet.dts - offset
            packet.stream = self._stream
            yield packet

    def _encoded(self, stream: Any) -> Iterator[Any]:
        offset = round(self._first / stream.time_base)
        for frame in self._source.decode(stream):
            if frame.pts is None or frame.pts < offset:
                continue
            frame.pts -= offset
            yield from self._stream.encode(frame)
        yield from self._stream.encode(None)
