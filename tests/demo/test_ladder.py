"""The ladder in a browser: real WebGPU in software, made-up GPUs that are slow, wrong or lost, and no GPU at all.

A made-up GPU is an adapter that promises everything, and in place of the WebGPU runtime a module whose answers are known.
Below it on the ladder stands the real WebAssembly runtime.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.demo.conftest import TINY, Launch
from tests.demo.site import facts, served
from tests.demo.toys import RED, scene
from tests.demo.visit import CAMERA, visiting

GPU = """
    Object.defineProperty(navigator, 'gpu', { configurable: true, value: {
      requestAdapter: async () => ({ features: new Set(['shader-f16']), info: { vendor: 'made up', isFallbackAdapter: false } }),
    } });
"""
RUNTIME = """
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const expected = %(expected)s;  // of the self-test, as a picture of its own size
let lose;
export const env = { wasm: {}, webgpu: { device: Promise.resolve({ lost: new Promise((lost) => { lose = lost; }) }) } };
env.lose = () => lose({ message: 'unplugged', reason: 'unknown' });
export class Tensor {}
let runs = 0;
export const InferenceSession = { create: async (model, { executionProviders: [ep] }) => {
  if (%(refuse)s) throw new Error('Program Transpose requires f16 but the device does not support it');
  return { release: async () => {}, run: async () => {
    runs += 1;
    if (%(crash)s) throw new Error('GPUBuffer was destroyed');
    await wait(ep === 'webgpu' ? %(milliseconds)d : 1);
    return { probabilities: { data: Float32Array.from(expected), dispose() {} } };
  } };
} };
"""


@pytest.fixture(scope="module")
def gpu_browser(launch: Launch) -> Iterator[Any]:
    """WebGPU in software: right, slow, without 16-bit shaders."""
    running = launch(*CAMERA, "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader")
    yield running
    running.close()


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("picture") / "scene.png"
    Image.fromarray(scene(TINY)).save(path)
    return path


def made_up_gpu(
    site: Path, *, refuse: str = "false", crash: str = "false", milliseconds: int = 1, wrong: bool = False
) -> None:
    """Put a made-up WebGPU runtime into a site.

    Args:
        site: to change.
        refuse: JavaScript condition on which no session is made.
        crash: JavaScript condition on `runs` on which a run fails.
        milliseconds: of a run.
        wrong: answer nothing but zeros.
    """
    manifest = json.loads((site / "manifest.json").read_text())
    height, width = TINY
    test = manifest["selftest"]
    # Grid points lie in the middle of their cells, so a picture of the cells answers the self-test exactly.
    grid = np.array(test["probabilities"]).reshape(test["rows"], test["columns"]) / 255
    rows, columns = np.arange(height) * test["rows"] // height, np.arange(width) * test["columns"] // width
    expected = np.zeros(TINY) if wrong else grid[rows][:, columns]
    values = {
        "expected": expected.round(4).ravel().tolist(),
        "refuse": refuse,
        "crash": crash,
        "milliseconds": milliseconds,
    }
    path = site / manifest["runtime"]["webgpu"]["module"]
    path.unlink()
    path.write_text(RUNTIME % values)
    files = manifest["runtime"]["files"]
    manifest["runtime"]["files"] = [facts(site / file["path"], site) for file in files]
    (site / "manifest.json").unlink()
    (site / "manifest.json").write_text(json.dumps(manifest))


def mask_is_right(visit: Any) -> bool:
    visit.page.check("input[value=mask]", force=True)
    found = visit.canvas()[..., 1] >= 128
    return bool((found == (scene(TINY) == RED).all(axis=2)).all())


def test_no_gpu_at_all(browser: Any, tiny_address: str, picture: Path) -> None:
    with visiting(browser, tiny_address) as visit:
        visit.show(picture)
        assert (visit.facts["backend"], visit.facts["precision"], visit.facts["threads"]) == ("wasm", "fp16", "1")
        assert "no WebGPU adapter" in visit.facts["message"] and "no WebGPU adapter" in visit.tried()
        assert mask_is_right(visit)
        assert not [url for url in visit.requests if "webgpu" in url or "asyncify" in url], "nothing is fetched in vain"


def test_threads_where_the_page_is_isolated(browser: Any, tiny_site: Path, picture: Path) -> None:
    with served(tiny_site, isolated=True) as address, visiting(browser, address + "?threads=2") as visit:
        visit.show(picture)
        assert visit.facts["threads"] == "2"
        assert mask_is_right(visit)


def test_a_software_adapter_is_no_gpu(gpu_browser: Any, tiny_address: str, picture: Path) -> None:
    with visiting(gpu_browser, tiny_address) as visit:
        visit.show(picture)
        assert visit.facts["backend"] == "wasm"
        assert "software" in visit.facts["message"]


def test_webgpu_without_16_bit_shaders(gpu_browser: Any, tiny_address: str, picture: Path) -> None:
    with visiting(gpu_browser, tiny_address + "?ep=webgpu&precision=fp16") as visit:
        visit.show(picture)
        assert (visit.facts["backend"], visit.facts["precision"]) == ("webgpu", "fp32")
        assert "f16" in visit.tried()
        assert mask_is_right(visit)


def test_a_real_device_is_lost(gpu_browser: Any, tiny_address: str, picture: Path) -> None:
    with visiting(gpu_browser, tiny_address + "?ep=webgpu&precision=fp32") as visit:
        visit.show(picture)
        assert (visit.facts["backend"], visit.facts["precision"]) == ("webgpu", "fp32")
        assert visit.facts["frames"] == "1"
        module = next(url for url in visit.requests if "ort.webgpu" in url)
        visit.page.workers[0].evaluate(
            "async (url) => { (await (await import(url)).env.webgpu.device).destroy(); }", module
        )
        visit.wait_until(lambda now: now["backend"] == "wasm" and now["state"] == "running")
        assert "lost" in visit.tried()
        visit.wait_until(lambda now: now["frames"] == "2")
        assert mask_is_right(visit)


@pytest.mark.parametrize(
    ("gpu", "backend", "precision", "reason"),
    [
        ({}, "webgpu", "fp16", ""),
        ({"milliseconds": 300}, "wasm", "fp16", "it took"),
        ({"wrong": True}, "wasm", "fp16", "known picture is off by"),
        ({"refuse": "true"}, "wasm", "fp16", "requires f16"),
        ({"refuse": "model.length < %d"}, "webgpu", "fp32", "requires f16"),
        ({"crash": "true"}, "wasm", "fp16", "destroyed"),
    ],
    ids=["good", "slow", "wrong", "refuses", "refuses-fp16", "first-run-fails"],
)
def test_made_up_gpus(
    browser: Any, broken_site: Path, gpu: dict[str, Any], backend: str, precision: str, reason: str
) -> None:
    if "%d" in gpu.get("refuse", ""):
        gpu = {"refuse": gpu["refuse"] % (broken_site / "models" / "model.fp32.onnx").stat().st_size}
    made_up_gpu(broken_site, **gpu)
    with served(broken_site) as address, visiting(browser, address, script=GPU) as visit:
        visit.wait_for("ready")
        assert (visit.facts["backend"], visit.facts["precision"]) == (backend, precision)
        assert reason in visit.tried()
        visit.start()
        visit.frames(2)
        assert reason in visit.facts["message"]


@pytest.mark.parametrize("how", ["crash", "loss"])
def test_a_gpu_that_fails_while_running(browser: Any, broken_site: Path, how: str) -> None:
    made_up_gpu(broken_site, crash="runs > 20" if how == "crash" else "false")
    with served(broken_site) as address, visiting(browser, address, script=GPU) as visit:
        visit.start()
        visit.frames(1)
        assert visit.facts["backend"] == "webgpu"
        if how == "loss":
            module = next(url for url in visit.requests if "ort.webgpu" in url)
            visit.page.workers[0].evaluate("async (url) => (await import(url)).env.lose()", module)
        visit.wait_until(lambda now: now["backend"] == "wasm" and now["state"] == "running")
        visit.frames(5)
        assert ("destroyed" if how == "crash" else "unplugged") in visit.facts["message"]
        assert len(visit.page.workers) == 1, "what failed is gone"


def test_phones_and_visits_that_ended_badly_begin_with_webassembly(browser: Any, broken_site: Path) -> None:
    made_up_gpu(broken_site)
    iphone = (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 26_0 like Mac OS X) AppleWebKit/605.1.15 Version/26.0 Mobile Safari/604.1"
    )
    crashed = GPU + "localStorage.setItem('segwright.running', 'webgpu');"
    with served(broken_site) as address:
        for script, agent, reason in ((GPU, iphone, "this system"), (crashed, None, "last visit")):
            with visiting(browser, address, script=script, user_agent=agent) as visit:
                visit.wait_for("ready")
                assert visit.facts["backend"] == "wasm" and reason in visit.tried()
        with visiting(browser, address + "?ep=webgpu", script=GPU, user_agent=iphone) as visit:
            visit.start()
            assert visit.facts["backend"] == "webgpu"
            kept = "() => localStorage.getItem('segwright.running')"
            assert visit.page.evaluate(kept) == "webgpu"
            visit.page.click("#start")
            visit.wait_for("ready")
            assert visit.page.evaluate(kept) is None
