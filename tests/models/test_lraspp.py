"""Our LR-ASPP large against torchvision's, weight by weight, and what the small one must be like."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models.segmentation import lraspp_mobilenet_v3_large

from segwright.models.lraspp import BATCH_NORM_MOMENTUM, LRASPP, Size

HEAD = {
    "classifier.cbr.0": "project.0",
    "classifier.cbr.1": "project.1",
    "classifier.scale.1": "gate.1",
    "classifier.low_classifier": "low_classifier",
    "classifier.high_classifier": "high_classifier",
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def ours_with_weights_of(theirs: nn.Module, classes: int) -> LRASPP:
    ours = LRASPP("large", classes)
    renamed = {}
    for name, tensor in theirs.state_dict().items():
        module = next((m for m in HEAD if name.startswith(m + ".")), None)
        renamed[name.replace(module, HEAD[module], 1) if module else name] = tensor
    ours.load_state_dict(renamed, strict=True)
    return ours


def with_lively_statistics(network: nn.Module) -> nn.Module:
    """Random running statistics, so that a batch norm in the wrong place cannot hide."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.empty(module.num_features).uniform_(-0.1, 0.1)
            module.running_var = torch.empty(module.num_features).uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return network


@pytest.mark.parametrize("size_hw", [(64, 96), (97, 130)])
def test_large_is_torchvisions(size_hw: tuple[int, int]) -> None:
    theirs = with_lively_statistics(
        lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=5)
    ).eval()
    ours = ours_with_weights_of(theirs, 5).eval()
    images = torch.randn(2, 3, *size_hw)
    with torch.no_grad():
        expected, answered = theirs(images)["out"], ours(images)
    assert answered.shape == expected.shape == (2, 5, *size_hw)
    assert (answered - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize(("size", "least", "most"), [("large", 3.1e6, 3.4e6), ("small", 1.0e6, 1.2e6)])
def test_sizes_are_those_of_mobilenet(size: Size, least: float, most: float) -> None:
    count = sum(p.numel() for p in LRASPP(size, 2).parameters())
    assert least < count < most


@pytest.mark.parametrize("size", ["large", "small"])
def test_features_lie_at_an_eighth_and_a_sixteenth(size: Size) -> None:
    network = LRASPP(size, 1).eval()
    with torch.no_grad():
        maps = network.backbone(torch.zeros(1, 3, 64, 128))
    assert maps["low"].shape[-2:] == (8, 16)
    assert maps["high"].shape[-2:] == (4, 8)


@pytest.mark.parametrize("size", ["large", "small"])
def test_every_batch_norm_learns_fast_enough(size: Size) -> None:
    norms = [m for m in LRASPP(size, 1).modules() if isinstance(m, nn.BatchNorm2d)]
    assert {m.momentum for m in norms} == {BATCH_NORM_MOMENTUM}


@pytest.mark.parametrize("size", ["large", "small"])
def test_every_weight_learns(size: Size) -> None:
    network = LRASPP(size, 2).train()
    network(torch.randn(2, 3, 64, 64)).square().mean().backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None]
    assert idle == []
