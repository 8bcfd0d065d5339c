"""Pictures of results, checked pixel by pixel where a promise is made."""

from __future__ import annotations

import numpy as np
import pytest

from segwright import render
from segwright.classes import Classes

CARD = Classes(names=("background", "card"))
MANY = Classes(names=("background", "card", "hand", "Straße"))


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


@pytest.fixture
def class_map() -> np.ndarray:
    found = np.zeros((40, 60), np.uint8)
    found[10:30, 20:50] = 1
    found[0:5, 0:5] = 255
    return found


def test_an_overlay_tints_only_what_was_found(image: np.ndarray, class_map: np.ndarray) -> None:
    before = image.copy()
    shown = render.overlay(image, class_map, CARD)
    assert shown.shape == image.shape
    assert shown.dtype == np.uint8
    assert np.array_equal(image, before), "the picture that was given must stay as it was"
    assert np.array_equal(shown[class_map != 1], image[class_map != 1])
    middle = image[15:25, 30:40] * 0.55 + np.array([0, 255, 255]) * 0.45
    assert np.abs(shown[15:25, 30:40] - middle).max() <= 1
    assert (shown[10, 20:50] == (0, 255, 255)).all(), "the outline is opaque"


def test_an_overlay_of_nothing_is_the_picture(image: np.ndarray) -> None:
    image.flags.writeable = False
    assert np.array_equal(render.overlay(image, np.zeros((40, 60), np.uint8), CARD), image)


def test_a_colour_mask_is_the_palette(class_map: np.ndarray) -> None:
    painted = render.colour_mask(class_map, CARD)
    assert tuple(painted[20, 30]) == (0, 255, 255)
    assert tuple(painted[35, 55]) == (0, 0, 0)
    assert tuple(painted[0, 0]) == (128, 128, 128)


def test_errors_are_red_and_blue(image: np.ndarray, class_map: np.ndarray) -> None:
    prediction = np.roll(class_map, 3, axis=1)
    prediction[class_map == 255] = 1
    shown = render.errors(image, class_map, prediction)
    assert tuple(shown[20, 20]) == render.MISSED
    assert tuple(shown[20, 51]) == render.INVENTED
    right = (class_map == prediction) | (class_map == 255)
    assert not (shown[right] == render.MISSED).all(axis=1).any()
    assert not (shown[right] == render.INVENTED).all(axis=1).any()


@pytest.mark.parametrize(("truth", "show_errors", "columns"), [(True, False, 3), (True, True, 4), (False, True, 2)])
def test_a_panel_has_a_column_for_each_thing(
    image: np.ndarray, class_map: np.ndarray, truth: bool, show_errors: bool, columns: int
) -> None:
    made = render.panel(
        image,
        class_map if truth else None,
        class_map,
        CARD,
        height=80,
        caption="a long key " * 9,
        show_errors=show_errors,
    )
    assert made.shape == (80 + render.CAPTION, columns * (120 + render.GAP) - render.GAP, 3)
    assert made.dtype == np.uint8


def test_a_sheet_holds_panels_of_different_sizes() -> None:
    panels = [np.full((h, w, 3), n + 100, np.uint8) for n, (h, w) in enumerate([(20, 30), (40, 10), (5, 5)])]
    made = render.sheet(panels, columns=2)
    gap = 2 * render.GAP
    assert made.shape == (40 + gap + 5 + gap, 2 * (30 + gap), 3)
    for number, picture in enumerate(panels):
        assert (made == number + 100).all(axis=2).sum() == picture.shape[0] * picture.shape[1]
    with pytest.raises(ValueError, match="at least one"):
        render.sheet([])


def test_a_legend_shows_every_colour_and_grows_downwards() -> None:
    wide, narrow = render.legend(MANY, width=800), render.legend(MANY, width=120)
    assert wide.shape[1] == 800
    assert narrow.shape[0] > wide.shape[0]
    for picture in (wide, narrow):
        found = {tuple(int(v) for v in pixel) for pixel in picture.reshape(-1, 3)}
        assert set(MANY.colours) <= found


def test_letters_the_font_lacks_lose_their_accents() -> None:
    accented, plain = (render.legend(Classes(names=("a", name))) for name in ("Café", "Cafe"))
    assert np.array_equal(accented, plain)
