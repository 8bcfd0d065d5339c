"""What one of many workers does: open the model once, then predict and write the pictures it is given.

Nothing here knows Ray: a worker is a class that is called with keys and paths.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from segwright.classes import Classes
from segwright.data.sample import Sample
from segwright.engines.contract import Engine
from segwright.engines.foreign import Described
from segwright.engines.opening import open_engine
from segwright.errors import DataError
from segwright.predict.bulk_notes import Notes
from segwright.predict.cleanup import Cleanup
from segwright.predict.feed import picture_frame
from segwright.predict.found import Found
from segwright.predict.frame import Choice
from segwright.predict.large import is_large, predict_large
from segwright.predict.predictor import Predictor
from segwright.predict.saving import sinks_for
from segwright.predict.sources import Source

COLUMNS = ("key", "line", "reason", "notes")
"""Of what a worker answers: a picture's line of predictions.jsonl, or why there is none; and the name of its block's notes."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every worker must know. It travels to other machines, so it holds the model itself."""

    files: Mapping[str, bytes]
    """The model's file, or its two, by name; the first is the one to open."""
    model: str
    """SHA-256 of the model that the user named."""
    out: Path
    """A folder that every machine sees."""
    saves: frozenset[str]
    """Of `saving.SAVES`, what is written for each picture."""
    classes: Classes
    """In the colours that are drawn."""
    engine: str = "file"
    """As in `open_engine`, and so are the next three."""
    device: str = "cpu"
    threads: int = 1
    described: Described | None = None
    threshold: float | None = None
    """As in `Predictor`, and so is the next."""
    tile: bool = False
    choice: Choice = field(default_factory=Choice)
    """The size to look at."""
    cleanup: Cleanup = field(default_factory=Cleanup)
    """Of class maps."""

    @cached_property
    def settings(self) -> dict[str, Any]:
        """All that answers depend on, for JSON: answers of different settings are never mixed."""
        about = self.described
        return {
            "model": self.model,
            "engine": self.engine,
            "device": self.device,
            "described": None if about is None else repr(about),
            "threshold": self.threshold,
            "tile": self.tile,
            "size": list(self.choice.size_wh) if self.choice.size_wh else None,
            "cleanup": [self.cleanup.smallest, self.cleanup.hole, self.cleanup.largest_only],
            "save": sorted(self.saves),
            "colours": self.classes.to_csv(),
        }


class Worker:
    """Predicts and writes what it is given.

    Args:
        job: what to do with each picture.

    Raises:
        UserError: the model cannot be opened on this machine.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._predictor = Predictor(_opened(job), threshold=job.threshold, tile=job.tile)
        nothing = Source(kind="pictures", name="pictures")
        _, self._sinks = sinks_for(job.saves - {"jsonl"}, job.out, job.classes, [nothing])

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, list[str]]:
        """Predict and write pictures.

        Args:
            batch: "key" and "path" of each.

        Returns:
            `COLUMNS` of each, empty where there is no line or no reason.

        Raises:
            OutputError: something cannot be written; the run ends.
        """
        samples = [Sample(str(key), Path(str(path))) for key, path in zip(batch["key"], batch["path"], strict=True)]
        answers: dict[str, list[str]] = {column: [] for column in COLUMNS}
        with Notes(self._job.out, samples[0].key) as notes:
            for sample in samples:
                line, reason = notes.finished.get(sample.key, ""), ""
                if not line:
                    try:
                        notes.begin(sample)
                        line = json.dumps(self._line(sample), ensure_ascii=False)
                        notes.finish(line)
                    except DataError as error:
                        reason = str(error)
                for column, value in zip(COLUMNS, (sample.key, line, reason, notes.name), strict=True):
                    answers[column].append(value)
        return answers

    def _line(self, sample: Sample) -> dict[str, Any]:
        """Write all that is wanted of a picture; its line of predictions.jsonl, which has no `largest` of those written by rows."""
        if self._predictor.tiled and is_large(sample.image):
            if self._job.choice.size_wh or not self._job.cleanup.idle:
                raise DataError(
                    f"{sample.image} is read by rows, because it is large, and --size, --min-area, --fill-holes and --largest-only "
                    "need whole pictures; predict it without them."
                )
            return predict_large(self._predictor, sample.image, self._job.out, key=sample.key)
        frame = picture_frame(sample, self._job.choice)
        prediction = self._predictor.predict(frame.image, key=frame.key)
        if not self._job.cleanup.idle:
            prediction = replace(prediction, class_map=self._job.cleanup(prediction.class_map))
        found = Found(frame, prediction, self._job.classes)
        for sink in self._sinks:
            sink.write(found)
        return found.line


def _opened(job: Job) -> Engine:
    # Windows does not remove a file that an engine still maps into memory.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for name, data in job.files.items():
            (Path(folder) / name).write_bytes(data)
        first = Path(folder) / next(iter(job.files))
        return open_engine(first, engine=job.engine, device=job.device, threads=job.threads, described=job.described)
