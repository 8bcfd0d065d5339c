"""Two engines on the same pictures, and the export that must pass before it is written."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segwright.checkpoint import Checkpoint
from segwright.classes import Classes
from segwright.data.sample import Sample
from segwright.engines.onnx import OnnxEngine
from segwright.engines.pytorch import PyTorchEngine
from segwright.errors import DataError, GateError
from segwright.export.deployable import made_up_pictures
from segwright.export.parity import parity
from segwright.predict.predictor import Prediction, Predictor

onnx = pytest.importorskip("onnx", reason="the extra segwright[onnx] is not installed")
DATA = Classes(names=("table", "playing card"), notation="binary")


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    found = []
    for number, size_hw in enumerate([(72, 88), (100, 60), (50, 150)]):
        (image,) = made_up_pictures(1, size_hw, seed=number)
        path = tmp_path / f"data/{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path)
        mask = path.with_name(f"{number}_mask.png")
        Image.fromarray((image[..., 0] > 128).astype(np.uint8) * 255).save(mask)
        found.append(Sample(str(number), path, mask if number else None))
    return found


class Shifted(Predictor):
    """Answers of another model: everything two pixels to the right, from the second picture on."""

    calls = 0

    def predict(self, image: Any, *, key: str = "", probabilities: bool = False) -> Prediction:
        prediction = super().predict(image, key=key, probabilities=probabilities)
        self.calls += 1
        if self.calls == 1:
            return prediction
        return dataclasses.replace(prediction, class_map=np.roll(prediction.class_map, 2, axis=1))


def test_the_same_model_twice_passes(binary: Checkpoint, binary_file: Path, samples: list[Sample]) -> None:
    reference, candidate = Predictor(PyTorchEngine(binary, device="cpu")), Predictor(OnnxEngine(binary_file))
    certificate = parity(reference, candidate, samples, DATA, progress=False, files=[binary_file])
    assert certificate.passed
    assert certificate.agreement > 0.9999
    assert certificate.worst_agreement <= certificate.agreement
    assert certificate.largest_difference < 1e-3
    assert (certificate.pictures, certificate.pictures_with_mask) == (3, 2)
    assert certificate.pixels == 72 * 88 + 100 * 60 + 50 * 150
    assert certificate.reference_miou == pytest.approx(certificate.candidate_miou, abs=1e-3)
    assert certificate.sha256 == {"binary.onnx": hashlib.sha256(binary_file.read_bytes()).hexdigest()}
    assert json.loads(json.dumps(certificate.to_dict(), allow_nan=False))["passed"] is True


def test_another_model_does_not(binary: Checkpoint, samples: list[Sample]) -> None:
    engine = PyTorchEngine(binary, device="cpu")
    certificate = parity(Predictor(engine), Shifted(engine), samples, DATA, progress=False)
    assert not certificate.passed
    assert certificate.worst_key in {"1", "2"}
    assert certificate.worst_agreement < certificate.agreement < 1


def test_one_bad_picture_fails_however_many_are_good(binary: Checkpoint, samples: list[Sample]) -> None:
    engine = PyTorchEngine(binary, device="cpu")
    certificate = parity(Predictor(engine), Predictor(engine), samples, DATA, progress=False)
    assert certificate.passed
    assert not dataclasses.replace(certificate, agreement=0.9995, worst_agreement=0.97).passed


def test_the_limit_takes_pictures_evenly(binary: Checkpoint, samples: list[Sample]) -> None:
    engine = PyTorchEngine(binary, device="cpu")
    assert parity(Predictor(engine), Predictor(engine), samples, DATA, limit=2, progress=False).pictures == 2
    with pytest.raises(DataError, match="no pictures"):
        parity(Predictor(engine), Predictor(engine), [], DATA, progress=False)


def test_networks_that_answer_nan_do_not_agree(binary: Checkpoint, samples: list[Sample]) -> None:
    broken = dataclasses.replace(
        binary, weights={k: v * float("nan") if v.is_floating_point() else v for k, v in binary.weights.items()}
    )
    engine = PyTorchEngine(broken, device="cpu")
    with pytest.raises(GateError, match="no number"):
        parity(Predictor(engine), Predictor(engine), samples, DATA, progress=False)


def test_real_pictures_agree(binary: Checkpoint, binary_file: Path, shared_data: Path) -> None:
    folder = shared_data / "cards-real/train"
    images = sorted((folder / "images").iterdir())[::20]
    found = [Sample(i.stem, i, next((folder / "masks").glob(f"{i.stem}.*"))) for i in images]
    reference, candidate = Predictor(PyTorchEngine(binary, device="cpu")), Predictor(OnnxEngine(binary_file))
    certificate = parity(reference, candidate, found, DATA, progress=False)
    assert certificate.passed
    assert certificate.reference_miou is not None
