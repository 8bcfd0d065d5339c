"""The browser demo beside a bare loop of ONNX Runtime Web: rate on WebAssembly, share of its own work, time to the first mask.

    python benchmarks/demo_speed.py [MODEL.onnx] [--rounds 5] [--seconds 8]

Chromium plays a drawn card scene as its camera. In each round the page runs for some seconds, and a worker that does
nothing but run the same FP32 file on the same runtime with one thread, in turn. Without MODEL it is LR-ASPP on
MobileNetV3 small with random weights at 480x640: speed does not depend on what the weights are.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from threading import Thread
from typing import Any

import cv2
import numpy as np
import tables

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.demo.visit import CAMERA, FLAGS, Visit, visiting, write_y4m  # noqa: E402

Round = dict[str, float]
"""Milliseconds by name."""

BARE_PAGE = '<script type="module" src="bare.js"></script>'
BARE_SCRIPT = """
const answer = () => new Promise((done) => { globalThis.worker.onmessage = ({ data }) => done(data); });
globalThis.warmUp = (seconds) => {
  globalThis.worker?.terminate();
  globalThis.worker = new Worker('bare_worker.js', { type: 'module' });
  globalThis.worker.postMessage(seconds);
  return answer();
};
globalThis.bare = () => { globalThis.worker.postMessage('go'); return answer(); };
"""
BARE_WORKER = """
onmessage = async ({ data: seconds }) => {
  const manifest = await (await fetch('manifest.json')).json();
  const { wasm } = manifest.runtime;
  const { width, height } = manifest.size;
  const ort = await import(new URL(wasm.module, location.href).href);
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = { wasm: new URL(wasm.binary, location.href).href };
  const session = await ort.InferenceSession.create(manifest.models.fp32.path, { executionProviders: ['wasm'] });
  const pixels = new Uint8Array(width * height * 3).map((_, n) => (n * 7919) >> 3);
  const feeds = { [manifest.input.name]: new ort.Tensor('uint8', pixels, [1, height, width, 3]) };
  const run = async () => (await session.run(feeds, [manifest.outputs.probabilities]))[manifest.outputs.probabilities].dispose();
  for (let n = 0; n < 5; n++) await run();
  postMessage('warm');
  await new Promise((go) => { onmessage = go; });
  const begun = performance.now();
  let runs = 0;
  while (performance.now() - begun < 1000 * seconds) { await run(); runs++; }
  postMessage([performance.now() - begun, runs]);
};
"""
REPAINTS = """(seconds) => new Promise((done) => {
  const begun = performance.now();
  let count = 0;
  const tick = () => {
    count++;
    if (performance.now() - begun < 1000 * seconds) requestAnimationFrame(tick);
    else done(1000 * count / (performance.now() - begun));
  };
  requestAnimationFrame(tick);
})"""


def made_up_model(folder: Path) -> Path:
    """LR-ASPP small with random weights, exported as `segwright export` does."""
    import torch

    from segwright.checkpoint import Checkpoint
    from segwright.classes import Classes
    from segwright.export.onnx import export_onnx
    from segwright.models.catalogue import build
    from segwright.recipe import named_recipe

    torch.manual_seed(0)
    recipe = named_recipe("card").with_settings(model="lraspp_mobilenet_v3_small", width=480, height=640)
    classes = Classes(names=("background", "card"))
    network = build(recipe.model, classes.channels).eval()
    return export_onnx(Checkpoint(recipe=recipe, classes=classes, weights=network.state_dict()), folder / "model.onnx")


def page_round(visit: Visit, seconds: float) -> Round:
    """Milliseconds of one mask in the running page, of its parts, and of the worker's processor time."""
    visit.page.bring_to_front()
    visit.start()
    visit.frames(8)
    spent = worker_milliseconds()
    clock = "() => [performance.now(), Number(document.body.dataset.frames)]"
    begun, first = visit.page.evaluate(clock)
    repaints = visit.page.evaluate(REPAINTS, seconds)
    ended, last = visit.page.evaluate(clock)
    spent = worker_milliseconds() - spent
    parts = {name: float(visit.facts[name]) for name in ("prepare", "network", "paint", "repaint")}
    visit.page.click("#start")
    frames = last - first
    return {"frame": (ended - begun) / frames, "processor": spent / frames, "repaints": repaints, **parts}


def bare_round(bare: Visit, seconds: float) -> Round:
    """Milliseconds of one run in the bare loop, and of the worker's processor time."""
    bare.page.bring_to_front()  # a page behind another has a lower priority
    bare.page.evaluate("(seconds) => warmUp(seconds)", seconds)
    spent = worker_milliseconds()
    milliseconds, runs = bare.page.evaluate("() => bare()")
    return {"frame": milliseconds / runs, "processor": (worker_milliseconds() - spent) / runs}


def worker_milliseconds() -> float:
    """Processor time so far of all workers of the browser that this process has started."""
    parents, times = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            for task in (folder / "task").iterdir():
                name, fields = (task / "stat").read_text().split("(", 1)[1].rsplit(")", 1)
                if name.startswith("DedicatedWorker"):
                    user, system = fields.split()[11:13]
                    times[int(folder.name)] = times.get(int(folder.name), 0) + int(user) + int(system)
    return 1000 / os.sysconf("SC_CLK_TCK") * sum(time for pid, time in times.items() if descends(pid, parents))


