"""Live sources: the newest frame, losses counted, connections made again; a small real camera on 127.0.0.1 is mistreated."""

from __future__ import annotations

import http.server
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from segwright.errors import DataError
from segwright.predict import decoders, stream
from segwright.predict.decoders import CvDecoder, Lateness, Shot, without_secrets
from segwright.predict.feed import Ended, Feed, frames
from segwright.predict.frame import Choice, Frame
from segwright.predict.sources import Source, find_sources
from tests.rtsp_server import Camera, picture, read_picture
from tests.video import write_video


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(stream, "LONGEST_PAUSE", 0.2)
    monkeypatch.setattr(decoders, "READ_SECONDS", 1.5)


class Scripted:
    """A decoder that gives numbered shots as told, one list for each connection."""

    def __init__(self, numbers: list[int], pause: float = 0.0) -> None:
        self.rate, self.damaged, self.skipped = 10.0, 0, 0
        self.duration: float | None = None
        self._numbers, self._pause, self.closed = numbers, pause, False

    def shots(self) -> Iterator[Shot]:
        for number in self._numbers:
            if self._pause:
                time.sleep(self._pause)
            yield Shot(number / 10, number)

    def picture(self, shot: Shot) -> np.ndarray:
        return np.full((2, 2, 3), shot.decoded, np.uint8)

    def close(self) -> None:
        self.closed = True


def connections(*each: Any) -> Callable[[Source], Any]:
    left = list(each)

    def opener(source: Source) -> Any:
        if not left:
            raise DataError(f"{source.shown} refuses the connection")
        return left.pop(0)

    return opener


CAMERA = Source(kind="webcam", name="webcam-0", address="0")


def test_only_the_newest_frame_is_handed_over_and_the_others_are_counted() -> None:
    feed = Feed([CAMERA], Choice(most=1), opener=connections(Scripted(list(range(100)))))
    (live,) = feed._streams
    live.start()
    live._thread.join(2)
    # The connection is over and cannot be made again; what came last is still there.
    frame = live.take()
    assert frame is not None
    assert (frame.index, frame.image[0, 0, 0]) == (99, 99)
    assert re.fullmatch(r"webcam-0/20\d{6}-\d{6}-\d{3}", frame.key)
    assert abs((frame.moment - datetime.now(UTC)).total_seconds()) < 60
    assert live.take() is None
    assert live.losses.received == 100
    assert live.losses.replaced == 99
    feed.stop()


def test_a_lost_connection_is_made_again_and_numbers_go_on() -> None:
    said: list[str] = []
    feed = Feed(
        [CAMERA],
        Choice(),
        tell=said.append,
        opener=connections(Scripted([1, 2]), Scripted([7], 0.1), Scripted([8, 9], 0.1)),
    )
    seen = []
    for item in feed:
        assert isinstance(item, Frame)
        seen.append((item.index, int(item.image[0, 0, 0])))
        if item.index == 4:
            break
    feed.stop()
    assert seen[-1] == (4, 9)
    assert (3, 8) in seen
    losses = feed.losses["webcam-0"]
    assert losses.reconnected == 2
    assert losses.seconds_away > 0.1
    assert sum("connection lost" in line for line in said) >= 2
    assert sum("connected again" in line for line in said) == 2


def test_what_cannot_be_opened_at_all_is_a_failure() -> None:
    feed = Feed([CAMERA], opener=connections())
    assert list(feed) == []
    assert [failure.reason for failure in feed.failures] == ["webcam 0 refuses the connection"]


def test_a_camera_without_pictures_is_said() -> None:
    feed = Feed([CAMERA], opener=connections(Scripted([])))
    assert list(feed) == [Ended(source="webcam-0")]
    assert "answers but sends no frame" in feed.failures[0].reason


def test_several_live_sources_take_turns() -> None:
    other = Source(kind="webcam", name="webcam-1", address="1")
    opened = {"0": Scripted(list(range(50)), 0.01), "1": Scripted(list(range(50)), 0.01)}
    feed = Feed([CAMERA, other], Choice(most=5), opener=lambda source: opened[source.address])
    items = list(feed)
    assert sum(isinstance(item, Frame) and item.source == "webcam-0" for item in items) == 5
    assert sum(isinstance(item, Frame) and item.source == "webcam-1" for item in items) == 5
    assert {item.source for item in items if isinstance(item, Ended)} == {"webcam-0", "webcam-1"}


