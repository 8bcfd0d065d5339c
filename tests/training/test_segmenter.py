from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from segwright import metrics
from segwright.classes import Classes
from segwright.data.augment import Variation
from segwright.data.layouts import find_dataset
from segwright.data.loaders import Pairs, Pictures, Splits, stack
from segwright.data.order import Draw
from segwright.models.catalogue import build
from segwright.training.losses import build_loss
from segwright.training.pace import Pace
from segwright.training.plan import Plan
from segwright.training.segmenter import COUNTED_EVERY, COUNTED_PIXELS, Segmenter, restate
from tests.training.conftest import tiny_recipe
from tests.training.tiny_network import Tiny

PLAIN = Pace("fp32", False, "")
NORMS = (nn.BatchNorm2d,)


def segmenter_for(data: Path, **fit: Any) -> Segmenter:
    recipe = tiny_recipe(**fit)
    dataset = find_dataset(data)
    pairs = Pairs(Splits(dataset.splits["train"], dataset.splits["val"]), dataset.classes, recipe, "cpu")
    torch.manual_seed(0)
    network = build(recipe.model, dataset.classes.channels)
    return Segmenter(network, dataset.classes, recipe, PLAIN, Plan(recipe, steps_per_epoch=3), pairs)


def test_norms_and_biases_do_not_decay(binary_data: Path) -> None:
    segmenter = segmenter_for(binary_data, weight_decay=0.3)
    optimiser = segmenter.configure_optimizers()
    decay = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    expected: dict[int, float] = {}
    for module in segmenter.network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            expected[id(parameter)] = 0.3 if isinstance(module, nn.Conv2d) and name == "weight" else 0.0
    assert decay == expected
    assert len(expected) == len(list(segmenter.network.parameters()))


def test_the_average_of_the_weights_is_its_definition(binary_data: Path) -> None:
    segmenter = segmenter_for(binary_data, ema=0.9, epochs=100)
    assert segmenter.measured is not segmenter.network
    name = next(iter(dict(segmenter.network.named_parameters())))
    expected = segmenter.network.state_dict()[name].double().clone()
    generator = torch.Generator().manual_seed(0)
    for step in range(1, 120):
        with torch.no_grad():
            for parameter in segmenter.network.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        segmenter.on_train_batch_end(None, None, 0)  # type: ignore[arg-type]
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * segmenter.network.state_dict()[name].double()
    assert torch.allclose(segmenter.measured.state_dict()[name].double(), expected, atol=1e-5)
    assert not any(p.requires_grad for p in segmenter.measured.parameters())
    optimised = {id(p) for group in segmenter.configure_optimizers().param_groups for p in group["params"]}
    assert optimised == {id(p) for p in segmenter.network.parameters()}


def slow_statistics(network: nn.Module, batches: list[torch.Tensor]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Mean over batches of what each batch norm was given: its mean, and its unbiased variance."""
    given: dict[str, list[np.ndarray]] = {}
    twin = copy.deepcopy(network).train()
    for name, module in twin.named_modules():
        if isinstance(module, NORMS):
            module.register_forward_hook(
                lambda _m, inputs, _o, name=name: given.setdefault(name, []).append(inputs[0].numpy())
            )
    with torch.no_grad():
        for images in batches:
            twin(images)
    return {
        name: (
            np.mean([x.mean(axis=(0, 2, 3), dtype=np.float64) for x in arrays], axis=0),
            np.mean([x.astype(np.float64).var(axis=(0, 2, 3), ddof=1) for x in arrays], axis=0),
        )
        for name, arrays in given.items()
    }


@pytest.mark.parametrize("training", [True, False])
def test_restated_statistics_are_those_of_the_batches(training: bool) -> None:
    torch.manual_seed(0)
    network = Tiny(2, momentum=0.01).train(training)
    for module in network.modules():
        if isinstance(module, NORMS):
            module.running_mean.fill_(7.0)  # type: ignore[union-attr]
    weights = {name: p.clone() for name, p in network.named_parameters()}
    batches = [torch.rand(3, 3, 32, 48) * (n + 1) / 5 for n in range(5)]
    expected = slow_statistics(network, batches)
    restate(network, batches)
    assert len(expected) == 3
    for name, (mean, variance) in expected.items():
        norm = network.get_submodule(name)
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        np.testing.assert_allclose(norm.running_mean.numpy(), mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(norm.running_var.numpy(), variance, rtol=1e-4, atol=1e-6)
        assert norm.momentum == 0.01
    assert all(module.training == training for module in network.modules())
    assert all(torch.equal(weights[name], p) for name, p in network.named_parameters())


def test_restating_a_network_without_norms_draws_no_batch() -> None:
    def never() -> torch.Tensor:
        raise AssertionError("no batch is needed")

    restate(nn.Conv2d(3, 1, 1), (never() for _ in range(3)))


def test_dropout_stays_off_while_statistics_are_taken() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Dropout(0.9), nn.BatchNorm2d(3)).train()
    images = torch.rand(4, 3, 16, 16)
    restate(network, [images])
    norm = network[1]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    torch.testing.assert_close(norm.running_mean, images.mean(dim=(0, 2, 3)))
    assert network.training
    assert network[0].training


def iou_in_evaluation(network: nn.Module, images: torch.Tensor, truth: torch.Tensor, classes: Classes) -> float:
    network.eval()
    with torch.no_grad():
        probabilities = classes.probabilities(network(images)).numpy()
    counts = sum(metrics.confusion(t, classes.decode(p), 2) for t, p in zip(truth.numpy(), probabilities, strict=True))
    return float(metrics.iou(np.asarray(counts))[1])


def test_statistics_that_lag_behind_are_cured(binary_data: Path) -> None:
    """In miniature: a network with torchvision's momentum of 0.01 learns, and fails as soon as it is evaluated."""
    dataset, recipe = find_dataset(binary_data), tiny_recipe()
    pictures = Pictures(dataset.splits["train"], dataset.classes, recipe, Variation())
    batch = stack([pictures[Draw(n, (0,), (64, 64))] for n in range(len(pictures))])
    images, loss = batch.images.float() / 255, build_loss("auto", dataset.classes)
    torch.manual_seed(0)
    network = Tiny(1, momentum=0.01)
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.03)
    for _ in range(60):
        value = loss(network(images), batch.class_maps)
        optimiser.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert float(value.detach()) < 0.3
    plain = iou_in_evaluation(network, images, batch.class_maps, dataset.classes)
    restate(network, [images[:6], images[6:]])
    cured = iou_in_evaluation(network, images, batch.class_maps, dataset.classes)
    assert plain < 0.5
    assert cured > 0.8


