"""Predictor + samples -> Report, at every picture's own size.

Pixels are counted per picture and summed before anything is divided; ignored pixels count nowhere. Each score carries an
interval over pictures, and beside it stands what the best constant answer would have scored.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import importlib.metadata
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from segwright import __version__, metrics
from segwright.classes import Classes
from segwright.data.sample import Sample, read_pair
from segwright.errors import DataError, ModelError
from segwright.evaluation.boundary import boundary_counts, boundary_f1, tolerance_pixels
from segwright.evaluation.intervals import LEAST_PICTURES, RESAMPLES, Scores, bootstrap
from segwright.evaluation.report import ClassScores, Constant, Panel, PictureScore, Report, Score, number
from segwright.outputs import require_writable

PANELS = 6
"""Worst pictures shown, and as many best ones."""


class Predicted(Protocol):
    """What `evaluate` reads from a prediction."""

    @property
    def class_map(self) -> NDArray[np.uint8]:
        """(H, W) uint8, at the picture's size."""

    @property
    def milliseconds(self) -> float:
        """Time the prediction took."""


class Predicts(Protocol):
    """Anything that can be evaluated."""

    @property
    def classes(self) -> Classes:
        """What its class numbers mean."""

    def predict(self, image: NDArray[np.uint8], /) -> Predicted:
        """Answer one (H, W, 3) uint8 RGB picture."""


@dataclass(frozen=True)
class _Counted:
    """One picture after the pass."""

    sample: Sample
    size_hw: tuple[int, int]
    confusion: NDArray[np.int64]
    boundary: NDArray[np.int64]
    ignored: int
    milliseconds: float


def evaluate(
    predictor: Predicts,
    samples: Sequence[Sample],
    data_classes: Classes,
    *,
    split: str,
    data: str,
    seed: int = 0,
    progress: bool = True,
    out: Path | None = None,
    model_file: Path | None = None,
    recipe: Mapping[str, Any] | None = None,
    panels: int = PANELS,
    resamples: int = RESAMPLES,
    extras: Mapping[str, Any] | None = None,
) -> Report:
    """Measure a predictor on pictures with masks.

    Args:
        predictor: anything with `classes` and `predict(image)`.
        samples: pictures; those without a mask are left out, and the report says how many.
        data_classes: how the masks are to be read; matched to the predictor's classes by name.
        split: name of the split, for the report.
        data: name of the data set, for the report.
        seed: of the bootstrap.
        progress: show a progress bar.
        out: folder for report.json and report.html; proven writable before the pass.
        model_file: the weights, for their SHA-256.
        recipe: settings the model was trained with, for the report.
        panels: this many worst and best pictures are predicted again and drawn; 0 for none.
        resamples: of the bootstrap.
        extras: more for the page, see `Report.write`.

    Returns:
        The report; its panels are kept in memory only.

    Raises:
        DataError: no masks, a picture or mask that cannot be read (named), classes the model does not know.
        ModelError: the predictor's answer has another size than the picture, or classes nobody knows.
        OutputError: `out` cannot be written to.
    """
    masked = [sample for sample in samples if sample.mask is not None]
    if not masked:
        raise DataError(
            f"The split {split!r} of {data} has no pictures with masks ({len(samples)} pictures); choose another --split."
        )
    if out is not None:
        require_writable(out)
    table = predictor.classes.numbers_in(data_classes)
    counted = _count(predictor, masked, data_classes, table, progress=progress)
    report = _report(
        predictor.classes,
        counted,
        model=_model_facts(predictor, model_file, recipe),
        data=data,
        split=split,
        left_out=len(samples) - len(masked),
        seed=seed,
        resamples=resamples,
    )
    if panels > 0:
        drawn = _panels(predictor, report, counted, data_classes, table, panels)
        report = dataclasses.replace(report, panels=drawn)
    if out is not None:
        report.write(out, extras=extras)
    return report


