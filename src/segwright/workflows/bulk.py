"""A model and millions of pictures: predicted by many workers, on the Ray cluster that RAY_ADDRESS names, else on this machine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from segwright.errors import DataError, ModelError, UserError
from segwright.workflows.choosing import shown

if TYPE_CHECKING:
    from segwright.engines.foreign import Described
    from segwright.predict.bulk import Bulk
    from segwright.predict.cleanup import Cleanup
    from segwright.predict.frame import Choice
    from segwright.predict.sources import Source
    from segwright.workflows.predicting import Wishes

DEFAULT_SAVES = frozenset({"masks", "colours", "overlays"})


def predict_with_ray(
    model: Path,
    sources: Sequence[str | Path],
    out: Path,
    *,
    choice: Choice | None = None,
    cleanup: Cleanup | None = None,
    wishes: Wishes | None = None,
    threshold: float | None = None,
    engine: str = "auto",
    device: str = "auto",
    threads: int | None = None,
    tile: bool = False,
    workers: int | None = None,
    described: Described | None = None,
    console: Console | None = None,
) -> Bulk:
    """Write what `predicting.predict_sources` writes for pictures, and go on where an earlier run was stopped.

    Args:
        model: run folder, checkpoint or exported file; it is sent to the workers.
        sources: each a picture, a folder, a glob, or the URL of a folder such as s3://bucket/shots.
        out: folder that all machines see.
        choice: the size to look at; the rest is for what moves, and refused.
        cleanup: of the masks; None leaves them.
        wishes: what is written; predictions.jsonl always is.
        threshold: instead of the model's own, two classes only, 0..1.
        engine: chosen here, for all workers; "auto" keeps to what an earlier run in `out` chose.
        device: "cuda" gives each worker a GPU; "auto" does so where this machine has one.
        threads: of each worker; None takes 1.
        tile: cut pictures into tiles at their own scale.
        workers: at the same time; None takes as many as there are cores or GPUs.
        described: what is known about an .onnx file from elsewhere.
        console: told what was chosen, and shown progress; None is silent.

    Raises:
        UserError: nothing could be predicted, or something is wished for that only makes sense for one process.
    """
    from segwright.predict.bulk import predict_in_bulk, record_of
    from segwright.predict.bulk_worker import Job
    from segwright.predict.cleanup import Cleanup
    from segwright.predict.cluster import workers_of_ray
    from segwright.predict.frame import Choice
    from segwright.predict.palette import read_palette
    from segwright.predict.sources import find_sources
    from segwright.workflows.opening import open_model
    from segwright.workflows.predicting import Wishes

    wishes, choice, threads = wishes or Wishes(), choice or Choice(), threads or 1
    _refuse(wishes, choice, workers, threads)
    out = out.resolve()
    found = find_sources(sources, leave_out=out)
    _refuse_what_moves(found)
    samples = found[0].pictures
    answers = workers_of_ray(workers=workers, gpu=(device := _device(device)) == "cuda")
    named = _files(model)
    record = record_of(out) or {}
    if engine == "auto" and record.get("model") == _hash(named):
        engine = str(record.get("engine"))
    opened = open_model(
        model,
        engine=engine,
        device=device,
        threads=threads,
        pictures=len(samples),
        described=described,
        console=console,
    )
    classes = opened.engine.facts.classes
    job = Job(
        files=named if opened.file == model else _files(opened.file),
        model=_hash(named),
        engine=opened.name,
        device=device,
        threads=threads,
        described=described,
        threshold=threshold,
        tile=tile,
        out=out,
        saves=(wishes.saves or DEFAULT_SAVES) | {"jsonl"},
        choice=choice,
        cleanup=cleanup or Cleanup(),
        classes=read_palette(wishes.palette, classes) if wishes.palette else classes,
    )
    if not shown(console):
        return predict_in_bulk(job, samples, answers)
    from rich.progress import MofNCompleteColumn, Progress

    with Progress(
        *Progress.get_default_columns(), MofNCompleteColumn(), console=Console(stderr=True), transient=True
    ) as bar:
        task = bar.add_task("Predicting", total=len(samples))
        return predict_in_bulk(job, samples, answers, advance=lambda count: bar.advance(task, count))


def _refuse(wishes: Wishes, choice: Choice, workers: int | None, threads: int) -> None:
    """Refuse what belongs to one process, or to what moves."""
    saves = wishes.saves or frozenset()
    if "coco" in saves:
        raise UserError("--ray does not write coco, which is one file for all pictures; take labelme or yolo.")
    if wishes.save_video or wishes.keep_audio or "video" in saves or wishes.steady is not None or wishes.window:
        raise UserError("--ray is for pictures; leave --save-video, --keep-audio, --steady and --view-img out.")
    if choice.every != 1 or choice.most is not None or choice.start or choice.end is not None:
        raise UserError("--ray is for pictures; leave --every, --max-frames, --start and --end out.")
    for flag, count in (("--workers", workers), ("--threads", threads)):
        if count is not None and count < 1:
            raise UserError(f"{flag} is a whole number from 1 on, not {count}.")


def _refuse_what_moves(found: Sequence[Source]) -> None:
    moving = next((source for source in found if source.kind != "pictures"), None)
    if moving is not None:
        raise DataError(f"--ray is for pictures, and {moving.shown} is a {moving.kind}; predict that without --ray.")


def _device(asked: str) -> str:
    """What every worker computes on; decided here, since a worker sees no GPU that it was not given."""
    if asked != "auto":
        return asked
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _files(model: Path) -> dict[str, bytes]:
    """The one or two files of a model, the one to open first."""
    from segwright.checkpoint import checkpoint_file

    file = checkpoint_file(model) if model.is_dir() else model
    files = [file, file.with_suffix(".bin")] if file.suffix.lower() == ".xml" else [file]
    try:
        return {file.name: file.read_bytes() for file in files}
    except OSError as error:
        raise ModelError(f"{error.filename} cannot be read ({error.strerror}); check the path.") from error


def _hash(files: dict[str, bytes]) -> str:
    whole = hashlib.sha256()
    for data in files.values():
        whole.update(data)
    return whole.hexdigest()
