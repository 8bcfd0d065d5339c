from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from segwright.training.rates import LEAST, USUAL, relative, set_rate, share_of
from tests.training.test_segmenter import segmenter_for


def test_a_share_is_the_size_of_the_weights() -> None:
    assert share_of(torch.full((4, 4), USUAL)) == pytest.approx(1.0)
    assert share_of(torch.full((8, 2, 3, 3), -4 * USUAL)) == pytest.approx(4.0)
    assert share_of(torch.full((2, 2), USUAL / 3)) == pytest.approx(1 / 3)
    assert share_of(torch.zeros(3, 3)) == LEAST, "layers that start at zero learn too"


def test_layers_of_other_sizes_change_by_the_same_share() -> None:
    torch.manual_seed(0)
    small, large = nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)
    with torch.no_grad():
        small.weight.copy_(torch.randn(6, 6).sign() * 0.0125)
        large.weight.copy_(torch.randn(6, 6).sign() * 0.2)
    before = [layer.weight.detach().clone() for layer in (small, large)]
    optimiser = relative(torch.optim.AdamW([*small.parameters(), *large.parameters()], weight_decay=0.0))
    set_rate(optimiser, 1e-3)
    (small.weight.sum() + large.weight.sum()).backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    after = [layer.weight.detach() for layer in (small, large)]
    changes = [float((new - old).norm() / old.norm()) for new, old in zip(after, before, strict=True)]
    # Adam's first step moves every weight by the learning rate: 1e-3 of weights of 0.05 is a fiftieth.
    assert changes == pytest.approx([0.02, 0.02], rel=1e-3)


def test_splitting_loses_no_weight_and_no_setting() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 2, 1))
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    optimiser = relative(
        torch.optim.AdamW([{"params": matrices, "weight_decay": 0.3}, {"params": vectors, "weight_decay": 0.0}])
    )
    kept = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert kept == {id(p): 0.3 for p in matrices} | {id(p): 0.0 for p in vectors}


@pytest.mark.parametrize("layer_lr", ["same", "relative"])
def test_the_recipe_decides(binary_data: Path, layer_lr: str) -> None:
    segmenter = segmenter_for(binary_data, layer_lr=layer_lr)
    groups = segmenter.configure_optimizers().param_groups
    assert (len({group.get("share", 1.0) for group in groups}) > 1) == (layer_lr == "relative")


def test_groups_do_not_depend_on_the_weights() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 2, 1))
    trained = relative(torch.optim.AdamW(network.parameters()))
    with torch.no_grad():
        for weights in network.parameters():
            weights.mul_(7.0)
    again = relative(torch.optim.AdamW(network.parameters()))
    assert [group["share"] for group in again.param_groups] != [group["share"] for group in trained.param_groups]
    again.load_state_dict(trained.state_dict())
    assert [group["share"] for group in again.param_groups] == [group["share"] for group in trained.param_groups]
