"""Where the time of a prediction goes: before the network, in it and after it, measured from outside, engine by engine in turn."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segwright.engines.contract import ClassMapEngine, Engine
from segwright.errors import SegwrightError
from segwright.predict.predictor import Predictor

LEAST_RUNS = 5

BATCHES = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Spread:
    """Of many measurements, in milliseconds."""

    p50: float
    """Half of them are below."""
    p95: float
    """95 of 100 are below."""

    @classmethod
    def of(cls, seconds: list[float]) -> Spread:
        """From seconds."""
        p50, p95 = np.percentile(np.asarray(seconds) * 1000.0, [50, 95])
        return cls(round(float(p50), 3), round(float(p95), 3))


@dataclass(frozen=True, kw_only=True)
class Latency:
    """What one engine takes for one picture."""

    runs: int
    preparation: Spread
    """From the picture in memory to the network."""
    network: Spread
    finishing: Spread
    """From the network's answer to the class map at the picture's own size."""
    whole: Spread
    processor: Spread
    """CPU time of all threads together, for the whole: what a busy machine does not stretch."""
    best_batch: int
    """Pictures at once for which the network takes least for each."""
    best_batch_milliseconds: float
    """Of the network, for each picture of such a batch."""


class Timed:
    """An engine that notes when its network begins and ends."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.begun, self.spent = 0.0, 0.0

    @property
    def name(self) -> str:
        """See `Engine.name`."""
        return self._engine.name

    @property
    def facts(self) -> Any:
        """See `Engine.facts`."""
        return self._engine.facts

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Engine.probabilities`."""
        return np.asarray(self._timed(self._engine.probabilities, images))

    def reset(self) -> None:
        """Before the next picture."""
        self.begun, self.spent = 0.0, 0.0

    def _timed(self, run: Any, images: NDArray[np.uint8]) -> Any:
        started = time.perf_counter()
        self.begun = self.begun or started
        answer = run(images)
        self.spent += time.perf_counter() - started
        return answer


class TimedDecoding(Timed):
    """The same for an engine that answers with class maps too."""

    def class_maps(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """See `ClassMapEngine.class_maps`."""
        return np.asarray(self._timed(self._engine.class_maps, images))  # type: ignore[attr-defined]


def latencies(
    engines: Mapping[str, Engine], image: NDArray[np.uint8], *, seconds: float = 3.0, tile: bool = False
) -> dict[str, Latency]:
    """Measure engines in turn on one picture.

    Args:
        engines: by name.
        image: (H, W, 3) uint8 RGB, any size.
        seconds: for each engine; one that is slow gets `LEAST_RUNS`.
        tile: as in `Predictor`.

    Returns:
        By name.
    """
    timed = {name: TimedDecoding(e) if isinstance(e, ClassMapEngine) else Timed(e) for name, e in engines.items()}
    predictors = {name: Predictor(engine, tile=tile) for name, engine in timed.items()}
    parts: dict[str, list[tuple[float, ...]]] = {name: [] for name in engines}
    for name, predictor in predictors.items():
        _run(predictor, timed[name], image)  # plans and buffers are made at the first picture
    while running := [
        name for name in engines if len(parts[name]) < LEAST_RUNS or sum(p[3] for p in parts[name]) < seconds
    ]:
        for name in running:
            parts[name].append(_run(predictors[name], timed[name], image))
    found = {}
    for name, measured in parts.items():
        preparation, network, finishing, whole, processor = (
            Spread.of(list(part)) for part in zip(*measured, strict=True)
        )
        batch, each = _best_batch(engines[name], seconds)
        found[name] = Latency(
            runs=len(measured),
            preparation=preparation,
            network=network,
            finishing=finishing,
            whole=whole,
            processor=processor,
            best_batch=batch,
            best_batch_milliseconds=round(1000.0 * each, 3),
        )
    return found


def _run(predictor: Predictor, timed: Timed, image: NDArray[np.uint8]) -> tuple[float, ...]:
    """Seconds of preparation, network, finishing and all, and of CPU."""
    timed.reset()
    processor, started = time.process_time(), time.perf_counter()
    predictor.predict(image)
    whole, processor = time.perf_counter() - started, time.process_time() - processor
    preparation = timed.begun - started
    return preparation, timed.spent, whole - preparation - timed.spent, whole, processor


def _best_batch(engine: Engine, seconds: float) -> tuple[int, float]:
    """The batch, and seconds for each of its pictures; larger batches are tried until the time is up or memory is."""
    best, least, until = 1, float("inf"), time.perf_counter() + seconds
    for batch in BATCHES:
        images = np.zeros((batch, *engine.facts.size_hw, 3), np.uint8)
        run = engine.class_maps if isinstance(engine, ClassMapEngine) else engine.probabilities
        took = []
        try:
            for _ in range(3):
                started = time.perf_counter()
                run(images)
                took.append((time.perf_counter() - started) / batch)
        except (SegwrightError, MemoryError):
            break
        # The first is left out: there libraries make their plans for a new shape.
        if min(took[1:]) < least:
            best, least = batch, min(took[1:])
        if time.perf_counter() > until:
            break
    return best, least
