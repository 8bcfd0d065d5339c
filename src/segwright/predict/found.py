"""What was found in one frame, and everything that is drawn or traced of it, each made once, when first asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segwright.classes import Classes
from segwright.masks import Polygon, polygons
from segwright.metrics import class_pixels
from segwright.predict.frame import Frame
from segwright.predict.predictor import Prediction
from segwright.render import colour_mask, contours, overlay

Drawing = Literal["overlay", "contours", "colours"]
DRAWINGS: tuple[Drawing, ...] = ("overlay", "contours", "colours")


@dataclass(frozen=True)
class Found:
    """One frame and its prediction."""

    frame: Frame
    prediction: Prediction
    palette: Classes
    """The classes in the colours that are drawn."""

    @cached_property
    def overlay(self) -> NDArray[np.uint8]:
        """The picture, tinted: (H, W, 3) RGB."""
        return overlay(self.frame.image, self.prediction.class_map, self.palette)

    @cached_property
    def contours(self) -> NDArray[np.uint8]:
        """The picture with outlines only: (H, W, 3) RGB."""
        return contours(self.frame.image, self.prediction.class_map, self.palette)

    @cached_property
    def colours(self) -> NDArray[np.uint8]:
        """The class map in the colours of its classes: (H, W, 3) RGB."""
        return colour_mask(self.prediction.class_map, self.palette)

    def drawn(self, how: Drawing) -> NDArray[np.uint8]:
        """One of the three above."""
        picture: NDArray[np.uint8] = getattr(self, how)
        return picture

    @cached_property
    def pieces(self) -> dict[int, list[Polygon]]:
        """Class number -> outlines of its pieces, largest first; class 0 and classes without pixels are left out."""
        class_map = self.prediction.class_map
        present = np.flatnonzero(class_pixels(class_map)[: len(self.prediction.classes)])
        return {int(n): polygons(class_map == n) for n in present if n}

    @cached_property
    def line(self) -> dict[str, Any]:
        """Its line of predictions.jsonl."""
        return describe(self.prediction) | self._place()

    def _place(self) -> dict[str, Any]:
        frame = self.frame
        if not frame.moving:
            return {}
        place = {"source": frame.source, "index": frame.index, "seconds": round(frame.seconds or 0.0, 4)}
        time = {"time": frame.moment.isoformat(timespec="milliseconds")} if frame.live else {}
        return place | time


def describe(prediction: Prediction) -> dict[str, Any]:
    """One line of predictions.jsonl: key, size in pixels, milliseconds, pixels and share of each class, largest pieces.

    `largest` has, for each class but 0 that occurs, the area of its largest connected piece in pixels and that piece's outline,
    simplified to one pixel; holes are not in it.
    """
    height, width = prediction.class_map.shape
    names = prediction.classes.names
    counts = class_pixels(prediction.class_map)[: len(names)]
    largest = {}
    for number in (int(n) for n in np.flatnonzero(counts) if n):
        (piece,) = polygons(prediction.class_map == number, most=1, holes=False)
        largest[names[number]] = {"area": piece.area, "polygon": piece.points.astype(int).tolist()}
    return {
        "key": prediction.key,
        "width": width,
        "height": height,
        "milliseconds": round(prediction.milliseconds, 3),
        "pixels": {name: int(count) for name, count in zip(names, counts, strict=True)},
        "share": {name: round(int(count) / (height * width), 6) for name, count in zip(names, counts, strict=True)},
        "largest": largest,
    }


def largest_area(found: Found) -> int:
    """Area in pixels of the largest polygon of all classes but 0; 0 where there is none."""
    return max((piece["area"] for piece in found.line["largest"].values()), default=0)
