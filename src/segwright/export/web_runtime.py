"""ONNX Runtime Web, of one pinned version: four files brought by npm, kept in the user's cache, known by their hashes.

Nothing of it is in the repository or in our package. Whatever way the files come, they are used only if they are byte for
byte those that the page was tested with: a page whose glue and binary differ in version fails in the visitor's browser.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from segwright.data.cache import user_cache_folder
from segwright.errors import OutputError, UserError
from segwright.outputs import write_bytes

PACKAGE = "onnxruntime-web"
VERSION = "1.30.0"

LONGEST_WAIT = 900
"""Seconds that npm may take; 33 MB come over the line."""


@dataclass(frozen=True)
class RuntimeFile:
    """One file of the package's `dist` folder."""

    bytes: int
    sha256: str


FILES: dict[str, RuntimeFile] = {
    "ort.wasm.bundle.min.mjs": RuntimeFile(73_054, "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90"),
    "ort-wasm-simd-threaded.wasm": RuntimeFile(
        14_239_897, "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2"
    ),
    "ort.webgpu.bundle.min.mjs": RuntimeFile(
        117_732, "0730816731ce2cdfb06f273da065d4a1c7091eb9d1756a83b2916c8a89d015e2"
    ),
    "ort-wasm-simd-threaded.asyncify.wasm": RuntimeFile(
        26_781_914, "39f9f0894d478800487ed9f7dbe92618498db320cf55c8e3d89adff8dce658da"
    ),
}
"""The bundles need no glue beside them: each fetches itself, its one binary, and nothing else."""

PAIRS: dict[str, dict[str, str]] = {
    "wasm": {"module": "ort.wasm.bundle.min.mjs", "binary": "ort-wasm-simd-threaded.wasm"},
    "webgpu": {"module": "ort.webgpu.bundle.min.mjs", "binary": "ort-wasm-simd-threaded.asyncify.wasm"},
}
"""What the page loads for each backend."""


def web_runtime(folder: Path | None = None) -> dict[str, Path]:
    """The four files, checked by their hashes.

    Args:
        folder: where they lie already: an npm project, the unpacked package, its `dist` folder, or just the files. None
            takes them from the user's cache, and fills that by npm when they are not there.

    Returns:
        Paths by the names of `FILES`.

    Raises:
        UserError: a file is missing or another one; npm is not installed or could not bring the package.
        OutputError: the cache cannot be written.
    """
    if folder is not None:
        return _found_in(folder)
    cache = user_cache_folder() / f"{PACKAGE}-{VERSION}"
    if any(difference(cache / name, name) for name in FILES):
        _fill(cache)
    return {name: cache / name for name in FILES}


def difference(path: Path, name: str) -> str:
    """What is wrong with a file that should be the runtime's `name`, in words; empty when it is that file."""
    wanted = FILES[name]
    try:
        size = path.stat().st_size
        if size != wanted.bytes:
            return f"has {size} bytes and not {wanted.bytes}"
        return "" if sha256_of(path) == wanted.sha256 else "has other contents"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def sha256_of(path: Path) -> str:
    """Hash of a file, in hexadecimal.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _found_in(folder: Path) -> dict[str, Path]:
    """The files in a folder of the user's.

    Raises:
        UserError: no folder, or a file there is missing or another one.
    """
    if not folder.is_dir():
        raise UserError(
            f"{folder} is no folder; give one with the files of {PACKAGE} {VERSION}, or leave --runtime out."
        )
    places = (folder, folder / "dist", folder / "package" / "dist", folder / "node_modules" / PACKAGE / "dist")
    first = next(iter(FILES))
    place = next((place for place in places if (place / first).exists()), folder)
    for name in FILES:
        if wrong := difference(place / name, name):
            raise UserError(
                f"{place / name} {wrong}; the page runs with {PACKAGE} {VERSION} only: give its dist folder, or leave --runtime out "
                "and npm brings it."
            )
    return {name: place / name for name in FILES}


def _fill(cache: Path) -> None:
    """Bring the package by npm, and keep its four files.

    Raises:
        UserError: npm is not installed, failed, or brought something else.
        OutputError: the cache cannot be written.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise UserError(
            f"The page needs {PACKAGE} {VERSION}, which npm brings, and npm is not installed; install Node.js with npm "
            f"(Debian: apt install npm), or give a folder that has the package: --runtime DIR"
        )
    # The system's own folder for temporary files: nothing of the user's project decides what npm does.
    with tempfile.TemporaryDirectory(prefix="segwright-npm-") as where:
        archive = _packed(npm, Path(where))
        try:
            with tarfile.open(archive, "r:gz") as package:
                contents = {name: _member(package, name) for name in FILES}
        except (tarfile.TarError, OSError, EOFError, ValueError) as error:
            raise UserError(f"npm brought a damaged {PACKAGE} {VERSION} ({error}); try again.") from error
    for name, data in contents.items():
        if hashlib.sha256(data).hexdigest() != FILES[name].sha256:
            raise UserError(
                f"npm brought a {name} that is not that of {PACKAGE} {VERSION}; nothing was kept. Check which registry npm uses: "
                "npm config get registry"
            )
    try:
        for name, data in contents.items():
            write_bytes(cache / name, data)
    except OutputError as error:
        raise OutputError(f"{error} The user's cache is meant; XDG_CACHE_HOME moves it.") from error


def _packed(npm: str, where: Path) -> Path:
    """The package's archive, brought by `npm pack`, which runs no script of the package.

    Raises:
        UserError: npm failed or took too long.
    """
    command = [npm, "pack", "--ignore-scripts", "--loglevel=error", f"{PACKAGE}@{VERSION}"]
    tail = "check the connection, or give a folder that has the package: --runtime DIR"
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command, no shell
            command, cwd=where, capture_output=True, text=True, errors="replace", timeout=LONGEST_WAIT, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(f"npm did not bring {PACKAGE} {VERSION} within {LONGEST_WAIT} s; {tail}") from error
    except OSError as error:
        raise UserError(f"{npm} cannot be run ({error.strerror}); install npm again, or {tail}") from error
    archives = sorted(where.glob("*.tgz"))
    if done.returncode != 0 or not archives:
        said = [line.removeprefix("npm error").strip() for line in (done.stderr or done.stdout).splitlines()]
        reason = ", ".join([line for line in said if line][:3])[:200] or "it said nothing"
        raise UserError(f"npm could not bring {PACKAGE} {VERSION} ({reason}); {tail}")
    return archives[0]


def _member(package: tarfile.TarFile, name: str) -> bytes:
    """One file of the archive, read into memory and never unpacked by its own path.

    Raises:
        ValueError: it is not there, or has not its size.
    """
    try:
        stream = package.extractfile(f"package/dist/{name}")
    except KeyError:
        stream = None
    if stream is None:
        raise ValueError(f"{name} is not in it")
    data = stream.read(FILES[name].bytes + 1)
    if len(data) != FILES[name].bytes:
        raise ValueError(f"{name} has another size")
    return data
