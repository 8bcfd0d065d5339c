"""Pictures and videos from files: the page's own output beside Python's, the controls, and those who use no mouse."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.demo.site import build_site, served
from tests.demo.toys import BLUE, RED, answer, random_network, scene, toy_network, upright
from tests.demo.visit import visiting

CYAN = (0, 255, 255)


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twice the size of the tiny networks, upright, red disc and bar."""
    path = tmp_path_factory.mktemp("picture") / "scene.png"
    Image.fromarray(scene((128, 96))).save(path)
    return path


def only_the_mask(visit: Any) -> None:
    visit.page.check("input[value=mask]", force=True)


def test_the_page_answers_as_python_does(browser: Any, runtime: Path, tmp_path: Path) -> None:
    """The mask on the screen against Python's ONNX Runtime, pixel by pixel."""
    size_hw = (160, 128)
    network = random_network(size_hw)
    site = build_site(tmp_path / "site", runtime, size_hw=size_hw, networks={"fp32": network})
    noise = cv2.GaussianBlur(np.random.default_rng(3).normal(0, 1, (*size_hw, 3)), (0, 0), 4)
    image = (128 + 60 * noise / noise.std()).clip(0, 255).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "picture.png")
    with served(site) as address, visiting(browser, address) as visit:
        visit.show(tmp_path / "picture.png")
        assert (visit.facts["backend"], visit.facts["precision"]) == ("wasm", "fp32")
        only_the_mask(visit)
        found = visit.canvas()[..., 1] >= 128
    expected = answer(network, image)[0] >= 0.5
    assert 0.1 < expected.mean() < 0.9, "both classes occur"
    assert (found == expected).mean() > 0.999


def test_several_classes_have_their_colours_and_a_legend(browser: Any, runtime: Path, tmp_path: Path) -> None:
    site = build_site(tmp_path / "site", runtime, size_hw=(64, 48), classes=3)
    image = scene((64, 48), blue=True)
    Image.fromarray(image).save(tmp_path / "picture.png")
    with served(site) as address, visiting(browser, address) as visit:
        visit.show(tmp_path / "picture.png")
        only_the_mask(visit)
        found = visit.canvas()
        legend = visit.page.locator("#legend li:visible").all_text_contents()
        chips = visit.page.evaluate(
            "() => [...document.querySelectorAll('#legend .chip')].map((c) => getComputedStyle(c).backgroundColor)"
        )
    red, blue = ((image == colour).all(axis=2) for colour in (RED, BLUE))
    assert (found[red] == (255, 120, 0)).all() and (found[blue] == (60, 90, 255)).all()
    assert (found[~(red | blue)] == 0).all()
    assert legend == [f"red{round(100 * red.mean())} %", f"blue{round(100 * blue.mean())} %"]
    assert chips[1:] == ["rgb(255, 120, 0)", "rgb(60, 90, 255)"]


def test_views_sliders_and_turning(browser: Any, tiny_address: str, picture: Path) -> None:
    image = upright(scene((128, 96)), (64, 48))
    inside = cv2.erode((image == RED).all(axis=2).astype(np.uint8), np.ones((3, 3))) > 0
    with visiting(browser, tiny_address) as visit:
        page = visit.page
        visit.show(picture)
        page.check("input[value=picture]", force=True)
        assert np.abs(visit.canvas().astype(int) - image)[inside].max() <= 4
        only_the_mask(visit)
        assert (visit.canvas()[inside] == CYAN).all()
        page.check("input[value=both]", force=True)
        page.fill("#opacity", "1")
        assert np.abs(visit.canvas().astype(int) - CYAN)[inside].max() <= 2
        page.fill("#opacity", "0")
        assert np.abs(visit.canvas().astype(int) - image)[inside].max() <= 4
        assert page.text_content("#opacity-value") == "0 %"

        only_the_mask(visit)
        areas = []
        for threshold in ("0.01", "0.5", "0.99"):
            page.fill("#threshold", threshold)
            page.wait_for_timeout(300)
            areas.append((visit.canvas()[..., 1] >= 128).sum())
        assert areas[0] > areas[1] > areas[2] > 0
        page.fill("#threshold", "0.5")

        upright_mask = visit.canvas()
        frames = int(visit.facts["frames"])
        page.click("#turn")
        page.click("#turn")
        visit.wait_until(lambda facts: int(facts["frames"]) > frames)
        page.wait_for_timeout(300)
        differs = (visit.canvas()[..., 1] >= 128) != (np.rot90(upright_mask, 2)[..., 1] >= 128)
        assert differs.mean() < 0.02


