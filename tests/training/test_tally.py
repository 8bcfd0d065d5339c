from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import distributed

from segwright.classes import IGNORED
from segwright.training import tally as module
from segwright.training.tally import KEPT_AREA, Tally, picture_iou

IMAGE = torch.full((3, 4, 6), 50, dtype=torch.uint8)
MAP = np.zeros((4, 6), np.uint8)


def counts_with(hit: int, wrong: int) -> np.ndarray:
    """Two classes; the IoU of class 1 is hit / (hit + wrong)."""
    return np.array([[100, 0], [wrong, hit]], np.int64)


def filled(scores: dict[str, int], fixed: int, worst: int) -> Tally:
    made = Tally(list(scores), fixed, worst)
    for key, hit in scores.items():
        made.add(key, IMAGE, MAP, MAP, counts_with(hit, 20 - hit))
    return made


@given(st.lists(st.integers(1, 19), min_size=1, max_size=40), st.integers(0, 8), st.integers(0, 5))
def test_the_fixed_are_spread_and_the_worst_are_the_lowest_of_the_others(
    hits: list[int], fixed: int, worst: int
) -> None:
    scores = {f"p{number:02d}": hit for number, hit in enumerate(hits)}
    made = filled(scores, fixed, worst)
    assert len(made.fixed_keys) == min(fixed, len(hits))
    assert list(made.fixed_keys) == sorted(made.fixed_keys)
    if fixed > 1:
        assert {"p00", f"p{len(hits) - 1:02d}"} <= set(made.fixed_keys)
    others = sorted((hit / 20, key) for key, hit in scores.items() if key not in made.fixed_keys)
    expected = [key for _, key in others][: worst if fixed else 0]
    assert list(made.worst_keys()) == expected
    shown_fixed, shown_worst = made.shown()
    assert [s.key for s in shown_fixed] == list(made.fixed_keys)
    assert [s.key for s in shown_worst] == expected
    assert made.ious == {key: pytest.approx(hit / 20) for key, hit in scores.items()}
    assert len(made._copies) <= fixed + worst


def test_a_new_check_begins_empty() -> None:
    made = filled({"a": 3, "b": 4, "c": 5}, 1, 1)
    made.clear()
    assert (made.ious, made.worst_keys(), made.shown()) == ({}, (), ([], []))


@pytest.mark.parametrize(
    ("counts", "iou"),
    [
        (counts_with(3, 1), 0.75),
        (np.array([[9, 0], [0, 0]]), 1.0),
        (np.array([[8, 1], [0, 0]]), 0.0),
        (np.zeros((2, 2), int), None),
        (np.array([[4, 0, 0], [0, 2, 2], [0, 0, 0]]), 0.75),
        (np.zeros((3, 3), int), None),
    ],
)
def test_the_score_of_one_picture(counts: np.ndarray, iou: float | None) -> None:
    assert picture_iou(counts) == (pytest.approx(iou) if iou is not None else pytest.approx(np.nan, nan_ok=True))


def test_a_picture_without_a_counted_pixel_is_never_the_worst() -> None:
    made = Tally(["a", "b", "c"], 1, 2)
    for key in "abc":
        made.add(key, IMAGE, MAP, MAP, np.zeros((2, 2), np.int64) if key != "c" else counts_with(1, 1))
    assert made.worst_keys() == ("c",)
    assert np.isnan(made.shown()[0][0].iou)


def test_copies_are_small_and_lose_the_black_border() -> None:
    image = torch.zeros((3, 1000, 800), dtype=torch.uint8)
    truth = np.full((1000, 800), IGNORED, np.uint8)
    image[:, 200:800] = 9
    truth[200:800] = 1
    made = Tally(["a"], 1, 0)
    made.add("a", image, truth, np.ones_like(truth), counts_with(1, 0))
    (shown,), _ = made.shown()
    height, width = shown.truth.shape
    assert height * width <= KEPT_AREA + height + width
    assert width / height == pytest.approx(800 / 600, rel=0.01)
    assert (shown.image == 9).all()
    assert (shown.truth == 1).all()


def test_processes_join_by_key_and_send_only_what_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [f"p{n}" for n in range(8)]
    whole = filled(dict(zip(keys, (9, 2, 14, 3, 8, 1, 7, 6), strict=True)), 2, 2)
    mine, theirs = Tally(keys, 2, 2), Tally(keys, 2, 2)
    for number, hit in enumerate((9, 2, 14, 3, 8, 1, 7, 6)):
        (mine, theirs)[number % 2].add(keys[number], IMAGE, MAP, MAP, counts_with(hit, 20 - hit))
    sent: list[Any] = []

    def all_gather_object(slots: list[Any], own: Any) -> None:
        sent.append(own)
        slots[:] = [own, theirs.ious if len(sent) == 1 else theirs._copies]

    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(distributed, "all_gather_object", all_gather_object)
    mine.gather()
    assert mine.ious == whole.ious
    assert [[s.key for s in part] for part in mine.shown()] == [[s.key for s in part] for part in whole.shown()]
    assert set(sent[1]) <= {*whole.fixed_keys, *whole.worst_keys()}


def one_of_two(rank: int, store: str, out: str) -> None:
    """A process of its own: every second picture."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    keys = [f"p{n}" for n in range(6)]
    made = Tally(keys, 2, 2)
    for number in range(rank, 6, 2):
        made.add(keys[number], IMAGE, MAP, MAP, counts_with(number + 1, 3))
    made.gather()
    Path(out, f"{rank}.txt").write_text(" ".join(s.key for part in made.shown() for s in part))
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_real_processes_show_the_same(tmp_path: Path) -> None:
    import subprocess

    program = (
        "import sys; from tests.training.test_tally import one_of_two; one_of_two(int(sys.argv[1]), *sys.argv[2:])"
    )
    arguments = [sys.executable, "-c", program]
    processes = [
        subprocess.Popen([*arguments, str(rank), str(tmp_path / "store"), str(tmp_path)], cwd=Path(__file__).parents[2])
        for rank in (0, 1)
    ]
    assert [process.wait(300) for process in processes] == [0, 0]
    assert [(tmp_path / f"{rank}.txt").read_text() for rank in (0, 1)] == ["p0 p5 p1 p2"] * 2
    assert module.WORST > 0
