from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from segwright import checkpoint
from segwright.classes import Classes
from segwright.data.loaders import Batch
from segwright.errors import ModelError, UserError
from segwright.models import catalogue
from segwright.models.catalogue import Network, build
from segwright.recipe import ModelRecipe
from segwright.training import fit, replay
from segwright.training.losses import Sum, build_loss
from segwright.training.pace import Pace
from segwright.training.replay import watched
from segwright.training.segmenter import Segmenter
from tests.command import everything_below, refused, succeeded
from tests.training.conftest import tiny_recipe
from tests.training.tiny_network import NAME, Tiny

PLAIN = Pace("fp32", False, "")
TWO = Classes(names=("background", "card"))


class Rooted(Tiny):
    """Finite answers whose gradient is not: the slope of a root at 0 is infinite."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = super().forward(images)
        return logits + (logits * 0).sqrt()


@pytest.fixture
def rooted(monkeypatch: pytest.MonkeyPatch) -> str:
    def build_rooted(recipe: ModelRecipe, channels_out: int, pretrained: bool) -> nn.Module:
        return Rooted(channels_out)

    monkeypatch.setattr(catalogue, "BUILDERS", {**catalogue.BUILDERS, "rooted": build_rooted})
    return "rooted"


def some_batch(size: int = 32) -> Batch:
    torch.manual_seed(0)
    images = torch.randint(0, 256, (3, 3, size, size), dtype=torch.uint8)
    return Batch(images, (images[:, 0] > 128).byte(), ("a", "b", "c"))


def spoilt_at(step: int, monkeypatch: pytest.MonkeyPatch, value: float = math.inf) -> None:
    """One weight of the fourth layer breaks before a step."""
    start = Segmenter.on_train_batch_start

    def broken(self: Segmenter, batch: Batch, batch_index: int) -> None:
        start(self, batch, batch_index)
        if self.plan.step == step:
            with torch.no_grad():
                self.network.get_parameter("body.layers.3.weight")[2, 0, 1, 1] = value

    monkeypatch.setattr(Segmenter, "on_train_batch_start", broken)


def test_a_healthy_step_is_watched_without_a_trace() -> None:
    network = build(ModelRecipe(model=NAME), 1).train()
    loss, batch = build_loss("ce+dice", TWO), some_batch()
    seen = watched(network, loss, batch, PLAIN, "cpu")
    logits = network(batch.images)
    value = loss(logits, batch.class_maps)
    assert seen.loss == float(value.detach())
    assert seen.parts == pytest.approx(loss.each(logits, batch.class_maps))
    value.backward()  # type: ignore[no-untyped-call]
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in network.parameters() if p.grad is not None))
    assert seen.gradient_norm == pytest.approx(norm, rel=1e-5)
    assert seen.finite
    assert seen.first is None
    assert seen.leading() == []
    assert [layer.name for layer in seen.layers] == [f"body.layers.{n}" for n in range(10)]
    first = network.get_submodule("body.layers.0")((batch.images.float() / 255 - network.mean) / network.std)
    assert seen.layers[0].largest == pytest.approx(float(first.detach().abs().max()))
    assert not any(module._forward_hooks for module in network.modules())


def test_the_first_layer_is_named_and_so_is_what_came_before_it() -> None:
    network = build(ModelRecipe(model=NAME), 1).train()
    batch = some_batch()
    with torch.no_grad():
        network.get_parameter("body.layers.6.weight")[0, 0] = math.nan
    seen = watched(network, build_loss("ce", TWO), batch, PLAIN, "cpu", backward=False)
    assert seen.first is not None
    assert (seen.first.name, seen.first.kind, seen.first.given) == ("body.layers.6", "Conv2d", True)
    assert [layer.finite for layer in seen.layers] == [True] * 6 + [False] * 4
    assert [layer.name for layer in seen.leading()] == [f"body.layers.{n}" for n in (3, 4, 5, 6)]
    assert "the answer of body.layers.6 (Conv2d)" in seen.sentence()
    network.std.zero_()
    seen = watched(network, build_loss("ce", TWO), batch, PLAIN, "cpu", backward=False)
    assert "computed before body.layers.0" in seen.sentence()


def test_layers_that_work_in_place_hide_nothing() -> None:
    layers = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True), nn.Conv2d(4, 1, 1), nn.Hardtanh(inplace=True))
    with torch.no_grad():
        layers.get_parameter("0.weight")[0] = -math.inf
    seen = watched(Network(layers, 3), build_loss("ce", TWO), some_batch(), PLAIN, "cpu")
    assert seen.first is not None
    assert seen.first.name == "body.0"
    assert layers[1].inplace


def test_a_run_keeps_the_step_and_replays_it(
    binary_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        spoilt_at(4, patch)
        flags = ("--model", NAME, "--width", "64", "--height", "64", "--precision", "fp32", "--batch-size", "4")
        said = refused("train", binary_data, "--out", run, *flags, "--panels", "0")
    assert "The loss became nan at step 4 (pictures " in said
    assert "the answer of body.layers.3 (Conv2d) is the first thing that is not finite (loss bce nan, dice nan)" in said
    assert f"segwright replay {run / 'nan'}" in said
    assert everything_below(run / "nan") == {"batch.safetensors", "weights.safetensors", "batch.png", "why.json"}
    why = json.loads((run / "nan" / "why.json").read_text())
    assert (why["what"], why["step"], why["forward"]["first"]) == ("the loss became nan", 4, "body.layers.3")
    assert len(why["rest"]["keys"]) == 4
    assert str(tmp_path) not in json.dumps(why)
    weights = load_file(run / "nan" / "weights.safetensors")
    assert weights["body.layers.3.weight"][2, 0, 1, 1] == math.inf
    assert bool(torch.isfinite(weights["body.layers.6.weight"]).all())
    with Image.open(run / "nan" / "batch.png") as sheet:
        assert sheet.size[0] > 400
    assert checkpoint.load(run / "last.safetensors").step == 3

    answer = succeeded("replay", run)
    assert "Step 4, learning rate " in answer
    assert "fp32: the answer of body.layers.3 (Conv2d) is the first" in answer
    assert "    body.layers.2 (ReLU): largest answer " in answer
    assert "float32 fails as well" in answer
    passes = json.loads((run / "nan" / "replay.json").read_text())["passes"]
    assert [one["precision"] for one in passes] == ["fp32"]
    assert succeeded("replay", run / "nan") == answer


def test_a_gradient_that_is_not_finite_stops_before_the_weights_are_lost(
    binary_data: Path, tmp_path: Path, rooted: str
) -> None:
    with pytest.raises(UserError, match=r"The gradient became nan at step 0 .*layers are finite") as caught:
        fit.train(binary_data, tiny_recipe(rooted), tmp_path / "run")
    assert "\n" not in str(caught.value)
    weights = load_file(tmp_path / "run" / "nan" / "weights.safetensors")
    assert all(bool(torch.isfinite(value).all()) for value in weights.values())
    done = replay.replay(tmp_path / "run")
    assert done.found == "the gradient became nan"
    only = done.passes[0]
    assert only.first is None
    assert math.isfinite(only.loss)
    assert only.gradient_norm is not None
    assert not math.isfinite(only.gradient_norm)
    assert only.gradient_from == "body.layers.9"
    assert "the gradient is first not finite at the answer of body.layers.9" in only.sentence()


def test_fp16_gradients_are_left_to_the_scaler(binary_data: Path, rooted: str) -> None:
    from tests.training.test_segmenter import segmenter_for

    segmenter = segmenter_for(binary_data)
    optimiser = segmenter.configure_optimizers()
    for parameter in segmenter.network.parameters():
        parameter.grad = torch.full_like(parameter, math.inf)
    segmenter._latest = some_batch(), torch.get_rng_state()
    with pytest.raises(UserError, match="The gradient became inf at step 0"):
        segmenter.configure_gradient_clipping(optimiser, 255.0)
    segmenter.pace = Pace("fp16", False, "")
    segmenter.configure_gradient_clipping(optimiser, 255.0)


@pytest.mark.parametrize("most", [0.5, 1e6, None])
def test_large_gradients_are_clipped_as_torch_clips(binary_data: Path, most: float | None) -> None:
    from tests.training.test_segmenter import segmenter_for

    segmenter = segmenter_for(binary_data)
    generator = torch.Generator().manual_seed(0)
    for parameter in segmenter.network.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    optimiser = segmenter.configure_optimizers()
    weights = [p for group in optimiser.param_groups for p in group["params"]]
    expected = [nn.Parameter(p.detach().clone()) for p in weights]
    for one, other in zip(expected, weights, strict=True):
        one.grad = other.grad.clone()
    if most is not None:
        nn.utils.clip_grad_norm_(expected, most)
    segmenter.configure_gradient_clipping(optimiser, most)
    for one, other in zip(expected, weights, strict=True):
        assert one.grad is not None
        assert torch.equal(one.grad, other.grad)


def keep_step(folder: Path, pace: Pace, loss: Sum, network: Network, batch: Batch, random: torch.Tensor) -> Any:
    return replay.keep(
        folder,
        what="the loss became nan",
        network=network,
        loss=loss,
        batch=batch,
        random=random,
        recipe=tiny_recipe(loss="ce"),
        classes=TWO,
        pace=pace,
        step=7,
        lr=0.25,
    )


def test_float32_is_finite_where_float16_is_not(tmp_path: Path) -> None:
    network = build(ModelRecipe(model=NAME), 1).train()
    with torch.no_grad():
        network.get_parameter("body.layers.9.weight").fill_(3e4)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    keep_step(
        tmp_path / "nan", Pace("fp16", False, ""), build_loss("ce", TWO), network, some_batch(), torch.get_rng_state()
    )
    stored = load_file(tmp_path / "nan" / "weights.safetensors")
    assert all(torch.equal(stored[name], value) for name, value in before.items())
    done = replay.replay(tmp_path / "nan")
    assert [one.precision for one in done.passes] == ["fp32", "fp16"]
    assert done.passes[0].first is None
    assert done.passes[1].first is not None
    assert done.passes[1].first.name == "body.layers.9"
    assert "float32 is finite where fp16 is not" in done.sentence()
    assert (done.step, done.lr, done.keys) == (7, 0.25, ("a", "b", "c"))


def test_a_healthy_step_says_so(tmp_path: Path) -> None:
    network = build(ModelRecipe(model=NAME), 1).train()
    keep_step(tmp_path / "nan", PLAIN, build_loss("ce", TWO), network, some_batch(), torch.get_rng_state())
    done = replay.replay(tmp_path / "nan")
    assert done.passes[0].finite
    assert "The step is finite here" in done.sentence()
    why = tmp_path / "nan" / "why.json"
    facts = json.loads(why.read_text(encoding="utf-8"))
    facts["recipe"]["fit"]["teacher"] = "teacher.safetensors"
    why.write_text(json.dumps(facts), encoding="utf-8")
    assert "without the teacher's part" in replay.replay(tmp_path / "nan").sentence()


def test_dropout_draws_what_it_drew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dropping(recipe: ModelRecipe, channels_out: int, pretrained: bool) -> nn.Module:
        return nn.Sequential(Tiny(4), nn.Dropout(0.5), nn.Conv2d(4, channels_out, 1))

    monkeypatch.setattr(catalogue, "BUILDERS", {**catalogue.BUILDERS, NAME: dropping})
    network, loss, batch = build(ModelRecipe(model=NAME), 1).train(), build_loss("ce", TWO), some_batch()
    network.to(memory_format=torch.channels_last)
    batch = batch._replace(images=batch.images.contiguous(memory_format=torch.channels_last))  # as the loaders stack
    random = torch.get_rng_state()
    value = float(loss(network(batch.images), batch.class_maps).detach())
    after = torch.get_rng_state()
    keep_step(tmp_path / "nan", PLAIN, loss, network, batch, random)
    assert torch.equal(torch.get_rng_state(), after)
    torch.rand(5)
    assert replay.replay(tmp_path / "nan").passes[0].loss == value


def test_a_second_failure_replaces_the_first(tmp_path: Path) -> None:
    network = build(ModelRecipe(model=NAME), 1).train()
    for _ in range(2):
        keep_step(tmp_path / "nan", PLAIN, build_loss("ce", TWO), network, some_batch(), torch.get_rng_state())
    assert (tmp_path / "nan" / "why.json").is_file()


def test_a_full_disk_does_not_hide_what_happened(
    binary_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")  # as the library says it

    spoilt_at(1, monkeypatch)
    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(UserError, match=r"The loss became nan at step 1 .*could not be kept .*No space left"):
        fit.train(binary_data, tiny_recipe(), tmp_path / "run")


@pytest.mark.parametrize("damage", ["nothing there", "no json", "cut off", "other weights", "pickle"])
def test_what_cannot_be_replayed_is_refused_in_one_sentence(damage: str, tmp_path: Path) -> None:
    network = build(ModelRecipe(model=NAME), 1).train()
    kept = tmp_path / "nan"
    if damage != "nothing there":
        keep_step(kept, PLAIN, build_loss("ce", TWO), network, some_batch(), torch.get_rng_state())
    if damage == "no json":
        (kept / "why.json").write_text("{")
    elif damage == "cut off":
        (kept / "batch.safetensors").write_bytes((kept / "batch.safetensors").read_bytes()[:100])
    elif damage == "other weights":
        save_file({"a": torch.zeros(1)}, kept / "weights.safetensors")
    elif damage == "pickle":
        torch.save(network.state_dict(), kept / "weights.safetensors")
    said = refused("replay", tmp_path)
    assert "no step to replay" in said if damage == "nothing there" else "cannot be read" in said
    with pytest.raises(ModelError):
        replay.replay(tmp_path)
