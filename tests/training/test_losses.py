from __future__ import annotations

import io
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from segwright.classes import IGNORED, Classes
from segwright.data.layouts import find_dataset
from segwright.data.loaders import Batch, Pairs, Splits
from segwright.errors import RecipeError
from segwright.training.losses import LOSSES, PIXEL_LOSSES, batch_loss, border_weights, build_loss, with_weights
from tests.command import refused
from tests.training.conftest import tiny_recipe
from tests.training.tiny_network import NAME

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


# --- every loss against the slowest way of computing it ----------------------------------------------------------------


def slow_probabilities(logits: np.ndarray) -> np.ndarray:
    """(B, classes, H, W); one channel is the logit of class 1."""
    scores = np.concatenate([np.zeros_like(logits), logits], axis=1) if logits.shape[1] == 1 else logits
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def slow_pixel_loss(name: str, logits: np.ndarray, truth: np.ndarray, weights: list[float]) -> float:
    """Weighted mean over pixels of cross entropy, focal loss, or cross entropy weighted near borders."""
    shares, total, norm = slow_probabilities(logits), 0.0, 0.0
    for b, y, x in np.ndindex(truth.shape):
        label = truth[b, y, x]
        if label == IGNORED:
            continue
        weight, right = weights[label], shares[b, label, y, x]
        if name == "boundary":
            weight *= 1 + 10 * math.exp(-(slow_distance(truth[b], y, x) ** 2) / 50)
        total += weight * ((1 - right) ** 2 if name == "focal" else 1.0) * -math.log(right)
        norm += weight
    return total / norm if norm else 0.0


def slow_distance(truth: np.ndarray, y: int, x: int) -> float:
    """Pixels to the nearest one that has a neighbour of another class."""
    height, width = truth.shape
    least = math.inf
    for v, u in np.ndindex(truth.shape):
        for dv, du in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            if 0 <= v + dv < height and 0 <= u + du < width:
                pair = {int(truth[v, u]), int(truth[v + dv, u + du])}
                if len(pair) == 2 and IGNORED not in pair:
                    least = min(least, math.hypot(v - y, u - x))
    return least


def slow_tversky(logits: np.ndarray, truth: np.ndarray) -> float:
    shares, kept = slow_probabilities(logits), truth != IGNORED
    losses = []
    for number in [1] if logits.shape[1] == 1 else range(logits.shape[1]):
        true = truth == number
        hit = shares[:, number][true].sum()
        added, missed = shares[:, number][kept & ~true].sum(), (1 - shares[:, number][true]).sum()
        losses.append(1 - hit / (hit + 0.3 * added + 0.7 * missed) if true.any() else 0.0)
    return float(np.mean(losses))


def slow_lovasz(logits: np.ndarray, truth: np.ndarray) -> float:
    """Sum over sorted errors of error times growth of the Jaccard loss of the set of pixels up to it (Algorithm 1)."""

    def extension(errors: np.ndarray, true: np.ndarray) -> float:
        def jaccard_loss(wrong: set[int]) -> float:
            truly = set(np.flatnonzero(true).tolist())
            return len(wrong) / len(wrong | truly) if wrong | truly else 0.0

        total, wrong = 0.0, set[int]()
        for place in np.argsort(-errors, kind="stable").tolist():
            grown = wrong | {place}
            total += errors[place] * (jaccard_loss(grown) - jaccard_loss(wrong))
            wrong = grown
        return float(total)

    kept = truth != IGNORED
    if logits.shape[1] == 1:
        sign = np.where(truth == 1, 1.0, -1.0)[kept]
        return extension(np.maximum(1 - logits[:, 0][kept] * sign, 0), (truth == 1)[kept])
    shares = slow_probabilities(logits)
    present = [n for n in range(logits.shape[1]) if (truth == n).any()]
    each = [extension(np.abs((truth == n)[kept] - shares[:, n][kept]), (truth == n)[kept]) for n in present]
    return float(np.mean(each)) if each else 0.0


def slow(name: str, logits: torch.Tensor, truth: torch.Tensor, weights: list[float] | None = None) -> float:
    values, labels = logits.detach().numpy().astype(np.float64), truth.numpy()
    if name == "dice":
        return slow_dice(logits, truth)
    if name == "tversky":
        return slow_tversky(values, labels)
    if name == "lovasz":
        return slow_lovasz(values, labels)
    return slow_pixel_loss(name, values, labels, weights or [1.0] * 255)


NAMES = [name for name in LOSSES if name != "bce"]


