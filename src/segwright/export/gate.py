"""The gate that every export passes: written, run end to end beside the model it came from, and only then given its name.

Beside the file lie its certificate (OUT's name with .certificate.json), the picture on which both differ most (.worst.png), and
a card for people (README.md).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from segwright import checkpoint
from segwright.classes import Classes
from segwright.data.sample import Sample, read_image
from segwright.engines.contract import Engine
from segwright.engines.pytorch import PyTorchEngine
from segwright.errors import GateError
from segwright.export.card import write_card
from segwright.export.deployable import deployed_facts
from segwright.export.formats import Format, format_of
from segwright.export.int8 import Pictures, calibration_pictures
from segwright.export.parity import Certificate, parity, worst_panel
from segwright.export.request import ExportRequest
from segwright.outputs import files_being_written, require_writable, write_text
from segwright.predict.predictor import Predictor
from segwright.render import write_png

LEAST_PICTURES = 32
"""A proof compares at least as many pictures, where there are as many."""

MOST_DROP = 1.0
"""Points of mean IoU that an INT8 file may lose unless told otherwise."""

ROUNDS = 15
"""Answers of each of two files that are timed, in turns."""


def export_checked(
    checkpoint_path: Path,
    samples: Sequence[Sample],
    data_classes: Classes,
    out: Path,
    request: ExportRequest | None = None,
    *,
    calibration: Sequence[Sample] = (),
    limit: int = 64,
    least_agreement: float | None = None,
    most_drop: float | None = None,
    runs_here: bool = True,
    keep_failed: bool = False,
    progress: bool = True,
) -> Certificate:
    """Export, compare on real pictures, and only then write the file, with its certificate inside and beside it.

    Args:
        checkpoint_path: a run folder or .safetensors checkpoint.
        samples: real pictures, best with masks and not from training.
        data_classes: how their masks are to be read.
        out: the file; its suffix is that of the format.
        request: what is asked for; None is FP32 ONNX.
        calibration: pictures to measure INT8 ranges on, best those of training.
        limit: compare this many pictures at most, and `LEAST_PICTURES` at least.
        least_agreement: share of equal pixels; None takes that of the precision.
        most_drop: points of mean IoU (0..100) that may be lost; None is `MOST_DROP` for INT8, and no limit for others.
        runs_here: an INT8 file must be faster than FP32 on this machine; False for one that another is built from.
        keep_failed: write a file that fails all the same, under OUT's name with .failed before its suffix.
        progress: show a bar on stderr.

    Returns:
        The certificate; `sha256` names the finished files and the checkpoint.

    Raises:
        GateError: the comparison failed; only a picture of the worst case is left.
        ModelError, MissingExtraError, OutputError: the file cannot be made.
        DataError: pictures that cannot be used.
    """
    request = request or ExportRequest()
    form = format_of(request, out)
    require_writable(out.parent)
    weights = checkpoint.checkpoint_file(checkpoint_path)
    trained = checkpoint.load(weights)
    facts = deployed_facts(trained, request)
    reference = Predictor(PyTorchEngine(trained), threshold=facts.threshold)
    reference.classes.numbers_in(data_classes)  # refuses other classes before the work
    int8 = request.precision == "int8"
    pictures = calibration_pictures(calibration, facts) if int8 else None
    with files_being_written(out, *form.beside) as partial:
        form.write(trained, request, partial, pictures)
        candidate = Predictor(form.opened(partial, facts))
        certificate = parity(
            reference,
            candidate,
            samples,
            data_classes,
            limit=max(limit, LEAST_PICTURES),
            least_agreement=least_agreement,
            most_drop=MOST_DROP if most_drop is None and int8 else most_drop,
            progress=progress,
        )
        if int8 and runs_here and certificate.passed:
            certificate = dataclasses.replace(
                certificate, faster=_faster(candidate.engine, trained, request, form, partial, samples)
            )
        sample = next(s for s in samples if s.key == certificate.worst_key)
        worst = write_png(out.with_suffix(".worst.png"), worst_panel(reference, candidate, sample))
        if certificate.failure is not None:
            kept = _kept(partial, out, form) if keep_failed else "no file was written"
            raise GateError(f"{certificate.sentence()}, but {certificate.failure}; {kept}, look at {worst}.")
        del candidate  # some engines keep their file open
        inside = {key: value for key, value in certificate.to_dict().items() if key != "sha256"}
        form.certify(partial, inside)  # without hashes: a file cannot hold its own
        finished = [partial, *(partial.with_suffix(suffix) for suffix in form.beside)]
        hashes = {file.name: _sha256(file) for file in (*finished, weights)}
    certificate = dataclasses.replace(certificate, sha256=hashes)
    write_text(certificate_path(out), json.dumps(certificate.to_dict(), indent=2) + "\n")
    write_card(out, facts, request, certificate)
    return certificate


def certificate_path(model: Path) -> Path:
    """Where the certificate of a model file lies: beside it."""
    return model.with_suffix(".certificate.json")


def _kept(partial: Path, out: Path, form: Format) -> str:
    failed = out.with_name(f"{out.stem}.failed{out.suffix}")
    for suffix in (*form.beside, form.suffix):
        shutil.copyfile(partial.with_suffix(suffix), failed.with_name(f"{out.stem}.failed{suffix}"))
    return f"the file was kept as {failed}"


def _faster(
    engine: Engine,
    trained: checkpoint.Checkpoint,
    request: ExportRequest,
    form: Format,
    partial: Path,
    samples: Sequence[Sample],
) -> float:
    """How many times as fast as the same format in FP32 a file answers one picture, at the median of `ROUNDS` in turns."""
    from segwright.preprocess import place_image

    plain = dataclasses.replace(request, precision="fp32")
    other = partial.with_name(f"fp32{partial.suffix}")
    form.write(trained, plain, other, None)
    rival = form.opened(other, deployed_facts(trained, plain))
    image: Pictures = place_image(read_image(samples[0].image), engine.facts.size_hw, engine.facts.fit)[None]
    runs: tuple[Callable[[], object], ...] = (
        lambda: engine.probabilities(image),
        lambda: rival.probabilities(image),
    )
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(ROUNDS + 2):
        for run, taken in zip(runs, times, strict=True):
            started = time.perf_counter()
            run()
            if turn >= 2:  # the first ones still plan and allocate
                taken.append(time.perf_counter() - started)
    return float(np.median(times[1]) / np.median(times[0]))


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
