"""What is wrong with a finished demo, before visitors find out: files, hashes, pointers, foreign hosts, sizes.

Findings are values, so that they can be counted and tested.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from segwright.errors import UserError
from segwright.export.web_runtime import FILES, PACKAGE, VERSION, difference, sha256_of
from segwright.export.webpage import MANIFEST, PAGE_FILES, listed_files, read_manifest

PLAIN_GIT = 10_000_000
"""Bytes; the Hub takes larger files by LFS only."""

LFS_POINTER = b"version https://git-lfs"

SCHEMED = re.compile(r"(?:https?|wss?)://[^\s\"'`)<>]+")
QUOTED = re.compile(r"[\"'`]//[\w\[][^\s\"'`)<>]*")
"""An address without a scheme, at the beginning of a string."""
ADDRESS = re.compile(r"(?:(?:https?|wss?):)?//[\w\[][^\s\"'`)<>]*")

NAMES = ("http://www.w3.org/", "https://git-lfs")
"""Names of formats that look like addresses and are never fetched: XML namespaces, and the first line of an LFS pointer."""


@dataclass(frozen=True)
class PageFinding:
    """One thing about a demo."""

    spoils: bool
    """Whether the page would not work, or not as it was proven."""
    sentence: str
    """What, where, and what to do."""


def check_page(folder: Path) -> list[PageFinding]:
    """Look at a finished demo.

    Args:
        folder: where it lies.

    Returns:
        Findings, those that spoil the page first; empty when all is well.

    Raises:
        UserError: there is no such folder.
        ModelError: it holds no manifest of ours.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; name one that was made by: segwright demo MODEL --out DIR")
    manifest = read_manifest(folder)
    found = [*_files(folder, manifest), *_runtime(folder, manifest), *_foreign_hosts(folder), *_large(folder)]
    return sorted(found, key=lambda finding: not finding.spoils)


def _files(folder: Path, manifest: dict[str, Any]) -> Iterator[PageFinding]:
    """Everything that the manifest lists, by presence, size and hash; and the page, which it must list."""
    listed = listed_files(manifest)
    page = {entry["path"] for entry in manifest["page"]}
    if "index.html" not in listed:
        yield PageFinding(True, f"{MANIFEST} lists no index.html; make the demo again.")
    if not manifest["models"]:
        yield PageFinding(True, f"{MANIFEST} lists no model; make the demo again.")
    for name, (size, digest) in listed.items():
        path = folder / name
        try:
            with path.open("rb") as stream:
                pointer = stream.read(len(LFS_POINTER)) == LFS_POINTER
            real_size = path.stat().st_size
            same = real_size == size and sha256_of(path) == digest
        except FileNotFoundError:
            yield PageFinding(True, f"{name} is missing; copy the whole folder again, or make the demo again.")
            continue
        except OSError as error:
            yield PageFinding(True, f"{name} cannot be read ({error.strerror}); check its permissions.")
            continue
        if pointer:
            yield PageFinding(True, f"{name} is only a Git LFS pointer; fetch the file with: git lfs pull")
        elif name in page and not same:
            yield PageFinding(False, f"{name} was changed since the demo was made; nothing to do if that was you.")
        elif real_size != size:
            yield PageFinding(
                True, f"{name} has {real_size} bytes and not {size}; copy it again, or make the demo again."
            )
        elif not same:
            yield PageFinding(
                True, f"{name} has other contents than the manifest says; copy it again, or make the demo again."
            )


def _runtime(folder: Path, manifest: dict[str, Any]) -> Iterator[PageFinding]:
    """Whether the runtime is the one that the page was tested with, whatever the manifest says of it."""
    version = manifest["runtime"].get("version")
    if version != VERSION:
        yield PageFinding(
            False,
            f"The runtime is {PACKAGE} {version}, and this segwright would take {VERSION}; make the demo again for that one.",
        )
        return
    listed = {entry["path"]: entry for entry in manifest["runtime"]["files"]}
    for name, wanted in FILES.items():
        entry = listed.get(f"runtime/{name}")
        if entry is None:
            yield PageFinding(True, f"{MANIFEST} does not list runtime/{name}; make the demo again.")
        elif entry["sha256"] != wanted.sha256 and (folder / "runtime" / name).exists():
            wrong = difference(folder / "runtime" / name, name) or "is right, but its hash in the manifest is not"
            yield PageFinding(
                True, f"runtime/{name} is not that of {PACKAGE} {VERSION}: it {wrong}; make the demo again."
            )


def _foreign_hosts(folder: Path) -> Iterator[PageFinding]:
    """Addresses of other hosts in what a browser would load from; links that a visitor may click are harmless."""
    for path in sorted(path for path in folder.rglob("*") if path.suffix in PAGE_FILES and path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name.startswith("runtime/"):
            continue  # known by its hash
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            yield PageFinding(True, f"{name} cannot be read as text ({type(error).__name__}); make the demo again.")
            continue
        for address in _loaded(text, path.suffix):
            if not address.startswith(NAMES):
                yield PageFinding(
                    True,
                    f"{name} names another host ({address[:100]}); put what it loads into the folder, so that visitors stay private.",
                )


def _loaded(text: str, suffix: str) -> list[str]:
    """Absolute addresses from which a file of the page may load something."""
    if suffix in {".html", ".svg"}:
        reader = _Attributes()
        reader.feed(text)
        reader.close()
        text = "\n".join(reader.values)
    elif suffix == ".js":
        # Comments may name a page to read. Behind a bare // stands a comment too, unless it begins a string.
        lines = [line for line in text.splitlines() if not line.lstrip().startswith(("//", "*", "/*"))]
        code = "\n".join(lines)
        return [m[0] for m in SCHEMED.finditer(code)] + [m[0].lstrip("'\"`") for m in QUOTED.finditer(code)]
    return [m[0] for m in ADDRESS.finditer(text)]


class _Attributes(HTMLParser):
    """Collects what an HTML or SVG file may load from: values of attributes, scripts and styles inside it."""

    def __init__(self) -> None:
        super().__init__()
        self.values: list[str] = []
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A tag and its attributes."""
        self._inside = tag
        self.values += [value or "" for name, value in attrs if not (tag == "a" and name == "href")]

    def handle_data(self, data: str) -> None:
        """Text; only that of scripts and styles matters."""
        if self._inside in {"script", "style"}:
            self.values.append(data)

    def handle_endtag(self, tag: str) -> None:
        """The end of a tag."""
        self._inside = ""


def _large(folder: Path) -> Iterator[PageFinding]:
    """Files for which plain git on the Hub is not enough."""
    large = sorted(
        p for p in folder.rglob("*") if p.is_file() and ".git" not in p.parts and p.stat().st_size > PLAIN_GIT
    )
    if not large:
        return
    try:
        patterns = [
            line.split()[0] for line in (folder / ".gitattributes").read_text().splitlines() if "filter=lfs" in line
        ]
    except (OSError, UnicodeDecodeError):
        patterns = []
    names = ", ".join(f"{path.relative_to(folder).as_posix()} ({path.stat().st_size / 1e6:.1f} MB)" for path in large)
    tracked = all(any(fnmatch(path.name, pattern) for pattern in patterns) for path in large)
    advice = (
        ".gitattributes sends them by LFS"
        if tracked
        else "push with `hf upload`, which does the right thing, or make the demo with --space, whose .gitattributes sends them by LFS"
    )
    yield PageFinding(False, f"Over 10 MB, too large for plain git on a Space: {names}; {advice}.")