@pytest.mark.parametrize("classes", [TWO, FOUR])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ignored", [0.0, 0.3])
def test_every_loss_is_its_definition(name: str, classes: Classes, ignored: float) -> None:
    for seed in range(3):
        logits, truth = made_up(classes, ignored=ignored, seed=seed)
        assert float(build_loss(name, classes)(logits, truth)) == pytest.approx(slow(name, logits, truth), rel=1e-4)


@pytest.mark.parametrize("name", [name for name in PIXEL_LOSSES if name != "bce"])
@pytest.mark.parametrize(("classes", "weights"), [(TWO, [0.5, 3.0]), (FOUR, [1.0, 0.0, 2.5, 4.0])])
def test_class_weights_weigh_pixels(name: str, classes: Classes, weights: list[float]) -> None:
    logits, truth = made_up(classes)
    loss = build_loss(name, classes, class_weights=",".join(map(str, weights)))
    assert float(loss(logits, truth)) == pytest.approx(slow(name, logits, truth, weights), rel=1e-4)
    alike = build_loss(name, classes, class_weights=",".join(["7"] * len(classes)))
    assert float(alike(logits, truth)) == pytest.approx(slow(name, logits, truth), rel=1e-4)


def test_weighted_cross_entropy_is_torchs() -> None:
    logits, truth = made_up(FOUR)
    theirs = torch.nn.functional.cross_entropy(
        logits, truth.long(), weight=torch.tensor([1.0, 2.0, 0.5, 3.0]), ignore_index=IGNORED
    )
    assert float(build_loss("ce", FOUR, class_weights="1,2,0.5,3")(logits, truth)) == pytest.approx(float(theirs))


@pytest.mark.parametrize("classes", [TWO, FOUR])
@pytest.mark.parametrize("name", ["dice", "tversky", "lovasz"])
def test_region_losses_are_those_of_segmentation_models(name: str, classes: Classes) -> None:
    """Values and gradients; its Lovasz loss is the code of the paper's authors."""
    from segmentation_models_pytorch.losses import DiceLoss, LovaszLoss, TverskyLoss

    logits, truth = made_up(classes, seed=5)
    ours, theirs = (logits.clone().requires_grad_() for _ in range(2))
    value = build_loss(name, classes)(ours, truth)
    mode = "binary" if len(classes) == 2 else "multiclass"
    kinds = {
        "dice": lambda: DiceLoss(mode, ignore_index=IGNORED),
        "tversky": lambda: TverskyLoss(mode, ignore_index=IGNORED, alpha=0.3, beta=0.7),
        "lovasz": lambda: LovaszLoss(mode, ignore_index=IGNORED),
    }
    target = truth.long() if len(classes) > 2 else truth[:, None].float()
    reference = kinds[name]()(theirs, target)
    assert float(value.detach()) == pytest.approx(float(reference.detach()), rel=1e-5)
    value.backward()  # type: ignore[no-untyped-call]
    reference.backward()
    assert ours.grad is not None
    assert theirs.grad is not None
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


cases = st.tuples(
    st.sampled_from(NAMES), st.sampled_from([TWO, FOUR]), st.integers(0, 10_000), st.sampled_from([0.0, 0.4, 0.9, 1.0])
)


