"""Widths: a narrower network out of plain numbers, and numbers that nobody may write."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import nn

from segwright.errors import ModelError
from segwright.models.widths import Widths, narrow, widths_from, widths_of


def layers(width: int, middle: int) -> nn.Sequential:
    """One layer of every kind that has a width."""
    return nn.Sequential(
        nn.Conv2d(3, width, 3),
        nn.BatchNorm2d(width),
        nn.Conv2d(width, width, 3, groups=width, bias=False),
        nn.ConvTranspose2d(width, middle, 2),
        nn.GroupNorm(4, middle),
        nn.Flatten(2),
        nn.Linear(25, middle),
        nn.LayerNorm(middle),
    )


def test_a_network_is_rebuilt_from_what_tells_it_from_the_plain_one() -> None:
    torch.manual_seed(0)
    pruned, plain = layers(8, 16), layers(24, 32)
    widths = widths_of(pruned, plain)
    assert widths == {
        "0": [8, 3, 1],
        "1": [8],
        "2": [8, 8, 8],
        "3": [16, 8, 1],
        "4": [16, 4],
        "6": [16, 25],
        "7": [16],
    }
    narrow(plain, widths_from(json.loads(json.dumps(widths))))
    plain.load_state_dict(pruned.state_dict())
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(pruned.eval()(images), plain.eval()(images))


def test_a_plain_network_has_no_widths() -> None:
    network = layers(8, 16)
    assert widths_of(network, layers(8, 16)) == {}
    before = {name: tensor.data_ptr() for name, tensor in network.state_dict().items()}
    narrow(network, {})
    assert before == {name: tensor.data_ptr() for name, tensor in network.state_dict().items()}


def test_free_parameters_cannot_be_told() -> None:
    class Free(nn.Module):
        def __init__(self, size: int) -> None:
            super().__init__()
            self.token = nn.Parameter(torch.zeros(size))

    with pytest.raises(ModelError, match="token"):
        widths_of(Free(2), Free(3))


@pytest.mark.parametrize(
    "widths",
    [
        {"99": [1]},
        {"5": [1]},  # a layer without a width
        {"0": [8, 3]},
        {"0": [25, 3, 1]},  # wider than the plain network: a small file must not ask for much memory
        {"0": [0, 3, 1]},
        {"0": [-8, 3, 1]},
        {"2": [8, 8, 3]},
        {"4": [15, 4]},
    ],
)
def test_impossible_widths_are_refused(widths: Widths) -> None:
    with pytest.raises(ModelError, match="widths"):
        narrow(layers(24, 32), widths)


@pytest.mark.parametrize("raw", [None, [], {"a": 3}, {"a": [1.5]}, {"a": [True]}, {"a": ["8"]}])
def test_json_that_is_no_widths_is_refused(raw: Any) -> None:
    with pytest.raises(ValueError, match="widths"):
        widths_from(raw)
