"""Prediction, and the Predictor that makes one: place the picture, run the engine, undo the placement, decode."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segwright.classes import Classes
from segwright.engines import Engine, open_engine
from segwright.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What was found in one picture, at the picture's own size."""

    class_map: NDArray[np.uint8]
    """(H, W) class numbers."""
    confidence: NDArray[np.float32]
    """(H, W) probability of the class that was chosen, 0..1."""
    milliseconds: float
    """From the picture in memory to the class map, everything included."""
    classes: Classes
    key: str = ""
    probabilities: NDArray[np.float32] | None = None
    """(channels, H, W), 0..1; one channel for two classes. None where a predictor has none to give."""


class Predictor:
    """Makes predictions with one engine.

    Args:
        engine: what runs the network.
        threshold: least probability of class 1 (two classes only), 0..1; None takes the model's own.

    Raises:
        UserError: the threshold is not a probability.
    """

    def __init__(self, engine: Engine, *, threshold: float | None = None) -> None:
        self.engine = engine
        self.threshold = engine.facts.threshold if threshold is None else threshold
        if not 0.0 <= self.threshold <= 1.0:
            raise UserError(f"The threshold is a probability between 0 and 1, not {threshold}.")

    @property
    def classes(self) -> Classes:
        """What the model tells apart."""
        return self.engine.facts.classes

    def predict(self, image: NDArray[np.uint8], *, key: str = "") -> Prediction:
        """Class of every pixel.

        Args:
            image: (H, W, 3) uint8 RGB, any size.
            key: carried into the answer.

        Returns:
            A prediction of the picture's own size.

        Raises:
            UserError: the array is not an RGB picture of uint8; the message says how to convert it.
        """
        require_rgb(image)
        started = time.perf_counter()
        probabilities = self._probabilities(image)
        class_map = self.classes.decode(probabilities, self.threshold)
        milliseconds = (time.perf_counter() - started) * 1000.0
        return Prediction(
            class_map=class_map,
            confidence=self.classes.confidence(probabilities, self.threshold),
            milliseconds=milliseconds,
            classes=self.classes,
            key=key,
            probabilities=probabilities,
        )

    def _probabilities(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        facts = self.engine.facts
        if facts.any_size:
            return self.engine.probabilities(image[None])[0]
        from segwright.preprocess import place_image, unplace_map

        placed = place_image(image, facts.size_hw, facts.fit)
        height, width = image.shape[:2]
        return unplace_map(self.engine.probabilities(placed[None])[0], (height, width), facts.fit)


def load(path: Path | str, *, threshold: float | None = None, **options: Any) -> Predictor:
    """The predictor of a trained or exported model; `segwright.load`.

    Args:
        path: a run folder, a .safetensors checkpoint or an .onnx file.
        threshold: as in `Predictor`.
        options: `device` and `threads`, as in `engines.open_engine`.

    Raises:
        ModelError: nothing usable there.
        MissingExtraError: the model's engine is not installed.
    """
    return Predictor(open_engine(Path(path), **options), threshold=threshold)


def require_rgb(image: Any) -> None:
    """Refuse what is not an (H, W, 3) uint8 array.

    Raises:
        UserError: with the conversion that helps. (BGR cannot be told from RGB: convert OpenCV's pictures yourself.)
    """
    wanted = "A picture is a NumPy array of shape (height, width, 3), uint8, RGB"
    if not isinstance(image, np.ndarray):
        raise UserError(
            f"{wanted}, not a {type(image).__name__}; read a file with segwright.read_image(path), "
            "or use np.asarray(picture.convert('RGB')) for Pillow."
        )
    if image.ndim == 2:
        raise UserError(f"{wanted}, but this one is grey, {image.shape}; use np.repeat(image[..., None], 3, axis=2).")
    if image.ndim == 3 and image.shape[2] != 3 and image.shape[0] == 3:
        raise UserError(f"{wanted}, but this one is {image.shape}, channels first; use image.transpose(1, 2, 0).")
    if image.ndim == 3 and image.shape[2] == 4:
        raise UserError(f"{wanted}, but this one has an alpha channel, {image.shape}; use image[..., :3].")
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise UserError(
            f"{wanted}, but this one has the shape {image.shape}; give one picture at a time, and a BGR picture of "
            "OpenCV as cv2.cvtColor(image, cv2.COLOR_BGR2RGB)."
        )
    if image.dtype != np.uint8:
        raise UserError(
            f"{wanted}, but this one is {image.dtype}; from floats of 0..1 use (image * 255).round().astype(np.uint8), "
            "from 16 bits (image // 257).astype(np.uint8)."
        )