def hard_case(classes: Classes, seed: int, ignored: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Large and small logits, classes that are absent, pictures that are ignored as a whole."""
    rng = np.random.default_rng(seed)
    present = rng.permutation(len(classes))[: rng.integers(1, len(classes) + 1)]
    truth = rng.choice(present, (3, 6, 5)).astype(np.uint8)
    truth[rng.random(truth.shape) < ignored] = IGNORED
    logits = rng.normal(0, 10.0 ** rng.integers(-3, 3), (3, classes.channels, 6, 5))
    return torch.from_numpy(logits.astype(np.float32)), torch.from_numpy(truth)


@given(cases)
def test_no_loss_is_ever_negative_or_no_number(case: tuple[str, Classes, int, float]) -> None:
    name, classes, seed, ignored = case
    logits, truth = hard_case(classes, seed, ignored)
    logits.requires_grad_()
    value = build_loss(name, classes)(logits, truth)
    value.backward()  # type: ignore[no-untyped-call]
    assert value.dtype == torch.float32
    assert value.shape == ()
    assert -1e-6 <= float(value.detach()) < math.inf
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())
    if bool((truth == IGNORED).all()):
        assert float(value.detach()) == 0.0
        assert float(logits.grad.abs().max()) == 0.0


@given(cases)
def test_what_is_ignored_changes_nothing(case: tuple[str, Classes, int, float]) -> None:
    name, classes, seed, ignored = case
    logits, truth = hard_case(classes, seed, ignored)
    out = (truth == IGNORED)[:, None].expand_as(logits)
    other = torch.where(out, torch.randn(logits.shape, generator=torch.Generator().manual_seed(seed)) * 30, logits)
    values, gradients = [], []
    for given_logits in (logits, other):
        variable = given_logits.clone().requires_grad_()
        value = build_loss(name, classes)(variable, truth)
        value.backward()  # type: ignore[no-untyped-call]
        assert variable.grad is not None
        values.append(float(value.detach()))
        gradients.append(variable.grad)
    assert values[0] == pytest.approx(values[1], rel=1e-5, abs=1e-6)
    assert float(gradients[0][out].abs().sum()) == 0.0
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-6)


@given(cases)
def test_the_order_of_a_batch_does_not_matter(case: tuple[str, Classes, int, float]) -> None:
    name, classes, seed, ignored = case
    logits, truth = hard_case(classes, seed, ignored)
    order = torch.randperm(3, generator=torch.Generator().manual_seed(seed))
    loss = build_loss(name, classes)
    assert float(loss(logits[order], truth[order])) == pytest.approx(float(loss(logits, truth)), rel=1e-4, abs=1e-6)


@given(cases)
def test_right_and_sure_is_free(case: tuple[str, Classes, int, float]) -> None:
    name, classes, seed, ignored = case
    truth = hard_case(classes, seed, ignored)[1]
    numbers = truth.long().clamp(max=len(classes) - 1)
    sure = torch.nn.functional.one_hot(numbers, len(classes)).permute(0, 3, 1, 2).float() * 60 - 30
    logits = sure[:, 1:] if len(classes) == 2 else sure
    assert float(build_loss(name, classes)(logits, truth)) == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("classes", [TWO, FOUR])
@pytest.mark.parametrize("name", NAMES)
def test_every_loss_teaches(name: str, classes: Classes) -> None:
    """Going down its gradient makes more pixels right, or it is no loss to train with."""
    logits, truth = made_up(classes, seed=3)
    logits = logits * 0.1
    logits.requires_grad_()
    loss, optimiser = build_loss(name, classes), torch.optim.Adam([logits], lr=0.1)
    for _ in range(150):
        optimiser.zero_grad()
        loss(logits, truth).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    kept = truth != IGNORED
    answer = (logits[:, 0] > 0).long() if len(classes) == 2 else logits.argmax(dim=1)
    assert float((answer == truth)[kept].float().mean()) > 0.95


def test_borders_of_a_square() -> None:
    truth = np.zeros((1, 40, 40), np.uint8)
    truth[0, 10:30, 10:30] = 1
    weights = border_weights(truth)
    assert weights.dtype == np.float32
    assert weights[0, 9, 20] == weights[0, 10, 20] == pytest.approx(11.0)
    assert weights[0, 15, 20] == pytest.approx(1 + 10 * math.exp(-0.5))
    assert weights[0, 0, 0] < 1.3
    truth[0, :, 35:] = IGNORED
    assert border_weights(truth)[0, 2, 34] == weights[0, 2, 34]
    assert np.array_equal(border_weights(np.full((2, 4, 4), 3, np.uint8)), np.ones((2, 4, 4), np.float32))


def test_weights_near_borders_are_the_same_to_the_bit_wherever_they_lie_in_memory() -> None:
    truth = np.zeros((1, 40, 60), np.uint8)
    truth[0, 20:31, 13:37] = 2
    rows, columns = np.nonzero(border_weights(truth)[0] == 11.0)
    y, x = np.mgrid[:40, :60]
    squares = ((y[..., None] - rows) ** 2 + (x[..., None] - columns) ** 2).min(axis=-1).astype(np.float32)
    expected = np.float32(1) + 10.0 * np.exp(-squares / 50.0)
    elsewhere = []
    for size in range(1, 40):  # what was made before moves what is made next
        elsewhere.append(np.ones(997 * size, np.uint8))
        assert np.array_equal(border_weights(truth)[0], expected)


# --- sums, weights and names -------------------------------------------------------------------------------------------


def test_factors_of_a_sum() -> None:
    logits, truth = made_up(FOUR)
    ce, lovasz = (float(build_loss(name, FOUR)(logits, truth)) for name in ("ce", "lovasz"))
    both = build_loss("ce + 0.5*lovasz", FOUR)
    assert float(both(logits, truth)) == pytest.approx(ce + 0.5 * lovasz)
    assert both.each(logits, truth) == pytest.approx({"ce": ce, "lovasz": lovasz})
    assert float(build_loss("2 * ce", FOUR)(logits, truth)) == pytest.approx(2 * ce)


def test_a_batch_is_its_pictures_and_class_maps() -> None:
    logits, truth = made_up(TWO)
    loss = build_loss("auto", TWO)
    batch = Batch(torch.zeros(2, 3, 5, 7, dtype=torch.uint8), truth, ("a", "b"))
    assert float(batch_loss(loss, logits, batch)) == float(loss(logits, truth))


def test_automatic_weights_are_enets(colour_data: Path) -> None:
    dataset = find_dataset(colour_data)
    recipe = tiny_recipe(augment="none", class_weights="auto")
    pairs = Pairs(Splits(dataset.splits["train"], dataset.splits["val"]), dataset.classes, recipe, "cpu")
    seen = io.StringIO()
    found = with_weights(recipe, dataset.classes, pairs, Console(file=seen, width=200)).fit.class_weights
    one_pass = itertools.islice(pairs.train_dataloader(), pairs.order.batches_per_pass)
    maps = np.stack([class_map for batch in one_pass for class_map in batch.class_maps.numpy()])
    shares = np.array([(maps == number).mean() for number in range(3)])
    expected = 1 / np.log(1.02 + shares)
    expected /= (expected * shares).sum()
    assert [float(w) for w in found.split(",")] == pytest.approx(list(expected), rel=5e-3)
    assert all(f"{name} " in seen.getvalue() for name in dataset.classes.names)
    again = recipe.with_settings(class_weights=found)
    assert with_weights(again, dataset.classes, pairs, Console(quiet=True)) is again


@pytest.mark.parametrize(
    ("loss", "count", "weighed"),
    [("auto", 3, True), ("dice", 3, False), ("lovasz+0.5*focal", 3, True), ("auto", 2, False)],
)
def test_several_weighs_where_it_helps(colour_data: Path, loss: str, count: int, weighed: bool) -> None:
    dataset = find_dataset(colour_data)
    recipe = tiny_recipe(class_weights="several", loss=loss)
    pairs = Pairs(Splits(dataset.splits["train"], ()), dataset.classes, recipe, "cpu")
    classes = dataset.classes if count == 3 else Classes(names=("background", "disc"))
    found = with_weights(recipe, classes, pairs, Console(quiet=True)).fit.class_weights
    assert len(found.split(",")) == 3 if weighed else found == "none"


def test_a_class_nobody_has_gets_a_bounded_weight(binary_data: Path) -> None:
    dataset = find_dataset(binary_data)
    recipe = tiny_recipe(class_weights="auto")
    pairs = Pairs(Splits(dataset.splits["train"], ()), dataset.classes, recipe, "cpu")
    many = Classes(names=("background", "disc", "never"))
    numbers = with_weights(recipe, many, pairs, Console(quiet=True)).fit.class_weights.split(",")
    assert max(map(float, numbers)) / min(map(float, numbers)) < 36


@pytest.mark.parametrize(
    ("name", "classes", "said"),
    [
        ("bce", FOUR, "use ce"),
        ("ce+bce", FOUR, "use ce"),
        ("", TWO, "choose ce"),
        ("ce+", FOUR, "choose ce"),
        ("hinge", TWO, "choose ce"),
        ("focl", TWO, "did you mean focal"),
        ("ce+lovas", FOUR, "did you mean lovasz"),
        ("ce+x*dice", FOUR, "a factor is a positive number"),
        ("*dice", FOUR, "a factor is a positive number"),
        ("-1*dice", FOUR, "a factor is a positive number"),
        ("nan*dice", FOUR, "a factor is a positive number"),
    ],
)
def test_names_that_are_refused(name: str, classes: Classes, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        build_loss(name, classes)


@pytest.mark.parametrize(
    ("loss", "weights", "said"),
    [
        ("ce", "1,2", "2 numbers, and there are 4 classes"),
        ("ce", "1,2,3,x", "numbers in the order"),
        ("ce", "0,0,0,0", "at least one above 0"),
        ("ce", "1,2,-3,4", "0 and more"),
        ("dice+lovasz", "1,2,3,4", "change nothing"),
    ],
)
def test_weights_that_are_refused(loss: str, weights: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        build_loss(loss, FOUR, class_weights=weights)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--loss", "dise"), "did you mean dice?"),
        (("--class-weights", "1,2,3"), "give one for each of"),
        (("--class-weights", "much"), "numbers in the order of the classes"),
        (("--class-weights", "auto", "--loss", "dice"), "change nothing"),
    ],
)
def test_the_command_line_refuses_in_one_sentence(
    flags: tuple[str, ...], said: str, binary_data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    answer = refused("train", binary_data, "--out", run, "--model", NAME, "--precision", "fp32", *flags)
    assert said in answer
    assert not run.exists()
