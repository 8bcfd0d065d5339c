"""Workers of Ray: on the cluster that RAY_ADDRESS names, else on this machine alone, where nobody else can reach them."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from segwright.data.sample import Sample
from segwright.data.shards import url_of
from segwright.engines.contract import first_line
from segwright.errors import DataError, MissingExtraError, SegwrightError, UserError
from segwright.machine import cores_here
from segwright.predict.bulk import Answers
from segwright.predict.bulk_worker import Job, Worker

LARGEST_BLOCK = 128
"""Pictures that a worker is given at a time, at most; nothing is said of them before all are done."""

STORE = 256 * 1024 * 1024
"""Bytes of shared memory for what travels between processes here: paths, lines and the model."""

TRIES = 3
"""A busy machine may need several to start Ray."""


def workers_of_ray(*, workers: int | None = None, gpu: bool = False) -> Answers:
    """What asks Ray's workers.

    Args:
        workers: at the same time; None takes one for each `job.threads` cores, or one for each GPU.
        gpu: give each worker a GPU.

    Returns:
        A function that raises UserError where Ray cannot start or has no room, and what a worker raised. A worker that dies, of too
        little memory or with its machine, is replaced, and what it was at is done again (`bulk_notes`).

    Raises:
        MissingExtraError: Ray is not installed.
    """
    ray = _ray()

    def answers(job: Job, samples: Sequence[Sample]) -> Generator[dict[str, str], None, None]:
        cores = max(cores_here(), (workers or 1) * job.threads)
        store = STORE + 4 * sum(len(data) for data in job.files.values())
        with _cluster(ray, cores, store):
            room = _room(ray, job, gpu=gpu)
            yield from _answers(ray, job, samples, room, workers or room, gpu=gpu)

    return answers


def _room(ray: Any, job: Job, *, gpu: bool) -> int:
    """Workers that fit on the cluster as it is now."""
    has = ray.cluster_resources()
    room = int(has.get("GPU", 0)) if gpu else int(has.get("CPU", 0)) // job.threads
    if room < 1:
        what = "GPU" if gpu else f"{job.threads} cores for a worker"
        raise UserError(f"The Ray cluster has no {what}; choose another --device or fewer --threads.")
    return room


def _answers(
    ray: Any, job: Job, samples: Sequence[Sample], room: int, workers: int, *, gpu: bool
) -> Iterator[dict[str, str]]:
    import pyarrow

    size = block_size(len(samples), workers)

    blocks = [
        pyarrow.table({"key": [s.key for s in block], "path": [_everywhere(s.image) for s in block]})
        for block in (samples[start : start + size] for start in range(0, len(samples), size))
    ]
    most = min(workers, len(blocks))
    data = ray.data.from_arrow(blocks).map_batches(
        Worker,
        fn_constructor_kwargs={"job": job},
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(min_size=min(most, room), max_size=most),
        num_cpus=None if gpu else job.threads,
        num_gpus=1 if gpu else None,
    )
    try:
        yield from data.iter_rows()
    except ray.exceptions.RayError as error:
        raise _reason(error) from error


def block_size(pictures: int, workers: int) -> int:
    """Pictures that a worker is given at a time: few where there are few, so that nobody waits for the last one."""
    return max(1, min(LARGEST_BLOCK, pictures // (workers * 8)))


def _everywhere(path: Path) -> str:
    """The path as another process, in another folder, understands it."""
    return str(path if url_of(path) else path.absolute())


def _reason(error: BaseException) -> SegwrightError:
    """Our own error, where a worker raised one; Ray wraps it several times."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, SegwrightError):
            return seen
        seen = getattr(seen, "cause", None) or seen.__cause__
    last = str(error).strip().splitlines()[-1][:300]
    return DataError(f"A worker failed ({last}). What is finished is kept: give the same command again to go on.")


@contextmanager
def _cluster(ray: Any, cores: int, store: int) -> Iterator[None]:
    """Connect to the cluster that RAY_ADDRESS names, or start one here; what was started is stopped."""
    import logging

    mine = not ray.is_initialized()
    if mine:
        _begin(ray, cores, store)
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        yield
    finally:
        if mine:
            ray.shutdown()


def _begin(ray: Any, cores: int, store: int) -> None:
    import logging

    address = os.environ.get("RAY_ADDRESS")
    where: dict[str, Any] = (
        {"address": address}
        if address
        # "local", or it would join whatever cluster somebody has left running on this machine.
        else {"address": "local", "include_dashboard": False, "num_cpus": cores, "object_store_memory": store}
    )
    for left in reversed(range(TRIES)):
        try:
            with _no_stderr():
                ray.init(logging_level=logging.ERROR, log_to_driver=False, **where)
            return
        except Exception as error:  # Ray raises plain exceptions for all that may go wrong here
            ray.shutdown()
            if left and not address and "timed out" in str(error):
                continue
            if address:
                place = f"join the cluster at {address}"
                advice = "look whether it is there, and set RAY_AUTH_TOKEN to its token if it wants one"
            else:
                place, advice = "start on this machine", "try again when it is less busy, or predict without --ray"
            raise UserError(f"Ray cannot {place} ({first_line(error)}); {advice}.") from error


@contextmanager
def _no_stderr() -> Iterator[None]:
    """Nothing of this process reaches stderr: Ray's own library says there that it was told to be quiet."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _ray() -> Any:
    # Read when Ray is imported: it does not count its uses over the network; its library does not warn of its own workings; and a
    # cluster of this machine alone listens at 127.0.0.1, as it does on Windows and macOS.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not os.environ.get("RAY_ADDRESS"):
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError("ray", "ray") from error
    return ray
