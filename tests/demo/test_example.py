"""The browser program of an exported model's card, run in Chromium beside the Python program's answer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segwright.classes import Classes
from segwright.engines.contract import ModelFacts
from segwright.engines.interface import Interface
from segwright.export.card_code import examples
from segwright.export.request import ExportRequest
from segwright.export.web_runtime import PAIRS
from segwright.preprocess import place_image, turned
from tests.demo.conftest import TINY
from tests.demo.site import served
from tests.demo.toys import answer, scene, toy_network
from tests.demo.visit import PATIENCE, visiting


@pytest.mark.parametrize("fit", ["pad", "stretch"])
def test_it_turns_places_and_answers(browser: Any, runtime: Path, tmp_path: Path, fit: Any) -> None:
    facts = ModelFacts(
        name="toy",
        classes=Classes(names=("background", "red")),
        size_hw=TINY,
        fit=fit,
        turn=True,
        interface=Interface(batch=1, outputs={"probabilities": "probabilities"}),
    )
    (program,) = re.findall(
        r"```html\n(.*?)```", "\n".join(examples(tmp_path / "m.onnx", facts, ExportRequest(batch=1))), re.DOTALL
    )
    network = toy_network(TINY)
    (tmp_path / "m.onnx").write_bytes(network)
    (tmp_path / "index.html").write_text(f"<!doctype html><meta charset=utf-8>{program}")
    (tmp_path / "favicon.ico").touch()
    place = tmp_path / "onnxruntime-web" / "dist"
    place.mkdir(parents=True)
    for name in PAIRS["webgpu"].values():
        (place / name).symlink_to(runtime / name)
    lying = scene((150, 256))
    Image.fromarray(lying).save(tmp_path / "picture.jpg", quality=95)
    with served(tmp_path) as address, visiting(browser, "about:blank", own_host=address.split("/")[2]) as visit:
        with visit.page.expect_console_message(lambda said: said.type == "log", timeout=PATIENCE) as said:
            visit.page.goto(address)
        shape, values = (argument.json_value() for argument in said.value.args)
    assert shape == [1, 1, *TINY]
    found = np.array([values[str(at)] for at in range(len(values))] if isinstance(values, dict) else values)
    expected = answer(network, place_image(turned(lying), TINY, fit))
    wanted, given = expected[0] > 0.5, found.reshape(TINY) > 0.5
    assert wanted.sum() > 100
    assert (wanted & given).sum() / (wanted | given).sum() > 0.8, "a canvas scales a little differently"
