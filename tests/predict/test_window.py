"""The window, on SDL's dummy screen: its numbers, its keys, and the word for machines without a screen."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from segwright.errors import UserError
from segwright.predict.window import TITLE, Window

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
