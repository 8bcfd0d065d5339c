"""The page's pure functions, run by Node; and what the page weighs and says of itself."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
from pathlib import Path

from segwright.export.web_runtime import FILES, PACKAGE, VERSION

HERE = Path(__file__).resolve().parent
DEMO = HERE.parents[1] / "demo"
SHIPPED = {".html", ".css", ".js", ".svg"}
HEAVIEST = 60_000


def test_functions_in_node(node: str) -> None:
    files = [str(path) for path in sorted(HERE.glob("*.test.mjs"))]
    run = subprocess.run(
        [node, "--test", "--test-reporter=tap", *files], capture_output=True, text=True, check=False, timeout=120
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-1000:]
    passed = re.search(r"^# pass (\d+)", run.stdout, re.MULTILINE)
    assert passed and int(passed[1]) > 50, run.stdout[-1000:]


def test_the_page_is_light() -> None:
    pages = [path for path in DEMO.iterdir() if path.suffix in SHIPPED]
    assert len(pages) > 10
    assert sum(len(gzip.compress(path.read_bytes())) for path in pages) < HEAVIEST


def test_the_page_names_no_other_host() -> None:
    for path in DEMO.iterdir():
        if path.suffix in SHIPPED:
            addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+", path.read_text(encoding="utf-8")))
            # A namespace, and the first words of a Git LFS pointer.
            assert addresses <= {"http://www.w3.org", "https://git-lfs"}, path.name


def test_every_file_says_what_it_is() -> None:
    for path in DEMO.glob("*.js"):
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        assert first.startswith("// ") and len(first) <= 140, path.name


def test_npm_brings_the_same_runtime() -> None:
    build = json.loads((DEMO / "package.json").read_text(encoding="utf-8"))["scripts"]["build"]
    assert f"{PACKAGE}@{VERSION} " in build
    assert all(name in build for name in FILES)
