"""A window that shows what was found, with inference time, mean area of the largest polygon and FPS; q quits, space pauses.

The window is SDL's, by pygame: unlike OpenCV's it needs no other build of OpenCV, and says so where there is no screen.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from segwright.errors import MissingExtraError, UserError

TITLE = "segwright - q quits, space pauses"
REMEMBERED = 30
"""Frames over which the numbers are averaged."""
SCREENS = frozenset({"DISPLAY", "WAYLAND_DISPLAY", "XDG_RUNTIME_DIR", "SDL_VIDEODRIVER"})
"""Variables of the environment by which Linux says where a screen is."""
NO_SCREEN = frozenset({"offscreen", "dummy", "evdev"})
"""What SDL falls back to where there is no screen."""
HEADLESS = (
    "--view-img needs a screen, and this machine has none, or none that this session may use; leave it out, and write a "
    "video with --save-video instead."
)


class Window:
    """Shows frames. All of it must be called by the main thread, as some systems demand.

    Raises:
        MissingExtraError: pygame is not installed.
        UserError: there is no screen.
    """

    def __init__(self) -> None:
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        os.environ.setdefault("SDL_NO_SIGNAL_HANDLERS", "1")  # Ctrl-C and SIGTERM are Python's
        try:
            import pygame
        except ImportError as error:
            raise MissingExtraError("pygame", "window") from error
        self._pygame = pygame
        # Looking for a Wayland screen where there can be none prints an error; the console of a machine without a desktop is left.
        bare = sys.platform == "linux" and not SCREENS & os.environ.keys()
        try:
            if bare:
                os.environ["SDL_VIDEODRIVER"] = "kmsdrm"
            pygame.display.init()
        except pygame.error as error:
            raise UserError(HEADLESS) from error
        finally:
            if bare:
                del os.environ["SDL_VIDEODRIVER"]
        if pygame.display.get_driver() in NO_SCREEN and "SDL_VIDEODRIVER" not in os.environ:
            pygame.display.quit()
            raise UserError(HEADLESS)
        self._milliseconds: deque[float] = deque(maxlen=REMEMBERED)
        self._areas: deque[int] = deque(maxlen=REMEMBERED)
        self._times: deque[float] = deque(maxlen=REMEMBERED)
        self.paused = self.closed = False
        self._size_wh = (0, 0)

    def show(self, picture: NDArray[np.uint8], milliseconds: float, largest: int) -> None:
        """Show one frame.

        Args:
            picture: (H, W, 3) uint8 RGB; it is not changed.
            milliseconds: that the prediction took.
            largest: area of the largest polygon in pixels; 0 where there is none.
        """
        self._milliseconds.append(milliseconds)
        self._areas.append(largest)
        self._times.append(time.monotonic())
        display, image = self._pygame.display, self.annotated(picture)
        size_wh = (image.shape[1], image.shape[0])
        surface = display.get_surface()
        if surface is None or self._size_wh != size_wh:
            display.set_caption(TITLE)
            surface = display.set_mode(size_wh, self._pygame.RESIZABLE)
            self._size_wh = size_wh
        drawn = self._pygame.image.frombuffer(image.tobytes(), size_wh, "RGB")
        if surface.get_size() != size_wh:
            drawn = self._pygame.transform.smoothscale(drawn, surface.get_size())
        surface.blit(drawn, (0, 0))
        display.flip()

    def poll(self) -> None:
        """Read the keyboard; while paused, wait for it. Afterwards `closed` says whether to end."""
        if self._size_wh == (0, 0):
            return
        while True:
            for event in self._pygame.event.get():
                key = getattr(event, "key", None) if event.type == self._pygame.KEYDOWN else None
                if key == self._pygame.K_SPACE:
                    self.paused = not self.paused
                if event.type == self._pygame.QUIT or key in {self._pygame.K_q, self._pygame.K_ESCAPE}:
                    self.closed = True
            if self.closed or not self.paused:
                return
            time.sleep(0.03)

    def close(self) -> None:
        """Take the window away."""
        self._pygame.display.quit()

    def annotated(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A copy of a picture with the means of the last frames in its corner."""
        span = self._times[-1] - self._times[0] if len(self._times) > 1 else 0.0
        lines = [
            f"inference {np.mean(self._milliseconds):.1f} ms",
            f"largest polygon {np.mean(self._areas):.0f} px",
            f"{(len(self._times) - 1) / span:.1f} FPS" if span else "- FPS",
        ]
        answer = np.ascontiguousarray(picture).copy()
        size = max(round(min(picture.shape[:2]) / 28), 11)
        corner = answer[: size * 5, : size * 16]
        drawn = Image.fromarray(corner)
        # A dark rim makes light letters readable on any ground.
        rim = {"stroke_width": max(size // 9, 1), "stroke_fill": (0, 0, 0)}
        ImageDraw.Draw(drawn).multiline_text(
            (size // 2, size // 3), "\n".join(lines), font=ImageFont.load_default(size), **rim
        )
        corner[:] = np.asarray(drawn)
        return answer
