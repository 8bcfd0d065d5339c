"""What is on disk when a video cannot be written to its end, by a full disk or by kill -9."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import av
import pytest

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import os, resource, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from segwright.errors import OutputError
from segwright.predict.recorder import _Part
from tests.rtsp_server import picture

part = _Part(Path({path!r}), (240, 320), 0.0, None)
if {limit}:
    resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    for number in range({frames}):
        part.add(picture(number, (320, 240)), number / 25)
    if not {limit}:
        os._exit(9)
except OutputError as error:
    print(number, error)
try:
    part.finish()
except OutputError as error:
    print(error)
"""


def written(path: Path, *, limit: int, frames: int) -> str:
    program = PROGRAM.format(root=str(ROOT), path=str(path), limit=limit, frames=frames)
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.stderr == ""
    return run.stdout


def numbers_in(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
def test_a_full_disk_leaves_all_whole_fragments(tmp_path: Path) -> None:
    said = written(tmp_path / "a.mp4", limit=20_000, frames=600)
    assert said.count("a.mp4 cannot be written") == 2
    reached = int(said.split()[0])
    assert 100 < reached < 600
    assert reached - 100 < numbers_in(tmp_path / "a.mp4") <= reached
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
def test_a_full_disk_from_the_start_leaves_nothing(tmp_path: Path) -> None:
    assert "cannot be written" in written(tmp_path / "a.mp4", limit=1_500, frames=200)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_leaves_what_plays(tmp_path: Path) -> None:
    written(tmp_path / "a.mp4", limit=0, frames=180)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".a.")
    assert 50 <= numbers_in(left) <= 180
