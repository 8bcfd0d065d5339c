"""The same pictures through two engines: how often they agree, how far apart they are, and a certificate that says so.

The pictures are real ones of the data set, and everything runs end to end (placement, network, undoing, threshold), so
the certificate speaks of what a user will see, not of a graph in isolation.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from segwright import __version__, metrics
from segwright.classes import Classes
from segwright.data.sample import Sample, read_image, read_pair
from segwright.errors import DataError, GateError
from segwright.evaluation.intervals import bootstrap
from segwright.predict.predictor import Prediction, Predictor
from segwright.render import panel

LEAST_AGREEMENT = {"fp32": 0.999, "fp16": 0.995, "int8": 0.99}
"""Share of pixels on which both must choose the same class, by the precision of the file."""

WORST_ALLOWANCE = 10.0
"""A single picture may disagree on this many times the share that all together may."""

LEAST_FASTER = 1.05
"""An INT8 file must answer this many times as fast as its FP32 twin: less than that is noise."""


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """What came out of one comparison."""

    model: str
    reference: str
    """Engine whose answers count as right, for example pytorch."""
    candidate: str
    pictures: int
    pixels: int
    agreement: float
    """Share of all pixels on which both chose the same class, 0..1."""
    worst_agreement: float
    """The same for the picture where it is lowest."""
    worst_key: str
    largest_difference: float
    """Of any probability of any pixel, 0..1."""
    least_agreement: float
    """What was asked for."""
    pictures_with_mask: int
    reference_miou: float | None
    """Mean IoU against the masks; None without masks."""
    candidate_miou: float | None
    miou_change: tuple[float, float, float] | None = None
    """Mean IoU of the candidate less that of the reference: value, and the 95 % interval over the same pictures, low and high.
    NaN limits are None in JSON: with fewer than five pictures there is no interval."""
    candidate_interval: tuple[float, float] | None = None
    """95 % interval of the candidate's mean IoU over pictures, low and high; NaN as above."""
    precision: str = "fp32"
    most_drop: float | None = None
    """Points of mean IoU (0..100) that may be lost; None where only agreement is asked for."""
    faster: float | None = None
    """How many times as fast as the same format in FP32, on this machine; None where that is not asked for."""
    sha256: dict[str, str] = field(default_factory=dict)
    """Of the files that were compared, by their names."""
    versions: dict[str, str] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong with the candidate."""
        return self.failure is None

    @property
    def failure(self) -> str | None:
        """What is wrong with the candidate, or None: agreement on all pictures and on the worst one, score, speed."""
        least_worst = 1.0 - WORST_ALLOWANCE * (1.0 - self.least_agreement)
        if not self.agreement >= self.least_agreement:
            return f"{_percent(self.least_agreement)} is asked for"
        if not self.worst_agreement >= least_worst:
            return f"{_percent(least_worst)} is asked for on the worst picture"
        if self.most_drop is not None and self.miou_change is not None:
            lost = -100.0 * self.miou_change[0]
            if not lost <= self.most_drop:
                return f"it loses {lost:.2f} points of mean IoU and may lose {self.most_drop:g}"
        if self.faster is not None and not self.faster >= LEAST_FASTER:
            return f"on this machine it runs {self.faster:.2f} times as fast as in FP32, which is no gain"
        return None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, `passed` among them."""
        plain = {"passed": self.passed, **dataclasses.asdict(self)}
        for name in ("miou_change", "candidate_interval"):
            if plain[name] is not None:
                plain[name] = [number if math.isfinite(number) else None for number in plain[name]]
        return plain

    def sentence(self) -> str:
        """The result in one sentence."""
        scores = ""
        if self.reference_miou is not None and self.candidate_miou is not None:
            scores = f"; mean IoU {self.reference_miou:.4f} and {self.candidate_miou:.4f}"
            if self.miou_change is not None and math.isfinite(self.miou_change[1]):
                low, high = (100 * limit for limit in self.miou_change[1:])
                scores += f", a change of {low:+.2f} to {high:+.2f} points with 95 % confidence"
        speed = f"; {self.faster:.2f} times as fast as FP32" if self.faster is not None else ""
        return (
            f"{self.candidate} agrees with {self.reference} on {_percent(self.agreement)} of the pixels of {self.pictures} pictures "
            f"(worst: {self.worst_key}, {_percent(self.worst_agreement)}; largest difference of a probability "
            f"{self.largest_difference:.2g}{scores}{speed})"
        )


