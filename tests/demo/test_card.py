"""The real card model in the page that `segwright demo` makes of it: before a camera, and beside Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import segwright
from segwright.export.web_models import WebModels
from segwright.workflows.showing import build_demo
from tests.demo.conftest import Launch
from tests.demo.site import served
from tests.demo.toys import answer
from tests.demo.visit import CAMERA, Visit, visiting, write_y4m

MODEL = Path(__file__).resolve().parents[2] / "train" / "exported_models" / "card_segmentation.onnx"
PHOTOGRAPH = "IMG_2439"
UPRIGHT = (480, 640)


@pytest.fixture(scope="module")
def card_models(runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, WebModels]:
    """The finished folder, and the models in it."""
    folder = tmp_path_factory.mktemp("card") / "demo"
    return folder, build_demo(MODEL, folder, runtime=runtime)


def drawn() -> tuple[np.ndarray, np.ndarray]:
    """A drawn scene with cards, upright, and where they are."""
    scene = segwright.draw_scene(np.random.default_rng(4))
    assert scene.image.shape[:2] == UPRIGHT[::-1]
    return scene.image, scene.mask > 0


def photograph(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """An upright photograph of cards, brought to the model's size, and where they are."""
    place = folder / "cards-real" / "train"
    image = np.asarray(Image.open(place / "images" / f"{PHOTOGRAPH}.jpg").convert("RGB").resize(UPRIGHT))
    mask = np.asarray(Image.open(place / "masks" / f"{PHOTOGRAPH}.png").convert("L").resize(UPRIGHT))
    return image, mask > 127


def shown_mask(visit: Visit) -> np.ndarray:
    visit.page.check("input[value=mask]", force=True)
    return visit.canvas()[..., 1] >= 128


@pytest.mark.parametrize(("kind", "least_iou"), [("drawn", 0.5), ("photograph", 0.85)])
def test_cards_before_a_lying_camera(
    launch: Launch,
    card_models: tuple[Path, WebModels],
    tmp_path: Path,
    kind: str,
    least_iou: float,
    request: pytest.FixtureRequest,
) -> None:
    image, truth = drawn() if kind == "drawn" else photograph(request.getfixturevalue("shared_data"))
    film = write_y4m(tmp_path / "cards.y4m", np.rot90(image, -1))  # as a camera that lies sees it
    browser = launch(*CAMERA, f"--use-file-for-fake-video-capture={film}")
    with served(card_models[0]) as address, visiting(browser, address) as visit:
        visit.start()
        visit.frames(1)
        found = shown_mask(visit)
        assert visit.page.text_content("#legend li:visible").startswith("card")
    browser.close()
    expected = segwright.load(MODEL).predict(image).class_map == 1
    assert (found == expected).mean() > 0.99, "as Python finds them, but for what a film does to colours"
    assert (found & truth).sum() / (found | truth).sum() > least_iou, "where they are"


def test_the_page_answers_as_python_does(browser: Any, card_models: tuple[Path, WebModels], tmp_path: Path) -> None:
    folder, models = card_models
    image, _ = drawn()
    Image.fromarray(image).save(tmp_path / "cards.png")
    expected = answer(models.files["fp32"], image)[0] >= models.facts.threshold
    with served(folder) as address, visiting(browser, address + "?precision=fp32") as visit:
        visit.show(tmp_path / "cards.png")
        assert (visit.facts["backend"], visit.facts["precision"]) == ("wasm", "fp32")
        visit.page.check("input[value=mask]", force=True)
        found = visit.canvas()[..., 1] >= 128
    assert expected.any()
    assert (found == expected).mean() > 0.999
