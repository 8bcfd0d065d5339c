"""ONNX file -> TensorRT engine: parsed, every refused node named, built with a timing cache, and written with its note.

The engine computes in the precisions that the ONNX file holds (a strongly typed network): FP16 comes from an FP16 file,
INT8 from one with QuantizeLinear nodes. TensorRT 11 knows no other way, and for 10 it is asked for.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segwright.engines.contract import ModelFacts
from segwright.engines.onnx import onnx_facts, read_model_file
from segwright.engines.tensorrt_library import gpu_here, is_rtx, listener, load_tensorrt, said
from segwright.engines.tensorrt_note import SUFFIXES, EngineNote, Shapes, note_path, write_note
from segwright.errors import ModelError, OutputError, UserError
from segwright.export.shapes import chosen_shapes, input_of
from segwright.export.trtexec import WORKSPACE
from segwright.outputs import file_being_written, require_writable, write_bytes

LARGEST_WORKSPACE = 1 << 20
"""MiB; no GPU has a terabyte."""

LARGEST_CACHE = 1 << 30
"""Bytes of a timing cache that are read."""


@dataclass(frozen=True, kw_only=True)
class BuildSettings:
    """How an engine is to be built."""

    shapes: str = ""
    """As `shapes.py` reads it; empty for one picture at a time at the model's size."""
    workspace: int = WORKSPACE
    """Most memory that a layer may use for itself while it runs, in MiB."""
    targets: tuple[str, ...] = ()
    """Compute capabilities, such as sm86 (TensorRT for RTX only); empty for what the library takes by itself."""
    timing_cache: Path | None = None
    """Kept and reused by TensorRT, so that the next build is faster; None puts timing.cache beside the engine."""
    library: str = "auto"
    """tensorrt, tensorrt_rtx, or the first of these that is installed."""


def build_engine(
    onnx_file: Path,
    out: Path,
    settings: BuildSettings | None = None,
    *,
    prove: Callable[[Path], object] | None = None,
    progress: bool = True,
) -> EngineNote:
    """Build an engine of an exported file and write it with its note.

    Args:
        onnx_file: written by `segwright export`.
        out: the file to write, ending in .engine or .plan; the note is `out`.json.
        settings: see there.
        prove: called with the new engine, its note beside it, before it gets its name; when it raises, nothing is left.
        progress: show a bar on stderr.

    Returns:
        The note.

    Raises:
        ModelError: not a file of ours, or one that TensorRT cannot build; refused nodes are named.
        UserError: shapes, targets or workspace that cannot be, or no GPU where the library needs one.
        MissingExtraError: no TensorRT is installed.
        OutputError: `out` cannot be written.
        KeyboardInterrupt: Ctrl-C, once the step that was running has ended; nothing is left behind.
    """
    settings = settings or BuildSettings()
    require_engine_name(out)
    trt, targets = require_buildable(settings)
    data = read_model_file(onnx_file)
    facts = onnx_facts(data, onnx_file)
    shapes = _shapes(data, facts, settings.shapes)
    require_writable(out.parent)
    cache = None if is_rtx(trt) else settings.timing_cache or out.with_name("timing.cache")
    if cache is not None:
        require_writable(cache.parent)
    engine = _built(trt, data, shapes, settings.workspace, targets, cache, onnx_file, progress)
    note = EngineNote(
        facts=facts,
        sha256=hashlib.sha256(engine).hexdigest(),
        onnx_sha256=hashlib.sha256(data).hexdigest(),
        library=trt.__name__,
        version=trt.__version__,
        shapes=shapes,
        targets=tuple(name.lower() for name, _ in targets),
        gpu=_gpu_name(),
    )
    with file_being_written(out) as partial:
        partial.write_bytes(engine)
        if prove is not None:
            beside = write_note(partial, note)
            try:
                prove(partial)
            finally:
                beside.unlink(missing_ok=True)
        note_path(out).unlink(missing_ok=True)  # an old note beside a new engine would be a contradiction
    write_note(out, note)
    return note


