"""Nothing grows: five hundred frames, and memory, tensors and elements are what they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.demo.conftest import TINY, Launch
from tests.demo.site import served
from tests.demo.toys import scene
from tests.demo.visit import CAMERA, visiting, write_y4m

FRAMES = 500
WARM_UP = 150
MOST_GROWTH = 1_000_000
"""Bytes of page, worker and WebAssembly together; one forgotten frame in each of 500 would be six times as much."""


def test_five_hundred_frames(launch: Launch, tiny_site: Path, tmp_path: Path) -> None:
    film = write_y4m(tmp_path / "scene.y4m", scene((240, 320)), rate=60)
    browser = launch(
        *CAMERA,
        f"--use-file-for-fake-video-capture={film}",
        "--enable-blink-features=ForceEagerMeasureMemory",
        "--js-flags=--expose-gc",
    )
    with served(tiny_site, isolated=True) as address, visiting(browser, address + "?threads=1") as visit:
        visit.start()
        visit.frames(WARM_UP, seconds=100)
        before = memory(visit)
        elements = visit.page.evaluate("() => document.querySelectorAll('*').length")
        visit.frames(FRAMES, seconds=150)
        after = memory(visit)
        facts = visit.facts
        assert visit.page.evaluate("() => document.querySelectorAll('*').length") == elements
        assert len(visit.page.workers) == 1
    browser.close()
    assert facts["tensors"] == "1", "only the input stays"
    assert after - before < MOST_GROWTH, f"{before} bytes became {after}"
    assert TINY[0] * TINY[1] * 4 * FRAMES > 5 * MOST_GROWTH, "or the bound says nothing"


def memory(visit: Any) -> int:
    """Bytes of page and worker, after a collection."""
    visit.page.evaluate("() => gc()")
    visit.page.workers[0].evaluate("() => gc()")
    return int(visit.page.evaluate("async () => (await performance.measureUserAgentSpecificMemory()).bytes"))
