"""Half an hour of a camera on 127.0.0.1 that is killed every five minutes: does memory stay flat, and does the delay grow?

python benchmarks/rtsp_soak.py --minutes 30

The camera is a process of its own (tests/rtsp_server.py). Each of its pictures carries the time at which it was drawn, so the
delay is measured from there to the moment when the answers of that picture are on disk: drawing, encoding, RTSP, decoding, network,
drawing again, H.264 and JSON.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import tables  # noqa: E402

from segwright.checkpoint import Checkpoint  # noqa: E402
from segwright.classes import Classes  # noqa: E402
from segwright.engines.memory import keep_memory  # noqa: E402
from segwright.models.catalogue import build  # noqa: E402
from segwright.predict.feed import Feed  # noqa: E402
from segwright.predict.found import Found  # noqa: E402
from segwright.predict.frame import Choice  # noqa: E402
from segwright.predict.loop import run  # noqa: E402
from segwright.predict.saving import sinks_for  # noqa: E402
from segwright.predict.sources import find_sources  # noqa: E402
from segwright.recipe import DataRecipe, ModelRecipe, Recipe  # noqa: E402
from segwright.workflows.opening import load  # noqa: E402
from tests.rtsp_server import read_picture  # noqa: E402

KILL_EVERY = 5.0
"""Minutes."""


@dataclass
class Minute:
    """What one minute was like."""

    delays: list[float] = field(default_factory=list)
    memory: float = 0.0
    lost: int = 0
    reconnected: int = 0


@dataclass
class Watcher:
    """The last place: when a frame comes here, its answers are written."""

    feed: Feed
    began: float = field(default_factory=time.monotonic)
    minutes: list[Minute] = field(default_factory=list)

    def write(self, found: Found) -> None:
        """Note when this frame was drawn, and how much memory is in use."""
        minute = int((time.monotonic() - self.began) / 60)
        while len(self.minutes) <= minute:
            self.minutes.append(Minute())
        (losses,) = self.feed.losses.values()
        now = self.minutes[minute]
        now.delays.append(read_picture(found.frame.image)[1])
        now.memory = resident_mb()
        now.lost, now.reconnected = losses.replaced + losses.skipped, losses.reconnected

    def source_ended(self, source: str) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def tiny_model(folder: Path) -> Path:
    recipe = Recipe(data=DataRecipe(height=64, width=96), model=ModelRecipe(model="lraspp_mobilenet_v3_small"))
    classes = Classes(names=("ground", "bar"))
    Checkpoint(recipe=recipe, classes=classes, weights=build(recipe.model, 1).state_dict()).save(
        folder / "best.safetensors"
    )
    return folder


class Camera:
    """The server process, killed and started again."""

    def __init__(self, fps: float) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._fps = fps
        self._stop = threading.Event()
        self.start()

    def start(self) -> None:
        """Wait until it listens."""
        command = [sys.executable, ROOT / "tests/rtsp_server.py", str(self.port), "--fps", str(self._fps)]
        self._process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)})
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.2)

    def kill_now_and_then(self) -> None:
        """Until `end`."""
        while not self._stop.wait(KILL_EVERY * 60):
            self._process.kill()
            self._process.wait()
            self.start()

    def end(self) -> None:
        """Kill it for good."""
        self._stop.set()
        self._process.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--fps", type=float, default=8.0)
    said = parser.parse_args()
    keep_memory()  # as the command does
    camera = Camera(said.fps)
    threading.Thread(target=camera.kill_now_and_then, daemon=True).start()
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        predictor = load(tiny_model(out / "model"), threads=1)
        sources = find_sources([f"rtsp://127.0.0.1:{camera.port}/cam"])
        feed = Feed(sources, Choice(end=said.minutes * 60))
        watcher = Watcher(feed)
        _, sinks = sinks_for(frozenset({"jsonl", "video"}), out, predictor.classes, sources)
        run(predictor, feed, [*sinks, watcher], out, steady=0.5)
    camera.end()
    report(watcher, said.fps)


def report(watcher: Watcher, fps: float) -> None:
    minutes = [minute for minute in watcher.minutes if minute.delays]
    rows, before = [], 0
    for number, minute in enumerate(minutes, start=1):
        p50, p95 = np.percentile(minute.delays, [50, 95])
        rows.append(
            [
                str(number),
                str(len(minute.delays)),
                f"{1000 * p50:.0f}",
                f"{1000 * p95:.0f}",
                f"{minute.memory:.0f}",
                str(minute.lost - before),
                str(minute.reconnected),
            ]
        )
        before = minute.lost
    first, last = minutes[min(1, len(minutes) - 1)].memory, minutes[-1].memory
    third = max(len(minutes) // 3, 1)
    early, late = (np.median([d for m in part for d in m.delays]) for part in (minutes[:third], minutes[-third:]))
    words = (
        f"A camera of {fps:g} pictures a second on 127.0.0.1 (320x240, H.264 over RTSP), killed and started again every "
        f"{KILL_EVERY:g} minutes, watched by LR-ASPP small at 96x64 with `--steady 0.5` and an annotated video, in one process. The delay "
        "runs from the drawing of a picture to its answers on disk.\n\n"
        f"Memory after the second minute and at the end: {first:.0f} and {last:.0f} MB ({100 * (last / first - 1):+.1f} %). Median delay "
        f"in the first and the last third: {1000 * early:.0f} and {1000 * late:.0f} ms."
    )
    head = ["minute", "frames", "delay p50, ms", "delay p95, ms", "memory, MB", "passed over", "reconnected so far"]
    tables.write("rtsp_soak", "Half an hour of an RTSP camera", words, head, rows)


if __name__ == "__main__":
    main()
