"""Draw a data set of synthetic card scenes, so that everything runs with no download.

Picture i of seed s is always the same, whoever draws it: each has a generator of its own, so the number of workers
changes the time and nothing else. About 50 ms of CPU each at 640x480.
"""

from __future__ import annotations

import multiprocessing
import shutil
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from segwright.data.card_scene import Scene, draw_scene, read_user_picture
from segwright.data.sample import IMAGE_SUFFIXES
from segwright.errors import DataError, OutputError
from segwright.machine import cores_here

__all__ = ["Scene", "draw_scene", "synthesize_cards"]

CLASSES_CSV = "index,name,r,g,b,ignore\n0,background,0,0,0,0\n1,card,0,255,255,0\n"
JPEG_QUALITY = (35, 96)
FEWEST_PICTURES = 3
SMALLEST_SIDE_PX = 32
PICTURES_PER_JOB = 4
MARK = "Drawn by segwright."
"""First words of SOURCE.md; a leftover folder that does not begin so is not ours to delete."""


@dataclass(frozen=True, kw_only=True)
class _Order:
    """All that a worker needs to draw any picture of the set."""

    folder: Path
    seed: int
    size_hw: tuple[int, int]
    splits: tuple[str, ...]
    """The split of every picture, by its number."""
    backgrounds: tuple[Path, ...]
    faces: tuple[Path, ...]
    clutter: float


def synthesize_cards(
    out: Path,
    *,
    count: int = 400,
    seed: int = 0,
    size_hw: tuple[int, int] = (640, 480),
    clutter: float = 1.0,
    backgrounds: Path | None = None,
    faces: Path | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Draw card scenes and their masks as a data set with train, val and test parts.

    Everything is written beside `out` first and renamed at the end, so an interrupted run leaves nothing behind.

    Args:
        out: the folder to make; it must not exist, or be empty.
        count: how many pictures, split 80/10/10.
        seed: the same seed draws the same pictures on the same machine and library versions.
        size_hw: height and width of each picture.
        clutter: share of busy scenes, 0..1; the others show playing cards alone on one evenly lit surface.
        backgrounds: a folder of pictures without cards to mix in.
        faces: a folder of card faces to mix in, each cut to the card's edge.
        workers: processes; None uses every core, 0 or 1 draws in this process.
        progress: show a bar.

    Returns:
        `out`, holding `{train,val,test}/{images,masks}`, `classes.csv` and `SOURCE.md`.

    Raises:
        DataError: too few pictures asked for, or the user's own cannot be used.
        OutputError: `out` is in use or cannot be written.
    """
    _check_request(out, count, seed, size_hw)
    if not 0.0 <= clutter <= 1.0:
        raise DataError(f"The clutter is {clutter}; choose a share between 0 and 1.")
    own_backgrounds, own_faces = (
        _usable_pictures(backgrounds, "backgrounds"),
        _usable_pictures(faces, "faces"),
    )
    partial = out.with_name(out.name + ".partial")
    order = _Order(
        folder=partial,
        seed=seed,
        size_hw=size_hw,
        splits=_splits(count),
        backgrounds=own_backgrounds,
        faces=own_faces,
        clutter=clutter,
    )
    try:
        _prepare(order, count)
        _draw_all(order, cores_here() if workers is None else workers, progress)
        if out.exists():
            out.rmdir()
        partial.rename(out)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise OutputError(f"{out} cannot be written ({error}); free some space or choose another folder.") from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return out


def _check_request(out: Path, count: int, seed: int, size_hw: tuple[int, int]) -> None:
    if count < FEWEST_PICTURES:
        raise DataError(f"{count} pictures cannot fill train, val and test; ask for at least {FEWEST_PICTURES}.")
    if seed < 0:
        raise DataError(f"The seed is {seed}; choose 0 or more.")
    if min(size_hw) < SMALLEST_SIDE_PX:
        raise DataError(
            f"{size_hw[1]}x{size_hw[0]} is too small to draw in; both sides need {SMALLEST_SIDE_PX} pixels."
        )
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file; choose the name of a new folder.")
    if out.exists() and any(out.iterdir()):
        raise OutputError(f"{out} exists and is not empty; remove it or choose another folder.")
    partial = out.with_name(out.name + ".partial")
    if partial.exists() and not _is_ours(partial):
        raise OutputError(f"{partial} is in the way and was not made by segwright; move it or choose another folder.")


def _is_ours(partial: Path) -> bool:
    source = partial / "SOURCE.md"
    return source.is_file() and MARK in source.read_text(encoding="utf-8", errors="replace")


def _splits(count: int) -> tuple[str, ...]:
    """80/10/10 with at least one each; scenes are independent, so the order does not matter."""
    tenth = max(1, round(count / 10))
    return ("train",) * (count - 2 * tenth) + ("val",) * tenth + ("test",) * tenth


def _usable_pictures(folder: Path | None, what: str) -> tuple[Path, ...]:
    """The folder's readable pictures, in the order of their names; the others are counted and skipped."""
    if folder is None:
        return ()
    if not folder.is_dir():
        raise DataError(f"The {what} folder {folder} does not exist; check the path.")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    usable = tuple(path for path in found if _can_read(path))
    if not usable:
        raise DataError(f"The {what} folder {folder} holds no picture that can be read; put JPEG or PNG files there.")
    if len(usable) < len(found):
        Console(stderr=True).print(f"Skipped {len(found) - len(usable)} of {len(found)} {what} that cannot be read.")
    return usable


def _can_read(path: Path) -> bool:
    try:
        read_user_picture(path, (64, 64))
    except DataError:
        return False
    return True


def _prepare(order: _Order, count: int) -> None:
    """Empty folders, the class table and where the pictures come from."""
    if order.folder.exists():
        shutil.rmtree(order.folder)
    for split in ("train", "val", "test"):
        for kind in ("images", "masks"):
            (order.folder / split / kind).mkdir(parents=True)
    (order.folder / "classes.csv").write_text(CLASSES_CSV, encoding="utf-8")
    height, width = order.size_hw
    own = ""
    if order.backgrounds or order.faces:
        own = (
            f" It contains parts of {len(order.backgrounds)} background and {len(order.faces)} face pictures given by"
            " the user, whose own licences apply to those parts."
        )
    (order.folder / "SOURCE.md").write_text(
        f"{MARK} {count} synthetic pictures of cards, {width}x{height} pixels, seed {order.seed}; "
        f"nothing in them was photographed. Licence: CC0-1.0.{own}\n",
        encoding="utf-8",
    )


# --- drawing, here or in workers --------------------------------------------------------------------------------


def _draw_all(order: _Order, workers: int, progress: bool) -> None:
    columns = TextColumn("Drawing cards"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), disable=not progress) as bar:
        task = bar.add_task("draw", total=len(order.splits))
        for done in _drawn(order, workers):
            bar.advance(task, done)


