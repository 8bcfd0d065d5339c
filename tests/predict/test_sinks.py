"""A folder of pictures to a folder of answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segwright.classes import classes_from_rows, read_classes_csv
from segwright.errors import DataError, OutputError
from segwright.predict.loop import predict_folder
from segwright.predict.predictor import Predictor
from segwright.render import write_png


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    folder = tmp_path / "shots"
    (folder / "deep").mkdir(parents=True)
    for name, size in (("a.png", (64, 48)), ("deep/b.png", (128, 96))):
        pixels = np.zeros((size[1], size[0], 3), np.uint8)
        pixels[:, : size[0] // 4] = (255, 255, 255)
        Image.fromarray(pixels).save(folder / name)
    return folder


def files(out: Path) -> set[str]:
    return {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}


def test_every_picture_gets_its_answers(engine: Any, shots: Path, tmp_path: Path, capfd: Any) -> None:
    out = tmp_path / "out"
    summary = predict_folder(Predictor(engine), shots, out, progress=False)
    assert files(out) == {
        *(f"{kind}/{key}.png" for kind in ("masks", "colours", "overlays") for key in ("a", "deep/b")),
        "classes.csv",
        "predictions.jsonl",
    }
    with Image.open(out / "masks/deep/b.png") as mask:
        assert (mask.mode, mask.size) == ("L", (128, 96))
        assert np.array_equal(np.unique(np.asarray(mask)), [0, 1])
    with Image.open(out / "colours/a.png") as colours:
        assert (colours.mode, colours.getpixel((0, 0)), colours.getpixel((60, 0))) == ("RGB", (0, 255, 255), (0, 0, 0))
    with Image.open(out / "overlays/a.png") as overlay:
        assert overlay.getpixel((60, 0)) == (0, 0, 0)
    assert classes_from_rows(read_classes_csv(out / "classes.csv")).names == ("background", "card")
    first, second = (json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines())
    assert (first["key"], first["width"], first["height"]) == ("a", 64, 48)
    assert first["pixels"] == {"background": 48 * 48, "card": 16 * 48}
    assert first["share"]["card"] == 0.25
    assert second["key"] == "deep/b"
    assert (summary.pictures, summary.failures) == (2, ())
    assert summary.shares["card"] == pytest.approx(0.25, abs=0.01)
    assert summary.milliseconds > 0
    assert capfd.readouterr() == ("", "")


def test_a_second_run_inside_its_own_source_predicts_the_same_pictures(engine: Any, shots: Path) -> None:
    for _ in range(2):
        assert predict_folder(Predictor(engine), shots, shots / "out", progress=False).pictures == 2


def test_unreadable_pictures_are_named_and_the_rest_is_done(engine: Any, shots: Path, tmp_path: Path) -> None:
    (shots / "broken.jpg").write_bytes(b"no picture")
    (shots / "cut.png").write_bytes((shots / "a.png").read_bytes()[:60])
    summary = predict_folder(Predictor(engine), shots, tmp_path / "out", progress=False)
    assert summary.pictures == 2
    assert [failure.path.name for failure in summary.failures] == ["broken.jpg", "cut.png"]
    assert all(str(failure.path) in failure.reason for failure in summary.failures)


def test_nothing_readable_is_an_error(engine: Any, tmp_path: Path) -> None:
    (tmp_path / "shots").mkdir()
    (tmp_path / "shots/broken.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"None of the 1 pictures .*broken\.jpg is empty"):
        predict_folder(Predictor(engine), tmp_path / "shots", tmp_path / "out", progress=False)


def test_an_unwritable_place_is_found_before_the_work(engine: Any, shots: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputError, match="cannot be written to"):
        predict_folder(Predictor(engine), shots, tmp_path / "taken", progress=False)
    assert engine.seen == []


def test_an_interruption_leaves_whole_files_and_a_list_of_them(engine: Any, shots: Path, tmp_path: Path) -> None:
    class Interrupted(Predictor):
        def predict(self, image: np.ndarray, *, key: str = "", probabilities: bool = False) -> Any:
            if key == "deep/b":
                raise KeyboardInterrupt
            return super().predict(image, key=key)

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        predict_folder(Interrupted(engine), shots, out, progress=False)
    assert files(out) == {"masks/a.png", "colours/a.png", "overlays/a.png", "classes.csv", "predictions.jsonl"}
    assert [json.loads(line)["key"] for line in (out / "predictions.jsonl").read_text().splitlines()] == ["a"]


def test_an_impossible_png_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be encoded"):
        write_png(tmp_path / "a.png", np.zeros((0, 4), np.uint8))
    assert list(tmp_path.iterdir()) == []
