"""The same answers for millions of pictures: resumable, each output written once, failures listed.

Workers write the pictures they are given; this process only keeps the list, OUT/predictions.jsonl. What is on the list is not done
again, so that a stopped run goes on with what is left. Who the workers are is not known here: `cluster.py` knows those of Ray.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from segwright.data.sample import Sample
from segwright.data.shards import spelled
from segwright.errors import DataError, OutputError
from segwright.outputs import require_writable, write_text
from segwright.predict.bulk_list import LINES, DoneList
from segwright.predict.bulk_notes import forget_block, take_over
from segwright.predict.bulk_worker import Job
from segwright.predict.feed import Failure
from segwright.predict.loop import REMEMBERED, Summary

FAILURES, RECORD = "failures.jsonl", "bulk.json"
"""Pictures that could not be read, with the reason; and what the answers of a folder were made with."""

Answers = Callable[[Job, Sequence[Sample]], Generator[dict[str, str], None, None]]
"""What workers answer, block by block, in whatever order they finish, see `bulk_worker.COLUMNS`; closed, it ends them."""


@dataclass(frozen=True, kw_only=True)
class Bulk:
    """What a run did."""

    summary: Summary
    """Of all pictures on the list, those of earlier runs too; times are of this run."""
    new: int
    """Pictures of this run."""


def predict_in_bulk(
    job: Job, samples: Sequence[Sample], answers: Answers, *, advance: Callable[[int], None] | None = None
) -> Bulk:
    """Predict what an earlier run with the same settings has not finished.

    Args:
        job: model, settings and output folder.
        samples: all pictures; those that are finished are left out here.
        answers: asks the workers.
        advance: told how many more pictures are done.

    Returns:
        What was done; `summary.stopped` says whether Ctrl-C ended it. OUT/predictions.jsonl grows as answers come and is put in the
        order of the pictures in the end; OUT/failures.jsonl is there where something failed.

    Raises:
        DataError: no picture could be read.
        OutputError: the folder cannot be written, or holds answers of other settings.
    """
    out, advance = job.out, advance or (lambda pictures: None)
    require_writable(out)
    _begin(job)
    with DoneList(out, job.saves) as done:
        take_over(out, done)  # from a run that was killed
        left = [sample for sample in samples if sample.key not in done]
        advance(len(samples) - len(left))
        before = len(done)
        run = _Run(done=done)
        try:
            if left:
                with closing(answers(job, left)) as coming:
                    run.listen(coming, out, advance)
        except KeyboardInterrupt:
            run.stopped = True
        finally:
            take_over(out, done)
            _write_failures(out, left, run.reasons)
        done.put_in_order([sample.key for sample in samples])
        counts, new = done.pixels, len(done) - before
        if not len(done) and not run.stopped:
            first = next(iter(run.reasons.values()), "no worker answered")
            raise DataError(f"None of the {len(samples)} pictures could be read; the first: {first}")
        total = max(sum(counts.values()), 1)
        summary = Summary(
            out=out,
            pictures=len(done),
            saved=job.saves,
            failures=tuple(Failure(path=s.image, reason=run.reasons[s.key]) for s in left if s.key in run.reasons),
            milliseconds=float(np.median(run.times)) if run.times else math.nan,
            shares={name: counts.get(name, 0) / total for name in job.classes.names},
            stopped=run.stopped,
        )
    return Bulk(summary=summary, new=new)


@dataclass(kw_only=True)
class _Run:
    """What has been heard of workers."""

    done: DoneList
    reasons: dict[str, str] = field(default_factory=dict)
    """Key -> why a picture could not be predicted."""
    times: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    """Milliseconds."""
    stopped: bool = False

    def listen(self, coming: Iterable[dict[str, str]], out: Path, advance: Callable[[int], None]) -> None:
        """Note all that workers answer."""
        notes = ""
        for answer in coming:
            if answer["line"]:
                self.times.append(self.done.add(answer["key"], answer["line"]))
            else:
                self.reasons[answer["key"]] = answer["reason"]
            # Another block's answers come when those of the one before are all here.
            if notes and answer["notes"] != notes:
                forget_block(out, notes)
            notes = answer["notes"]
            advance(1)


def record_of(out: Path) -> dict[str, Any] | None:
    """What the answers in a folder were made with, or None where no such run was begun there.

    Raises:
        OutputError: it cannot be read.
    """
    path = out / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} cannot be read ({error}); choose another place with --out.") from error
    if not isinstance(record, dict):
        raise OutputError(f"{path} does not say what the answers beside it were made with; choose another --out.")
    return record


def forget(out: Path) -> None:
    """Remove what `record_of` reads: answers of another run are about to be written there, and nobody shall go on with them.

    Raises:
        OutputError: it cannot be removed.
    """
    try:
        (out / RECORD).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{out / RECORD} cannot be removed ({error.strerror}); choose another place.") from error


def _begin(job: Job) -> None:
    """Refuse a folder with answers of other settings; else note ours there."""
    record = record_of(job.out)
    if record is None:
        if (job.out / LINES).exists():
            raise OutputError(
                f"{job.out} holds predictions of a run without --ray, which cannot be gone on with; choose another place with --out."
            )
        write_text(job.out / RECORD, json.dumps(job.settings, ensure_ascii=False, indent=1) + "\n")
    elif different := [name for name, value in job.settings.items() if record.get(name) != value]:
        raise OutputError(
            f"{job.out} holds predictions made with another {', '.join(different)}; give the same again to go on with them, "
            "or choose another place with --out."
        )
    write_text(job.out / "classes.csv", job.classes.to_csv())


def _write_failures(out: Path, samples: Sequence[Sample], reasons: dict[str, str]) -> None:
    if not reasons:
        try:
            (out / FAILURES).unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{out / FAILURES} cannot be removed ({error.strerror}).") from error
        return
    told = [{"key": s.key, "path": spelled(s.image), "reason": reasons[s.key]} for s in samples if s.key in reasons]
    write_text(out / FAILURES, "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in told))
