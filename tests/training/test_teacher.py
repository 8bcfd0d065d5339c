"""Distillation: what the difference from a teacher is, and that a training follows it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from segwright import checkpoint
from segwright.errors import ModelError, RecipeError
from segwright.recipe import read_yaml
from segwright.training import fit
from segwright.training.teacher import difference
from tests.training.conftest import tiny_recipe


@pytest.mark.parametrize("channels", [1, 4])
def test_no_difference_from_oneself_and_a_gradient_towards_the_teacher(channels: int) -> None:
    torch.manual_seed(0)
    answer = torch.randn(2, channels, 5, 6)
    assert float(difference(answer.clone(), answer)) == pytest.approx(0.0, abs=1e-6)
    logits = torch.randn(2, channels, 5, 6, requires_grad=True)
    before = difference(logits, answer)
    before.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert float(difference(logits.detach() - logits.grad, answer)) < float(before.detach())


def test_one_channel_is_two_classes_with_one_of_them_unsaid() -> None:
    torch.manual_seed(0)
    logits, answer = torch.randn(2, 1, 5, 6), torch.randn(2, 1, 5, 6)
    both = [torch.cat([torch.zeros_like(x), x], dim=1) for x in (logits, answer)]
    assert float(difference(logits, answer)) == pytest.approx(float(difference(*both)), abs=1e-5)


def test_a_teacher_is_found_again_from_another_folder(
    binary_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit.train(binary_data, tiny_recipe(epochs=1), tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    fit.train(binary_data, tiny_recipe(epochs=1, teacher="run"), tmp_path / "pupil")
    kept = read_yaml(tmp_path / "pupil" / "recipe.yaml")
    assert Path(kept.fit.teacher) == tmp_path / "run"


def test_a_pupil_learns_what_its_teacher_says_and_not_the_masks(binary_data: Path, tmp_path: Path) -> None:
    """The teacher says foreground everywhere, and nothing else counts."""
    run = fit.train(binary_data, tiny_recipe(epochs=1), tmp_path / "run")
    made = checkpoint.load(run.folder)
    head = [name for name in made.weights if name.endswith("bias")][-1]
    sure = dataclasses.replace(made, weights={**made.weights, head: made.weights[head] + 20.0})
    teacher = sure.save(tmp_path / "elsewhere" / "teacher.safetensors")
    recipe = tiny_recipe(epochs=8, lr=5e-2, teacher=str(teacher), teacher_share=1.0)
    pupil = checkpoint.load(fit.train(binary_data, recipe, tmp_path / "pupil").folder / "last.safetensors")
    with torch.no_grad():
        assert float((pupil.network()(torch.rand(2, 3, 64, 64)) > 0).float().mean()) > 0.95
    assert pupil.recipe.fit.teacher == "teacher.safetensors"  # the folder stays on this machine


def test_teachers_that_cannot_teach_this(binary_data: Path, colour_data: Path, tmp_path: Path) -> None:
    run = fit.train(binary_data, tiny_recipe(epochs=1), tmp_path / "run")
    with pytest.raises(RecipeError, match="tells apart background, disc, and this data background, disc, square"):
        fit.train(colour_data, tiny_recipe(teacher=str(run.folder)), tmp_path / "other")
    for lr in (2e-2, "auto"):
        with pytest.raises(ModelError, match="does not exist"):
            fit.train(binary_data, tiny_recipe(teacher=str(tmp_path / "nowhere"), lr=lr), tmp_path / "other")
    assert not (tmp_path / "other").exists()
    with pytest.raises(RecipeError, match="--teacher-share"):
        tiny_recipe(teacher_share=0.0)
