"""The report's JSON, its page and its table, with the names a stranger could give."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from segwright.errors import DataError, UserError
from segwright.evaluation.page import LINES, MOST_PICTURE_BYTES, _charts, html
from segwright.evaluation.report import (
    ClassScores,
    Constant,
    Panel,
    PictureScore,
    Report,
    Score,
    number,
    print_report,
    read_report,
)

HOSTILE = "<script>alert(1)</script>\"' onload=x [bold]{{7*7}} ü\u202e"
NOTHING = Score(value=math.nan)


def class_scores(name: str, iou: Score, **changes: Any) -> ClassScores:
    filled = ClassScores(
        name=name,
        colour=(0, 255, 255),
        pictures=9,
        pixels=1234567,
        predicted=800,
        iou=iou,
        dice=iou,
        precision=iou,
        recall=iou,
        boundary_f1=NOTHING,
        constant_iou=0.25,
    )
    return dataclasses.replace(filled, **changes)


def make_report(names: tuple[str, ...] = ("road", "tree", "unseen"), **changes: Any) -> Report:
    sure = Score(value=0.75, low=0.7, high=0.8)
    rows = [class_scores(name, sure) for name in names]
    rows[-1] = class_scores(names[-1], NOTHING, pictures=0, pixels=0, predicted=0, constant_iou=0.0)
    counts = np.zeros((len(names), len(names)), np.int64)
    counts[0, :2], counts[1, :2] = (700, 300), (1, 999)
    picture = PictureScore(
        key=HOSTILE,
        size_hw=(480, 640),
        miou=0.5,
        foreground_iou=math.nan,
        accuracy=0.9,
        milliseconds=3.5,
        pixels=480 * 640,
        counts={0: (1, 2, 3)},
    )
    report = Report(
        model={"name": HOSTILE, "size_hw": [480, 640], "recipe": {"fit": {"epochs": 3}}},
        data=HOSTILE,
        split="test",
        classes=tuple(rows),
        counts=counts,
        ignored_pixels=17,
        miou=sure,
        mean_dice=sure,
        accuracy=sure,
        foreground_iou=NOTHING,
        mean_boundary_f1=NOTHING,
        constant=Constant(answer=names[0], miou=0.1, accuracy=0.5, foreground_iou=math.nan),
        pictures=(picture, dataclasses.replace(picture, key="blank", miou=math.nan)),
        milliseconds=12.34,
        warnings=("Beware of " + HOSTILE,),
        measured="2026-01-02T03:04:05+00:00",
        machine={"cpus": 2, "segwright": "0.1.0"},
        seed=0,
        resamples=2000,
    )
    return dataclasses.replace(report, **changes)


class Page(HTMLParser):
    """Tags, attributes and text of a page; proves that tags are closed in order."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def panels(count: int, side: int = 900) -> tuple[Panel, ...]:
    random = np.random.default_rng(0)
    noise = random.integers(0, 255, (side, 3 * side, 3)).astype(np.uint8)
    return tuple(
        Panel(key=HOSTILE, kind="worst" if i % 2 else "best", score=i / count, pixels=noise) for i in range(count)
    )


EXTRAS: dict[str, Any] = {
    "curves": [
        {"epoch": "0", "train_loss": "1.5", "val_loss": "", "val_iou": "0.1", HOSTILE + "loss": "2"},
        {"epoch": "1", "train_loss": "1.1", "val_loss": "1.3", "val_iou": "nan", HOSTILE + "loss": "1"},
        {"epoch": "2", "train_loss": "0.9", "val_loss": "1.2", "val_iou": "0.4", HOSTILE + "loss": "1"},
    ],
    "health": {"pictures": 12, "findings": [{"severity": HOSTILE, "message": HOSTILE, "count": 3}]},
    "parity": {"onnxruntime": {"largest_difference": 1.5e-6, "agrees": True}, "sizes": [[480, 640], [96, 128]]},
}


def test_json_round_trip_with_nan_as_null() -> None:
    report = make_report()
    text = json.dumps(report.to_dict(), allow_nan=False)
    again = Report.from_dict(json.loads(text))
    assert again.to_dict() == report.to_dict()
    assert json.loads(text)["classes"][2]["iou"] == {"value": None, "low": None, "high": None}
    assert math.isnan(again.classes[2].iou.value)
    assert again.counts.dtype == np.int64
    assert again.pictures[0].counts == {0: (1, 2, 3)}


def test_page_is_whole_escaped_and_self_contained() -> None:
    text = html(make_report(panels=panels(4)), EXTRAS)
    page = Page(text)
    tags = {tag for tag, _ in page.tags}
    assert "script" not in tags
    assert tags.isdisjoint({"link", "iframe", "object", "embed", "form", "base", "a"})
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        for name in ("src", "href", "xlink:href", "srcset", "action"):
            assert (attributes.get(name) or "data:").startswith("data:image/webp;base64,") or name not in attributes
    assert "url(" not in text
    assert "@import" not in text
    assert "http" not in re.sub(r'http-equiv="', "", text)
    assert "49" not in re.findall(r"\[bold\](\S*)", page.text), "names are not templates"
    assert HOSTILE in page.text


def test_page_says_everything() -> None:
    text = Page(html(make_report(panels=panels(2, side=40)), EXTRAS)).text
    for heading in (
        "Classes",
        "Confusions",
        "Pictures",
        "Worst pictures",
        "Best pictures",
        "Training",
        "The data's health",
        "Parity of the exported model",
        "How this was measured",
        "Machine and versions",
        "Apache-2.0",
    ):
        assert heading in text, heading
    assert "1\u202f234\u202f567" in html(make_report(), {})
    assert "480 × 640" in text
    bare = Page(html(make_report(), {})).text
    for heading in ("Worst pictures", "Training", "health", "Parity"):
        assert heading not in bare


