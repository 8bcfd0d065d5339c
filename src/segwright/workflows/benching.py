"""How fast a model is on this machine, with every engine that is installed."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from segwright import __version__
from segwright.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from segwright.engines.race import Lap
    from segwright.predict.stopwatch import Latency


@dataclasses.dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What was measured."""

    model: str
    """Name of the network."""
    size_hw: tuple[int, int]
    """At which it runs."""
    picture_hw: tuple[int, int]
    """Of the picture that was predicted."""
    classes: int
    threads: int | None
    laps: tuple[Lap, ...]
    """Agreement, or why an engine could not run; in the order in which engines are tried."""
    latencies: dict[str, Latency]
    """By engine."""
    machine: dict[str, Any]

    @property
    def fastest(self) -> str:
        """The engine that `--engine auto` takes from now on; empty where none agrees with the reference."""
        able = [lap for lap in self.laps if lap.passed and lap.engine in self.latencies]
        return min(able, key=lambda lap: lap.milliseconds).engine if able else ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        engines = {
            lap.engine: {
                "agreement": round(lap.agreement, 6),
                "problem": lap.problem,
                **(dataclasses.asdict(self.latencies[lap.engine]) if lap.engine in self.latencies else {}),
            }
            for lap in self.laps
        }
        return {
            "segwright": __version__,
            "model": self.model,
            "size_hw": list(self.size_hw),
            "picture_hw": list(self.picture_hw),
            "classes": self.classes,
            "threads": self.threads,
            "fastest": self.fastest,
            "milliseconds": engines,
            "machine": self.machine,
        }


def bench(
    model: Path,
    *,
    image: Path | None = None,
    engine: str = "",
    device: str = "auto",
    threads: int | None = None,
    seconds: float = 3.0,
    tile: bool = False,
    out: Path | None = None,
    console: Console | None = None,
) -> Benchmark:
    """Measure a model with every engine, and remember the fastest for `--engine auto`.

    Args:
        model: run folder, checkpoint or exported file.
        image: picture to predict; None draws one of the model's size.
        engine: only this one, and nothing is remembered; empty for all.
        device: "auto", "cpu" or "cuda".
        threads: CPU threads; None lets the engines choose.
        seconds: for each engine.
        tile: cut the picture into tiles; see `Predictor`.
        out: a .json file for the numbers.
        console: told what takes time.

    Raises:
        UserError: no engine can run the model, or the picture cannot be read.
    """
    from segwright.data.sample import read_image
    from segwright.engines.race import race
    from segwright.outputs import require_writable, write_text
    from segwright.predict.stopwatch import latencies
    from segwright.workflows.opening import drawn_pictures, measure, open_model

    if not 0.0 < seconds <= 3600.0:
        raise UserError(f"--seconds is more than 0 and at most 3600, not {seconds:g}.")
    if out is not None:
        require_writable(out.parent)
    picture: NDArray[np.uint8] | None = read_image(image) if image is not None else None
    if engine:
        opened = open_model(model, engine=engine, device=device, threads=threads, console=console).engine
        laps, engines = race({engine: lambda: opened}, drawn_pictures(opened.facts.size_hw, 1), seconds=0.0)
    else:
        laps, engines = measure(model, device=device, threads=threads, console=console)
    facts = next(iter(engines.values())).facts
    if picture is None:
        (picture,) = drawn_pictures(facts.size_hw, 1)
    found = Benchmark(
        model=facts.name,
        size_hw=facts.size_hw,
        picture_hw=(picture.shape[0], picture.shape[1]),
        classes=len(facts.classes),
        threads=threads,
        laps=laps,
        latencies=latencies(engines, picture, seconds=seconds, tile=tile),
        machine=_machine(),
    )
    if out is not None:
        write_text(out, json.dumps(found.to_dict(), indent=2) + "\n")
    return found


def _machine() -> dict[str, Any]:
    """What kind it is; no name of it."""
    from importlib import metadata

    versions = {}
    for name in ("torch", "onnxruntime", "onnxruntime-gpu", "openvino", "numpy"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    # Loads are not known on Windows.
    load = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "load": load,
        "versions": versions,
    }
