"""Cameras of all shapes: what is shown and what the network is given are upright, uncropped where possible, never squashed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.demo.conftest import Launch
from tests.demo.site import served
from tests.demo.toys import RED, scene, upright
from tests.demo.visit import CAMERA, visiting, write_y4m

CYAN = np.array((0, 255, 255))
OPACITY = 0.45
SIZE = (640, 480)


def away_from_edges(image: np.ndarray) -> np.ndarray:
    """Pixels in whose neighbourhood nothing changes: film colours are halved in resolution, and resizing blurs."""
    span = cv2.dilate(image, np.ones((9, 9))).astype(int) - cv2.erode(image, np.ones((9, 9)))
    return span.max(axis=2) < 8


@pytest.mark.parametrize("shape", [(480, 640), (640, 480), (720, 1280)], ids=["landscape", "portrait", "1280x720"])
def test_a_scene_before_the_camera(launch: Launch, full_site: Path, tmp_path: Path, shape: tuple[int, int]) -> None:
    film = write_y4m(tmp_path / "scene.y4m", scene(shape))
    expected = upright(scene(shape), SIZE)
    browser = launch(*CAMERA, f"--use-file-for-fake-video-capture={film}")
    with served(full_site) as address, visiting(browser, address) as visit:
        visit.start()
        visit.frames(2)
        found = visit.canvas().astype(int)
        facts = visit.facts
        visible = visit.page.evaluate(
            "() => [...document.querySelectorAll('canvas')].filter((c) => c.checkVisibility()).map((c) => [c.width, c.height])"
        )
        shown = visit.page.evaluate("() => { const b = canvas.getBoundingClientRect(); return b.width / b.height; }")
        visit.wait_until(lambda _: visit.page.text_content("#delivered") == f"camera, {shape[1]} × {shape[0]}")
    browser.close()

    assert visible == [[480, 640]]
    assert abs(shown - 480 / 640) < 0.01
    assert facts["state"] == "running" and facts["backend"] == "wasm" and facts["precision"] == "fp16"
    steady = away_from_edges(expected)
    red = (expected == RED).all(axis=2)
    assert (red & steady).sum() > 5000 and (~red & steady).sum() > 200_000
    assert np.abs(found - expected)[steady & ~red].max() <= 6, (
        "the picture itself is not altered where nothing is found"
    )
    mixed = (1 - OPACITY) * np.array(RED) + OPACITY * CYAN
    assert np.abs(found - mixed)[steady & red].max() <= 8, "cyan lies on what is red"


def test_switching_cameras_while_running(browser: Any, tiny_address: str) -> None:
    with visiting(browser, tiny_address, permissions=["camera"]) as visit:
        visit.start()
        visit.frames(2)
        page = visit.page
        ids, names = page.evaluate(
            "() => [[...camera.options].map((o) => o.value), [...camera.options].map((o) => o.text)]"
        )
        assert len(ids) == 2 and all(names) and len(set(names)) == 2
        opened = "() => video.srcObject.getVideoTracks()[0].getSettings().deviceId"
        assert page.evaluate(opened) == page.input_value("#camera") == ids[0]
        page.evaluate("() => { globalThis.firstTrack = video.srcObject.getVideoTracks()[0]; }")
        page.select_option("#camera", ids[1])
        visit.wait_until(lambda _: page.evaluate("() => Boolean(video.srcObject)") and page.evaluate(opened) == ids[1])
        visit.wait_for("running")
        visit.frames(3)
        assert page.evaluate("() => globalThis.firstTrack.readyState") == "ended", "the first camera was let go"

        page.reload()
        visit.wait_for("ready")
        assert page.input_value("#camera") == ids[1], "the choice is remembered"


def test_names_come_with_permission(launch: Launch, tiny_address: str) -> None:
    browser = launch(CAMERA[1])
    with visiting(browser, tiny_address) as visit:
        visit.wait_for("ready")
        page = visit.page
        page.context.grant_permissions(["camera"])
        assert page.evaluate("() => camera.options[0].text") == "Camera"
        page.click("#names")
        visit.wait_until(lambda _: "fake" in page.evaluate("() => camera.options[0].text"))
        visit.wait_for("ready")
        assert page.is_hidden("#names")
        assert page.evaluate("() => video.srcObject") is None, "the camera was let go again"
    browser.close()


def test_plugging_a_camera_in(browser: Any, tiny_address: str) -> None:
    script = """
        globalThis.plugged = false;
        navigator.mediaDevices.enumerateDevices = async () =>
          globalThis.plugged ? [{ kind: 'videoinput', deviceId: 'a', label: 'New camera' }] : [];
    """
    with visiting(browser, tiny_address, script=script) as visit:
        visit.wait_for("ready")
        assert "No camera was found" in visit.facts["message"]
        assert visit.page.is_disabled("#start")
        visit.page.evaluate(
            "() => { plugged = true; navigator.mediaDevices.dispatchEvent(new Event('devicechange')); }"
        )
        visit.wait_until(lambda facts: facts["message"].startswith("Ready"))
        assert visit.page.is_enabled("#start")
        assert visit.page.evaluate("() => camera.options[0].text") == "New camera"


def test_a_phone_that_is_turned(browser: Any, tiny_address: str) -> None:
    """The delivered size changes under way: placement follows, though nobody asked anew."""
    source = """() => {
        const pad = Object.assign(document.createElement('canvas'), { width: 640, height: 480 });
        const paint = () => {
          const context = pad.getContext('2d');
          context.fillStyle = '#fff';
          context.fillRect(0, 0, pad.width, pad.height);
          context.fillStyle = '#f00';
          context.fillRect(0, 0, pad.width, pad.height / 4);  // the top quarter is red
          requestAnimationFrame(paint);
        };
        paint();
        globalThis.pad = pad;
        navigator.mediaDevices.getUserMedia = async () => pad.captureStream(30);
    }"""
    with visiting(browser, tiny_address) as visit:
        visit.wait_for("ready")
        visit.page.evaluate(source)
        visit.page.click("#start")
        visit.wait_for("running")
        visit.frames(2)
        visit.page.check("input[value=mask]", force=True)
        assert cyan_share(visit.canvas()[:, :8]) > 0.9, "lying: its top is now at the left"
        assert cyan_share(visit.canvas()[:, 24:]) == 0.0
        visit.page.evaluate("() => { pad.width = 480; pad.height = 640; }")
        visit.wait_until(lambda _: visit.page.evaluate("() => video.videoHeight") == 640)
        visit.frames(3)
        assert cyan_share(visit.canvas()[:12]) > 0.9, "upright: its top is at the top"
        assert cyan_share(visit.canvas()[24:]) == 0.0


def cyan_share(image: np.ndarray) -> float:
    return float(((image[..., 0] < 40) & (image[..., 1] > 200) & (image[..., 2] > 200)).mean())


def test_a_hidden_tab_rests(browser: Any, tiny_address: str) -> None:
    hide = """(hidden) => {
        Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
        document.dispatchEvent(new Event('visibilitychange'));
    }"""
    with visiting(browser, tiny_address) as visit:
        visit.start()
        visit.frames(2)
        visit.page.evaluate(hide, True)
        visit.page.wait_for_timeout(400)  # what was under way
        frames = visit.facts["frames"]
        visit.page.wait_for_timeout(600)
        assert visit.facts["frames"] == frames
        visit.page.evaluate(hide, False)
        visit.frames(3)


def test_a_camera_that_is_unplugged(browser: Any, tiny_address: str) -> None:
    with visiting(browser, tiny_address) as visit:
        visit.start()
        visit.page.evaluate("() => video.srcObject.getVideoTracks()[0].dispatchEvent(new Event('ended'))")
        visit.wait_for("error")
        assert "unplugged" in visit.facts["message"]
        visit.page.click("#retry")
        visit.wait_for("running")
        visit.frames(1)


def test_stop_lets_everything_go(browser: Any, tiny_address: str) -> None:
    with visiting(browser, tiny_address) as visit:
        visit.start()
        visit.frames(1)
        visit.page.evaluate("() => { globalThis.track = video.srcObject.getVideoTracks()[0]; }")
        assert visit.page.text_content("#start") == "Stop"
        visit.page.click("#start")
        visit.wait_for("ready")
        assert visit.page.evaluate("() => [track.readyState, video.srcObject]") == ["ended", None]
        visit.page.click("#start")
        visit.wait_for("running")
        visit.frames(1)


def test_impatience(browser: Any, tiny_address: str) -> None:
    """Stopped and started again with frames under way: nothing is stuck, nothing is left open."""
    with visiting(browser, tiny_address) as visit:
        visit.wait_for("ready")
        for pause in (0, 0, 15, 30, 60, 90):
            visit.page.click("#start")
            visit.wait_for("running")
            visit.page.wait_for_timeout(pause)
            visit.page.click("#start")
            visit.wait_for("ready")
        visit.page.click("#start")
        visit.wait_for("running")
        visit.frames(5)
        assert len(visit.page.workers) == 1
