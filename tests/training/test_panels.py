from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segwright.classes import Classes
from segwright.render import overlay
from segwright.training import panels
from segwright.training.tally import Tally

CLASSES = Classes(names=("ground", "a rather long name of a class", "Straße"))


def checked(size_hw: tuple[int, int], count: int = 7, fixed: int = 3, worst: int = 4, seed: int = 0) -> Tally:
    """A check of random pictures and predictions."""
    rng = np.random.default_rng(seed)
    keys = [f"folder/picture_with_a_long_name_{n}" for n in range(count)]
    made = Tally(keys, fixed, worst)
    for key in keys:
        truth, prediction = rng.integers(0, 3, (2, *size_hw), dtype=np.uint8)
        image = torch.from_numpy(rng.integers(1, 255, (3, *size_hw), dtype=np.uint8))
        made.add(key, image, truth, prediction, np.diag([5, 5, int(rng.integers(1, 9))]))
    return made


def row(number: int) -> dict[str, float]:
    return {"epoch": number, "step": 15 * number, "val_iou": number / 100}


def test_a_panel_says_what_stands_where(tmp_path: Path) -> None:
    made = checked((225, 300))
    file = panels.draw(tmp_path, 3, made, CLASSES, row(3))
    assert file == tmp_path / "check_003.png"
    with Image.open(file) as page:
        facts, pixels = json.loads(page.info[panels.FACTS]), np.asarray(page)
    assert {name: facts[name] for name in ("check", "epoch", "step", "iou")} == {
        "check": 3,
        "epoch": 3,
        "step": 45,
        "iou": 0.03,
    }
    assert [p["key"] for p in facts["pictures"]] == list(made.fixed_keys)
    for shown, told in zip(made.shown()[0], facts["pictures"], strict=True):
        assert told["iou"] == pytest.approx(shown.iou, abs=1e-5)
        for name, expected in (
            ("picture", shown.image),
            ("truth", overlay(shown.image, shown.truth, CLASSES, 0.6)),
            ("prediction", overlay(shown.image, shown.prediction, CLASSES, 0.6)),
        ):
            left, top, width, height = told[name]
            assert np.array_equal(pixels[top : top + height, left : left + width], expected)


@pytest.mark.parametrize("size_hw", [(64, 64), (32, 500), (600, 40), (300, 224)])
@pytest.mark.parametrize("fixed", [1, 6])
def test_any_shape_makes_panels_and_a_film(tmp_path: Path, size_hw: tuple[int, int], fixed: int) -> None:
    for number in (1, 2):
        file = panels.draw(tmp_path, number, checked(size_hw, fixed=fixed, seed=number), CLASSES, row(number))
        assert file is not None
        with Image.open(file) as page:
            assert page.width <= 2600
    made = panels.film_strip(tmp_path)
    assert made is not None
    with Image.open(made[1]) as film:
        assert film.width <= 900
        assert getattr(film, "n_frames", 1) == 2


def test_no_fixed_pictures_means_no_panels(tmp_path: Path) -> None:
    assert panels.draw(tmp_path / "panels", 1, checked((64, 64), fixed=0), CLASSES, row(1)) is None
    assert not (tmp_path / "panels").exists()


def test_a_check_without_a_score_is_drawn(tmp_path: Path) -> None:
    made = Tally(["a"], 1)
    nothing = np.full((64, 64), 255, np.uint8)
    made.add("a", torch.zeros((3, 64, 64), dtype=torch.uint8), nothing, nothing, np.zeros((3, 3), np.int64))
    assert panels.draw(tmp_path, 1, made, CLASSES, {"epoch": 1, "step": 1, "val_iou": float("nan")})
    assert panels.film_strip(tmp_path)


def test_a_film_of_many_checks_has_first_and_last_and_stays_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = checked((32, 48), fixed=2, worst=0)
    for number in [*range(1, 44), 1001]:
        panels.draw(tmp_path, number, made, CLASSES, row(number))
    drawn: list[list[int]] = []

    def noted(function: str) -> None:
        original = getattr(panels, function)

        def spy(checks: list[panels._Check], keys: list[str]) -> object:
            drawn.append([check.facts["check"] for check in checks])
            return original(checks, keys)

        monkeypatch.setattr(panels, function, spy)

    noted("_strip_of")
    noted("_animation")
    still, moving = panels.film_strip(tmp_path) or (None, None)
    assert still is not None
    assert moving is not None
    assert [len(numbers) for numbers in drawn] == [panels.FILM_COLUMNS, panels.GIF_FRAMES]
    for numbers in drawn:
        assert (numbers[0], numbers[-1]) == (1, 1001)
        assert numbers == sorted(set(numbers))
    with Image.open(moving) as film:
        assert film.width <= panels.GIF_WIDTH
        assert film.info["loop"] == 0
    assert moving.stat().st_size < 2_000_000


def test_a_film_is_made_of_what_lies_there(tmp_path: Path) -> None:
    assert panels.film_strip(tmp_path / "absent") is None
    (tmp_path / "check_001.png").write_bytes(b"no picture")
    Image.new("RGB", (9, 9)).save(tmp_path / "check_002.png")
    assert panels.film_strip(tmp_path) is None
    whole = panels.draw(tmp_path, 4, checked((64, 64)), CLASSES, row(4))
    assert whole is not None
    (tmp_path / "check_003.png").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    made = panels.film_strip(tmp_path)
    assert made is not None
    with Image.open(made[0]) as strip:
        assert strip.width > 4 * panels.NARROWEST
