from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from segwright.errors import ModelError, OutputError, UserError
from segwright.export import webpage
from segwright.export.web_models import WebModels, web_models
from tests.command import everything_below
from tests.export.web import PAGE, RUNTIME, stand_in_page, stand_in_runtime, toy_export

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> WebModels:
    return web_models([toy_export(tmp_path_factory.mktemp("toy") / "toy.onnx")])


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    stand_in_page(tmp_path / "page", monkeypatch)
    folder = stand_in_runtime(tmp_path / "runtime", monkeypatch)
    return {name: folder / name for name in RUNTIME}


def test_the_folder_is_whole(models: WebModels, runtime: dict[str, Path], tmp_path: Path) -> None:
    out = webpage.write_page(models, runtime, tmp_path / "out", title="Cards: a “test”")
    assert everything_below(out) == {
        *("app.js", "index.html", "style.css", "manifest.json", "models", "runtime"),
        *("models/model.fp16.onnx", "models/model.fp32.onnx"),
        *(f"runtime/{name}" for name in RUNTIME),
    }
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["format"] == 1
    assert manifest["title"] == "Cards: a “test”"
    assert manifest["licence"] == "Apache-2.0"
    assert manifest["size"] == {"width": 40, "height": 48}
    assert manifest["threshold"] == 0.5
    assert manifest["classes"] == [
        {"name": "background", "colour": [0, 0, 0], "background": True},
        {"name": "card", "colour": [0, 255, 255]},
    ]
    assert manifest["runtime"]["version"] == "1.30.0"
    assert {manifest["runtime"][kind][part] for kind in ("wasm", "webgpu") for part in ("module", "binary")} == {
        f"runtime/{name}" for name in RUNTIME
    }
    assert set(manifest["selftest"]) == {"seed", "patch", "rows", "columns", "probabilities", "tolerance"}
    listed = webpage.listed_files(manifest)
    assert listed.keys() | {"manifest.json", "models", "runtime"} == everything_below(out)
    for name, (size, digest) in listed.items():
        data = (out / name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (size, digest)


def test_twice_the_same(models: WebModels, runtime: dict[str, Path], tmp_path: Path) -> None:
    one, two = (webpage.write_page(models, runtime, tmp_path / name, title="Toy", space=True) for name in ("a", "b"))
    assert everything_below(one) == everything_below(two)
    assert all((one / n).read_bytes() == (two / n).read_bytes() for n in everything_below(one) if (one / n).is_file())


@pytest.mark.parametrize(
    ("licence", "named"),
    [("", "apache-2.0"), ("CC BY 4.0", "cc-by-4.0"), ("data: see the data set; code: MIT", "other")],
)
def test_a_space(licence: str, named: str, models: WebModels, runtime: dict[str, Path], tmp_path: Path) -> None:
    title = 'Cards # 1: "new"'
    out = webpage.write_page(models, runtime, tmp_path / "out", title=title, licence=licence, space=True)
    _, front, rest = (out / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    assert yaml.safe_load(front) == {
        "title": title,
        "short_description": f"{title}, live in your browser",
        "license": named,
        "emoji": "🂡",
        "sdk": "static",
        "app_file": "index.html",
        "custom_headers": {"cross-origin-embedder-policy": "require-corp"},
    }
    assert rest == "\n# A page\n"
    assert {"*.onnx", "*.wasm"} == {line.split()[0] for line in (out / ".gitattributes").read_text().splitlines()}
    long = webpage.write_page(models, runtime, tmp_path / "long", title="word " * 40, space=True)
    front = (long / "README.md").read_text(encoding="utf-8").split("---\n", 2)[1]
    assert len(yaml.safe_load(front)["short_description"]) <= 60


def test_an_older_demo_is_replaced(models: WebModels, runtime: dict[str, Path], tmp_path: Path) -> None:
    out = webpage.write_page(models, runtime, tmp_path / "out", title="Old", space=True)
    (out / "models" / "model.fp32.onnx").write_bytes(b"damaged")
    (out / "runtime" / next(iter(RUNTIME))).unlink()
    webpage.write_page(models, runtime, out, title="New")
    manifest = webpage.read_manifest(out)
    assert manifest["title"] == "New"
    assert not (out / "README.md").exists()
    assert (out / "models" / "model.fp32.onnx").read_bytes() == models.files["fp32"]
    assert everything_below(tmp_path) & {"out.partial", "out.replaced"} == set()


@pytest.mark.parametrize(
    ("name", "said"),
    [("notes.txt", "also holds notes.txt"), (".git/config", "also holds .git/config"), ("style.css", "was changed")],
)
def test_nothing_of_the_users_is_lost(
    name: str, said: str, models: WebModels, runtime: dict[str, Path], tmp_path: Path
) -> None:
    out = webpage.write_page(models, runtime, tmp_path / "out", title="Old")
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).write_text("mine")
    with pytest.raises(OutputError, match=said):
        webpage.write_page(models, runtime, out, title="New")
    assert (out / name).read_text() == "mine"
    assert webpage.read_manifest(out)["title"] == "Old"


def test_another_folder_is_left_alone(models: WebModels, runtime: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="not empty"):
        webpage.write_page(models, runtime, tmp_path / "mine", title="Toy")
    (tmp_path / "mine" / "manifest.json").write_text('{"name": "an extension of a browser"}')
    with pytest.raises(OutputError, match="not ours"):
        webpage.write_page(models, runtime, tmp_path / "mine", title="Toy")
    assert everything_below(tmp_path / "mine") == {"thesis.txt", "manifest.json"}


def test_a_place_that_cannot_be_written(models: WebModels, runtime: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        webpage.write_page(models, runtime, tmp_path / "file" / "out", title="Toy")
    assert (tmp_path / "file").is_file()


def test_a_closed_place_is_refused_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(OutputError, match="is closed to you"):
        webpage.replaceable(tmp_path / "deep" / "out")


@pytest.mark.parametrize("older", [False, True])
def test_nothing_is_left_half_written(older: bool, models: WebModels, runtime: dict[str, Path], tmp_path: Path) -> None:
    if older:
        webpage.write_page(models, runtime, tmp_path / "out", title="Old")
    runtime[next(iter(RUNTIME))].unlink()
    before = everything_below(tmp_path)
    with pytest.raises(OutputError):
        webpage.write_page(models, runtime, tmp_path / "out", title="New")
    assert everything_below(tmp_path) == before
    assert not older or webpage.read_manifest(tmp_path / "out")["title"] == "Old"


def test_an_installation_without_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "src" / "segwright").mkdir(parents=True)
    monkeypatch.setattr("segwright.__file__", str(tmp_path / "src" / "segwright" / "__init__.py"))
    with pytest.raises(UserError, match="lacks the files of the page"):
        webpage.page_folder()
    for folder in (tmp_path / "demo", tmp_path / "src" / "segwright" / "demo"):
        folder.mkdir()
        (folder / "index.html").write_text("")
        assert webpage.page_folder() == folder


def test_the_page_ships_in_the_package() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]
    assert "demo" in settings["wheel"]["only-include"]
    assert settings["wheel"]["sources"]["demo"] == "segwright/demo"