def test_lateness_grows_when_reading_falls_behind_and_forgets() -> None:
    late = Lateness()
    assert late.of(100.0, 5.0) == 0.0
    assert late.of(101.0, 6.5) == pytest.approx(0.5)
    assert late.of(102.0, 9.0) == pytest.approx(2.0)
    assert late.of(102.5, 7.5 + 0.1) == pytest.approx(0.1)
    # The stream's clock jumps: nothing is late for that.
    assert late.of(5000.0, 8.0) == 0.0
    # Two clocks drift apart by a thousandth, which is 3.6 s an hour.
    drifting = Lateness()
    assert max(drifting.of(n * 0.999, float(n)) for n in range(3600)) < 0.2


def test_names_and_passwords_are_left_out_of_names_and_messages() -> None:
    (source,) = find_sources(["rtsp://me:secret@127.0.0.1:1/live/main?token=x"])
    assert source.name == "127.0.0.1-live-main"
    assert "secret" not in source.shown
    assert "secret" not in without_secrets("rtsp://me:secret@host/x refused; rtsp://a:b@c/d")
    feed = Feed([source])
    (failure,) = feed.failures
    assert "refuses the connection" in failure.reason
    assert "secret" not in failure.reason


def watch(camera: Camera, until: Callable[[Frame, Feed], bool], seconds: float = 40.0) -> tuple[list[Frame], Feed]:
    feed = Feed(find_sources([camera.url]), Choice(end=seconds))
    assert feed.failures == []
    seen = []
    for item in feed:
        if isinstance(item, Frame):
            seen.append(item)
            if until(item, feed):
                break
    feed.stop()
    return seen, feed


def test_a_camera_is_watched_through_a_restart_noise_and_a_new_resolution() -> None:
    with Camera(fps=20) as camera:

        def mistreat(frame: Frame, feed: Feed) -> bool:
            count = mistreat.count = getattr(mistreat, "count", 0) + 1  # type: ignore[attr-defined]
            if count == 5:
                camera.garbage = 4
            if count == 12:
                camera.size_wh = (352, 96)
            if count == 25:
                camera.kill()
                camera.start()
            return count > 25 and feed.losses["127.0.0.1-cam"].reconnected == 1

        seen, feed = watch(camera, mistreat)
    assert feed.losses["127.0.0.1-cam"].reconnected == 1
    shapes = {frame.image.shape for frame in seen}
    assert shapes == {(240, 320, 3), (96, 352, 3)}
    number, delay = read_picture(seen[3].image)
    assert delay < 5
    assert number >= 3
    assert [frame.seconds for frame in seen] == sorted(frame.seconds or 0.0 for frame in seen)


def test_a_frozen_camera_is_left_and_connected_again() -> None:
    with Camera(fps=20) as camera:

        def freeze(frame: Frame, feed: Feed) -> bool:
            if frame.index >= 3 and not camera.frozen and not feed.losses["127.0.0.1-cam"].reconnected:
                camera.frozen = True
                threading.Timer(4, setattr, (camera, "frozen", False)).start()
            return feed.losses["127.0.0.1-cam"].reconnected == 1

        _, feed = watch(camera, freeze)
    assert feed.losses["127.0.0.1-cam"].reconnected == 1


GSTREAMER = """
import gi
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst
Gst.init(None)
found = [Gst.ElementFactory.find(name) for name in ("x264enc", "jpegenc", "rtph264pay", "rtpjpegpay", "videotestsrc")]
raise SystemExit(not all(found))
"""


@pytest.fixture(scope="module")
def gstreamer() -> Iterator[str]:
    """Another make of camera."""
    python = "/usr/bin/python3"
    asked = (
        subprocess.run([python, "-c", GSTREAMER], capture_output=True, check=False) if Path(python).exists() else None
    )
    if asked is None or asked.returncode:
        if os.environ.get("SEGWRIGHT_NO_SKIPS"):
            pytest.fail("GStreamer's RTSP server is not installed")
        pytest.skip(
            "GStreamer's RTSP server is not installed: python3-gi, gir1.2-gst-rtsp-server-1.0, gstreamer1.0-plugins-*"
        )
    program = Path(__file__).parents[1] / "gst_rtsp_server.py"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    pipe = subprocess.PIPE
    with subprocess.Popen([python, str(program)], stdin=pipe, stdout=pipe, text=True, env=environment) as server:
        assert server.stdout is not None
        yield f"rtsp://127.0.0.1:{server.stdout.readline().strip()}"
        server.communicate("")


@pytest.mark.parametrize("path", ["/h264", "/jpeg"])
def test_another_make_of_camera_is_watched(gstreamer: str, path: str) -> None:
    seen = list(frames(f"{gstreamer}{path}", choice=Choice(most=12)))
    assert [frame.image.shape for frame in seen] == [(240, 320, 3)] * 12
    assert min(frame.image.min() for frame in seen) > 225
    times = [frame.seconds or 0.0 for frame in seen]
    assert times == sorted(set(times))
    # 15 pictures a second, of which none is handed over twice.
    assert times[-1] - times[0] >= 11 / 15 - 0.1


