"""Checkpoints: what is saved is what is loaded, and damage is an error of ours."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segwright import checkpoint
from segwright.checkpoint import Checkpoint, checkpoint_file, load
from segwright.classes import Classes
from segwright.errors import ModelError, OutputError, UserError
from segwright.models.catalogue import build
from segwright.recipe import Recipe, named_recipe

SMALL = named_recipe("card").with_settings(model="lraspp_mobilenet_v3_small", width=64, height=96)
CLASSES = Classes(names=("background", "card ü"), notation="binary", colours=((1, 2, 3), (4, 5, 6)))


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return build(SMALL.model, CLASSES.channels).state_dict()


def tiny(**changes: Any) -> Checkpoint:
    filled: dict[str, Any] = {
        "recipe": SMALL,
        "classes": CLASSES,
        "weights": {"a": torch.arange(6.0).view(2, 3), "n": torch.tensor(7)},
        "scores": {"iou": 0.5, "absent": math.nan},
        "step": 12,
        "epoch": 3,
        "threshold": 0.25,
        "provenance": {"data": "cards", "pictures": {"train": 5}},
    }
    return Checkpoint(**{**filled, **changes})


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    saved = tiny()
    assert saved.save(tmp_path / "run" / "best.safetensors") == tmp_path / "run" / "best.safetensors"
    loaded = load(tmp_path / "run")
    assert (loaded.recipe, loaded.classes, loaded.provenance) == (saved.recipe, saved.classes, saved.provenance)
    assert (loaded.step, loaded.epoch, loaded.threshold, loaded.scores["iou"]) == (12, 3, 0.25, 0.5)
    assert math.isnan(loaded.scores["absent"])
    assert loaded.weights.keys() == saved.weights.keys()
    assert all(torch.equal(loaded.weights[k], v) for k, v in saved.weights.items())
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["best.json", "best.safetensors"]


def test_readable_twin_is_plain_json_and_not_needed(tmp_path: Path) -> None:
    tiny().save(tmp_path / "best.safetensors")

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    twin = json.loads((tmp_path / "best.json").read_text(), parse_constant=refuse)
    assert twin["classes"]["names"] == ["background", "card ü"]
    (tmp_path / "best.json").unlink()
    assert load(tmp_path).step == 12


def test_network_answers_as_before(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    before = tiny(weights=weights)
    before.save(tmp_path / "best.safetensors")
    images = torch.rand(1, 3, 96, 64)
    network = load(tmp_path).network()
    assert not network.training
    with torch.no_grad():
        assert torch.equal(network(images), before.network()(images))


def test_best_comes_before_last(tmp_path: Path) -> None:
    tiny(step=1).save(tmp_path / "last.safetensors")
    assert load(tmp_path).step == 1
    tiny(step=2).save(tmp_path / "best.safetensors")
    assert load(tmp_path).step == 2
    assert load(tmp_path / "last.safetensors").step == 1


def test_weights_on_a_slice_of_memory_are_saved(tmp_path: Path) -> None:
    whole = torch.arange(24.0).view(4, 6)
    tiny(weights={"column": whole[:, 1], "turned": whole.T}).save(tmp_path / "best.safetensors")
    loaded = load(tmp_path).weights
    assert torch.equal(loaded["column"], whole[:, 1])
    assert torch.equal(loaded["turned"], whole.T)


def test_failed_save_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny(step=1).save(tmp_path / "best.safetensors")
    from safetensors import SafetensorError
    from safetensors import torch as writer

    def full(tensors: dict[str, torch.Tensor], file: Path, metadata: dict[str, str]) -> None:
        file.write_bytes(b"half")
        raise SafetensorError("No space left on device")

    monkeypatch.setattr(writer, "save_file", full)
    with pytest.raises(OutputError, match="No space left"):
        tiny(step=2).save(tmp_path / "best.safetensors")
    assert load(tmp_path).step == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.json", "best.safetensors"]


def test_misfits_are_named(weights: dict[str, torch.Tensor]) -> None:
    lacking = {k: v for k, v in weights.items() if k != "body.high_classifier.bias"}
    with pytest.raises(ModelError, match=r"body\.high_classifier\.bias is absent in the file"):
        tiny(weights=lacking).network()
    with pytest.raises(ModelError, match="stray is 2 in the file and absent"):
        tiny(weights={**weights, "stray": torch.zeros(2)}).network()
    with pytest.raises(ModelError, match=r"low_classifier\.weight is 1x24x1x1 in the file and 3x24x1x1"):
        tiny(weights=weights, classes=Classes(names=("a", "b", "c"))).network()


@pytest.mark.parametrize(
    ("place", "said"), [("none", "does not exist"), ("", "holds no best"), ("model.onnx", "not a checkpoint")]
)
def test_wrong_paths_are_said(place: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"x")
    with pytest.raises(ModelError, match=said):
        checkpoint_file(tmp_path / place)


def rewritten(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the facts inside a checkpoint as a hostile or careless hand would."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    facts = json.loads(header["__metadata__"]["segwright"])
    header["__metadata__"]["segwright"] = json.dumps(change(facts) or facts)
    packed = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(packed)) + packed + raw[8 + length :])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.update(format=99), "newer segwright"),
        (lambda f: f.update(format=math.inf), "lacks a fact"),
        (lambda f: f.pop("classes") and None, "lacks a fact"),
        (lambda f: f.update(scores=[1]), "lacks a fact"),
        (lambda f: f.update(step="many"), "lacks a fact"),
        (lambda f: f["recipe"]["fit"].update(speed=3), "no setting 'fit.speed'"),
        (lambda f: f["recipe"]["data"].update(fit="squash"), "--fit"),
        (lambda f: f["classes"].update(names=["one"]), "at least two classes"),
        (lambda f: f["classes"].update(colours=[[1, 2]]), "class table"),
        (lambda f: [1, 2], "not a table"),
    ],
)
def test_changed_facts_are_said(change: Callable[[dict[str, Any]], Any], said: str, tmp_path: Path) -> None:
    tiny().save(tmp_path / "best.safetensors")
    rewritten(tmp_path / "best.safetensors", change)
    with pytest.raises(ModelError, match=said):
        load(tmp_path)


def test_files_of_others_and_empty_ones_are_said(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    file = tmp_path / "best.safetensors"
    save_file({"a": torch.zeros(1)}, file)
    with pytest.raises(ModelError, match="not a segwright checkpoint"):
        load(file)
    deep = b'{"__metadata__": ' + b"[" * 100_000
    for content in (b"", b"\x00" * 7, struct.pack("<Q", 1 << 60) + b"{}", struct.pack("<Q", len(deep)) + deep):
        file.write_bytes(content)
        with pytest.raises(ModelError, match="not a segwright checkpoint"):
            load(file)


@given(cut=st.integers(0, 3000), flip=st.integers(0, 3000), value=st.integers(0, 255))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_damage_is_an_error_of_ours_or_harmless(cut: int, flip: int, value: int, tmp_path: Path) -> None:
    whole = tmp_path / "whole.safetensors"
    if not whole.exists():
        tiny().save(whole)
    raw = bytearray(whole.read_bytes())
    raw[flip % len(raw)] = value
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(raw if cut % 2 else raw[: cut % len(raw)])
    try:
        load(damaged)
    except UserError:
        return


def test_format_is_the_one_written() -> None:
    assert tiny().facts()["format"] == checkpoint.FORMAT
    assert Recipe.from_dict(tiny().facts()["recipe"]) == SMALL
