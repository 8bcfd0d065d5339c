"""Targets: what is typed, the way to them, and the search for the widest network that does."""

from __future__ import annotations

import pytest

from segwright.errors import RecipeError
from segwright.export.prune import LEAST_SHARE
from segwright.export.targets import Measured, Targets, targets_from, widest

START = Measured(share=1.0, ratio=1.0, milliseconds=40.0, bytes=12_000_000)


def network(share: float, *, part: float = 1.0) -> Measured:
    """One whose time falls as its channels do; `part` of it does, the rest is fixed."""
    ratio = part * share + 1 - part
    return Measured(share=share, ratio=ratio, milliseconds=40.0 * ratio, bytes=round(12_000_000 * share**2))


@pytest.mark.parametrize(
    ("typed", "milliseconds"), [("20ms", 20.0), ("0.02s", 20.0), ("20", 20.0), (" 1.5 MS", 1.5), ("500us", 0.5)]
)
def test_latencies(typed: str, milliseconds: float) -> None:
    assert targets_from(latency=typed).milliseconds == pytest.approx(milliseconds)


@pytest.mark.parametrize(("typed", "size"), [("2MB", 2e6), ("500kB", 5e5), ("1MiB", 1048576.0), ("1000", 1000.0)])
def test_sizes(typed: str, size: float) -> None:
    assert targets_from(size=typed).bytes == size


@pytest.mark.parametrize(
    ("wished", "said"),
    [
        ({}, "Say what to reach"),
        ({"speedup": 1.0}, "--speedup"),
        ({"speedup": float("nan")}, "--speedup"),
        ({"latency": "fast"}, "--latency fast"),
        ({"latency": "20MB"}, "--latency 20MB"),
        ({"latency": "-3ms"}, "--latency"),
        ({"latency": "0ms"}, "--latency"),
        ({"size": "20ms"}, "--size 20ms"),
        ({"channels": 1.0}, "--channels"),
        ({"channels": 0.01}, "--channels"),
    ],
)
def test_what_means_nothing_is_refused(wished: dict[str, str], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        targets_from(**wished)  # type: ignore[arg-type]


def test_half_the_way_to_four_times_as_fast_is_twice_as_fast() -> None:
    targets = Targets(speedup=4)
    assert targets.met(network(0.49), START, level=0.5)
    assert not targets.met(network(0.51), START, level=0.5)
    assert not targets.met(network(0.49), START)
    assert targets.met(network(0.24), START)


def test_all_targets_have_to_be_met() -> None:
    targets = Targets(milliseconds=30.0, bytes=4e6)
    assert not targets.met(network(0.7), START)  # fast enough, 5.9 MB
    assert targets.met(network(0.5), START)


def test_the_widest_network_that_does_is_found() -> None:
    targets, tried = Targets(speedup=2), []

    def measured(share: float) -> Measured:
        tried.append(share)
        return network(share)

    share, found = widest(measured, lambda each: targets.met(each, START), guess=0.7)
    assert found
    assert 0.47 < share <= 0.5
    assert len(tried) <= 7


def test_where_none_does_it_is_the_narrowest() -> None:
    targets = Targets(speedup=4)
    share, found = widest(lambda share: network(share, part=0.5), lambda each: targets.met(each, START), guess=0.7)
    assert (share, found) == (LEAST_SHARE, False)


def test_targets_out_of_reach_become_those_that_can_be_reached() -> None:
    narrowest = network(LEAST_SHARE, part=0.5)
    targets = Targets(speedup=4, milliseconds=1.0, bytes=5e6, channels=0.3).within(narrowest)
    assert targets == Targets(speedup=1 / narrowest.ratio, milliseconds=narrowest.milliseconds, bytes=5e6, channels=0.3)
    assert targets.met(narrowest, START)
