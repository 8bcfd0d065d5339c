from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from segwright.evaluation.report import Score, signed
from tests.command import refused, succeeded
from tests.evaluation.test_report import make_report

Counts = Mapping[str, tuple[int, int, int]]
"""Picture -> pixels of the foreground that are right, true, and predicted; each picture has 1000 pixels."""

FIRST: Counts = {name: (80 + n, 100, 100) for n, name in enumerate("abcdefgh")}
BETTER: Counts = {name: (85 + n, 100, 100) for n, name in enumerate("abcdefgh")}
MIXED: Counts = {name: (80 + n + (9 if n % 2 else -9), 100, 100) for n, name in enumerate("abcdefgh")}


def write_report(folder: Path, counts: Counts) -> Path:
    hit, true, predicted = np.array(list(counts.values())).sum(axis=0)
    one = make_report().pictures[0]
    pictures = tuple(
        dataclasses.replace(
            one,
            key=key,
            pixels=1000,
            foreground_iou=h / (t + p - h),
            counts={0: (1000 - t - p + h, 1000 - t, 1000 - p), 1: (h, t, p)},
        )
        for key, (h, t, p) in counts.items()
    )
    report = make_report(
        ("background", "[card]"),
        data="data",
        split="test",
        counts=np.eye(2, dtype=np.int64),
        foreground_iou=Score(value=hit / (true + predicted - hit)),
        pictures=pictures,
    )
    report.write(folder)
    return folder


def test_models_beside_each_other(tmp_path: Path) -> None:
    folders = [write_report(tmp_path / name, counts) for name, counts in (("a", FIRST), ("b", BETTER), ("c", MIXED))]
    printed = succeeded("compare", *folders, "--json", tmp_path / "all.json")
    assert "8 pictures of data/test" in printed
    assert "[card]" in printed
    assert "+8 -0" in printed
    assert "+4 -4" in printed
    found = json.loads((tmp_path / "all.json").read_text(encoding="utf-8"))
    first, better, mixed = found["models"]
    assert [one["name"] for one in found["models"]] == ["a", "b", "c"]
    assert first["change"] is None
    assert better["change"]["verdict"] == "better"
    assert better["change"]["headline"]["value"] == pytest.approx(better["score"]["value"] - first["score"]["value"])
    assert 0 < better["change"]["headline"]["low"] <= better["change"]["headline"]["high"]
    assert better["change"]["classes"]["[card]"] == better["change"]["headline"]
    assert mixed["change"]["verdict"] == "unsure"
    assert mixed["change"]["better"] == ["h", "f", "d", "b"]
    assert mixed["change"]["worse"] == ["g", "e", "c", "a"]
    backwards = succeeded("compare", folders[1], folders[0])
    assert "worse" in backwards


def test_a_run_folder_is_its_report(tmp_path: Path) -> None:
    write_report(tmp_path / "run" / "evaluation-test", FIRST)
    other = write_report(tmp_path / "other", BETTER)
    assert "better" in succeeded("compare", tmp_path / "run", other / "report.json")
    printed = succeeded(
        "compare", tmp_path / "run", tmp_path / "run" / "evaluation-test", "--json", tmp_path / "c.json"
    )
    assert "unsure" in printed
    named = [one["name"] for one in json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))["models"]]
    assert named == [str(tmp_path / "run"), str(tmp_path / "run" / "evaluation-test")]
    write_report(tmp_path / "run" / "evaluation-val", FIRST)
    assert "holds 2 reports" in refused("compare", tmp_path / "run", other)


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({name: FIRST[name] for name in "abcdefg"}, "same pictures"),
        (dict.fromkeys(FIRST, (80, 110, 100)), "masks"),
    ],
)
def test_what_cannot_be_compared(tmp_path: Path, counts: Counts, words: str) -> None:
    assert words in refused("compare", write_report(tmp_path / "a", FIRST), write_report(tmp_path / "b", counts))


def test_bad_input(tmp_path: Path) -> None:
    one = write_report(tmp_path / "a", FIRST)
    assert "two reports" in refused("compare", one)
    assert "two reports" in refused("compare")
    assert "does not exist" in refused("compare", one, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "segwright evaluate" in refused("compare", one, tmp_path / "empty")
    (tmp_path / "empty" / "report.json").write_bytes(b"")
    assert "cannot be read as a report" in refused("compare", one, tmp_path / "empty")


def test_too_few_pictures_leave_it_open(tmp_path: Path) -> None:
    few = {name: FIRST[name] for name in "abc"}
    folders = [write_report(tmp_path / name, few if name == "a" else {k: BETTER[k] for k in few}) for name in "ab"]
    assert "unsure" in succeeded("compare", *folders)


def test_signs() -> None:
    assert [signed(value) for value in (0.0123, -0.5, 0.0, math.nan)] == ["+0.012", "-0.500", "0.000", "\N{EN DASH}"]
