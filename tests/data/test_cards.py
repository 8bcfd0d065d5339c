"""Synthetic card scenes: reproducible, honest masks, a complete folder or none."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from segwright.data import cards
from segwright.data.card_camera import Pose, corners_mm, lay, view_from
from segwright.data.card_faces import draw_card
from segwright.data.card_paint import Sprite
from segwright.data.cards import draw_scene, synthesize_cards
from segwright.errors import DataError, OutputError

SMALL_HW = (120, 96)


def fingerprints(folder: Path) -> dict[str, str]:
    """Every file below the folder with the hash of its bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def save_picture(path: Path, colour: tuple[int, int, int], size_hw: tuple[int, int] = (90, 64)) -> Path:
    cv2.imwrite(str(path), np.full((*size_hw, 3), colour[::-1], np.uint8))
    return path


def share_near(image: np.ndarray, colour: tuple[int, int, int]) -> float:
    """Share of pixels whose hue direction is that of the colour."""
    wanted = np.array(colour) / np.linalg.norm(colour)
    lengths = np.linalg.norm(image.astype(float), axis=2)
    cosine = image.astype(float) @ wanted / np.maximum(lengths, 1e-6)
    return float(((cosine > 0.95) & (lengths > 20)).mean())


# --- one scene --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size_hw", [(96, 72), (72, 128), (240, 240), (33, 65)])
def test_scene_has_the_size_asked_for_and_a_mask_of_two_values(size_hw: tuple[int, int]) -> None:
    for number in range(4):
        scene = draw_scene(np.random.default_rng(number), size_hw)
        assert scene.image.shape == (*size_hw, 3)
        assert scene.image.dtype == np.uint8
        assert scene.mask.shape == size_hw
        assert scene.mask.dtype == np.uint8
        assert set(np.unique(scene.mask)) <= {0, 1}


def test_the_same_generator_state_draws_the_same_scene() -> None:
    first, again, other = (draw_scene(np.random.default_rng(seed), SMALL_HW) for seed in (5, 5, 6))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.mask, again.mask)
    assert not np.array_equal(first.image, other.image)


def test_threads_of_opencv_change_nothing() -> None:
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        alone = [draw_scene(np.random.default_rng(seed), (320, 240)).image for seed in range(4)]
        cv2.setNumThreads(4)
        together = [draw_scene(np.random.default_rng(seed), (320, 240)).image for seed in range(4)]
    finally:
        cv2.setNumThreads(before)
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))


def test_cards_cover_a_plausible_share_and_some_scenes_are_empty() -> None:
    shares = np.array([draw_scene(np.random.default_rng([1, number]), SMALL_HW).mask.mean() for number in range(120)])
    assert 0.06 < shares.mean() < 0.30
    assert 0.01 <= (shares == 0).mean() <= 0.25
    assert np.quantile(shares, 0.95) > 0.25
    assert ((shares > 0) & (shares < 0.05)).any()
    assert shares.max() < 0.98


def test_cards_are_mostly_brighter_than_their_surroundings_but_not_always() -> None:
    """Real cards are; a network must still not be able to solve the task by brightness alone."""
    brighter = []
    for number in range(80):
        scene = draw_scene(np.random.default_rng([2, number]), SMALL_HW)
        if 0.01 < scene.mask.mean() < 0.9:
            grey = scene.image.mean(axis=2)
            brighter.append(grey[scene.mask == 1].mean() > grey[scene.mask == 0].mean())
    assert 0.6 < np.mean(brighter) < 0.99


# --- geometry ---------------------------------------------------------------------------------------------------


def test_a_card_seen_from_above_has_its_real_proportions() -> None:
    view = view_from((400, 400), pixels_per_mm=2.0, tilt_rad=0.0, roll_rad=0.3, focal_share=1.0)
    card = Sprite(
        colour=np.full((88, 63, 3), 255, np.uint8),
        cover=np.full((88, 63), 255, np.uint8),
        size_mm=(88.0, 63.0),
    )
    placed = lay(card, Pose(x_mm=0, y_mm=0, angle=0), view)
    assert placed is not None
    assert (placed.cover > 127).sum() == pytest.approx(2 * 88 * 2 * 63, rel=0.02)
    rows, columns = np.nonzero(placed.cover > 127)
    assert np.ptp(rows) + 1 == pytest.approx(176, abs=1.5)
    assert np.ptp(columns) + 1 == pytest.approx(126, abs=1.5)


