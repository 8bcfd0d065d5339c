"""The window, on SDL's dummy screen: its numbers, its keys, and the word for machines without a screen."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segwright.errors import UserError
from segwright.predict.window import SCREENS, TITLE, Window

pygame: Any = pytest.importorskip("pygame", reason="the extra 'window' is not installed")


@pytest.fixture
def window(monkeypatch: pytest.MonkeyPatch) -> Iterator[Window]:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    window = Window()
    yield window
    window.close()


def press(key: int) -> None:
    pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=key))


def test_the_picture_and_its_numbers_are_shown(window: Window) -> None:
    picture = np.full((480, 640, 3), 60, np.uint8)
    picture[400:, :, 0] = 200
    window.show(picture, 12.0, 1000)
    window.show(picture, 14.0, 3000)
    surface = pygame.display.get_surface()
    assert surface.get_size() == (640, 480)
    assert surface.get_at((300, 450))[:3] == (200, 60, 60)
    assert pygame.display.get_caption()[0] == TITLE
    drawn = window.annotated(picture)
    assert (drawn[:120, :300] == 255).any()
    assert np.array_equal(drawn[200:], picture[200:])
    assert picture.max() == 200
    window.show(np.zeros((100, 50, 3), np.uint8), 1.0, 0)
    assert pygame.display.get_surface().get_size() == (50, 100)


@pytest.mark.parametrize("key", [pygame.K_q, pygame.K_ESCAPE])
def test_q_quits(window: Window, key: int) -> None:
    window.poll()
    window.show(np.zeros((48, 64, 3), np.uint8), 1.0, 0)
    window.poll()
    assert not window.closed
    press(key)
    window.poll()
    assert window.closed


def test_the_close_button_quits(window: Window) -> None:
    window.show(np.zeros((48, 64, 3), np.uint8), 1.0, 0)
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    window.poll()
    assert window.closed


def test_space_pauses_until_it_is_pressed_again(window: Window) -> None:
    window.show(np.zeros((48, 64, 3), np.uint8), 1.0, 0)
    press(pygame.K_SPACE)
    threading.Timer(0.3, press, (pygame.K_SPACE,)).start()
    began = time.monotonic()
    window.poll()
    assert time.monotonic() - began > 0.25
    assert not window.paused
    assert not window.closed


def test_a_machine_without_a_screen_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SDL_VIDEODRIVER", raising=False)
    monkeypatch.setattr(pygame.display, "get_driver", lambda: "offscreen")
    with pytest.raises(UserError, match="--view-img needs a screen"):
        Window()


@pytest.mark.skipif(sys.platform != "linux", reason="only a Linux machine can be without a screen so easily")
def test_looking_for_a_screen_prints_nothing() -> None:
    program = "from segwright.errors import UserError\nfrom segwright.predict.window import Window\n"
    program += "try:\n    Window()\nexcept UserError as error:\n    print(error)"
    environment = {name: value for name, value in os.environ.items() if name not in SCREENS}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("--view-img needs a screen")
    assert done.stderr == ""


SHOW = """
import os, sys, time
import numpy as np
from PIL import ImageGrab
from segwright.predict.window import Window

window = Window()
until = time.monotonic() + 60
while time.monotonic() < until:
    window.show(np.full((240, 320, 3), (10, 200, 30), np.uint8), 5.0, 100)
    window.poll()
    seen = ImageGrab.grab(xdisplay=os.environ["DISPLAY"])
    if seen.getpixel((160, 200)) == (10, 200, 30):
        seen.save(sys.argv[1])
        break
window.close()
"""


@pytest.mark.skipif(
    not shutil.which("Xvfb") and not os.environ.get("SEGWRIGHT_NO_SKIPS"),
    reason="Xvfb, a screen without hardware, is not installed",
)
def test_a_real_screen_shows_it(tmp_path: Path) -> None:
    screen = subprocess.Popen(
        ["Xvfb", "-displayfd", "1", "-screen", "0", "320x240x24", "-nolisten", "tcp"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert screen.stdout is not None
    try:
        environment = {name: value for name, value in os.environ.items() if name != "SDL_VIDEODRIVER"}
        environment["DISPLAY"] = f":{screen.stdout.readline().strip()}"
        program = [sys.executable, "-c", SHOW, str(tmp_path / "seen.png")]
        done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=300, check=False)
    finally:
        screen.terminate()
        screen.wait()
        screen.stdout.close()
    assert (done.returncode, done.stderr) == (0, "")
    with Image.open(tmp_path / "seen.png") as seen:
        assert np.asarray(seen)[:60, :150].max() == 255  # the letters
