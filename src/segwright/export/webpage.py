"""The browser demo of a model as a folder: the page, its models, its runtime, and a manifest that says what must be there.

The folder is finished: any web server can hand it out as it lies, and nothing in it reaches for another host. The same
model gives the same bytes every time.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import segwright
from segwright.errors import ModelError, OutputError, UserError
from segwright.export.web_answer import known_answer
from segwright.export.web_models import WebModels
from segwright.export.web_runtime import PAIRS, VERSION, sha256_of
from segwright.outputs import folder_being_written, require_free

FORMAT = 1
MANIFEST = "manifest.json"
LONGEST_MANIFEST = 8 * 1024 * 1024
"""Bytes; more is hostile or damaged."""

PAGE_FILES = {".html", ".css", ".js", ".svg"}

HUB_LICENCES = (
    *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0"),
    *("cc-by-nc-sa-4.0", "cc-by-nd-4.0", "gpl-3.0", "lgpl-3.0", "agpl-3.0", "mpl-2.0", "openrail", "unlicense"),
)
"""Licences that the front matter of a Space may name; any other is "other"."""

SHORTEST_DESCRIPTION = 60
"""Characters that a Space shows of its description."""

NO_PAGE = "This installation of segwright lacks the files of the page; install it again: pip install --force-reinstall segwright"

GIT_ATTRIBUTES = "".join(f"*.{kind} filter=lfs diff=lfs merge=lfs -text\n" for kind in ("onnx", "wasm"))
"""What is too large for plain git on the Hub."""


def write_page(
    models: WebModels,
    runtime: Mapping[str, Path],
    out: Path,
    *,
    title: str,
    licence: str = "",
    space: bool = False,
) -> Path:
    """Write the whole folder.

    Args:
        models: what it runs.
        runtime: the files of `web_runtime`.
        out: a new or empty folder, or one that this function wrote before.
        title: shown at the top.
        licence: of the model; empty takes what the model says of itself.
        space: add what a Hugging Face Space needs: README.md with its front matter, and .gitattributes.

    Returns:
        `out`.

    Raises:
        OutputError: the folder holds something that is not ours, or cannot be written.
        UserError: this installation has no page.
    """
    page = page_folder()
    licence = licence or models.licence
    replace = replaceable(out)
    answer = known_answer(models)
    with folder_being_written(out, replace=replace) as partial:
        page_files = [path for path in sorted(page.iterdir()) if path.suffix in PAGE_FILES]
        for path in page_files:
            shutil.copyfile(path, partial / path.name)
        if space:
            (partial / "README.md").write_text(_readme(page / "README.md", title, licence), encoding="utf-8")
            (partial / ".gitattributes").write_text(GIT_ATTRIBUTES, encoding="utf-8")
        for folder in ("models", "runtime"):
            (partial / folder).mkdir()
        for precision, data in models.files.items():
            (partial / "models" / f"model.{precision}.onnx").write_bytes(data)
        for name, path in runtime.items():
            shutil.copyfile(path, partial / "runtime" / name)
        text = _manifest(partial, models, title, licence, answer)
        (partial / MANIFEST).write_text(text, encoding="utf-8")
    return out


def page_folder() -> Path:
    """Where the page lies: in the package once that is installed, in the repository's `demo` folder before.

    Raises:
        UserError: in neither.
    """
    package = Path(segwright.__file__).parent
    for folder in (package / "demo", package.parents[1] / "demo"):
        if (folder / "index.html").is_file():
            return folder
    raise UserError(NO_PAGE)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a finished demo.

    Raises:
        ModelError: there is none, or it is not one of ours.
    """
    path = folder / MANIFEST
    try:
        if path.stat().st_size > LONGEST_MANIFEST:
            raise ValueError("it is impossibly long")
        raw = json.loads(path.read_bytes())
        if not isinstance(raw, dict) or raw.get("format") != FORMAT:
            raise ValueError(f"it is not of format {FORMAT}")
        listed_files(raw)
    except FileNotFoundError as error:
        raise ModelError(
            f"{path} does not exist, so this is no demo; make one with: segwright demo MODEL --out {folder}"
        ) from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}); check the path and its permissions.") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(
            f"{path} is no manifest of ours ({error}); make the demo again: segwright demo MODEL"
        ) from error
    return raw