@pytest.mark.slow
def test_a_wheel_has_the_page(tmp_path: Path) -> None:
    """Downloads the build backend."""
    command = [sys.executable, "-m", "uv", "build", "--quiet", "--wheel", "--out-dir", tmp_path, ROOT]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    page = webpage.page_folder()
    assert {f"segwright/demo/{path.name}" for path in page.iterdir() if path.is_file()} <= names
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {"segwright"}


def test_the_page_is_found() -> None:
    assert {"index.html", "README.md"} <= {path.name for path in webpage.page_folder().iterdir()}


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"page": [{"path": "../../secret", "bytes": 1, "sha256": "0" * 64}]},
        {"page": [{"path": "/etc/passwd", "bytes": 1, "sha256": "0" * 64}]},
        {"page": [{"path": "a//b", "bytes": 1, "sha256": "0" * 64}]},
        {"page": [{"path": "index.html", "bytes": "many", "sha256": "0" * 64}]},
        {"page": [{"path": "index.html", "bytes": 1, "sha256": "0"}]},
        {"page": None},
        {"models": []},
        {"runtime": "1.30.0"},
    ],
)
def test_manifests_of_strangers(
    change: dict[str, object], models: WebModels, runtime: dict[str, Path], tmp_path: Path
) -> None:
    out = webpage.write_page(models, runtime, tmp_path / "out", title="Toy")
    manifest = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").write_text(json.dumps(manifest | change))
    with pytest.raises(ModelError, match="no manifest of ours"):
        webpage.read_manifest(out)


@pytest.mark.parametrize("text", ["", "[]", "{", "nonsense", "[" * 100_000])
def test_what_is_no_manifest(text: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ModelError, match="no manifest of ours"):
        webpage.read_manifest(tmp_path)


def test_without_a_manifest(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="this is no demo"):
        webpage.read_manifest(tmp_path)


def test_only_the_page_is_copied() -> None:
    assert {Path(name).suffix for name in PAGE} - webpage.PAGE_FILES == {".md", ".txt"}
