"""What this process may use of the machine."""

from __future__ import annotations

import os


def cores_here() -> int:
    """How many cores this process may use: fewer than there are under `taskset`, SLURM or `docker --cpuset-cpus`."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
