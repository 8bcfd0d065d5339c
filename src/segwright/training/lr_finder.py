"""`--lr auto`: try rising learning rates on a copy of the network, draw the curve, and take a tenth of the best one.

The range test of Smith (2017, arXiv 1506.01186): one step for each rate, from far too small to far too large, and the loss
beside it. The suggestion is a tenth of the rate at which the smoothed loss is lowest: there the loss is about to grow,
and a peak of the schedule should keep its distance from that. (The steepest descent, the other usual rule, jumps from one
rate to another with the noise of single batches.) Nothing of the run is touched: weights, statistics and the order of the
pictures stay as they were, and no random number of the run is drawn.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from rich.console import Console
from torch import nn

from segwright.classes import Classes
from segwright.data.loaders import Batch, Pairs, stack
from segwright.data.order import Draw
from segwright.errors import RecipeError
from segwright.outputs import csv_text, write_text
from segwright.recipe import Recipe
from segwright.render import write_png
from segwright.training.losses import Loss, batch_loss, loss_of
from segwright.training.lr_curve import drawn
from segwright.training.optimisers import build_optimiser
from segwright.training.pace import Pace, computing
from segwright.training.plan import Plan
from segwright.training.rates import set_rate

FIRST, LAST = 1e-6, 10.0
"""Learning rates tried; SGD may need more than 1, and no optimiser in use needs less than the first."""
STEPS_PER_DECADE = 12
LAG = 0.8
"""Decay of the running loss that tells divergence."""
DIVERGED = 4.0
"""The test ends when the running loss is this many times its least value (with what it began at as unit)."""
WIDTH = 3.0
"""Standard deviation of the smoothing along the curve, in steps: a quarter of a decade."""
MARGIN = 10.0
"""The suggestion is the best rate divided by this."""
LEAST_FALL = 0.02
"""The loss must fall by this share somewhere; else the curve says nothing."""
FINDER = 4
"""Stream of random numbers for its pictures."""


@dataclass(frozen=True)
class Curve:
    """What the test found."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    """Of the batch before each step; the last may be infinite."""
    smoothed: tuple[float, ...]
    best: float
    """Rate at which the smoothed loss is lowest."""
    chosen: float
    """A tenth of it, to two digits."""

    def save(self, folder: Path) -> None:
        """Write lr_finder.csv and lr_finder.png.

        Raises:
            OutputError: the place cannot be written.
        """
        numbers = zip(self.rates, self.losses, self.smoothed, strict=True)
        rows = ([f"{number:.6g}" for number in row] for row in numbers)
        write_text(folder / "lr_finder.csv", csv_text(["lr", "loss", "smoothed"], rows))
        picture = drawn(np.array(self.rates), np.array(self.losses), np.array(self.smoothed), self.best, self.chosen)
        write_png(folder / "lr_finder.png", picture)


def with_lr(
    recipe: Recipe, network: nn.Module, classes: Classes, pairs: Pairs, pace: Pace, out: Path, console: Console
) -> Recipe:
    """The recipe with a number for `--lr auto`; any other recipe is returned as it is.

    Args:
        recipe: its size is chosen and its class weights are numbers.
        network: on its device; left as it is.
        classes: what its channels mean.
        pairs: whose training pictures are used.
        pace: how to compute.
        out: folder of the run, which gets the curve.
        console: where the result is said.

    Raises:
        RecipeError: the loss fell at no rate.
        OutputError: `out` cannot be written.
    """
    if recipe.fit.lr != "auto":
        return recipe
    fit = recipe.fit
    loss = loss_of(fit, classes)
    started = time.monotonic()
    curve = find(network, loss, trial_batches(recipe, pairs), recipe, pace, pairs.device)
    curve.save(out)
    console.print(
        f"--lr auto: {curve.chosen:g}, a tenth of the rate at which the loss was lowest, after {len(curve.rates)} trial steps in "
        f"{time.monotonic() - started:.0f} s; the curve lies in {out / 'lr_finder.png'}",
        soft_wrap=True,
        highlight=False,
    )
    return recipe.with_settings(lr=curve.chosen)


def find(network: nn.Module, loss: Loss, batches: Iterator[Batch], recipe: Recipe, pace: Pace, device: str) -> Curve:
    """Run the test on a copy.

    Args:
        network: left as it is, its random numbers too.
        loss: as `build_loss` makes it.
        batches: on any device, at least as many as there are rates.
        recipe: names the optimiser and the largest gradient norm.
        pace: how to compute.
        device: "cpu" or "cuda".

    Raises:
        RecipeError: the loss fell at no rate.
    """
    count = round(math.log10(LAST / FIRST) * STEPS_PER_DECADE) + 1
    rates, losses = np.geomspace(FIRST, LAST, count), []
    running = weight = 0.0
    least = math.inf
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device == "cuda" else []):
        torch.manual_seed(recipe.fit.seed)  # of the copy's dropout
        trial = copy.deepcopy(network).train()
        optimiser = build_optimiser(trial, recipe.fit, FIRST)
        scaler = torch.amp.GradScaler(device, enabled=device == "cuda" and pace.precision == "fp16")
        for rate, batch in zip(rates, batches, strict=False):
            set_rate(optimiser, float(rate))
            batch = move_data_to_device(batch, device)
            with computing(trial, pace, device):
                logits = trial(batch.images)
            value = batch_loss(loss, logits.float(), batch)
            losses.append(float(value.detach()))
            running, weight = LAG * running + (1 - LAG) * losses[-1], LAG * weight + (1 - LAG)
            least = min(least, running / weight)
            if not math.isfinite(losses[-1]) or running / weight > DIVERGED * max(least, losses[0] / DIVERGED):
                break
            optimiser.zero_grad(set_to_none=True)
            scaler.scale(value).backward()  # type: ignore[no-untyped-call]
            scaler.unscale_(optimiser)
            nn.utils.clip_grad_norm_(trial.parameters(), recipe.fit.clip)
            scaler.step(optimiser)
            scaler.update()
    return read(rates[: len(losses)], np.array(losses))


def read(rates: np.ndarray, losses: np.ndarray) -> Curve:
    """What a curve says.

    Args:
        rates: rising evenly on a logarithmic axis.
        losses: one for each; the last may be infinite or NaN.

    Raises:
        RecipeError: the smoothed loss is nowhere clearly lower than where it began.
    """
    smoothed = _smooth(losses)
    lowest = int(smoothed.argmin())
    if not smoothed[lowest] < (1 - LEAST_FALL) * smoothed[0]:
        raise RecipeError(
            f"--lr auto: the loss fell at no learning rate from {rates[0]:g} to {rates[-1]:g}, so the curve says nothing; "
            "give a number, for example --lr 0.002."
        )
    best = float(rates[lowest])
    return Curve(
        tuple(map(float, rates)),
        tuple(map(float, losses)),
        tuple(map(float, smoothed)),
        best,
        float(f"{best / MARGIN:.2g}"),
    )


def _smooth(losses: np.ndarray) -> np.ndarray:
    """Mean under a Gaussian along the curve; losses count as twice the first ones at most, or one explosion would be all."""
    most = 2 * float(np.median(losses[: STEPS_PER_DECADE // 2]))
    bounded = np.minimum(np.where(np.isfinite(losses), losses, most), most)
    places = np.arange(len(losses))
    weights = np.exp(-((places[:, None] - places[None]) ** 2) / (2 * WIDTH**2))
    return np.asarray(weights @ bounded / weights.sum(axis=1))


def trial_batches(recipe: Recipe, pairs: Pairs) -> Iterator[Batch]:
    """Batches as at the beginning of the run, from random numbers of their own."""
    seed, size_hw = recipe.fit.seed, Plan(recipe, steps_per_epoch=1).size_hw(0)
    rng = np.random.default_rng((seed, FINDER))
    number = 0
    while True:
        chosen = rng.integers(0, len(pairs.train_pictures), pairs.batch_size)
        draws = [Draw(int(index), (seed, FINDER, number, place), size_hw) for place, index in enumerate(chosen)]
        yield stack([pairs.train_pictures[draw] for draw in draws])
        number += 1
