from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from segwright import checkpoint
from segwright.checkpoint import Checkpoint
from segwright.classes import Classes
from segwright.data.layouts import find_dataset
from segwright.data.sample import read_pair
from segwright.evaluation.tuning import CLEANUPS, cleanup_counts, threshold_counts
from segwright.metrics import confusion
from segwright.models.catalogue import build
from segwright.predict.predictor import Details, Prediction
from segwright.recipe import Recipe
from tests.command import everything_below, refused, succeeded
from tests.tiny import NAMES, draw_pair, make_dataset

Answers = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""(H, W) truth -> (channels, H, W) float32 probabilities."""


class Told:
    """A predictor that is told the truth of every picture and spoils it."""

    def __init__(self, data: Path, classes: Classes, answers: Answers, threshold: float = 0.5) -> None:
        self.classes, self.threshold, self._answers = classes, threshold, answers
        dataset = find_dataset(data)
        self._truths = {
            image.tobytes(): truth
            for part in dataset.splits.values()
            for image, truth in (read_pair(sample, dataset.classes) for sample in part)
        }

    def predict(self, image: np.ndarray, *, key: str = "", probabilities: bool = False) -> Prediction:
        truth = self._truths[image.tobytes()]
        found = self._answers(truth, np.random.default_rng(int(truth.sum()))).astype(np.float32)
        return Prediction(
            class_map=self.classes.decode(found, self.threshold),
            milliseconds=1.0,
            classes=self.classes,
            key=key,
            details=lambda: Details(self.classes.confidence(found, self.threshold), found),
        )


def unsure(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The foreground has 0.3 to 0.4, the background less."""
    return np.where(truth == 1, rng.uniform(0.3, 0.4, truth.shape), rng.uniform(0, 0.25, truth.shape))[None]