def listed_files(manifest: Mapping[str, Any]) -> dict[str, tuple[int, str]]:
    """Every file that a manifest lists.

    Returns:
        (bytes, sha256) by the path inside the folder.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: the manifest is not as ours are, or names a path outside its folder.
    """
    entries = [*manifest["page"], *manifest["runtime"]["files"], *manifest["models"].values()]
    found: dict[str, tuple[int, str]] = {}
    for entry in entries:
        path, size, digest = entry["path"], entry["bytes"], entry["sha256"]
        if not re.fullmatch(r"\.?\w[\w.-]*(/\w[\w.-]*)*", path) or ".." in path:
            raise ValueError(f"{path!r} is no path inside the folder")
        if not isinstance(size, int) or not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise ValueError(f"{path} has no size or hash")
        found[path] = (size, digest)
    return found


def replaceable(out: Path) -> bool:
    """Whether `out` is a demo of ours in which nothing would be lost if it were written again.

    Raises:
        OutputError: it holds something that is not ours, or that somebody changed by hand, or nothing may be written there.
    """
    above = next(folder for folder in out.absolute().parents if folder.exists())
    if not os.access(above, os.W_OK):
        raise OutputError(f"{out} cannot be written, since {above} is closed to you; name another folder with --out.")
    if not os.path.isfile(out / MANIFEST):  # noqa: PTH113 - unlike Path's, it does not raise in a folder that may not be read
        require_free(out)
        return False
    try:
        listed = listed_files(read_manifest(out))
    except ModelError as error:
        raise OutputError(f"{out} holds a {MANIFEST} that is not ours; name another folder with --out.") from error
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if path.is_dir() or name == MANIFEST:
            continue
        if name not in listed:
            raise OutputError(
                f"{out} is a demo, but also holds {name}, which would be lost; move it, or name another folder with --out."
            )
        # Models and runtime are made again; what a person may have edited is not thrown away.
        if "/" not in name and sha256_of(path) != listed[name][1]:
            raise OutputError(
                f"{path} was changed since it was written, which would be lost; move it, or name another folder with --out."
            )
    return True


def _manifest(folder: Path, models: WebModels, title: str, licence: str, answer: dict[str, Any]) -> str:
    """The manifest's text, one line for each of its parts."""

    def entry(path: Path) -> dict[str, Any]:
        return {"path": path.relative_to(folder).as_posix(), "bytes": path.stat().st_size, "sha256": sha256_of(path)}

    facts = models.facts
    height, width = facts.size_hw
    parts: dict[str, Any] = {
        "format": FORMAT,
        "segwright": segwright.__version__,
        "title": title,
        "model": facts.name,
        "licence": licence,
        "classes": [
            {"name": name, "colour": list(colour), **({"background": True} if number == 0 else {})}
            for number, (name, colour) in enumerate(zip(facts.classes.names, facts.classes.colours, strict=True))
        ],
        "threshold": facts.threshold,
        "size": {"width": width, "height": height},
        "fit": "crop",
        "input": {"name": "input_1", "layout": "nhwc", "type": "uint8", "channels": 3},
        "outputs": {"probabilities": "probabilities"},
        "models": {name: entry(folder / "models" / f"model.{name}.onnx") for name in sorted(models.files)},
        "runtime": {
            "version": VERSION,
            **{kind: {part: f"runtime/{name}" for part, name in pair.items()} for kind, pair in PAIRS.items()},
            "files": [entry(path) for path in sorted((folder / "runtime").iterdir())],
        },
        "page": [entry(path) for path in sorted(folder.iterdir()) if path.is_file()],
        "selftest": answer,
    }
    lines = [
        f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in parts.items() if value != {}
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _readme(template: Path, title: str, licence: str) -> str:
    """The page's README with the model's own title and licence in its front matter.

    Raises:
        UserError: this installation has none.
    """
    try:
        _, front, rest = template.read_text(encoding="utf-8").split("---\n", 2)
    except (OSError, ValueError) as error:
        raise UserError(NO_PAGE) from error
    named = licence.lower().replace(" ", "-")
    own = {
        "title": json.dumps(title, ensure_ascii=False),
        "short_description": json.dumps(f"{title}, live in your browser"[:SHORTEST_DESCRIPTION], ensure_ascii=False),
        "license": named if named in HUB_LICENCES else "other",
    }
    # The runtime is in the folder, so nothing is left to be built where it is pushed to.
    kept = [line for line in front.splitlines() if line.partition(":")[0] not in {*own, "app_build_command"}]
    lines = [*(f"{key}: {value}" for key, value in own.items()), *kept]
    return "---\n" + "\n".join(lines) + "\n---\n" + rest
