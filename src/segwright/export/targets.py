"""Targets of pruning, in what people care about: how much faster, how many milliseconds, how many megabytes, how many channels.

Each is a number that has to fall to a limit. Between the unpruned network and the limit lies a way that can be walked in
steps of equal ratio: half the way to 4 times as fast is twice as fast.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from segwright.errors import RecipeError
from segwright.export.prune import LEAST_SHARE

TRIES = 6
"""Shares of channels that are tried to find the widest network that meets a target."""
CLOSE = 1.04
"""The search ends where the widest that is known to do and the narrowest that does not are this near each other."""

_UNITS = {
    "--latency": {"ms": 1.0, "s": 1000.0, "us": 0.001},
    "--size": {"b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 1024, "mib": 1024**2, "gib": 1024**3},
}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What targets are about, of one candidate."""

    share: float
    """Of the channels that the unpruned network has, 0..1."""
    ratio: float
    """Its time over the unpruned network's, both on the clock."""
    milliseconds: float
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What is asked for; all that are given have to be met.

    Raises:
        RecipeError: on creation, a number that means nothing.
    """

    speedup: float | None = None
    """How many times as fast."""
    milliseconds: float | None = None
    """Time for one picture."""
    bytes: float | None = None
    """Size of the file that is served."""
    channels: float | None = None
    """Share of the channels that are kept, 0..1."""

    def __post_init__(self) -> None:
        _refuse(
            self.speedup is not None and not 1.0 < self.speedup < math.inf,
            f"--speedup says how many times as fast, a number above 1 such as 2, not {self.speedup}.",
        )
        _refuse(
            self.channels is not None and not LEAST_SHARE <= self.channels < 1.0,
            f"--channels is the share of the channels that are kept, from {LEAST_SHARE} to below 1 such as 0.5, not {self.channels}.",
        )
        _refuse(
            all(limit is None for limit in self._limits().values()),
            "Say what to reach: --speedup 2, --latency 20ms, --size 2MB or --channels 0.5.",
        )

    def _limits(self) -> dict[str, float | None]:
        return {
            "ratio": None if self.speedup is None else 1.0 / self.speedup,
            "milliseconds": self.milliseconds,
            "bytes": self.bytes,
            "share": self.channels,
        }

    def met(self, candidate: Measured, start: Measured, level: float = 1.0) -> bool:
        """Whether a candidate has come far enough.

        Args:
            candidate: to judge.
            start: the unpruned network.
            level: how far of the way, 0..1.
        """
        for name, limit in self._limits().items():
            if limit is not None:
                first = float(getattr(start, name))
                if getattr(candidate, name) > first * min(limit / first, 1.0) ** level:
                    return False
        return True

    def within(self, narrowest: Measured) -> Targets:
        """The same targets, none further than the narrowest network of its kind.

        Args:
            narrowest: what can be reached at most.
        """

        def at_least(limit: float | None, reached: float) -> float | None:
            return None if limit is None else max(limit, reached)

        return Targets(
            speedup=None if self.speedup is None else min(self.speedup, max(1.0 / narrowest.ratio, 1.0 + 1e-6)),
            milliseconds=at_least(self.milliseconds, narrowest.milliseconds),
            bytes=at_least(self.bytes, narrowest.bytes),
            channels=self.channels,
        )

    def sentence(self) -> str:
        """What is asked for, in words."""
        said = [
            f"{self.speedup:g} times as fast" if self.speedup else "",
            f"{self.milliseconds:g} ms" if self.milliseconds else "",
            f"{megabytes(self.bytes)}" if self.bytes else "",
            f"{self.channels:g} of the channels" if self.channels else "",
        ]
        return " and ".join(part for part in said if part)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, as `Targets(**...)` takes them."""
        return {name: getattr(self, name) for name in ("speedup", "milliseconds", "bytes", "channels")}


def targets_from(
    speedup: float | None = None, latency: str = "", size: str = "", channels: float | None = None
) -> Targets:
    """Targets as they are typed.

    Args:
        speedup: such as 2.
        latency: such as "20ms" or "0.02s"; a bare number is milliseconds.
        size: such as "2MB" or "500kB"; a bare number is bytes.
        channels: such as 0.5.

    Raises:
        RecipeError: something that is no such quantity, or nothing at all.
    """
    return Targets(
        speedup=speedup,
        milliseconds=_quantity("--latency", latency, "20ms") if latency else None,
        bytes=_quantity("--size", size, "2MB") if size else None,
        channels=channels,
    )


def _quantity(flag: str, text: str, example: str) -> float:
    units = _UNITS[flag]
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([a-zA-Z]*)\s*", text)
    unit = found[2].lower() if found else ""
    if not found or (unit and unit not in units) or float(found[1]) <= 0:
        raise RecipeError(
            f"{flag} {text} is no such quantity; write a positive number and a unit, such as {flag} {example}."
        )
    return float(found[1]) * (units[unit] if unit else 1)


def megabytes(size: float) -> str:
    """Bytes for people."""
    return f"{size / 1e6:.2f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def widest(tried: Callable[[float], Measured], enough: Callable[[Measured], bool], guess: float) -> tuple[float, bool]:
    """The largest share of its channels with which a network does enough.

    Args:
        tried: builds and measures the network with a share of its channels.
        enough: whether that will do.
        guess: where to begin, `LEAST_SHARE` to 1.

    Returns:
        The share, and whether it is enough; where none is, it is `LEAST_SHARE`.
    """
    enough_at: float | None = None
    too_wide, share = 1.0, min(max(guess, LEAST_SHARE), 0.98)
    for _ in range(TRIES):
        if enough(tried(share)):
            enough_at = share
        else:
            too_wide = share
        if enough_at is None:
            if share == LEAST_SHARE:
                return LEAST_SHARE, False
            share = max(LEAST_SHARE, 0.7 * share)
        elif too_wide / enough_at < CLOSE:
            break
        else:
            share = math.sqrt(enough_at * too_wide)
    return (LEAST_SHARE, enough(tried(LEAST_SHARE))) if enough_at is None else (enough_at, True)


def _refuse(wrong: bool, message: str) -> None:
    if wrong:
        raise RecipeError(message)
