"""What every engine has in common: the facts a model carries, and the contract - uint8 pictures in, probabilities out.

An engine knows nothing about files of pictures, thresholds or sizes other than its own: `predict/predictor.py` places
pictures before it and undoes that behind it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from segwright.classes import Classes
from segwright.engines.interface import Interface
from segwright.errors import ModelError, SegwrightError, UserError
from segwright.recipe import Fit

if TYPE_CHECKING:
    from segwright.checkpoint import Checkpoint

METADATA_KEY = "segwright"
"""Key under which an exported file carries its `ModelFacts` as JSON."""

LARGEST_SIDE = 8192
"""Pixels; the same limit that recipes have."""


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What a model must say about itself to be used: read from a checkpoint, or from an exported file's metadata."""

    name: str
    """Network, and its encoder where it has one: Unet/resnet18."""
    classes: Classes
    size_hw: tuple[int, int]
    """Height and width at which the network itself runs, in pixels."""
    fit: Fit
    turn: bool = False
    """Whether pictures that lie across to `size_hw` (landscape for a portrait network) are turned a quarter turn counter-clockwise
    before they are given, and answers turned back. Whoever runs the engine does that, also for an any-size file."""
    threshold: float = 0.5
    """Least probability of class 1 that counts as class 1 (two classes only)."""
    any_size: bool = False
    """Whether pictures of any size may be given, and are answered at their own size."""
    tiled: bool = False
    """Whether it was trained on patches: pictures are cut into tiles of `size_hw` at their own scale, and not placed into it."""
    precision: str = "fp32"
    interface: Interface = field(default_factory=Interface)
    """How an exported file is spoken to; checkpoints are not files of that kind and keep the default."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """Where it came from: data, licences, versions, scores, date."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "classes": self.classes.to_dict(),
            "size_hw": list(self.size_hw),
            "fit": self.fit,
            "turn": self.turn,
            "threshold": self.threshold,
            "any_size": self.any_size,
            "tiled": self.tiled,
            "precision": self.precision,
            "interface": self.interface.to_dict(),
            "provenance": self.provenance,
        }

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> ModelFacts:
        """Inverse of `to_dict`.

        Raises:
            ModelError: a fact is absent or impossible.
        """
        try:
            height, width = (int(side) for side in raw["size_hw"])
            facts = cls(
                name=str(raw["name"]),
                classes=Classes.from_dict(raw["classes"]),
                size_hw=(height, width),
                fit=raw["fit"],
                turn=bool(raw.get("turn", False)),  # as `tiled` below
                threshold=float(raw["threshold"]),
                any_size=bool(raw["any_size"]),
                tiled=bool(raw.get("tiled", False)),  # files written before there were patches say nothing
                precision=str(raw["precision"]),
                # Files written before there was a choice say nothing.
                interface=Interface.from_dict(raw["interface"]) if "interface" in raw else Interface(),
                provenance=dict(raw["provenance"]),
            )
            possible = 0 < height <= LARGEST_SIDE and 0 < width <= LARGEST_SIDE and 0.0 <= facts.threshold <= 1.0
            if not possible or facts.fit not in {"pad", "stretch"}:
                raise ValueError("a size, threshold or fit is out of range")
        except (KeyError, TypeError, ValueError, AttributeError, SegwrightError) as error:
            raise ModelError(f"its facts are damaged ({error!r}); export the model again.") from error
        return facts

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> ModelFacts:
        """The facts of a checkpoint.

        Raises:
            ModelError: its recipe has no size yet.
        """
        height, width = checkpoint.recipe.data.size_hw
        if not height or not width:
            raise ModelError("The checkpoint's recipe says no picture size; train it again, or set width and height.")
        model = checkpoint.recipe.model
        return cls(
            name=f"{model.model}/{model.encoder}" if model.encoder else model.model,
            classes=checkpoint.classes,
            size_hw=(height, width),
            fit=checkpoint.recipe.data.fit,
            turn=checkpoint.recipe.data.turn,
            threshold=checkpoint.threshold,
            tiled=checkpoint.recipe.data.patch_size > 0,
            provenance={
                **checkpoint.provenance,
                "recipe": checkpoint.recipe.to_dict(),
                "scores": checkpoint.scores,
                "step": checkpoint.step,
            },
        )


class Engine(Protocol):
    """Runs a network."""

    @property
    def name(self) -> str:
        """Which library computes: "pytorch", "onnxruntime"."""

    @property
    def facts(self) -> ModelFacts:
        """What the model says about itself."""

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the network.

        Args:
            images: (B, h, w, 3) uint8 RGB at `facts.size_hw`; any height and width when `facts.any_size`.

        Returns:
            (B, classes.channels, h, w) float32, 0..1.
        """


@runtime_checkable
class ClassMapEngine(Protocol):
    """An engine that can also decode where it computes: for many classes that saves moving a number per pixel and class."""

    def class_maps(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What `classes.decode` makes of `probabilities`, at the model's own threshold.

        Args:
            images: as in `Engine.probabilities`.

        Returns:
            (B, h, w) uint8.
        """


def require_fitting(images: NDArray[np.uint8], facts: ModelFacts) -> None:
    """Refuse pictures that an engine cannot take.

    Raises:
        UserError: not (B, h, w, 3) uint8 of the model's size.
    """
    height, width = facts.size_hw
    fits = images.ndim == 4 and images.shape[3] == 3 and images.dtype == np.uint8
    if not fits or not (facts.any_size or images.shape[1:3] == facts.size_hw):
        raise UserError(
            f"{facts.name} takes uint8 pictures of shape (B, {height}, {width}, 3), but was given {images.dtype} {images.shape}; "
            "let Predictor.predict place pictures of other sizes."
        )


def thread_count(threads: int) -> int:
    """The number itself.

    Raises:
        UserError: less than 1.
    """
    if threads < 1:
        raise UserError(f"The number of threads must be 1 or more, not {threads}.")
    return threads


def first_line(error: BaseException) -> str:
    """First line of what a library said, at most 300 characters; its type where it said nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
