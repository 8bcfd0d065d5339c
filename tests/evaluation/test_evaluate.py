"""Evaluation with predictors whose answers are known, on pictures made here."""

from __future__ import annotations

import json
import socket
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from segwright import metrics
from segwright.classes import Classes
from segwright.data.sample import Sample, image_size_hw, read_pair, read_raw_mask
from segwright.errors import DataError, ModelError, OutputError
from segwright.evaluation.evaluate import evaluate, without_folders
from segwright.evaluation.report import read_report

BINARY = Classes(names=("background", "card"), notation="binary")
THREE = Classes(names=("road", "tree", "car"))
Answer = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


@dataclass
class FakePrediction:
    class_map: NDArray[np.uint8]
    milliseconds: float = 7.0


@dataclass
class FakePredictor:
    """Pictures are painted so that their red channel is what the predictor shall answer."""

    classes: Classes
    answer: Answer = lambda image: image[..., 0]
    calls: int = 0
    threshold: float = field(default=0.5)

    def predict(self, image: NDArray[np.uint8]) -> FakePrediction:
        self.calls += 1
        return FakePrediction(self.answer(image), 500.0 if self.calls == 1 else 7.0)


@pytest.fixture(autouse=True)
def plain_panels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing is tested elsewhere; here a panel is the picture itself."""
    fake = types.ModuleType("segwright.render")
    fake.panel = lambda image, truth, prediction, classes: image  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "segwright.render", fake)


def painted(
    folder: Path, count: int, classes: int, *, wrong: float = 0.2, values: tuple[int, ...] = (), seed: int = 0
) -> list[Sample]:
    """Pictures of differing sizes; the red channel is the truth with a share of pixels replaced."""
    random = np.random.default_rng(seed)
    samples = []
    for number in range(count):
        height, width = int(random.integers(20, 50)), int(random.integers(20, 50))
        truth = random.integers(0, classes, (height, width)).astype(np.uint8)
        image = np.zeros((height, width, 3), np.uint8)
        flips = random.random((height, width)) < wrong * (number + 1) / count
        image[..., 0] = np.where(flips, random.integers(0, classes, (height, width)), truth)
        raw = np.array(values, np.uint8)[truth] if values else truth.copy()
        if not values:
            raw[:2] = 255
        sample = Sample(f"p{number:02d}", folder / f"p{number:02d}.png", folder / f"p{number:02d}_mask.png")
        Image.fromarray(image).save(sample.image)
        Image.fromarray(raw).save(folder / f"p{number:02d}_mask.png")
        samples.append(sample)
    return samples


def total_counts(samples: list[Sample], classes: Classes) -> NDArray[np.int64]:
    total = np.zeros((len(classes), len(classes)), np.int64)
    for sample in samples:
        image, truth = read_pair(sample, classes)
        for t in range(len(classes)):
            for p in range(len(classes)):
                total[t, p] += int(((truth == t) & (image[..., 0] == p)).sum())
    return total


def test_scores_are_those_of_all_pixels_together(tmp_path: Path) -> None:
    samples = painted(tmp_path, 8, 3)
    report = evaluate(FakePredictor(THREE), samples, THREE, split="test", data="made", progress=False)
    total = total_counts(samples, THREE)
    assert np.array_equal(report.counts, total)
    for number, row in enumerate(report.classes):
        hit, true, predicted = total[number, number], total[number].sum(), total[:, number].sum()
        assert row.iou.value == pytest.approx(hit / (true + predicted - hit))
        assert row.dice.value == pytest.approx(2 * hit / (true + predicted))
        assert row.precision.value == pytest.approx(hit / predicted)
        assert row.recall.value == pytest.approx(hit / true)
        assert row.constant_iou == pytest.approx(true / total.sum())
        assert row.iou.low < row.iou.value < row.iou.high
    assert report.miou.value == pytest.approx(np.mean([row.iou.value for row in report.classes]))
    assert report.accuracy.value == pytest.approx(np.trace(total) / total.sum())
    assert report.ignored_pixels == sum(2 * p.size_hw[1] for p in report.pictures)
    assert report.headline[0] == "mIoU"
    assert not report.foreground_iou.known
    assert report.milliseconds == 7.0, "the first picture warms up"


def test_every_picture_keeps_its_own_counts(tmp_path: Path) -> None:
    samples = painted(tmp_path, 6, 3)
    report = evaluate(FakePredictor(THREE), samples, THREE, split="test", data="made", progress=False)
    for sample, picture in zip(samples, report.pictures, strict=True):
        image, truth = read_pair(sample, THREE)
        assert (picture.key, picture.size_hw) == (sample.key, truth.shape)
        counts = metrics.confusion(truth, image[..., 0], 3)
        assert picture.miou == pytest.approx(float(metrics.mean_iou(counts)))
        assert picture.pixels == counts.sum() == (truth != 255).sum()
        assert picture.counts[2] == (counts[2, 2], counts[2].sum(), counts[:, 2].sum())
    hits = sum(p.counts[1][0] for p in report.pictures)
    assert hits == report.counts[1, 1]


def test_two_classes_quote_the_foreground(tmp_path: Path) -> None:
    samples = painted(tmp_path, 8, 2, values=(0, 255))
    report = evaluate(FakePredictor(BINARY), samples, BINARY, split="val", data="made", progress=False)
    name, score, constant = report.headline
    assert name == "card IoU"
    assert score == report.foreground_iou == report.classes[1].iou
    assert constant == pytest.approx(report.counts[1].sum() / report.counts.sum())
    assert report.pictures[0].score == report.pictures[0].foreground_iou
    assert report.better_than_constant
    assert report.warnings == ()


def test_worst_and_best_are_shown_once_each_in_order(tmp_path: Path) -> None:
    predictor = FakePredictor(THREE)
    samples = painted(tmp_path, 9, 3)
    report = evaluate(predictor, samples, THREE, split="test", data="made", progress=False, panels=3)
    worst = [p for p in report.panels if p.kind == "worst"]
    best = [p for p in report.panels if p.kind == "best"]
    assert len(worst) == len(best) == 3
    assert len({p.key for p in report.panels}) == 6
    assert [p.score for p in worst] == sorted(p.score for p in report.pictures)[:3]
    assert [p.score for p in best] == sorted((p.score for p in report.pictures), reverse=True)[:3]
    assert predictor.calls == 9 + 6
    few = evaluate(FakePredictor(THREE), samples[:3], THREE, split="test", data="made", progress=False)
    assert [p.kind for p in few.panels] == ["worst", "worst", "best"]
    none = evaluate(FakePredictor(THREE), samples, THREE, split="test", data="made", progress=False, panels=0)
    assert none.panels == ()


def test_classes_are_matched_by_name(tmp_path: Path) -> None:
    samples = painted(tmp_path, 6, 3, wrong=0.0)
    shuffled = Classes(names=("tree", "car", "unseen", "road"))
    to_model = np.array([3, 0, 1], np.uint8)
    predictor = FakePredictor(shuffled, lambda image: to_model[image[..., 0]])
    report = evaluate(predictor, samples, THREE, split="test", data="made", progress=False)
    assert report.miou.value == 1.0
    unseen = report.classes[2]
    assert np.isnan(unseen.iou.value)
    assert unseen.pixels == 0
    assert any("unseen" in warning for warning in report.warnings)


def test_a_constant_answer_is_called_one(tmp_path: Path) -> None:
    samples = painted(tmp_path, 8, 3)
    predictor = FakePredictor(THREE, lambda image: np.zeros(image.shape[:2], np.uint8))
    report = evaluate(predictor, samples, THREE, split="test", data="made", progress=False)
    assert not report.better_than_constant
    assert "not better than a constant answer" in report.warnings[0]


def test_foreground_everywhere_is_no_achievement(tmp_path: Path) -> None:
    samples = painted(tmp_path, 8, 2, values=(0, 255))
    predictor = FakePredictor(BINARY, lambda image: np.ones(image.shape[:2], np.uint8))
    report = evaluate(predictor, samples, BINARY, split="test", data="made", progress=False)
    assert report.foreground_iou.value == pytest.approx(report.constant.foreground_iou)
    assert not report.better_than_constant


def test_a_score_near_the_constant_is_called_uncertain(tmp_path: Path) -> None:
    samples = painted(tmp_path, 6, 2, wrong=1.9, values=(0, 255))
    flip = [True] * 3 + [False] * 3
    calls = iter(flip * 3)
    predictor = FakePredictor(BINARY, lambda image: 1 - image[..., 0] if next(calls) else image[..., 0])
    report = evaluate(predictor, samples, BINARY, split="test", data="made", progress=False, panels=0)
    _, score, constant = report.headline
    if score.value > constant >= score.low:
        assert "not certain" in report.warnings[0]
    else:
        assert score.value <= constant


def test_few_pictures_and_rare_classes_have_no_interval(tmp_path: Path) -> None:
    samples = painted(tmp_path, 4, 3)
    few = evaluate(FakePredictor(THREE), samples, THREE, split="test", data="made", progress=False)
    assert not few.miou.sure
    assert any("no interval" in warning for warning in few.warnings)

    samples = painted(tmp_path, 8, 3)
    for sample in samples[2:]:
        assert sample.mask is not None
        raw = read_raw_mask(sample.mask).copy()
        raw[raw == 2] = 0
        Image.fromarray(raw).save(sample.mask)
    rare = evaluate(FakePredictor(THREE), samples, THREE, split="test", data="made", progress=False)
    assert rare.miou.sure
    assert rare.classes[2].pictures == 2
    assert not rare.classes[2].iou.sure
    assert any("car" in warning and "without an interval" in warning for warning in rare.warnings)


def test_training_pictures_and_missing_masks_are_said(tmp_path: Path) -> None:
    samples = [*painted(tmp_path, 6, 3), Sample("bare", tmp_path / "p00.png")]
    predictor = FakePredictor(THREE)
    facts = types.SimpleNamespace(name="net", provenance={"data": "made"})
    predictor.engine = types.SimpleNamespace(name="fake", facts=facts)  # type: ignore[attr-defined]
    report = evaluate(predictor, samples, THREE, split="train", data="made", progress=False)
    assert len(report.pictures) == 6
    assert any("trained on" in warning for warning in report.warnings)
    elsewhere = evaluate(predictor, samples, THREE, split="train", data="other", progress=False)
    assert not any("trained on" in warning for warning in elsewhere.warnings)
    assert any("1 pictures without a mask" in warning for warning in report.warnings)


def test_same_seed_same_report(tmp_path: Path) -> None:
    samples = painted(tmp_path, 7, 3)
    reports = [
        evaluate(FakePredictor(THREE), samples, THREE, split="test", data="made", progress=False, seed=seed).to_dict()
        for seed in (0, 0, 1)
    ]
    assert reports[0]["miou"] == reports[1]["miou"] != reports[2]["miou"]


def test_written_report_reads_back_and_names_no_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = painted(tmp_path, 6, 3)
    weights = tmp_path / "best.safetensors"
    weights.write_bytes(b"abc")
    out = tmp_path / "out"
    report = evaluate(
        FakePredictor(THREE),
        samples,
        THREE,
        split="test",
        data="made",
        progress=False,
        out=out,
        model_file=weights,
        recipe={"model": {"weights": str(weights)}, "data": {"roots": [tmp_path]}},
    )
    assert capsys.readouterr() == ("", "")
    assert read_report(out).to_dict() == report.to_dict() == json.loads((out / "report.json").read_text())
    assert report.model["sha256"] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    for name in ("report.json", "report.html"):
        text = (out / name).read_text()
        assert str(tmp_path) not in text
        assert socket.gethostname() not in text
        assert str(Path.home()) not in text
    assert "NaN" not in (out / "report.json").read_text()


def test_folders_are_cut_from_settings() -> None:
    raw = {
        "a": "/some/where/x.pt",
        "b": ["C:\\Users\\me\\y.pt", 3, None],
        "c": {"d": Path("/z/w")},
        "e": "runs/x and/or y",
    }
    assert without_folders(raw) == {"a": "x.pt", "b": ["y.pt", 3, None], "c": {"d": "w"}, "e": "runs/x and/or y"}


def test_no_masks_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pictures with masks"):
        evaluate(FakePredictor(THREE), [Sample("a", tmp_path / "a.png")], THREE, split="test", data="made")
    with pytest.raises(DataError, match="another --split"):
        evaluate(FakePredictor(THREE), [], THREE, split="test", data="made")


def test_all_ignored_is_said(tmp_path: Path) -> None:
    sample = painted(tmp_path, 1, 3)[0]
    assert sample.mask is not None
    height, width = image_size_hw(sample.mask)
    Image.new("L", (width, height), 255).save(sample.mask)
    with pytest.raises(DataError, match="is ignored"):
        evaluate(FakePredictor(THREE), [sample], THREE, split="test", data="made", progress=False)


def test_unknown_class_is_said_before_the_pass(tmp_path: Path) -> None:
    predictor = FakePredictor(Classes(names=("road", "tree", "sky")))
    with pytest.raises(DataError, match="car"):
        evaluate(predictor, painted(tmp_path, 2, 3), THREE, split="test", data="made", progress=False)
    assert predictor.calls == 0


def test_damaged_picture_is_named(tmp_path: Path) -> None:
    samples = painted(tmp_path, 3, 3)
    samples[1].image.write_bytes(samples[1].image.read_bytes()[:60])
    with pytest.raises(DataError, match=r"p01\.png"):
        evaluate(FakePredictor(THREE), samples, THREE, split="test", data="made", progress=False)


def test_unwritable_place_is_said_before_the_pass(tmp_path: Path) -> None:
    predictor = FakePredictor(THREE)
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputError, match="taken"):
        evaluate(
            predictor, painted(tmp_path, 2, 3), THREE, split="test", data="m", progress=False, out=tmp_path / "taken"
        )
    assert predictor.calls == 0


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda image: image[::2, ::2, 0].copy(), "shape"),
        (lambda image: image[..., 0].astype(np.int64), "int64"),
        (lambda image: image[..., 0] + np.uint8(3), "knows only 0 to 2"),
    ],
)
def test_impossible_answers_are_said(tmp_path: Path, answer: Answer, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        evaluate(FakePredictor(THREE, answer), painted(tmp_path, 2, 3), THREE, split="t", data="m", progress=False)


def test_missing_model_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="gone"):
        evaluate(
            FakePredictor(THREE),
            painted(tmp_path, 2, 3),
            THREE,
            split="t",
            data="m",
            progress=False,
            model_file=tmp_path / "gone.onnx",
        )
