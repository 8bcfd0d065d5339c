"""Many pictures: what workers write is what is written without them, a stopped run goes on, and nothing is done twice.

The workers are called in this process, as Ray would call them in others; slow tests have those of Ray, on one machine and on two.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segwright.data.sample import Sample
from segwright.errors import DataError, MissingExtraError, OutputError, UserError
from segwright.predict import cluster
from segwright.predict.bulk import FAILURES, RECORD, Bulk, predict_in_bulk
from segwright.predict.bulk_list import LINES
from segwright.predict.bulk_notes import FOLDER
from segwright.predict.bulk_worker import COLUMNS, Job, Worker
from segwright.predict.cleanup import Cleanup
from segwright.predict.frame import Choice
from segwright.predict.sources import find_pictures
from segwright.workflows.bulk import predict_with_ray
from segwright.workflows.predicting import Wishes, predict_sources
from tests.command import everything_below, refused
from tests.test_engines import FACTS, brightness_model, written

onnx = pytest.importorskip("onnx", reason="the extra segwright[onnx] is not installed")

KEYS = ("a", "b", "deep/c", "deep/d", "e")
Answering = Generator[dict[str, str], None, None]
EVERYTHING = frozenset({"masks", "colours", "overlays", "contours", "labelme", "yolo", "jsonl"})


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """Five pictures of several sizes."""
    for number, key in enumerate(KEYS):
        path = tmp_path / "shots" / f"{key}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (8 + number, 12 + 3 * number, 3), np.uint8)
        pixels[2:6, 2:7] = 255
        Image.fromarray(pixels).save(path)
    return tmp_path / "shots"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return written(brightness_model(), tmp_path / "m.onnx")


def job(model: Path, out: Path, **changes: Any) -> Job:
    standard = Job(
        files={model.name: model.read_bytes()},
        model="its hash",
        out=out,
        saves=frozenset({"masks", "overlays", "jsonl"}),
        classes=FACTS.classes,
    )
    return replace(standard, **changes)


def in_this_process(job: Job, samples: Sequence[Sample]) -> Answering:
    """Workers that finish in another order than they were asked."""
    worker = Worker(job)
    blocks = [samples[start : start + 2] for start in range(0, len(samples), 2)]
    for block in reversed(blocks):
        answers = worker({"key": [s.key for s in block], "path": [str(s.image) for s in block]})
        for values in zip(*answers.values(), strict=True):
            yield dict(zip(COLUMNS, values, strict=True))


def run(job: Job, shots: Path) -> Bulk:
    return predict_in_bulk(job, find_pictures(shots), in_this_process)


def contents(out: Path) -> dict[str, bytes]:
    """Every file but the record, and but the times in the lines."""
    files = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    files.pop(RECORD, None)
    lines = [json.loads(line) | {"milliseconds": 0} for line in files[LINES].splitlines()]
    return files | {LINES: json.dumps(lines).encode()}


@pytest.mark.parametrize(
    ("choice", "cleanup"),
    [(Choice(), Cleanup()), (Choice(size_wh=(20, 14)), Cleanup(smallest=4, hole=6, largest_only=True))],
)
def test_the_same_files_as_without(shots: Path, model: Path, tmp_path: Path, choice: Choice, cleanup: Cleanup) -> None:
    plain = predict_sources(
        model, [shots], tmp_path / "plain", choice=choice, cleanup=cleanup, wishes=Wishes(saves=EVERYTHING)
    )
    asked = job(model, tmp_path / "bulk", saves=EVERYTHING, choice=choice, cleanup=cleanup)
    done = run(asked, shots)
    assert contents(tmp_path / "bulk") == contents(tmp_path / "plain")
    assert done.new == done.summary.pictures == plain.pictures == len(KEYS)
    assert done.summary.shares == pytest.approx(plain.shares)
    assert done.summary.milliseconds > 0
    assert not done.summary.stopped


def test_a_stopped_run_goes_on_with_what_is_left(shots: Path, model: Path, tmp_path: Path) -> None:
    asked = job(model, tmp_path / "bulk")

    def stopped_after_two(job: Job, samples: Sequence[Sample]) -> Answering:
        for number, answer in enumerate(in_this_process(job, samples)):
            if number == 2:
                raise KeyboardInterrupt
            yield answer

    first = predict_in_bulk(asked, find_pictures(shots), stopped_after_two)
    assert (first.summary.stopped, first.new) == (True, 3), (
        "a block is two pictures, and all that is finished is listed"
    )
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "bulk").rglob("*.png")}
    steps: list[int] = []
    second = predict_in_bulk(asked, find_pictures(shots), in_this_process, advance=steps.append)
    assert (second.new, second.summary.pictures) == (2, 5)
    assert steps == [3, 1, 1]
    listed = [json.loads(line)["key"] for line in (tmp_path / "bulk" / LINES).read_text().splitlines()]
    assert listed == list(KEYS)
    assert all(path.stat().st_mtime_ns == time for path, time in times.items()), "written once"
    assert not (asked.out / FOLDER).exists()
    run(asked_alone := replace(asked, out=tmp_path / "whole"), shots)
    assert contents(asked.out) == contents(asked_alone.out)


def test_nobody_is_asked_where_all_is_done(shots: Path, model: Path, tmp_path: Path) -> None:
    asked = job(model, tmp_path / "bulk")
    run(asked, shots)

    def nobody(job: Job, samples: Sequence[Sample]) -> Answering:
        assert not samples, "asked"
        yield {}

    again = predict_in_bulk(asked, find_pictures(shots), nobody)
    assert (again.new, again.summary.pictures) == (0, 5)
    assert sum(again.summary.shares.values()) == pytest.approx(1)


def test_what_was_torn_or_removed_is_done_again(shots: Path, model: Path, tmp_path: Path) -> None:
    asked = job(model, tmp_path / "bulk")
    run(asked, shots)
    before = contents(asked.out)
    lines = (asked.out / LINES).read_text(encoding="utf-8").splitlines(keepends=True)
    # As after a power cut: c is torn, e is missing; somebody removed a picture of b; and rubbish, and a line twice.
    torn = [lines[3], "[]\n", "\n", lines[0], lines[1], lines[0], lines[2][:40]]
    (asked.out / LINES).write_text("".join(torn), encoding="utf-8")
    (asked.out / "overlays" / "b.png").unlink()
    assert run(asked, shots).new == 3
    assert contents(asked.out) == before


def test_pictures_that_are_gone_stay_on_the_list(shots: Path, model: Path, tmp_path: Path) -> None:
    asked = job(model, tmp_path / "bulk")
    run(asked, shots)
    (shots / "a.png").unlink()
    Image.new("RGB", (9, 9)).save(shots / "z.png")
    assert run(asked, shots).summary.pictures == 6
    listed = [json.loads(line)["key"] for line in (asked.out / LINES).read_text().splitlines()]
    assert listed == ["b", "deep/c", "deep/d", "e", "z", "a"]


def test_what_cannot_be_read_is_listed_and_tried_again(shots: Path, model: Path, tmp_path: Path) -> None:
    (shots / "empty.png").write_bytes(b"")
    (shots / "text.png").write_text("no picture")
    asked = job(model, tmp_path / "bulk")
    first = run(asked, shots)
    assert first.summary.pictures == 5
    assert [failure.path.name for failure in first.summary.failures] == ["empty.png", "text.png"]
    told = [json.loads(line) for line in (asked.out / FAILURES).read_text().splitlines()]
    assert [line["key"] for line in told] == ["empty", "text"]
    assert "is empty" in told[0]["reason"]
    for name in ("empty.png", "text.png"):
        shutil.copy(shots / "a.png", shots / name)
    assert run(asked, shots).new == 2
    assert not (asked.out / FAILURES).exists()


def test_nothing_readable_is_an_error(model: Path, tmp_path: Path) -> None:
    (tmp_path / "shots").mkdir()
    (tmp_path / "shots/a.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"None of the 1 pictures could be read; the first: .*a\.png is empty"):
        run(job(model, tmp_path / "bulk"), tmp_path / "shots")


def test_answers_of_different_settings_are_never_mixed(shots: Path, model: Path, tmp_path: Path) -> None:
    asked = job(model, tmp_path / "bulk")
    run(asked, shots)
    before = contents(asked.out)
    for other, name in ((replace(asked, threshold=0.3), "threshold"), (replace(asked, model="other"), "model")):
        with pytest.raises(OutputError, match=f"made with another {name};"):
            run(other, shots)
    assert contents(asked.out) == before

    predict_sources(model, [shots], asked.out)
    with pytest.raises(OutputError, match="a run without --ray"):
        run(asked, shots)
    (asked.out / RECORD).write_text("{", encoding="utf-8")
    with pytest.raises(OutputError, match=r"bulk\.json cannot be read"):
        run(asked, shots)


def test_a_folder_that_cannot_be_written_ends_the_run_and_keeps_what_is_done(
    shots: Path, model: Path, tmp_path: Path
) -> None:
    asked = job(model, tmp_path / "bulk")
    asked.out.mkdir()
    (asked.out / "overlays").mkdir()
    (asked.out / "overlays" / "deep").write_text("a file where a folder belongs")
    with pytest.raises(OutputError, match=r"overlays.deep.* cannot be written"):
        run(asked, shots)
    assert [json.loads(line)["key"] for line in (asked.out / LINES).read_text().splitlines()] == ["e"]
    assert not (asked.out / FOLDER).exists()


class Killed(BaseException):
    """As if the process were gone."""


class Mortal(Worker):
    """Dies at picture b, while it writes the first file."""

    def _line(self, sample: Sample) -> dict[str, Any]:
        if sample.key == "b":
            (self._job.out / "masks" / ".b.123.partial.png").write_bytes(b"half")
            raise Killed
        return super()._line(sample)


def dies(job: Job, samples: Sequence[Sample]) -> Answering:
    Mortal(job)({"key": [s.key for s in samples], "path": [str(s.image) for s in samples]})
    yield {}


def test_what_was_finished_before_a_worker_or_all_were_killed_is_not_done_again(
    shots: Path, model: Path, tmp_path: Path
) -> None:
    asked = job(model, tmp_path / "bulk")
    with pytest.raises(Killed):
        predict_in_bulk(asked, find_pictures(shots), dies)
    assert everything_below(asked.out / "masks") == {"a.png"}, "half a file is removed"
    assert [json.loads(line)["key"] for line in (asked.out / LINES).read_text().splitlines()] == ["a"]
    # The process with the list may be killed too: then the next one finds the notes.
    (asked.out / LINES).unlink()
    shutil.rmtree(asked.out / "masks")
    samples = find_pictures(shots)
    with pytest.raises(Killed):
        next(dies(asked, samples))
    time = (asked.out / "masks/a.png").stat().st_mtime_ns
    assert run(asked, shots).new == 4
    assert (asked.out / "masks/a.png").stat().st_mtime_ns == time
    assert not list((asked.out / "masks").glob(".*"))
    run(whole := replace(asked, out=tmp_path / "whole"), shots)
    assert contents(asked.out) == contents(whole.out)


def test_a_picture_that_ends_workers_is_given_up(shots: Path, model: Path, tmp_path: Path) -> None:
    asked = job(model, tmp_path / "bulk")
    asked.out.mkdir()
    batch = {"key": ["a", "b", "e"], "path": [str(shots / f"{name}.png") for name in ("a", "b", "e")]}
    for _ in range(2):
        with pytest.raises(Killed):
            Mortal(asked)(batch)
    time = (asked.out / "masks/a.png").stat().st_mtime_ns
    answers = Mortal(asked)(batch)
    assert [bool(line) for line in answers["line"]] == [True, False, True]
    assert "b.png ended 2 workers" in answers["reason"][1]
    assert (asked.out / "masks/a.png").stat().st_mtime_ns == time, "the next worker does not do again what is finished"


def test_large_tiffs_are_written_by_rows(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile = pytest.importorskip("tifffile", reason="the extra segwright[tiff] is not installed")
    monkeypatch.setattr("segwright.predict.large.LARGE", 40 * 50)
    shots, rng = tmp_path / "shots", np.random.default_rng(0)
    shots.mkdir()
    tifffile.imwrite(shots / "big.tif", rng.integers(0, 256, (60, 70, 3), np.uint8), photometric="rgb", tile=(16, 16))
    Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)).save(shots / "small.png")
    predict_sources(model, [shots], tmp_path / "plain", tile=True, wishes=Wishes(saves=frozenset({"masks", "jsonl"})))
    asked = job(model, tmp_path / "bulk", tile=True, saves=frozenset({"masks", "jsonl"}))
    assert run(asked, shots).new == 2
    plain, bulk = contents(tmp_path / "plain"), contents(asked.out)
    assert plain.pop(LINES) != bulk.pop(LINES), "without Ray the lines of large pictures come last"
    assert bulk == plain
    assert run(asked, shots).new == 0
    whole = run(replace(asked, out=tmp_path / "whole", choice=Choice(size_wh=(20, 14))), shots)
    assert (whole.new, len(whole.summary.failures)) == (1, 1)
    assert "need whole pictures" in whole.summary.failures[0].reason


def test_pictures_behind_a_url(shots: Path, model: Path, tmp_path: Path) -> None:
    asked = job(model, tmp_path / "bulk", saves=EVERYTHING)
    samples = find_pictures(Path(f"file://{shots}"))
    assert [sample.key for sample in samples] == list(KEYS)
    assert predict_in_bulk(asked, samples, in_this_process).new == 5
    predict_sources(model, [f"file://{shots}"], tmp_path / "plain", wishes=Wishes(saves=EVERYTHING))
    assert contents(asked.out) == contents(tmp_path / "plain")
    assert json.loads((asked.out / "labelme/deep/c.json").read_text())["imagePath"] == "c.png"
    (shots / "broken.png").write_text("no picture")
    (told,) = run(asked, Path(f"file://{shots}")).summary.failures
    assert told.reason.startswith(f"file://{shots}/broken.png is not a picture")
    assert json.loads((asked.out / FAILURES).read_text())["path"] == f"file://{shots}/broken.png"
    assert [sample.key for sample in find_pictures(Path(f"file://{shots}/deep/c.png"))] == ["c"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--save", "coco"], "--ray does not write coco"),
        (["--save-video"], "--ray is for pictures; leave --save-video"),
        (["--steady", "0.5"], "--ray is for pictures; leave --save-video, --keep-audio, --steady"),
        (["--every", "2"], "--ray is for pictures; leave --every"),
        (["--workers", "0"], "--workers is a whole number from 1 on, not 0"),
        (["--threads", "-1"], "--threads is a whole number from 1 on, not -1"),
        (["0"], "--ray is for pictures, and webcam 0 is a webcam"),
    ],
)
def test_what_ray_does_not_do_is_said(
    shots: Path, model: Path, tmp_path: Path, words: list[str], sentence: str
) -> None:
    assert sentence in refused("predict", model, shots, *words, "--ray", "--out", tmp_path / "out")
    assert "out" not in everything_below(tmp_path)


def test_workers_belong_to_ray(shots: Path, model: Path, tmp_path: Path) -> None:
    said = refused("predict", model, shots, "--workers", "2", "--out", tmp_path / "out")
    assert "--workers belongs to --ray" in said


def test_a_place_that_is_no_folder_is_said(shots: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot be written to .*; choose another place with --out"):
        run(job(model, tmp_path / "file" / "out"), shots)


def test_without_ray_its_extra_is_named(shots: Path, model: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'segwright\[ray\]'"):
        predict_with_ray(model, [shots], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_blocks_are_small_where_pictures_are_few() -> None:
    assert [cluster.block_size(pictures, 4) for pictures in (1, 100, 1000, 10**7)] == [1, 3, 31, 128]


def test_our_own_error_is_found_inside_those_of_ray() -> None:
    ours = OutputError("the disk is full")
    inner, outer = RuntimeError("task"), RuntimeError("first line\nlast line")
    inner.cause = ours  # type: ignore[attr-defined]
    outer.__cause__ = inner
    assert cluster._reason(outer) is ours
    assert "A worker failed (last line)" in str(cluster._reason(RuntimeError("first line\nlast line")))


def test_a_cluster_that_does_not_start_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ray:
        tries = 0

        def init(self, **settings: Any) -> None:
            assert (settings["include_dashboard"], settings["address"]) == (False, "local")
            self.tries += 1
            raise RuntimeError("The current node timed out during startup.")

        def shutdown(self) -> None:
            pass

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    ray = Ray()
    with pytest.raises(UserError, match=r"Ray cannot start on this machine \(The current node timed out.* less busy"):
        cluster._begin(ray, 2, cluster.STORE)
    assert ray.tries == cluster.TRIES


def test_a_cluster_that_lets_nobody_in_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ray:
        tries = 0

        def init(self, **settings: Any) -> None:
            self.tries += 1
            raise ConnectionError("Failed to connect to Ray cluster at 192.0.2.1:6379, timed out")

        def shutdown(self) -> None:
            pass

    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")
    ray = Ray()
    with pytest.raises(
        UserError, match=r"join the cluster at 192\.0\.2\.1:6379 \(Failed .*RAY_AUTH_TOKEN to its token"
    ):
        cluster._begin(ray, 2, cluster.STORE)
    assert ray.tries == 1


def without_ray() -> dict[str, str]:
    """The surroundings of this process without what it told Ray in other tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}


