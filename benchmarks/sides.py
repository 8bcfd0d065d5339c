"""The sides of a comparison, each in a process of its own, at work in turn so that a busy moment of the machine hits all alike.

What segwright sets for memory (`engines/memory.py`) and for waiting threads (`segwright/__init__.py`) holds for a whole process and would
help the others too: a usual script has what its system gives it.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import cv2
import torch  # before segwright in every process, so that its threads wait as the environment says

SPIN = "GOMP_SPINCOUNT"
"""Set when segwright is imported, read when PyTorch is."""

Work = Callable[[Any], Any]
"""From an order to an answer."""


class Side(NamedTuple):
    """A variant, and how it is made in its process."""

    build: Callable[[], Work]
    ours: bool = False
    """Runs with the settings of segwright's commands; a script has those of its system."""
    threads: int = 1


class Turn(NamedTuple):
    """What an order took."""

    cpu_ms: float
    """Of the whole process."""
    wall_ms: float
    answer: Any


def _serve(side: Side, orders: Any) -> None:
    from segwright.engines.memory import keep_memory

    cv2.setNumThreads(side.threads)
    torch.set_num_threads(side.threads)
    if side.ours:
        keep_memory()
    work = side.build()
    orders.send(None)
    while (order := orders.recv()) is not None:
        cpu, wall = time.process_time(), time.perf_counter()
        answer = work(order)
        spent = time.process_time() - cpu, time.perf_counter() - wall
        orders.send(Turn(1000 * spent[0], 1000 * spent[1], answer))


@contextmanager
def at_work(sides: Mapping[str, Side]) -> Iterator[dict[str, Callable[[Any], Turn]]]:
    """Start all, one after the other, and take orders until the end of the block. An order is anything but None."""
    import segwright  # noqa: F401  sets what our sides inherit

    spawning = multiprocessing.get_context("spawn")
    workers, pipes, ours = [], {}, os.environ[SPIN]
    for name, side in sides.items():
        here, there = spawning.Pipe()
        worker = spawning.Process(target=_serve, args=(side, there), daemon=True)
        if not side.ours:
            del os.environ[SPIN]
        worker.start()
        os.environ[SPIN] = ours
        there.close()
        here.recv()
        workers.append(worker)
        pipes[name] = here

    def asking(pipe: Any) -> Callable[[Any], Turn]:
        def ask(order: Any) -> Turn:
            pipe.send(order)
            turn: Turn = pipe.recv()
            return turn

        return ask

    yield {name: asking(pipe) for name, pipe in pipes.items()}
    for pipe in pipes.values():
        pipe.send(None)
    for worker in workers:
        worker.join()
