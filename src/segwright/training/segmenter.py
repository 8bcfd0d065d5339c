"""The Lightning module: loss, optimiser, schedule, batch-norm statistics and validation scores."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import lightning as L
import numpy as np
import torch
from torch import nn

from segwright import metrics
from segwright.classes import IGNORED, Classes
from segwright.data.loaders import Batch, Pairs, stack
from segwright.data.order import Draw
from segwright.errors import OutputError, UserError
from segwright.models.catalogue import Network
from segwright.recipe import Recipe
from segwright.tiling import blended
from segwright.training import replay
from segwright.training.losses import batch_loss, loss_of
from segwright.training.machines import of_all_processes
from segwright.training.optimisers import build_optimiser
from segwright.training.pace import Pace, computing
from segwright.training.plan import Plan
from segwright.training.rates import set_rate
from segwright.training.tally import Tally
from segwright.training.teacher import Teacher

RESTATE = 2
"""Stream of random numbers for the pictures that batch-norm statistics are taken from."""
COUNTED_EVERY = 8
"""Training IoU and Dice are counted on the first step after a check and on every eighth from there."""
COUNTED_PIXELS = 1 << 14
"""Pixels looked at on such a step, on a regular grid over the whole batch."""
RESTATED = 64
"""Training pictures the statistics are taken from. From 12 pictures the same weights scored a mean IoU of 0.39 to 0.43,
depending on which; from 32 the scores were 2 points apart, from 96 half a point (docs/log.md)."""


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
        pairs.order.course = plan
        self.measured: nn.Module = network
        if recipe.fit.ema:
            self.measured = copy.deepcopy(network).requires_grad_(False)
        self.loss = loss_of(recipe.fit, classes)
        self.folder: Path | None = None
        """Of the run: where a step that is not finite is kept; None keeps none."""
        self.teacher: Teacher | None = None
        """Whose answers are learnt beside the masks."""
        self._latest: tuple[Batch, torch.Tensor] = (Batch(torch.empty(0), torch.empty(0), ()), torch.empty(0))
        self.train_loss = 0.0
        self.scores: dict[str, float] = {}
        """Of the last check: val_loss, val_iou, val_dice, val_pixel_accuracy."""
        self.train_scores: dict[str, float] = {}
        """train_iou and train_dice since the check before, in training mode, on varied pictures."""
        self.class_scores: dict[str, float] = {}
        """val_iou_NAME of every class; NaN for one that was neither there nor predicted."""
        self.tally = Tally([sample.key for sample in pairs.val_pictures.samples], recipe.run.panels)
        self._train_counts = np.zeros((len(classes), len(classes)), np.int64)
        self._steps_since_check = 0
        self.resumed: dict[str, Any] = {}
        """What `restore` was given and Lightning takes only once it has begun."""
        self._counts = np.zeros((len(classes), len(classes)), np.int64)
        self._losses: list[float] = []

    def _logits(self, network: nn.Module, images: torch.Tensor) -> torch.Tensor:
        on_cpu = images.device.type == "cpu"
        # On CUDA, Lightning's precision plugin has opened the autocast context already.
        with computing(network, self.pace, "cpu") if on_cpu else contextlib.nullcontext():
            logits: torch.Tensor = network(images)
        return logits.float()

    def training_step(self, batch: Batch, batch_index: int) -> torch.Tensor:
        """Loss of one batch.

        Raises:
            UserError: it is not a finite number; the step is kept for `segwright replay`.
        """
        self._latest = batch, torch.get_rng_state()
        logits = self._logits(self.network, batch.images)
        loss = batch_loss(self.loss, logits, batch)
        if self.teacher:
            answer = self.teacher.answer(lambda network: self._logits(network, batch.images), batch.images.device)
            loss = self.teacher.joined(loss, logits, answer)
        value = float(loss.detach())
        if not np.isfinite(value):
            self._stop(f"the loss became {value}")
        self.train_loss = value if not self.train_loss else 0.95 * self.train_loss + 0.05 * value
        self._count_training(logits.detach(), batch.class_maps)
        return loss

    def _count_training(self, logits: torch.Tensor, class_maps: torch.Tensor) -> None:
        """Every pixel of every step would cost 3 % of it with 11 classes; this estimate costs 0.02 % and shows a gap as well."""
        self._steps_since_check += 1
        if (self._steps_since_check - 1) % COUNTED_EVERY:
            return
        stride = max(1, round((class_maps.numel() / COUNTED_PIXELS) ** 0.5))
        grid = (..., slice(stride // 2, None, stride), slice(stride // 2, None, stride))
        probabilities = self.classes.probabilities(logits[grid]).cpu().numpy()
        for truth, answer in zip(class_maps[grid].contiguous().cpu().numpy(), probabilities, strict=True):
            self._train_counts += metrics.confusion(truth, self.classes.decode(answer), len(self.classes))

    def on_fit_start(self) -> None:
        """Agree with the other processes, and give a resumed run its optimiser back."""
        self.pace = self.trainer.strategy.broadcast(self.pace)
        if self.resumed:
            self.trainer.strategy.load_optimizer_state_dict({"optimizer_states": [self.resumed["optimizer"]]})
            self.trainer.precision_plugin.load_state_dict(self.resumed["scaler"])

    def on_train_start(self) -> None:
        """Draw the same random numbers (dropout) as a run that was never stopped."""
        if self.resumed:
            torch.set_rng_state(self.resumed["random"][self.global_rank])
            if self.resumed["random_cuda"]:
                torch.cuda.set_rng_state(self.resumed["random_cuda"][self.global_rank], self.device)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Scale large gradients down, and stop at one that is not finite.

        Raises:
            UserError: the gradient is not finite. With FP16's loss scaling that is normal: the scaler skips the step.
        """
        weights = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in weights if p.grad is not None])
        if self.pace.precision != "fp16" and not bool(torch.isfinite(norm)):
            self._stop(f"the gradient became {float(norm)}")
        torch.nn.utils.clip_grads_with_norm_(weights, gradient_clip_val or float("inf"), norm)

    def _stop(self, what: str) -> NoReturn:
        """Keep the step, and say what happened and what to do."""
        batch, random = self._latest
        found = ""
        if self.folder is not None:
            kept = self.folder / (replay.FOLDER if not self.global_rank else f"{replay.FOLDER}-{self.global_rank}")
            try:
                seen = replay.keep(
                    kept,
                    what=what,
                    network=self.network,
                    loss=self.loss,
                    batch=batch,
                    random=random,
                    recipe=self.recipe,
                    classes=self.classes,
                    pace=self.pace,
                    step=self.plan.step,
                    lr=self.plan.learning_rate(),
                )
                found = f"{seen.sentence()}; look closer with: segwright replay {kept}; or "
            except OutputError as error:
                found = f"the step could not be kept ({error}); "
        raise UserError(
            f"{what[0].upper()}{what[1:]} at step {self.plan.step} (pictures {', '.join(batch.keys[:4])}, ...): {found}"
            f"train again with a smaller --lr than {self.recipe.fit.lr} or with --precision fp32."
        )

    def on_train_batch_start(self, batch: Batch, batch_index: int) -> None:
        """Set this step's learning rate."""
        if self.recipe.fit.minutes and self.trainer.world_size > 1:
            self.plan.told = self.trainer.strategy.broadcast(self.plan.clock)
        set_rate(self.trainer.optimizers[0], self.plan.learning_rate())

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_index: int) -> None:
        """Count the step and move the average of the weights."""
        if not self.plan.learnt():
            return
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

    def state(self) -> dict[str, Any]:
        """Everything that a resumed run must know, as tensors and plain values; every process must ask for it."""
        strategy = self.trainer.strategy
        weights = strategy.lightning_module_state_dict()
        parts = ["network"] if self.measured is self.network else ["network", "measured"]
        return {
            "weights": {k: v for k, v in weights.items() if k.partition(".")[0] in parts},
            "optimizer": strategy.optimizer_state(self.trainer.optimizers[0]),
            "scaler": self.trainer.precision_plugin.state_dict(),
            "random": of_all_processes(torch.get_rng_state()),
            "random_cuda": of_all_processes(torch.cuda.get_rng_state()) if self.device.type == "cuda" else [],
            "plan": self.plan.state(),
            "pace": dataclasses.asdict(self.pace),
            "train_loss": self.train_loss,
            "train_counts": (torch.from_numpy(self._train_counts.copy()), self._steps_since_check),
            "scores": self.scores,
            "widths": self.network.widths,
            "classes": self.classes.to_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken; before Lightning begins."""
        for part in ("network",) if self.measured is self.network else ("network", "measured"):
            inside = f"{part}."
            weights = {k.removeprefix(inside): v for k, v in state["weights"].items() if k.startswith(inside)}
            getattr(self, part).load_state_dict(weights)
        self.plan.restore(state["plan"])
        self.train_loss, self.scores = state["train_loss"], state["scores"]
        counts, self._steps_since_check = state["train_counts"]
        self._train_counts[:] = counts.numpy()
        self.resumed = {k: state[k] for k in ("optimizer", "scaler", "random", "random_cuda")}

    def measured_weights(self) -> dict[str, torch.Tensor]:
        """Copies of the weights that are measured and kept, on the CPU; every process must ask for them."""
        inside = "measured." if self.measured is not self.network else "network."
        weights = self.trainer.strategy.lightning_module_state_dict()
        return {k.removeprefix(inside): v.detach().clone().cpu() for k, v in weights.items() if k.startswith(inside)}

    def whole(self) -> contextlib.AbstractContextManager[Any]:
        """Context in which the network may be called from outside a step, also where its weights are shared out."""
        if self.recipe.run.strategy != "fsdp" or self.trainer.world_size == 1:
            return contextlib.nullcontext()
        from torch.distributed.fsdp import FullyShardedDataParallel

        shared: contextlib.AbstractContextManager[Any] = FullyShardedDataParallel.summon_full_params(
            self.trainer.strategy.model  # type: ignore[arg-type]
        )
        return shared

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """What the recipe names."""
        return build_optimiser(self.network, self.recipe.fit, self.plan.learning_rate())

    def on_validation_epoch_start(self) -> None:
        """Begin counting, with batch-norm statistics that belong to the weights as they are now."""
        self._counts[:] = 0
        self._losses.clear()
        self.tally.clear()
        on_cpu = self.device.type == "cpu"
        with self.whole(), computing(self.measured, self.pace, "cpu") if on_cpu else contextlib.nullcontext():
            restate(self.measured, self._restating_batches())

    def _restating_batches(self) -> Iterator[torch.Tensor]:
        pictures, size = self.pairs.train_pictures, self.pairs.batch_size
        count = max(min(RESTATED, len(pictures)) // size, 2)
        rng = np.random.default_rng((self.recipe.fit.seed, RESTATE, self.plan.step))
        chosen = np.resize(rng.permutation(len(pictures)), (count, size))
        for number, row in enumerate(chosen):
            draws = [
                Draw(
                    int(index), (self.recipe.fit.seed, RESTATE, self.plan.step, number, place), self.recipe.data.size_hw
                )
                for place, index in enumerate(row)
            ]
            yield stack([pictures[draw] for draw in draws]).images.to(self.device)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Count pixel pairs: at the network's size (`evaluate` measures at the pictures' own), or tile by tile at the pictures' own."""
        predictions, loss = self._by_tiles(batch) if self.recipe.data.patch_size else self._placed(batch)
        self._losses += [loss] * len(batch.keys)
        truths = batch.class_maps.cpu().numpy()
        for key, image, truth, prediction in zip(batch.keys, batch.images, truths, predictions, strict=True):
            counts = metrics.confusion(truth, prediction, len(self.classes))
            self._counts += counts
            self.tally.add(key, image, truth, prediction, counts)

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
        counts, train_counts = self._over_all_processes(np.stack([self._counts, self._train_counts]))
        loss, pictures = self._over_all_processes(np.array([sum(self._losses), len(self._losses)]))
        self.tally.gather()
        iou, dice = overlap(counts)
        self.scores = {
            "val_loss": float(loss / pictures) if pictures else float("nan"),
            "val_iou": float(np.nan_to_num(iou)),
            "val_dice": float(np.nan_to_num(dice)),
            "val_pixel_accuracy": float(np.nan_to_num(metrics.pixel_accuracy(counts))),
        }
        self.class_scores = {
            f"val_iou_{name}": float(score) for name, score in zip(self.classes.names, metrics.iou(counts), strict=True)
        }
        self.train_scores = dict(zip(("train_iou", "train_dice"), overlap(train_counts), strict=True))
        self._train_counts[:] = 0
        self._steps_since_check = 0

    def _over_all_processes(self, sums: np.ndarray) -> np.ndarray:
        gathered = torch.as_tensor(self.all_gather(torch.from_numpy(sums)))
        return gathered.reshape(-1, *sums.shape).sum(0).cpu().numpy()


def overlap(counts: np.ndarray) -> tuple[float, float]:
    """IoU and Dice of a check: of class 1 where there are two classes, else the mean over classes.

    Args:
        counts: (C, C) summed over pictures.

    Returns:
        0..1 each; NaN where no pixel was counted, or where class 1 is neither there nor predicted.
    """
    two = len(counts) == 2
    dice = metrics.dice(counts)[1 if two else 0 :]
    # Classes that occur neither in truth nor in prediction have no score; neither has a check of ignored pixels only.
    known = dice[np.isfinite(dice)]
    iou = metrics.iou(counts)[1] if two else metrics.mean_iou(counts)
    return float(iou), float(known.mean()) if known.size else float("nan")


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
