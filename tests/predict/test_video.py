"""Video files: no frame is lost, every frame has its time, and what is wrong with a file is said in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from segwright.errors import DataError, UserError
from segwright.predict.decoders import CvDecoder, open_video
from segwright.predict.frame import Choice, size_of
from segwright.predict.sources import Source
from segwright.predict.video import VideoFrames, read_video
from tests.rtsp_server import picture, read_picture
from tests.video import cut, turned, without_frames, write_video


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 pictures, 10 a second."""
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4", 20)


def by_opencv(address: str, *, network: bool = False, start: float = 0.0) -> CvDecoder:
    return CvDecoder(address, start=start)


OPENERS = [pytest.param(open_video, id="PyAV"), pytest.param(by_opencv, id="OpenCV")]


def frames_of(path: Path, choice: Choice | None = None, opener: Any = open_video) -> VideoFrames:
    return VideoFrames(Source(kind="video", name=path.stem, address=str(path)), choice or Choice(), opener=opener)


@pytest.mark.parametrize("opener", OPENERS)
def test_no_frame_is_lost_and_each_has_its_time(clip: Path, opener: Any) -> None:
    frames = frames_of(clip, opener=opener)
    assert frames.expected == 20
    seen = list(frames)
    assert [read_picture(frame.image)[0] for frame in seen] == list(range(20))
    assert [frame.index for frame in seen] == list(range(20))
    assert [frame.seconds for frame in seen] == pytest.approx([n / 10 for n in range(20)], abs=0.002)
    assert (seen[3].key, seen[3].source, seen[3].path, seen[3].moving) == ("clip/000003", "clip", clip, True)
    assert seen[0].image.dtype == np.uint8
    assert np.abs(seen[5].image[32:].astype(int) - picture(5, (320, 64))[32:]).mean() < 6
    assert frames.problem == ""


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize(
    ("choice", "numbers"),
    [
        (Choice(every=7), [0, 7, 14]),
        (Choice(most=3), [0, 1, 2]),
        (Choice(every=4, most=2), [0, 4]),
        (Choice(start=1.2), [12, 13, 14, 15, 16, 17, 18, 19]),
        (Choice(end=0.3), [0, 1, 2]),
        (Choice(start=0.5, end=1.1, every=2), [5, 7, 9]),
    ],
)
def test_frames_are_chosen(clip: Path, choice: Choice, numbers: list[int], opener: Any) -> None:
    frames = frames_of(clip, choice, opener)
    assert frames.expected == len(numbers)
    seen = list(frames)
    assert [read_picture(frame.image)[0] for frame in seen] == numbers
    assert [frame.index for frame in seen] == numbers
    assert frames.problem == ""


def test_variable_frame_rate_is_kept(tmp_path: Path) -> None:
    times = [0.0, 0.1, 0.15, 0.9, 1.0, 1.8]
    seen = list(read_video(write_video(tmp_path / "vary.mp4", times=times)))
    assert [frame.seconds for frame in seen] == pytest.approx(times, abs=0.001)


@pytest.mark.parametrize("opener", OPENERS)
def test_a_turned_video_is_upright(tmp_path: Path, opener: Any) -> None:
    path = turned(write_video(tmp_path / "turned.mp4", 2))
    first, _ = frames_of(path, opener=opener)
    assert first.image.shape == (320, 64, 3)
    # Clockwise by a quarter: what was on the left is above, what was above is on the right.
    back = np.rot90(first.image, 1)
    assert np.abs(back[32:].astype(int) - picture(0, (320, 64))[32:]).mean() < 6


def test_every_picture_is_resized(clip: Path) -> None:
    (frame,) = read_video(clip, Choice(most=1, size_wh=size_of("160x48")))
    assert frame.image.shape == (48, 160, 3)