def require_engine_name(out: Path) -> None:
    """Refuse other endings than those of engine files.

    Raises:
        OutputError: it ends otherwise.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise OutputError(f"{out} should end in {' or '.join(SUFFIXES)}, which is how engines are told; rename it.")


def require_buildable(settings: BuildSettings) -> tuple[Any, list[tuple[str, Any]]]:
    """What can be refused before any work: the library, and the names and values of the targets.

    Raises:
        UserError: an impossible setting, or no GPU where the library needs one.
        MissingExtraError: no TensorRT is installed.
    """
    if not 1 <= settings.workspace <= LARGEST_WORKSPACE:
        raise UserError(
            f"The workspace is a number of MiB from 1 to {LARGEST_WORKSPACE}, not {settings.workspace}; 2048 is usual."
        )
    trt = load_tensorrt(settings.library)
    if is_rtx(trt) and settings.timing_cache is not None:
        raise UserError("TensorRT for RTX tries no kernels and keeps no timings; leave --timing-cache out.")
    return trt, _targets(trt, settings.targets)


def read_shapes(onnx_file: Path, text: str) -> tuple[ModelFacts, Shapes]:
    """The facts of an ONNX file and the shapes that `text`, as in `BuildSettings.shapes`, asks of it.

    Raises:
        ModelError: not a file of ours.
        UserError: as `chosen_shapes`.
    """
    data = read_model_file(onnx_file)
    facts = onnx_facts(data, onnx_file)
    return facts, _shapes(data, facts, text)


def _shapes(data: bytes, facts: ModelFacts, text: str) -> Shapes:
    import onnx

    name, free = input_of(onnx.load_model_from_string(data))
    return chosen_shapes(text, name, free, facts)


def _targets(trt: Any, wanted: Sequence[str]) -> list[tuple[str, Any]]:
    """Names and values of compute capabilities.

    Raises:
        UserError: an unknown one, or the library builds for the GPU of this machine only and there is none.
    """
    if not is_rtx(trt):
        if wanted:
            raise UserError(
                "TensorRT builds for the GPU that it finds, and --targets is for TensorRT for RTX; leave --targets out, or install "
                "segwright[tensorrt-rtx]."
            )
        if not gpu_here():
            raise UserError(
                "TensorRT builds on the GPU that the engine is for, and PyTorch finds none with a driver here; build it there, with "
                "segwright or with trtexec (--trtexec writes the .onnx file and the command)."
            )
        return []
    known = {name: value for name, value in trt.ComputeCapability.__members__.items() if name.startswith("SM")}
    found = []
    for target in wanted:
        # 8.6, 86, sm86 and sm_86 are all in use.
        name = "SM" + re.sub(r"^sm_?|\.", "", target.strip().lower())
        if name not in known:
            raise UserError(
                f"{trt.__name__} {trt.__version__} does not build for {target!r}; choose from {', '.join(sorted(known)).lower()}."
            )
        found.append((name, known[name]))
    return list(dict(found).items())


def _built(
    trt: Any,
    data: bytes,
    shapes: Shapes,
    workspace: int,
    targets: list[tuple[str, Any]],
    cache: Path | None,
    onnx_file: Path,
    progress: bool,
) -> bytes:
    """The engine's bytes."""
    ears = listener(trt)
    builder = trt.Builder(ears)
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if flag is None else 1 << int(flag))
    parser = trt.OnnxParser(network, ears)
    if not parser.parse(data):
        raise ModelError(
            f"{onnx_file} cannot be built by TensorRT: {_refused(parser)}; try another --model, or run the .onnx file."
        )
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace << 20)
    if targets:
        config.num_compute_capabilities = len(targets)
        for number, (_, capability) in enumerate(targets):
            config.set_compute_capability(capability, number)
    profile = builder.create_optimization_profile()
    profile.set_shape(shapes.name, shapes.least, shapes.best, shapes.most)
    config.add_optimization_profile(profile)
    timings = _read_timings(config, cache)
    with _watching(trt, config, progress) as stopped:
        engine = builder.build_serialized_network(network, config)
    if stopped.is_set():
        raise KeyboardInterrupt
    if engine is None:
        raise ModelError(
            f"{onnx_file} cannot be built by TensorRT ({said(ears.errors)}); try another --workspace, --shapes or --model."
        )
    if cache is not None and timings is not None:
        write_bytes(cache, bytes(memoryview(timings.serialize())))
    return bytes(memoryview(engine))


def _refused(parser: Any) -> str:
    """The nodes that the parser refused, with its reason for the first of them."""
    errors = [parser.get_error(number) for number in range(parser.num_errors)]
    named = [f"{error.node_operator()} {error.node_name()!r}" for error in errors if error.node_operator()]
    reason = next((error.desc() for error in errors if error.desc() not in {"", "false"}), "")
    if not named:
        return reason[:300] or "it gave no reason"
    more = f" and {len(named) - 5} more" if len(named) > 5 else ""
    return f"it does not take {', '.join(named[:5])}{more}" + (f" ({reason[:200]})" if reason else "")


def _read_timings(config: Any, cache: Path | None) -> Any:
    """The timing cache in use; an unreadable or foreign one is replaced by an empty one."""
    if cache is None:
        return None
    content = b""
    with contextlib.suppress(OSError):
        if cache.stat().st_size <= LARGEST_CACHE:
            content = cache.read_bytes()
    for start in (content, b""):
        timings = config.create_timing_cache(start)
        # False: it was made by another version or on another GPU, and its times would be wrong here.
        if timings is not None and config.set_timing_cache(timings, False):
            return timings
    return None


@contextlib.contextmanager
def _watching(trt: Any, config: Any, progress: bool) -> Iterator[threading.Event]:
    """Show how the build goes, and end it at Ctrl-C; the event says whether it was ended.

    A KeyboardInterrupt must not be raised while Python is called from inside TensorRT, so the signal only sets the event,
    and TensorRT is told at its next step.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    stopped = threading.Event()
    bar = Progress(
        TextColumn("Building the engine"),
        BarColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=not progress,
        transient=True,
    )

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.phases: dict[str, Any] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            # The innermost phases come by the thousand and take microseconds.
            if parent_phase is None or parent_phase in self.phases:
                self.phases[phase_name] = bar.add_task(phase_name, total=num_steps) if len(self.phases) < 3 else None

        def step_complete(self, phase_name: str, step: int) -> bool:
            if self.phases.get(phase_name) is not None:
                bar.update(self.phases[phase_name], completed=step + 1)
            return not stopped.is_set()

        def phase_finish(self, phase_name: str) -> None:
            task = self.phases.pop(phase_name, None)
            if task is not None:
                bar.remove_task(task)

    monitor = Monitor()
    config.progress_monitor = monitor
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, lambda *_: stopped.set()) if main else None
    try:
        with bar:
            yield stopped
    finally:
        if main:
            signal.signal(signal.SIGINT, before)
        config.progress_monitor = None


def _gpu_name() -> str:
    import torch

    return torch.cuda.get_device_name() if gpu_here() else ""
