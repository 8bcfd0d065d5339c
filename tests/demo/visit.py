"""A page open in a browser: what it says of itself, what it shows, and the made-up films before its cameras."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

PATIENCE = 60_000
"""ms; a busy machine is no failure."""


FLAGS = (
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)
CAMERA = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")


@dataclass
class Visit:
    """One page in a browser, and what was noticed there."""

    page: Any
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def facts(self) -> dict[str, str]:
        """`document.body.dataset`."""
        return dict(self.page.evaluate("() => ({...document.body.dataset})"))

    def wait_for(self, *states: str) -> None:
        self.page.locator(",".join(f"body[data-state={state}]" for state in states)).wait_for(timeout=PATIENCE)
        if "error" not in states:
            assert self.facts["state"] in states

    def wait_until(self, true: Callable[[dict[str, str]], bool], seconds: float = PATIENCE / 1000) -> dict[str, str]:
        """Facts, as soon as they are as wished."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            facts = self.facts
            if true(facts):
                return facts
            self.page.wait_for_timeout(40)
        raise AssertionError(f"never came true; now {self.facts}")

    def frames(self, more: int = 1, seconds: float = PATIENCE / 1000) -> None:
        """Wait for further masks."""
        count = int(self.facts.get("frames", 0)) + more
        self.wait_until(lambda facts: int(facts.get("frames", 0)) >= count, seconds)

    def start(self) -> None:
        self.wait_for("ready")
        self.page.click("#start")
        self.wait_for("running")

    def show(self, file: Path) -> None:
        """Open a picture file, and wait for its mask."""
        self.wait_for("ready", "running")
        frames = int(self.facts.get("frames", 0))
        self.page.set_input_files("#file", file)
        self.wait_until(lambda facts: int(facts.get("frames", 0)) > frames)

    def canvas(self) -> np.ndarray:
        """What is shown: (height, width, 3) uint8."""
        # After two repaints, the last change is on the canvas.
        data = self.page.evaluate(
            "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame("
            "() => done(document.getElementById('canvas').toDataURL()))))"
        )
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))).convert("RGB"))

    def tried(self) -> str:
        return " | ".join(self.page.locator("#tried li").all_text_contents())


@contextmanager
def visiting(browser: Any, address: str, *, script: str = "", own_host: str = "", **context: Any) -> Iterator[Visit]:
    """Open an address in a fresh profile; at the end, nothing came from another host and nothing was left unsaid.

    Args:
        browser: as `launch` gives it.
        address: to open.
        script: run before the page's own.
        own_host: host that is the page's own, where it is not in the address.
        context: settings of the profile.
    """
    profile = browser.new_context(**{"viewport": {"width": 1100, "height": 860}, **context})
    try:
        page = profile.new_page()
        visit = Visit(page)
        page.on("request", lambda request: visit.requests.append(request.url))
        page.on("pageerror", lambda error: visit.errors.append(str(error)))
        if script:
            page.add_init_script(script)
        page.goto(address)
        yield visit
        host = own_host or address.split("/")[2]
        foreign = [url for url in visit.requests if not url.startswith((f"http://{host}/", "blob:", "data:"))]
        assert not foreign, f"asked of other hosts: {foreign}"
        assert not visit.errors, f"thrown on the page: {visit.errors}"
    finally:
        profile.close()


def write_y4m(path: Path, image: np.ndarray, rate: int = 30) -> Path:
    """A still picture as the film that Chromium's made-up camera plays.

    Args:
        path: to write.
        image: (height, width, 3) uint8 RGB, even sides.
        rate: frames per second.
    """
    import cv2

    height, width = image.shape[:2]
    planes = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2YUV_I420)
    head = f"YUV4MPEG2 W{width} H{height} F{rate}:1 Ip A1:1 C420\n".encode()
    path.write_bytes(head + b"FRAME\n" + planes.tobytes())
    return path
