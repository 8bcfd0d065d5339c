"""Losses by name and weighted sums of them: "ce", "dice", "ce+0.5*lovasz". Ignored pixels count in none.

Two families. `ce`, `bce`, `focal` and `boundary` are means over pixels and take class weights; `dice`, `tversky` and
`lovasz` compare regions, class by class, and weigh the classes alike already. Cross entropy is torch's. The others are not
taken from segmentation-models-pytorch: its focal loss is NaN and its Lovasz loss no scalar for a batch in which everything
is ignored, its focal loss of several classes uses sigmoids where our networks are read by a softmax, and its Dice, Tversky
and Lovasz take several times as long on a CPU. The tests compare ours with its Dice, Tversky and Lovasz.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from rich.console import Console
from torch.nn import functional as F

from segwright.classes import IGNORED, Classes
from segwright.data.loaders import Batch, Pairs
from segwright.data.order import Draw
from segwright.errors import RecipeError
from segwright.recipe import FitRecipe, Recipe

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(logits (B, channels, H, W) float32, class maps (B, H, W) uint8) -> scalar."""

FOCUS = 2.0
"""Exponent of the focal loss (Lin et al. 2017, arXiv 1708.02002): pixels that are right and sure hardly count."""
INVENTED, MISSED = 0.3, 0.7
"""What a wrongly added and a missed pixel cost in the Tversky loss (Salehi et al. 2017, arXiv 1706.05721)."""
BORDER_WEIGHT, BORDER_REACH = 10.0, 5.0
"""Extra weight of pixels at a border between classes, and the standard deviation of its decay in pixels: w0 and sigma of
the U-Net (Ronneberger et al. 2015, arXiv 1505.04597)."""
RAREST = 1.02
"""ENet's constant (Paszke et al. 2016, arXiv 1606.02147): weights 1 / ln(1.02 + share) stay between 1.4 and 50.5."""
MOST_WEIGHED = 256
"""Training pictures whose masks are counted for automatic class weights."""
WEIGHTS = 3
"""Stream of random numbers for choosing them."""


@dataclass(frozen=True)
class Part:
    """One summand."""

    name: str
    factor: float
    loss: Loss


