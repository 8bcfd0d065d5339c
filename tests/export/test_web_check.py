from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from segwright.errors import ModelError, UserError
from segwright.export import web_check, webpage
from segwright.export.web_models import WebModels, web_models
from segwright.export.web_runtime import sha256_of
from tests.export.web import RUNTIME, stand_in_page, stand_in_runtime, toy_export

FIRST = next(iter(RUNTIME))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> WebModels:
    return web_models([toy_export(tmp_path_factory.mktemp("toy") / "toy.onnx")])


@pytest.fixture
def demo(models: WebModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    stand_in_page(tmp_path / "page", monkeypatch)
    folder = stand_in_runtime(tmp_path / "runtime", monkeypatch)
    return webpage.write_page(
        models, {name: folder / name for name in RUNTIME}, tmp_path / "demo", title="Toy", space=True
    )


def wrong(folder: Path) -> list[str]:
    return [finding.sentence for finding in web_check.check_page(folder) if finding.spoils]


def notes(folder: Path) -> list[str]:
    return [finding.sentence for finding in web_check.check_page(folder) if not finding.spoils]


def test_a_new_demo_is_whole(demo: Path) -> None:
    assert web_check.check_page(demo) == []


def swap(path: Path) -> None:
    path.write_bytes(path.read_bytes().swapcase())


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def point(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 3\n")


@pytest.mark.parametrize("name", ["models/model.fp16.onnx", f"runtime/{FIRST}"])
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (Path.unlink, "is missing"),
        (swap, "has other contents"),
        (cut, "bytes and not"),
        (point, "git lfs pull"),
    ],
)
def test_damage_is_found(name: str, damage: Callable[[Path], None], said: str, demo: Path) -> None:
    damage(demo / name)
    (sentence,) = wrong(demo)
    assert sentence.startswith(name)
    assert said in sentence


def test_a_page_changed_by_hand_is_only_told(demo: Path) -> None:
    (demo / "style.css").write_text("body { color: red }")
    assert wrong(demo) == []
    (note,) = notes(demo)
    assert note.startswith("style.css was changed")
    (demo / "index.html").unlink()
    assert wrong(demo) == ["index.html is missing; copy the whole folder again, or make the demo again."]


def change_manifest(demo: Path, change: Callable[[dict[str, object]], object]) -> None:
    manifest = json.loads((demo / "manifest.json").read_text())
    change(manifest)
    (demo / "manifest.json").write_text(json.dumps(manifest))


def test_a_tampered_runtime_whose_manifest_was_changed_too(demo: Path) -> None:
    swap(demo / "runtime" / FIRST)

    def agree(manifest: dict[str, object]) -> None:
        runtime = manifest["runtime"]
        assert isinstance(runtime, dict)
        entry = next(e for e in runtime["files"] if e["path"].endswith(FIRST))
        entry["sha256"] = sha256_of(demo / "runtime" / FIRST)

    change_manifest(demo, agree)
    (sentence,) = wrong(demo)
    assert sentence.startswith(f"runtime/{FIRST} is not that of onnxruntime-web")


def test_a_manifest_that_leaves_things_out(demo: Path) -> None:
    change_manifest(demo, lambda m: m.update(models={}, page=[]))
    assert [s.partition(";")[0] for s in wrong(demo)] == [
        "manifest.json lists no index.html",
        "manifest.json lists no model",
    ]
    change_manifest(demo, lambda m: m["runtime"].update(files=[]))  # type: ignore[attr-defined]
    assert sum(f"does not list runtime/{name}" in s for s in wrong(demo) for name in RUNTIME) == len(RUNTIME)


def test_an_older_runtime_is_told(demo: Path) -> None:
    change_manifest(demo, lambda m: m["runtime"].update(version="1.29.0"))  # type: ignore[attr-defined]
    assert wrong(demo) == []
    assert "onnxruntime-web 1.29.0" in notes(demo)[0]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("index.html", '<script src="https://example.org/x.js"></script>'),
        ("index.html", '<link rel="stylesheet" href="//example.org/x.css">'),
        ("index.html", '<img srcset="a.png 1x, http://example.org/b.png 2x">'),
        ("index.html", "<style>body { background: url(//example.org/x.png) }</style>"),
        ("index.html", '<script>import("https://example.org/x.js")</script>'),
        ("icon.svg", '<svg><image href="https://example.org/x.png"/></svg>'),
        ("style.css", "@import 'https://example.org/x.css';"),
        ("style.css", "body { background: url(//example.org/x.png) }"),
        ("app.js", "import x from 'https://example.org/x.js';"),
        ("app.js", 'fetch("//example.org/x")'),
        ("app.js", "const socket = new WebSocket(`wss://example.org/${room}`);"),
        ("deep/worker.js", "importScripts('http://example.org/x.js')"),
    ],
)
def test_other_hosts_are_found(name: str, text: str, demo: Path) -> None:
    (demo / name).parent.mkdir(exist_ok=True)
    (demo / name).write_text(text)
    (sentence,) = wrong(demo)
    assert sentence.startswith(f"{name} names another host (")
    assert "//example.org/" in sentence


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("index.html", '<p>See <a href="https://example.org/">more</a>, or https://example.org/ itself.</p>'),
        ("index.html", '<svg xmlns="http://www.w3.org/2000/svg"></svg><script src="app.js"></script>'),
        (
            "app.js",
            "// from https://example.org/x\n/* https://example.org/y\n * https://example.org/z */\nlet a = 4 / 2; // 'why'",
        ),
        ("app.js", "const pointer = 'version https://git-lfs';"),
        ("style.css", "body { background: url(data:image/png;base64,AAAA) } /* plain */"),
    ],
)
def test_links_and_names_are_no_hosts(name: str, text: str, demo: Path) -> None:
    (demo / name).write_text(text)
    assert wrong(demo) == []


def test_a_page_that_is_no_text(demo: Path) -> None:
    (demo / "app.js").write_bytes(b"\xff\xfe\x00")
    assert wrong(demo) == ["app.js cannot be read as text (UnicodeDecodeError); make the demo again."]


def test_large_files_are_named(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_check, "PLAIN_GIT", 400)
    (note,) = notes(demo)
    assert "models/model.fp32.onnx" in note
    assert ".gitattributes sends them by LFS" in note
    (demo / ".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
    assert any("with --space" in note for note in notes(demo))


def test_what_is_no_demo(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no folder"):
        web_check.check_page(tmp_path / "absent")
    with pytest.raises(ModelError, match="this is no demo"):
        web_check.check_page(tmp_path)
