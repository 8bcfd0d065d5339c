from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from segwright.classes import IGNORED, Classes
from segwright.errors import RecipeError
from segwright.training.losses import build_loss

TWO = Classes(names=("background", "card"))
FOUR = Classes(names=("a", "b", "c", "d"))


def made_up(classes: Classes, *, ignored: float = 0.2, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, len(classes), (2, 5, 7)).astype(np.uint8)
    truth[rng.random(truth.shape) < ignored] = IGNORED
    logits = rng.normal(0, 2, (2, classes.channels, 5, 7)).astype(np.float32)
    return torch.from_numpy(logits), torch.from_numpy(truth)


def slow_cross_entropy(logits: torch.Tensor, truth: torch.Tensor, smoothing: float) -> float:
    """Pixel by pixel, from the definition; two classes have one logit and the other is 0."""
    total, count = 0.0, 0
    batch, channels, height, width = logits.shape
    for b in range(batch):
        for y in range(height):
            for x in range(width):
                label = int(truth[b, y, x])
                if label == IGNORED:
                    continue
                scores = [float(logits[b, c, y, x]) for c in range(channels)]
                scores = [0.0, *scores] if channels == 1 else scores
                log_sum = math.log(sum(math.exp(s) for s in scores))
                for number, score in enumerate(scores):
                    wanted = (1 - smoothing) * (number == label) + smoothing / len(scores)
                    total -= wanted * (score - log_sum)
                count += 1
    return total / max(count, 1)


def slow_dice(logits: torch.Tensor, truth: torch.Tensor) -> float:
    """1 - Dice of the probabilities over the whole batch, meaned over classes; a class nobody has costs nothing."""
    kept = (truth != IGNORED).numpy()
    if logits.shape[1] == 1:
        probabilities, classes = [1 / (1 + np.exp(-logits[:, 0].numpy().astype(np.float64)))], [1]
    else:
        raised = np.exp(logits.numpy().astype(np.float64))
        shares = raised / raised.sum(axis=1, keepdims=True)
        probabilities, classes = [shares[:, c] for c in range(logits.shape[1])], list(range(logits.shape[1]))
    losses = []
    for probability, number in zip(probabilities, classes, strict=True):
        true = (truth.numpy() == number) & kept
        hit = (probability * true).sum()
        losses.append((1 - 2 * hit / ((probability * kept).sum() + true.sum())) * bool(true.any()))
    return float(np.mean(losses))


@pytest.mark.parametrize("classes", [TWO, FOUR])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("ignored", [0.0, 0.3])
def test_cross_entropy_is_its_definition(classes: Classes, smoothing: float, ignored: float) -> None:
    logits, truth = made_up(classes, ignored=ignored)
    loss = build_loss("ce", classes, label_smoothing=smoothing)(logits, truth)
    assert float(loss) == pytest.approx(slow_cross_entropy(logits, truth, smoothing), rel=1e-5)


@pytest.mark.parametrize("classes", [TWO, FOUR])
@pytest.mark.parametrize("ignored", [0.0, 0.3])
def test_dice_is_its_definition(classes: Classes, ignored: float) -> None:
    logits, truth = made_up(classes, ignored=ignored)
    assert float(build_loss("dice", classes)(logits, truth)) == pytest.approx(slow_dice(logits, truth), rel=1e-4)


def test_dice_of_a_class_nobody_has_costs_nothing() -> None:
    logits, truth = made_up(FOUR)
    truth[truth == 3] = 0
    assert float(build_loss("dice", FOUR)(logits, truth)) == pytest.approx(slow_dice(logits, truth), rel=1e-4)


@pytest.mark.parametrize("classes", [TWO, FOUR])
def test_sums_and_auto(classes: Classes) -> None:
    logits, truth = made_up(classes)
    parts = [float(build_loss(name, classes)(logits, truth)) for name in ("ce", "dice")]
    assert float(build_loss("ce + dice", classes)(logits, truth)) == pytest.approx(sum(parts))
    assert float(build_loss("auto", classes)(logits, truth)) == pytest.approx(sum(parts))


@pytest.mark.parametrize("classes", [TWO, FOUR])
@pytest.mark.parametrize("name", ["ce", "dice", "auto"])
def test_ignored_pixels_have_no_say(classes: Classes, name: str) -> None:
    logits, truth = made_up(classes)
    logits.requires_grad_()
    loss = build_loss(name, classes, label_smoothing=0.1 if name == "ce" else 0.0)
    loss(logits, truth).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    ignored = (truth == IGNORED)[:, None].expand_as(logits)
    assert float(logits.grad[ignored].abs().max()) == 0.0
    changed = torch.where(ignored, torch.tensor(50.0), logits.detach())
    assert float(loss(changed, truth)) == pytest.approx(float(loss(logits.detach(), truth)), rel=1e-6)


@pytest.mark.parametrize("classes", [TWO, FOUR])
@pytest.mark.parametrize("name", ["ce", "dice", "auto"])
def test_a_batch_without_a_single_pixel_that_counts(classes: Classes, name: str) -> None:
    logits, truth = made_up(classes)
    logits.requires_grad_()
    loss = build_loss(name, classes)(logits, torch.full_like(truth, IGNORED))
    assert float(loss.detach()) == 0.0
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert float(logits.grad.abs().max()) == 0.0


@pytest.mark.parametrize("classes", [TWO, FOUR])
def test_right_and_sure_costs_next_to_nothing(classes: Classes) -> None:
    truth = made_up(classes)[1]
    numbers = truth.long().clamp(max=len(classes) - 1)
    sure = torch.nn.functional.one_hot(numbers, len(classes)).permute(0, 3, 1, 2).float() * 60 - 30
    logits = sure[:, 1:] if len(classes) == 2 else sure
    assert float(build_loss("auto", classes)(logits, truth)) < 1e-4


def test_bce_is_ce_for_two_classes() -> None:
    logits, truth = made_up(TWO)
    assert float(build_loss("bce", TWO)(logits, truth)) == float(build_loss("ce", TWO)(logits, truth))


@pytest.mark.parametrize(
    ("name", "classes"), [("bce", FOUR), ("focal", TWO), ("", TWO), ("ce+", FOUR), ("ce+bce", FOUR)]
)
def test_names_that_are_refused(name: str, classes: Classes) -> None:
    with pytest.raises(RecipeError, match=r"choose|use ce"):
        build_loss(name, classes)
