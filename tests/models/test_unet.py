"""U-Nets against the papers' numbers, a second U-Net written by hand, and what valid convolutions promise at borders."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torchvision.transforms.functional import center_crop

from segwright.errors import RecipeError
from segwright.models.catalogue import build, require_possible
from segwright.models.unet import CONTEXT, GATES_EDGE, UNet, mirrored, valid_margins
from segwright.recipe import ModelRecipe

Padding = Literal[0, 1]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def small(padding: Padding = 0, *, batch_norm: bool = False, attention: bool = False, channels_out: int = 2) -> UNet:
    return UNet(3, channels_out, base_channels=4, padding=padding, batch_norm=batch_norm, attention=attention).eval()


def by_hand(weights: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """The valid U-Net of the paper's figure 1, level by level, from nothing but its numbers."""

    def both(x: torch.Tensor, name: str) -> torch.Tensor:
        x = F.conv2d(x, weights[f"{name}.0.weight"], weights[f"{name}.0.bias"]).relu()
        return F.conv2d(x, weights[f"{name}.2.weight"], weights[f"{name}.2.bias"]).relu()

    def joined(low: torch.Tensor, skip: torch.Tensor, level: int) -> torch.Tensor:
        low = F.conv_transpose2d(low, weights[f"enlarge.{level}.weight"], weights[f"enlarge.{level}.bias"], stride=2)
        return both(torch.cat([center_crop(skip, list(low.shape[-2:])), low], dim=1), f"up.{level}")

    first = both(images, "down.0")
    second = both(F.max_pool2d(first, 2), "down.1")
    third = both(F.max_pool2d(second, 2), "down.2")
    fourth = both(F.max_pool2d(third, 2), "down.3")
    deepest = both(F.max_pool2d(fourth, 2), "down.4")
    answer = joined(joined(joined(joined(deepest, fourth, 3), third, 2), second, 1), first, 0)
    return F.conv2d(answer, weights["head.weight"], weights["head.bias"])


def test_the_published_network_has_its_published_size() -> None:
    """Counted from figure 1: nine pairs of 3x3 convolutions, four 2x2 up-convolutions, one 1x1 convolution, all with biases.

    The 31,031,685 that is often cited belongs to a variant with one more 3x3 convolution (64 to 2) before a 1x1 (2 to 1).
    """
    ends = [(1, 64), (64, 128), (128, 256), (256, 512), (512, 1024), (1024, 512), (512, 256), (256, 128), (128, 64)]
    pairs = sum(9 * a * b + b + 9 * b * b + b for a, b in ends)
    ups = sum(4 * 2 * b * b + b for b in (512, 256, 128, 64))
    expected = pairs + ups + 64 * 2 + 2
    assert expected == 31_030_658
    assert expected - (64 * 2 + 2) + (9 * 64 * 2 + 2) + (2 + 1) == 31_031_685
    with torch.device("meta"):
        network = UNet(1, 2, padding=0, batch_norm=False)
        assert sum(p.numel() for p in network.parameters()) == expected
        assert network.core(torch.empty(1, 1, 572, 572)).shape == (1, 2, 388, 388)
        assert network(torch.empty(1, 1, 512, 512)).shape == (1, 2, 512, 512)


def test_answers_as_a_network_written_by_hand() -> None:
    network = small()
    images = torch.randn(2, 3, 188, 220)
    with torch.no_grad():
        answer = network.core(images)
        assert answer.shape == (2, 2, 4, 36)
        assert torch.allclose(answer, by_hand(network.state_dict(), images), atol=1e-5)


def test_a_picture_is_seen_with_its_mirrored_surroundings() -> None:
    network, images = small(), torch.randn(1, 3, 20, 52)  # margins of 92 and more go around several times
    around = np.pad(images.numpy(), ((0, 0), (0, 0), valid_margins(20), valid_margins(52)), mode="reflect")
    with torch.no_grad():
        expected = by_hand(network.state_dict(), torch.from_numpy(around))[..., :20, :52]
        assert torch.allclose(network(images), expected, atol=1e-5)


@given(st.integers(1, 9), st.integers(0, 40), st.integers(0, 40))
@settings(deadline=None)
def test_mirroring_is_numpys(length: int, before: int, after: int) -> None:
    row = torch.arange(length, dtype=torch.float32)
    assert np.array_equal(mirrored(row, 0, before, after).numpy(), np.pad(row.numpy(), (before, after), mode="reflect"))


@given(st.integers(1, 2000))
@settings(deadline=None)
def test_margins_fit_the_pooling_and_waste_little(length: int) -> None:
    before, after = valid_margins(length)
    assert before == CONTEXT == (572 - 388) // 2
    assert before <= after < before + 16
    side = before + length + after
    for _ in range(4):
        side -= 4
        assert side % 2 == 0
        side //= 2
    side -= 4
    assert side >= 1
    for _ in range(4):
        side = 2 * side - 4
    assert side == length + after - before


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([0, 1]), st.booleans())
@settings(deadline=None, max_examples=15)
def test_any_size_is_answered(height: int, width: int, padding: Padding, attention: bool) -> None:
    name = "UnetAttention" if attention else "UnetClassic"
    network = build(ModelRecipe(model=name, padding=padding, base_channels=1), 3).eval()
    with torch.no_grad():
        logits = network(torch.rand(1, 3, height, width))
    assert logits.shape == (1, 3, height, width)
    assert logits.isfinite().all()


