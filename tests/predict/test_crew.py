"""Several networks at once: the order of the frames, errors, the end, and files written as by one alone."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segwright.classes import Classes
from segwright.predict.crew import IN_HAND, Crew, members
from segwright.predict.feed import Ended, Feed
from segwright.predict.frame import Frame
from segwright.predict.loop import run
from segwright.predict.predictor import Prediction, Predictor
from segwright.predict.saving import parse_saves, sinks_for
from segwright.predict.sources import find_sources
from segwright.workflows import opening, predicting
from tests.command import everything_below
from tests.video import write_video

CLASSES = Classes(names=("background", "card"))


class Slow:
    """Answers with the frame's brightness as class, after a while; notes who works at the same time."""

    classes = CLASSES
    busy = most = 0
    lock = threading.Lock()

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.mine = threading.Lock()

    def predict(self, image: np.ndarray, *, key: str = "", probabilities: bool = False) -> Prediction:
        assert self.mine.acquire(blocking=False), "a network was given two frames at once"
        try:
            with Slow.lock:
                Slow.busy += 1
                Slow.most = max(Slow.most, Slow.busy)
            if image[0, 0, 0] == 255:
                raise ValueError("this frame cannot be predicted")
            time.sleep(self.seconds * (int(image[0, 0, 0]) % 3))
            with Slow.lock:
                Slow.busy -= 1
            return Prediction(
                class_map=image[..., 0],
                milliseconds=1.0,
                classes=CLASSES,
                key=key,
                details=lambda: pytest.fail("nobody asked"),
            )
        finally:
            self.mine.release()


def frame(number: int) -> Frame:
    return Frame(image=np.full((4, 4, 3), number, np.uint8), key=str(number), source="clip", index=number)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 4), st.lists(st.booleans(), max_size=20))
def test_answers_come_in_the_order_of_the_frames(size: int, kinds: list[bool]) -> None:
    crew = Crew([Slow(0.001) for _ in range(size)])
    items: list[Frame | Ended] = [frame(n) if kind else Ended(source=f"{n}") for n, kind in enumerate(kinds)]
    came: list[Any] = []
    for item in items:
        crew.give(item)
        came += crew.answers()
    came += crew.answers(everything=True)
    assert crew.idle
    crew.close()
    assert [id(one if isinstance(one, Ended) else one[0]) for one in came] == [id(item) for item in items]
    assert all(int(one[1].class_map[0, 0]) == one[0].index for one in came if not isinstance(one, Ended))


def test_they_work_at_the_same_time_and_no_more_than_a_few_frames_are_in_hand() -> None:
    Slow.most = 0
    crew = Crew([Slow(0.05) for _ in range(3)])
    came = 0
    for number in range(1, 13):
        crew.give(frame(number))
        came += len(list(crew.answers()))
        assert number - came < IN_HAND * 3
    list(crew.answers(everything=True))
    crew.close()
    assert Slow.most == 3


def test_what_goes_wrong_at_a_frame_is_met_in_its_turn() -> None:
    crew = Crew([Slow(), Slow()])
    for number in (1, 255, 2):
        crew.give(frame(number))
    answers = crew.answers(everything=True)
    first = next(answers)
    assert not isinstance(first, Ended) and first[0].index == 1
    with pytest.raises(ValueError, match="cannot be predicted"):
        next(answers)
    crew.close()


def test_the_members_share_the_cores() -> None:
    count, threads = members()
    assert count >= 1 and threads >= 1


def test_what_is_written_is_that_of_one_alone(engine: Any, tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.mp4", times=[n / 10 for n in range(12)])
    folders = []
    for helpers in (0, 2):
        out = tmp_path / f"out{helpers}"
        out.mkdir()
        sources = find_sources([str(clip)], leave_out=out)
        _, sinks = sinks_for(parse_saves("jsonl,masks,video"), out, CLASSES, sources)
        summary = run(Predictor(engine), Feed(sources), sinks, out, helpers=[Predictor(engine) for _ in range(helpers)])
        assert summary.pictures == 12
        folders.append(out)
    one, several = folders
    assert everything_below(one) == everything_below(several)
    masks = [name for name in everything_below(one) if name.endswith(".png")]
    assert len(masks) == 12
    for name in [*masks, "videos/clip.mp4"]:
        assert (one / name).read_bytes() == (several / name).read_bytes(), name
    keys = [
        [json.loads(line)["key"] for line in (out / "predictions.jsonl").read_text().splitlines()] for out in folders
    ]
    assert keys[0] == keys[1]


@pytest.mark.parametrize(
    ("said", "copies"),
    [({}, 3), ({"threads": 1}, 0), ({"most": 5}, 0), ({"picture": True}, 0)],
)
def test_only_long_videos_get_copies_of_the_engine(
    engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: dict[str, Any], copies: int
) -> None:
    from PIL import Image

    from segwright.predict.frame import Choice

    clip = write_video(tmp_path / "clip.mp4", times=[0.0, 0.1, 0.2])
    if said.get("picture"):
        clip = tmp_path / "a.png"
        Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(clip)
    engine.on_cpu = True
    opened: list[dict[str, Any]] = []

    def open_engine(*_: Any, **how: Any) -> Any:
        opened.append(how)
        return engine

    monkeypatch.setattr(opening, "open_engine", open_engine)
    monkeypatch.setattr("segwright.predict.crew.members", lambda: (3, 2))
    model = tmp_path / "m.onnx"
    model.touch()
    predicting.predict_sources(
        model,
        [clip],
        tmp_path / "out",
        engine="onnxruntime",
        choice=Choice(most=said.get("most")),
        threads=said.get("threads"),
    )
    assert [how["threads"] for how in opened] == [said.get("threads"), *[2] * copies]
