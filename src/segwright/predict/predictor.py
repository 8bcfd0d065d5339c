"""Prediction, and the Predictor that makes one: place the picture, run the engine, undo the placement, decode.

A model that was trained on patches is given tiles of the picture instead, and its answers are blended (`tiling.blended`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from segwright.classes import Classes
from segwright.engines.contract import ClassMapEngine, Engine
from segwright.engines.opening import open_engine
from segwright.errors import UserError
from segwright.tiling import blended

MOST_KEPT = 1 << 28
"""Probabilities of a tiled picture, 1 GiB; of larger pictures only class map and confidence are kept."""


class Details(NamedTuple):
    """How sure a prediction is."""

    confidence: NDArray[np.float32]
    """(H, W) probability of the class that was chosen, 0..1."""
    probabilities: NDArray[np.float32] | None
    """(channels, H, W), 0..1; one channel for two classes. None where there are none to give."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What was found in one picture, at the picture's own size."""

    class_map: NDArray[np.uint8]
    """(H, W) class numbers."""
    milliseconds: float
    """From the picture in memory to the class map, everything included."""
    classes: Classes
    key: str = ""
    details: Callable[[], Details] = field(repr=False, compare=False)
    """How sure it is; asked at most once."""

    @cached_property
    def _details(self) -> Details:
        return self.details()

    @property
    def confidence(self) -> NDArray[np.float32]:
        """(H, W) float32 probability of the class that was chosen, 0..1; computed when first asked for."""
        return self._details.confidence

    @property
    def probabilities(self) -> NDArray[np.float32] | None:
        """(channels, H, W) float32, 0..1; one channel for two classes; computed when first asked for.

        None where a predictor has none to give, as for tiled pictures with more than `MOST_KEPT` of them. Of several classes the
        network decodes its answer itself where it can, and asking means running it again: say so beforehand with
        `predict(..., probabilities=True)`.
        """
        return self._details.probabilities


class Predicts(Protocol):
    """Anything with `predict`: a `Predictor`, or whatever wraps one."""

    @property
    def classes(self) -> Classes:
        """What it tells apart."""

    def predict(self, image: NDArray[np.uint8], *, key: str = "", probabilities: bool = False) -> Prediction:
        """As `Predictor.predict`."""


Answer = tuple[NDArray[np.uint8], Callable[[], Details]]
"""Class map, and how to learn more."""


