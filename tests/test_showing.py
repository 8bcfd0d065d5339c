"""The browser demo as a user makes it: what the command writes, says and refuses, and its server until Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import onnx
import pytest

from segwright.errors import GateError, ModelError
from segwright.export.web_models import Answers
from segwright.export.webpage import MANIFEST, read_manifest
from segwright.workflows import shipping, showing
from tests.command import everything_below, refused, segwright, succeeded
from tests.export.conftest import small_checkpoint
from tests.export.web import RUNTIME, stand_in_page, stand_in_runtime, toy_export


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `toy_cards.onnx` in it, a runtime in `ort`, no npm, and no cache."""
    stand_in_page(tmp_path / "page", monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", "")
    here = tmp_path / "here"
    stand_in_runtime(here / "ort", monkeypatch)
    toy_export(here / "toy_cards.onnx")
    monkeypatch.chdir(here)
    return here


def test_one_command(place: Path) -> None:
    said = succeeded("demo", "toy_cards.onnx", "--runtime", "ort")
    assert "The demo lies in demos/toy_cards\n" in said
    assert "at 40x48 in FP16 (" in said
    manifest = read_manifest(place / "demos" / "toy_cards")
    assert manifest["title"] == "Toy cards"
    assert "demos/toy_cards is whole" in succeeded("demo", "--check", "demos/toy_cards")
    # Again over the older one, by another name, for a Space.
    said = succeeded("demo", "toy_cards.onnx", "--runtime", "ort", "--space", "--title", "Cards", "--licence", "MIT")
    assert "Push it with: hf upload YOUR_NAME/toy_cards demos/toy_cards . --repo-type space" in said
    manifest = read_manifest(place / "demos" / "toy_cards")
    assert (manifest["title"], manifest["licence"]) == ("Cards", "MIT")
    said = succeeded("demo", "toy_cards.onnx", "--runtime", "ort", "--space", "--out", "my cards, new")
    assert "hf upload YOUR_NAME/my-cards-new 'my cards, new' . --repo-type space\n" in said
    assert "segwright demo 'my cards, new' --serve\n" in said
    assert "license: mit\n" in (place / "demos" / "toy_cards" / "README.md").read_text(encoding="utf-8")


def test_a_damaged_demo(place: Path) -> None:
    succeeded("demo", "toy_cards.onnx", "--runtime", "ort", "--out", "page")
    (place / "page" / "models" / "model.fp16.onnx").write_text("version https://git-lfs.github.com/spec/v1\n")
    (place / "page" / "runtime" / next(iter(RUNTIME))).unlink()
    answer = segwright("demo", "--check", "page")
    assert answer.code == 1
    assert answer.out.count("wrong: ") == 2
    assert answer.err == "segwright: 2 things would spoil page; see above.\n"


def test_a_model_without_fp16_is_told(place: Path) -> None:
    toy_export(place / "large.onnx", weight=1e6)
    said = succeeded("demo", "large.onnx", "--runtime", "ort", "--title", "Large")
    assert "There is no FP16 file: A weight" in said
    assert set(read_manifest(place / "demos" / "large")["models"]) == {"fp32"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Which model?"),
        (("absent.onnx",), "does not exist"),
        (("absent",), "does not exist"),
        (("ort",), "holds no best.safetensors"),
        (("README.md",), "is not a checkpoint"),
        (("damaged.onnx",), "is not an ONNX file"),
        (("empty.onnx",), "is empty"),
        (("pointer.onnx",), "git lfs pull"),
        (("any.onnx",), "without --any-size"),
        (("tiles.onnx",), "trained on patches"),
        (("toy_cards.onnx",), "npm is not installed"),
        (("toy_cards.onnx", "--runtime", "absent"), "absent is no folder"),
        (("toy_cards.onnx", "--runtime", "changed"), "has other contents"),
        (("toy_cards.onnx", "--runtime", "ort", "--out", "ort"), "not empty"),
        (("toy_cards.onnx", "--runtime", "ort", "--out", "toy_cards.onnx"), "not empty"),
        (("toy_cards.onnx", "--runtime", "ort", "--out", "empty.onnx/demo"), "cannot be written"),
        (("toy_cards.onnx", "--check", "ort"), "leave toy_cards.onnx out"),
        (("--check", "absent"), "is no folder"),
        (("--check", "ort"), "this is no demo"),
        (("--check", "toy_cards.onnx"), "is no folder"),
    ],
)
def test_refusals(arguments: tuple[str, ...], said: str, place: Path) -> None:
    whole = (place / "toy_cards.onnx").read_bytes()
    (place / "damaged.onnx").write_bytes(whole[:-50])
    (place / "empty.onnx").write_bytes(b"")
    (place / "README.md").write_text("# Notes")
    (place / "pointer.onnx").write_text("version https://git-lfs.github.com/spec/v1\n")
    toy_export(place / "any.onnx", any_size=True)
    toy_export(place / "tiles.onnx", tiled=True)
    (place / "changed").mkdir()
    for name, data in RUNTIME.items():
        (place / "changed" / name).write_bytes(data.swapcase())
    before = everything_below(place)
    assert said in refused("demo", *arguments)
    assert everything_below(place) - {"demos"} == before


