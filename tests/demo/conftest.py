"""Chromium with made-up cameras, Node, and ONNX Runtime Web, for the tests of the browser demo."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from segwright.export.web_runtime import web_runtime
from tests.demo.site import build_site, served
from tests.demo.visit import CAMERA, FLAGS

TINY = (64, 48)
"""Height and width of most toy networks: software WebGPU takes seconds for more."""


def program(*names: str) -> str:
    """Path of the first of these programs that is installed; skips, or fails where nothing may be skipped."""
    for name in names:
        if found := shutil.which(name):
            return found
    if os.environ.get("SEGWRIGHT_NO_SKIPS"):
        pytest.fail(f"{names[0]} is not installed, and SEGWRIGHT_NO_SKIPS is set")
    pytest.skip(f"{names[0]} is not installed")


@pytest.fixture(scope="session")
def node() -> str:
    return program("node", "nodejs")


@pytest.fixture(scope="session")
def runtime() -> Path:
    """The folder of the four files of ONNX Runtime Web, brought once by npm."""
    program("npm")
    return next(iter(web_runtime().values())).parent


@pytest.fixture(scope="session")
def tiny_site(tmp_path_factory: pytest.TempPathFactory, runtime: Path) -> Path:
    """A page with a toy network of `TINY` size; read only."""
    return build_site(tmp_path_factory.mktemp("tiny") / "site", runtime, size_hw=TINY)


@pytest.fixture(scope="session")
def full_site(tmp_path_factory: pytest.TempPathFactory, runtime: Path) -> Path:
    """A page with a toy network of 480x640; read only."""
    return build_site(tmp_path_factory.mktemp("full") / "site", runtime)


@pytest.fixture
def broken_site(tmp_path: Path, tiny_site: Path) -> Path:
    """A copy of `tiny_site` to spoil. Files are hard links: delete before writing."""
    return Path(shutil.copytree(tiny_site, tmp_path / "site", copy_function=os.link))


@pytest.fixture(scope="session")
def tiny_address(tiny_site: Path) -> Iterator[str]:
    with served(tiny_site) as address:
        yield address


Launch = Callable[..., Any]


@pytest.fixture(scope="session")
def driver() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield playwright.chromium


@pytest.fixture(scope="session")
def launch(driver: Any) -> Launch:
    """Start a browser with further flags; the caller closes it."""
    chromium = program("chromium", "chromium-browser", "google-chrome")

    def start(*flags: str) -> Any:
        return driver.launch(executable_path=chromium, args=[*FLAGS, *flags])

    return start


@pytest.fixture(scope="session")
def browser(launch: Launch) -> Iterator[Any]:
    """With two built-in cameras and no GPU, as most machines of continuous integration."""
    running = launch(CAMERA[0], f"{CAMERA[1]}=device-count=2")
    yield running
    running.close()
