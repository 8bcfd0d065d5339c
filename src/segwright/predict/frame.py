"""Frame: one picture on its way from a source to its answers; Choice: which frames of a video or stream are wanted."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from segwright.errors import UserError

LARGEST_SIDE = 16384
"""Pixels that `--size` may ask for."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One picture of a source."""

    image: NDArray[np.uint8]
    """(H, W, 3) RGB, upright."""
    key: str
    """Names its answers: a picture's path below its folder without suffix, SOURCE/000123 for frame 123 of a video, or
    SOURCE/20261126-030726-123 for what a live source showed at that time (UTC, with milliseconds)."""
    source: str
    """Name of the source it belongs to."""
    index: int = 0
    """Number in its source, from 0. Of a stream, the frames that were lost count."""
    seconds: float | None = None
    """Since the video began, or since the stream was first opened; None for pictures."""
    arrived: float = 0.0
    """`time.monotonic()` when it was decoded."""
    path: Path | None = None
    """The picture or video file; None for streams and webcams."""
    live: bool = False
    """Whether its source shows what is going on now, and has no end."""

    @property
    def moving(self) -> bool:
        """Whether it belongs to a video or stream."""
        return self.seconds is not None

    @property
    def moment(self) -> datetime:
        """When it was decoded, in UTC."""
        return datetime.fromtimestamp(time.time() - (time.monotonic() - self.arrived), UTC)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which frames of each video or stream are wanted, and at which size all pictures are looked at."""

    every: int = 1
    """Only every so manieth frame."""
    most: int | None = None
    """At most so many frames."""
    start: float = 0.0
    """Seconds from which on frames are wanted."""
    end: float | None = None
    """Seconds up to which frames are wanted."""
    size_wh: tuple[int, int] | None = None
    """Width and height to which every picture is resized before anything else; None leaves them."""

    def __post_init__(self) -> None:
        if self.every < 1:
            raise UserError(f"--every is a whole number from 1 on, not {self.every}; 1 takes every frame.")
        if self.most is not None and self.most < 1:
            raise UserError(f"--max-frames is a whole number from 1 on, not {self.most}; leave it out for all frames.")
        if self.start < 0 or (self.end is not None and self.end <= self.start):
            raise UserError(
                f"--start and --end are seconds from 0 on, the end after the start, not {self.start:g} and {self.end}."
            )
        if self.size_wh and not all(1 <= side <= LARGEST_SIDE for side in self.size_wh):
            raise UserError(f"--size is width x height from 1 to {LARGEST_SIDE} pixels, such as 640x480.")

    def sized(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The picture at the wanted size.

        Args:
            image: (H, W, 3).

        Returns:
            (height, width, 3) of `size_wh`; the same array where nothing is to be done.
        """
        if self.size_wh is None or image.shape[1::-1] == self.size_wh:
            return image
        shrinks = self.size_wh[0] < image.shape[1] or self.size_wh[1] < image.shape[0]
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(image, self.size_wh, interpolation=how), np.uint8)


def size_of(text: str) -> tuple[int, int]:
    """Width and height from "640x480".

    Raises:
        UserError: it says something else.
    """
    width, _, height = text.lower().replace("×", "x").partition("x")
    try:
        return int(width), int(height)
    except ValueError:
        raise UserError(f"--size is width x height in pixels, such as 640x480, not {text!r}.") from None
