from __future__ import annotations

import math

import pytest

from segwright.training.plan import Plan
from segwright.training.schedules import FIRST, LAST
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
    top = round(0.1 * 200)
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


def test_pictures_grow_in_two_steps() -> None:
    plan = Plan(tiny_recipe(epochs=10, small_share=0.4, middle_share=0.3, size_hw=(352, 480)), steps_per_epoch=10)
    assert [plan.size_hw(step) for step in (0, 39, 40, 69)] == [(176, 240), (176, 240), (256, 352), (256, 352)]
    assert plan.size_hw(70) == (352, 480)


@pytest.mark.parametrize(("share", "size_hw"), [(0.0, (256, 256)), (0.9, (256, 96)), (0.9, (96, 256))])
def test_full_size_from_the_start(share: float, size_hw: tuple[int, int]) -> None:
    plan = Plan(tiny_recipe(small_share=share, size_hw=size_hw), steps_per_epoch=10)
    assert plan.size_hw(0) == size_hw


def test_a_run_of_no_steps_is_done() -> None:
    assert Plan(tiny_recipe(), steps_per_epoch=0).progress == 0.0


def test_several_batches_make_a_step() -> None:
    plan = Plan(tiny_recipe(accumulate=3, small_share=0.5, size_hw=(128, 128)), steps_per_epoch=4)
    assert [plan.learnt() for _ in range(7)] == [False, False, True, False, False, True, False]
    assert (plan.step, plan.partial, plan.batch) == (2, 1, 7)
    assert plan.stretch_ends() == 12
    assert plan.size_hw(11) == (64, 64)
    assert plan.size_hw(12) == (128, 128)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [7, 14, 21]),
        ({"eval_step": 3}, [3, 6, 9]),
        ({"eval_step": 10}, [10, 20, 30]),
        ({"eval_step": 5, "save_checkpoints": True}, [5, 7, 10, 14, 15]),
    ],
)
def test_when_checks_are_made(settings: dict[str, int], expected: list[int]) -> None:
    plan = Plan(tiny_recipe(epochs=9).with_settings(**settings), steps_per_epoch=7)
    made = []
    for _ in expected:
        made.append(plan.check_at)
        plan.step = plan.check_at
        plan.plan_check(check_seconds=5.0, step_seconds=0.1)
    assert made == expected


def test_checks_take_a_twentieth_of_the_time_of_a_run_in_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segwright.training.plan.time.monotonic", lambda: 1000.0)
    plan = Plan(tiny_recipe(minutes=60.0), steps_per_epoch=50, started=1000.0)
    assert plan.check_at == 50, "nothing is known yet: the first check ends the first pass"
    plan.step = 50
    plan.plan_check(check_seconds=20.0, step_seconds=0.5)
    assert plan.check_at == 50 + 760
    plan.plan_check(check_seconds=0.1, step_seconds=0.5)
    assert plan.check_at == 50 + 50, "no more often than passes"
    huge = Plan(tiny_recipe(minutes=60.0), steps_per_epoch=100_000, started=1000.0, step=500)
    huge.plan_check(check_seconds=1.0, step_seconds=0.5)
    assert huge.check_at == 500 + 100, "but within passes that last for hours"


def test_no_check_shortly_before_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("segwright.training.plan.time.monotonic", lambda: now)
    plan = Plan(tiny_recipe(minutes=610 / 60), steps_per_epoch=50, started=1000.0, step=50)
    now = 1210.0
    plan.plan_check(check_seconds=10.0, step_seconds=0.5)
    assert plan.check_at == 50 + 380, (
        "390 seconds are left before the last check: one after 190 of them, and the last one"
    )
    now = 1400.0
    plan.step = 430
    plan.plan_check(check_seconds=10.0, step_seconds=0.5)
    assert plan.check_at == 430 + 401, "200 seconds are left: only the last one"


def test_checks_are_planned_for_pictures_that_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segwright.training.plan.time.monotonic", lambda: 1000.0)
    recipe = tiny_recipe(minutes=610 / 60, small_share=0.5, size_hw=(128, 128))
    plan = Plan(recipe, 5, started=800.0, step=100)
    plan.plan_check(check_seconds=10.0, step_seconds=0.5)
    assert plan.check_at == 100 + 200 + 45, "100 seconds of half a second, then 90 of two seconds"
    plan = Plan(recipe.with_settings(small_share=0.4, middle_share=0.1), 5, started=800.0, step=100)
    plan.plan_check(check_seconds=10.0, step_seconds=0.5)
    assert plan.check_at == 100 + 80 + math.ceil(60 / 1.125 + 90 / 2.0)


def test_the_state_is_all_that_a_plan_must_know(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 50.0
    monkeypatch.setattr("segwright.training.plan.time.monotonic", lambda: now)
    recipe = tiny_recipe(minutes=2.0, accumulate=2)
    plan = Plan(recipe, 7, step=9, partial=1, started=20.0)
    plan.check_at = 11
    state = plan.state()
    now = 9000.0
    again = Plan(recipe, 7, started=9000.0)
    again.restore(state)
    assert (again.step, again.partial, again.check_at, again.seconds) == (9, 1, 11, 30.0)
    assert again.progress == pytest.approx(0.25)
    assert all(isinstance(value, int | float) for value in state.values())


def test_settings_of_the_schedule_arrive() -> None:
    plan = Plan(tiny_recipe(epochs=1, lr=2.0, schedule="poly", warm_up=0.5), steps_per_epoch=100, step=75)
    assert plan.learning_rate() == pytest.approx(2.0 * 0.5**0.9)


def test_a_plateau_lowers_the_rate_and_starts_to_count_anew() -> None:
    recipe = tiny_recipe(lr=1.0, schedule="plateau", warm_up=0.0, plateau_checks=2, plateau_factor=0.5)
    plan = Plan(recipe, steps_per_epoch=10)
    seen = []
    for iou in (0.1, 0.3, 0.3, 0.2, 0.2, 0.31, 0.31, 0.0, 0.0, 0.0):
        plan.after_check(iou)
        seen.append(plan.learning_rate())
    assert seen == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125]


def test_a_plateau_can_be_saved_and_gone_on_with() -> None:
    recipe = tiny_recipe(lr=1.0, schedule="plateau", warm_up=0.0, plateau_checks=2)
    whole = Plan(recipe, steps_per_epoch=10)
    for iou in (0.5, 0.4):
        whole.after_check(iou)
    state = {name: getattr(whole, name) for name in ("plateau_best", "plateau_waited", "plateau_share")}
    again = Plan(recipe, steps_per_epoch=10, **state)
    for plan in (whole, again):
        plan.after_check(0.4)
    assert whole.learning_rate() == again.learning_rate() == pytest.approx(0.3)


def test_checks_move_no_other_schedule() -> None:
    plan = Plan(tiny_recipe(lr=1.0, schedule="cosine"), steps_per_epoch=10, step=3)
    before = plan.learning_rate()
    for _ in range(20):
        plan.after_check(0.0)
    assert plan.learning_rate() == before


def test_a_run_in_minutes_leaves_time_for_its_last_check(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("segwright.training.plan.time.monotonic", lambda: now)
    plan = Plan(tiny_recipe(minutes=1.0), steps_per_epoch=5, started=0.0, before=4.0)
    now = 46.0
    assert plan.progress == pytest.approx(50 / 60), "four seconds went before the first step"
    plan.plan_check(check_seconds=10.0, step_seconds=0.5)
    assert plan.progress == 1.0
    plan.plan_check(check_seconds=1000.0, step_seconds=0.5)
    assert plan.time == 30.0, "but half of the time at least is for learning"
