"""The documentation runs: its code blocks, page by page, in a folder with tiny data; and its generated parts are fresh.

A ```bash block is run when all its commands begin with `segwright`; a ```python block is run always. Any other bash block,
and any block that cannot be run here, has a comment `<!-- not run: reason -->` directly before it. The README is run first, and
the other pages begin with what it left behind (`DATA`, `PICTURES`, `runs/first`).
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import shlex
import shutil
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from segwright import __all__ as public_names
from segwright.cli import main
from tests.tiny import draw_pair, make_dataset
from tests.video import write_video

ROOT = Path(__file__).resolve().parents[1]
TOUR = ROOT / "README.md"
PAGES = (TOUR, *sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md", ROOT / "train" / "README.md")
RUNNABLE = {"bash", "python"}

SUBSTITUTIONS = {
    "--patch-size 512": "--patch-size 32 --epochs 1 --batch-size 8 --panels 1 --model lraspp_mobilenet_v3_small",
    "--minutes 10": "--epochs 1 --batch-size 2 --panels 1 --width 64 --height 64 --model lraspp_mobilenet_v3_small",
    "--minutes 60": "--epochs 1 --batch-size 2 --panels 1 --width 64 --height 96 --model lraspp_mobilenet_v3_small",
    "--count 400": "--count 12 --width 96 --height 128 --workers 1",
    "train/exported_models": str(ROOT / "train" / "exported_models"),
    "minutes=10,": "epochs=1, batch_size=2, panels=1, width=64, height=64,",
    " clip.mp4 ": " clip.mp4 --engine file ",
    "np.zeros((480, 640, 3)": "np.zeros((48, 64, 3)",
}
"""What the pages say -> what is run here, so that a page takes seconds."""


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: str
    line: int
    language: str
    code: str
    reason: str
    """Why it is not run; empty when it is."""

    @property
    def place(self) -> str:
        """For messages."""
        return f"{self.page}:{self.line}"


FENCE = re.compile(r"^```(\w*)\s*$")
NOT_RUN = re.compile(r"^<!-- not run: (.*) -->$")


def blocks_of(path: Path) -> list[Block]:
    """Every fenced block of a page, in order."""
    found: list[Block] = []
    lines = path.read_text(encoding="utf-8").splitlines()
    start: int | None = None
    language = reason = ""
    for number, line in enumerate(lines):
        fence = FENCE.match(line)
        if fence and start is None:
            start, language = number, fence[1]
            before = NOT_RUN.match(lines[number - 1]) if number else None
            reason = before[1].strip() if before else ""
        elif fence and start is not None:
            name = path.relative_to(ROOT).as_posix()
            found.append(Block(name, start + 1, language, "\n".join(lines[start + 1 : number]), reason))
            start = None
    return found


def commands_of(code: str) -> list[str]:
    """Commands of a bash block, comments and blank lines left out, continued lines joined."""
    joined = code.replace("\\\n", " ")
    return [line for raw in joined.splitlines() if (line := re.sub(r"(^|\s)#.*$", "", raw).strip())]


def tiny(code: str) -> str:
    for said, run in SUBSTITUTIONS.items():
        code = code.replace(said, run)
    return code


def run_command(command: str, block: Block) -> None:
    """One `segwright ...` line, in this process; `> file` is understood."""
    words = shlex.split(tiny(command))
    target = None
    if ">" in words:
        words, target = words[: words.index(">")], Path(words[words.index(">") + 1])
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as stopped:
        main(words[1:])
    assert stopped.value.code == 0, (
        f"{block.place}: {command}: exit code {stopped.value.code}\n{out.getvalue()[-2000:]}"
    )
    if target is not None:
        target.write_text(out.getvalue(), encoding="utf-8")


def run_page(path: Path) -> None:
    """Every block of a page that is meant to be run, in the current folder."""
    names: dict[str, Any] = {"__name__": "__page__"}
    for block in blocks_of(path):
        if block.reason or block.language not in RUNNABLE:
            continue
        if block.language == "bash":
            for command in commands_of(block.code):
                run_command(command, block)
        else:
            code = compile(tiny(block.code), block.place, "exec")
            with contextlib.redirect_stdout(io.StringIO()):
                exec(code, names)


@contextlib.contextmanager
def libraries_may_warn() -> Iterator[None]:
    """The pages are about what works; warnings of libraries are the business of the other tests."""
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        yield


@pytest.fixture(scope="module")
def toured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the README was followed."""
    folder = tmp_path_factory.mktemp("tour")
    make_dataset(folder / "DATA", size_hw=(64, 80), splits={"train": 6, "val": 3, "test": 5})
    (folder / "PICTURES").mkdir()
    for number, name in enumerate(("first", "second")):
        Image.fromarray(draw_pair(100 + number).image).save(folder / "PICTURES" / f"{name}.png")
    with contextlib.chdir(folder), libraries_may_warn():
        run_page(TOUR)
    return folder