def test_a_file_may_change_its_size(tmp_path: Path) -> None:
    parts = []
    for name, size_wh in (("a", (320, 64)), ("b", (352, 96))):
        write_video(tmp_path / f"{name}.mp4", 3, size_wh=size_wh)
        with av.open(str(tmp_path / f"{name}.mp4")) as source, av.open(str(tmp_path / f"{name}.h264"), "w") as raw:
            stream = raw.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    raw.mux(packet)
        parts.append((tmp_path / f"{name}.h264").read_bytes())
    (tmp_path / "both.h264").write_bytes(b"".join(parts))
    seen = list(read_video(tmp_path / "both.h264"))
    assert [frame.image.shape for frame in seen] == [(64, 320, 3)] * 3 + [(96, 352, 3)] * 3
    times = [frame.seconds or 0.0 for frame in seen]
    assert times == sorted(set(times))


@pytest.mark.parametrize("opener", OPENERS)
def test_a_file_without_its_index_is_refused(tmp_path: Path, opener: Any) -> None:
    with pytest.raises(DataError, match=r"cut\.mp4 is not a video, or is cut off before its index"):
        frames_of(cut(write_video(tmp_path / "cut.mp4"), 0.7), opener=opener)


@pytest.mark.parametrize("opener", OPENERS)
def test_a_cut_off_file_is_read_as_far_as_it_goes(tmp_path: Path, opener: Any) -> None:
    path = cut(write_video(tmp_path / "cut.mp4", 40, index_first=True), 0.6)
    frames = frames_of(path, opener=opener)
    numbers = [read_picture(frame.image)[0] for frame in frames]
    assert 5 < len(numbers) < 36
    assert numbers == list(range(len(numbers)))
    assert "is cut off after" in frames.problem
    with pytest.raises(DataError, match="is cut off after"):
        list(read_video(path))


def test_a_file_with_a_hole_says_so(tmp_path: Path) -> None:
    path = write_video(tmp_path / "hole.mp4", 40, index_first=True)
    data = bytearray(path.read_bytes())
    middle = len(data) * 2 // 3
    data[middle : middle + 600] = bytes(range(200)) * 3
    path.write_bytes(bytes(data))
    frames = frames_of(path)
    assert len(list(frames)) > 30
    assert "is damaged in" in frames.problem


def test_a_file_without_frames_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no (frames|video)"):
        list(read_video(without_frames(tmp_path / "empty.mp4")))


def test_a_file_that_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video" * 100)
    with pytest.raises(DataError, match="is not a video"):
        frames_of(tmp_path / "text.mp4")


def test_sound_alone_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        assert isinstance(stream, av.AudioStream)
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), layout="mono")
        tone.sample_rate = 16000
        container.mux(stream.encode(tone))
        container.mux(stream.encode(None))
    with pytest.raises(DataError, match="holds no video"):
        frames_of(tmp_path / "sound.mp4")


def test_pyav_is_left_silent(clip: Path) -> None:
    """With any log level set, closing a decoder whose threads have something to log hangs for ever."""
    next(iter(frames_of(clip)))
    assert av.logging.get_level() is None


def test_a_start_behind_the_end_is_said(clip: Path) -> None:
    frames = frames_of(clip, Choice(start=99.0))
    assert list(frames) == []
    assert "ends before --start 99 s" in frames.problem


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"every": 0}, "--every"),
        ({"most": 0}, "--max-frames"),
        ({"start": -1.0}, "--start"),
        ({"start": 3.0, "end": 2.0}, "--start"),
        ({"size_wh": (0, 5)}, "--size"),
    ],
)
def test_impossible_choices_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Choice(**settings)


def test_a_size_that_is_none_is_refused() -> None:
    assert size_of("640X480") == (640, 480)
    with pytest.raises(UserError, match="640x480"):
        size_of("large")


def test_real_videos_have_all_their_frames(shared_data: Path) -> None:
    for name, count in (("car-detection", 377), ("person-juggling", 247)):
        frames = frames_of(shared_data / "video" / f"{name}.mp4", Choice(size_wh=(64, 48)))
        assert sum(1 for _ in frames) == count == frames.expected
        assert frames.problem == ""