def parity(
    reference: Predictor,
    candidate: Predictor,
    samples: Sequence[Sample],
    data_classes: Classes,
    *,
    limit: int = 64,
    least_agreement: float | None = None,
    most_drop: float | None = None,
    progress: bool = True,
    files: Sequence[Path] = (),
) -> Certificate:
    """Run both on the same pictures.

    Args:
        reference: whose answers count as right.
        candidate: what is being checked.
        samples: pictures, with masks where there are some.
        data_classes: how the masks are to be read.
        limit: most pictures to use, taken evenly from all samples.
        least_agreement: share of equal pixels that `Certificate.passed` asks for; None takes that of the candidate's precision.
        most_drop: points of mean IoU (0..100) that may be lost; None asks for agreement only.
        progress: show a bar on stderr.
        files: files whose hashes belong into the certificate.

    Raises:
        DataError: no pictures, an unreadable one, or classes the model does not know.
        GateError: an answer is no number.
    """
    from rich.console import Console
    from rich.progress import track

    if not samples:
        raise DataError("Nothing to compare on: there are no pictures; name a data set that has some.")
    chosen = [
        samples[i] for i in np.linspace(0, len(samples) - 1, min(max(limit, 1), len(samples))).round().astype(int)
    ]
    table = reference.classes.numbers_in(data_classes)
    count = len(reference.classes)
    counts: list[np.ndarray] = []
    agreements: list[float] = []
    pixels = equal = masks = 0
    largest = 0.0
    for sample in track(chosen, "Comparing", console=Console(stderr=True), disable=not progress, transient=True):
        if sample.mask is None:
            image, truth = read_image(sample.image), None
        else:
            image, raw = read_pair(sample, data_classes)
            truth = table[raw]
        answers = reference.predict(image, probabilities=True), candidate.predict(image, probabilities=True)
        same = int((answers[0].class_map == answers[1].class_map).sum())
        pixels, equal = pixels + answers[0].class_map.size, equal + same
        agreements.append(same / answers[0].class_map.size)
        largest = max(largest, _difference(*answers))
        if truth is not None:
            masks += 1
            counts.append(np.stack([metrics.confusion(truth, answer.class_map, count) for answer in answers]))
    worst = int(np.argmin(agreements))
    scores, change, interval = _scores(counts)
    precision = candidate.engine.facts.precision
    return Certificate(
        model=reference.engine.facts.name,
        reference=reference.engine.name,
        candidate=candidate.engine.name,
        pictures=len(chosen),
        pixels=pixels,
        agreement=equal / pixels,
        worst_agreement=agreements[worst],
        worst_key=chosen[worst].key,
        largest_difference=largest,
        least_agreement=LEAST_AGREEMENT[precision] if least_agreement is None else least_agreement,
        pictures_with_mask=masks,
        reference_miou=scores[0],
        candidate_miou=scores[1],
        miou_change=change,
        candidate_interval=interval,
        precision=precision,
        most_drop=most_drop,
        sha256={file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files},
        versions=_versions(),
        machine={"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()},
    )


def _scores(
    counts: list[np.ndarray],
) -> tuple[list[float | None], tuple[float, float, float] | None, tuple[float, float] | None]:
    """Mean IoU of both, the change with its interval, and the interval of the candidate.

    Args:
        counts: of each picture with a mask (2, C, C): reference, candidate.
    """
    if not counts:
        return [None, None], None, None
    every = np.stack(counts)
    both = metrics.mean_iou(every.sum(axis=0))
    if np.isnan(both).any():
        return [None, None], None, None

    def change(summed: np.ndarray) -> dict[str, np.ndarray]:
        means = metrics.mean_iou(summed)
        return {"change": means[..., 1] - means[..., 0], "candidate": means[..., 1]}

    # Paired: the same pictures are drawn again for both, so what is hard about a picture cancels.
    drawn = bootstrap(every, change)
    low, high = (float(limit) for limit in drawn["change"])
    interval = (float(drawn["candidate"][0]), float(drawn["candidate"][1]))
    return [float(score) for score in both], (float(both[1] - both[0]), low, high), interval


def worst_panel(reference: Predictor, candidate: Predictor, sample: Sample) -> np.ndarray:
    """The picture on which two models differ most, with both answers and where they differ."""
    image = read_image(sample.image)
    return panel(
        image,
        reference.predict(image).class_map,
        candidate.predict(image).class_map,
        reference.classes,
        caption=sample.key,
        captions=(reference.engine.name, candidate.engine.name),
        show_errors=True,
    )


def _difference(one: Prediction, other: Prediction) -> float:
    if one.probabilities is None or other.probabilities is None:
        # Of very large pictures in tiles only the chosen class's probability is kept.
        largest = float(np.abs(one.confidence - other.confidence).max())
    else:
        largest = float(np.abs(one.probabilities - other.probabilities).max())
    if not math.isfinite(largest):
        # Two networks that answer NaN everywhere would otherwise agree perfectly.
        raise GateError("A network answered with something that is no number (NaN); train or export the model again.")
    return largest


def _versions() -> dict[str, str]:
    found = {"segwright": __version__, "python": platform.python_version()}
    for name in ("torch", "onnx", "onnxruntime", "openvino", "nncf", "numpy"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # an engine that was not used need not be installed
    return found


def _percent(share: float) -> str:
    # Rounded down: 99.996 % must not read as 100 %.
    return f"{math.floor(share * 1e5) / 1e3:.3f} %"