def test_the_far_edge_of_a_tilted_card_is_the_shorter_and_upper_one() -> None:
    view = view_from((400, 400), pixels_per_mm=2.0, tilt_rad=0.7, roll_rad=0.0, focal_share=1.0)
    card = Sprite(colour=np.zeros((8, 6, 3), np.uint8), cover=np.zeros((8, 6), np.uint8), size_mm=(88.0, 63.0))
    quad = view.project(corners_mm(card, Pose(x_mm=0, y_mm=0, angle=0)))
    assert quad[0, 1] < quad[3, 1]
    assert np.linalg.norm(quad[1] - quad[0]) < np.linalg.norm(quad[2] - quad[3])


def test_what_lies_outside_the_picture_is_not_drawn() -> None:
    view = view_from((100, 100), pixels_per_mm=1.0, tilt_rad=0.0, roll_rad=0.0, focal_share=1.0)
    card = draw_card(np.random.default_rng(0), 90)
    assert lay(card, Pose(x_mm=500, y_mm=0, angle=0), view) is None


def test_cards_have_round_or_sharp_corners_and_card_proportions() -> None:
    for number in range(40):
        card = draw_card(np.random.default_rng(number), 180)
        assert 1.3 < max(card.size_mm) / min(card.size_mm) < 1.85
        assert (card.cover > 127).mean() > 0.98
        assert max(card.cover.shape) == pytest.approx(180, abs=1)


# --- the data set on disk ---------------------------------------------------------------------------------------


def test_synthesize_writes_the_whole_layout(tmp_path: Path) -> None:
    out = synthesize_cards(tmp_path / "cards", count=20, seed=3, size_hw=SMALL_HW, workers=0, progress=False)
    assert out == tmp_path / "cards"
    for split, expected in {"train": 16, "val": 2, "test": 2}.items():
        images, masks = sorted((out / split / "images").iterdir()), sorted((out / split / "masks").iterdir())
        assert [path.stem for path in images] == [path.stem for path in masks]
        assert len(images) == expected
        assert {path.suffix for path in images} == {".jpg"}
        for image, mask in zip(images, masks, strict=True):
            pixels = cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)
            assert pixels is not None
            assert pixels.shape == SMALL_HW
            assert set(np.unique(pixels)) <= {0, 255}
            photo = cv2.imread(str(image))
            assert photo is not None
            assert photo.shape == (*SMALL_HW, 3)
    assert (out / "classes.csv").read_text() == "index,name,r,g,b,ignore\n0,background,0,0,0,0\n1,card,0,255,255,0\n"
    source = (out / "SOURCE.md").read_text()
    assert all(word in source for word in ("segwright", "20", "seed 3", "CC0"))
    assert [path.name for path in tmp_path.iterdir()] == ["cards"]


def test_the_number_of_workers_changes_nothing(tmp_path: Path) -> None:
    alone = synthesize_cards(tmp_path / "alone", count=10, seed=1, size_hw=SMALL_HW, workers=1, progress=False)
    shared = synthesize_cards(tmp_path / "shared", count=10, seed=1, size_hw=SMALL_HW, workers=2, progress=False)
    other = synthesize_cards(tmp_path / "other", count=10, seed=2, size_hw=SMALL_HW, workers=1, progress=False)
    assert fingerprints(alone) == fingerprints(shared)
    assert fingerprints(alone) != fingerprints(other)


