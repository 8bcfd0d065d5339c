"""A model in a web page: built into a finished folder, checked, served."""

from __future__ import annotations

import dataclasses
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from segwright.errors import GateError, ModelError

USUAL_NAMES = {"best", "last", "model", "model_fp16"}
"""Files of a run; the run's folder says more."""

if TYPE_CHECKING:
    from segwright.export.web_check import PageFinding
    from segwright.export.web_models import WebModels


def build_demo(
    model: Path,
    out: Path,
    *,
    data: Path | None = None,
    classes_csv: Path | None = None,
    limit: int = 64,
    runtime: Path | None = None,
    title: str = "",
    licence: str = "",
    space: bool = False,
    console: Console | None = None,
) -> WebModels:
    """Write the browser demo of a model: a static folder that any web server can hand out.

    Args:
        model: run folder, checkpoint or exported .onnx file.
        out: a new or empty folder, or an older demo to replace.
        data: pictures for the proof of a run's two exports; None takes the data the run was trained on.
        classes_csv: class table to use instead of the data's own.
        limit: pictures of the proof at most.
        runtime: folder with the files of ONNX Runtime Web; None brings them by npm, once.
        title: shown at the top of the page; empty makes one of the model's name.
        licence: of the model; empty takes what it says of itself.
        space: add what a Hugging Face Space needs.
        console: where progress is shown; None is silent.

    Returns:
        What the page runs.

    Raises:
        GateError: an exported file differs from its model; nothing was written.
        UserError: model, data, runtime or place cannot be used.
    """
    from segwright import checkpoint
    from segwright.engines.contract import ModelFacts
    from segwright.export.web_models import suitable, web_models
    from segwright.export.web_runtime import web_runtime
    from segwright.export.webpage import page_folder, replaceable, write_page

    # What can be refused at once is refused before the long work.
    page_folder()
    replaceable(out)
    if is_demo(model):
        raise ModelError(
            f"{model} is a finished demo; look at it with --serve, or name the model that it was made from."
        )
    exported = model.suffix.lower() == ".onnx" and not model.is_dir()
    if exported:
        models = web_models([model])
    else:
        suitable(ModelFacts.of(checkpoint.load(checkpoint.checkpoint_file(model))), model)
    files = web_runtime(runtime)
    if not exported:
        models = _exported(model, data=data, classes_csv=classes_csv, limit=limit, console=console)
    write_page(models, files, out, title=title or title_of(model), licence=licence, space=space)
    return models


def check_demo(folder: Path) -> list[PageFinding]:
    """What is wrong with a finished demo; see `export/web_check.py`.

    Raises:
        UserError: it is no demo.
    """
    from segwright.export.web_check import check_page

    return check_page(folder)


def serve_demo(
    folder: Path, *, host: str = "127.0.0.1", port: int = 8000, tell: Callable[[str], None] | None = None
) -> None:
    """Serve a finished demo until Ctrl-C.

    Args:
        folder: where it lies.
        host: address to listen on; only this machine's own is closed to others.
        port: TCP port; 0 takes a free one.
        tell: called with the page's address once it can be opened.

    Raises:
        UserError: no demo there, or the port cannot be used.
    """
    from segwright.export.web_server import DemoServer

    with DemoServer(folder, host, port) as server:
        try:
            if tell is not None:
                tell(server.address)
            server.serve_forever()
        except KeyboardInterrupt:
            return  # this is how it is meant to end


def is_demo(folder: Path) -> bool:
    """Whether a folder looks like a finished demo."""
    return (folder / "manifest.json").is_file() and (folder / "index.html").is_file()


def name_of(model: Path) -> str:
    """What a model is called after its file or run folder."""
    whole = model.resolve()
    stem = whole.name if whole.is_dir() else whole.stem
    return whole.parent.name if stem in USUAL_NAMES and whole.parent.name else stem


def title_of(model: Path) -> str:
    """The same as words: `card_segmentation.onnx` is "Card segmentation"."""
    words = " ".join(re.findall(r"[^\W_]+", name_of(model))) or "Segmentation"
    return words[0].upper() + words[1:]


def _exported(
    model: Path, *, data: Path | None, classes_csv: Path | None, limit: int, console: Console | None
) -> WebModels:
    """Both files of a run, each proven on real pictures as `segwright export` does.

    Raises:
        GateError: the FP32 file differs from the model.
        UserError: the model or its data cannot be used.
    """
    from segwright.export.web_models import web_models
    from segwright.workflows.shipping import export_model

    made, without = [], ""
    with tempfile.TemporaryDirectory(prefix="segwright-demo-") as where:
        for precision in ("fp32", "fp16"):
            path = Path(where) / f"model_{precision}.onnx"
            try:
                export_model(
                    model, path, data=data, precision=precision, limit=limit, classes_csv=classes_csv, console=console
                )
                made.append(path)
            except GateError as error:
                why = f"did not pass its proof; see where it differs: segwright export {model} --precision {precision}"
                if precision == "fp32":
                    raise GateError(f"The FP32 export of {model} {why}") from error
                without = f"the export {why}"
            except ModelError as error:
                if precision == "fp32":
                    raise
                without = str(error)
        models = web_models(made)
    return (
        dataclasses.replace(models, files={"fp32": models.files["fp32"]}, without_fp16=without) if without else models
    )
