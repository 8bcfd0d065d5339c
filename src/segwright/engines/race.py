"""Several engines answer the same pictures in turn: how fast each is, how far it agrees with the first, and which one to take.

They take turns, so that a busy moment of the machine hits all alike, and the least time of each counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segwright.engines.contract import ClassMapEngine, Engine
from segwright.errors import ModelError, SegwrightError

SECONDS = 1.0
"""For each engine."""

LEAST_TURNS = 2

LEAST_AGREEMENT = 0.99
"""Share of pixels that must get the same class as from the reference. bfloat16 of OpenVINO lies at 0.992 to 0.999."""


@dataclass(frozen=True, kw_only=True)
class Lap:
    """How one engine did."""

    engine: str
    """Its name in `opening.ENGINES`."""
    milliseconds: float = 0.0
    """Least time of one picture at the model's own size, 0 where it could not run."""
    agreement: float = 0.0
    """Share of pixels on which it chose the class that the reference chose, 0..1."""
    problem: str = ""
    """Why it could not run; empty where it could."""

    @property
    def passed(self) -> bool:
        """Whether it may be taken."""
        return not self.problem and self.agreement >= LEAST_AGREEMENT

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "engine": self.engine,
            "milliseconds": self.milliseconds,
            "agreement": self.agreement,
            "problem": self.problem,
        }

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Lap:
        """Inverse of `to_dict`.

        Raises:
            KeyError, TypeError, ValueError: it was not written by `to_dict`.
        """
        return cls(
            engine=str(raw["engine"]),
            milliseconds=float(raw["milliseconds"]),
            agreement=float(raw["agreement"]),
            problem=str(raw["problem"]),
        )


def race(
    openers: Mapping[str, Callable[[], Engine]], images: Sequence[NDArray[np.uint8]], *, seconds: float = SECONDS
) -> tuple[tuple[Lap, ...], Mapping[str, Engine]]:
    """Open all, run all.

    Args:
        openers: by name; the first that opens is the reference.
        images: (h, w, 3) uint8 each, at the model's size.
        seconds: for each engine; one that takes longer for a picture gets `LEAST_TURNS`.

    Returns:
        A lap for each name in their order, and the engines that opened.

    Raises:
        SegwrightError: what the last one said, when none can run.
    """
    engines: dict[str, Engine] = {}
    problems: dict[str, str] = {}
    answers: dict[str, list[NDArray[np.uint8]]] = {}
    last: SegwrightError | None = None
    for name, opener in openers.items():
        try:
            engine = opener()
            answers[name] = [class_map_of(engine, image) for image in images]
        except SegwrightError as error:  # also a GateError: an exported file that differs is no candidate
            problems[name], last = str(error), error
            continue
        engines[name] = engine
    if not engines:
        raise last or ModelError("There is no engine to run it with; install one with: pip install 'segwright[onnx]'")
    least = _turns(engines, images[0], seconds)
    reference = answers[next(iter(engines))]
    laps = [
        Lap(engine=name, problem=problems[name])
        if name in problems
        else Lap(engine=name, milliseconds=round(1000 * least[name], 3), agreement=_agreement(reference, answers[name]))
        for name in openers
    ]
    return tuple(laps), engines


def fastest(laps: Sequence[Lap]) -> Lap:
    """The fastest that passed; the first that ran passes against itself.

    Raises:
        ModelError: none did.
    """
    passed = [lap for lap in laps if lap.passed]
    if not passed:
        raise ModelError(f"No engine can run this model: {'; '.join(f'{lap.engine}: {lap.problem}' for lap in laps)}")
    return min(passed, key=lambda lap: lap.milliseconds)


def class_map_of(engine: Engine, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(h, w) uint8 class map of one picture at the model's size, computed as `Predictor` does."""
    facts = engine.facts
    if facts.classes.channels > 1 and isinstance(engine, ClassMapEngine):
        return engine.class_maps(image[None])[0]
    return facts.classes.decode(engine.probabilities(image[None])[0], facts.threshold)


def _turns(engines: Mapping[str, Engine], image: NDArray[np.uint8], seconds: float) -> dict[str, float]:
    """Least seconds of each; they ran once before, which is when libraries make their plans."""
    spent, least = dict.fromkeys(engines, 0.0), dict.fromkeys(engines, float("inf"))
    turn = 0
    while running := [name for name in engines if turn < LEAST_TURNS or spent[name] < seconds]:
        for name in running:
            started = time.perf_counter()
            class_map_of(engines[name], image)
            took = time.perf_counter() - started
            spent[name], least[name] = spent[name] + took, min(least[name], took)
        turn += 1
    return least


def _agreement(one: Sequence[NDArray[np.uint8]], other: Sequence[NDArray[np.uint8]]) -> float:
    return round(float(np.mean([np.mean(a == b) for a, b in zip(one, other, strict=True)])), 6)
