"""What `--resume` needs: everything that a run holds in memory between two steps, in one file that is never half-written.

Tensors and plain values only, read with `weights_only`: a run folder from a stranger cannot run code.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from segwright.errors import ModelError
from segwright.outputs import file_being_written

NAME = "resume.pt"
"""In a run folder; gone when the run is finished."""
FORMAT = 1
PARTS = (
    "weights",
    "optimizer",
    "scaler",
    "random",
    "random_cuda",
    "plan",
    "pace",
    "train_loss",
    "scores",
    "keeper",
    "world",
    "recipe",
)
"""What a state must hold; the segmenter, the plan and the keeper know what is in each."""


def save(folder: Path, state: Mapping[str, Any]) -> Path:
    """Write the state of a run; what was there before is replaced at once or not at all.

    Raises:
        OutputError: no permission, or the disk is full; the last good state is still there.
    """
    path = folder / NAME
    with file_being_written(path) as partial:
        try:
            torch.save({"format": FORMAT, **state}, partial)
        except RuntimeError as error:  # a full disk arrives under this name, not as OSError
            raise OSError(str(error).splitlines()[0]) from error
    return path


def load(folder: Path) -> dict[str, Any]:
    """Read the state of a run.

    Raises:
        ModelError: nothing there (the run is finished, or no state was saved yet), damaged, or of a newer segwright.
    """
    path = folder / NAME
    if not path.is_file():
        if not folder.is_dir():
            raise ModelError(f"{folder} does not exist; name the folder of a run that was stopped.")
        if (folder / "last.safetensors").is_file():
            raise ModelError(
                f"{folder} is finished, so there is nothing to resume; to train on from its weights: --load-model {folder}"
            )
        raise ModelError(f"{folder} holds no {NAME}: nothing was saved before it stopped; train again from the start.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if int(state["format"]) > FORMAT:
            raise ValueError("it was written by a newer segwright")
        if missing := [part for part in PARTS if part not in state]:
            raise ValueError(f"it lacks {', '.join(missing)}")
    except Exception as error:  # torch raises a dozen unrelated types for damaged files
        said = next(iter(str(error).splitlines()), type(error).__name__)[:200]
        raise ModelError(
            f"{path} cannot be resumed from ({said}); train on from the weights instead: --load-model {folder}"
        ) from error
    return state
