from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from segwright.engines.memory import keep_memory
from segwright.errors import RecipeError
from segwright.models.catalogue import build
from segwright.recipe import ModelRecipe
from segwright.training.pace import Pace, choose, computing
from tests.training.tiny_network import Tiny

GROUPED = Pace("bf16", True, "")
needs_bf16 = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this CPU has no fast bfloat16"
)


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return Tiny(1)


@pytest.mark.parametrize("wanted", ["auto", "fp32", "bf16"])
def test_choosing_changes_nothing(network: nn.Module, wanted: str) -> None:
    before, training = copy.deepcopy(network.state_dict()), network.training
    pace = choose(network, 1, (64, 64), wanted, "cpu")  # type: ignore[arg-type]
    assert pace.why
    assert wanted in ("auto", pace.precision)
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(p.grad is None for p in network.parameters())
    assert network.training == training
    assert all("forward" not in vars(module) for module in network.modules())


def test_choosing_leaves_the_real_network_alone() -> None:
    network = build(ModelRecipe(model="lraspp_mobilenet_v3_small"), 1)
    before = copy.deepcopy(network.state_dict())
    choose(network, 1, (64, 64), "auto", "cpu")
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_half_precision_on_a_cpu_is_refused(network: nn.Module) -> None:
    with pytest.raises(RecipeError, match="CUDA"):
        choose(network, 1, (64, 64), "fp16", "cpu")


def test_a_slow_bfloat16_is_not_chosen(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segwright.training.pace._race", lambda *_: [1.0, 0.99, 1.2])
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    assert choose(network, 1, (64, 64), "auto", "cpu").precision == "fp32"
    monkeypatch.setattr("segwright.training.pace._race", lambda *_: [1.0, 0.9, 0.5])
    chosen = choose(network, 1, (64, 64), "auto", "cpu")
    assert (chosen.precision, chosen.grouped_fp32) == ("bf16", True)
    assert "2.0x" in chosen.why


def dtypes_inside(network: nn.Module, pace: Pace) -> dict[str, torch.dtype]:
    """What each convolution answers with."""
    seen: dict[str, torch.dtype] = {}
    hooks = [
        module.register_forward_hook(lambda _m, _i, out, name=name: seen.__setitem__(name, out.dtype))
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d)
    ]
    with computing(network, pace, "cpu"):
        network(torch.rand(1, 3, 32, 32))
    for hook in hooks:
        hook.remove()
    return seen


def test_grouped_convolutions_stay_in_float32(network: nn.Module) -> None:
    seen = dtypes_inside(network, GROUPED)
    assert seen.pop("layers.3") == torch.float32
    assert set(seen.values()) == {torch.bfloat16}
    assert set(dtypes_inside(network, Pace("bf16", False, "")).values()) == {torch.bfloat16}
    assert set(dtypes_inside(network, Pace("fp32", False, "")).values()) == {torch.float32}


def test_convolutions_are_restored_even_after_an_error(network: nn.Module) -> None:
    with pytest.raises(ZeroDivisionError), computing(network, GROUPED, "cpu"):
        assert any("forward" in vars(module) for module in network.modules())
        raise ZeroDivisionError
    assert all("forward" not in vars(module) for module in network.modules())
    assert not torch.is_autocast_enabled("cpu")
    copy.deepcopy(network)  # a wrapped convolution would drag its twin along


@pytest.mark.parametrize("pace", [GROUPED, Pace("bf16", False, "")])
def test_bfloat16_is_close_to_float32(network: nn.Module, pace: Pace) -> None:
    images = torch.rand(2, 3, 48, 64)
    network.eval()
    with torch.no_grad():
        exact = network(images)
        with computing(network, pace, "cpu"):
            coarse = network(images).float()
    assert float((exact - coarse).abs().max()) < 0.05 * float(exact.abs().max() + 1)


def test_gradients_are_float32_and_close(network: nn.Module) -> None:
    images = torch.rand(2, 3, 48, 64)
    gradients = []
    for pace in (Pace("fp32", False, ""), GROUPED):
        with computing(network, pace, "cpu"):
            loss = network(images).float().square().mean()
        loss.backward()
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
        network.zero_grad()
    for exact, coarse in zip(*gradients, strict=True):
        assert coarse.dtype == torch.float32
        assert float((exact - coarse).norm()) <= 0.15 * float(exact.norm()) + 1e-4


def test_keeping_memory_is_harmless() -> None:
    keep_memory()
    keep_memory()
    assert float(torch.ones(1000, 1000).sum()) == 1e6
