from __future__ import annotations

import pytest

from segwright.training.plan import FIRST, LAST, WARM_UP, Plan
from tests.training.conftest import tiny_recipe


def rates(plan: Plan, steps: int) -> list[float]:
    found = []
    for step in range(steps + 1):
        plan.step = step
        found.append(plan.learning_rate())
    return found


def test_one_cycle_by_steps() -> None:
    plan = Plan(tiny_recipe(epochs=10, lr=0.5), steps_per_epoch=20)
    assert plan.total_steps == 200
    lr = rates(plan, 200)
    top = round(WARM_UP * 200)
    assert lr[0] == pytest.approx(0.5 * FIRST)
    assert lr[top] == pytest.approx(0.5)
    assert max(lr) == lr[top]
    assert lr[-1] == pytest.approx(0.5 * LAST)
    assert lr[:top] == sorted(lr[:top])
    assert lr[top:] == sorted(lr[top:], reverse=True)
    # A cosine is half-way down in the middle.
    assert lr[(top + 200) // 2] == pytest.approx(0.5 * (1 + LAST) / 2, rel=1e-3)


def test_past_the_end_stays_at_the_end() -> None:
    plan = Plan(tiny_recipe(epochs=1, lr=1.0), steps_per_epoch=5, step=50)
    assert plan.progress == 1.0
    assert plan.learning_rate() == pytest.approx(LAST)


def test_minutes_follow_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("segwright.training.plan.time.monotonic", lambda: now)
    plan = Plan(tiny_recipe(minutes=2.0, lr=1.0, small_share=0.5, size_hw=(128, 192)), 7, started=1000.0)
    assert plan.progress == 0.0
    now = 1012.0
    assert plan.progress == pytest.approx(0.1)
    assert plan.learning_rate() == pytest.approx(1.0)
    assert plan.size_hw(10_000) == (64, 96)
    now = 1060.0
    assert plan.size_hw(0) == (128, 192)
    now = 5000.0
    assert plan.progress == 1.0


def test_small_pictures_first() -> None:
    plan = Plan(tiny_recipe(epochs=10, small_share=0.6, size_hw=(160, 128)), steps_per_epoch=10)
    assert [plan.size_hw(step) for step in (0, 59, 60, 99)] == [(80, 64), (80, 64), (160, 128), (160, 128)]


@pytest.mark.parametrize(("share", "size_hw"), [(0.0, (256, 256)), (0.9, (256, 96)), (0.9, (96, 256))])
def test_full_size_from_the_start(share: float, size_hw: tuple[int, int]) -> None:
    plan = Plan(tiny_recipe(small_share=share, size_hw=size_hw), steps_per_epoch=10)
    assert plan.size_hw(0) == size_hw


def test_a_run_of_no_steps_is_done() -> None:
    assert Plan(tiny_recipe(), steps_per_epoch=0).progress == 0.0