@pytest.mark.parametrize(("attention", "edge"), [(False, 0), (True, GATES_EDGE)])
def test_tiles_of_valid_networks_agree_with_the_whole(attention: bool, edge: int) -> None:
    """Answers of `core` need nothing outside its input, so a tile taken at a pooling step gives the same ones."""
    network, picture = small(attention=attention), torch.randn(1, 3, 284, 268)
    with torch.no_grad():
        whole = network.core(picture)
        tile = network.core(picture[..., 32:268, 16:252])
    assert tile.shape[-2:] == (52, 52)
    inner = slice(edge, 52 - edge)
    assert torch.allclose(tile[..., inner, inner], whole[..., 32:84, 16:68][..., inner, inner], atol=1e-5)
    assert not torch.allclose(tile, whole[..., 31:83, 16:68], atol=1e-3), "the test would prove nothing"


def test_tiles_of_padded_networks_differ_near_their_border() -> None:
    network, picture = small(1), torch.randn(1, 3, 256, 256)
    with torch.no_grad():
        whole = network(picture)
        tile = network(picture[..., 16:240, 16:240])
    difference = (tile - whole[..., 16:240, 16:240]).abs().amax(dim=(0, 1))
    assert difference[0].max() > 100 * difference[96:-96, 96:-96].max()
    assert torch.allclose(tile[..., 96:-96, 96:-96], whole[..., 112:-112, 112:-112], atol=1e-5)


@pytest.mark.parametrize("padding", [0, 1])
def test_gates_weigh_the_lower_skips(padding: Padding) -> None:
    network, opened = small(padding, attention=True), []
    for gate in network.gates:
        gate.register_forward_hook(lambda module, inputs, answer: opened.append((inputs[0].shape, answer)))
    with torch.no_grad():
        network(torch.randn(2, 3, 64, 48))
    assert [shape[1] for shape, _ in opened] == [32, 16, 8], "the first skip has no gate"
    for shape, answer in opened:
        assert answer.shape == (2, 1, *shape[-2:])
        assert 0 < answer.min() < answer.max() < 1


def gates_at(network: UNet, level: float) -> None:
    for name, parameter in network.gates.named_parameters():
        if "psi" in name:
            torch.nn.init.constant_(parameter, level if name.endswith("bias") else 0.0)


@pytest.mark.parametrize("padding", [0, 1])
def test_open_gates_change_nothing(padding: Padding) -> None:
    gated, plain = small(padding, attention=True), small(padding)
    plain.load_state_dict({k: v for k, v in gated.state_dict().items() if not k.startswith("gates.")})
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert not torch.allclose(gated(images), plain(images), atol=1e-3), "random gates are neither open nor shut"
        gates_at(gated, 50.0)
        assert torch.allclose(gated(images), plain(images), atol=1e-6)


def test_shut_gates_let_nothing_through() -> None:
    """With its gate shut, the half of the convolution that reads the skip has no influence."""
    network, images = small(1, attention=True), torch.randn(1, 3, 64, 64)
    gates_at(network, -1e4)
    with torch.no_grad():
        before = network(images)
        for level, width in ((1, 8), (2, 16), (3, 32)):
            network.up[level][0].weight[:, :width] = 7.0  # type: ignore[index]
        assert torch.equal(network(images), before)


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("padding", [0, 1])
def test_learns_in_channels_last_bfloat16(padding: Padding, batch_norm: bool, attention: bool) -> None:
    network = small(padding, batch_norm=batch_norm, attention=attention, channels_out=1).train()
    network.to(memory_format=torch.channels_last)
    images = F.interpolate(torch.rand(2, 3, 4, 6), scale_factor=8.0).contiguous(memory_format=torch.channels_last)
    truth = (images[:, :1] > 0.5).float()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = network(images)
        loss = F.binary_cross_entropy_with_logits(logits.float(), truth)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
        optimiser.step()
        losses.append(float(loss.detach()))
    assert logits.dtype == torch.bfloat16
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("padding", [0, 1])
def test_signals_neither_die_nor_explode_at_the_start(padding: Padding) -> None:
    network = UNet(3, 1, base_channels=16, padding=padding, batch_norm=False).eval()
    with torch.no_grad():
        spread = float(network(torch.randn(1, 3, 64, 64)).std())
    assert 0.05 < spread < 20


def test_settings_reach_the_network() -> None:
    recipe = ModelRecipe(model="unetclassic", padding=0, no_batch_norm=True, base_channels=2, channels_in=1)
    body = build(recipe, 5).body
    assert isinstance(body, UNet)
    assert (body.padding, len(body.gates), body.head.weight.shape) == (0, 0, (5, 2, 1, 1))
    assert not [m for m in body.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    attention = build(ModelRecipe(model="UnetAttention", base_channels=2), 1).body
    assert isinstance(attention, UNet)
    assert (attention.padding, len(attention.gates)) == (1, 3)
    assert len([m for m in attention.modules() if isinstance(m, torch.nn.BatchNorm2d)]) == 18


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            ModelRecipe(model="Unet", padding=0),
            "Unet has no setting --padding .*UnetClassic, UnetAttention.*leave it at 1",
        ),
        (ModelRecipe(no_batch_norm=True), "lraspp_mobilenet_v3_large has no setting --no-batch-norm"),
        (ModelRecipe(model="fpn", base_channels=32), "FPN has no setting --base-channels"),
        (ModelRecipe(model="UnetClassic", encoder="resnet18"), "UnetClassic has no setting --encoder .*Unet,.*others"),
        (ModelRecipe(encoder="resnet18"), "lraspp_mobilenet_v3_large has no setting --encoder"),
    ],
)
def test_settings_of_other_models_are_refused(wrong: ModelRecipe, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        require_possible(wrong)
    with pytest.raises(RecipeError, match=said):
        build(wrong, 1)
    build(wrong, 1, load_weights=False)  # checkpoints from before the refusal still open


def test_there_are_no_imagenet_weights() -> None:
    with pytest.raises(RecipeError, match="--weights none"):
        build(ModelRecipe(model="UnetAttention", weights="imagenet"), 1)
