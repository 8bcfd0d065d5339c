"""Cut a picture into overlapping patches, run a function on them, and blend its answers without seams, block by block.

The function takes a few patches of one size and answers with maps of that size; what it is, nobody here knows. Near the
border of a patch a network sees only half of what surrounds a pixel, and answers worse. So a patch counts most in its
middle and next to nothing at its border (a squared sine), and the weights of all patches over a pixel sum to 1.
At the border of the picture, where no other patch helps, that means full weight.

A block is handed out as soon as no later patch touches it: only the rows in which two rows of patches overlap are kept,
however high the picture is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from segwright.errors import UserError

OVERLAP = 0.25
"""Least share of a patch's side that its neighbour covers too."""

Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""(B, h, w, 3) uint8 patches -> (B, channels, h, w) float32."""


class Rows(Protocol):
    """A picture that is read a few rows at a time, from top to bottom: an array, or a file larger than memory."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W, 3)."""

    def __getitem__(self, rows: slice, /) -> NDArray[np.uint8]:
        """(rows, W, 3) uint8."""


class Block(NamedTuple):
    """A finished rectangle of the answer."""

    rows: slice
    columns: slice
    values: NDArray[np.float32]
    """(channels, rows, columns)."""


class Cut(NamedTuple):
    """One patch along one axis."""

    start: int
    following: int
    """Where the next patch starts, or where this one ends if it is the last: what lies before is finished after it."""
    share: NDArray[np.float32]
    """(side,) how much it counts, over 0; over every pixel of the picture, the shares of all patches sum to 1."""


def blended(
    image: NDArray[np.uint8] | Rows,
    patch_hw: tuple[int, int],
    run: Run,
    *,
    overlap: float = OVERLAP,
    batch_size: int = 4,
) -> Iterator[Block]:
    """Answer a picture patch by patch.

    Args:
        image: (H, W, 3) uint8, any size; one smaller than a patch is centred in black, as `preprocess.place` does. Rows are asked for
            one row of patches at a time.
        patch_hw: height and width of a patch in pixels.
        run: answers patches; called with at most `batch_size` of one row, in order.
        overlap: least share of a patch's side that its neighbour covers too, 0 or more and less than 1.
        batch_size: patches for one call.

    Yields:
        Blocks that cover the picture exactly once. Held beside them: (channels, overlapping rows, W) float32.

    Raises:
        UserError: an impossible overlap or batch size.
    """
    if not 0.0 <= overlap < 1.0 or batch_size < 1:
        raise UserError(f"Tiles need 0 <= overlap < 1 and a batch of at least 1, not {overlap} and {batch_size}.")
    (height, width), (patch_height, patch_width) = image.shape[:2], patch_hw
    wide, above, before = _at_least(image, patch_hw)
    rows, columns = cuts(wide.shape[0], patch_height, overlap), cuts(wide.shape[1], patch_width, overlap)
    most_rows = max(row.start + patch_height - row.following for row in rows)
    kept, kept_rows = np.zeros((0, 0, 0), np.float32), 0
    for row in rows:
        left_over = np.zeros((0, 0, 0), np.float32)
        for column, answer in zip(columns, _answers(wide, row, columns, patch_hw, run, batch_size), strict=True):
            summed = answer * row.share[:, None] * column.share
            if left_over.size:
                summed[:, :, : left_over.shape[2]] += left_over
            finished = column.following - column.start
            done, left_over = summed[:, :, :finished], summed[:, :, finished:]
            # What the row above left here is taken out, and what the row below adds to is put into its place.
            if not kept.size:
                kept = np.zeros((len(answer), most_rows, wide.shape[1]), np.float32)
            here = kept[:, :, column.start : column.following]
            done[:, :kept_rows] += here[:, :kept_rows]
            done, below = done[:, : row.following - row.start], done[:, row.following - row.start :]
            here[:, : below.shape[1]] = below
            # In a picture smaller than a patch, the only block reaches into the black on both sides.
            y = slice(max(row.start - above, 0), min(row.following - above, height))
            x = slice(max(column.start - before, 0), min(column.following - before, width))
            inside = done[:, y.start + above - row.start :, x.start + before - column.start :]
            yield Block(y, x, inside[:, : y.stop - y.start, : x.stop - x.start])
        kept_rows = row.start + patch_height - row.following


def cuts(length: int, side: int, overlap: float) -> list[Cut]:
    """Patches along one axis: as few as will do, evenly spread, the first and the last at the ends.

    Args:
        length: of the picture, at least `side`.
        side: of a patch.
        overlap: as in `blended`.
    """
    step = max(side - math.ceil(side * overlap), 1)
    gaps = -(-(length - side) // step)
    starts = [number * (length - side) // max(gaps, 1) for number in range(gaps + 1)]
    window = np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2
    total = np.zeros(length)
    for start in starts:
        total[start : start + side] += window
    return [
        Cut(start, following, (window / total[start : start + side]).astype(np.float32))
        for start, following in zip(starts, [*starts[1:], length], strict=True)
    ]


def _answers(
    image: NDArray[np.uint8] | Rows, row: Cut, columns: list[Cut], patch_hw: tuple[int, int], run: Run, batch_size: int
) -> Iterator[NDArray[np.float32]]:
    band = image[row.start : row.start + patch_hw[0]]
    for first in range(0, len(columns), batch_size):
        chosen = columns[first : first + batch_size]
        yield from run(np.stack([band[:, column.start : column.start + patch_hw[1]] for column in chosen]))


def _at_least(image: NDArray[np.uint8] | Rows, size_hw: tuple[int, int]) -> tuple[NDArray[np.uint8] | Rows, int, int]:
    """The picture, in black where it is smaller than `size_hw`, and the black pixels above and before it."""
    height, width = image.shape[:2]
    above, before = max(size_hw[0] - height, 0) // 2, max(size_hw[1] - width, 0) // 2
    if height >= size_hw[0] and width >= size_hw[1]:
        return image, 0, 0
    wide = np.zeros((max(height, size_hw[0]), max(width, size_hw[1]), 3), np.uint8)
    wide[above : above + height, before : before + width] = image[:height]
    return wide, above, before
