"""Photographed cards among drawn ones: repeated, cut out, held out, and never the test part."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from segwright.data.card_photos import cut_out, mixed_cards
from segwright.data.layouts import find_dataset
from segwright.data.licence import licence_of
from segwright.data.sample import read_image
from segwright.errors import DataError, OutputError

SMALL_HW = (96, 72)
FACE = (230, 60, 200)
GROUND = (20, 90, 30)


def photograph(
    folder: Path, name: str, *, size_hw: tuple[int, int] = (200, 150), turn: float = 0.0, cards: int = 1
) -> None:
    """Pink cards on green, and their mask."""
    rng = np.random.default_rng(sum(name.encode()))
    image = np.full((*size_hw, 3), GROUND, np.uint8)
    mask = np.zeros(size_hw, np.uint8)
    for number in range(cards):
        centre = (size_hw[1] / 2, size_hw[0] * (number + 1) / (cards + 1))
        box = np.asarray(cv2.boxPoints((centre, (44, 62) if cards == 1 else (62, 44), turn)), np.int32)
        cv2.fillPoly(image, [box], FACE)
        cv2.fillPoly(mask, [box], 255)
    noise = rng.integers(0, 25, image.shape, dtype=np.uint8)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / "images" / f"{name}.jpg"), (image + noise)[..., ::-1])
    cv2.imwrite(str(folder / "masks" / f"{name}.png"), mask)


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    for name, turn in (("ann", 0.0), ("bob", 20.0), ("cid", 45.0), ("dan", 70.0)):
        photograph(tmp_path / "photos", name, turn=turn)
    return tmp_path / "photos"


def mixed(out: Path, photos: Path | None = None, **settings: object) -> Path:
    return mixed_cards(
        out,
        photographs=photos,
        size_hw=SMALL_HW,
        workers=0,
        progress=False,
        **{"count": 6, **settings},  # type: ignore[arg-type]
    )


def names(folder: Path) -> set[str]:
    return {path.stem for path in folder.iterdir()}


def test_photographs_are_repeated_up_to_their_share_and_some_are_held_out(photographs: Path, tmp_path: Path) -> None:
    out = mixed(tmp_path / "out", photographs, photo_share=0.6, count=12)
    train = names(out / "train" / "images")
    assert train == names(out / "train" / "masks")
    photos = {name for name in train if name.startswith("photo-")}
    assert len(photos) / len(train) == pytest.approx(0.6, abs=0.08)
    people = {name.split("-")[1] for name in photos}
    held_out = {name.split("-")[1] for name in names(out / "val" / "images") if name.startswith("photo-")}
    assert held_out
    assert held_out | people == {"ann", "bob", "cid", "dan"}
    assert not held_out & people
    assert not [name for name in names(out / "test" / "images") if name.startswith("photo-")]
    dataset = find_dataset(out)
    assert dataset.classes.names == ("background", "card")
    assert set(dataset.splits) == {"train", "val", "test"}
    one = next(path for path in (out / "train" / "images").iterdir() if path.stem.startswith("photo-"))
    original = photographs / "images" / f"{one.stem.split('-')[1]}.jpg"
    assert one.read_bytes() == original.read_bytes(), "a JPEG is copied, not compressed again"
    assert not (tmp_path / "out.partial").exists()


def test_scenes_are_drawn_from_parts_of_the_photographs_that_are_learnt_from(photographs: Path, tmp_path: Path) -> None:
    out = mixed(tmp_path / "out", photographs, count=24)
    pasted = [read_image(path) for path in (out / "train" / "images").glob("pasted-*.jpg")]
    assert len(pasted) >= 6
    assert sum(is_green(image) for image in pasted) > len(pasted) / 4
    assert not any(is_green(read_image(path)) for path in (out / "train" / "images").glob("drawn-*.jpg"))
    source = (out / "SOURCE.md").read_text()
    assert "4 photographs" in source
    assert "that of " in source
    assert "see the data set" in source


def is_green(image: np.ndarray) -> bool:
    colour = image.reshape(-1, 3).astype(float)
    like = colour @ np.array(GROUND) / np.linalg.norm(GROUND) / np.maximum(np.linalg.norm(colour, axis=1), 1e-6)
    return bool((like > 0.985).mean() > 0.3)


def test_the_licence_of_the_photographs_travels_with_them(photographs: Path, tmp_path: Path) -> None:
    (tmp_path / "SOURCE.md").write_text("By Ann.\nLicence: Apache-2.0\n")
    out = mixed(tmp_path / "out", photographs)
    assert "> By Ann." in (out / "SOURCE.md").read_text()
    assert licence_of(out).endswith("photos: Apache-2.0")


@pytest.mark.parametrize("turn", [0.0, 20.0, 45.0, 80.0])
def test_a_card_is_cut_out_along_its_edges(turn: float, tmp_path: Path) -> None:
    photograph(tmp_path / "photos", "a", turn=turn)
    dataset = find_dataset(tmp_path / "photos")
    faces, grounds = cut_out(dataset.splits["all"], dataset, tmp_path / "parts")
    assert faces is not None
    (face,) = [read_image(path) for path in faces.iterdir()]
    assert sorted(face.shape[:2]) == pytest.approx([44, 62], abs=4)
    inside = face[2:-2, 2:-2].reshape(-1, 3).astype(int)
    assert (np.abs(inside - np.array(FACE)).max(axis=1) < 60).mean() > 0.99
    assert grounds is not None
    for path in grounds.iterdir():
        assert np.abs(read_image(path).astype(int) - np.array(GROUND)).max() < 70, "no card is left in it"


def test_two_cards_are_two_faces_and_what_is_no_card_is_none(tmp_path: Path) -> None:
    photograph(tmp_path / "two", "a", cards=2)
    dataset = find_dataset(tmp_path / "two")
    faces, _ = cut_out(dataset.splits["all"], dataset, tmp_path / "parts")
    assert faces is not None
    assert len(list(faces.iterdir())) == 2
    photograph(tmp_path / "disc", "a")
    mask = np.zeros((200, 150), np.uint8)
    cv2.circle(mask, (75, 100), 40, 255, -1)
    cv2.imwrite(str(tmp_path / "disc" / "masks" / "a.png"), mask)
    dataset = find_dataset(tmp_path / "disc")
    assert cut_out(dataset.splits["all"], dataset, tmp_path / "none")[0] is None


def test_the_test_part_of_the_photographs_is_never_touched(tmp_path: Path) -> None:
    for split, name in (("train", "ann"), ("train", "bob"), ("test", "eve")):
        photograph(tmp_path / "photos" / split, name)
    out = mixed(tmp_path / "out", tmp_path / "photos")
    assert not list(out.rglob("*eve*"))
    assert list(out.rglob("photo-*ann*"))


def test_without_photographs_all_is_drawn(tmp_path: Path) -> None:
    out = mixed(tmp_path / "out")
    assert all(
        name.startswith("drawn-") for split in ("train", "val", "test") for name in names(out / split / "images")
    )
    assert "CC0-1.0" in (out / "SOURCE.md").read_text()


def test_what_cannot_be_used_is_refused_and_leaves_nothing(photographs: Path, tmp_path: Path) -> None:
    refused: tuple[tuple[dict[str, object], Path, str], ...] = (
        ({"photo_share": 0.95}, photographs, "between 0 and 0.9"),
        ({"count": 5}, photographs, "at least 6"),
        ({}, tmp_path / "nowhere", "does not exist"),
    )
    for settings, photos, words in refused:
        with pytest.raises(DataError, match=words):
            mixed(tmp_path / "out", photos, **settings)
    photograph(tmp_path / "many", "a")
    cv2.imwrite(
        str(tmp_path / "many" / "masks" / "a.png"), np.arange(200, dtype=np.uint8)[:, None].repeat(150, 1) // 60
    )
    with pytest.raises(DataError, match="classes, and photographs of cards have two"):
        mixed(tmp_path / "out", tmp_path / "many")
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("kept")
    with pytest.raises(OutputError, match="not empty"):
        mixed(tmp_path / "out")
    assert (tmp_path / "out" / "mine.txt").read_text() == "kept"