def descends(pid: int, parents: dict[int, int]) -> bool:
    """Whether a process descends from this one."""
    while pid in parents:
        if pid == os.getpid():
            return True
        pid = parents[pid]
    return False


def first_mask(visit: Visit) -> float:
    """Seconds from Start to the first mask."""
    visit.wait_for("ready")
    script = """() => new Promise((done) => {
        const begun = performance.now();
        new MutationObserver((_, observer) => {
          if (!document.body.dataset.frames) return;
          observer.disconnect();
          done((performance.now() - begun) / 1000);
        }).observe(document.body, { attributes: true });
        document.getElementById('start').click();
    })"""
    seconds = float(visit.page.evaluate(script))
    visit.page.click("#start")
    return seconds


def measure(browser: Any, address: str, rounds: int, seconds: float) -> tuple[list[Round], list[Round], float]:
    """Rounds of the page, of the bare loop, and the seconds to the first mask on a warm cache."""
    pages: list[Round] = []
    loops: list[Round] = []
    wish = "?ep=wasm&precision=fp32&threads=1"
    with visiting(browser, address + wish) as visit, visiting(browser, address + "bare.html") as bare:
        visit.wait_for("ready")
        visit.page.reload()
        first = first_mask(visit)
        for number in range(rounds):
            turns = [
                lambda: pages.append(page_round(visit, seconds)),
                lambda: loops.append(bare_round(bare, seconds)),
            ]
            for turn in turns[:: 1 if number % 2 else -1]:
                turn()
    return pages, loops, first


def main() -> None:
    from playwright.sync_api import sync_playwright

    from segwright import draw_scene
    from segwright.export.web_models import web_models
    from segwright.export.web_runtime import VERSION, web_runtime
    from segwright.export.web_server import DemoServer
    from segwright.export.webpage import write_page

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        models = web_models([options.model or made_up_model(folder)])
        height, width = models.facts.size_hw
        site = write_page(models, web_runtime(), folder / "site", title="Benchmark")
        for file, text in (("bare.html", BARE_PAGE), ("bare.js", BARE_SCRIPT), ("bare_worker.js", BARE_WORKER)):
            (site / file).write_text(text, encoding="utf-8")
        image = draw_scene(np.random.default_rng(1)).image
        film = write_y4m(folder / "scene.y4m", cv2.resize(np.rot90(image, -1), (640, 480)))
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=[*FLAGS, *CAMERA, f"--use-file-for-fake-video-capture={film}"],
        )
        server = DemoServer(site, port=0)
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            pages, loops, first = measure(browser, server.address, options.rounds, options.seconds)
        finally:
            browser.close()
            server.shutdown()
            server.server_close()
    write(models.facts.name, f"{width}x{height}", VERSION, pages, loops, first, options.seconds)


def write(
    model: str,
    size: str,
    version: str,
    pages: list[Round],
    loops: list[Round],
    first: float,
    seconds: float,
) -> None:
    """The table: medians over the rounds, and of ratios the median of each round's own."""
    wall = [page["frame"] / loop["frame"] for page, loop in zip(pages, loops, strict=True)]
    processor = [page["processor"] / loop["processor"] for page, loop in zip(pages, loops, strict=True)]
    own = [(page["prepare"] + page["paint"] + page["repaint"]) / page["frame"] for page in pages]

    def of(rounds: list[Round], name: str, digits: int = 1) -> str:
        return f"{statistics.median(each[name] for each in rounds):.{digits}f}"

    rows = [
        ["time for a picture, ms", of(loops, "frame"), of(pages, "frame")],
        ["the same over the bare loop, median of rounds", "1", f"{statistics.median(wall):.3f}"],
        ["processor time of the worker for a picture, ms", of(loops, "processor"), of(pages, "processor")],
        ["the same over the bare loop, median of rounds", "1", f"{statistics.median(processor):.3f}"],
        ["of the time: the network, ms", "", of(pages, "network")],
        ["preparing the picture, ms", "", of(pages, "prepare", 2)],
        ["painting the mask, ms", "", of(pages, "paint", 2)],
        ["one repaint of the page, in another thread, ms", "", of(pages, "repaint", 2)],
        ["these three, share of the time for a picture", "", f"{100 * statistics.median(own):.1f} %"],
        ["repaints of the page per second, meanwhile", "", of(pages, "repaints", 0)],
        ["from Start to the first mask, warm cache, s", "", f"{first:.2f}"],
    ]
    tables.write(
        "demo_speed",
        f"The browser demo on WebAssembly, one thread: {model}, FP32, {size}",
        f"ONNX Runtime Web {version} in headless Chromium without a GPU, {len(pages)} rounds of {seconds:g} s each way, in turn. "
        f"The ratio of times lay between {min(wall):.3f} and {max(wall):.3f}, that of processor times between "
        f"{min(processor):.3f} and {max(processor):.3f}; where other programs run, the second says more.",
        ["what", "bare loop", "page"],
        rows,
    )


if __name__ == "__main__":
    main()