def test_snapshot(browser: Any, tiny_address: str, picture: Path) -> None:
    with visiting(browser, tiny_address, accept_downloads=True) as visit:
        visit.show(picture)
        shown = visit.canvas()
        with visit.page.expect_download() as download:
            visit.page.click("#snapshot")
        assert download.value.suggested_filename.endswith(".png")
        saved = np.asarray(Image.open(io.BytesIO(Path(download.value.path()).read_bytes())).convert("RGB"))
    assert (saved == shown).all()


def test_a_video_file(browser: Any, tiny_address: str, tmp_path: Path) -> None:
    film = tmp_path / "film.webm"
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter.fourcc(*"VP80"), 25, (96, 128))
    assert writer.isOpened()
    for _ in range(20):
        writer.write(scene((128, 96))[..., ::-1])
    writer.release()
    with visiting(browser, tiny_address) as visit:
        visit.wait_for("ready")
        visit.page.set_input_files("#file", film)
        visit.wait_for("running")
        visit.frames(25)  # more than the file has: it plays on
        only_the_mask(visit)
        found = visit.canvas()[..., 1] >= 128
    expected = (upright(scene((128, 96)), (64, 48)) == RED).all(axis=2)
    assert (found & expected).sum() / (found | expected).sum() > 0.8


def test_dropping_a_file(browser: Any, tiny_address: str, picture: Path) -> None:
    with visiting(browser, tiny_address) as visit:
        visit.wait_for("ready")
        data = visit.page.evaluate_handle(
            """async (bytes) => {
                const transfer = new DataTransfer();
                transfer.items.add(new File([new Uint8Array(bytes)], 'scene.png', { type: 'image/png' }));
                return transfer;
            }""",
            list(picture.read_bytes()),
        )
        visit.page.dispatch_event("#stage", "drop", {"dataTransfer": data})
        visit.wait_until(lambda facts: facts["shown"] == "picture" and facts.get("frames") == "1")


def test_by_keyboard_alone_and_with_names_for_everything(browser: Any, tiny_address: str) -> None:
    with visiting(browser, tiny_address) as visit:
        visit.wait_for("ready")
        page = visit.page
        seen = []
        for _ in range(20):
            page.keyboard.press("Tab")
            seen.append(page.evaluate("() => document.activeElement.id || document.activeElement.value"))
            if seen[-1] == "start":
                break
        assert seen == ["camera", "start"]
        page.keyboard.press("Enter")
        visit.wait_for("running")
        for wanted in ("open", "both", "threshold", "opacity", "turn", "snapshot", "fullscreen"):
            page.keyboard.press("Tab")
            assert page.evaluate("() => document.activeElement.id || document.activeElement.value") == wanted
        nameless = page.evaluate(
            """() => [...document.querySelectorAll('button, select, input, canvas, progress')].filter((each) =>
                !(each.getAttribute('aria-label') || each.labels?.[0]?.textContent || each.textContent.trim())).map((e) => e.id)"""
        )
        assert nameless == []
        page.locator("#canvas[aria-label^=Picture]").wait_for()  # said a little after the mask


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(browser: Any, tiny_address: str, picture: Path, scheme: str) -> None:
    phone: dict[str, Any] = {
        "viewport": {"width": 360, "height": 720},
        "is_mobile": True,
        "has_touch": True,
        "color_scheme": scheme,
    }
    with visiting(browser, tiny_address, **phone) as visit:
        visit.show(picture)
        page = visit.page
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
        box = page.locator("#canvas").bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 360 and box["height"] <= 720
        small = page.evaluate(
            """() => [...document.querySelectorAll('#controls button, #controls select')].filter((each) =>
                each.checkVisibility() && each.getBoundingClientRect().height < 40).map((each) => each.id)"""
        )
        assert small == [], "too small for a finger"
        ground, ink = page.evaluate(
            "() => [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        )
        assert (brightness(ground) < brightness(ink)) == (scheme == "dark")


def brightness(colour: str) -> int:
    return sum(int(part) for part in colour[4:-1].split(","))


def test_toys_answer_as_they_should() -> None:
    """What the other tests rest on."""
    image = scene((64, 48))
    assert ((answer(toy_network((64, 48)), image)[0] >= 0.5) == (image == RED).all(axis=2)).all()
