"""Engines built: by a pretended TensorRT 10 and 11 in every way that can go wrong, by `segwright export --to tensorrt`, and by
TensorRT for RTX for real, without a GPU.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from segwright.checkpoint import Checkpoint
from segwright.engines.opening import open_engine
from segwright.engines.tensorrt import TensorRTEngine
from segwright.engines.tensorrt_note import note_path, read_note
from segwright.errors import MissingExtraError, ModelError, OutputError, UserError
from segwright.export.deployable import made_up_pictures
from segwright.export.onnx import export_onnx
from segwright.export.tensorrt import BuildSettings, build_engine
from segwright.workflows import tensorrt as journey
from tests.command import everything_below, refused, segwright, succeeded
from tests.export.rtx import INSTALLED, MISSING
from tests.fake_gpu import absent, pretend_gpu
from tests.tiny import make_dataset

ROOT = Path(__file__).resolve().parents[2]
onnx = pytest.importorskip("onnx", reason="the extra segwright[onnx] is not installed")


@pytest.mark.parametrize("version", ["10.9.0.34", "11.4.0.106"])
def test_an_engine_and_its_note_are_written(
    binary_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    trt = pretend_gpu(monkeypatch, version)
    out = tmp_path / "m.engine"
    note = build_engine(binary_file, out, BuildSettings(workspace=64), progress=False)
    assert note == read_note(out, out.read_bytes())
    assert (note.library, note.version, note.gpu) == ("tensorrt", version, "Pretended GPU")
    assert note.facts.size_hw == (72, 88)
    assert note.shapes is not None and note.shapes.best == (1, 72, 88, 3)
    (config,) = trt.configs
    assert config.pools == {trt.MemoryPoolType.WORKSPACE: 64 << 20}
    assert [profile.shapes for profile in config.profiles] == [((1, 72, 88, 3),) * 3]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.engine", "m.engine.json", "timing.cache"]
    assert str(tmp_path) not in note_path(out).read_text(), "a note must not name the machine's folders"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, b"timings of this GPU"),
        (b"timings of this GPU", b"timings of this GPU"),
        (b"timings of other GPU", b"timings of this GPU"),
        (b"damaged", b"timings of this GPU"),
    ],
)
def test_timings_are_kept_and_used_again(
    binary_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bytes | None, after: bytes
) -> None:
    trt = pretend_gpu(monkeypatch)
    cache = tmp_path / "t.cache"
    if before is not None:
        cache.write_bytes(before)
    build_engine(binary_file, tmp_path / "m.plan", BuildSettings(timing_cache=cache), progress=False)
    assert cache.read_bytes() == after
    assert trt.configs[0].timings.content == (before if before and b"this" in before else b"this GPU")


def test_refused_nodes_are_named(binary_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpu(monkeypatch)
    with pytest.raises(ModelError, match=r"does not take (Det 'node_\w+', ){4}Det 'node_\w+' and \d+ more") as caught:
        build_engine(with_refused_nodes(binary_file, tmp_path), tmp_path / "m.engine", progress=False)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "m.engine").exists()


def test_a_failed_build_leaves_nothing_and_says_why(
    binary_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trt = pretend_gpu(monkeypatch)
    trt.fails_with = "Could not find any implementation for node conv (In fill at /_src/optimizer.cpp:12)"
    with pytest.raises(ModelError, match="Could not find any implementation for node conv") as caught:
        build_engine(binary_file, tmp_path / "m.engine", progress=False)
    assert "_src" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


INTERRUPTED = """
import os, signal, sys
from pathlib import Path

import pytest

from segwright.export.tensorrt import build_engine
from tests.fake_gpu import pretend_gpu

with pytest.MonkeyPatch.context() as patch:
    trt = pretend_gpu(patch)
    trt.at_each_step = lambda: os.kill(os.getpid(), signal.SIGINT)
    before = signal.getsignal(signal.SIGINT)
    try:
        build_engine(Path(sys.argv[1]), Path(sys.argv[2]), progress=False)
    except KeyboardInterrupt:
        print("ended", signal.getsignal(signal.SIGINT) is before)
