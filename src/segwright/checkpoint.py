"""Checkpoint: weights, recipe, classes, scores - everything a run needs to be used again, in two files.

`best.safetensors` holds the tensors and, in its metadata, the same JSON that lies beside it as `best.json` for people to
read. Nothing is pickled. A model that lost its twin still loads.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from segwright import __version__
from segwright.classes import Classes
from segwright.errors import ModelError, SegwrightError
from segwright.models.catalogue import Network, build
from segwright.models.widths import Widths, widths_from
from segwright.outputs import file_being_written, write_text
from segwright.recipe import Recipe

FORMAT = 1
LONGEST_HEADER = 16 * 1024 * 1024
"""Bytes; a safetensors header beyond this is hostile or damaged."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A trained model and what it must know about itself."""

    recipe: Recipe
    classes: Classes
    weights: dict[str, torch.Tensor]
    """State dict of the `Network`, on the CPU, float32 and integer buffers."""
    scores: dict[str, float] = field(default_factory=dict)
    """Validation scores when these weights were kept, 0..1."""
    step: int = 0
    """Optimiser steps taken."""
    epoch: int = 0
    """Passes over the training pictures finished."""
    threshold: float = 0.5
    """Least probability of class 1 that counts as class 1 (two classes only)."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """Where it came from: data folder's name, picture counts, licences, versions, date."""
    widths: Widths = field(default_factory=dict)
    """Of the layers that were pruned; none in a network as its recipe builds it."""

    def facts(self) -> dict[str, Any]:
        """Everything but the tensors, as plain JSON values."""
        return {
            "format": FORMAT,
            "segwright": __version__,
            "recipe": self.recipe.to_dict(),
            "classes": self.classes.to_dict(),
            # JSON has no NaN, which is what a class that does not occur scores.
            "scores": {k: v if math.isfinite(v) else None for k, v in self.scores.items()},
            "step": self.step,
            "epoch": self.epoch,
            "threshold": self.threshold,
            "provenance": self.provenance,
            "widths": self.widths,
        }

    def network(self) -> Network:
        """The network with these weights, in evaluation mode.

        Raises:
            ModelError: the weights do not fit the recipe's network; the first misfit is named.
        """
        network = build(self.recipe.model, self.classes.channels, load_weights=False, widths=self.widths)
        own = network.state_dict()
        for name in (*own, *self.weights):
            if name not in own or name not in self.weights or own[name].shape != self.weights[name].shape:
                raise ModelError(
                    f"The weights do not fit {self.recipe.model.model}: {name} is {_shape(self.weights.get(name))} in the file and "
                    f"{_shape(own.get(name))} in the network; the file was changed, or made for another model."
                )
        network.load_state_dict(self.weights)
        return network.eval()

    def save(self, path: Path) -> Path:
        """Write `path` (.safetensors) and its readable twin beside it.

        Raises:
            OutputError: the place cannot be written; what was there before is still there.
        """
        facts = json.dumps(self.facts())
        tensors = {k: v.detach().cpu().contiguous() for k, v in self.weights.items()}
        with file_being_written(path) as partial:
            save_tensors(tensors, partial, {"segwright": facts})
        write_text(path.with_suffix(".json"), json.dumps(self.facts(), indent=2) + "\n")
        return path


def save_tensors(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file where half a file does no harm: inside `file_being_written` or `folder_being_written`.

    Raises:
        OSError: the place cannot be written, or the disk is full, which safetensors says by an error of its own.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(tensors, path, metadata=metadata)
    except SafetensorError as error:
        raise OSError(str(error)) from error


def load(path: Path) -> Checkpoint:
    """Read a checkpoint: a .safetensors file, or a run folder (its best one).

    Raises:
        ModelError: nothing there, damaged, or not made by segwright.
    """
    file = checkpoint_file(path)
    facts = _facts(file)
    try:
        from safetensors.torch import load_file

        weights = load_file(file)
    except Exception as error:  # safetensors raises its own untyped error for a truncated file
        raise ModelError(f"{file} is damaged or truncated ({error}); copy it again or train again.") from error
    try:
        if int(facts["format"]) > FORMAT:
            raise ModelError(
                f"{file} was written by a newer segwright ({facts.get('segwright')}); upgrade: pip install -U segwright"
            )
        return Checkpoint(
            recipe=Recipe.from_dict(facts["recipe"]),
            classes=Classes.from_dict(facts["classes"]),
            weights=weights,
            scores={str(k): math.nan if v is None else float(v) for k, v in facts["scores"].items()},
            step=int(facts["step"]),
            epoch=int(facts["epoch"]),
            threshold=float(facts["threshold"]),
            provenance=dict(facts["provenance"]),
            widths=widths_from(facts.get("widths", {})),  # files written before there was pruning say nothing
        )
    except SegwrightError as error:
        raise ModelError(f"{file}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ModelError(
            f"{file} lacks a fact or holds a wrong one ({error!r}); the file was changed, train again."
        ) from error


def checkpoint_file(path: Path) -> Path:
    """The .safetensors file a path means.

    Raises:
        ModelError: there is none.
    """
    if path.is_dir():
        for name in ("best.safetensors", "last.safetensors"):
            if (path / name).is_file():
                return path / name
        raise ModelError(
            f"{path} holds no best.safetensors or last.safetensors; name the folder of a finished training run."
        )
    if not path.exists():
        raise ModelError(f"{path} does not exist; name a run folder, a .safetensors checkpoint or an .onnx file.")
    if path.suffix != ".safetensors":
        raise ModelError(f"{path} is not a checkpoint; name a run folder, a .safetensors checkpoint or an .onnx file.")
    return path


def _facts(file: Path) -> dict[str, Any]:
    """The JSON in the safetensors metadata, read without touching a tensor."""
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > LONGEST_HEADER:
                raise ValueError("its header is impossibly long")
            facts = json.loads(json.loads(stream.read(length))["__metadata__"]["segwright"])
        if not isinstance(facts, dict):
            raise ValueError("its facts are not a table")
        return facts
    except OSError as error:
        raise ModelError(f"{file} cannot be read ({error.strerror}); check its permissions.") from error
    except (struct.error, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(
            f"{file} is not a segwright checkpoint or is damaged ({error}); train a model with: segwright train"
        ) from error


def _shape(tensor: torch.Tensor | None) -> str:
    return "absent" if tensor is None else "x".join(str(n) for n in tensor.shape) or "a number"
