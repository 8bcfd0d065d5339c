"""A picture too large for memory: read, answered in overlapping tiles and written a few rows at a time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segwright.data.large import SUFFIXES, LargeTiff, write_class_map
from segwright.data.sample import Sample, image_size_hw
from segwright.errors import DataError, PixelLimitError
from segwright.outputs import write_text
from segwright.predict.predictor import Predictor
from segwright.tiling import blended

LARGE = 50_000_000
"""Pixels from which on a TIFF is read in rows; with masks, colours and overlay it would need a gigabyte as a whole."""


def is_large(path: Path) -> bool:
    """Whether a file is a TIFF of more than `LARGE` pixels; what cannot be read is not, and is refused where it is read."""
    if path.suffix.lower() not in SUFFIXES:
        return False
    try:
        height, width = image_size_hw(path)
    except PixelLimitError:
        return True
    except DataError:
        return False
    return height * width > LARGE


def predict_large(predictor: Predictor, path: Path, out: Path, *, key: str) -> dict[str, Any]:
    """Write the class map of a large TIFF.

    Held in memory: a tile's height of rows of the picture, and the rows in which tiles overlap, a number per class.

    Args:
        predictor: its engine is given tiles at the picture's own scale, whatever it was trained on.
        path: as `LargeTiff`.
        out: folder; the class map becomes masks/KEY.tif with the picture's place on the earth.
        key: names the picture.

    Returns:
        A line of predictions.jsonl: key, size, milliseconds, and pixels and share of each class.

    Raises:
        DataError: as `LargeTiff`.
        MissingExtraError: tifffile is not installed.
        OutputError: `out` cannot be written.
    """
    classes, started = predictor.classes, time.perf_counter()
    counts = np.zeros(256, np.int64)
    with LargeTiff(path) as picture:
        height, width, _ = picture.shape
        bands = _counted(_bands(predictor, picture), counts)
        write_class_map(out / "masks" / f"{key}.tif", (height, width), classes, bands, picture.geo_tags)
    pixels = {name: int(count) for name, count in zip(classes.names, counts, strict=False)}
    return {
        "key": key,
        "width": width,
        "height": height,
        "milliseconds": round((time.perf_counter() - started) * 1000.0, 3),
        "pixels": pixels,
        "share": {name: round(count / (height * width), 6) for name, count in pixels.items()},
    }


def _bands(predictor: Predictor, picture: LargeTiff) -> Iterator[NDArray[np.uint8]]:
    """Class maps of whole rows, from top to bottom."""
    _, width, _ = picture.shape
    band = np.zeros((0, width), np.uint8)
    for rows, columns, values in blended(picture, predictor.engine.facts.size_hw, predictor.engine.probabilities):
        if columns.start == 0:
            band = np.empty((rows.stop - rows.start, width), np.uint8)
        band[:, columns] = predictor.classes.decode(values, predictor.threshold)
        if columns.stop == width:
            yield band


def _counted(bands: Iterator[NDArray[np.uint8]], counts: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
    for band in bands:
        counts += np.bincount(band.ravel(), minlength=256)
        yield band


def predict_large_ones(
    predictor: Predictor, samples: Sequence[Sample], out: Path
) -> tuple[list[Sample], list[dict[str, Any]], list[tuple[Path, str]]]:
    """`predict_large` for those of some pictures that are large, where the predictor works in tiles.

    Returns:
        The other pictures; lines of predictions.jsonl, which has them from now on; path and reason of what could not be read.

    Raises:
        MissingExtraError, OutputError: as `predict_large`.
    """
    large = [sample for sample in samples if predictor.tiled and is_large(sample.image)]
    if not large:
        return list(samples), [], []
    lines, failures = [], []
    for sample in large:
        try:
            lines.append(predict_large(predictor, sample.image, out, key=sample.key))
        except DataError as error:
            failures.append((sample.image, str(error)))
    chosen = {sample.key for sample in large}
    return [sample for sample in samples if sample.key not in chosen], lines, failures


def add_lines(out: Path, lines: Sequence[dict[str, Any]], *, others: bool) -> None:
    """Put lines at the end of OUT/predictions.jsonl.

    Args:
        out: folder.
        lines: as `predict_large` gives them.
        others: whether what the file holds belongs to this run; else it is replaced.

    Raises:
        OutputError: it cannot be written.
    """
    if not lines:
        return
    path = out / "predictions.jsonl"
    before = path.read_text(encoding="utf-8") if others and path.is_file() else ""
    write_text(path, before + "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