def test_a_finished_demo_is_no_model(place: Path) -> None:
    succeeded("demo", "toy_cards.onnx", "--runtime", "ort")
    assert "look at it with --serve" in refused("demo", "demos/toy_cards", "--out", "other")


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("card_segmentation.onnx", "Card segmentation"),
        ("runs/photos-binary-2/best.safetensors", "Photos binary 2"),
        ("runs/first/model_fp16.onnx", "First"),
        ("größe.onnx", "Größe"),
        ("---.onnx", "Segmentation"),
    ],
)
def test_titles(path: str, title: str) -> None:
    assert showing.title_of(Path(path)) == title


class Exports:
    """Stands in for `export_model`: writes toy exports, and fails where it is told to."""

    def __init__(self, **failures: Exception) -> None:
        self.failures = failures
        self.asked: list[dict[str, object]] = []

    def __call__(self, model: Path, out: Path, *, precision: str, **settings: object) -> None:
        self.asked.append({"precision": precision, **settings})
        if precision in self.failures:
            raise self.failures[precision]
        toy_export(out, half=precision == "fp16")


@pytest.fixture
def run(place: Path) -> Path:
    small_checkpoint(size_hw=(32, 32)).save(place / "runs" / "first" / "best.safetensors")
    return Path("runs/first")


def test_both_files_of_a_run_are_proven(run: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exports = Exports()
    monkeypatch.setattr(shipping, "export_model", exports)
    succeeded("demo", run, "--runtime", "ort", "--data", "photos", "--pictures", "5")
    assert [asked["precision"] for asked in exports.asked] == ["fp32", "fp16"]
    assert all((asked["data"], asked["limit"]) == (Path("photos"), 5) for asked in exports.asked)
    assert set(read_manifest(place / "demos" / "first")["models"]) == {"fp16", "fp32"}


@pytest.mark.parametrize("failure", [GateError("It differs, look at /tmp/x.png."), ModelError("The network branches.")])
def test_a_run_whose_fp16_fails_goes_without(
    failure: Exception, run: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipping, "export_model", Exports(fp16=failure))
    said = succeeded("demo", run, "--runtime", "ort")
    assert "There is no FP16 file: " in said
    assert "/tmp/" not in said
    assert set(read_manifest(place / "demos" / "first")["models"]) == {"fp32"}


def test_a_run_whose_export_differs_is_not_shown(run: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipping, "export_model", Exports(fp32=GateError("It differs, look at /tmp/x.png.")))
    said = refused("demo", run, "--runtime", "ort", code=1)
    assert "see where it differs: segwright export runs/first" in said
    assert not (place / "demos").exists()


def test_served_until_ctrl_c(place: Path) -> None:
    succeeded("demo", "toy_cards.onnx", "--runtime", "ort")
    command = [sys.executable, "-m", "segwright", "demo", "demos/toy_cards", "--serve", "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "200"}
    with subprocess.Popen(
        command, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout and server.stderr
        try:
            said = server.stdout.readline()
            found = re.search(r"http://127\.0\.0\.1:\d+/", said)
            assert found, said
            with urllib.request.urlopen(f"{found[0]}{MANIFEST}", timeout=10) as answer:
                assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
                assert answer.read() == (place / "demos" / "toy_cards" / MANIFEST).read_bytes()
        finally:
            server.send_signal(signal.SIGINT)
        rest, errors = server.communicate(timeout=30)
    assert (server.returncode, rest, errors) == (0, "", "")


def test_a_taken_port_is_one_sentence(place: Path) -> None:
    import socket

    succeeded("demo", "toy_cards.onnx", "--runtime", "ort")
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        assert f"port {port} is taken" in refused("demo", "demos/toy_cards", "--serve", "--port", port)


def test_what_the_page_gets_answers(place: Path) -> None:
    succeeded("demo", "toy_cards.onnx", "--runtime", "ort")
    manifest = read_manifest(place / "demos" / "toy_cards")
    for entry in manifest["models"].values():
        data = (place / "demos" / "toy_cards" / entry["path"]).read_bytes()
        assert [v.name for v in onnx.load_model_from_string(data).graph.output] == [
            manifest["outputs"]["probabilities"]
        ]
        assert Answers(data)