def scores_of(counts: NDArray[Any]) -> Scores:
    """Every score that is a function of a confusion matrix.

    Args:
        counts: (..., C, C).

    Returns:
        iou, dice, precision and recall (..., C); miou, mean_dice and accuracy (...).
    """
    present = counts.sum(axis=-1) > 0
    dice = metrics.dice(counts)
    return {
        "iou": metrics.iou(counts),
        "dice": dice,
        "precision": metrics.precision(counts),
        "recall": metrics.recall(counts),
        "miou": metrics.mean_iou(counts),
        "mean_dice": _mean(dice, present),
        "accuracy": metrics.pixel_accuracy(counts),
    }


def _boundary_scores(counts: NDArray[Any]) -> Scores:
    f1 = boundary_f1(counts)
    return {"boundary_f1": f1, "mean_boundary_f1": _mean(f1, counts[..., 0] > 0)}


def _mean(scores: NDArray[np.float64], where: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean over the last axis of the chosen classes; NaN when none is chosen."""
    number_of = where.sum(axis=-1)
    summed = np.where(where, np.nan_to_num(scores), 0.0).sum(axis=-1)
    return np.where(number_of > 0, summed / np.maximum(number_of, 1), np.nan)


def _count(
    predictor: Predicts, samples: Sequence[Sample], data_classes: Classes, table: NDArray[np.uint8], *, progress: bool
) -> list[_Counted]:
    from rich.progress import track

    counted = []
    for sample in track(samples, description="Measuring", disable=not progress, transient=True):
        image, raw_truth = read_pair(sample, data_classes)
        counted.append(_count_one(predictor, sample, image, table[raw_truth]))
    return counted


def _count_one(predictor: Predicts, sample: Sample, image: NDArray[np.uint8], truth: NDArray[np.uint8]) -> _Counted:
    classes = len(predictor.classes)
    prediction = predictor.predict(image)
    class_map = prediction.class_map
    if class_map.shape != truth.shape or class_map.dtype != np.uint8:
        raise ModelError(
            f"The model answered {sample.image} ({truth.shape[0]}x{truth.shape[1]}) with a {class_map.dtype} map of "
            f"shape {class_map.shape}; a class map has the picture's size and is uint8."
        )
    if int(class_map.max()) >= classes:
        raise ModelError(
            f"The model answered {sample.image} with class {int(class_map.max())}, but it knows only 0 to {classes - 1}; "
            "export or train it again."
        )
    height, width = truth.shape
    confusion = metrics.confusion(truth, class_map, classes)
    return _Counted(
        sample=sample,
        size_hw=(height, width),
        confusion=confusion,
        boundary=boundary_counts(truth, class_map, classes, tolerance_pixels(height, width)),
        ignored=truth.size - int(confusion.sum()),
        milliseconds=float(prediction.milliseconds),
    )


def _report(
    classes: Classes,
    counted: Sequence[_Counted],
    *,
    model: Mapping[str, Any],
    data: str,
    split: str,
    left_out: int,
    seed: int,
    resamples: int,
) -> Report:
    confusions = np.stack([one.confusion for one in counted])
    edges = np.stack([one.boundary for one in counted])
    total, total_edges = confusions.sum(axis=0), edges.sum(axis=0)
    if not total.any():
        raise DataError(
            f"Every pixel of the split {split!r} of {data} is ignored; look at the masks and at classes.csv."
        )
    values = {**scores_of(total), **_boundary_scores(total_edges)}
    ranges = {
        **bootstrap(confusions, scores_of, seed=seed, resamples=resamples),
        **bootstrap(edges, _boundary_scores, seed=seed, resamples=resamples),
    }
    occurs = (confusions.sum(axis=2) > 0).sum(axis=0)
    shares = total.sum(axis=1) / total.sum()

    def score(name: str, number: int | None = None) -> Score:
        value, interval = values[name], ranges[name]
        if number is None:
            return _score(value, interval)
        # An interval over the two pictures that hold a class would look narrow and mean nothing.
        return _score(value[number], interval[:, number] if occurs[number] >= LEAST_PICTURES else None)

    per_class = tuple(
        ClassScores(
            name=name,
            colour=classes.colours[number],
            pictures=int(occurs[number]),
            pixels=int(total[number].sum()),
            predicted=int(total[:, number].sum()),
            iou=score("iou", number),
            dice=score("dice", number),
            precision=score("precision", number),
            recall=score("recall", number),
            boundary_f1=score("boundary_f1", number),
            constant_iou=float(shares[number]),
        )
        for number, name in enumerate(classes.names)
    )
    binary = len(classes) == 2
    constant_total = metrics.constant_counts(total)
    constant = Constant(
        answer=classes.names[int(shares.argmax())],
        miou=float(metrics.mean_iou(constant_total)),
        accuracy=float(metrics.pixel_accuracy(constant_total)),
        foreground_iou=float(shares[1]) if binary else math.nan,
    )
    report = Report(
        model=model,
        data=data,
        split=split,
        classes=per_class,
        counts=total,
        ignored_pixels=sum(one.ignored for one in counted),
        miou=score("miou"),
        mean_dice=score("mean_dice"),
        accuracy=score("accuracy"),
        foreground_iou=per_class[1].iou if binary else Score(value=math.nan),
        mean_boundary_f1=score("mean_boundary_f1"),
        constant=constant,
        pictures=tuple(_picture_score(one, binary=binary) for one in counted),
        milliseconds=_mean_milliseconds(counted),
        warnings=(),
        measured=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        machine=machine_facts(),
        seed=seed,
        resamples=resamples,
    )
    return dataclasses.replace(report, warnings=tuple(_warnings(report, left_out)))


def _score(value: NDArray[np.float64], interval: NDArray[np.float64] | None) -> Score:
    if interval is None or math.isnan(float(value)):
        return Score(value=float(value))
    return Score(value=float(value), low=float(interval[0]), high=float(interval[1]))


def _picture_score(one: _Counted, *, binary: bool) -> PictureScore:
    counts = one.confusion
    hit, true, predicted = np.diagonal(counts), counts.sum(axis=1), counts.sum(axis=0)
    return PictureScore(
        key=one.sample.key,
        size_hw=one.size_hw,
        miou=float(metrics.mean_iou(counts)),
        foreground_iou=float(metrics.iou(counts)[1]) if binary else math.nan,
        accuracy=float(metrics.pixel_accuracy(counts)),
        milliseconds=one.milliseconds,
        pixels=int(counts.sum()),
        counts={int(c): (int(hit[c]), int(true[c]), int(predicted[c])) for c in np.flatnonzero(true + predicted)},
    )


def _mean_milliseconds(counted: Sequence[_Counted]) -> float:
    """Mean without the first picture, on which networks warm up, unless it is the only one."""
    return float(np.mean([one.milliseconds for one in counted[1:] or counted]))


def _warnings(report: Report, left_out: int) -> list[str]:
    """What the numbers cannot say, in sentences."""
    name, score, constant = report.headline
    said = []
    if not report.better_than_constant:
        said.append(
            f"The model is not better than a constant answer: its {name} is {number(score.value)}, and answering one class for "
            f"every pixel scores {number(constant)}."
        )
    elif score.sure and score.low <= constant:
        said.append(
            f"It is not certain that the model is better than a constant answer: the interval of its {name} reaches down to "
            f"{number(score.low)}, and answering one class for every pixel scores {number(constant)}."
        )
    if report.split.lower() == "train" and report.model.get("provenance", {}).get("data") == report.data:
        said.append("These are pictures the model was trained on; the scores say nothing about new ones.")
    if len(report.pictures) < LEAST_PICTURES:
        said.append(
            f"With {len(report.pictures)} pictures no interval can be given; measure at least {LEAST_PICTURES}, better 30."
        )
    absent = [row.name for row in report.classes if row.pixels == 0]
    if absent:
        said.append(f"Not in the truth of these pictures, and in no mean: {', '.join(absent)}.")
    rare = [row.name for row in report.classes if 0 < row.pictures < LEAST_PICTURES]
    if rare and len(report.pictures) >= LEAST_PICTURES:
        said.append(f"In fewer than {LEAST_PICTURES} pictures, so without an interval: {', '.join(rare)}.")
    if left_out:
        said.append(f"{left_out} pictures without a mask were left out.")
    counted = int(report.counts.sum())
    if report.ignored_pixels > counted:
        share = report.ignored_pixels / (report.ignored_pixels + counted)
        said.append(f"{share:.0%} of all pixels are ignored; the scores describe the rest.")
    return said


def _panels(
    predictor: Predicts,
    report: Report,
    counted: Sequence[_Counted],
    data_classes: Classes,
    table: NDArray[np.uint8],
    panels: int,
) -> tuple[Panel, ...]:
    """Worst pictures (worst first), then best ones (best first); each picture is shown once."""
    from segwright.render import panel

    scored = [(p.score, number) for number, p in enumerate(report.pictures) if not math.isnan(p.score)]
    order = [number for _, number in sorted(scored)]
    worst = order[: min(panels, (len(order) + 1) // 2)]
    best = order[: len(worst) - 1 : -1][:panels]
    drawn = []
    for kind, numbers in (("worst", worst), ("best", best)):
        for chosen in numbers:
            sample = counted[chosen].sample
            image, raw_truth = read_pair(sample, data_classes)
            pixels = panel(image, table[raw_truth], predictor.predict(image).class_map, predictor.classes)
            score = report.pictures[chosen].score
            drawn.append(Panel(key=sample.key, kind=kind, score=score, pixels=pixels))
    return tuple(drawn)


def _model_facts(predictor: Predicts, model_file: Path | None, recipe: Mapping[str, Any] | None) -> dict[str, Any]:
    """What was measured, as far as the predictor tells."""
    engine = getattr(predictor, "engine", None)
    facts = getattr(engine, "facts", None)
    size = getattr(facts, "size_hw", None)
    raw = {
        "name": getattr(facts, "name", type(predictor).__name__),
        "engine": getattr(engine, "name", None),
        "sha256": _sha256(model_file) if model_file is not None else None,
        "size_hw": list(size) if size is not None else None,
        "any_size": getattr(facts, "any_size", None),
        "fit": getattr(facts, "fit", None),
        "tiled": getattr(predictor, "tiled", None),
        "precision": getattr(facts, "precision", None),
        "threshold": getattr(predictor, "threshold", getattr(facts, "threshold", None)),
        "recipe": without_folders(recipe) if recipe is not None else None,
        "provenance": without_folders({k: v for k, v in getattr(facts, "provenance", {}).items() if k != "recipe"}),
    }
    return {key: value for key, value in raw.items() if value is not None}


def _sha256(path: Path) -> str:
    if path.is_dir():
        from segwright.checkpoint import checkpoint_file

        path = checkpoint_file(path)
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}); name the model's file.") from error


def without_folders(value: Any) -> Any:
    """The same JSON value with every absolute path cut down to its last name: reports are passed on, folders are private."""
    if isinstance(value, Mapping):
        return {str(k): without_folders(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(v) for v in value]
    if isinstance(value, Path):
        return value.name
    if isinstance(value, str) and PurePosixPath(value).is_absolute():
        return PurePosixPath(value).name
    if isinstance(value, str) and PureWindowsPath(value).is_absolute():
        return PureWindowsPath(value).name
    return value


def machine_facts() -> dict[str, Any]:
    """Processor count and versions; nothing that names a host, a user or a folder."""
    libraries = ("torch", "numpy", "opencv-python-headless", "onnxruntime")
    versions = {}
    for library in libraries:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "segwright": __version__,
        **versions,
    }