"""


def test_ctrl_c_ends_a_build_and_leaves_nothing(binary_file: Path, tmp_path: Path) -> None:
    # In a process of its own, so that the signal meets nothing but the build.
    arguments = [sys.executable, "-c", INTERRUPTED, str(binary_file), str(tmp_path / "m.engine")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
    ended = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
    assert ended.stdout == "ended True\n", ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_wrong_requests_are_refused_before_any_work(
    binary_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trt = pretend_gpu(monkeypatch)
    out = tmp_path / "m.engine"
    for settings, said in (
        (BuildSettings(workspace=0), "workspace is a number of MiB"),
        (BuildSettings(workspace=1 << 50), "workspace is a number of MiB"),
        (BuildSettings(shapes="1x1x1x3"), "takes Nx72x88x3"),
        (BuildSettings(targets=("sm86",)), "--targets is for TensorRT for RTX"),
        (BuildSettings(library="trt"), "There is no TensorRT library"),
    ):
        with pytest.raises(UserError, match=said):
            build_engine(binary_file, out, settings, progress=False)
    with pytest.raises(OutputError, match=r"should end in \.engine or \.plan"):
        build_engine(binary_file, tmp_path / "m.trt", progress=False)
    with pytest.raises(ModelError, match="does not exist"):
        build_engine(tmp_path / "absent.onnx", out, progress=False)
    trt.__version__ = "8.6.1"
    with pytest.raises(UserError, match=r"TensorRT 8\.6\.1 is too old"):
        build_engine(binary_file, out, progress=False)
    assert trt.configs == []
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_is_said(binary_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trt = pretend_gpu(monkeypatch)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match="builds on the GPU that the engine is for"):
        build_engine(binary_file, tmp_path / "m.engine", progress=False)
    absent(monkeypatch, "tensorrt", "tensorrt_rtx")
    with pytest.raises(MissingExtraError, match=r"needs TensorRT.*segwright\[tensorrt\]"):
        build_engine(binary_file, tmp_path / "m.engine", progress=False)
    with pytest.raises(MissingExtraError, match=r"segwright\[tensorrt-rtx\]"):
        build_engine(binary_file, tmp_path / "m.engine", BuildSettings(library="tensorrt_rtx"), progress=False)
    assert trt.configs == []
    assert list(tmp_path.iterdir()) == []


def with_refused_nodes(path: Path, folder: Path) -> Path:
    """The same file with Det, which no TensorRT has, in place of every Mul."""
    model = onnx.load(path)
    for node in model.graph.node:
        if node.op_type == "Mul":
            node.op_type = "Det"
    changed = folder / "refused.onnx"
    changed.write_bytes(model.SerializeToString())
    return changed


@pytest.fixture(scope="module")
def run(binary: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder."""
    return binary.save(tmp_path_factory.mktemp("run") / "best.safetensors").parent


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("data"), classes=2)


