"""`segwright predict` on videos and streams, as a user runs it: summaries, refusals, Ctrl-C, a disk that is full."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from segwright.classes import Classes
from segwright.engines.contract import ModelFacts
from segwright.predict import large
from segwright.predict.window import SCREENS
from tests.command import one_sentence, refused, segwright, succeeded
from tests.rtsp_server import Camera
from tests.test_engines import brightness_model, written
from tests.video import cut, write_video

QUICK = ("--engine", "file")
"""No race of engines, which takes a minute where none was remembered."""

POSIX = pytest.mark.skipif(os.name == "nt", reason="signals and limits of POSIX")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bright pixels are bars. At the camera's size, so that processes that only predict start without PyTorch."""
    facts = ModelFacts(name="bars", classes=Classes(names=("ground", "bar")), size_hw=(240, 320), fit="pad")
    return written(brightness_model(facts), tmp_path_factory.mktemp("live") / "bars.onnx")


def frames_in(video: Path) -> int:
    with av.open(str(video)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_a_video_and_a_picture(model: Path, tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.mp4", 20)
    said = succeeded(
        *(
            "predict",
            model,
            clip,
            *QUICK,
            "--out",
            tmp_path / "out",
            "--steady",
            "0.5",
            "--every",
            "2",
            "--size",
            "160x48",
        ),
        *("--conf-thres", "0.4", "--save", "video,jsonl,contours"),
    )
    assert said.startswith("10 frames, ")
    assert "Flicker: " in said
    assert "Contours and videos lie in" in said
    assert frames_in(tmp_path / "out/videos/clip.mp4") == 10
    first = json.loads((tmp_path / "out/predictions.jsonl").read_text().splitlines()[0])
    assert (first["width"], first["height"]) == (160, 48)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--size", "large"), "640x480"),
        (("--every", "0"), "--every"),
        (("--save", "everything"), "--save does not know everything"),
        (("--save", "none"), "Nothing would be written or shown"),
        (("--save", "jsonl", "--keep-audio"), "--keep-audio belongs to --save-video"),
        (("--steady", "2"), "--steady"),
        (("--min-area", "-4"), "--min-area"),
        (("--start", "500"), "ends before --start 500 s"),
        (("--palette", "absent.csv"), "absent.csv cannot be read"),
        (("--conf-thres", "7"), "between 0 and 1"),
    ],
)
def test_refusals(model: Path, tmp_path: Path, words: tuple[str, ...], sentence: str) -> None:
    clip = write_video(tmp_path / "clip.mp4", 4)
    assert sentence in refused("predict", model, clip, *QUICK, "--out", tmp_path / "out", *words)


def test_nothing_named_is_refused(model: Path) -> None:
    assert "Name what to predict" in refused("predict", model)