def test_three_pictures_are_one_for_each_part(tmp_path: Path) -> None:
    out = synthesize_cards(tmp_path / "few", count=3, size_hw=SMALL_HW, workers=0, progress=False)
    assert [len(list((out / split / "images").iterdir())) for split in ("train", "val", "test")] == [1, 1, 1]


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "cards").mkdir()
    out = synthesize_cards(tmp_path / "cards", count=3, size_hw=SMALL_HW, workers=0, progress=False)
    assert (out / "classes.csv").is_file()


# --- refusals and interruptions ---------------------------------------------------------------------------------


def test_too_few_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least 3"):
        synthesize_cards(tmp_path / "cards", count=2, progress=False)


def test_too_small_a_size_and_a_negative_seed_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="too small"):
        synthesize_cards(tmp_path / "cards", size_hw=(640, 8), progress=False)
    with pytest.raises(DataError, match="seed"):
        synthesize_cards(tmp_path / "cards", seed=-1, progress=False)


def test_a_used_folder_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        synthesize_cards(tmp_path, count=3, progress=False)
    with pytest.raises(OutputError, match="is a file"):
        synthesize_cards(tmp_path / "notes.txt", count=3, progress=False)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError, match="cannot be written"):
        synthesize_cards(tmp_path / "file" / "cards", count=3, workers=0, progress=False)


def test_someone_elses_partial_folder_is_kept(tmp_path: Path) -> None:
    (tmp_path / "cards.partial").mkdir()
    (tmp_path / "cards.partial" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="in the way"):
        synthesize_cards(tmp_path / "cards", count=3, workers=0, progress=False)
    assert (tmp_path / "cards.partial" / "thesis.txt").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_run_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def interrupted(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(cards, "draw_scene", interrupted)
    with pytest.raises(error):
        synthesize_cards(tmp_path / "cards", count=8, size_hw=SMALL_HW, workers=0, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda *args, **kwargs: None)
        patch.setattr(cards, "draw_scene", lambda *args, **kwargs: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            synthesize_cards(tmp_path / "cards", count=3, workers=0, progress=False)
    assert (tmp_path / "cards.partial" / "SOURCE.md").is_file()
    synthesize_cards(tmp_path / "cards", count=3, size_hw=SMALL_HW, workers=0, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["cards"]


# --- the user's own pictures ------------------------------------------------------------------------------------


def test_own_backgrounds_are_used(tmp_path: Path) -> None:
    magenta = (230, 20, 230)
    own = [save_picture(tmp_path / "ground.png", magenta, (200, 150))]
    scenes = [draw_scene(np.random.default_rng([9, number]), SMALL_HW, backgrounds=own) for number in range(24)]
    with_magenta = np.mean([share_near(scene.image, magenta) > 0.15 for scene in scenes])
    assert 0.3 < with_magenta < 0.95


def test_own_faces_are_used(tmp_path: Path) -> None:
    magenta = (230, 20, 230)
    own = [save_picture(tmp_path / "face.png", magenta)]
    scenes = [draw_scene(np.random.default_rng([9, number]), SMALL_HW, faces=own) for number in range(40)]
    inside = [
        share_near(scene.image[scene.mask == 1][None], magenta) > 0.3 for scene in scenes if scene.mask.mean() > 0.02
    ]
    assert 0.2 < np.mean(inside) < 0.95


def test_folders_of_own_pictures_reach_the_workers(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    save_picture(tmp_path / "own" / "a.jpg", (20, 200, 20))
    (tmp_path / "own" / "broken.png").write_bytes(b"not a picture")
    out = synthesize_cards(
        tmp_path / "cards", count=3, size_hw=SMALL_HW, backgrounds=tmp_path / "own", faces=tmp_path / "own",
        workers=0, progress=False,
    )  # fmt: skip
    assert "1 background and 1 face pictures" in (out / "SOURCE.md").read_text()


def test_folders_without_readable_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        synthesize_cards(tmp_path / "cards", backgrounds=tmp_path / "nowhere", progress=False)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "broken.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match="no picture that can be read"):
        synthesize_cards(tmp_path / "cards", faces=tmp_path / "own", progress=False)
    assert not (tmp_path / "cards").exists()
