"""Pruning: how much faster on this machine, and how many points of IoU it costs, from the folders that `segwright prune` left.

Prune first, then make the table (docs/shrink.md explains the command):

    segwright prune RUN DATA --speedup 2.2 --threads 1 --out pruned/cards
    python benchmarks/pruning.py pruned/cards=cards-real pruned/camvid

Both networks are timed again, in turns, in every engine that is here, one thread each; CPU time of the process stands beside the
clock, because other work on the machine moves the one and hardly the other. Scores are those of prune.json: validation
pictures chose the network, test pictures decided nothing, and the change has a paired interval. After a "=" comes a folder with
other pictures, on which both networks are measured here.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from tables import write

from segwright import checkpoint, evaluate
from segwright.evaluation.paired import difference
from segwright.export.cost import engines_here, opened
from segwright.export.deployable import made_up_pictures

ROUNDS = 60


def timed(before: Any, after: Any) -> dict[str, tuple[float, float]]:
    """(clock, CPU) median milliseconds of each, one picture at a time, in turns."""
    picture = {name: made_up_pictures(1, each.facts.size_hw) for name, each in (("before", before), ("after", after))}
    taken: dict[str, list[tuple[float, float]]] = {"before": [], "after": []}
    for turn in range(ROUNDS + 3):
        for name, engine in (("before", before), ("after", after)):
            clock, cpu = time.perf_counter(), time.process_time()
            engine.probabilities(picture[name])
            if turn >= 3:
                taken[name].append((1000 * (time.perf_counter() - clock), 1000 * (time.process_time() - cpu)))
    return {name: tuple(map(statistics.median, zip(*times, strict=True))) for name, times in taken.items()}  # type: ignore[misc]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "folders", nargs="+", metavar="FOLDER[=DATA]", help="left by segwright prune, and other pictures"
    )
    rows = []
    for asked in parser.parse_args().folders:
        folder, data = Path(asked.partition("=")[0]), asked.partition("=")[2]
        told = json.loads((folder / "prune.json").read_text(encoding="utf-8"))
        sides = {"before": folder / "before.safetensors", "after": folder / "best.safetensors"}
        models = {name: checkpoint.load(file) for name, file in sides.items()}
        with tempfile.TemporaryDirectory() as scratch:
            for engine in engines_here():
                pair = {n: opened(m, engine, Path(scratch) / n, threads=1)[0] for n, m in models.items()}
                times = timed(pair["before"], pair["after"])
                (old, old_cpu), (new, new_cpu) = times["before"], times["after"]
                first = engine == engines_here()[0]
                size = models["before"].recipe.data.size_hw
                rows.append(
                    [
                        f"{told['model']} on {told['data']}, {size[1]}x{size[0]}" if first else "",
                        engine,
                        f"{old:.1f}",
                        f"{new:.1f}",
                        f"**{old / new:.2f}**",
                        f"{old_cpu / new_cpu:.2f}",
                        _pair(told, "parameters", 1e6, "M") if first else "",
                        _pair(told, "macs", 1e9, "G") if first else "",
                        _pair(told, "bytes", 1e6, "MB") if first else "",
                        _score(told, "val") if first else "",
                        _score(told, "test") if first else "",
                    ]
                )
        if data:
            scores = [_measured(sides, Path(data), split) for split in ("val", "test")]
            rows.append([f"the same on {Path(data).resolve().name}", *[""] * 8, *scores])
    write(
        "pruning",
        "Pruning: times as fast, and points of IoU",
        f"`segwright prune`, one thread, one picture at a time, medians of {ROUNDS} rounds in which both networks take turns; ratios by "
        "the clock and by CPU time. Scores: before, change in points, and its paired 95 % interval over pictures. The network was chosen "
        "on validation pictures. Repeat with: `python benchmarks/pruning.py FOLDER[=DATA]...`.",
        [
            "network",
            "engine",
            "before ms",
            "after ms",
            "clock",
            "CPU",
            "parameters",
            "MACs",
            "file",
            "validation",
            "test",
        ],
        rows,
    )


def _pair(told: dict[str, Any], key: str, unit: float, name: str) -> str:
    return f"{told['before'][key] / unit:.2f} -> {told['after'][key] / unit:.2f} {name}"


def _score(told: dict[str, Any], split: str) -> str:
    change = told[f"{split}_change"]
    if change is None:
        return "-"
    return _said(told["score"], told["before"][split]["value"], change["value"], change["low"], change["high"])


def _measured(sides: dict[str, Path], data: Path, split: str) -> str:
    before, after = (evaluate(sides[name], data, split=split) for name in ("before", "after"))
    change, (name, score, _) = difference(before, after), before.headline
    return _said(name, score.value, change.value, change.low, change.high)


def _said(name: str, before: float, change: float, low: float | None, high: float | None) -> str:
    ends = "" if low is None or high is None else f" ({100 * low:+.1f} to {100 * high:+.1f})"
    return f"{name} {before:.3f}, {100 * change:+.1f}{ends}"


if __name__ == "__main__":
    main()
