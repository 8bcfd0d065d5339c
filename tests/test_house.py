"""The house keeps its own rules: which room may import which, what files are called, what each says about itself.

Nearly everything here is read from source with `ast` or as text.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src" / "segwright"

FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("machine", "outputs"),
    ("classes",),
    ("recipe",),
    ("masks", "metrics", "preprocess", "tiling"),
    ("render",),
    ("data", "models"),
    ("checkpoint",),
    ("engines",),
    ("training", "predict"),
    ("evaluation",),
    ("export", "foundation"),
    ("workflows",),
    ("app",),
    ("commands",),
    ("cli",),
)
"""Top floor first. A room imports from floors above its own; files of one room may import each other."""

FLOOR_OF = {room: number for number, floor in enumerate(FLOORS) for room in floor}
FRONT_DOOR = {"__init__", "__main__"}
"""Name everything and are imported by nobody, but for the version."""

DRAWERS = {"utils", "util", "helpers", "helper", "common", "misc", "core"}
LONGEST_FIRST_LINE = 140
LARGEST_FILE = 8 * 1024 * 1024

LOCK_FILES = re.compile(r"(^|/)([^/]+\.lock|package-lock\.json|pnpm-lock\.yaml|[^/]+-lock\.ya?ml)$")
REGISTRIES = re.compile(
    r"\b(p[y]pi\.org|python[h]osted\.org|np[m]js\.(org|com)|yarn[p]kg\.com|crates\.[i]o|ruby[g]ems\.org|ana[c]onda\.org"
    r"|proxy\.go[l]ang\.org|index-url|extra-index|registry\s*=)"
)
MACHINE_PATHS = re.compile(r"(?<![\w.~/-])/(work|root|home/\w+|Users/\w+)(/|\b)")

UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX)\b")


def modules() -> list[Path]:
    return sorted(SRC.rglob("*.py"))


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room_of(path: Path) -> str:
    """Folder of a file, or its own name where it lies at the top."""
    inside = path.relative_to(SRC)
    return inside.parts[0].removesuffix(".py")


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def rooms_imported(tree: ast.Module, package: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """(line, room) of every import of segwright, also inside functions and under TYPE_CHECKING.

    Args:
        package: of the file, such as ("segwright", "data"), for relative imports.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = list(package[: len(package) - node.level + 1]) if node.level else []
            whole = start + (node.module.split(".") if node.module else [])
            # `from segwright import metrics` names a room; `from segwright.data import health` has named it already.
            names = [[*whole, alias.name] for alias in node.names]
        else:
            continue
        for parts in names:
            if parts[0] == "segwright" and len(parts) > 1:
                yield node.lineno, parts[1]


def broken_arrows(path: Path) -> list[str]:
    room = room_of(path)
    package = ("segwright", *path.relative_to(SRC).parts[:-1])
    broken = []
    for line, other in rooms_imported(tree_of(path), package):
        if other in {room, "__version__"}:
            continue
        if other not in FLOOR_OF:
            broken.append(f"{named(path)}:{line} imports segwright.{other}, which is no room of the house")
        elif FLOOR_OF[other] >= FLOOR_OF[room]:
            broken.append(f"{named(path)}:{line} ({room}) imports segwright.{other}, which is not on a floor above it")
    return broken


def test_every_room_has_a_floor() -> None:
    rooms = {room_of(path) for path in modules()} - FRONT_DOOR
    assert rooms <= FLOOR_OF.keys(), f"give a floor to {sorted(rooms - FLOOR_OF.keys())} in FLOORS"


def test_arrows_point_up() -> None:
    broken = [line for path in modules() if room_of(path) not in FRONT_DOOR for line in broken_arrows(path)]
    assert not broken, "\n".join(broken)


def test_the_architecture_page_lists_the_same_floors() -> None:
    rooms = {room_of(path) for path in modules()}
    floors = [", ".join(room for room in floor if room in rooms) for floor in FLOORS]
    listed = "\n".join(floor for floor in floors if floor)
    assert f"```text\n{listed}\n```" in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("source", "rooms"),
    [
        ("import segwright.cli", ["cli"]),
        ("from segwright import render, __version__", ["render", "__version__"]),
        ("from segwright.data.layouts import Dataset", ["data"]),
        ("def f():\n    from segwright import workflows", ["workflows"]),
        ("if TYPE_CHECKING:\n    from segwright.export.parity import Certificate", ["export"]),
        ("from . import health", ["data"]),
        ("from ..engines import Engine", ["engines"]),
        ("import torch\nfrom collections import Counter", []),
    ],
)
def test_imports_are_seen_wherever_they_stand(source: str, rooms: list[str]) -> None:
    assert [room for _, room in rooms_imported(ast.parse(source), ("segwright", "data"))] == rooms


@pytest.mark.parametrize("path", modules(), ids=named)
def test_first_line_says_what_the_file_is(path: Path) -> None:
    docstring = ast.get_docstring(tree_of(path))
    assert docstring, f"{named(path)} has no docstring"
    first = docstring.splitlines()[0]
    assert len(first) <= LONGEST_FIRST_LINE, f"{named(path)}: the first line has {len(first)} characters"
    assert first.endswith("."), f"{named(path)}: the first line does not end as a sentence: {first}"


