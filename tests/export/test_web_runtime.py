from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from segwright.errors import OutputError, UserError
from segwright.export import web_runtime
from tests.export.web import RUNTIME, package, stand_in_npm, stand_in_runtime

FIRST = next(iter(RUNTIME))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "segwright" / f"{web_runtime.PACKAGE}-{web_runtime.VERSION}"


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the stand-in runtime, whose hashes count as the pinned ones."""
    return stand_in_runtime(tmp_path / "runtime", monkeypatch)


def bring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes) -> Path:
    archive = tmp_path / "package.tgz"
    archive.write_bytes(data)
    return stand_in_npm(tmp_path / "bin", monkeypatch, f'echo "$@" >>"$0.said"\ncp "{archive}" brought.tgz')


def test_npm_brings_it_once(known: Path, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm = bring(tmp_path, monkeypatch, package(RUNTIME))
    for _ in range(2):
        found = web_runtime.web_runtime()
        assert {name: path.read_bytes() for name, path in found.items()} == RUNTIME
        assert all(path.parent == own_cache for path in found.values())
    said = npm.with_name("npm.said").read_text()
    assert said.count("\n") == 1
    assert f"onnxruntime-web@{web_runtime.VERSION}" in said
    assert "--ignore-scripts" in said


def test_a_tampered_cache_is_filled_again(
    known: Path, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(tmp_path, monkeypatch, package(RUNTIME))
    web_runtime.web_runtime()
    (own_cache / FIRST).write_bytes(RUNTIME[FIRST].swapcase())
    web_runtime.web_runtime()
    assert (own_cache / FIRST).read_bytes() == RUNTIME[FIRST]


@pytest.mark.parametrize("below", ["", "dist", "package/dist", f"node_modules/{web_runtime.PACKAGE}/dist"])
def test_from_a_folder_without_npm(below: str, known: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    shutil.copytree(known, tmp_path / "mine" / below)
    assert web_runtime.web_runtime(tmp_path / "mine")[FIRST] == tmp_path / "mine" / below / FIRST


def test_a_folder_with_something_else(known: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no folder"):
        web_runtime.web_runtime(tmp_path / "absent")
    with pytest.raises(UserError, match=f"{FIRST} is missing"):
        web_runtime.web_runtime(tmp_path)
    (known / FIRST).write_bytes(RUNTIME[FIRST].swapcase())
    with pytest.raises(UserError, match=f"{FIRST} has other contents; the page runs with"):
        web_runtime.web_runtime(known)
    (known / FIRST).write_bytes(RUNTIME[FIRST][:-1])
    with pytest.raises(UserError, match=f"{FIRST} has .* bytes and not"):
        web_runtime.web_runtime(known)


def test_without_npm(known: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match=r"npm is not installed; install .* --runtime DIR"):
        web_runtime.web_runtime()
    assert not own_cache.exists()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'npm error code ENOTFOUND' >&2; exit 1", r"\(code ENOTFOUND\); check the connection"),
        ("exit 7", "it said nothing"),
        ("true", "it said nothing"),
        ("printf PK > brought.tgz", "brought a damaged"),
        (": > brought.tgz", "brought a damaged"),
    ],
)
def test_npm_that_fails(
    script: str, said: str, known: Path, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in_npm(tmp_path / "bin", monkeypatch, script)
    with pytest.raises(UserError, match=said):
        web_runtime.web_runtime()
    assert not own_cache.exists()


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        (RUNTIME | {FIRST: RUNTIME[FIRST].swapcase()}, "is not that of"),
        (RUNTIME | {FIRST: RUNTIME[FIRST] + b"more"}, "has another size"),
        (RUNTIME | {FIRST: b""}, "has another size"),
        ({name: data for name, data in RUNTIME.items() if name != FIRST}, "is not in it"),
    ],
)
def test_npm_that_brings_something_else(
    contents: dict[str, bytes], said: str, known: Path, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(tmp_path, monkeypatch, package(contents))
    with pytest.raises(UserError, match=said):
        web_runtime.web_runtime()
    assert not own_cache.exists()


def test_a_truncated_archive(known: Path, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = package({name: os.urandom(len(data)) for name, data in RUNTIME.items()})
    bring(tmp_path, monkeypatch, whole[: len(whole) // 2])
    with pytest.raises(UserError, match="brought a damaged"):
        web_runtime.web_runtime()
    assert not own_cache.exists()


def test_a_cache_that_cannot_be_written(
    known: Path, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(tmp_path, monkeypatch, package(RUNTIME))
    own_cache.parent.mkdir(parents=True)
    own_cache.write_text("a file where the folder should be")
    with pytest.raises(OutputError, match="XDG_CACHE_HOME"):
        web_runtime.web_runtime()


def test_every_backend_has_its_pair() -> None:
    assert {name for pair in web_runtime.PAIRS.values() for name in pair.values()} == web_runtime.FILES.keys()


@pytest.mark.slow
def test_npm_brings_the_pinned_files() -> None:
    """33 MB over the line: the hashes of the source are those of the registry."""
    if shutil.which("npm") is None:
        if os.environ.get("SEGWRIGHT_NO_SKIPS"):
            pytest.fail("npm is not installed")
        pytest.skip("npm is not installed")
    found = web_runtime.web_runtime()
    assert not any(web_runtime.difference(path, name) for name, path in found.items())
