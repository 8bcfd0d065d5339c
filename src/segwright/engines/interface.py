"""How a model file is spoken to: name, layout and type of its input, what its outputs are, and how many pictures it takes.

Files of ours take uint8 pictures and do the rest inside. Files from elsewhere may want normalised floats, channels first,
and answer with logits or with class numbers only; then the rest is done here, the same for every engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segwright.classes import Classes
from segwright.errors import ModelError

Layout = Literal["nhwc", "nchw"]
Kind = Literal["classes", "probabilities", "logits"]
Answers = Mapping[str, NDArray[Any]]

KINDS: tuple[Kind, ...] = ("classes", "probabilities", "logits")
OWN_INPUT = "input_1"
MOST_BATCH = 65535


@dataclass(frozen=True, kw_only=True)
class Interface:
    """Input and outputs of one file."""

    input_name: str = OWN_INPUT
    layout: Layout = "nhwc"
    """Channels last, as pictures lie in memory, or first."""
    batch: int = 0
    """Pictures in one call; 0 for any number."""
    floats: bool = False
    """Whether the input is float32, prepared by `mean` and `std`, and not the uint8 picture itself."""
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    """Taken from the channels after they were scaled to 0..1; of float inputs only."""
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    outputs: Mapping[Kind, str] = field(
        default_factory=lambda: {"classes": "classes", "probabilities": "probabilities"}
    )
    """What the file answers with, and the names of these outputs."""
    channels_last: bool = False
    """Whether its probabilities and logits are (B, h, w, channels), as some files from elsewhere are."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "input_name": self.input_name,
            "layout": self.layout,
            "batch": self.batch,
            "floats": self.floats,
            "mean": list(self.mean),
            "std": list(self.std),
            "outputs": dict(self.outputs),
            "channels_last": self.channels_last,
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Interface:
        """Inverse of `to_dict`.

        Raises:
            KeyError, TypeError, ValueError: something is absent or impossible.
        """
        made = cls(
            input_name=str(raw["input_name"]),
            layout=raw["layout"],
            batch=int(raw["batch"]),
            floats=bool(raw["floats"]),
            mean=tuple(float(number) for number in raw["mean"]),
            std=tuple(float(number) for number in raw["std"]),
            outputs={kind: str(name) for kind, name in dict(raw["outputs"]).items() if kind in KINDS},
            channels_last=bool(raw.get("channels_last", False)),
        )
        possible = made.layout in {"nhwc", "nchw"} and 0 <= made.batch <= MOST_BATCH and bool(made.outputs)
        if not possible or len(made.mean) != 3 or len(made.std) != 3 or not all(number > 0 for number in made.std):
            raise ValueError("its input and outputs are impossible")
        return made

    def fed(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        """Pictures as the file wants them.

        Args:
            images: (B, h, w, 3) uint8 RGB.

        Returns:
            (B, h, w, 3) or (B, 3, h, w), contiguous; uint8, or float32 where `floats`.
        """
        given: NDArray[Any] = images
        if self.floats:
            given = (images.astype(np.float32) / 255.0 - np.array(self.mean, np.float32)) / np.array(
                self.std, np.float32
            )
        return np.ascontiguousarray(given.transpose(0, 3, 1, 2) if self.layout == "nchw" else given)

    def shape(self, batch: int, size_hw: tuple[int, int]) -> list[int]:
        """Of the input, for so many pictures of a size."""
        return [batch, *size_hw, 3] if self.layout == "nhwc" else [batch, 3, *size_hw]

    def both(
        self, answers: Answers, classes: Classes, threshold: float, size_hw: tuple[int, int]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Class maps and probabilities from whatever the file answered.

        Returns:
            (B, h, w) uint8, the file's own where it gives them, and (B, channels, h, w) float32.
        """
        found = self.probabilities(answers, classes, size_hw)
        if "classes" in answers:
            return self.own_class_maps(answers), found
        return np.stack([classes.decode(one, threshold) for one in found]), found

    @property
    def telling(self) -> Kind:
        """The output that says most."""
        return next(kind for kind in ("probabilities", "logits", "classes") if kind in self.outputs)

    def own_class_maps(self, answers: Answers) -> NDArray[np.uint8]:
        """The class numbers of a file that gives some.

        Returns:
            (B, h, w) uint8.
        """
        numbers = np.asarray(answers["classes"])
        return np.array(numbers[:, 0] if numbers.ndim == 4 else numbers, np.uint8)

    def probabilities(self, answers: Answers, classes: Classes, size_hw: tuple[int, int]) -> NDArray[np.float32]:
        """What `Engine.probabilities` promises, from whatever the file answered.

        Args:
            answers: arrays by their kind.
            classes: what the model tells apart.
            size_hw: of the pictures; smaller maps are enlarged.

        Returns:
            (B, classes.channels, h, w) float32; of files that only give class numbers, 0 or 1.
        """
        if "probabilities" in answers:
            found = self._channels_first(answers["probabilities"])
        elif "logits" in answers:
            found = _of_logits(self._channels_first(answers["logits"]))
        else:
            numbers = np.asarray(answers["classes"])
            numbers = numbers[:, 0] if numbers.ndim == 4 else numbers
            shown = range(1, 2) if classes.channels == 1 else range(len(classes))
            found = np.stack([(numbers == number) for number in shown], axis=1).astype(np.float32)
        if classes.channels == 1 and found.shape[1] == 2:
            found = found[:, 1:]  # a file from elsewhere with one channel for each of two classes
        if found.shape[1] != classes.channels:
            raise ModelError(
                f"The model answers with {found.shape[1]} channels, and {len(classes)} classes are named; name all of its classes in "
                "their order with --classes."
            )
        return found if found.shape[2:] == size_hw else _enlarged(found, size_hw)

    def _channels_first(self, maps: NDArray[Any]) -> NDArray[np.float32]:
        found = np.asarray(maps, np.float32)
        return np.ascontiguousarray(found.transpose(0, 3, 1, 2)) if self.channels_last else found


def in_batches(run: Callable[[NDArray[Any]], Answers], images: NDArray[Any], batch: int) -> Answers:
    """Run a file that takes a fixed number of pictures on any number of them.

    Args:
        run: takes `batch` pictures.
        images: any number of pictures along the first axis.
        batch: 0 gives all of them at once; the last call is filled up with copies of the last picture.
    """
    if batch == 0 or len(images) == batch:
        return run(images)
    parts = []
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        filled = np.concatenate([part, np.repeat(part[-1:], batch - len(part), axis=0)])
        # Some engines answer in memory of their own, which the next call overwrites.
        parts.append({kind: np.array(array[: len(part)]) for kind, array in run(filled).items()})
    return {kind: np.concatenate([part[kind] for part in parts]) for kind in parts[0]}


def _of_logits(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    if logits.shape[1] == 1:
        # Each sign by the form that cannot overflow.
        small = np.exp(-np.abs(logits))
        return np.where(logits >= 0, 1.0 / (1.0 + small), small / (1.0 + small)).astype(np.float32)
    grown = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(grown / grown.sum(axis=1, keepdims=True), np.float32)


def _enlarged(maps: NDArray[np.float32], size_hw: tuple[int, int]) -> NDArray[np.float32]:
    from segwright.preprocess import unplace_map

    return np.stack([unplace_map(one, size_hw, "stretch") for one in maps])
