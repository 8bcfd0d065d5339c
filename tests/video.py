"""Small videos for tests, whose pictures carry their number; and ways to spoil them."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests.rtsp_server import picture

SIZE_WH = (320, 64)


def write_video(
    path: Path,
    count: int = 12,
    *,
    fps: float = 10.0,
    times: Iterable[float] | None = None,
    size_wh: tuple[int, int] = SIZE_WH,
    index_first: bool = False,
    sound: str = "",
) -> Path:
    """A video with numbered pictures.

    Args:
        times: seconds of each picture; default evenly spaced.
        index_first: the index stands before the pictures, so that a file that is cut off can be read up to there.
        sound: a codec, for a tone of the video's length.
    """
    times = list(times) if times is not None else [number / fps for number in range(count)]
    options = {"movflags": "faststart"} if index_first else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = size_wh
        stream.pix_fmt = "yuv420p"
        stream.options = {"preset": "ultrafast", "bf": "0", "g": "5", "crf": "18"}
        stream.codec_context.time_base = Fraction(1, 1000)
        audio = container.add_stream(sound, rate=16000) if sound else None
        for number, seconds in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(number, size_wh), format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = round(seconds * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if audio is not None:
            assert isinstance(audio, av.AudioStream)
            length = int((times[-1] + 1 / fps) * 16000)
            tone = (8000 * np.sin(np.arange(length) / 10)).astype(np.int16)[None]
            for at in range(0, length, 1024):
                sample = av.AudioFrame.from_ndarray(np.ascontiguousarray(tone[:, at : at + 1024]), layout="mono")
                sample.sample_rate, sample.pts, sample.time_base = 16000, at, Fraction(1, 16000)
                container.mux(audio.encode(sample))
            container.mux(audio.encode(None))
    return path


def turned(path: Path) -> Path:
    """Note in a video's header that it is to be shown a quarter turn clockwise, as phones do."""
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    # a b u c d v x y w: 16.16 fixed point, the third column 2.30.
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 64 << 16, 0, 1 << 30)
    path.write_bytes(bytes(data))
    return path


def without_frames(path: Path) -> Path:
    """A whole file with a video stream and nothing in it."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 320, 64, "yuv420p"
        container.start_encoding()
    return path


def cut(path: Path, share: float) -> Path:
    """Only the first part of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path