def test_the_tour_leaves_what_it_promises(toured: Path) -> None:
    for place in (
        "runs/first/best.safetensors",
        "runs/first/best.json",
        "runs/first/recipe.yaml",
        "runs/first/splits.json",
        "runs/first/log.csv",
        "runs/first/panels",
        "runs/first/evaluation-test/report.html",
        "runs/first/model.onnx",
        "runs/first/model.certificate.json",
        "predictions/overlays/first.png",
        "predictions/predictions.jsonl",
    ):
        assert (toured / place).exists(), place


@pytest.mark.parametrize(
    "path",
    [p for p in PAGES if p != TOUR and any(b.language in RUNNABLE and not b.reason for b in blocks_of(p))],
    ids=lambda path: path.name,
)
def test_page_runs(path: Path, toured: Path, tmp_path: Path) -> None:
    if path.name == "demo.md" and shutil.which("npm") is None and not os.environ.get("SEGWRIGHT_NO_SKIPS"):
        pytest.skip("npm, which brings the runtime of the browser demo, is not installed")
    for name in ("DATA", "PICTURES", "runs"):
        shutil.copytree(toured / name, tmp_path / name)
    if path.name == "live.md":
        write_video(tmp_path / "clip.mp4", 20)
        (tmp_path / "colours.csv").write_text("1,255,80,0\n", encoding="utf-8")
    with contextlib.chdir(tmp_path), libraries_may_warn():
        run_page(path)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_what_is_not_run_says_why(path: Path) -> None:
    for block in blocks_of(path):
        if block.language == "bash" and not all(c.startswith("segwright ") for c in commands_of(block.code)):
            assert block.reason, f"{block.place} is not run and has no <!-- not run: reason --> before it"
        assert block.language in {*RUNNABLE, "text"}, f"{block.place}: say which language this block is in"
    said = len(re.findall(r"^<!-- not run: \S.{9,} -->$", path.read_text(encoding="utf-8"), re.MULTILINE))
    assert said == sum(bool(block.reason) for block in blocks_of(path)), (
        "a reason is no reason, or stands before no block"
    )


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text(encoding="utf-8")):
        if not target.startswith("https://"):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def make_pages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_pages", ROOT / "docs" / "make_pages.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_pages"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_generated_parts_are_fresh() -> None:
    assert make_pages().stale() == [], "run: make pages"


def test_every_finding_is_explained() -> None:
    """The program that writes the table sees what the source of the health check can report."""
    pages = make_pages()
    kinds = {reported.kind for reported in pages.reported()}
    assert kinds == pages.MEANINGS.keys()
    assert {"no_masks", "test_equals_train", "cmyk_pictures"} <= kinds
    assert all(reported.severities for reported in pages.reported())


def test_arithmetic_counts_two_for_each_multiply_add() -> None:
    """Against a convolution counted by hand, and what torchvision publishes for its LR-ASPP at 520x520 with 21 classes."""
    import torch
    from torchvision.models.segmentation import LRASPP_MobileNet_V3_Large_Weights

    from segwright.models.lraspp import LRASPP

    pages = make_pages()
    with torch.device("meta"):
        convolution, network = torch.nn.Conv2d(3, 8, 5, padding=2), LRASPP("large", 21)
    assert pages.gigaflops(convolution, (20, 30)) * 1e9 == 2 * (3 * 5 * 5) * 8 * 20 * 30
    published = LRASPP_MobileNet_V3_Large_Weights.DEFAULT.meta["_ops"]  # in 10^9 multiply-adds
    assert pages.gigaflops(network, (520, 520)) == pytest.approx(2 * published, rel=0.01)


def test_python_page_names_the_public_interface() -> None:
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    table = "\n".join(line for line in text.splitlines() if line.startswith("| `"))
    named = {name for cell in re.findall(r"^\|([^|]*)\|", table, re.MULTILINE) for name in re.findall(r"`(\w+)", cell)}
    assert named == set(public_names)