def test_a_machine_without_a_screen_is_told(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SCREENS:
        monkeypatch.delenv(name, raising=False)
    if sys.platform != "linux":
        pytest.skip("only a Linux machine can be without a screen so easily")
    clip = write_video(tmp_path / "clip.mp4", 4)
    assert "--view-img needs a screen" in refused(
        "predict", model, clip, *QUICK, "--out", tmp_path / "out", "--view-img"
    )


def test_a_cut_off_video_is_exit_code_1(model: Path, tmp_path: Path) -> None:
    clip = cut(write_video(tmp_path / "clip.mp4", 40, index_first=True), 0.6)
    answer = segwright("predict", model, clip, *QUICK, "--out", tmp_path / "out")
    assert answer.code == 1
    assert one_sentence(answer.err).startswith("1 source could not be read whole; the first: ")
    assert "is cut off after" in answer.err
    assert frames_in(tmp_path / "out/videos/clip.mp4") > 4


def test_a_camera_for_two_seconds(model: Path, tmp_path: Path) -> None:
    with Camera(fps=10) as camera:
        said = succeeded("predict", model, camera.url, *QUICK, "--out", tmp_path / "out", "--end", "2", "--save-video")
    assert "127.0.0.1-cam: " in said
    assert "0 times reconnected" in said
    assert "Videos lie in" in said
    lines = (tmp_path / "out/predictions.jsonl").read_text().splitlines()
    (video,) = (tmp_path / "out/videos/127.0.0.1-cam").iterdir()
    assert frames_in(video) == len(lines) > 0
    first = json.loads(lines[0])
    assert first["key"] == f"127.0.0.1-cam/{video.stem}"
    assert abs(datetime.fromisoformat(first["time"]).timestamp() - video.stat().st_mtime) < 600


def test_a_second_run_at_a_camera_goes_on_where_the_first_ended(model: Path, tmp_path: Path) -> None:
    """As after a power cut, which may leave half a line."""
    out = tmp_path / "out"
    words = (*QUICK, "--out", out, "--max-frames", "3", "--save", "video,jsonl,masks")
    with Camera(fps=10) as camera:
        succeeded("predict", model, camera.url, *words)
        (before,) = (out / "videos/127.0.0.1-cam").iterdir()
        content, first = before.read_bytes(), (out / "predictions.jsonl").read_text()
        with (out / "predictions.jsonl").open("a") as file:
            file.write('{"key": "half a li')
        succeeded("predict", model, camera.url, *words)
    after = (out / "predictions.jsonl").read_text()
    assert after.startswith(first)
    assert len({json.loads(line)["key"] for line in after.splitlines()}) == 6
    assert len(list((out / "masks/127.0.0.1-cam").iterdir())) == 6
    assert len(list((out / "videos/127.0.0.1-cam").iterdir())) == 2
    assert before.read_bytes() == content


def test_one_camera_of_two_that_is_off_is_said_at_once(model: Path, tmp_path: Path) -> None:
    with Camera() as off:
        dead = off.url
    with Camera(fps=10) as camera:
        answer = segwright("predict", model, dead, camera.url, *QUICK, "--out", tmp_path / "out", "--max-frames", "2")
    assert answer.code == 1
    told, end = answer.err.splitlines()
    assert told.startswith(f"{dead} refuses the connection")
    assert told.endswith("The other sources are watched without it.")
    assert "refuses the connection" in one_sentence(f"{end}\n")


def test_pictures_do_not_flicker(model: Path, tmp_path: Path) -> None:
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    said = succeeded("predict", model, tmp_path / "a.png", *QUICK, "--out", tmp_path / "out", "--steady", "0.5")
    assert "Flicker: not measured" in said


def test_large_tiffs_are_answered_by_rows(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile = pytest.importorskip("tifffile", reason="the extra segwright[tiff] is not installed")
    monkeypatch.setattr(large, "LARGE", 64 * 64)
    clip, big = write_video(tmp_path / "clip.mp4", 4), tmp_path / "big.tif"
    tifffile.imwrite(big, np.zeros((80, 96, 3), np.uint8), photometric="rgb", tile=(16, 16))
    (tmp_path / "colours.csv").write_text("bar,1,2,3\n")
    words = ("predict", model, big, clip, *QUICK, "--out", tmp_path / "out", "--tile")
    assert "big.tif is read by rows" in refused(*words, "--min-area", "5")
    said = succeeded(*words, "--palette", tmp_path / "colours.csv")
    assert said.startswith("5 pictures, ")
    assert tifffile.imread(tmp_path / "out/masks/big.tif").shape == (80, 96)
    lines = [json.loads(line) for line in (tmp_path / "out/predictions.jsonl").read_text().splitlines()]
    assert sorted(line["key"] for line in lines) == ["big", *(f"clip/{n:06d}" for n in range(4))]
    assert frames_in(tmp_path / "out/videos/clip.mp4") == 4
    assert "1,bar,1,2,3" in (tmp_path / "out/classes.csv").read_text()


def test_no_camera_is_one_sentence(model: Path, tmp_path: Path) -> None:
    with Camera() as camera:
        url = camera.url
    assert "refuses the connection" in refused("predict", model, url, *QUICK, "--out", tmp_path / "out")


def begun(arguments: list[object], before: Callable[[], object] = lambda: None) -> subprocess.Popen[str]:
    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell lets what it starts in the background ignore Ctrl-C
        before()

    command = [sys.executable, "-m", "segwright", *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, preexec_fn=prepare)


def wait_for_lines(path: Path, process: subprocess.Popen[str], count: int = 3) -> None:
    while not path.exists() or path.read_text().count("\n") < count:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


@POSIX
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_camera_is_left_with_whole_files(model: Path, tmp_path: Path, how: signal.Signals) -> None:
    with Camera(fps=10) as camera:
        process = begun(["predict", model, camera.url, *QUICK, "--out", tmp_path / "out", "--save-video"])
        wait_for_lines(tmp_path / "out/predictions.jsonl", process)
        process.send_signal(how)
        out, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, "")
    assert "frames received" in out
    lines = (tmp_path / "out/predictions.jsonl").read_text().splitlines()
    (video,) = (tmp_path / "out/videos/127.0.0.1-cam").iterdir()
    assert frames_in(video) == len(lines)


@POSIX
def test_ctrl_c_ends_the_watching_of_a_camera_that_hangs(model: Path, tmp_path: Path) -> None:
    """The thread that reads waits for the network then, and must not hold up the end nor cry when it comes."""
    with Camera(fps=10) as camera:
        process = begun(["predict", model, camera.url, *QUICK, "--out", tmp_path / "out"])
        wait_for_lines(tmp_path / "out/predictions.jsonl", process)
        camera.frozen = True
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, "")


@POSIX
def test_a_file_that_may_not_grow_is_one_sentence(model: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands in for a full disk: writing fails in the same place."""
    import resource

    clip = write_video(tmp_path / "clip.mp4", 200, size_wh=(320, 240))
    process = begun(
        ["predict", model, clip, *QUICK, "--out", tmp_path / "out", "--save", "video"],
        lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )
    _, err = process.communicate(timeout=300)
    assert process.returncode == 2
    assert "cannot be written" in one_sentence(err)
    assert not list((tmp_path / "out").rglob("*.partial*"))