def test_a_path_that_another_make_does_not_have_is_said(gstreamer: str) -> None:
    with pytest.raises(DataError, match="does not exist on that server"):
        list(frames(f"{gstreamer}/absent"))


class Web(http.server.BaseHTTPRequestHandler):
    """A video file, and a camera that sends JPEG after JPEG."""

    file = b""

    def do_GET(self) -> None:
        if self.path == "/clip.mp4":
            start = int(self.headers.get("Range", "bytes=0-")[6:].split("-")[0])
            self.send_response(206 if "Range" in self.headers else 200)
            self.send_header("Content-Type", "video/mp4")
            self.send_header("Accept-Ranges", "bytes")
            if "Range" in self.headers:
                self.send_header("Content-Range", f"bytes {start}-{len(self.file) - 1}/{len(self.file)}")
            self.send_header("Content-Length", str(len(self.file) - start))
            self.end_headers()
            self.wfile.write(self.file[start:])
        elif self.path.startswith("/camera"):  # and /camera/pack.json: cameras send their stream whatever is asked for
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
            self.end_headers()
            for number in range(1000):
                _, jpeg = cv2.imencode(".jpg", picture(number, (320, 64)))
                head = f"--next\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                try:
                    self.wfile.write(head.encode() + jpeg.tobytes() + b"\r\n")
                except OSError:
                    return
                time.sleep(0.03)
        else:
            self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    Web.file = write_video(tmp_path / "clip.mp4", 15).read_bytes()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_file_at_a_web_address_loses_no_frame(web: str) -> None:
    seen = list(frames(f"{web}/clip.mp4"))
    assert [read_picture(frame.image)[0] for frame in seen] == list(range(15))


def test_a_camera_at_a_web_address_is_watched(web: str) -> None:
    seen = list(frames(f"{web}/camera", choice=Choice(most=3)))
    assert [frame.image.shape for frame in seen] == [(64, 320, 3)] * 3
    numbers = [read_picture(frame.image)[0] for frame in seen]
    assert numbers == sorted(set(numbers))


def test_an_address_that_is_not_there_is_said(web: str) -> None:
    with pytest.raises(DataError, match="does not exist on that server"):
        list(frames(f"{web}/absent.mp4"))


def test_a_host_that_nobody_knows_is_said() -> None:
    with pytest.raises(DataError, match=r"on a host that nobody knows, camera\.invalid"):
        list(frames("rtsp://me:secret@camera.invalid/live"))


def test_a_webcam_is_read_by_its_number(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """OpenCV's file backend stands in for the device."""
    path, real = write_video(tmp_path / "clip.mp4", 30), cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda number, *rest: real(str(path) if number == 3 else number, *rest))
    seen = list(frames("3", choice=Choice(most=2)))
    assert [frame.key.split("/")[0] for frame in seen] == ["webcam-3"] * 2
    assert seen[0].image.shape == (64, 320, 3)
    assert isinstance(stream.open_live(Source(kind="webcam", name="webcam-3", address="3")), CvDecoder)


def test_a_webcam_that_is_not_there_is_said() -> None:
    with pytest.raises(DataError, match="There is no webcam 97"):
        list(frames("97"))


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory and open files are asked of Linux")
def test_a_minute_with_ten_restarts() -> None:
    """Memory is flat, delay does not grow, nothing is left open, and every restart is survived."""
    restarts, seconds = 10, 60
    delays: list[float] = []
    memory: list[float] = []
    threads, files = threading.active_count(), open_files()
    with Camera(fps=15) as camera:
        feed = Feed(find_sources([camera.url]), Choice(end=4.0 * seconds))
        began, killed = time.monotonic(), 0
        losses = feed.losses["127.0.0.1-cam"]
        for item in feed:
            assert isinstance(item, Frame)
            delays.append(read_picture(item.image)[1])
            memory.append(resident_mb())
            due = int((time.monotonic() - began) / seconds * restarts)
            if losses.reconnected == killed < due:
                killed += 1
                camera.kill()
                camera.start()
                camera.garbage = 3
            if losses.reconnected == restarts:
                break
        feed.stop()
    assert losses.reconnected == restarts
    quarter = len(delays) // 4
    assert np.median(delays[-quarter:]) < np.median(delays[:quarter]) + 1.0
    assert np.median(memory[-quarter:]) < 1.05 * np.median(memory[quarter : 2 * quarter])
    for thread in threading.enumerate():
        if thread.name.startswith("reading"):
            thread.join(10)
    assert threading.active_count() <= threads + 1  # one who watched may still be told so by the camera
    assert open_files() <= files + 2
