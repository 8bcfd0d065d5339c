"""What a run leaves on disk while it goes: best and last weights, log.csv, panels - and the progress bar that shows it."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from segwright.checkpoint import Checkpoint
from segwright.outputs import write_text
from segwright.training.segmenter import Segmenter


class Keeper(L.Callback):
    """Keep the last weights and the best ones, and one line of log.csv for each check.

    Args:
        folder: of the run.
        provenance: goes into every checkpoint.
        after_check: called with (segmenter, number of the check), to draw panels.
    """

    def __init__(self, folder: Path, provenance: dict[str, Any], after_check: Callable[[Segmenter, int], None]) -> None:
        self.folder, self.provenance, self.after_check = folder, provenance, after_check
        self.best = -1.0
        self.best_epoch = 0
        self.checks_without_gain = 0
        self.rows: list[dict[str, float]] = []
        self.started = time.monotonic()
        self.last_checked_step = -1

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save, log, draw; stop when patience is at its end."""
        if trainer.sanity_checking or not isinstance(pl_module, Segmenter):
            return
        segmenter = pl_module
        self.last_checked_step = segmenter.plan.step
        segmenter.plan.after_check(segmenter.scores["val_iou"])
        improved = segmenter.scores["val_iou"] > self.best
        if trainer.is_global_zero:
            self._save(segmenter, improved)
            self._log(segmenter)
            self.after_check(segmenter, len(self.rows))
        if improved:
            self.best, self.best_epoch, self.checks_without_gain = segmenter.scores["val_iou"], len(self.rows), 0
            return
        self.checks_without_gain += 1
        patience = segmenter.recipe.fit.patience
        if patience and self.checks_without_gain >= patience:
            trainer.should_stop = True

    def _save(self, segmenter: Segmenter, improved: bool) -> None:
        weights = {k: v.detach().clone().cpu() for k, v in segmenter.measured.state_dict().items()}
        kept = Checkpoint(
            recipe=segmenter.recipe,
            classes=segmenter.classes,
            weights=weights,
            scores=segmenter.scores,
            step=segmenter.plan.step,
            epoch=segmenter.current_epoch + 1,
            provenance=self.provenance,
        )
        kept.save(self.folder / "last.safetensors")
        if improved:
            kept.save(self.folder / "best.safetensors")

    def _log(self, segmenter: Segmenter) -> None:
        self.rows.append(
            {
                "epoch": segmenter.current_epoch + 1,
                "step": segmenter.plan.step,
                "seconds": round(time.monotonic() - self.started, 1),
                "lr": round(segmenter.plan.learning_rate(), 8),
                "train_loss": round(segmenter.train_loss, 5),
                **{name: round(score, 5) for name, score in segmenter.scores.items()},
            }
        )
        text = io.StringIO()
        writer = csv.DictWriter(text, self.rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.folder / "log.csv", text.getvalue())


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


class CheckPace(L.Callback):
    """In a run planned in minutes, check so rarely that checking takes at most a tenth of the time."""

    LEAST_RATIO = 9.0
    NEVER = 1 << 40
    """Lightning checks after passes whose number this divides."""

    def __init__(self) -> None:
        self.pass_started = self.pass_seconds = 0.0
        self.check_started = self.check_seconds = self.last_checked = 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Decide whether this pass will end with a check."""
        self.pass_started = time.monotonic()
        learnt = self.pass_started + self.pass_seconds - self.last_checked
        due = learnt >= self.LEAST_RATIO * self.check_seconds
        trainer.check_val_every_n_epoch = 1 if due else self.NEVER

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note how long a pass takes; a check at its end, which Lightning makes before this, is left out."""
        checked = self.last_checked - self.check_started if self.last_checked > self.pass_started else 0.0
        self.pass_seconds = time.monotonic() - self.pass_started - checked

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the watch."""
        self.check_started = time.monotonic()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note how long a check takes."""
        self.last_checked = time.monotonic()
        self.check_seconds = self.last_checked - self.check_started


@torch.inference_mode()
def answers(segmenter: Segmenter, images: torch.Tensor) -> list[Any]:
    """Class maps of placed pictures, as the check sees them.

    Args:
        segmenter: its measured network answers.
        images: (B, 3, H, W) uint8.

    Returns:
        (H, W) uint8 arrays.
    """
    network = segmenter.measured
    was_training = network.training
    network.eval()
    logits = network(images.to(segmenter.device).float() / 255.0).float()
    network.train(was_training)
    return [segmenter.classes.decode(p) for p in segmenter.classes.probabilities(logits).cpu().numpy()]