def public_without_docstring(body: list[ast.stmt], owner: str = "") -> Iterator[str]:
    for node in body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        overload = any("overload" in ast.unparse(d) or ".setter" in ast.unparse(d) for d in node.decorator_list)
        if ast.get_docstring(node) is None and not overload:
            yield f"{owner}{node.name}, line {node.lineno}"
        if isinstance(node, ast.ClassDef):
            yield from public_without_docstring(node.body, f"{owner}{node.name}.")


@pytest.mark.parametrize("path", modules(), ids=named)
def test_public_things_have_docstrings(path: Path) -> None:
    assert not list(public_without_docstring(tree_of(path).body))


def habits_broken(tree: ast.Module) -> Iterator[str]:
    """Lines with assert, a bare except, print, or an output stream of the process."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            yield f"line {node.lineno}: assert; raise an error of errors.py"
        elif isinstance(node, ast.ExceptHandler) and node.type is None:
            yield f"line {node.lineno}: bare except; name what is expected"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield f"line {node.lineno}: print(); only the command line speaks"
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in {"sys.stdout", "sys.stderr"}:
            yield f"line {node.lineno}: {ast.unparse(node)}; only the command line speaks"


@pytest.mark.parametrize("path", modules(), ids=named)
def test_habits(path: Path) -> None:
    broken = list(habits_broken(tree_of(path)))
    if room_of(path) in {"cli", "commands"}:
        broken = [line for line in broken if "sys.std" not in line]
    assert not broken, named(path)


def test_habits_are_seen() -> None:
    source = "assert x\ntry:\n    print()\nexcept:\n    sys.stdout.write('')"
    assert len(list(habits_broken(ast.parse(source)))) == 4


def test_no_drawers() -> None:
    parts = {part.removesuffix(".py") for path in modules() for part in path.relative_to(SRC).parts}
    assert not parts & DRAWERS


def tracked_files() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout, so which files are tracked is not known")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def unwanted_lines(text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), start=1):
        for what, pattern in (
            ("the host of a package registry", REGISTRIES),
            ("an absolute path of one machine", MACHINE_PATHS),
            ("unfinished work", UNFINISHED),
        ):
            if pattern.search(line):
                yield f"line {number}: {what}: {line.strip()[:100]}"


def test_tracked_files_are_clean() -> None:
    unwanted = []
    for path in tracked_files():
        if path.stat().st_size > LARGEST_FILE:
            unwanted.append(f"{named(path)} is larger than 8 MB")
        if LOCK_FILES.search(named(path)):
            unwanted.append(f"{named(path)} is a lock file")
        if path == Path(__file__).resolve():
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture or a model
        unwanted += [f"{named(path)}, {line}" for line in unwanted_lines(text)]
    assert not unwanted, "\n".join(unwanted)


@pytest.mark.parametrize(
    "line",
    [
        "see {}/shared".format("/work"),
        "open('{}/x')".format("/root"),
        "{}/ann/data".format("/home"),
        "https://{}.org/simple".format("p" + "ypi"),
        "# TODO later",
        "a {}/bo/x".format("/Users"),
    ],
)
def test_unwanted_lines_are_seen(line: str) -> None:
    assert list(unwanted_lines(line))


@pytest.mark.parametrize(
    "line", ["a/work/b", "https://example.org/home/x", "~/root/x", "ways to work/root", "/workshop"]
)
def test_harmless_lines_pass(line: str) -> None:
    assert not list(unwanted_lines(line))


def test_changelog_knows_this_version() -> None:
    version = re.search(r'^__version__ = "([^"]+)"', (SRC / "__init__.py").read_text(encoding="utf-8"), re.MULTILINE)
    assert version
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[{re.escape(version[1])}\] - \d{{4}}-\d\d-\d\d", changelog, re.MULTILINE)


def test_the_tree_in_the_readme_matches_the_files() -> None:
    spec = importlib.util.spec_from_file_location("make_pages", ROOT / "docs" / "make_pages.py")
    assert spec and spec.loader
    make_pages = importlib.util.module_from_spec(spec)
    sys.modules["make_pages"] = make_pages  # dataclasses look their module up
    spec.loader.exec_module(make_pages)
    for name in ("README.md", "docs/architecture.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert make_pages.tree() in text, f"{name} shows another tree; run: make pages"
    shown = set(re.findall(r"[\w/]+\.py", make_pages.tree()))
    assert {path.name for path in modules()} - {"__init__.py"} <= shown


def test_public_functions_are_not_hidden_by_rooms_of_their_name() -> None:
    """In a fresh process, since what was imported before decides it."""
    program = (
        "import segwright, segwright.export.parity, segwright.predict.sinks\n"
        "from segwright.export import onnx\n"
        "wrong = [n for n in segwright.__all__ if n != '__version__' and not callable(getattr(segwright, n))]\n"
        "raise SystemExit(f'hidden: {wrong}' if wrong else 0)"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
