from __future__ import annotations

import pytest
import torch
from torch import nn

from segwright.recipe import FitRecipe, Optimiser
from segwright.training.optimisers import OPTIMISERS, build_optimiser, groups


class Zoo(nn.Module):
    """Every kind of parameter that networks of the catalogue have, and a shared one."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3)
        self.depthwise = nn.Conv2d(8, 8, 3, groups=8, bias=False)
        self.pointwise = nn.Conv2d(8, 1, 1)
        self.up = nn.ConvTranspose2d(8, 4, 2)
        self.linear = nn.Linear(4, 5)
        self.attention = nn.MultiheadAttention(8, 2)
        self.batch_norm = nn.BatchNorm2d(8)
        self.instance_norm = nn.InstanceNorm2d(8, affine=True)
        self.group_norm = nn.GroupNorm(2, 8)
        self.layer_norm = nn.LayerNorm((8, 6, 6))
        self.rms_norm = nn.RMSNorm(8)
        self.prelu = nn.PReLU(8)
        self.layer_scale = nn.Parameter(torch.ones(8))
        self.temperature = nn.Parameter(torch.tensor(1.0))
        self.tokens = nn.Parameter(torch.zeros(1, 5, 8))
        self.shared = nn.Linear(4, 5)
        self.shared.weight = self.linear.weight


DECAYED = {
    "convolution.weight",
    "depthwise.weight",
    "pointwise.weight",
    "up.weight",
    "linear.weight",
    "attention.in_proj_weight",
    "attention.out_proj.weight",
    "tokens",
}


def test_what_is_decayed() -> None:
    network = Zoo()
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    decayed, spared = groups(network, 0.3)
    assert {names[id(p)] for p in decayed["params"]} == DECAYED
    assert {names[id(p)] for p in spared["params"]} == set(names.values()) - DECAYED
    assert len(decayed["params"]) + len(spared["params"]) == len(names)
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.3, 0.0)


def test_settings_arrive() -> None:
    network = nn.Linear(2, 2)
    adamw = build_optimiser(network, FitRecipe(adam_eps=1e-4), 0.5)
    assert type(adamw) is torch.optim.AdamW
    assert {(g["lr"], g["eps"]) for g in adamw.param_groups} == {(0.5, 1e-4)}
    adam = build_optimiser(network, FitRecipe(optimizer="adam", adam_eps=1e-3), 0.5)
    assert type(adam) is torch.optim.Adam
    assert {g["eps"] for g in adam.param_groups} == {1e-3}
    sgd = build_optimiser(network, FitRecipe(optimizer="sgd", momentum=0.8), 0.5)
    assert type(sgd) is torch.optim.SGD
    assert {(g["momentum"], g["nesterov"]) for g in sgd.param_groups} == {(0.8, True)}
    plain = build_optimiser(network, FitRecipe(optimizer="sgd", momentum=0.0), 0.5)
    assert {(g["momentum"], g["nesterov"]) for g in plain.param_groups} == {(0.0, False)}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_each_goes_down_and_decays(name: Optimiser) -> None:
    torch.manual_seed(0)
    network = nn.Linear(4, 1)
    fit = FitRecipe(optimizer=name, weight_decay=0.0)
    inputs = torch.randn(32, 4)
    wanted = inputs @ torch.tensor([[1.0], [-2.0], [3.0], [0.5]]) + 1
    optimiser = build_optimiser(network, fit, 0.05)
    for _ in range(400):
        optimiser.zero_grad()
        (network(inputs) - wanted).square().mean().backward()
        optimiser.step()
    assert float((network(inputs) - wanted).detach().square().mean()) < 1e-3

    lone = nn.Linear(4, 1)
    before = lone.weight.detach().clone(), lone.bias.detach().clone()
    optimiser = build_optimiser(lone, FitRecipe(optimizer=name, weight_decay=0.5), 0.01)
    (lone.weight.sum() * 0 + lone.bias.sum() * 0).backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    assert bool((lone.weight.abs() < before[0].abs()).all())
    assert torch.equal(lone.bias, before[1])
