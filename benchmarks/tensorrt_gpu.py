"""TensorRT on a GPU: engines built, proven equal to the model, and timed beside PyTorch, all in one run.

    python benchmarks/tensorrt_gpu.py RUN DATA [--pictures 64] [--rounds 200]

Without an NVIDIA GPU and a TensorRT it says what is missing, and ends.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tables
import torch

from segwright.data.sample import read_image
from segwright.engines.contract import Engine
from segwright.engines.opening import open_engine
from segwright.engines.tensorrt_library import gpu_here, load_tensorrt
from segwright.errors import SegwrightError
from segwright.preprocess import place_image
from segwright.workflows.choosing import proof_samples
from segwright.workflows.tensorrt import export_engine

WARM_UP = 20


def main() -> None:
    """Build, prove, time, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=200)
    given = parser.parse_args()
    if not gpu_here():
        sys.exit(
            "tensorrt_gpu: PyTorch finds no NVIDIA GPU with a driver here, and nothing else can be measured; run it where there is one."
        )
    try:
        trt = load_tensorrt()
        measure(given.run, given.data, given.pictures, given.rounds, f"{trt.__name__} {trt.__version__}")
    except SegwrightError as error:
        sys.exit(f"tensorrt_gpu: {error}")


def measure(run: Path, data: Path, pictures: int, rounds: int, library: str) -> None:
    """One row for each engine; the engines answer the same picture in turns."""
    engines: dict[str, Engine] = {"PyTorch, FP32": open_engine(run, device="cuda")}
    notes = {"PyTorch, FP32": ["-", "-", "-"]}
    with tempfile.TemporaryDirectory() as name:
        for precision in ("fp32", "fp16"):
            out = Path(name) / f"{precision}.engine"
            started = time.perf_counter()
            made = export_engine(run, out, data=data, precision=precision, limit=pictures)
            seconds = time.perf_counter() - started
            row = f"TensorRT, {precision.upper()}"
            agreement = f"{made.certificate.agreement:.3%}" if made.certificate else "not proven"
            notes[row] = [f"{seconds:.0f} s", f"{out.stat().st_size / 1e6:.1f} MB", agreement]
            engines[row] = open_engine(out)
        facts = engines["PyTorch, FP32"].facts
        samples, _ = proof_samples(data, settings=facts.provenance["recipe"])
        image = place_image(read_image(samples[0].image), facts.size_hw, facts.fit)[None]
        taken: dict[str, list[float]] = {row: [] for row in engines}
        for turn in range(WARM_UP + rounds):
            for row, engine in engines.items():
                torch.cuda.synchronize()
                started = time.perf_counter()
                engine.probabilities(image)
                if turn >= WARM_UP:
                    taken[row].append(1000 * (time.perf_counter() - started))
    first = float(np.median(taken["PyTorch, FP32"]))
    rows = [
        [
            row,
            f"{np.median(times):.2f} ms",
            f"{np.percentile(times, 95):.2f} ms",
            f"{first / np.median(times):.2f}",
            *notes[row],
        ]
        for row, times in taken.items()
    ]
    tables.write(
        "tensorrt_gpu",
        "TensorRT on a GPU",
        f"{facts.name} at {facts.size_hw[1]}x{facts.size_hw[0]}, {library}. One picture at a time, from uint8 in host memory to "
        f"probabilities in host memory, {rounds} rounds in turns. Agreement with PyTorch on the CPU on up to {pictures} pictures of "
        f"{data.name}; the time of making includes the export to ONNX and both proofs.",
        ["engine", "median", "95th percentile", "times PyTorch", "made in", "size", "pixels that agree"],
        rows,
    )


if __name__ == "__main__":
    main()
