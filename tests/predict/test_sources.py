"""What a path means."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segwright.data.sample import read_image
from segwright.errors import DataError
from segwright.predict.sources import find_pictures


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.PNG", "deep/er/c.webp", "notes.txt", ".hidden.png", ".cache/d.png", "x.jpg", "X.png"):
        path = tmp_path / "shots" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path / "shots"


def test_a_folder_means_every_picture_below_it(shots: Path) -> None:
    assert {s.key for s in find_pictures(shots)} == {"a", "b", "deep/er/c", "x.jpg", "X.png"}
    assert all(s.mask is None and s.image.exists() for s in find_pictures(shots))


def test_a_file_means_itself(shots: Path) -> None:
    (sample,) = find_pictures(shots / "b.jpg")
    assert (sample.key, sample.image) == ("b", shots / "b.jpg")


def test_a_pattern_is_counted_from_its_fixed_part(shots: Path) -> None:
    assert [s.key for s in find_pictures(shots / "**" / "*.webp")] == ["deep/er/c"]
    assert [s.key for s in find_pictures(shots / "[ab].*")] == ["a", "b"]


def test_a_relative_pattern_works(shots: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shots)
    assert [s.key for s in find_pictures(Path("*.jpg"))] == ["b", "x"]
    assert [s.key for s in find_pictures(Path("b.jpg"))] == ["b"]


def test_answers_of_an_earlier_run_are_left_out(shots: Path) -> None:
    assert "deep/er/c" not in {s.key for s in find_pictures(shots, leave_out=shots / "deep")}


def test_a_folder_with_a_pattern_in_its_name_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "holiday [2026]").mkdir()
    (tmp_path / "holiday [2026]" / "a.png").write_bytes(b"")
    assert [s.key for s in find_pictures(tmp_path / "holiday [2026]")] == ["a"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("absent", "does not exist"),
        ("empty", "holds no pictures"),
        ("notes.txt", "not a picture by its name"),
        ("*.gif", "No picture matches"),
    ],
)
def test_nothing_to_predict_is_said(shots: Path, source: str, said: str) -> None:
    (shots / "empty").mkdir()
    with pytest.raises(DataError, match=said):
        find_pictures(shots / source)


def test_pictures_behind_a_url_are_found_and_read() -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    image = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    data = io.BytesIO()
    Image.fromarray(image).save(data, "PNG")
    for name in ("a.png", "deep/b.png", ".hidden/c.png", "notes.txt"):
        memory.pipe_file(f"/shots/{name}", data.getvalue())
    found = find_pictures(Path("memory://shots"))
    assert [sample.key for sample in found] == ["a", "deep/b"]
    assert all(np.array_equal(read_image(sample.image), image) for sample in found)
    assert [sample.key for sample in find_pictures(Path("memory://shots/deep/b.png"))] == ["b"]
    for nothing in ("memory://shots/absent", "memory://shots/notes.txt"):
        with pytest.raises(DataError):
            find_pictures(Path(nothing))
