"""Training on a GPU: pictures a second with the data path on and off, and how busy the GPU is.

    python benchmarks/train_gpu.py DATA [--model lraspp_mobilenet_v3_large] [--batch-size 32] [--steps 50] [--rounds 5]

The same step (mixed precision, loss, optimiser, clipping) takes its batches in turn from tensors that lie on the GPU, and from
pictures that are read, varied, stacked and moved as `segwright train` does; the aim is a whole loop within 10 % of the
bare computation. Without an NVIDIA GPU it says so and ends; `--device cpu` tries the script, and writes no table.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import tables
import torch
from lightning.fabric.utilities import move_data_to_device

from segwright.data.layouts import find_dataset
from segwright.data.loaders import Batch, Pairs, Splits
from segwright.data.splits import divide
from segwright.engines.memory import keep_memory
from segwright.models.catalogue import build
from segwright.recipe import Recipe, named_recipe
from segwright.training.losses import batch_loss, loss_of
from segwright.training.optimisers import build_optimiser
from segwright.training.pace import choose, computing

WARM_UP = 10


class Training:
    """One network and its steps.

    Args:
        data: folder with pictures and masks.
        recipe: all settings.
        device: "cuda" or "cpu".
    """

    def __init__(self, data: Path, recipe: Recipe, device: str) -> None:
        dataset = find_dataset(data)
        parts = divide(dataset)
        self.device = device
        self.network = build(recipe.model, dataset.classes.channels).to(device, memory_format=torch.channels_last)
        self.pace = choose(self.network, dataset.classes.channels, recipe.data.size_hw, "auto", device)
        self.loss = loss_of(recipe.fit, dataset.classes)
        self.optimiser = build_optimiser(self.network, recipe.fit, float(recipe.fit.lr))
        self.scaler = torch.amp.GradScaler(device, enabled=device == "cuda" and self.pace.precision == "fp16")
        self.clip = recipe.fit.clip
        self.steps_of_a_pass = len(parts["train"]) // recipe.fit.batch_size
        self.loader = Pairs(Splits(parts["train"], parts["val"]), dataset.classes, recipe, device).train_dataloader()

    def step(self, batch: Batch) -> None:
        """Learn from one batch that lies on the device."""
        self.optimiser.zero_grad(set_to_none=True)
        with computing(self.network, self.pace, self.device):
            logits = self.network(batch.images)
        self.scaler.scale(batch_loss(self.loss, logits.float(), batch)).backward()
        self.scaler.unscale_(self.optimiser)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()

    def read(self) -> Iterator[Batch]:
        """Batches from the disk or from the cache, for ever."""
        while True:
            yield from (move_data_to_device(batch, self.device) for batch in self.loader)

    def rate(self, batches: Iterator[Batch], steps: int) -> float:
        """Pictures a second."""
        self.wait()
        began, pictures = time.perf_counter(), 0
        for _ in range(steps):
            batch = next(batches)
            self.step(batch)
            pictures += len(batch.images)
        self.wait()
        return pictures / (time.perf_counter() - began)

    def wait(self) -> None:
        """Until the device has done what it was told to."""
        if self.device == "cuda":
            torch.cuda.synchronize()


def busy(work: Callable[[], float]) -> tuple[float, float]:
    """What some work answers, and the mean utilisation of the GPU in percent meanwhile; NaN where nobody can tell."""
    program = shutil.which("nvidia-smi")
    if program is None or not torch.cuda.is_available():
        return work(), float("nan")
    asked = [program, "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=100"]
    watch = subprocess.Popen(asked, stdout=subprocess.PIPE, text=True)
    try:
        answer = work()
    finally:
        watch.terminate()
    told = [float(line) for line in (watch.communicate()[0] or "").split() if line.replace(".", "").isdigit()]
    return answer, statistics.fmean(told) if told else float("nan")


def main() -> None:
    """Take turns, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="for example a folder drawn by: segwright synth cards")
    parser.add_argument("--model", default="lraspp_mobilenet_v3_large")
    parser.add_argument("--encoder", default="")
    parser.add_argument("--width", type=int, default=480)
    parser.add_argument("--height", type=int, default=640)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=50, help="of each turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        sys.exit("train_gpu: PyTorch finds no NVIDIA GPU here; run it where there is one, or try it with --device cpu.")
    recipe = named_recipe("card").with_settings(
        model=given.model,
        encoder=given.encoder,
        width=given.width,
        height=given.height,
        batch_size=given.batch_size,
    )
    keep_memory()
    training = Training(given.data, recipe, given.device)
    read = training.read()
    # The first pass decodes and fills the cache; it is no part of the rate that a run settles at.
    for _ in range(max(training.steps_of_a_pass, WARM_UP)):
        first = next(read)
    kept = iter(lambda: first, None)
    ways: dict[str, Iterator[Batch]] = {"synthetic tensors on the GPU": kept, "pictures, the whole data path": read}
    for batches in ways.values():
        training.rate(batches, WARM_UP)
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for turn in range(given.rounds):
        for name in list(ways)[:: 1 if turn % 2 else -1]:
            rates[name].append(busy(lambda batches=ways[name]: training.rate(batches, given.steps)))  # type: ignore[misc]
    bare, whole = (statistics.median(rate for rate, _ in values) for values in rates.values())
    rows = [
        [name, f"{statistics.median(r for r, _ in values):.1f}", f"{statistics.median(u for _, u in values):.0f} %"]
        for name, values in rates.items()
    ]
    rows.append(["whole path / bare computation", f"{whole / bare:.3f}", ""])
    if given.device == "cpu":
        print(*rows, sep="\n")
        return
    name = f"{given.model} {given.encoder}".strip()
    tables.write(
        f"train_gpu_{name.replace(' ', '_')}",
        f"Training {name} at {given.width}x{given.height} on a GPU, batch {given.batch_size}",
        f"Steps in {training.pace.precision}, {given.rounds} rounds of {given.steps} steps in turns, medians; utilisation as nvidia-smi "
        "tells it, a mean over each turn. Pictures come from the cache, as in every pass but the first.",
        ["batches from", "images/s", "GPU busy"],
        rows,
    )


if __name__ == "__main__":
    main()
