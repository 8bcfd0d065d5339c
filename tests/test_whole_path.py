"""A stranger's first afternoon in a minute: draw, check, train, measure, predict, export, and the same from Python."""

from __future__ import annotations

import json
import pkgutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

import segwright as front_door
from tests.command import succeeded

SIZE = ("--width", "96", "--height", "64")
PARITY = 1e-3


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "cards"
    said = succeeded("synth", "cards", folder, "--count", "24", *SIZE, "--clutter", "0", "--workers", "1")
    assert "24 pictures" in said
    return folder


@pytest.fixture(scope="module")
def run(data: Path) -> Path:
    folder = data.parent / "run"
    said = succeeded(
        *("train", data, "--recipe", "card", *SIZE, "--model", "lraspp_mobilenet_v3_small"),
        *("--epochs", "12", "--batch-size", "8", "--lr", "0.01", "--augment", "light", "--small-share", "0"),
        *("--precision", "fp32", "--patience", "0", "--panels", "2", "--out", folder),
    )
    assert "images/s" in said
    assert said.rstrip().endswith(f"Next: segwright evaluate {folder}")
    return folder


@pytest.fixture(scope="module")
def fixed(run: Path) -> Path:
    said = succeeded("export", run, "--pictures", "4")
    assert "100.000 %" in said
    return run / "model.onnx"


@pytest.fixture(scope="module")
def any_size(run: Path) -> Path:
    succeeded("export", run, "--any-size", "--pictures", "4", "--out", run / "free.onnx")
    return run / "free.onnx"


def scores(report: Path) -> dict[str, float]:
    """Every score of a report by its place, flattened."""
    raw = json.loads((report / "report.json").read_text())
    found: dict[str, float] = {}

    def walk(value: object, place: str) -> None:
        if isinstance(value, dict):
            for key, below in value.items():
                walk(below, f"{place}.{key}")
        elif isinstance(value, list):
            for number, below in enumerate(value):
                walk(below, f"{place}.{number}")
        elif isinstance(value, float) and ("iou" in place or "dice" in place or "accuracy" in place):
            found[place] = value

    walk(raw, "")
    return found


def test_the_drawn_data_is_healthy(data: Path) -> None:
    succeeded("check", data)


def test_something_was_learnt(run: Path) -> None:
    best = json.loads((run / "best.json").read_text())
    assert best["scores"]["val_iou"] > 0.2


def test_run_and_exported_files_score_the_same(
    run: Path, fixed: Path, any_size: Path, data: Path, tmp_path: Path
) -> None:
    said = succeeded("evaluate", run, "--out", tmp_path / "run")
    assert "report.html" in said
    succeeded("evaluate", fixed, data, "--out", tmp_path / "fixed")
    succeeded("evaluate", any_size, data, "--out", tmp_path / "any")
    of_run = scores(tmp_path / "run")
    assert len(of_run) > 5
    for other in ("fixed", "any"):
        of_other = scores(tmp_path / other)
        assert of_other.keys() == of_run.keys()
        for place, score in of_run.items():
            assert of_other[place] == pytest.approx(score, abs=PARITY), place


def test_predictions_are_the_same_from_every_door(
    run: Path, fixed: Path, any_size: Path, data: Path, tmp_path: Path
) -> None:
    pictures = data / "test" / "images"
    maps: dict[str, list[np.ndarray]] = {}
    for name, model in {"run": run, "fixed": fixed, "any": any_size}.items():
        said = succeeded("predict", model, pictures, "--out", tmp_path / name)
        assert "pictures" in said
        maps[name] = [np.asarray(Image.open(mask)) for mask in sorted((tmp_path / name / "masks").iterdir())]
    predictor = front_door.load(str(run))
    maps["python"] = []
    for path in sorted(pictures.iterdir()):
        image = np.asarray(Image.open(path).convert("RGB"))
        prediction = predictor.predict(image)
        assert prediction.class_map.shape == image.shape[:2]
        assert prediction.confidence.shape == image.shape[:2]
        assert prediction.confidence.min() >= 0.5
        maps["python"].append(prediction.class_map)
    for name, answers in maps.items():
        assert len(answers) == len(maps["run"]) > 0
        for one, other in zip(answers, maps["run"], strict=True):
            assert (one == other).mean() > 1 - PARITY, name
    assert all(np.array_equal(a, b) for a, b in zip(maps["python"], maps["run"], strict=True))


def test_any_size_takes_any_size(any_size: Path, run: Path) -> None:
    for height, width in ((64, 96), (31, 200), (300, 90)):
        image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        from_file, from_run = (front_door.load(model).predict(image).class_map for model in (any_size, run))
        assert from_file.shape == (height, width)
        assert (from_file == from_run).mean() > 0.999


def test_the_same_journey_in_python(data: Path, run: Path, tmp_path: Path) -> None:
    health = front_door.check(data)
    assert not health.spoils
    report = front_door.evaluate(run, data, split="val")
    best = json.loads((run / "best.json").read_text())
    card = next(score for score in report.classes if score.name == "card")
    assert card.iou.value == pytest.approx(best["scores"]["val_iou"], abs=1e-3)
    summary = front_door.predict_pictures(run, data / "val" / "images", tmp_path / "out")
    assert summary.failures == ()


@pytest.mark.slow
def test_quickstart(tmp_path: Path) -> None:
    succeeded("quickstart", "--out", tmp_path / "out", "--minutes", "0.2", "--count", "30")
    for place in ("cards", "run/best.safetensors", "run/model.onnx", "report/report.html", "predictions/overlays"):
        assert (tmp_path / "out" / place).exists(), place


# --- The front door --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", front_door.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(front_door, name) is not None


def test_nothing_else_is_public() -> None:
    plain = {
        name
        for name, value in vars(front_door).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert plain - set(front_door.__all__) <= {"annotations", "import_module", "ModuleType", "TYPE_CHECKING", "Any"}
    assert dir(front_door) == sorted(front_door.__all__)


def test_no_public_name_is_that_of_a_folder() -> None:
    """Once `segwright.export.onnx` is imported, Python puts the folder where a function of its name would be."""
    rooms = {module.name for module in pkgutil.iter_modules(front_door.__path__)}
    assert {"data", "export", "predict"} <= rooms
    assert rooms.isdisjoint(front_door.__all__)


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        front_door.nonsense  # noqa: B018
