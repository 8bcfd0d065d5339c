"""Which picture comes when: one endless sequence of seeded passes, cut into batches and dealt out to the processes.

What a batch holds follows from (seed, number of the batch) alone, so that a run can begin anywhere in the sequence, several
processes together see what a single one with their joint batch would, and the number of loading processes changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from torch.utils.data import Sampler

ORDER, LOOK = 0, 1
"""Streams of random numbers: one orders the samples, one varies them."""


class Draw(NamedTuple):
    """One sample to be made: which, how it varies, how large."""

    which: int
    """Place in a pass; with patches, several places show the same picture."""
    seed: tuple[int, ...]
    size_hw: tuple[int, int]


class Course(Protocol):
    """Where a training is: what `Order` must know of it. Loading processes work ahead, so it asks when batches are planned."""

    @property
    def batch(self) -> int:
        """Batches that this process has learnt from."""
        ...

    def stretch_ends(self) -> float:
        """The batch before which the next check is made; the loader ends there, and begins anew after it."""
        ...

    def size_hw(self, batch: int) -> tuple[int, int]:
        """Height and width of a batch."""
        ...


@dataclass
class Endless:
    """A course that never changes."""

    at_hw: tuple[int, int]
    batch: int = 0

    def stretch_ends(self) -> float:
        """Never."""
        return math.inf

    def size_hw(self, batch: int) -> tuple[int, int]:
        """Always the same."""
        return self.at_hw


class Order(Sampler[Draw]):
    """The sequence.

    Args:
        count: places in a pass.
        seed: of the run.
        size_hw: height and width to draw at, unless `course` is replaced.
        batch_size: pictures in a batch of one process.
        world: processes that train together.
        accumulate: a pass is filled up, by starting over, to whole groups of this many batches of all processes.
        repeats: (count,) how often each place is drawn relative to the others; None draws each once in a pass.
    """

    def __init__(
        self,
        count: int,
        seed: int,
        size_hw: tuple[int, int],
        batch_size: int,
        *,
        world: int = 1,
        accumulate: int = 1,
        repeats: np.ndarray | None = None,
    ) -> None:
        self.count, self.seed, self.batch_size, self.world, self.repeats = count, seed, batch_size, world, repeats
        self.rank = 0
        """Number of this process among all."""
        self.course: Course = Endless(size_hw)
        whole = batch_size * world * accumulate
        self.length = -(-count // whole) * whole
        """Pictures in a pass, over all processes."""

    @property
    def batches_per_pass(self) -> int:
        """Of one process."""
        return self.length // (self.batch_size * self.world)

    def __iter__(self) -> Iterator[Draw]:
        batch, ends, number = self.course.batch, self.course.stretch_ends(), -1
        while batch < ends:
            size_hw = self.course.size_hw(batch)
            for place in range(self.batch_size):
                here, position = divmod((batch * self.world + self.rank) * self.batch_size + place, self.length)
                if here != number:
                    order, number = self._order_of(here), here
                yield Draw(int(order[position % self.count]), (self.seed, LOOK, number, position), size_hw)
            batch += 1

    def _order_of(self, number: int) -> np.ndarray:
        """(count,) places of pass `number`, shuffled; with `repeats`, each occurs as often as it should, rounded up or down."""
        rng = np.random.default_rng((self.seed, ORDER, number))
        if self.repeats is None:
            return rng.permutation(self.count)
        # Systematic sampling: evenly spaced points on a line on which each sample has a stretch of its share.
        ends = np.cumsum(self.repeats) * (self.count / self.repeats.sum())
        points = rng.random() + np.arange(self.count)
        return rng.permutation(np.minimum(np.searchsorted(ends, points, side="right"), self.count - 1))