def _drawn(order: _Order, workers: int) -> Iterator[int]:
    """Draw everything, telling after each job how many pictures it made."""
    numbers = range(len(order.splits))
    jobs = [tuple(numbers[start : start + PICTURES_PER_JOB]) for start in range(0, len(numbers), PICTURES_PER_JOB)]
    if workers <= 1 or len(jobs) == 1:
        with _one_thread():
            for job in jobs:
                yield _draw_job(order, job)
        return
    pool = ProcessPoolExecutor(
        min(workers, len(jobs)), mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker
    )
    try:
        with _interrupts_held():
            futures: list[Future[int]] = [pool.submit(_draw_job, order, job) for job in jobs]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise OutputError(
            "A drawing process was ended by the system (out of memory?); try again with 1 worker."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _one_thread() -> Iterator[None]:
    """OpenCV with one thread, as in the workers."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Processes started in here are born deaf to Ctrl-C; ours still hears it, a moment later."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)


def _draw_job(order: _Order, numbers: Sequence[int]) -> int:
    for number in numbers:
        rng = np.random.default_rng([order.seed, number])
        scene = draw_scene(rng, order.size_hw, clutter=order.clutter, backgrounds=order.backgrounds, faces=order.faces)
        folder = order.folder / order.splits[number]
        quality = int(rng.integers(*JPEG_QUALITY))
        _write(
            folder / "images" / f"{number:06d}.jpg",
            scene.image[..., ::-1],
            [cv2.IMWRITE_JPEG_QUALITY, quality],
        )
        _write(folder / "masks" / f"{number:06d}.png", scene.mask * 255, [])
    return len(numbers)


def _write(path: Path, pixels: np.ndarray, settings: list[int]) -> None:
    done, encoded = cv2.imencode(path.suffix, np.ascontiguousarray(pixels), settings)
    if not done:
        raise OSError(f"{path.name} could not be encoded")
    path.write_bytes(encoded.tobytes())