def specks(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Right but for specks of a few pixels."""
    found = np.where(truth == 1, 0.9, 0.1)
    for y, x in rng.integers(2, 44, (12, 2)):
        cv2.rectangle(found, (int(x), int(y)), (int(x) + 1, int(y) + 1), 0.9, -1)
    return found[None]


def right(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.where(truth == 1, 0.9, 0.1)[None]


def three(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.eye(3)[truth].transpose(2, 0, 1) * 0.8 + 0.1


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder of a network that has learnt nothing, beside a data set of eight validation pictures."""
    return make_run(tmp_path, classes=2)


def make_run(folder: Path, *, classes: int) -> Path:
    make_dataset(folder / "data", classes=classes, notation="index", splits={"train": 2, "val": 8, "test": 2})
    recipe = Recipe.from_dict({"model": {"model": "lraspp_mobilenet_v3_small"}, "data": {"width": 64, "height": 64}})
    table = Classes(names=NAMES[:classes])
    weights = build(recipe.model, table.channels, load_weights=False).state_dict()
    (folder / "run").mkdir()
    Checkpoint(recipe=recipe, classes=table, weights=weights).save(folder / "run" / "best.safetensors")
    (folder / "run" / "data.json").write_text(json.dumps({"data": str(folder / "data")}), encoding="utf-8")
    return folder / "run"


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Callable[[Answers], None]:
    """Let every model answer in some way."""

    def answer(answers: Answers) -> None:
        def load(file: Path, *, device: str, threshold: float | None = None) -> Told:
            network = checkpoint.load(file)
            data = file.parents[1] / "data"
            return Told(data, network.classes, answers, network.threshold if threshold is None else threshold)

        monkeypatch.setattr("segwright.workflows.opening.load", load)

    return answer


def facts(run: Path) -> Any:
    return json.loads((run / "tuned.json").read_text(encoding="utf-8"))


def test_a_threshold_that_is_certain_is_written_into_the_run(run: Path, answering: Callable[[Answers], None]) -> None:
    answering(unsure)
    before = checkpoint.load(run)
    said = succeeded("tune", run)
    assert "Threshold 0.5 -> 0.28: disc IoU +1.000" in said
    after = checkpoint.load(run)
    assert after.threshold == 0.28
    assert json.loads((run / "best.json").read_text(encoding="utf-8"))["threshold"] == 0.28
    assert after.weights.keys() == before.weights.keys()
    assert all(bool((after.weights[name] == tensor).all()) for name, tensor in before.weights.items())
    assert facts(run)["threshold"]["gain"]["value"] == pytest.approx(1.0)
    assert facts(run)["threshold"]["scores"]["0.5"] == 0.0
    again = succeeded("tune", run)
    assert "Threshold 0.28 stays: no other one is better here." in again
    assert "Clean-up: none is better here." in again


def test_a_dry_run_changes_nothing(run: Path, answering: Callable[[Answers], None]) -> None:
    answering(unsure)
    below = everything_below(run)
    assert "0.28" in succeeded("tune", run, "--dry-run")
    assert checkpoint.load(run).threshold == 0.5
    assert everything_below(run) == below


def test_what_is_right_stays(run: Path, answering: Callable[[Answers], None]) -> None:
    answering(right)
    assert "Threshold 0.5 stays: no other one is better here." in succeeded("tune", run)
    assert checkpoint.load(run).threshold == 0.5


def test_clean_up_that_helps_is_named(run: Path, answering: Callable[[Answers], None]) -> None:
    answering(specks)
    said = succeeded("tune", run)
    assert "Threshold 0.5 stays" in said
    assert f"use it with: segwright predict {run} --min-area 16" in said
    assert facts(run)["cleanup"]["smallest"] == 16
    assert facts(run)["cleanup"]["gain"]["low"] > 0


def test_many_classes_have_no_threshold(tmp_path: Path, answering: Callable[[Answers], None]) -> None:
    run = make_run(tmp_path, classes=3)
    answering(three)
    assert "Threshold: none, the most probable class is taken." in succeeded("tune", run)
    assert "threshold" not in facts(run)
    assert facts(run)["score"] == "mIoU"


def test_a_network_itself(run: Path) -> None:
    """Nothing is faked: a network that has learnt nothing answers, and is still the same network."""
    said = succeeded("tune", run, "--split", "all")
    assert "12 pictures of all" in said
    assert facts(run)["threshold"]["before"] == 0.5


def test_thresholds_count_as_decoding_does(run: Path) -> None:
    dataset = find_dataset(run.parent / "data")
    samples = dataset.splits["val"]
    thresholds = [0.0, 0.1, 0.25, 0.3, 0.35, 0.5, 1.0]
    told = Told(run.parent / "data", dataset.classes, unsure)
    steps: list[int] = []
    counts = threshold_counts(told, samples, dataset.classes, thresholds, step=lambda: steps.append(1))
    assert len(steps) == len(samples)
    for row, sample in zip(counts, samples, strict=True):
        image, truth = read_pair(sample, dataset.classes)
        found = told.predict(image).probabilities
        assert found is not None
        for three_counts, threshold in zip(row, thresholds, strict=True):
            table = confusion(truth, dataset.classes.decode(found, threshold), 2)
            assert three_counts[0].tolist() == [table[1, 1], table[1].sum(), table[:, 1].sum()]


def test_clean_ups_count_as_cleaning_does(tmp_path: Path) -> None:
    run = make_run(tmp_path, classes=3)
    dataset = find_dataset(run.parent / "data")
    told = Told(run.parent / "data", dataset.classes, three)
    counts = cleanup_counts(told, dataset.splits["val"], dataset.classes, CLEANUPS[:9], step=lambda: None)
    assert counts.shape == (8, 9, 3, 3)
    image, truth = read_pair(dataset.splits["val"][0], dataset.classes)
    table = confusion(truth, CLEANUPS[8](told.predict(image).class_map), 3)
    assert counts[0, 8].tolist() == [[table[c, c], table[c].sum(), table[:, c].sum()] for c in range(3)]


def test_bad_input(run: Path) -> None:
    model = run / "model.onnx"
    model.write_bytes(b"")
    assert "tune the run it was made from" in refused("tune", model)
    assert "does not exist" in refused("tune", run.parent / "nowhere")
    assert "--split" in refused("tune", run, "--split", "tomorrow")
    shutil.rmtree(run.parent / "data")
    assert "no longer there" in refused("tune", run)


def test_ignored_pixels_count_nowhere(run: Path) -> None:
    dataset = find_dataset(run.parent / "data")
    told = Told(run.parent / "data", dataset.classes, right)
    sample = dataset.splits["val"][0]
    assert sample.mask is not None
    truth = draw_pair(2).class_map
    truth[:24] = 255
    cv2.imwrite(str(sample.mask), truth)
    counts = threshold_counts(told, [sample], dataset.classes, [0.5], step=lambda: None)
    assert counts[0, 0, 0, 2] == (draw_pair(2).class_map[24:] == 1).sum()
