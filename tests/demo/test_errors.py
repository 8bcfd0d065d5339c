"""Whatever goes wrong has a sentence and a way on; nothing ends in a blank page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.demo.conftest import Launch
from tests.demo.site import facts, served
from tests.demo.visit import CAMERA, visiting

MODELS = ("models/model.fp16.onnx", "models/model.fp32.onnx")
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 4314046\n"
HTML = b"<!DOCTYPE html><html><body>Sign in</body></html>"
BINARY = "runtime/ort-wasm-simd-threaded.wasm"
MODULE = "runtime/ort.wasm.bundle.min.mjs"
NO_MEMORY = b"""
export const env = { wasm: {} };
export class Tensor {}
export const InferenceSession = { create: async () => { throw new RangeError('WebAssembly.Memory(): could not allocate memory'); } };
"""


def replace(site: Path, names: tuple[str, ...], data: bytes | None, *, honest: bool = False) -> None:
    """Put other bytes in the place of files, or nothing.

    Args:
        site: to spoil.
        names: files in it.
        data: what to put there; None for nothing.
        honest: tell the manifest.
    """
    for name in names:
        (site / name).unlink()
        if data is not None:
            (site / name).write_bytes(data)
    if honest:
        manifest = json.loads((site / "manifest.json").read_text())
        manifest["runtime"]["files"] = [facts(site / file["path"], site) for file in manifest["runtime"]["files"]]
        replace(site, ("manifest.json",), json.dumps(manifest).encode())


def change_selftest(site: Path) -> None:
    manifest = json.loads((site / "manifest.json").read_text())
    manifest["selftest"]["probabilities"] = [255 - p for p in manifest["selftest"]["probabilities"]]
    replace(site, ("manifest.json",), json.dumps(manifest).encode())


CASES: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "no manifest": (lambda site: replace(site, ("manifest.json",), None), "manifest.json", "segwright demo"),
    "manifest is no JSON": (lambda site: replace(site, ("manifest.json",), HTML), "manifest.json", "segwright demo"),
    "model missing": (lambda site: replace(site, MODELS, None), "model file is missing", "upload all"),
    "model is a pointer": (lambda site: replace(site, MODELS, POINTER), "Git LFS pointer", "git lfs pull"),
    "model is HTML": (lambda site: replace(site, MODELS, HTML), "server sent a web page", "upload models/"),
    "model is cut off": (lambda site: replace(site, MODELS, b"\x08\x0a" * 20), "not the one", "Reload"),
    "runtime missing": (lambda site: replace(site, (BINARY,), None), "ONNX Runtime Web", "upload runtime/"),
    "runtime is HTML": (lambda site: replace(site, (BINARY,), HTML), "ONNX Runtime Web", "upload runtime/"),
    "module missing": (lambda site: replace(site, (MODULE,), None), "ONNX Runtime Web", "upload runtime/"),
    "module is HTML": (lambda site: replace(site, (MODULE,), HTML), "ONNX Runtime Web", "upload runtime/"),
    "out of memory": (
        lambda site: replace(site, (MODULE,), NO_MEMORY, honest=True),
        "not enough memory",
        "Close other",
    ),
    "wrong everywhere": (change_selftest, "wrong answers", "another browser"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_broken_page_says_so(browser: Any, broken_site: Path, case: str) -> None:
    spoil, what, way = CASES[case]
    spoil(broken_site)
    with served(broken_site) as address, visiting(browser, address) as visit:
        visit.wait_for("error")
        message = visit.facts["message"]
        assert what in message and way in message
        assert visit.page.locator("#trouble").is_visible() and visit.page.locator("#retry").is_visible()
        assert visit.page.text_content("#what") + " " + visit.page.text_content("#way") == message
        assert visit.page.is_disabled("#start")


def test_one_precision_is_enough(browser: Any, broken_site: Path) -> None:
    replace(broken_site, MODELS[:1], POINTER)
    with served(broken_site) as address, visiting(browser, address) as visit:
        visit.start()
        visit.frames(1)
        assert visit.facts["precision"] == "fp32"
        assert "pointer" in visit.tried()


def test_trying_again_after_the_mending(browser: Any, broken_site: Path) -> None:
    whole = (broken_site / BINARY).read_bytes()
    replace(broken_site, (BINARY,), HTML)
    with served(broken_site) as address, visiting(browser, address) as visit:
        visit.wait_for("error")
        replace(broken_site, (BINARY,), whole)
        visit.page.click("#retry")
        visit.start()
        visit.frames(1)


def test_no_simd(browser: Any, tiny_address: str) -> None:
    with visiting(browser, tiny_address, script="WebAssembly.validate = () => false;") as visit:
        visit.wait_for("error")
        assert "SIMD" in visit.facts["message"] and "browser" in visit.facts["message"]


def test_permission_denied(launch: Launch, tiny_address: str) -> None:
    browser = launch(CAMERA[1], "--deny-permission-prompts")
    with visiting(browser, tiny_address) as visit:
        visit.wait_for("ready")
        visit.page.click("#start")
        visit.wait_for("error")
        assert "not allowed to use the camera" in visit.facts["message"] and "address bar" in visit.facts["message"]
        assert visit.page.is_enabled("#start") and visit.page.locator("#instead").is_visible()
        visit.page.context.grant_permissions(["camera"])
        visit.page.click("#retry")
        visit.wait_for("running")
        visit.frames(1)
    browser.close()


def test_no_camera(launch: Launch, tiny_address: str) -> None:
    browser = launch()
    with visiting(browser, tiny_address) as visit:
        visit.wait_for("ready")
        assert "No camera was found" in visit.facts["message"] and "picture or a video" in visit.facts["message"]
        assert visit.page.is_disabled("#start") and visit.page.is_enabled("#open")
    browser.close()


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("NotReadableError", "another program"),
        ("NotFoundError", "No camera was found"),
        ("TypeError", "could not be opened"),
    ],
)
def test_a_camera_that_does_not_open(browser: Any, tiny_address: str, name: str, what: str) -> None:
    script = f"navigator.mediaDevices.getUserMedia = async () => {{ throw Object.assign(new Error('no'), {{ name: '{name}' }}); }};"
    with visiting(browser, tiny_address, script=script) as visit:
        visit.wait_for("ready")
        visit.page.click("#start")
        visit.wait_for("error")
        assert what in visit.facts["message"]
        assert visit.page.locator("#retry").is_visible()


def test_an_insecure_address(launch: Launch, tiny_address: str, tiny_site: Path) -> None:
    browser = launch(*CAMERA, "--host-resolver-rules=MAP demo.test 127.0.0.1")
    port = tiny_address.split(":")[2]
    with visiting(browser, f"http://demo.test:{port}", own_host=f"demo.test:{port.strip('/')}") as visit:
        visit.wait_for("ready")
        assert "https" in visit.facts["message"]
        assert visit.page.is_disabled("#start") and visit.page.is_enabled("#open")
    browser.close()


@pytest.mark.parametrize(
    ("name", "kind"), [("broken.png", "image/png"), ("broken.mp4", "video/mp4"), ("notes.txt", "text/plain")]
)
def test_a_file_that_is_no_picture(browser: Any, tiny_address: str, name: str, kind: str) -> None:
    with visiting(browser, tiny_address) as visit:
        visit.wait_for("ready")
        visit.page.set_input_files("#file", {"name": name, "mimeType": kind, "buffer": b"not that"})
        visit.wait_for("error")
        assert "cannot be shown" in visit.facts["message"] and "JPEG" in visit.facts["message"]
        visit.page.click("#retry")
        visit.wait_for("ready")
        visit.page.click("#start")
        visit.wait_for("running")
