"""The gate: what is left behind by exports that pass and by those that fail, in every format."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segwright.checkpoint import Checkpoint
from segwright.classes import Classes
from segwright.data.sample import Sample
from segwright.engines.onnx import OnnxEngine
from segwright.engines.opening import open_engine
from segwright.errors import DataError, GateError, ModelError, OutputError, UserError
from segwright.export import formats, gate
from segwright.export.deployable import made_up_pictures
from segwright.export.gate import certificate_path, export_checked
from segwright.export.request import ExportRequest

onnx = pytest.importorskip("onnx", reason="the extra segwright[onnx] is not installed")
DATA = Classes(names=("table", "playing card"), notation="binary")


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    found = []
    for number, size_hw in enumerate([(72, 88), (100, 60), (50, 150), (72, 88), (72, 88), (80, 80)]):
        (image,) = made_up_pictures(1, size_hw, seed=number)
        path = tmp_path / f"data/{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path)
        mask = path.with_name(f"{number}_mask.png")
        Image.fromarray((image[..., 0] > 128).astype(np.uint8) * 255).save(mask)
        found.append(Sample(str(number), path, mask if number else None))
    return found


@pytest.fixture
def run(binary: Checkpoint, tmp_path: Path) -> Path:
    binary.save(tmp_path / "run/best.safetensors")
    return tmp_path / "run"


@pytest.fixture
def tiny_run(tiny: Checkpoint, tmp_path: Path) -> Path:
    tiny.save(tmp_path / "run/best.safetensors")
    return tmp_path / "run"


def ready(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    """Exporting itself is tested in test_onnx.py; here its file is ready."""

    def write(_checkpoint: Checkpoint, _request: ExportRequest, out: Path, _calibration: Any) -> None:
        shutil.copy(file, out)

    form = dataclasses.replace(formats.FORMATS["onnx"], write=write)
    monkeypatch.setattr(formats, "FORMATS", {**formats.FORMATS, "onnx": form})


@pytest.fixture
def exported(binary_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ready(monkeypatch, binary_file)


@pytest.mark.usefixtures("exported")
def test_a_passing_file_carries_its_certificate(run: Path, samples: list[Sample], tmp_path: Path) -> None:
    out = tmp_path / "models/card.onnx"
    certificate = export_checked(run, samples, DATA, out, progress=False)
    assert {p.name for p in out.parent.iterdir()} == {
        "README.md",
        "card.certificate.json",
        "card.onnx",
        "card.worst.png",
    }
    beside = json.loads(certificate_path(out).read_text())
    assert beside == json.loads(json.dumps(certificate.to_dict()))
    assert beside["sha256"]["card.onnx"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert set(beside["sha256"]) == {"card.onnx", "best.safetensors"}
    inside = json.loads({p.key: p.value for p in onnx.load(out).metadata_props}["certificate"])
    assert inside["agreement"] == beside["agreement"]
    assert OnnxEngine(out).facts.size_hw == (72, 88)


@pytest.mark.usefixtures("exported")
def test_the_change_of_the_score_has_a_paired_interval(run: Path, samples: list[Sample], tmp_path: Path) -> None:
    certificate = export_checked(run, samples, DATA, tmp_path / "m.onnx", progress=False)
    assert certificate.miou_change is not None
    assert certificate.candidate_interval is not None
    value, low, high = certificate.miou_change
    assert low <= value <= high
    assert high - low < 1e-3, "what is hard about a picture cancels"
    assert certificate.candidate_interval[1] - certificate.candidate_interval[0] > 0.01
    assert "with 95 % confidence" in certificate.sentence()


@pytest.mark.usefixtures("exported")
@pytest.mark.parametrize("keep_failed", [False, True])
def test_a_failing_file_is_not_written_and_its_worst_picture_is_shown(
    run: Path, samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep_failed: bool
) -> None:
    real = OnnxEngine.probabilities
    monkeypatch.setattr(OnnxEngine, "probabilities", lambda self, images: np.roll(real(self, images), 2, axis=3))
    out = tmp_path / "models/card.onnx"
    with pytest.raises(GateError, match=r"agrees with pytorch on \d+\.\d+ % of the pixels of 6 pictures.*99\.900 %"):
        export_checked(run, samples, DATA, out, progress=False, keep_failed=keep_failed)
    left = {p.name for p in out.parent.iterdir()}
    assert left == {"card.worst.png"} | ({"card.failed.onnx"} if keep_failed else set())


@pytest.mark.usefixtures("exported")
def test_an_older_file_survives_a_failing_export(run: Path, samples: list[Sample], tmp_path: Path) -> None:
    out = tmp_path / "card.onnx"
    out.write_bytes(b"older")
    with pytest.raises(GateError):
        export_checked(run, samples, DATA, out, progress=False, least_agreement=1.1)
    assert out.read_bytes() == b"older"


@pytest.mark.usefixtures("exported")
def test_a_lost_score_fails_where_it_is_limited(
    run: Path, samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = OnnxEngine.probabilities
    monkeypatch.setattr(OnnxEngine, "probabilities", lambda self, images: 1 - real(self, images))
    with pytest.raises(GateError, match=r"points of mean IoU and may lose 0\.5"):
        export_checked(run, samples, DATA, tmp_path / "m.onnx", progress=False, least_agreement=-10, most_drop=0.5)


@pytest.mark.usefixtures("exported")
@pytest.mark.parametrize(("faster", "passes"), [(0.9, False), (1.04, False), (1.5, True)])
def test_int8_is_kept_only_where_it_is_faster(
    run: Path, samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faster: float, passes: bool
) -> None:
    monkeypatch.setattr(gate, "_faster", lambda *_: faster)
    request, out = ExportRequest(precision="int8"), tmp_path / "m.onnx"
    calibration = samples * 3
    if passes:
        certificate = export_checked(run, samples, DATA, out, request, calibration=calibration, progress=False)
        assert certificate.faster == faster
        assert "1.50 times as fast" in certificate.sentence()
    else:
        with pytest.raises(GateError, match="no gain; no file was written"):
            export_checked(run, samples, DATA, out, request, calibration=calibration, progress=False)
    assert out.exists() == passes


def test_three_pictures_calibrate_nothing(run: Path, samples: list[Sample], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least 16 pictures, and there are 3"):
        export_checked(
            run,
            samples,
            DATA,
            tmp_path / "m.onnx",
            ExportRequest(precision="int8"),
            calibration=samples[:3],
            progress=False,
        )
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize("to", ["openvino", "torch"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_other_formats_pass_the_same_gate(
    tiny_run: Path, samples: list[Sample], tmp_path: Path, to: str, precision: str
) -> None:
    if to == "openvino":
        pytest.importorskip("openvino", reason="the extra segwright[openvino] is not installed")
    request = ExportRequest(to=to, precision=precision)
    out = tmp_path / "models" / formats.default_name(request)
    # Random networks are unsure of many pixels, and OpenVINO's half precision may have 8 bits only.
    least = 0.95 if precision == "fp16" else 0.999
    certificate = export_checked(tiny_run, samples, DATA, out, request, progress=False, least_agreement=least)
    assert certificate.passed
    assert certificate.precision == precision
    files = {out.name} | ({out.with_suffix(".bin").name} if to == "openvino" else set())
    assert files <= set(certificate.sha256)
    assert {p.name for p in out.parent.iterdir()} == files | {
        "README.md",
        f"{out.stem}.certificate.json",
        f"{out.stem}.worst.png",
    }
    if to == "openvino":
        engine = open_engine(out)
        assert engine.facts.precision == precision
        assert engine.facts.threshold == 0.7
    else:
        with pytest.raises(ModelError, match="pickle"):
            open_engine(out)


def test_int8_runs_from_end_to_end(tiny_run: Path, samples: list[Sample], tmp_path: Path, monkeypatch: Any) -> None:
    """Random networks lose much in 8 bits, and small ones gain no speed: neither is asked for here."""
    openvino = pytest.importorskip("openvino", reason="the extra segwright[openvino] is not installed")
    assert openvino
    monkeypatch.setattr(gate, "_faster", lambda *_: 2.0)
    for to in ("onnx", "openvino"):
        request = ExportRequest(to=to, precision="int8")
        out = tmp_path / formats.default_name(request)
        certificate = export_checked(
            tiny_run,
            samples,
            DATA,
            out,
            request,
            calibration=samples * 3,
            progress=False,
            least_agreement=0.5,
            most_drop=100.0,
        )
        assert certificate.precision == "int8"
        assert open_engine(out).facts.precision == "int8"
        if to == "onnx":
            kinds = [t.data_type for t in onnx.load(out).graph.initializer if len(t.dims) == 4]
            assert kinds.count(onnx.TensorProto.INT8) > 10, "every convolution"


def test_impossible_requests_are_refused(run: Path, samples: list[Sample], tmp_path: Path) -> None:
    for request, name, error, said in (
        (ExportRequest(to="caffe"), "m.onnx", ModelError, "no format 'caffe'"),
        (ExportRequest(to="torch", precision="int8"), "m.pt2", ModelError, "torch has no int8"),
        (ExportRequest(to="openvino"), "m.onnx", OutputError, r"should end in \.xml"),
    ):
        with pytest.raises(error, match=said):
            export_checked(run, samples, DATA, tmp_path / name, request, progress=False)
    settings: dict[str, Any]
    for settings, said in (
        ({"precision": "fp8"}, "no precision 'fp8'"),
        ({"batch": -1}, "A batch holds"),
        ({"layout": "hwc"}, "no layout"),
        ({"input_name": "a b"}, "cannot be called 'a b'"),
        ({"input_name": "classes"}, "cannot be called"),
        ({"outputs": ()}, "not possible"),
        ({"outputs": ("classes", "masks")}, "not possible"),
        ({"threshold": 2.0}, "between 0 and 1"),
    ):
        with pytest.raises(UserError, match=said):
            ExportRequest(**settings)


@pytest.mark.usefixtures("exported")
def test_a_model_of_other_classes_than_the_data_is_refused_before_the_work(
    run: Path, samples: list[Sample], tmp_path: Path
) -> None:
    three = Classes(names=("table", "card", "hand"))
    with pytest.raises(DataError, match="classes the model does not know"):
        export_checked(run, samples, three, tmp_path / "m.onnx", progress=False)
    assert not (tmp_path / "m.onnx").exists()