class Predictor:
    """Makes predictions with one engine.

    Args:
        engine: what runs the network.
        threshold: least probability of class 1 (two classes only), 0..1; None takes the model's own.
        tile: cut pictures into tiles of the model's size at their own scale, whatever it was trained on. A model that was trained
            on patches always does.

    Raises:
        UserError: the threshold is not a probability.
    """

    def __init__(self, engine: Engine, *, threshold: float | None = None, tile: bool = False) -> None:
        self.engine = engine
        self.tiled = tile or engine.facts.tiled
        self.threshold = engine.facts.threshold if threshold is None else threshold
        if not 0.0 <= self.threshold <= 1.0:
            raise UserError(f"The threshold is a probability between 0 and 1, not {threshold}.")

    @property
    def classes(self) -> Classes:
        """What the model tells apart."""
        return self.engine.facts.classes

    def predict(self, image: NDArray[np.uint8], *, key: str = "", probabilities: bool = False) -> Prediction:
        """Class of every pixel.

        Args:
            image: (H, W, 3) uint8 RGB, any size.
            key: carried into the answer.
            probabilities: probabilities or confidence will be asked for; without that they cost a second run of some networks.

        Returns:
            A prediction of the picture's own size.

        Raises:
            UserError: the array is not an RGB picture of uint8; the message says how to convert it.
        """
        from segwright.preprocess import is_turned, turned

        require_rgb(image)
        started = time.perf_counter()
        facts = self.engine.facts
        if self.tiled:
            class_map, details = self._by_tiles(image)
        elif facts.turn and is_turned(image.shape[0], image.shape[1], facts.size_hw):
            class_map, details = _turned_back(*self._upright(turned(image), probabilities))
        else:
            class_map, details = self._upright(image, probabilities)
        milliseconds = (time.perf_counter() - started) * 1000.0
        return Prediction(
            class_map=class_map, milliseconds=milliseconds, classes=self.classes, key=key, details=details
        )

    def _upright(self, image: NDArray[np.uint8], probabilities: bool) -> Answer:
        """For a picture that need not be turned."""
        if probabilities or not self._decodes_itself(image):
            return self._decoded(image)
        return self._class_map(image)

    def _decodes_itself(self, image: NDArray[np.uint8]) -> bool:
        """Whether the engine's own class maps are wanted: of two classes, one number per pixel costs nothing to hand over."""
        fits = self.engine.facts.any_size or image.shape[:2] == self.engine.facts.size_hw
        return fits and self.classes.channels > 1 and isinstance(self.engine, ClassMapEngine)

    def _class_map(self, image: NDArray[np.uint8]) -> Answer:
        """The engine's own class map."""
        engine = cast(ClassMapEngine, self.engine)
        # A copy, because the caller may read the next frame into the same array.
        kept = image.copy()
        return engine.class_maps(image[None])[0], lambda: self._decoded(kept)[1]()

    def _decoded(self, image: NDArray[np.uint8]) -> Answer:
        """Class map from probabilities, which are kept at the network's size until somebody asks for them."""
        facts, size_hw = self.engine.facts, (image.shape[0], image.shape[1])
        if facts.any_size or size_hw == facts.size_hw:
            values = self.engine.probabilities(image[None])[0]
            return self.classes.decode(values, self.threshold), lambda: self._details(values)
        from segwright.preprocess import place_image, unplace_map, unplaced_rows

        small = self.engine.probabilities(place_image(image, facts.size_hw, facts.fit)[None])[0]
        class_map = np.empty(size_hw, np.uint8)
        for rows, some in unplaced_rows(small, size_hw, facts.fit):
            class_map[rows] = self.classes.decode(some, self.threshold)
        return class_map, lambda: self._details(unplace_map(small, size_hw, facts.fit))

    def _details(self, probabilities: NDArray[np.float32]) -> Details:
        return Details(self.classes.confidence(probabilities, self.threshold), probabilities)

    def _by_tiles(self, image: NDArray[np.uint8]) -> Answer:
        """Class map, confidence and, where they are not too many, probabilities, all decoded block by block."""
        size_hw, channels = image.shape[:2], self.classes.channels
        class_map, confidence = np.empty(size_hw, np.uint8), np.empty(size_hw, np.float32)
        few = channels * class_map.size <= MOST_KEPT
        probabilities = np.empty((channels, *size_hw), np.float32) if few else None
        for rows, columns, values in blended(image, self.engine.facts.size_hw, self.engine.probabilities):
            class_map[rows, columns] = self.classes.decode(values, self.threshold)
            confidence[rows, columns] = self.classes.confidence(values, self.threshold)
            if probabilities is not None:
                probabilities[:, rows, columns] = values
        return class_map, lambda: Details(confidence, probabilities)


def _turned_back(class_map: NDArray[np.uint8], details: Callable[[], Details]) -> Answer:
    from segwright.preprocess import turned_back

    def back() -> Details:
        confidence, probabilities = details()
        return Details(turned_back(confidence[None])[0], None if probabilities is None else turned_back(probabilities))

    return turned_back(class_map[None])[0], back


def load(path: Path | str, *, threshold: float | None = None, tile: bool = False, **options: Any) -> Predictor:
    """The predictor of a trained or exported model; `segwright.load`.

    Args:
        path: a run folder, a .safetensors checkpoint, or an .onnx or .xml file.
        threshold: as in `Predictor`.
        tile: as in `Predictor`.
        options: `engine`, `device`, `threads` and `described`, as in `engines.open_engine`.

    Raises:
        ModelError: nothing usable there.
        MissingExtraError: the model's engine is not installed.
    """
    return Predictor(open_engine(Path(path), **options), threshold=threshold, tile=tile)


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
