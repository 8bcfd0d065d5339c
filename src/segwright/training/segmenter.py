"""The Lightning module: loss, optimiser, schedule, batch-norm statistics and validation scores."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable, Iterator
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import nn

from segwright import metrics
from segwright.classes import IGNORED, Classes
from segwright.data.loaders import Batch, Draw, Pairs, stack
from segwright.errors import UserError
from segwright.models.catalogue import Network
from segwright.recipe import Recipe
from segwright.tiling import blended
from segwright.training.losses import build_loss
from segwright.training.pace import Pace, computing
from segwright.training.plan import Plan

RESTATE = 2
"""Stream of random numbers for the pictures that batch-norm statistics are taken from."""
MOST_RESTATED = 32
"""Batches for the statistics at most; the mean of thousands of positions each settles long before."""


class Segmenter(L.LightningModule):
    """A network in training.

    Args:
        network: images 0..1 to logits.
        classes: what the channels mean.
        recipe: everything else.
        pace: how to compute.
        plan: learning rate and size over time.
        pairs: the data; batch-norm statistics are taken from it.
    """

    def __init__(
        self, network: Network, classes: Classes, recipe: Recipe, pace: Pace, plan: Plan, pairs: Pairs
    ) -> None:
        super().__init__()
        self.network, self.classes, self.recipe = network, classes, recipe
        self.pace, self.plan, self.pairs = pace, plan, pairs
        pairs.order.size_at = plan.size_hw
        self.measured: nn.Module = network
        if recipe.fit.ema:
            self.measured = copy.deepcopy(network).requires_grad_(False)
        self.loss = build_loss(recipe.fit.loss, classes, label_smoothing=recipe.fit.label_smoothing)
        self.train_loss = 0.0
        self.scores: dict[str, float] = {}
        self._counts = np.zeros((len(classes), len(classes)), np.int64)
        self._losses: list[float] = []

    def _logits(self, network: nn.Module, images: torch.Tensor) -> torch.Tensor:
        on_cpu = images.device.type == "cpu"
        # On CUDA, Lightning's precision plugin has opened the autocast context already.
        with computing(network, self.pace, "cpu") if on_cpu else contextlib.nullcontext():
            logits: torch.Tensor = network(images.float() / 255.0)
        return logits.float()

    def training_step(self, batch: Batch, batch_index: int) -> torch.Tensor:
        """Loss of one batch.

        Raises:
            UserError: it is not a finite number.
        """
        loss = self.loss(self._logits(self.network, batch.images), batch.class_maps)
        value = float(loss.detach())
        if not np.isfinite(value):
            raise UserError(
                f"The loss became {value} at step {self.plan.step} (pictures {', '.join(batch.keys[:4])}, ...); "
                f"train again with a smaller --lr than {self.recipe.fit.lr} or with --precision fp32."
            )
        self.train_loss = value if not self.train_loss else 0.95 * self.train_loss + 0.05 * value
        return loss

    def on_train_batch_start(self, batch: Batch, batch_index: int) -> None:
        """Set this step's learning rate."""
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.plan.learning_rate()

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_index: int) -> None:
        """Count the step and move the average of the weights."""
        self.plan.step += 1
        if self.measured is not self.network:
            # Short runs would drag their random start along; the usual warm-up of the decay prevents that.
            decay = min(self.recipe.fit.ema, (1 + self.plan.step) / (10 + self.plan.step))
            with torch.no_grad():
                for average, new in zip(
                    self.measured.state_dict().values(), self.network.state_dict().values(), strict=True
                ):
                    if average.is_floating_point():
                        average.lerp_(new, 1 - decay)
                    else:
                        average.copy_(new)
        if self.plan.progress >= 1.0:
            self.trainer.should_stop = True

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; norms, biases and other vectors are not decayed."""
        matrices = [p for p in self.network.parameters() if p.ndim > 1]
        vectors = [p for p in self.network.parameters() if p.ndim <= 1]
        groups = [
            {"params": matrices, "weight_decay": self.recipe.fit.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=self.plan.learning_rate())

    def on_validation_epoch_start(self) -> None:
        """Begin counting, with batch-norm statistics that belong to the weights as they are now."""
        self._counts[:] = 0
        self._losses.clear()
        with computing(self.measured, self.pace, "cpu") if self.device.type == "cpu" else contextlib.nullcontext():
            restate(self.measured, self._restating_batches())

    def _restating_batches(self) -> Iterator[torch.Tensor]:
        pictures, size = self.pairs.train_pictures, self.pairs.batch_size
        count = min(MOST_RESTATED, max(len(pictures) // size // 8, 2))
        rng = np.random.default_rng((self.recipe.fit.seed, RESTATE, self.plan.step))
        chosen = rng.integers(0, len(pictures), (count, size))
        for number, row in enumerate(chosen):
            draws = [
                Draw(
                    int(index), (self.recipe.fit.seed, RESTATE, self.plan.step, number, place), self.recipe.data.size_hw
                )
                for place, index in enumerate(row)
            ]
            yield stack([pictures[draw] for draw in draws]).images.to(self.device).float() / 255.0

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Count pixel pairs: at the network's size (`evaluate` measures at the pictures' own), or tile by tile at the pictures' own."""
        predictions, loss = self._by_tiles(batch) if self.recipe.data.patch_size else self._placed(batch)
        self._losses.append(loss)
        for truth, prediction in zip(batch.class_maps.cpu().numpy(), predictions, strict=True):
            self._counts += metrics.confusion(truth, prediction, len(self.classes))

    def _placed(self, batch: Batch) -> tuple[list[np.ndarray], float]:
        """Class maps and loss of a batch of the network's size."""
        logits = self._logits(self.measured, batch.images)
        probabilities = self.classes.probabilities(logits).cpu().numpy()
        return [self.classes.decode(answer) for answer in probabilities], float(self.loss(logits, batch.class_maps))

    def _by_tiles(self, batch: Batch) -> tuple[list[np.ndarray], float]:
        """Class map and loss of one whole picture, answered as `Predictor` answers it; the loss is a mean over blocks of tiles."""
        truth, class_map = batch.class_maps[0], np.empty(tuple(batch.class_maps.shape[1:]), np.uint8)

        def run(patches: np.ndarray) -> np.ndarray:
            images = torch.from_numpy(patches).permute(0, 3, 1, 2).to(self.device)
            probabilities = self.classes.probabilities(self._logits(self.measured, images))
            return np.asarray(probabilities.cpu().numpy())

        total = labelled = 0.0
        image = batch.images[0].permute(1, 2, 0).cpu().numpy()
        for rows, columns, values in blended(image, self.recipe.data.size_hw, run, batch_size=self.pairs.batch_size):
            class_map[rows, columns] = self.classes.decode(values)
            here = truth[rows, columns][None]
            count = int((here != IGNORED).sum())
            if count:
                # Blended probabilities have no logits of their own; these are logits that give them.
                sure = torch.from_numpy(values)[None].to(self.device).clamp(1e-6, 1 - 1e-6)
                logits = sure.logit() if self.classes.channels == 1 else sure.log()
                total, labelled = total + count * float(self.loss(logits, here)), labelled + count
        return [class_map], total / labelled if labelled else 0.0

    def on_validation_epoch_end(self) -> None:
        """Scores of this check, over all processes."""
        gathered = torch.as_tensor(self.all_gather(torch.from_numpy(self._counts)))
        counts = gathered.reshape(-1, *self._counts.shape).sum(0).cpu().numpy()
        iou = metrics.iou(counts)
        score = float(iou[1]) if len(self.classes) == 2 else float(metrics.mean_iou(counts))
        dice = metrics.dice(counts)[1 if len(self.classes) == 2 else 0 :]
        # Classes that occur neither in truth nor in prediction have no score; neither has a check of ignored pixels only.
        known = dice[np.isfinite(dice)]
        self.scores = {
            "val_loss": float(np.mean(self._losses)) if self._losses else float("nan"),
            "val_iou": float(np.nan_to_num(score)),
            "val_dice": float(known.mean()) if known.size else 0.0,
            "val_pixel_accuracy": float(np.nan_to_num(metrics.pixel_accuracy(counts))),
        }
        self.log_dict(self.scores)


@torch.no_grad()
def restate(network: nn.Module, batches: Iterable[torch.Tensor]) -> None:
    """Re-estimate batch-norm statistics: their mean over `batches` instead of a lagging average of the training.

    After a few hundred steps a running average still holds the random start (with torchvision's momentum of 0.01 for
    MobileNetV3, most of it): networks with a training loss near 0 then score 0 in evaluation.

    Args:
        network: left in the mode it was in; only statistics change.
        batches: (B, 3, H, W) float 0..1, as in training.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    was_training, momenta = network.training, [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # PyTorch then takes the plain mean of all batches
        norm.train()
    for images in batches:
        network(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.train(was_training)
