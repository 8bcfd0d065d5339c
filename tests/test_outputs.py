"""Whole or not at all, and errors that name the place."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from segwright.errors import OutputError
from segwright.outputs import (
    file_being_written,
    folder_being_written,
    require_free,
    require_writable,
    write_bytes,
    write_text,
)


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_files_arrive_whole_in_new_folders(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a" / "b.txt", "grün\n")
    assert path.read_bytes() == "grün\n".encode()
    write_bytes(path, b"second")
    assert path.read_bytes() == b"second"
    assert left_in(tmp_path / "a") == ["b.txt"]


def test_partial_file_keeps_the_suffix_that_writers_look_at(tmp_path: Path) -> None:
    with file_being_written(tmp_path / "picture.png") as partial:
        assert partial.suffix == ".png"
        assert partial.parent == tmp_path
        partial.write_bytes(b"x")
        assert not (tmp_path / "picture.png").exists()
    assert left_in(tmp_path) == ["picture.png"]


def test_failure_keeps_the_old_file_and_leaves_nothing(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(RuntimeError, match="mine"), file_being_written(tmp_path / "a.txt") as partial:
        partial.write_text("half")
        raise RuntimeError("mine")
    assert left_in(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_full_disk_is_said(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=r"a\.txt cannot be written \(No space left"),
        file_being_written(tmp_path / "a.txt") as partial,
    ):
        partial.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert left_in(tmp_path) == []


def test_a_file_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputError, match="taken"):
        write_text(tmp_path / "taken" / "b.txt", "x")
    with pytest.raises(OutputError, match="taken"):
        require_writable(tmp_path / "taken")
    with pytest.raises(OutputError, match="taken"), folder_being_written(tmp_path / "taken" / "deep"):
        pass


def test_content_is_flushed_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    def note(handle: int) -> None:
        seen.append((tmp_path / "a").exists())

    monkeypatch.setattr(os, "fsync", note)
    write_bytes(tmp_path / "a", b"x")
    assert seen == [False]


def test_folders_arrive_whole(tmp_path: Path) -> None:
    out = tmp_path / "new" / "run"
    with folder_being_written(out) as partial:
        (partial / "a.txt").write_text("x")
        assert not out.exists()
    assert left_in(out) == ["a.txt"]
    assert left_in(tmp_path / "new") == ["run"]


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with folder_being_written(tmp_path / "run") as partial:
        (partial / "a.txt").write_text("x")
    assert left_in(tmp_path / "run") == ["a.txt"]


def test_what_a_killed_run_left_is_cleared(tmp_path: Path) -> None:
    (tmp_path / "run.partial").mkdir()
    (tmp_path / "run.partial" / "stale").write_text("x")
    with folder_being_written(tmp_path / "run") as partial:
        assert left_in(partial) == []


def test_an_older_folder_makes_room_when_the_new_one_is_whole(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "old").write_text("x")
    (tmp_path / "run.replaced").mkdir()  # somebody's own
    with pytest.raises(RuntimeError), folder_being_written(tmp_path / "run", replace=True):
        raise RuntimeError("half-way")
    assert left_in(tmp_path / "run") == ["old"]
    with folder_being_written(tmp_path / "run", replace=True) as partial:
        (partial / "new").write_text("x")
        assert left_in(tmp_path / "run") == ["old"]
    assert left_in(tmp_path / "run") == ["new"]
    assert left_in(tmp_path) == ["run", "run.replaced"]


def test_an_older_folder_comes_back_when_its_place_cannot_be_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "old").write_text("x")
    rename = Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if self.name == "run.partial":
            raise PermissionError(13, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OutputError, match="Permission denied"), folder_being_written(tmp_path / "run", replace=True):
        pass
    assert left_in(tmp_path / "run") == ["old"]
    assert left_in(tmp_path) == ["run"]


def test_failed_folder_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="mine"), folder_being_written(tmp_path / "run") as partial:
        (partial / "a.txt").write_text("x")
        raise RuntimeError("mine")
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_taken_places_are_refused_and_untouched(kind: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    if kind == "folder":
        out.mkdir()
        (out / "mine").write_text("x")
    else:
        out.write_text("x")
    with pytest.raises(OutputError, match="not empty"), folder_being_written(out):
        pytest.fail("the block must not run")
    assert left_in(tmp_path) == ["run"]
    with pytest.raises(OutputError, match="run"):
        require_free(out)


@pytest.mark.parametrize("name", [".", "sub/..", "./"])
def test_the_folder_one_stands_in_has_a_name_too(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with folder_being_written(Path(name)) as partial:
        (partial / "a.txt").write_text("x")
    assert left_in(tmp_path / "here") == ["a.txt"]
    assert left_in(tmp_path) == ["here"]


def test_proof_of_writing_leaves_nothing(tmp_path: Path) -> None:
    assert require_writable(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert left_in(tmp_path / "a" / "b") == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_missing_permission_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="Permission denied"):
            write_text(tmp_path / "a.txt", "x")
        with pytest.raises(OutputError, match="Permission denied"):
            require_writable(tmp_path)
    finally:
        tmp_path.chmod(0o700)
