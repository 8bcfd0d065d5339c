"""The loop and everything it writes, around an engine whose answers are known: bright pixels are cards."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from segwright.errors import DataError, OutputError, UserError
from segwright.predict.belt import Belt
from segwright.predict.cleanup import Cleanup
from segwright.predict.feed import Feed
from segwright.predict.found import Found
from segwright.predict.frame import Choice, Frame
from segwright.predict.loop import Summary, run
from segwright.predict.predictor import Predictor
from segwright.predict.recorder import Recorder
from segwright.predict.saving import parse_saves, sinks_for
from segwright.predict.sources import find_sources
from tests.video import cut, without_frames, write_video


def predicted(
    engine: Any, out: Path, *words: object, saves: str | None = None, choice: Choice | None = None, **settings: Any
) -> Summary:
    """What `segwright predict` does, but for the model."""
    out.mkdir(exist_ok=True)
    sources = find_sources([str(word) for word in words], leave_out=out)
    said = None if saves is None else parse_saves(saves)
    audio = settings.pop("keep_audio", False)
    _, sinks = sinks_for(said, out, engine.facts.classes, sources, keep_audio=audio)
    return run(Predictor(engine), Feed(sources, choice), sinks, out, **settings)


def lines_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]


def frames_in(video: Path) -> list[tuple[float, np.ndarray]]:
    with av.open(str(video)) as container:
        return [(frame.time or 0.0, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_video(tmp_path / "clip.mp4", times=[0.0, 0.1, 0.2, 0.5, 0.6, 1.0])


def test_a_video_becomes_an_annotated_video_at_its_own_times(engine: Any, clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = predicted(engine, out, clip)
    assert (summary.pictures, summary.frames, summary.failures, summary.stopped) == (6, 6, (), False)
    assert {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} == {
        "predictions.jsonl",
        "videos/clip.mp4",
    }
    seen = frames_in(out / "videos/clip.mp4")
    assert [seconds for seconds, _ in seen] == pytest.approx([0.0, 0.1, 0.2, 0.5, 0.6, 1.0], abs=0.001)
    # The bar of the first picture is tinted with the cyan of class 1, the ground is not.
    assert seen[0][1][40:60, 5:35].mean((0, 1)) == pytest.approx([127, 241, 241], abs=12)
    assert seen[0][1][40:60, 100:300].mean((0, 1)) == pytest.approx([30, 30, 30], abs=6)
    lines = lines_of(out)
    assert [line["seconds"] for line in lines] == [0.0, 0.1, 0.2, 0.5, 0.6, 1.0]
    assert [line["index"] for line in lines] == list(range(6))
    assert lines[2]["key"] == "clip/000002"
    assert lines[2]["source"] == "clip"
    assert lines[2]["milliseconds"] > 0
    assert lines[2]["largest"]["card"]["area"] <= lines[2]["pixels"]["card"]


def test_sound_is_kept_when_asked(engine: Any, tmp_path: Path) -> None:
    for codec in ("aac", "mp2"):
        clip = write_video(tmp_path / f"{codec}.mkv", 12, sound=codec)
        out = tmp_path / codec
        predicted(engine, out, clip, saves="video", keep_audio=True, choice=Choice(start=0.4))
        with av.open(str(out / f"videos/{codec}.mp4")) as container:
            (audio,) = container.streams.audio
            assert audio.codec_context.name == "aac"
            length = sum(frame.samples for frame in container.decode(audio)) / 16000
        assert length == pytest.approx(0.8, abs=0.15)
        predicted(engine, tmp_path / "silent", clip, saves="video")
        with av.open(str(tmp_path / f"silent/videos/{codec}.mp4")) as container:
            assert not container.streams.audio


def test_an_odd_size_is_written_whole(engine: Any, clip: Path, tmp_path: Path) -> None:
    predicted(engine, tmp_path / "out", clip, choice=Choice(size_wh=(161, 95)))
    assert frames_in(tmp_path / "out/videos/clip.mp4")[0][1].shape == (96, 162, 3)


def test_pictures_and_videos_of_one_folder(engine: Any, clip: Path, tmp_path: Path) -> None:
    Image.new("RGB", (64, 48), "white").save(tmp_path / "a.png")
    (tmp_path / "deep").mkdir()
    write_video(tmp_path / "deep/b.mp4", 3)
    out = tmp_path / "out"
    summary = predicted(engine, out, tmp_path)
    assert (summary.pictures, summary.frames) == (10, 9)
    assert {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} == {
        *("masks/a.png", "colours/a.png", "overlays/a.png", "predictions.jsonl"),
        *("videos/clip.mp4", "videos/deep/b.mp4"),
    }
    assert [line["key"] for line in lines_of(out)][:2] == ["a", "clip/000000"]


def test_everything_that_can_be_saved(engine: Any, clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predicted(engine, out, clip, saves="masks,colours,overlays,contours,frames,jsonl,coco,labelme,yolo,video")
    for kind in ("masks", "colours", "overlays", "contours", "frames"):
        assert len(list((out / kind).rglob("*.png"))) == 6, kind
    assert len(list((out / "labelme").rglob("*.json"))) == len(list((out / "yolo/labels").rglob("*.txt"))) == 6
    with Image.open(out / "contours/clip/000000.png") as picture:
        inside, edge = picture.getpixel((20, 50)), picture.getpixel((20, 32))
    assert inside[0] > 200  # type: ignore[index]
    assert edge == (0, 255, 255)
    with pytest.raises(UserError, match="--save does not know maskes"):
        parse_saves("maskes,jsonl")


def test_videos_of_pictures_are_refused(engine: Any, tmp_path: Path) -> None:
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="only pictures were named"):
        predicted(engine, tmp_path / "out", tmp_path / "a.png", saves="video")


def test_bad_files_are_named_and_the_rest_is_done(engine: Any, clip: Path, tmp_path: Path) -> None:
    cut(write_video(tmp_path / "index.mp4"), 0.5)
    cut(write_video(tmp_path / "short.mp4", 30, index_first=True), 0.6)
    without_frames(tmp_path / "void.mp4")
    summary = predicted(engine, tmp_path / "out", tmp_path / "*.mp4")
    reasons = {Path(failure.path).name: failure.reason for failure in summary.failures}
    assert reasons.keys() == {"index.mp4", "short.mp4", "void.mp4"}
    assert summary.pictures > 12
    for name in ("index", "void"):
        with pytest.raises(DataError, match=f"{name}.mp4"):
            predicted(engine, tmp_path / "none", tmp_path / f"{name}.mp4")


class Slow(Predictor):
    """Takes its time, so that Ctrl-C can come in the middle."""

    def __init__(self, engine: Any, after: int) -> None:
        super().__init__(engine)
        self._left = after

    def predict(self, image: np.ndarray, *, key: str = "", probabilities: bool = False) -> Any:
        if not self._left:
            raise KeyboardInterrupt
        self._left -= 1
        return super().predict(image, key=key, probabilities=probabilities)


def test_ctrl_c_leaves_a_video_that_plays(engine: Any, tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.mp4", 60)
    out = tmp_path / "out"
    out.mkdir()
    sources = find_sources([clip])
    saves, sinks = sinks_for(None, out, engine.facts.classes, sources)
    summary = run(Slow(engine, 23), Feed(sources), sinks, out)
    assert (summary.stopped, summary.pictures) == (True, 23)
    assert saves == frozenset({"video", "jsonl"})
    assert len(frames_in(out / "videos/clip.mp4")) == len(lines_of(out)) == 23
    assert {path.name for path in out.rglob("*") if path.is_file()} == {"clip.mp4", "predictions.jsonl"}


def test_a_full_disk_is_one_sentence_and_what_was_finished_stays(
    engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = write_video(tmp_path / "clip.mp4", 120)
    real = Recorder.write

    def full(recorder: Recorder, found: Any) -> None:
        if found.frame.index == 110:
            recorder._parts["clip"]._broken = True
            raise OutputError("OUT cannot be written (No space left on device); free some space.")
        real(recorder, found)

    monkeypatch.setattr(Recorder, "write", full)
    out = tmp_path / "out"
    with pytest.raises(OutputError, match="No space left on device"):
        predicted(engine, out, clip)
    assert len(lines_of(out)) == 110
    # What an encoder still held is lost; every fragment that was written plays.
    assert not list(out.rglob("*.partial*"))
    assert 50 <= len(frames_in(out / "videos/clip.mp4")) <= 110


def test_cleaned_and_repainted(engine: Any, tmp_path: Path) -> None:
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[4:24, 4:24] = 255
    pixels[10:12, 10:12] = 0
    pixels[40:42, 60:62] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    out = tmp_path / "out"
    predicted(engine, out, tmp_path / "a.png", cleanup=Cleanup(smallest=10, hole=10))
    with Image.open(out / "masks/a.png") as mask:
        expected = np.zeros((48, 64), np.uint8)
        expected[4:24, 4:24] = 1
        assert np.array_equal(np.asarray(mask), expected)
    assert lines_of(out)[0]["pixels"]["card"] == 400


def test_steadiness_is_measured(engine: Any, clip: Path, tmp_path: Path) -> None:
    measured = predicted(engine, tmp_path / "measured", clip, steady=0.0).flicker
    smoothed = predicted(engine, tmp_path / "smoothed", clip, steady=0.9).flicker
    assert measured is not None
    assert smoothed is not None
    assert 0 < measured[0] == measured[1] == smoothed[0] != smoothed[1]
    assert predicted(engine, tmp_path / "other", clip).flicker is None


@pytest.mark.parametrize("steady", [None, 0.0, 0.5])
def test_probabilities_are_asked_for_where_frames_are_smoothed(
    engine: Any, clip: Path, tmp_path: Path, steady: float | None
) -> None:
    """Networks that decode their answer themselves would else run a second time for each frame."""
    asked: list[bool] = []

    class Asked(Predictor):
        def predict(self, image: np.ndarray, *, key: str = "", probabilities: bool = False) -> Any:
            asked.append(probabilities)
            return super().predict(image, key=key, probabilities=probabilities)

    sources = find_sources([clip])
    run(Asked(engine), Feed(sources), [], tmp_path, steady=steady)
    assert asked == [steady is not None] * 6


def test_a_new_size_begins_a_new_file_whose_name_nobody_has(engine: Any, tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    classes = engine.facts.classes
    for source, sides in (("a", (32, 48)), ("a-2", (32,))):
        for number, side in enumerate(sides):
            image = np.zeros((side, 64, 3), np.uint8)
            frame = Frame(image=image, key=f"{source}/{number}", source=source, seconds=number / 10)
            recorder.write(Found(frame, Predictor(engine).predict(image), classes))
    recorder.close()
    heights = {path.name: frames_in(path)[0][1].shape[0] for path in (tmp_path / "videos").iterdir()}
    assert heights == {"a.mp4": 32, "a-2.mp4": 48, "a-2-2.mp4": 32}


class Screen:
    """A window that is closed after some frames."""

    closed = False

    def __init__(self, frames: int) -> None:
        self.shown: list[tuple[tuple[int, ...], float, int]] = []
        self._frames = frames

    def show(self, picture: np.ndarray, milliseconds: float, largest: int) -> None:
        self.shown.append((picture.shape, milliseconds, largest))

    def poll(self) -> None:
        self.closed = len(self.shown) >= self._frames


def test_a_window_is_shown_frames_and_ends_the_run(engine: Any, tmp_path: Path) -> None:
    clip, screen = write_video(tmp_path / "clip.mp4", 200), Screen(3)
    summary = predicted(engine, tmp_path / "out", clip, saves="jsonl", window=screen)
    assert summary.stopped
    assert summary.pictures < 200
    assert screen.shown[0][0] == (64, 320, 3)
    assert screen.shown[0][2] > 500


def test_the_network_does_not_wait_for_reading_or_writing(engine: Any, tmp_path: Path) -> None:
    """All three stages sleep; together they take about as long as the slowest, not as long as their sum."""
    nap, count = 0.02, 30

    class Napping(Predictor):
        def predict(self, image: np.ndarray, *, key: str = "", probabilities: bool = False) -> Any:
            time.sleep(nap)
            return super().predict(image, key=key, probabilities=probabilities)

    class Reading(Feed):
        def __iter__(self) -> Iterator[Any]:
            for number in range(count):
                time.sleep(nap)
                yield Frame(image=np.zeros((48, 64, 3), np.uint8), key=str(number), source="x")

    class Writing:
        def __init__(self) -> None:
            self.threads: set[str] = set()

        def write(self, found: Any) -> None:
            time.sleep(nap)
            self.threads.add(threading.current_thread().name)

        def source_ended(self, source: str) -> None:
            pass

        def close(self) -> None:
            pass

    writing = Writing()
    summary = run(Napping(engine), Reading([]), [writing], tmp_path)
    assert summary.pictures == count
    assert writing.threads == {"writing behind"}


def test_an_error_of_the_reader_reaches_the_caller(engine: Any, tmp_path: Path) -> None:
    class Broken(Feed):
        def __iter__(self) -> Iterator[Any]:
            yield Frame(image=np.zeros((48, 64, 3), np.uint8), key="a", source="x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(Predictor(engine), Broken([]), [], tmp_path)


def test_a_belt_keeps_the_order_and_ends_from_both_sides() -> None:
    belt: Belt[int] = Belt(2)
    seen = []

    def lay() -> None:
        for number in range(50):
            belt.put(number)
        belt.finish()

    thread = threading.Thread(target=lay)
    thread.start()
    while not belt.ended:
        thing = belt.get()
        if thing is not None:
            seen.append(thing)
    thread.join()
    assert seen == list(range(50))
    other: Belt[int] = Belt(1)
    assert other.put(1)
    assert other.get(0.01) == 1
    assert other.get(0.01) is None
    other.stop()
    assert not other.put(2)
    assert not other.has_room()
    assert other.ended
