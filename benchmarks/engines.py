"""Engines and precisions on this CPU against ONNX Runtime FP32: time of the network's file, and what it costs in score.

    python benchmarks/engines.py RUN DATA [--split test] [--pictures 80] [--rounds 30] [--name engines]

All rivals lie exported in one folder and answer in turns, one picture of the network's size at a time, so that a busy moment
hits all of them. CPU time is that of the whole process: threads that wait for each other by spinning are counted too. Scores
are those of the same pictures, end to end, with the paired interval of the change.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tables
from numpy.typing import NDArray

from segwright.checkpoint import load
from segwright.data.sample import read_image
from segwright.engines.contract import Engine
from segwright.engines.onnx import OnnxEngine
from segwright.engines.openvino import OpenVinoEngine, Precision
from segwright.engines.pytorch import PyTorchEngine
from segwright.export.deployable import deployed_facts
from segwright.export.formats import FORMATS, default_name
from segwright.export.int8 import calibration_pictures
from segwright.export.parity import Certificate, parity
from segwright.export.request import ExportRequest
from segwright.predict.predictor import Predictor
from segwright.preprocess import place_image
from segwright.workflows.choosing import calibration_samples, chosen_samples

BASE = "ONNX Runtime, FP32"


@dataclass(frozen=True)
class Rival:
    """One engine with one file."""

    request: ExportRequest
    opened: Callable[[Path, int], Engine]


def _openvino(precision: Precision) -> Callable[[Path, int], Engine]:
    return lambda path, threads: OpenVinoEngine(path, threads=threads, precision=precision)


def _onnxruntime(path: Path, threads: int) -> Engine:
    return OnnxEngine(path, device="cpu", threads=threads)


RIVALS: Mapping[str, Rival] = {
    BASE: Rival(ExportRequest(), _onnxruntime),
    "ONNX Runtime, FP16": Rival(ExportRequest(precision="fp16"), _onnxruntime),
    "ONNX Runtime, INT8": Rival(ExportRequest(precision="int8"), _onnxruntime),
    "OpenVINO, FP32": Rival(ExportRequest(to="openvino"), _openvino("fp32")),
    "OpenVINO, the FP32 .onnx file as it likes": Rival(ExportRequest(), _openvino("fast")),
    "OpenVINO, FP16 file": Rival(ExportRequest(to="openvino", precision="fp16"), _openvino("file")),
    "OpenVINO, INT8 by NNCF": Rival(ExportRequest(to="openvino", precision="int8"), _openvino("file")),
}


def timed(engines: Mapping[str, Engine], image: NDArray[np.uint8], rounds: int) -> dict[str, tuple[float, float]]:
    """Median milliseconds of CPU and of the clock for one picture, all engines in turns."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in engines}
    for turn in range(rounds + 3):
        for name, engine in engines.items():
            cpu, clock = time.process_time(), time.perf_counter()
            engine.probabilities(image)
            if turn >= 3:
                taken[name].append((time.process_time() - cpu, time.perf_counter() - clock))
    return {name: tuple(1e3 * np.median(np.array(rows), axis=0)) for name, rows in taken.items()}


def main() -> None:
    """Export, measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--pictures", type=int, default=80)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--name", default="engines")
    parser.add_argument("--calibration", type=Path, help="pictures for INT8; default DATA's training pictures")
    given = parser.parse_args()
    trained = load(given.run)
    samples, classes = chosen_samples(given.data, given.split)
    pictures = calibration_pictures(calibration_samples(given.calibration or given.data), deployed_facts(trained))
    with tempfile.TemporaryDirectory() as folder:
        files: dict[str, Path] = {}
        for name, rival in RIVALS.items():
            form, files[name] = FORMATS[rival.request.to], Path(folder) / default_name(rival.request)
            if not files[name].exists():
                form.write(trained, rival.request, files[name], pictures)
        reference = Predictor(PyTorchEngine(trained))
        image = place_image(read_image(samples[0].image), reference.engine.facts.size_hw, reference.engine.facts.fit)
        cores = {threads: _opened(files, threads) for threads in (1, 2)}
        times = {threads: timed(engines, image[None], given.rounds) for threads, engines in cores.items()}
        proofs = {
            name: parity(reference, Predictor(engine), samples, classes, limit=given.pictures)
            for name, engine in cores[2].items()
        }
        sizes = {name: _megabytes(file) for name, file in files.items()}
    rows = [_row(name, times, proofs[name], sizes[name]) for name in RIVALS]
    facts = reference.engine.facts
    pictures_used = next(iter(proofs.values())).pictures
    tables.write(
        given.name,
        f"Engines for {facts.name} at {facts.size_hw[1]}x{facts.size_hw[0]}, one picture at a time",
        f"`python benchmarks/engines.py RUN {given.data.name} --split {given.split}`: the time of one answer (uint8 picture in, "
        f"probabilities out), median of {given.rounds} in turns; in brackets how many times as fast as {BASE}. Agreement and mean IoU "
        f"are of {pictures_used} real pictures against PyTorch, with the paired 95 % interval of the change in points.",
        (
            "engine and file",
            "MB",
            "CPU ms, 1 thread",
            "ms, 1 thread",
            "ms, 2 threads",
            "same class",
            "mIoU",
            "change, points",
        ),
        rows,
    )


def _opened(files: Mapping[str, Path], threads: int) -> dict[str, Engine]:
    return {name: rival.opened(files[name], threads) for name, rival in RIVALS.items()}


def _row(name: str, times: dict[int, dict[str, tuple[float, float]]], proof: Certificate, size: float) -> list[str]:
    def cell(threads: int, which: int) -> str:
        mine, base = times[threads][name][which], times[threads][BASE][which]
        return f"{mine:.1f} ({base / mine:.2f})"

    change = "–"
    if proof.miou_change is not None:
        value, low, high = (100 * number for number in proof.miou_change)
        change = f"{value:+.2f} ({low:+.2f} to {high:+.2f})"
    score = "–" if proof.candidate_miou is None else f"{proof.candidate_miou:.4f}"
    return [name, f"{size:.1f}", cell(1, 0), cell(1, 1), cell(2, 1), f"{proof.agreement:.3%}", score, change]


def _megabytes(file: Path) -> float:
    weights = file.with_suffix(".bin")
    return (file.stat().st_size + (weights.stat().st_size if weights.exists() else 0)) / 1e6


if __name__ == "__main__":
    main()