@pytest.fixture
def exported(run: Path, binary_file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder whose export, which takes ten seconds, is always the same file."""
    monkeypatch.setattr(journey, "export_model", lambda *_, **__: (binary_file, None))
    return run


def test_an_engine_of_a_run_is_proven_and_says_how_to_build_it_elsewhere(
    exported: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_gpu(monkeypatch)
    out = tmp_path / "m.engine"
    said = succeeded(
        "export", exported, "--to", "tensorrt", "--out", out, "--data", data, "--shapes", "1x72x88x3..4x72x88x3"
    )
    assert "tensorrt agrees with pytorch on " in said
    assert f"The engine lies in {out}" in said
    assert "TensorRT 10: trtexec --onnx=binary.onnx --saveEngine=m.engine --minShapes=input_1:1x72x88x3" in said
    assert everything_below(tmp_path) == {
        "m.engine",
        "m.engine.json",
        "m.engine.certificate.json",
        "m.engine.worst.png",
        "timing.cache",
    }
    certificate = json.loads((tmp_path / "m.engine.certificate.json").read_text())
    assert (certificate["passed"], certificate["candidate"], certificate["pictures"]) == (True, "tensorrt", 12)


def test_an_onnx_file_becomes_an_engine_beside_it(
    binary_file: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_gpu(monkeypatch)
    source = tmp_path / "m.onnx"
    source.write_bytes(binary_file.read_bytes())
    said = succeeded("export", source, "--to", "tensorrt")
    assert "The engine itself was not run here" in said
    assert everything_below(tmp_path) == {"m.onnx", "m.engine", "m.engine.json", "timing.cache"}
    said = succeeded("export", source, "--to", "tensorrt", "--data", data)
    assert "tensorrt agrees with onnxruntime on 100.000 %" in said
    assert "exported already" in refused("export", source, "--to", "tensorrt", "--precision", "fp16")
    assert "card IoU" in succeeded("evaluate", tmp_path / "m.engine", data, "--out", tmp_path / "report")


def test_an_engine_that_differs_is_never_written(
    exported: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_gpu(monkeypatch)
    right = TensorRTEngine.probabilities
    monkeypatch.setattr(TensorRTEngine, "probabilities", lambda self, images: 1 - right(self, images))
    out = tmp_path / "m.engine"
    answer = segwright("export", exported, "--to", "tensorrt", "--out", out, "--data", data)
    assert answer.code == 1
    assert "no engine was written" in answer.err
    assert everything_below(tmp_path) == {"timing.cache", "m.engine.worst.png"}
    answer = segwright("export", exported, "--to", "tensorrt", "--out", out, "--data", data, "--keep-failed")
    assert "it was kept as" in answer.err
    assert everything_below(tmp_path) == {
        "timing.cache",
        "m.engine.worst.png",
        "m.failed.engine",
        "m.failed.engine.json",
    }


def test_the_onnx_file_is_what_was_asked_for_and_need_not_be_fast_here(
    run: Path, binary_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(journey, "export_model", lambda *_, **how: (binary_file, asked.update(how)))
    succeeded(
        "export", run, "--to", "tensorrt", "--trtexec", "--precision", "int8", "--threshold", "0.4", "--max-drop", "2"
    )
    named = {key: asked[key] for key in ("precision", "threshold", "max_drop", "runs_here")}
    assert named == {"precision": "int8", "threshold": 0.4, "max_drop": 2.0, "runs_here": False}


def test_what_cannot_be_is_refused_before_the_export(
    run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_gpu(monkeypatch)
    monkeypatch.setattr(journey, "export_model", lambda *_, **__: pytest.fail("it was exported"))
    to = ("export", run, "--to", "tensorrt", "--data", data)
    assert "takes Nx72x88x3" in refused(*to, "--shapes", "input_1:1x640x480x3")
    assert "has to know the smallest" in refused(*to, "--any-size")
    assert "workspace is a number" in refused(*to, "--workspace", "0")
    assert "should end in .engine" in refused(*to, "--out", tmp_path / "m.onnx")
    assert "--targets is for TensorRT for RTX" in refused(*to, "--targets", "sm86")
    assert "--shapes, --trtexec is for engines" in refused("export", run, "--shapes", "1x72x88x3", "--trtexec")
    absent(monkeypatch, "tensorrt", "tensorrt_rtx")
    assert "pip install 'segwright[tensorrt]', or add --trtexec" in refused(*to)


def test_without_tensorrt_the_commands_can_be_had(
    exported: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent(monkeypatch, "tensorrt", "tensorrt_rtx")
    said = succeeded("export", exported, "--to", "tensorrt", "--trtexec", "--out", tmp_path / "m.engine")
    assert "TensorRT 11: trtexec --onnx=binary.onnx --saveEngine=m.engine --shapes=input_1:1x72x88x3" in said
    assert "The engine lies" not in said
    assert everything_below(tmp_path) == set()


@pytest.fixture
def rtx() -> Any:
    """TensorRT for RTX, which builds without a GPU."""
    if not INSTALLED:
        pytest.skip(MISSING)
    return importlib.import_module("tensorrt_rtx")


RTX = BuildSettings(library="tensorrt_rtx", targets=("8.6", "sm89"))


def test_rtx_builds_for_named_gpus_without_one(rtx: Any, binary_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.engine"
    note = build_engine(binary_file, out, RTX, progress=False)
    assert (note.library, note.version, note.targets) == ("tensorrt_rtx", rtx.__version__, ("sm86", "sm89"))
    assert out.stat().st_size > 1_000_000, "LR-ASPP small has a million weights"
    assert read_note(out, out.read_bytes()) == note
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.engine", "m.engine.json"]


def test_rtx_builds_any_size_engines(rtx: Any, three_file: Path, tmp_path: Path) -> None:
    shapes = "input_1:1x32x32x3..1x64x96x3..2x240x320x3"
    note = build_engine(three_file, tmp_path / "m.plan", dataclasses.replace(RTX, shapes=shapes), progress=False)
    assert note.facts.any_size
    assert note.shapes is not None and note.shapes.most == (2, 240, 320, 3)


def test_rtx_builds_int8_engines(rtx: Any, tiny: Checkpoint, tmp_path: Path) -> None:
    pictures = made_up_pictures(3, (48, 64), seed=9)
    source = export_onnx(tiny, tmp_path / "m.onnx", precision="int8", calibration=pictures)
    assert build_engine(source, tmp_path / "m.engine", RTX, progress=False).facts.precision == "int8"


def test_rtx_names_the_nodes_it_refuses(rtx: Any, binary_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"does not take Det 'node_\w+', Det") as caught:
        build_engine(with_refused_nodes(binary_file, tmp_path), tmp_path / "m.engine", RTX, progress=False)
    assert "\n" not in str(caught.value)


def test_rtx_names_the_gpus_it_can_build_for(rtx: Any, binary_file: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"does not build for 'sm90'; choose from sm\d"):
        build_engine(binary_file, tmp_path / "m.engine", dataclasses.replace(RTX, targets=("sm90",)), progress=False)
    with pytest.raises(UserError, match="leave --timing-cache out"):
        build_engine(
            binary_file, tmp_path / "m.engine", dataclasses.replace(RTX, timing_cache=tmp_path / "t"), progress=False
        )


def test_a_real_engine_without_a_gpu_says_what_is_missing(rtx: Any, binary_file: Path, tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    build_engine(binary_file, tmp_path / "m.engine", RTX, progress=False)
    with pytest.raises(UserError, match="PyTorch finds no NVIDIA GPU with a driver here") as caught:
        open_engine(tmp_path / "m.engine")
    assert "\n" not in str(caught.value)
