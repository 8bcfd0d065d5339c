"""Large pictures by rows: the same class map as in memory, in bounded memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segwright.errors import DataError
from segwright.predict import large
from segwright.predict.large import is_large, predict_large
from segwright.predict.predictor import Predictor
from segwright.workflows.predicting import predict_pictures
from tests.test_engines import brightness_model, written

tifffile = pytest.importorskip("tifffile", reason="the extra segwright[tiff] is not installed")


@pytest.mark.parametrize("size_hw", [(100, 150), (48, 64), (30, 300), (333, 40)])
def test_the_class_map_is_that_of_tiling_in_memory(engine: Any, size_hw: tuple[int, int], tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb", tile=(32, 32), compression="adobe_deflate")
    predictor = Predictor(engine, tile=True)
    line = predict_large(predictor, tmp_path / "a.tif", tmp_path / "out", key="deep/a")
    expected = predictor.predict(image).class_map
    assert np.array_equal(tifffile.imread(tmp_path / "out/masks/deep/a.tif"), expected)
    assert line["pixels"] == {"background": int((expected == 0).sum()), "card": int((expected == 1).sum())}
    assert (line["key"], line["height"], line["width"]) == ("deep/a", *size_hw)


def test_a_damaged_file_leaves_nothing(engine: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((200, 200, 3), np.uint8), photometric="rgb", rowsperstrip=10)
    path.write_bytes(path.read_bytes()[:60_000])
    with pytest.raises(DataError, match=r"truncated|damaged"):
        predict_large(Predictor(engine, tile=True), path, tmp_path / "out", key="a")
    assert not list((tmp_path / "out").rglob("*.tif"))


def test_only_large_tiffs_are_read_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((20, 30, 3), np.uint8), photometric="rgb")
    assert not is_large(path)
    monkeypatch.setattr(large, "LARGE", 599)
    assert is_large(path)
    assert not is_large(path.with_suffix(".png"))
    (tmp_path / "b.tif").write_text("no picture")
    assert not is_large(tmp_path / "b.tif")


def test_a_folder_may_hold_large_and_small_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "LARGE", 40 * 50)
    shots = tmp_path / "shots"
    shots.mkdir()
    rng = np.random.default_rng(0)
    tifffile.imwrite(shots / "big.tif", rng.integers(0, 256, (60, 70, 3), np.uint8), photometric="rgb", tile=(16, 16))
    tifffile.imwrite(shots / "cut.tif", rng.integers(0, 256, (60, 70, 3), np.uint8), photometric="rgb", rowsperstrip=4)
    (shots / "cut.tif").write_bytes((shots / "cut.tif").read_bytes()[:9000])
    Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)).save(shots / "small.png")
    model = written(brightness_model(), tmp_path / "m.onnx")
    summary = predict_pictures(model, shots, tmp_path / "out", tile=True)
    assert (summary.pictures, [failure.path.name for failure in summary.failures]) == (2, ["cut.tif"])
    assert sum(summary.shares.values()) == pytest.approx(1.0)
    lines = [json.loads(line) for line in (tmp_path / "out/predictions.jsonl").read_text().splitlines()]
    assert sorted(line["key"] for line in lines) == ["big", "small"]
    assert {path.name for path in (tmp_path / "out/masks").iterdir()} == {"big.tif", "small.png"}
    (shots / "small.png").unlink()
    summary = predict_pictures(model, shots, tmp_path / "alone", tile=True)
    assert (summary.pictures, len(summary.failures)) == (1, 1)
    assert (tmp_path / "alone/classes.csv").is_file()
    (shots / "big.tif").unlink()
    with pytest.raises(DataError, match="None of the 1 pictures"):
        predict_pictures(model, shots, tmp_path / "none", tile=True)


PROGRAM = """
import resource, sys
from pathlib import Path
import numpy as np
from segwright.classes import Classes
from segwright.engines.contract import ModelFacts
from segwright.predict.large import predict_large
from segwright.predict.predictor import Predictor

class Engine:
    name = "brightness"
    facts = ModelFacts(name="b", classes=Classes(names=("a", "b")), size_hw=(256, 256), fit="pad")
    def probabilities(self, images):
        return images[:, None, :, :, 0].astype(np.float32) / 255

side = int(sys.argv[2])
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
predictor = Predictor(Engine(), tile=True)
predict_large(predictor, Path(sys.argv[1], "warm.tif"), Path(sys.argv[1], "out"), key="warm")
before = peak()
predict_large(predictor, Path(sys.argv[1], "a.tif"), Path(sys.argv[1], "out"), key="a")
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="peak memory is asked of the system as on Unix")
def test_memory_is_a_few_rows(tmp_path: Path) -> None:
    """A process of its own, because a process's peak never falls."""
    side = 6000
    row = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    for name, wide in (("warm", 512), ("a", side)):
        tiles = (row for _ in range((-(-wide // 256)) ** 2))
        tifffile.imwrite(
            tmp_path / f"{name}.tif", tiles, shape=(wide, wide, 3), dtype=np.uint8, photometric="rgb", tile=(256, 256)
        )
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), str(side)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    whole = side * side * 3 / 2**20
    assert float(run.stdout) < whole / 2, "the picture alone has 103 MiB"
