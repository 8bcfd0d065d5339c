"""From a model to the engine that runs it fastest on this machine: exported once, measured once, remembered.

A run or checkpoint runs in PyTorch as it is. Faster engines need it exported, which takes a quarter of a minute; where that pays,
and only there, it is done into the user's cache folder, under the hash of the weights. Nothing is written beside the model.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from segwright import __version__
from segwright.engines.contract import Engine
from segwright.engines.opening import AUTO, ENGINES, FILE, open_engine
from segwright.engines.race import Lap, class_map_of, fastest, race
from segwright.errors import ModelError, OutputError, UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from segwright.engines.foreign import Described
    from segwright.predict.predictor import Predictor

NOT_RACED = frozenset({"pytorch-compiled", "onnxruntime-tensorrt"})
"""Engines that take minutes to start: only whoever names one gets it."""

SECONDS_TO_PAY = 30.0
"""A choice that is not remembered yet costs an export and a race. Where all pictures together take less, none is made."""


Say = Callable[[str], None]


def _silent(text: str) -> None:
    """Say nothing."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """An engine, and how it came to be chosen."""

    engine: Engine
    name: str
    """In `ENGINES`, or `FILE`."""
    file: Path
    """What it was opened from: the model, or its exported file in the cache."""
    why: str
    """One or two sentences for the user."""
    laps: tuple[Lap, ...] = ()
    """Of the race, where there was one."""


def load(
    path: Path | str,
    *,
    engine: str = FILE,
    threshold: float | None = None,
    tile: bool = False,
    device: str = "auto",
    threads: int | None = None,
    described: Described | None = None,
) -> Predictor:
    """The predictor of a trained or exported model; `segwright.load`.

    Args:
        path: a run folder, a .safetensors checkpoint or an exported file.
        engine: "file" takes the engine that belongs to the kind of file (PyTorch for runs, ONNX Runtime for .onnx); "auto" takes the
            fastest on this machine, measured once and remembered; others by their names, such as "openvino".
        threshold: least probability of class 1 (two classes only); None takes the model's own.
        tile: cut pictures into tiles of the model's size at their own scale, whatever it was trained on.
        device: "auto", "cpu" or "cuda".
        threads: CPU threads; None lets the engine choose.
        described: what is known about an .onnx file from elsewhere.

    Raises:
        ModelError: nothing usable there.
        MissingExtraError: the engine's library is not installed.
        UserError: there is no such engine or device.
    """
    from segwright.predict.predictor import Predictor

    opened = open_model(Path(path), engine=engine, device=device, threads=threads, described=described)
    return Predictor(opened.engine, threshold=threshold, tile=tile)


def open_model(
    model: Path,
    *,
    engine: str = AUTO,
    device: str = "auto",
    threads: int | None = None,
    pictures: int | None = None,
    described: Described | None = None,
    console: Console | None = None,
) -> Opened:
    """Open a model with an engine by name, or with the fastest.

    Args:
        model: run folder, checkpoint or exported file.
        engine: `AUTO`, `FILE`, or a name in `ENGINES`. An engine that needs an exported file gets one from the cache for a run too.
        device: as in `open_engine`.
        threads: as in `open_engine`.
        pictures: how many there will be, where that is known: for a few, nothing is exported or measured.
        described: what is known about an .onnx file from elsewhere; such a file is run by the engine of its kind, unless another is
            named.
        console: told what takes time, and what was chosen.

    Raises:
        UserError: as `open_engine`.
    """
    say = _speaker(console)
    if not model.exists():
        raise ModelError(f"{model} does not exist; name a run folder, a .safetensors checkpoint or an exported file.")
    if described is not None:
        chosen = FILE if engine == AUTO else engine
        found = open_engine(model, engine=chosen, device=device, threads=threads, described=described)
        return Opened(engine=found, name=chosen, file=model, why="described by flags")
    if engine == AUTO:
        opened = _automatic(model, device, threads, pictures, say)
        say(f"Engine: {opened.why}")
        return opened
    if engine != FILE and _needs_export(model, engine):
        model = exported(model, say)
    opened_engine = open_engine(model, engine=engine, device=device, threads=threads)
    return Opened(engine=opened_engine, name=engine, file=model, why="as asked")


def crew(opened: Opened, *, device: str = "auto", described: Described | None = None) -> tuple[Engine, ...]:
    """The same engine several times, each with its share of the cores: more frames a second, and a later answer to each.

    Args:
        opened: with all cores for itself.
        device: as it was opened with.
        described: as it was opened with.

    Returns:
        The engine alone where one core is all there is, or where it does not compute on the CPU in threads of its own.
    """
    from segwright.predict.crew import members

    count, threads = members()
    if count < 2 or not getattr(opened.engine, "on_cpu", False):
        return (opened.engine,)
    one = partial(open_engine, opened.file, engine=opened.name, device=device, threads=threads, described=described)
    return tuple(one() for _ in range(count))


def measure(
    model: Path,
    *,
    device: str = "auto",
    threads: int | None = None,
    images: tuple[NDArray[np.uint8], ...] = (),
    console: Console | None = None,
) -> tuple[tuple[Lap, ...], Mapping[str, Engine]]:
    """Race all engines that can run a model, and remember the fastest for `AUTO`.

    Args:
        model: run folder, checkpoint or exported file; a run is exported into the cache.
        device: as in `open_engine`.
        threads: as in `open_engine`.
        images: (h, w, 3) uint8 at the model's size; none takes drawn ones.
        console: told what takes time.

    Returns:
        A lap for each engine, and those that opened.

    Raises:
        UserError: none can run it.
    """
    say = _speaker(console)
    key = _key(model, device, threads)
    laps, engines = _race(model, device, threads, images, say)
    _remember(key, fastest(laps).engine, laps)
    return laps, engines


def exported(model: Path, say: Say = _silent) -> Path:
    """The ONNX file of a run or checkpoint in the cache; made, and proven equal to it on made-up pictures, when it is not there.

    Raises:
        ModelError: there is no usable checkpoint, or its network cannot be exported.
        MissingExtraError: the extra onnx is not installed.
        OutputError: the cache cannot be written.
    """
    from segwright import checkpoint
    from segwright.export.onnx import export_onnx

    file = checkpoint.checkpoint_file(model)
    path = _folder() / f"{_sha256(file)[:32]}-{__version__}.onnx"
    if not path.is_file():
        say("Exporting to ONNX for faster engines (once, into the cache) ...")
        export_onnx(checkpoint.load(file), path)
    return path


def _speaker(console: Console | None) -> Say:
    def say(text: str) -> None:
        if console is not None:
            console.print(text, soft_wrap=True, highlight=False)

    return say


def _automatic(model: Path, device: str, threads: int | None, pictures: int | None, say: Say) -> Opened:
    names = _candidates(model)
    if len(names) < 2:  # none is in the table for files that only one engine reads anyway
        return Opened(
            engine=open_engine(model, device=device, threads=threads),
            name=FILE,
            file=model,
            why=f"{names[0] if names else 'its own'}, the only one installed for such a file",
        )
    key = _key(model, device, threads)
    if (remembered := _remembered(key, names)) is not None:
        name, laps, day = remembered
        try:
            return Opened(
                engine=_opener(model, name, device, threads, say)(),
                name=name,
                file=_file_for(model, name),
                why=f"{_result(name, laps)}; measured {day}, and anew by: segwright bench",
                laps=laps,
            )
        except UserError:
            pass  # a library was removed since, or a file in the cache was damaged: measure again
    own = open_engine(model, device=device, threads=threads)
    if pictures is not None:
        seconds = _seconds_of_one(own) * pictures
        if seconds < SECONDS_TO_PAY:
            why = f"{own.name}; for {pictures} pictures, {seconds:.0f} s, looking for a faster one does not pay"
            return Opened(engine=own, name=FILE, file=model, why=why)
    say("Measuring engines for a second each ...")
    laps, engines = _race(model, device, threads, (), say)
    best = fastest(laps)
    _remember(key, best.engine, laps)
    why = f"{_result(best.engine, laps)}; remembered for this model and machine{_advice()}"
    file = _file_for(model, best.engine)
    return Opened(engine=engines[best.engine], name=best.engine, file=file, why=why, laps=laps)


def _race(
    model: Path,
    device: str,
    threads: int | None,
    images: tuple[NDArray[np.uint8], ...],
    say: Say,
) -> tuple[tuple[Lap, ...], Mapping[str, Engine]]:
    openers = {name: _opener(model, name, device, threads, say) for name in _candidates(model) or [FILE]}
    if not images:
        first = open_engine(model, device=device, threads=threads)
        images = drawn_pictures(first.facts.size_hw)
        if model.suffix.lower() != ".xml":  # there the first computes in FP32, and by itself the file may not
            openers[next(iter(openers))] = lambda: first
    return race(openers, images)


def _opener(model: Path, name: str, device: str, threads: int | None, say: Say) -> Callable[[], Engine]:
    def opened() -> Engine:
        return open_engine(_file_for(model, name, say), engine=name, device=device, threads=threads)

    return opened


def _file_for(model: Path, name: str, say: Say = _silent) -> Path:
    """The model, or its exported file where the engine needs that."""
    return exported(model, say) if _needs_export(model, name) else model


def drawn_pictures(size_hw: tuple[int, int], count: int = 2) -> tuple[NDArray[np.uint8], ...]:
    """Scenes of cards on tables, (h, w, 3) uint8, the same at every call: edges, textures and light as in photographs."""
    import numpy as np

    from segwright.data.cards import draw_scene

    return tuple(np.ascontiguousarray(draw_scene(np.random.default_rng(n), size_hw).image) for n in range(count))


def _candidates(model: Path) -> list[str]:
    """Names of engines for a model, what its own kind of file runs in first; those whose library is absent are left out."""
    kind = "" if model.is_dir() else model.suffix.lower()
    kinds = {kind, ".onnx"} if kind in {"", ".safetensors"} else {kind}
    able = [name for name, (_, runs) in ENGINES.items() if kinds & set(runs) and name not in NOT_RACED]
    if kind == ".xml":
        able.reverse()  # computed as it was proven comes first
    return [name for name in able if _installed(name)]


def _installed(name: str) -> bool:
    from importlib.util import find_spec

    library = {"onnxruntime": "onnxruntime", "openvino": "openvino"}.get(name.split("-")[0])
    return library is None or find_spec(library) is not None


def _advice() -> str:
    absent = platform.machine().lower() in {"x86_64", "amd64"} and not _installed("openvino")
    return ". Often faster on such a processor: pip install 'segwright[openvino]'" if absent else ""


def _needs_export(model: Path, name: str) -> bool:
    kind = "" if model.is_dir() else model.suffix.lower()
    runs = ENGINES[name][1] if name in ENGINES else ()
    return kind in {"", ".safetensors"} and kind not in runs and ".onnx" in runs


def _seconds_of_one(engine: Engine) -> float:
    """Of the second picture: at the first one libraries make their plans."""
    (image,) = drawn_pictures(engine.facts.size_hw, 1)
    class_map_of(engine, image)
    started = time.perf_counter()
    class_map_of(engine, image)
    return time.perf_counter() - started


def _result(name: str, laps: tuple[Lap, ...]) -> str:
    mine = next(lap for lap in laps if lap.engine == name)
    ran = [lap for lap in laps if not lap.problem and lap is not mine]
    others = ", ".join(f"{lap.engine} {lap.milliseconds:.0f}{'' if lap.passed else ' but differs'}" for lap in ran)
    reference = next(lap.engine for lap in laps if not lap.problem)
    same = f"; the same class as {reference} on {100 * mine.agreement:.2f} % of pixels" if name != reference else ""
    return f"{name}, {mine.milliseconds:.0f} ms a picture{f' ({others})' if others else ''}{same}"


def _folder() -> Path:
    from segwright.data.cache import user_cache_folder

    return user_cache_folder() / "engines"


def _sha256(file: Path) -> str:
    import hashlib

    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{file} cannot be read ({error.strerror}); check the path and its permissions.") from error


def _key(model: Path, device: str, threads: int | None) -> str:
    """Names what a choice is good for: this model, these settings, these libraries, this machine."""
    import hashlib
    from importlib import metadata

    file = model
    if model.is_dir() or model.suffix.lower() == ".safetensors":
        from segwright.checkpoint import checkpoint_file  # brings PyTorch, which an exported file does without

        file = checkpoint_file(model)
    facts: list[Any] = [_sha256(file), file.suffix, device, threads, __version__, _processor(), os.cpu_count()]
    for library in ("torch", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt"):
        try:
            facts.append(metadata.version(library))
        except metadata.PackageNotFoundError:
            facts.append(None)
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _processor() -> list[str]:
    """What tells two machines with a shared home folder apart."""
    told = [platform.machine(), platform.node()]
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
        told += next(([line] for line in lines if line.startswith("model name")), [])
    return told


def _remember(key: str, name: str, laps: tuple[Lap, ...]) -> None:
    from segwright.outputs import write_text

    day = time.strftime("%Y-%m-%d", time.gmtime())
    content = {"engine": name, "day": day, "laps": [lap.to_dict() for lap in laps]}
    try:
        write_text(_folder() / f"{key}.json", json.dumps(content, indent=2) + "\n")
    except OutputError:
        return  # a machine without a writable home only measures again


def _remembered(key: str, names: list[str]) -> tuple[str, tuple[Lap, ...], str] | None:
    try:
        content = json.loads((_folder() / f"{key}.json").read_text(encoding="utf-8"))
        laps = tuple(Lap.from_dict(raw) for raw in content["laps"])
        name, day = str(content["engine"]), str(content["day"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (name, laps, day) if name in names and any(lap.engine == name for lap in laps) else None
