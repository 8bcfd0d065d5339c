"""A finished demo folder from the page in demo/ and a hand-made network, and a server for it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np

from segwright.export.web_runtime import PAIRS, VERSION
from tests.demo.toys import HW, answer, toy_network

PAGE = Path(__file__).resolve().parents[2] / "demo"
SEED, PATCH, ROWS, COLUMNS = 7, 16, 16, 12


def patches(size_hw: HW, seed: int = SEED, patch: int = PATCH) -> np.ndarray:
    """The known picture of the self-test, drawn as demo/selftest.js does."""
    rows, columns = -(-size_hw[0] // patch), -(-size_hw[1] // patch)
    state, values = seed, []
    for _ in range(rows * columns * 3):
        state = (state * 1664525 + 1013904223) % 2**32
        values.append(state >> 24)
    coarse = np.array(values, np.uint8).reshape(rows, columns, 3)
    return coarse.repeat(patch, axis=0).repeat(patch, axis=1)[: size_hw[0], : size_hw[1]]


def selftest(network: bytes, size_hw: HW) -> dict[str, Any]:
    probabilities = answer(network, patches(size_hw))
    rows = ((np.arange(ROWS) + 0.5) * size_hw[0] / ROWS).astype(int)
    columns = ((np.arange(COLUMNS) + 0.5) * size_hw[1] / COLUMNS).astype(int)
    expected = np.round(255 * probabilities[:, rows][:, :, columns]).astype(int)
    return {
        "seed": SEED,
        "patch": PATCH,
        "rows": ROWS,
        "columns": COLUMNS,
        "probabilities": expected.ravel().tolist(),
        "tolerance": {"fp32": 0.01, "fp16": 0.03},
    }


def facts(path: Path, folder: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {
        "path": path.relative_to(folder).as_posix(),
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def build_site(
    folder: Path,
    runtime: Path,
    *,
    size_hw: HW = (640, 480),
    classes: int = 2,
    networks: dict[str, bytes] | None = None,
) -> Path:
    """Write page, models, runtime and manifest.

    Args:
        folder: to be made.
        runtime: where the four files of ONNX Runtime Web lie.
        size_hw: height and width of the model.
        classes: 2 or 3, for the toy networks.
        networks: precision -> ONNX file, in place of the toys.

    Returns:
        `folder`.
    """
    shutil.copytree(PAGE, folder)
    (folder / "models").mkdir()
    (folder / "runtime").mkdir()
    networks = networks or {p: toy_network(size_hw, classes=classes, precision=p) for p in ("fp16", "fp32")}
    models = {}
    for precision, data in networks.items():
        path = folder / "models" / f"model.{precision}.onnx"
        path.write_bytes(data)
        models[precision] = facts(path, folder)
    files = []
    for kind in PAIRS.values():
        for name in kind.values():
            path = folder / "runtime" / name
            path.hardlink_to(runtime / name)
            files.append(facts(path, folder))
    names = ("background", "red", "blue")[:classes]
    colours = ((0, 0, 0), (255, 120, 0), (60, 90, 255))
    manifest = {
        "format": 1,
        "title": "Red things, live",
        "licence": "Apache-2.0",
        "classes": [
            {"name": n, "colour": c, "background": n == "background"} for n, c in zip(names, colours, strict=False)
        ],
        "threshold": 0.5,
        "size": {"width": size_hw[1], "height": size_hw[0]},
        "fit": "crop",
        "runtime": {
            "version": VERSION,
            "files": files,
            **{name: {part: f"runtime/{file}" for part, file in kind.items()} for name, kind in PAIRS.items()},
        },
        "models": models,
        "input": {"name": "input_1", "layout": "nhwc", "type": "uint8", "channels": 3},
        "outputs": {"probabilities": "probabilities"},
        "selftest": selftest(networks["fp32"], size_hw),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


class Handler(SimpleHTTPRequestHandler):
    """Files with the right types, and, where asked, the headers that isolate a page from others."""

    extensions_map = {  # noqa: RUF012
        **SimpleHTTPRequestHandler.extensions_map,
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        ".onnx": "application/octet-stream",
    }
    protocol_version = "HTTP/1.1"

    def __init__(self, *args: Any, isolated: bool, **kwargs: Any) -> None:
        self.isolated = isolated
        super().__init__(*args, **kwargs)

    def end_headers(self) -> None:
        if self.isolated:
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, *args: Any) -> None:
        """Silence."""


@contextmanager
def served(folder: Path, *, isolated: bool = False) -> Iterator[str]:
    """Address of a folder, while the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder), isolated=isolated))
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