def test_page_is_accessible() -> None:
    page = Page(html(make_report(panels=panels(2, side=40)), EXTRAS))
    for tag, attributes in page.tags:
        if tag == "img":
            assert attributes["alt"]
        if tag == "th":
            assert attributes["scope"] in {"row", "col"}
        if tag == "svg":
            assert attributes.get("aria-hidden") == "true" or attributes["aria-label"]
    assert ("html", {"lang": "en"}) in page.tags


def test_absent_class_is_a_dash_never_a_number() -> None:
    page = html(make_report(), {})
    row = page[page.index("unseen") :]
    cells = re.findall(r"<td[^>]*>(.*?)</td>", row[: row.index("</tr>")], re.DOTALL)
    assert re.sub(r"<[^>]+>", "", cells[0]) == "–"
    assert cells[2] == cells[3] == "–"
    assert not re.search(r"\bnan\b", page.lower())


def test_pictures_fit_their_budget() -> None:
    text = html(make_report(panels=panels(12)), {})
    pictures = re.findall(r'src="data:image/webp;base64,([^"]+)"', text)
    assert len(pictures) == 12
    assert sum(map(len, pictures)) <= MOST_PICTURE_BYTES * 4 / 3 + 48


def test_many_classes_list_confusions_instead_of_a_matrix() -> None:
    text = html(make_report(tuple(f"class {n}" for n in range(60))), {})
    assert 'aria-label="Confusion matrix"' not in text
    assert "Where most wrong pixels are" in text


def test_a_faultless_model_and_one_picture_make_a_page() -> None:
    report = make_report(("a", "b"))
    report = dataclasses.replace(
        report,
        counts=np.diag([5, 0]).astype(np.int64),
        pictures=report.pictures[1:],
        miou=NOTHING,
        milliseconds=math.nan,
    )
    text = Page(html(report, {"curves": [{"epoch": 0}], "health": {"findings": []}})).text
    assert "Not one pixel was wrong" in text
    assert "Nothing was found to be wrong with the data" in text


def test_not_better_than_constant_is_plain() -> None:
    constant = Constant(answer="road", miou=0.8, accuracy=0.9, foreground_iou=math.nan)
    report = make_report(constant=constant)
    assert not report.better_than_constant
    assert "Not better than a constant answer" in Page(html(report, {})).text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_table_in_the_terminal(width: int) -> None:
    out = io.StringIO()
    print_report(make_report(("road", HOSTILE, "unseen")), Console(file=out, width=width))
    said = out.getvalue()
    assert "mIoU 0.750 (0.700 to 0.800)" in said
    assert "[bold]" in said, "names are no markup"
    assert "–" in said
    assert "Beware of" in said
    assert "12.3 ms" in said


def test_numbers_for_people() -> None:
    assert number(0.12345) == "0.123"
    assert number(math.nan) == "–"
    assert str(Score(value=0.5)) == "0.500"
    assert str(Score(value=0.5, low=0.4, high=0.6)) == "0.500 (0.400 to 0.600)"


def test_newer_or_broken_reports_are_refused(tmp_path: Path) -> None:
    raw = make_report().to_dict()
    with pytest.raises(DataError, match="upgrade"):
        Report.from_dict({**raw, "schema": 99})
    with pytest.raises(DataError, match="counts"):
        Report.from_dict({**raw, "counts": [[1]]})
    with pytest.raises(DataError, match="miou"):
        Report.from_dict({k: v for k, v in raw.items() if k != "miou"})
    for content in ("", "[1]", "{", "[" * 100_000):
        (tmp_path / "report.json").write_text(content)
        with pytest.raises(DataError, match=r"report\.json"):
            read_report(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        read_report(tmp_path / "none.json")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(make_report().to_dict())), json_values)
@settings(max_examples=150, deadline=None)
def test_strange_reports_raise_only_our_errors(key: str, value: Any) -> None:
    try:
        report = Report.from_dict({**make_report().to_dict(), key: value})
    except UserError:
        return
    json.dumps(report.to_dict(), allow_nan=False)
    html(report, {})


@given(
    st.lists(st.dictionaries(st.sampled_from(["epoch", "loss", "val_iou", "x"]), json_values), max_size=4), json_values
)
@settings(max_examples=60, deadline=None)
def test_strange_extras_still_make_a_page(curves: list[dict[str, Any]], other: Any) -> None:
    Page(html(make_report(), {"curves": curves, "health": other, "parity": other}))


def test_the_curves_of_a_run_with_many_classes() -> None:
    """A chart of its own for the classes, worst first; one called loss is no loss."""
    rows = [
        {"epoch": e, "train_loss": 2 - e, "train_iou": 0.1 * e, "val_iou": 0.2 * e}
        | {f"val_iou_class {n}": 0.1 * n + 0.01 * e for n in range(8)}
        | {"val_iou_loss": float("nan") if e else 0.5}
        for e in (0, 1)
    ]
    losses, scores, classes = _charts(rows)
    assert [line["name"] for line in losses["lines"]] == ["train_loss"]
    assert [line["name"] for line in scores["lines"]] == ["train_iou", "val_iou"]
    assert classes["title"] == f"IoU of the {LINES} worst classes"
    assert [line["name"] for line in classes["lines"]] == [f"class {n}" for n in range(LINES)]
    two = [{"epoch": e, "val_iou": 0.5, "val_iou_background": 0.9, "val_iou_disc": 0.5} for e in (0, 1)]
    assert [chart["title"] for chart in _charts(two)] == ["Scores"]
