"""Result tables of the benchmarks: written by the scripts, never by hand, each with the machine and the versions."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"


def write(name: str, title: str, words: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Path:
    """Write results/NAME.md.

    Args:
        name: of the file, without suffix.
        title: heading.
        words: what was measured and how, and what to conclude.
        head: column names.
        rows: cells.
    """
    table = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {' | '.join(row)} |" for row in rows)]
    text = "\n".join([f"# {title}", "", words, "", *table, "", f"_{machine()}_", ""])
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.md"
    path.write_text(text, encoding="utf-8")
    print(text)
    return path


def machine() -> str:
    """Date, processor, cores, load and versions in one line."""
    import torch

    kind = platform.machine()
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith("model name"):
            kind = line.split(":", 1)[1].strip()
            break
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return (
        f"{time.strftime('%Y-%m-%d', time.gmtime())}, {kind}, {os.cpu_count()} cores, {device}, "
        f"load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, PyTorch {torch.__version__}"
    )


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
