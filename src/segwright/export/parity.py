"""The same pictures through two engines: how often they agree, how far apart they are, and a certificate that says so.

The pictures are real ones of the data set, and everything runs end to end (placement, network, undoing, threshold), so
the certificate speaks of what a user will see, not of a graph in isolation.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from segwright import __version__, checkpoint, metrics
from segwright.classes import Classes
from segwright.data.sample import Sample, read_image, read_pair
from segwright.engines.onnx import OnnxEngine
from segwright.engines.pytorch import PyTorchEngine
from segwright.errors import DataError, GateError
from segwright.export.onnx import OPSET, export_onnx, write_facts
from segwright.outputs import file_being_written, require_writable, write_bytes, write_text
from segwright.predict.predictor import Prediction, Predictor
from segwright.render import panel, write_png

LEAST_AGREEMENT = {"fp32": 0.999, "fp16": 0.995}
"""Share of pixels on which both must choose the same class, by the precision of the file."""

WORST_ALLOWANCE = 10.0
"""A single picture may disagree on this many times the share that all together may."""


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
    sha256: dict[str, str] = field(default_factory=dict)
    """Of the files that were compared, by their names."""
    versions: dict[str, str] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether all pictures together and the worst one alone agree well enough."""
        allowed = 1.0 - self.least_agreement
        return self.agreement >= self.least_agreement and self.worst_agreement >= 1.0 - WORST_ALLOWANCE * allowed

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, `passed` among them."""
        return {"passed": self.passed, **dataclasses.asdict(self)}

    def sentence(self) -> str:
        """The result in one sentence."""
        scores = ""
        if self.reference_miou is not None and self.candidate_miou is not None:
            scores = f"; mean IoU {self.reference_miou:.4f} and {self.candidate_miou:.4f}"
        return (
            f"{self.candidate} agrees with {self.reference} on {_percent(self.agreement)} of the pixels of {self.pictures} pictures "
            f"(worst: {self.worst_key}, {_percent(self.worst_agreement)}; largest difference of a probability "
            f"{self.largest_difference:.2g}{scores})"
        )


def parity(
    reference: Predictor,
    candidate: Predictor,
    samples: Sequence[Sample],
    data_classes: Classes,
    *,
    limit: int = 64,
    least_agreement: float = LEAST_AGREEMENT["fp32"],
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
        least_agreement: share of equal pixels that `Certificate.passed` asks for.
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
    counts = np.zeros((2, count, count), np.int64)
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
            for number, answer in enumerate(answers):
                counts[number] += metrics.confusion(truth, answer.class_map, count)
    worst = int(np.argmin(agreements))
    scores = [None if math.isnan(score) else float(score) for score in metrics.mean_iou(counts)]
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
        least_agreement=least_agreement,
        pictures_with_mask=masks,
        reference_miou=scores[0],
        candidate_miou=scores[1],
        sha256={file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files},
        versions=_versions(),
        machine={"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()},
    )


def export_checked(
    checkpoint_path: Path,
    samples: Sequence[Sample],
    data_classes: Classes,
    out: Path,
    *,
    any_size: bool = False,
    precision: str = "fp32",
    opset: int = OPSET,
    limit: int = 64,
    least_agreement: float | None = None,
    keep_failed: bool = False,
    progress: bool = True,
) -> Certificate:
    """Export, compare on real pictures, and only then write the file, with its certificate inside and beside it.

    Args:
        checkpoint_path: a run folder or .safetensors checkpoint.
        samples: real pictures, best with masks and not from training.
        data_classes: how their masks are to be read.
        out: the .onnx file; its certificate is OUT's name with .certificate.json.
        any_size: as in `export_onnx`.
        precision: as in `export_onnx`.
        opset: as in `export_onnx`.
        limit: as in `parity`.
        least_agreement: as in `parity`; None takes that of the precision.
        keep_failed: write a file that fails all the same, under OUT's name with .failed.onnx.
        progress: show a bar on stderr.

    Returns:
        The certificate; `sha256` names the finished file and the checkpoint.

    Raises:
        GateError: the comparison failed; only a picture of the worst case is left: OUT's name with .worst.png.
        ModelError, MissingExtraError, OutputError: as `export_onnx`.
        DataError: as `parity`.
    """
    require_writable(out.parent)
    weights = checkpoint.checkpoint_file(checkpoint_path)
    trained = checkpoint.load(weights)
    with file_being_written(out) as partial:
        export_onnx(trained, partial, any_size=any_size, precision=precision, opset=opset)
        least_agreement = LEAST_AGREEMENT[precision] if least_agreement is None else least_agreement
        reference = Predictor(PyTorchEngine(trained))
        candidate = Predictor(OnnxEngine(partial))
        certificate = parity(
            reference, candidate, samples, data_classes, limit=limit, least_agreement=least_agreement, progress=progress
        )
        if not certificate.passed:
            sample = next(s for s in samples if s.key == certificate.worst_key)
            worst = write_png(out.with_suffix(".worst.png"), _worst_panel(reference, candidate, sample))
            kept = "no file was written"
            if keep_failed:
                failed = write_bytes(out.with_suffix(".failed.onnx"), partial.read_bytes())
                kept = f"the file was kept as {failed}"
            raise GateError(
                f"{certificate.sentence()}, but {_percent(least_agreement)} is asked for; {kept}, look at {worst}."
            )
        _put_inside(partial, certificate, candidate.engine.facts)
        final = hashlib.sha256(partial.read_bytes()).hexdigest()
    hashes = {out.name: final, weights.name: hashlib.sha256(weights.read_bytes()).hexdigest()}
    certificate = dataclasses.replace(certificate, sha256=hashes)
    write_text(certificate_path(out), json.dumps(certificate.to_dict(), indent=2) + "\n")
    return certificate


def certificate_path(model: Path) -> Path:
    """Where the certificate of a model file lies: beside it."""
    return model.with_suffix(".certificate.json")


def _put_inside(path: Path, certificate: Certificate, facts: Any) -> None:
    """Add the certificate to the file's metadata; without hashes, because a file cannot hold its own."""
    import onnx

    model = onnx.load(path)
    inside = {key: value for key, value in certificate.to_dict().items() if key != "sha256"}
    write_facts(model, facts, certificate=json.dumps(inside))
    path.write_bytes(model.SerializeToString())


def _worst_panel(reference: Predictor, candidate: Predictor, sample: Sample) -> np.ndarray:
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
    for name in ("torch", "onnx", "onnxruntime", "numpy"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # an engine that was not used need not be installed
    return found


def _percent(share: float) -> str:
    # Rounded down: 99.996 % must not read as 100 %.
    return f"{math.floor(share * 1e5) / 1e3:.3f} %"
