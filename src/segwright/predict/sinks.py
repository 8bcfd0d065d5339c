"""Where predictions go: class maps, colour masks and overlays as PNG, and one line of JSON for each picture.

OUT/masks/KEY.png      grey, class numbers      OUT/classes.csv         what the numbers mean
OUT/colours/KEY.png    RGB, class colours       OUT/predictions.jsonl   key, size, milliseconds, area of each class
OUT/overlays/KEY.png   the picture, tinted

Every file is whole or absent, also after Ctrl-C.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from segwright.classes import Classes
from segwright.data.sample import Sample, read_image
from segwright.errors import DataError
from segwright.outputs import require_writable, write_text
from segwright.predict.predictor import Prediction
from segwright.predict.sources import find_pictures
from segwright.render import colour_mask, overlay, write_png


class Predicts(Protocol):
    """Anything with `predict`: a `Predictor`, or whatever wraps one."""

    @property
    def classes(self) -> Classes:
        """What it tells apart."""

    def predict(self, image: NDArray[np.uint8], *, key: str = "") -> Prediction:
        """As `Predictor.predict`."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A picture that could not be predicted, and why in one sentence."""

    path: Path
    reason: str


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What `predict_folder` did."""

    out: Path
    pictures: int
    """Predicted and written."""
    failures: tuple[Failure, ...]
    milliseconds: float
    """Median per picture, reading and writing left out."""
    shares: dict[str, float]
    """Share of all predicted pixels by class name, 0..1."""


def predict_folder(predictor: Predicts, source: Path, out: Path, *, progress: bool = True) -> Summary:
    """Predict every picture of a file, folder or glob, and write what was found.

    Args:
        predictor: what predicts.
        source: as in `sources.find_pictures`.
        out: folder to write into; files of the same name are replaced.
        progress: show a bar on stderr.

    Returns:
        Counts, and every picture that could not be read.

    Raises:
        DataError: no pictures, or none of them could be read.
        OutputError: `out` cannot be written.
    """
    return predict_samples(predictor, find_pictures(source, leave_out=out), out, progress=progress)


def predict_samples(predictor: Predicts, samples: Sequence[Sample], out: Path, *, progress: bool = True) -> Summary:
    """`predict_folder` for pictures that were found already; masks are not needed."""
    from rich.console import Console
    from rich.progress import track

    require_writable(out)
    write_text(out / "classes.csv", predictor.classes.to_csv())
    lines: list[dict[str, Any]] = []
    failures: list[Failure] = []
    bar = track(samples, "Predicting", console=Console(stderr=True), disable=not progress, transient=True)
    try:
        for sample in bar:
            try:
                image = read_image(sample.image)
            except DataError as error:
                failures.append(Failure(path=sample.image, reason=str(error)))
                continue
            prediction = predictor.predict(image, key=sample.key)
            write_prediction(prediction, image, out)
            lines.append(describe(prediction))
    finally:
        # Also on Ctrl-C: then the lines say which pictures were finished.
        if lines:
            write_text(
                out / "predictions.jsonl", "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
            )
    if not lines:
        raise DataError(f"None of the {len(failures)} pictures could be read; the first: {failures[0].reason}")
    pixels = {name: sum(line["pixels"][name] for line in lines) for name in predictor.classes.names}
    total = max(sum(pixels.values()), 1)
    return Summary(
        out=out,
        pictures=len(lines),
        failures=tuple(failures),
        milliseconds=float(np.median([line["milliseconds"] for line in lines])),
        shares={name: count / total for name, count in pixels.items()},
    )


def write_prediction(prediction: Prediction, image: NDArray[np.uint8], out: Path) -> None:
    """Class map, colour mask and overlay of one picture, named by the prediction's key.

    Args:
        prediction: with its key.
        image: (H, W, 3) uint8 RGB, the picture it belongs to.
        out: folder.

    Raises:
        OutputError: `out` cannot be written.
    """
    pictures = {
        "masks": prediction.class_map,
        "colours": colour_mask(prediction.class_map, prediction.classes),
        "overlays": overlay(image, prediction.class_map, prediction.classes),
    }
    for folder, picture in pictures.items():
        write_png(out / folder / f"{prediction.key}.png", picture)


def describe(prediction: Prediction) -> dict[str, Any]:
    """One line of predictions.jsonl: key, size in pixels, milliseconds, and pixels and share of each class."""
    height, width = prediction.class_map.shape
    names = prediction.classes.names
    counts = np.bincount(prediction.class_map.ravel(), minlength=256)[: len(names)]
    return {
        "key": prediction.key,
        "width": width,
        "height": height,
        "milliseconds": round(prediction.milliseconds, 3),
        "pixels": {name: int(count) for name, count in zip(names, counts, strict=True)},
        "share": {name: round(int(count) / (height * width), 6) for name, count in zip(names, counts, strict=True)},
    }
