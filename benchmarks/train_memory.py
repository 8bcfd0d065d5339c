"""Memory of a training: peak resident size of segwright and of a usual script, each in a process of its own.

    python benchmarks/train_memory.py DATA [--networks lraspp unet] [--batch-size 8]

DATA as for camvid_quality.py, whose plain script is the rival. Both train one pass at 480x352, which is what 480x360
pictures become for networks that halve them five times, and check once. The peak is the kernel's own count for the
whole process (getrusage), libraries included; the line of a process that only imports them is the floor of both.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import camvid_quality
import tables

SIZE_HW = (352, 480)
SIDES = ("imports", "plain", "segwright")


def peak_mb() -> float:
    """Largest resident size of this process so far, MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3


def plain(data: Path, network: str, batch_size: int) -> None:
    """One pass and one check of the usual script."""
    import torch
    from torch.utils.data import DataLoader

    script = camvid_quality.Script(camvid_quality.pairs_of(data, "train"), network)
    script.size_hw = SIZE_HW
    for images, truth in DataLoader(script, batch_size, shuffle=True, drop_last=True):
        script.optimiser.zero_grad()
        script.loss(script.logits(images), truth).backward()
        script.optimiser.step()
    script.body.eval()
    with torch.inference_mode():
        camvid_quality.mean_iou(script.answer, camvid_quality.pairs_of(data, "val"))


def ours(data: Path, network: str, batch_size: int) -> None:
    """One pass and one check of segwright, all of it at full size."""
    import segwright

    height, width = SIZE_HW
    recipe = segwright.named_recipe("multiclass").with_settings(
        height=height, width=width, batch_size=batch_size, epochs=1, small_share=0.0, **camvid_quality.MODELS[network]
    )
    out = Path("runs") / "train_memory" / f"{network}-{os.getpid()}"
    segwright.train(data, recipe, out)
    shutil.rmtree(out)


def imports() -> None:
    """Load what both sides load."""
    import albumentations  # noqa: F401
    import segmentation_models_pytorch  # noqa: F401

    import segwright.training.fit  # noqa: F401


def measured(data: Path, side: str, network: str, batch_size: int) -> float:
    """Peak of one side in MB, from a process of its own."""
    command = [sys.executable, __file__, str(data), "--job", side, network, "--batch-size", str(batch_size)]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return float(said.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--networks", nargs="+", choices=list(camvid_quality.NETWORKS), default=["lraspp", "unet"])
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--job", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        side, network = options.job
        if side == "imports":
            imports()
        else:
            {"plain": plain, "segwright": ours}[side](options.data, network, options.batch_size)
        return print(peak_mb())
    rows = []
    for network in options.networks:
        peaks = [measured(options.data, side, network, options.batch_size) for side in SIDES]
        ratio = peaks[2] / peaks[1]
        rows.append([camvid_quality.NETWORKS[network], *(f"{peak:.0f}" for peak in peaks), f"{ratio:.2f}"])
    height, width = SIZE_HW
    tables.write(
        "train_memory",
        f"Memory of a training at {width}x{height}, batch {options.batch_size}",
        "Peak resident size of the whole process in MB: one pass over the training pictures and one check. plain is the usual "
        "script of benchmarks/camvid_quality.py (float32, pictures read from disk each time); segwright keeps decoded "
        "pictures in memory (--cache-gb) and freed blocks for the next step. imports is what loading the libraries alone takes.",
        ["network", *SIDES, "segwright / plain"],
        rows,
    )
    return None


if __name__ == "__main__":
    main()