def bulk_command(model: Path, shots: Path, out: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`segwright predict --ray` with two workers."""
    command = [sys.executable, "-m", "segwright", "predict", model, shots, "--out", out, "--ray", "--workers", "2"]
    surroundings = without_ray() | environment
    answer = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, env=surroundings)
    if "Ray cannot start on this machine (The current node timed out" in answer.stderr:
        pytest.skip("this machine is too busy for Ray, which gives itself 30 seconds to start")
    return answer


@pytest.mark.slow
def test_workers_of_ray_write_the_same(shots: Path, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra segwright[ray] is not installed")
    (shots / "broken.png").write_text("no picture")
    predict_sources(model, [shots], tmp_path / "plain")
    out = tmp_path / "bulk"
    answer = bulk_command(model, shots, out)
    assert (answer.returncode, answer.stderr.count("\n")) == (1, 1), answer.stderr
    assert "could not be read; the first: " in answer.stderr
    (told,) = (out / FAILURES).read_text().splitlines()
    assert json.loads(told)["key"] == "broken"
    (out / FAILURES).unlink()
    assert contents(out) == contents(tmp_path / "plain")


@contextmanager
def two_nodes() -> Iterator[dict[str, str]]:
    """A cluster as two machines make it, one core each; the surroundings of whoever joins it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Ray notes in its folder which cluster is the newest, for others to join. Its sockets want a short path.
    place = tempfile.mkdtemp(prefix="ray")
    joining = {
        "RAY_TMPDIR": place,
        "RAY_ADDRESS": f"127.0.0.1:{port}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(24),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    surroundings = without_ray() | {name: value for name, value in joining.items() if name != "RAY_ADDRESS"}
    program = Path(sys.executable).with_name("ray")
    common = ["--num-cpus=1", "--object-store-memory=200000000", "--disable-usage-stats", "--block"]
    roles = (["--head", f"--port={port}", "--include-dashboard=false"], [f"--address=127.0.0.1:{port}"])
    with ExitStack() as nodes:
        nodes.callback(shutil.rmtree, place, ignore_errors=True)
        for role in roles:
            node = subprocess.Popen(
                [program, "start", *role, *common],
                env=surroundings,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            nodes.enter_context(node)
            nodes.callback(os.killpg, node.pid, signal.SIGTERM)
            said = ""
            for line in node.stdout or ():
                said += line
                if "Ray runtime started" in line:
                    break
            else:
                raise AssertionError(said)
        yield joining


@pytest.mark.slow
def test_workers_on_two_machines_of_a_cluster_write_the_same(shots: Path, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra segwright[ray] is not installed")
    predict_sources(model, [shots], tmp_path / "plain")
    with two_nodes() as joining:
        answer = bulk_command(model, shots, tmp_path / "bulk", **joining)
        assert (answer.returncode, answer.stderr) == (0, "")
    assert contents(tmp_path / "bulk") == contents(tmp_path / "plain")