@dataclass(frozen=True)
class Sum:
    """A `Loss` that can also say what each of its parts amounts to."""

    parts: tuple[Part, ...]

    def __call__(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """The sum; see `Loss`."""
        return torch.stack([part.factor * part.loss(logits, truth) for part in self.parts]).sum()

    def each(self, logits: torch.Tensor, truth: torch.Tensor) -> dict[str, float]:
        """Value of every part, before its factor; for finding out which one is not finite."""
        with torch.no_grad():
            return {part.name: float(part.loss(logits, truth)) for part in self.parts}


def batch_loss(loss: Loss, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Loss of a training batch: the one place that knows what a batch holds besides its class maps.

    Args:
        loss: as `build_loss` makes it.
        logits: (B, channels, H, W) float32.
        batch: as the loaders make it.

    Returns:
        Scalar.
    """
    return batch.weigh(lambda class_maps: loss(logits, class_maps))


def loss_of(fit: FitRecipe, classes: Classes) -> Sum:
    """The loss that a recipe's `fit` part describes; see `build_loss`."""
    return build_loss(fit.loss, classes, label_smoothing=fit.label_smoothing, class_weights=fit.class_weights)


def build_loss(name: str, classes: Classes, *, label_smoothing: float = 0.0, class_weights: str = "none") -> Sum:
    """The loss a recipe names.

    Args:
        name: "auto", one name, or names joined by "+", each with a factor before it if need be: "ce+0.5*lovasz".
        classes: how many channels the logits have.
        label_smoothing: share of certainty taken from the true class in ce, bce and boundary, 0..0.5.
        class_weights: "none", or one number for each class: "1,2,0.5".

    Raises:
        RecipeError: unknown name, one that does not fit the number of classes, or weights that do not.
    """
    if name == "auto":
        name = "bce+dice" if classes.channels == 1 else "ce+dice"
    wanted = [_factor_and_name(part) for part in name.split("+")]
    weights = _numbers(class_weights, classes)
    if weights is not None and not any(part in PIXEL_LOSSES for _, part in wanted):
        raise RecipeError(
            f"--class-weights change nothing in --loss {name}, which weighs the classes alike already; "
            f"add one of {', '.join(PIXEL_LOSSES)}, or leave them out: --class-weights none."
        )
    if classes.channels > 1 and any(part == "bce" for _, part in wanted):
        raise RecipeError(f"--loss bce is for two classes, and there are {len(classes)}; use ce.")
    made = _Made(classes.channels == 1, label_smoothing, weights)
    return Sum(tuple(Part(part, factor, LOSSES[part](made)) for factor, part in wanted))


def _names_in(loss: str) -> list[str]:
    return ["ce"] if loss == "auto" else [_factor_and_name(part)[1] for part in loss.split("+")]


def _factor_and_name(part: str) -> tuple[float, str]:
    before, _, name = part.rpartition("*")
    name = name.strip()
    if name not in LOSSES:
        near = difflib.get_close_matches(name, list(LOSSES), n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"choose {', '.join(LOSSES)}, or a sum such as ce+0.5*lovasz."
        raise RecipeError(f"There is no loss {name!r}; {hint}")
    try:
        factor = float(before) if before.strip() or "*" in part else 1.0
    except ValueError:
        factor = math.nan
    if not 0.0 < factor < math.inf:
        raise RecipeError(
            f"--loss {part.strip()}: a factor is a positive number before the name; choose one such as 0.5*{name}."
        )
    return factor, name


# --- class weights -----------------------------------------------------------------------------------------------------


def _numbers(text: str, classes: Classes) -> torch.Tensor | None:
    """(256,) float32 table from values of a class map to weights, 0 for ignored pixels; None weighs nothing."""
    if text in {"none", "several"}:  # `with_weights` settles the latter
        return None
    try:
        numbers = [float(number) for number in text.split(",")]
    except ValueError as error:
        raise RecipeError(
            f"--class-weights is none, auto, several, or numbers in the order of the classes such as 1,2,0.5, not {text!r}."
        ) from error
    if len(numbers) != len(classes):
        raise RecipeError(
            f"--class-weights has {len(numbers)} numbers, and there are {len(classes)} classes; "
            f"give one for each of {', '.join(classes.names)}."
        )
    if not all(0.0 <= number < math.inf for number in numbers) or not any(numbers):
        raise RecipeError(f"--class-weights are numbers of 0 and more, at least one above 0, not {text}.")
    table = torch.zeros(256)
    table[: len(numbers)] = torch.tensor(numbers)
    return table


def with_weights(recipe: Recipe, classes: Classes, pairs: Pairs, console: Console) -> Recipe:
    """The recipe with numbers for `--class-weights auto` and `several`, which is `auto` or `none`; any other stays as it is.

    Args:
        recipe: its size is chosen.
        classes: how many.
        pairs: whose training pictures are counted.
        console: where the numbers are said.
    """
    wanted = recipe.fit.class_weights
    if wanted == "several":
        weighable = any(name in PIXEL_LOSSES for name in _names_in(recipe.fit.loss))
        wanted = "auto" if len(classes) > 2 and weighable else "none"
    if wanted != "auto":
        return recipe if wanted == recipe.fit.class_weights else recipe.with_settings(class_weights=wanted)
    weights = counted_weights(pairs, classes, recipe.fit.seed)
    named = ", ".join(f"{name} {number}" for name, number in zip(classes.names, weights.split(","), strict=True))
    console.print(f"--class-weights auto: {named}", soft_wrap=True, highlight=False)
    return recipe.with_settings(class_weights=weights)


def counted_weights(pairs: Pairs, classes: Classes, seed: int) -> str:
    """Weights that let rare classes count more: ENet's 1 / ln(1.02 + share of the pixels), bounded by their formula.

    Args:
        pairs: training pictures, as the network will see them: placed and varied.
        classes: how many.
        seed: of the run; chooses `MOST_WEIGHED` pictures where there are more.

    Returns:
        Numbers as `build_loss` takes them, scaled so that the mean over all pixels is 1.
    """
    pictures = pairs.train_pictures
    chosen = np.random.default_rng((seed, WEIGHTS)).permutation(len(pictures))[:MOST_WEIGHED]
    counts = np.zeros(len(classes))
    for place, index in enumerate(chosen):
        draw = Draw(int(index), (seed, WEIGHTS, place), pairs.recipe.data.size_hw)
        counts += np.bincount(pictures[draw][1].ravel(), minlength=256)[: len(classes)]
    shares = counts / max(counts.sum(), 1.0)
    weights = 1.0 / np.log(RAREST + shares)
    weights /= max(float((weights * shares).sum()), 1e-9) if counts.any() else 1.0
    return ",".join(f"{weight:.3g}" for weight in weights)


# --- the losses --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Made:
    """What every loss below is made for."""

    binary: bool
    """Whether there is one channel: the logit of class 1."""
    smoothing: float
    weights: torch.Tensor | None

    def per_pixel(self, logits: torch.Tensor, truth: torch.Tensor, smoothing: float) -> torch.Tensor:
        """Cross entropy of every pixel, (B, H, W), 0 where ignored."""
        if self.binary:
            kept = (truth != IGNORED).float()
            target = (truth == 1).float() * (1 - smoothing) + smoothing / 2
            return F.binary_cross_entropy_with_logits(logits[:, 0], target, weight=kept, reduction="none")
        return F.cross_entropy(logits, truth.long(), ignore_index=IGNORED, label_smoothing=smoothing, reduction="none")

    def one_hot(self, truth: torch.Tensor, channels: int) -> torch.Tensor:
        """(B, channels, H, W) float32: 1 at the channel of the true class, 0 everywhere where ignored."""
        numbers = torch.arange(channels, device=truth.device, dtype=truth.dtype) + int(self.binary)
        return (truth[:, None] == numbers[:, None, None]).float()

    def mean(self, each: torch.Tensor, truth: torch.Tensor, more: torch.Tensor | None = None) -> torch.Tensor:
        """Mean over the pixels that count, weighted by class and by `more`; 0 when nothing counts."""
        kept = (truth != IGNORED).float()
        if self.weights is None and more is None:
            return each.sum() / kept.sum().clamp(min=1.0)
        weights = kept if self.weights is None else self.weights.to(truth.device)[truth.long()]
        weights = weights if more is None else weights * more
        total = weights.sum()
        return (each * weights).sum() / torch.where(total > 0, total, 1.0)


def _cross_entropy(made: _Made) -> Loss:
    """Cross entropy; with one channel, of its sigmoid. A mean of its own, since torch's is NaN for nothing but ignored."""
    return lambda logits, truth: made.mean(made.per_pixel(logits, truth, made.smoothing), truth)


def _focal(made: _Made) -> Loss:
    """Cross entropy times (1 - probability of the true class) squared."""

    def loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        each = made.per_pixel(logits, truth, 0.0)
        return made.mean((-torch.expm1(-each)) ** FOCUS * each, truth)

    return loss


def _boundary(made: _Made) -> Loss:
    """Cross entropy that weighs 11 times as much at a border between classes as far from it.

    The U-Net paper sums the distances to the two nearest cells; a class map knows no cells, so the nearest border is all
    there is. Kervadec et al.'s boundary loss (2019, arXiv 1812.07032) was not taken: it is negative for a good answer,
    and needs a second loss and a schedule between the two.
    """

    def loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        near = torch.from_numpy(border_weights(truth.cpu().numpy())).to(logits.device)
        return made.mean(made.per_pixel(logits, truth, made.smoothing), truth, near)

    return loss


def border_weights(class_maps: np.ndarray) -> np.ndarray:
    """Weights of pixels by their distance to the nearest border between classes.

    Args:
        class_maps: (B, H, W) uint8; there is no border to an ignored pixel.

    Returns:
        (B, H, W) float32, 1 + 10 exp(-d^2 / 50), d in pixels and 0 on both sides of a border.
    """
    answer = np.ones(class_maps.shape, np.float32)
    for weights, class_map in zip(answer, class_maps, strict=True):
        border = np.zeros(class_map.shape, bool)
        for one, other, here, there in (
            (class_map[1:], class_map[:-1], border[1:], border[:-1]),
            (class_map[:, 1:], class_map[:, :-1], border[:, 1:], border[:, :-1]),
        ):
            differ = (one != other) & (one != IGNORED) & (other != IGNORED)
            here |= differ
            there |= differ
        if border.any():
            distance = cv2.distanceTransform((~border).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            # Squares of distances are whole numbers; OpenCV's last bit depends on where in memory the array lies.
            squares = np.rint(np.asarray(distance) ** 2)
            weights += BORDER_WEIGHT * np.exp(-squares / (2 * BORDER_REACH**2))
    return answer


def _dice(made: _Made) -> Loss:
    """1 - Dice of the probabilities over the whole batch, meaned over the classes."""
    return _overlap(made, 0.5, 0.5)


def _tversky(made: _Made) -> Loss:
    """Dice that minds missed pixels more than added ones."""
    return _overlap(made, INVENTED, MISSED)


def _overlap(made: _Made, invented: float, missed: float) -> Loss:
    """1 - hits / (hits + invented * wrongly added + missed * missed); a class nobody has costs nothing."""

    def loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        kept = (truth != IGNORED)[:, None].float()
        true = made.one_hot(truth, logits.shape[1])
        shares = logits.sigmoid() if made.binary else logits.softmax(dim=1)
        over = (0, 2, 3)
        hits, answered, wanted = (shares * true).sum(over), (shares * kept).sum(over), true.sum(over)
        score = hits / (hits + invented * (answered - hits) + missed * (wanted - hits)).clamp(min=1e-7)
        return ((1 - score) * (wanted > 0)).mean()

    return loss


def _lovasz(made: _Made) -> Loss:
    """The Lovasz extension of 1 - IoU (Berman et al. 2018, arXiv 1705.08790), over the whole batch.

    One channel: the hinge loss of its logits. Several: softmax, meaned over the classes that occur.
    """

    def loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        kept = truth != IGNORED
        wanted = made.one_hot(truth, logits.shape[1])
        true = wanted > 0
        errors = F.relu(1 - logits * (wanted * 2 - 1)) if made.binary else (wanted - logits.softmax(dim=1)).abs()
        steps = torch.zeros_like(errors)
        # With one channel class 1 counts though it be absent: then the hinge of the worst pixel is all that is left.
        present = [n for n in range(logits.shape[1]) if made.binary or bool(true[:, n].any())]
        for number in present:
            steps[:, number] = _jaccard_steps(errors[:, number], true[:, number], kept)
        return (errors * steps).sum() / max(len(present), 1)

    return loss


@torch.no_grad()
def _jaccard_steps(errors: torch.Tensor, true: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """What each error weighs: by how much 1 - IoU grows when its pixel turns wrong after all those with larger errors.

    Args:
        errors: (B, H, W) float32, 0 or more.
        true: (B, H, W) bool, pixels of the class.
        kept: (B, H, W) bool, False for ignored pixels: they weigh 0.

    Returns:
        (B, H, W) float32, constants for the gradient.
    """
    if errors.device.type == "cpu":
        return torch.from_numpy(_jaccard_steps_on_cpu(errors.detach().numpy(), true.numpy(), kept.numpy()))
    places = kept.reshape(-1).nonzero()[:, 0]
    order = places[errors.reshape(-1)[places].argsort(descending=True)]
    hits = true.reshape(-1)[order].double()
    jaccard = 1 - (hits.sum() - hits.cumsum(0)) / (hits.sum() + (1 - hits).cumsum(0))
    steps = torch.zeros(errors.numel(), device=errors.device)
    steps[order] = jaccard.diff(prepend=jaccard.new_zeros(1)).float()
    return steps.view(errors.shape)


def _jaccard_steps_on_cpu(errors: np.ndarray, true: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The same with NumPy, whose sorting and indexing of millions of numbers is many times as fast as torch's on a CPU."""
    places = np.flatnonzero(kept)
    # The bits of floats that are not negative sort as the floats do: one sort of whole numbers gives the order.
    bits = np.ascontiguousarray(errors).reshape(-1)[places].view(np.int32).astype(np.int64)
    keys = (-bits << 32) | places
    keys.sort()
    order = keys & 0xFFFFFFFF
    hits = np.ascontiguousarray(true).reshape(-1)[order].cumsum(dtype=np.float64)
    total, count = float(hits[-1]) if len(hits) else 0.0, np.arange(1, len(hits) + 1)
    jaccard = 1 - (total - hits) / (total + count - hits)
    steps = np.zeros(errors.size, np.float32)
    steps[order] = np.diff(jaccard, prepend=0.0)
    return steps.reshape(errors.shape)


LOSSES: dict[str, Callable[[_Made], Loss]] = {
    "ce": _cross_entropy,
    "bce": _cross_entropy,
    "focal": _focal,
    "boundary": _boundary,
    "dice": _dice,
    "tversky": _tversky,
    "lovasz": _lovasz,
}
"""With two classes ce and bce mean the same: one logit holds all there is to know."""
PIXEL_LOSSES = ("ce", "bce", "focal", "boundary")
"""Those that class weights change."""