def without_trainer(segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logging and gathering need a running trainer."""
    monkeypatch.setattr(segmenter, "log_dict", lambda *_: None)
    monkeypatch.setattr(segmenter, "all_gather", lambda counts: counts)


def test_validation_counts_every_picture_once(binary_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scores of a check are those of all validation pixels together, and repeatable."""
    segmenter = segmenter_for(binary_data)
    without_trainer(segmenter, monkeypatch)

    def check() -> dict[str, float]:
        segmenter.network.train()
        segmenter.on_validation_epoch_start()
        segmenter.network.eval()
        with torch.no_grad():
            for number, batch in enumerate(segmenter.pairs.val_dataloader()):
                segmenter.validation_step(batch, number)
        segmenter.on_validation_epoch_end()
        return dict(segmenter.scores)

    first = check()
    assert check() == first
    assert segmenter._counts.sum() == 4 * 64 * 64
    counts = np.zeros((2, 2), np.int64)
    for batch in segmenter.pairs.val_dataloader():
        with torch.no_grad():
            answer = (segmenter.network(batch.images.float() / 255).sigmoid() >= 0.5)[:, 0].numpy()
        truth = batch.class_maps.numpy()
        for t in range(2):
            for p in range(2):
                counts[t, p] += ((truth == t) & (answer == p)).sum()
    assert np.array_equal(segmenter._counts, counts)
    hit, missed, wrong = counts[1, 1], counts[1, 0], counts[0, 1]
    assert first["val_iou"] == pytest.approx(hit / (hit + missed + wrong))
    assert first["val_dice"] == pytest.approx(2 * hit / (2 * hit + missed + wrong))
    assert first["val_pixel_accuracy"] == pytest.approx((counts[0, 0] + hit) / counts.sum())


def test_a_check_without_a_single_pixel_that_counts_gives_numbers(
    binary_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter = segmenter_for(binary_data)
    without_trainer(segmenter, monkeypatch)
    segmenter.on_validation_epoch_start()
    segmenter.on_validation_epoch_end()
    assert all(np.isfinite(score) for name, score in segmenter.scores.items() if name != "val_loss")


@pytest.mark.parametrize("data", ["binary_data", "colour_data"])
def test_training_scores_are_those_of_the_counted_steps(
    data: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter = segmenter_for(request.getfixturevalue(data))
    rng, count = np.random.default_rng(0), len(segmenter.classes)
    expected = np.zeros((count, count), np.int64)
    for step in range(2 * COUNTED_EVERY + 1):
        logits = torch.from_numpy(rng.normal(size=(2, segmenter.classes.channels, 64, 64)).astype(np.float32))
        truth = torch.from_numpy(rng.integers(0, count, (2, 64, 64), dtype=np.uint8))
        segmenter._count_training(logits, truth)
        if step % COUNTED_EVERY == 0:
            answer = (logits[:, 0] >= 0).long() if count == 2 else logits.argmax(1)
            for true, predicted in zip(truth.flatten().tolist(), answer.flatten().tolist(), strict=True):
                expected[true, predicted] += 1
    assert np.array_equal(segmenter._train_counts, expected)
    monkeypatch.setattr(segmenter, "all_gather", lambda counts: counts)
    segmenter._counts[:] = expected
    segmenter.on_validation_epoch_end()
    assert segmenter.train_scores == {
        "train_iou": segmenter.scores["val_iou"],
        "train_dice": segmenter.scores["val_dice"],
    }
    assert not segmenter._train_counts.any()


def test_large_batches_are_counted_on_a_grid(binary_data: Path) -> None:
    segmenter = segmenter_for(binary_data)
    segmenter._count_training(torch.zeros(4, 1, 480, 640), torch.zeros(4, 480, 640, dtype=torch.uint8))
    assert COUNTED_PIXELS / 2 < segmenter._train_counts.sum() < COUNTED_PIXELS * 2
