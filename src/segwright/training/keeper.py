"""What a run leaves on disk while it goes: best and last weights, log.csv, panels, its state - and the bar that shows it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from segwright.checkpoint import Checkpoint
from segwright.outputs import csv_text, write_text
from segwright.recipe import Recipe
from segwright.training import panels
from segwright.training.loggers import Loggers
from segwright.training.mishaps import Skips
from segwright.training.segmenter import Segmenter
from segwright.training.state import save

STATE_SHARE = 0.05
"""Saving what `--resume` needs may take this share of the time; a large network is saved at fewer checks."""


class Keeper(L.Callback):
    """Keep the last weights and the best ones, one line of log.csv for each check, and what `--resume` needs.

    Args:
        folder: of the run.
        provenance: goes into every checkpoint.
        loggers: are told each line and shown each panel.
        recipe: as the run began with it; resuming takes it from the state, which is whole, and not from a file people may edit.
        skips: count the pictures that were left out.
    """

    def __init__(
        self, folder: Path, provenance: dict[str, Any], loggers: Loggers, recipe: Recipe, skips: Skips
    ) -> None:
        self.folder, self.provenance, self.loggers, self.recipe = folder, provenance, loggers, recipe
        self.skips = skips
        self.best = -1.0
        self.checks_without_gain = 0
        self.over = False
        """Whether the last check was the last of the run: killed after that, it has only to be tidied up."""
        self.rows: list[dict[str, float]] = []
        self.saved_at = self.saving = 0.0
        """When the state was last saved, and how long that took, seconds."""
        self.check_started = 0.0
        self.stretch_began = (0.0, 0)
        """When the steps since the last check began, and at which step."""

    def state(self) -> dict[str, Any]:
        """What a resumed run must know; every process must ask for it."""
        kept = ("best", "checks_without_gain", "over", "rows", "provenance")
        return {name: getattr(self, name) for name in kept} | {"skips": self.skips.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        for name, value in state.items():
            if name == "skips":
                self.skips.restore(value)
            else:
                setattr(self, name, value)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the watches."""
        if isinstance(pl_module, Segmenter):
            self.saved_at = time.monotonic()
            self.stretch_began = (time.monotonic(), pl_module.plan.step)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Save the state between two checks, here where a step is complete and the next has not begun."""
        if isinstance(pl_module, Segmenter) and pl_module.plan.partial == 0 and pl_module.plan.step:
            late = time.monotonic() - self.saved_at >= 60 * pl_module.recipe.run.save_minutes
            if trainer.strategy.broadcast(late) if trainer.world_size > 1 else late:
                self.save_state(pl_module)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the watch of the check."""
        self.check_started = time.monotonic()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save, log, draw; stop when patience is at its end; say when the next check is due."""
        if not isinstance(pl_module, Segmenter):
            return
        segmenter, plan = pl_module, pl_module.plan
        plan.after_check(segmenter.scores["val_iou"])
        looking = plan.epoch > segmenter.recipe.fit.cool_down or plan.progress >= 1.0
        improved = looking and segmenter.scores["val_iou"] > self.best
        weights = segmenter.measured_weights()
        if trainer.is_global_zero:
            self._save(segmenter, weights, improved)
        self._log(segmenter)
        if trainer.is_global_zero:
            number, row = len(self.rows), self.rows[-1]
            drawn = panels.draw(self.folder / "panels", number, segmenter.tally, segmenter.classes, row)
            self.loggers.log_check(row, drawn)
        if improved:
            self.best, self.checks_without_gain = segmenter.scores["val_iou"], 0
        elif looking:
            self.checks_without_gain += 1
        patience = segmenter.recipe.fit.patience
        if patience and self.checks_without_gain >= patience:
            trainer.should_stop = True
        self.over = trainer.should_stop
        self._plan_next(trainer, segmenter)
        saving = time.monotonic() - self.saved_at >= self.saving / STATE_SHARE
        if trainer.strategy.broadcast(saving) if trainer.world_size > 1 else saving:
            self.save_state(segmenter)

    def _plan_next(self, trainer: L.Trainer, segmenter: Segmenter) -> None:
        plan, (began, at) = segmenter.plan, self.stretch_began
        step_seconds = (self.check_started - began) / max(plan.step - at, 1)
        plan.plan_check(time.monotonic() - self.check_started, step_seconds)
        if trainer.world_size > 1:
            plan.check_at = trainer.strategy.broadcast(plan.check_at)
        self.stretch_began = (time.monotonic(), plan.step)

    def save_state(self, segmenter: Segmenter) -> None:
        """Write what `--resume` needs; every process must call this."""
        started = time.monotonic()
        more = {"keeper": self.state(), "world": segmenter.trainer.world_size, "recipe": self.recipe.to_dict()}
        state = segmenter.state() | more
        if segmenter.trainer.is_global_zero:
            save(self.folder, state)
        self.saved_at = time.monotonic()
        self.saving = self.saved_at - started

    def _save(self, segmenter: Segmenter, weights: dict[str, torch.Tensor], improved: bool) -> None:
        plan = segmenter.plan
        kept = Checkpoint(
            recipe=segmenter.recipe,
            classes=segmenter.classes,
            weights=weights,
            scores=segmenter.scores,
            step=plan.step,
            epoch=plan.epoch,
            provenance=self.provenance,
            widths=segmenter.network.widths,
        )
        kept.save(self.folder / "last.safetensors")
        if improved:
            kept.save(self.folder / "best.safetensors")
        if segmenter.recipe.run.save_checkpoints and plan.step % plan.steps_per_epoch == 0:
            kept.save(self.folder / "checkpoints" / f"epoch_{plan.epoch:03d}.safetensors")

    def _log(self, segmenter: Segmenter) -> None:
        plan = segmenter.plan
        self.rows.append(
            {
                "epoch": plan.epoch,
                "step": plan.step,
                "seconds": round(plan.seconds, 1),
                "lr": round(plan.learning_rate(), 8),
                "images_per_second": round(self.loggers.images_per_second, 2),
                "train_loss": round(segmenter.train_loss, 5),
                **{name: round(score, 5) for name, score in segmenter.train_scores.items()},
                **{name: round(score, 5) for name, score in segmenter.scores.items()},
                **{name: round(score, 5) for name, score in segmenter.class_scores.items()},
            }
        )
        if not segmenter.trainer.is_global_zero:
            return
        write_text(self.folder / "log.csv", csv_text(list(self.rows[0]), (row.values() for row in self.rows)))


class Bar(L.Callback):
    """A progress bar with loss, IoU, pictures per second and the time left.

    Args:
        console: where it is drawn.
    """

    def __init__(self, console: Console) -> None:
        self.progress = Progress(
            BarColumn(bar_width=12),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
        )
        self.task: TaskID | None = None
        self.pictures, self.seconds, self.since = 0, 0.0, 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the bar."""
        self.task = self.progress.add_task("train", total=1.0, facts="")
        self.progress.start()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Start the watch."""
        self.since = time.monotonic()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar."""
        if self.task is None or not isinstance(pl_module, Segmenter):
            return
        # A running rate, because the two sizes of a run differ fourfold.
        self.seconds = 0.9 * self.seconds + time.monotonic() - self.since
        self.pictures = int(batch.images.shape[0]) + round(0.9 * self.pictures)
        iou = pl_module.scores.get("val_iou")
        rate = self.pictures / max(self.seconds, 1e-9)
        height, width = batch.images.shape[-2:]
        facts = f"{width}x{height}  loss {pl_module.train_loss:.3f}  IoU {'-' if iou is None else f'{iou:.3f}'}  {rate:.1f} images/s"
        self.progress.update(self.task, completed=pl_module.plan.progress, facts=facts)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the full bar standing."""
        if self.task is not None:
            self.progress.update(self.task, completed=1.0)
        self.progress.stop()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Give the terminal back."""
        self.progress.stop()
