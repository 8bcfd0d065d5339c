"""What goes wrong with data while training goes on: pictures that were skipped, loading processes that died, full memory."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import lightning as L

from segwright.data.loaders import Batch
from segwright.errors import UserError
from segwright.outputs import csv_text, write_text
from segwright.recipe import Recipe
from segwright.training.machines import of_all_processes

SKIPPED_FILE = "skipped.csv"
"""In a run folder: pictures that could not be read, how often they were drawn, and why."""

_DIED = re.compile(r"DataLoader worker \(pid(?:\(s\))? [\d, ]+\) (?:exited unexpectedly|is killed by signal: ([\w ]+))")
_NO_SHARED_MEMORY = re.compile(
    r"Bus error|unable to (?:write to|open|resize|mmap).*torch_|shared memory|No space left on device.*shm"
)

_NO_MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory|CUBLAS_STATUS_ALLOC_FAILED")


class Skips(L.Callback):
    """Count the pictures that --skip-bad left out, also those that loading processes met.

    Args:
        folder: of the run; gets skipped.csv once there is something to say.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.times: Counter[str] = Counter()
        self.reasons: dict[str, str] = {}
        """What this process has met in this sitting."""
        self._before: tuple[dict[str, int], dict[str, str]] = ({}, {})
        self._all: tuple[Counter[str], dict[str, str]] = (Counter(), {})
        """What all processes have met in all sittings, when they were last asked."""
        self._written = 0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Note what the batch says."""
        self._note(batch)

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Note what the batch says."""
        self._note(batch)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the list; every process has met others, so that all are joined."""
        times, reasons = self._joined()
        if trainer.is_global_zero and times.total() > self._written:
            self._written = times.total()
            rows = ([key, times[key], reasons[key]] for key in sorted(times))
            write_text(self.folder / SKIPPED_FILE, csv_text(["key", "times", "reason"], rows))

    def state(self) -> tuple[dict[str, int], dict[str, str]]:
        """What a resumed run must know; every process must ask."""
        times, reasons = self._joined()
        return dict(times), reasons

    def restore(self, state: tuple[dict[str, int], dict[str, str]]) -> None:
        """Go on counting where `state` was taken."""
        self._before = state
        self._joined()

    def sentence(self) -> str:
        """One line for the end of the run; empty when every picture could be read."""
        times, _ = self._all
        if not times:
            return ""
        names = ", ".join(sorted(times)[:5]) + (" ..." if len(times) > 5 else "")
        return (
            f"Unreadable pictures left out: {len(times)} ({names}), met {times.total()} times; "
            f"the reasons are in {self.folder / SKIPPED_FILE}"
        )

    def _joined(self) -> tuple[Counter[str], dict[str, str]]:
        gathered = [self._before, *of_all_processes((self.times, self.reasons))]
        times = sum((Counter(one) for one, _ in gathered), Counter[str]())
        self._all = times, {key: reason for _, of in gathered for key, reason in of.items()}
        return self._all

    def _note(self, batch: Batch) -> None:
        for key, reason in batch.skipped:
            self.times[key] += 1
            self.reasons.setdefault(key, reason)


def in_one_sentence(error: RuntimeError, recipe: Recipe) -> Exception:
    """What PyTorch says when memory runs out or loading processes fail, as something the user can act on; any other error as it is.

    Args:
        error: raised while training.
        recipe: its batch size, workers and cache are named.
    """
    text = str(error)
    workers = recipe.data.workers
    if _NO_SHARED_MEMORY.search(text):
        return UserError(
            "The shared memory through which loading processes hand over pictures is full; use --workers 0, a smaller "
            "--batch-size, or more of it (docker run --shm-size 8g)."
        )
    if died := _DIED.search(text):
        how = f"was killed ({died[1].strip()})" if died[1] else "ended unexpectedly"
        return UserError(
            f"A loading process {how}, most often because memory ran out; train again with fewer --workers"
            f"{f' than {workers}' if workers > 0 else ''}, or with a smaller --cache-gb than {recipe.data.cache_gb:g} or --cache disk."
        )
    if _NO_MEMORY.search(text):
        size = "a smaller --patch-size" if recipe.data.patch_size else "smaller --width and --height"
        said = text.splitlines()[0][:150].rstrip(".")
        return UserError(
            f"Memory ran out while computing batches of {recipe.fit.batch_size} ({said}); train again with a smaller --batch-size, "
            f"for which --accumulate makes up, with {size}, or with a smaller --model."
        )
    return error
