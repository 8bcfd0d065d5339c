"""Small stand-ins for the parts of a demo: a page of three files, a runtime of some hundred bytes, a model of one layer."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segwright.classes import Classes
from segwright.engines.contract import ModelFacts
from segwright.export import web_runtime, webpage
from segwright.export.onnx import write_facts

README = """---
title: A page
emoji: 🂡
sdk: static
app_file: index.html
app_build_command: npm pack something
license: mit
short_description: Something
custom_headers:
  cross-origin-embedder-policy: require-corp
---

# A page
"""

PAGE = {
    "index.html": '<!doctype html><title>A page</title><link href="style.css"><script type="module" src="app.js"></script>\n',
    "style.css": "body { color: black }\n",
    "app.js": "// see https://example.org/ for more\nexport const space = 'http://www.w3.org/2000/svg';\n",
    "README.md": README,
    "notes.txt": "is not part of the page\n",
}

RUNTIME = {name: f"{name}: stands in for the runtime. ".encode() * 9 for name in web_runtime.FILES}


def stand_in_page(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the page, and let it be found there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in PAGE.items():
        (folder / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(webpage, "page_folder", lambda: folder)
    return folder


def stand_in_runtime(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the runtime, and let its hashes be the pinned ones."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in RUNTIME.items():
        (folder / name).write_bytes(data)
        known = web_runtime.RuntimeFile(len(data), hashlib.sha256(data).hexdigest())
        monkeypatch.setitem(web_runtime.FILES, name, known)
    return folder


def package(contents: dict[str, bytes]) -> bytes:
    """What `npm pack` brings."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in contents.items():
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def stand_in_npm(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """A program called npm, and no other, on PATH.

    Args:
        script: lines of sh; `$0.said` is a good place to write down how it was called.
    """
    folder.mkdir(parents=True, exist_ok=True)
    npm = folder / "npm"
    npm.write_text(f"#!/bin/sh\n{script}\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return npm


def toy_export(
    path: Path,
    *,
    names: tuple[str, ...] = ("background", "card"),
    size_hw: tuple[int, int] = (48, 40),
    licence: str = "Apache-2.0",
    weight: float = 0.0,
    half: bool = False,
    **facts: Any,
) -> Path:
    """An exported file in our form around one convolution, whose answer varies with the picture.

    Args:
        weight: of the first bias, where it is not 0.
        half: an FP16 export.
        facts: further fields of `ModelFacts`.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    classes = Classes(names=names)
    rng = np.random.default_rng(0)
    kernel = rng.normal(0, 2.5, (classes.channels, 3, 3, 3)).astype(np.float32)
    bias = -kernel.sum((1, 2, 3)) / 2
    if weight:
        bias[0] = weight
    inside = np.float16 if half else np.float32
    number = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    constants = {
        "scale": np.float32(255),
        "kernel": kernel.astype(inside),
        "bias": bias.astype(inside),
        "threshold": np.float32(0.5),
    }
    one = classes.channels == 1
    nodes = [
        helper.make_node("Cast", ["input_1"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["numbers"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Div", ["planes", "scale"], ["image"]),
        helper.make_node("Cast", ["image"], ["inside"], to=number),
        helper.make_node("Conv", ["inside", "kernel", "bias"], ["scores"], pads=[1, 1, 1, 1]),
        helper.make_node("Cast", ["scores"], ["logits"], to=TensorProto.FLOAT),
        helper.make_node("Sigmoid", ["logits"], ["probabilities"])
        if one
        else helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("GreaterOrEqual", ["probabilities", "threshold"], ["chosen"])
        if one
        else helper.make_node("ArgMax", ["probabilities"], ["chosen"], axis=1, keepdims=0),
        helper.make_node("Cast", ["chosen"], ["numbered"], to=TensorProto.UINT8),
        helper.make_node("Reshape", ["numbered", "shape"], ["classes"]),
    ]
    height, width = size_hw
    tensors = [numpy_helper.from_array(np.array(value), name) for name, value in constants.items()]
    tensors.append(numpy_helper.from_array(np.array([-1, height, width]), "shape"))
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("input_1", TensorProto.UINT8, ["batch", height, width, 3])],
        [
            helper.make_tensor_value_info("classes", TensorProto.UINT8, ["batch", height, width]),
            helper.make_tensor_value_info(
                "probabilities", TensorProto.FLOAT, ["batch", classes.channels, height, width]
            ),
        ],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    known: dict[str, Any] = {
        "name": "toy",
        "classes": classes,
        "size_hw": size_hw,
        "fit": "pad",
        "provenance": {"licence": licence},
    }
    write_facts(model, ModelFacts(**(known | facts)), certificate="{}")
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path
