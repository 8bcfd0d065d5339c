"""Lightning's share of a training step: the same steps through its Trainer and in a bare loop, in processor time.

    python benchmarks/lightning_overhead.py DATA [--rounds 7] [--steps 12] [--width 480 --height 640] [--batch-size 4]

Both turns take batches from the same data module, through the same segmenter (loss, precision, optimiser, clipping,
counting of steps, moving of the learning rate); the bare loop calls its methods itself. Turns alternate, and the
seconds of a turn count from the end of its first step, so that starting a Trainer is left out. What is compared is the
processor time of the process, which other programs on the machine hardly change.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import tables
import torch

from segwright.data.layouts import find_dataset
from segwright.data.loaders import Pairs, Splits
from segwright.data.splits import divide
from segwright.engines.memory import keep_memory
from segwright.models.catalogue import build
from segwright.recipe import named_recipe
from segwright.training.pace import choose
from segwright.training.plan import Plan
from segwright.training.segmenter import Segmenter


class Watch(L.Callback):
    """Processor time when the first and the last step of a turn ended."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the time."""
        self.times.append(time.process_time())


class Bare:
    """What a segmenter asks of its trainer, and no more."""

    def __init__(self, optimiser: torch.optim.Optimizer) -> None:
        self.optimizers = [optimiser]
        self.should_stop = False
        self.accumulate_grad_batches = 1


def through_lightning(segmenter: Segmenter, pairs: Pairs, steps: int, folder: str) -> float:
    """Seconds per step with the Trainer that `segwright.training.fit` makes."""
    watch = Watch()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = L.Trainer(
            accelerator="cpu",
            devices=1,
            max_steps=steps,
            gradient_clip_val=segmenter.recipe.fit.clip,
            limit_val_batches=0,
            callbacks=[watch],
            logger=L.pytorch.loggers.TensorBoardLogger(folder, name="tensorboard", version=""),
            enable_progress_bar=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            log_every_n_steps=10,
            default_root_dir=folder,
        )
        trainer.fit(segmenter, train_dataloaders=pairs.train_dataloader())
    return (watch.times[-1] - watch.times[0]) / (len(watch.times) - 1)


def by_hand(segmenter: Segmenter, pairs: Pairs, steps: int) -> float:
    """Seconds per step of the same without a Trainer."""
    segmenter.train()
    optimiser = segmenter.configure_optimizers()
    segmenter._trainer = Bare(optimiser)  # type: ignore[assignment]
    times: list[float] = []
    batches = iter(pairs.train_dataloader())
    while len(times) < steps:
        batch = next(batches, None)
        if batch is None:
            batches = iter(pairs.train_dataloader())
            continue
        number = len(times)
        segmenter.on_train_batch_start(batch, number)
        optimiser.zero_grad()
        loss = segmenter.training_step(batch, number)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(segmenter.parameters(), segmenter.recipe.fit.clip)
        optimiser.step()
        segmenter.on_train_batch_end(None, batch, number)
        times.append(time.process_time())
    segmenter._trainer = None
    return (times[-1] - times[0]) / (len(times) - 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="lraspp_mobilenet_v3_large")
    parser.add_argument("--width", type=int, default=480)
    parser.add_argument("--height", type=int, default=640)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=12)
    options = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    recipe = named_recipe("multiclass").with_settings(
        model=options.model,
        width=options.width,
        height=options.height,
        batch_size=options.batch_size,
        small_share=0.0,
        epochs=10**6,
    )
    dataset = find_dataset(options.data)
    parts = divide(dataset)
    keep_memory()
    network = build(recipe.model, dataset.classes.channels).to(memory_format=torch.channels_last)
    pace = choose(network, dataset.classes.channels, recipe.data.size_hw, "auto", "cpu")
    pairs = Pairs(Splits(parts["train"], parts["val"]), dataset.classes, recipe, "cpu")
    plan = Plan(recipe, steps_per_epoch=max(len(parts["train"]) // options.batch_size, 1))
    plan.check_at = 10**9  # no stretch ends before a turn does
    segmenter = Segmenter(network, dataset.classes, recipe, pace, plan, pairs)
    seconds: dict[str, list[float]] = {"bare loop": [], "Lightning": []}
    with tempfile.TemporaryDirectory() as folder:
        by_hand(segmenter, pairs, 3)
        for number in range(options.rounds):
            turns = {
                "bare loop": lambda: by_hand(segmenter, pairs, options.steps),
                "Lightning": lambda: through_lightning(segmenter, pairs, options.steps, folder),
            }
            for name in list(turns)[:: 1 if number % 2 else -1]:
                seconds[name].append(turns[name]())
    shares = [b / a - 1 for a, b in zip(seconds["bare loop"], seconds["Lightning"], strict=True)]
    rows = [[name, f"{1e3 * statistics.median(times):.1f}"] for name, times in seconds.items()]
    rows.append(["Lightning's share, median of rounds", f"{100 * statistics.median(shares):+.1f} %"])
    tables.write(
        "lightning_overhead",
        f"Lightning's share of a step, {options.model} at {options.width}x{options.height}, batch {options.batch_size}",
        f"Processor time per step, {options.rounds} rounds of {options.steps} steps each way, in turn; {pace.why}. Rounds "
        f"differ by {100 * (max(shares) - min(shares)):.1f} points between the least and the most.",
        ["loop", "CPU ms per step"],
        rows,
    )


if __name__ == "__main__":
    main()
