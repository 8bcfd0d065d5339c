"""A small server for a finished demo: one folder, read only, with the types and headers that the page needs.

It answers GET and HEAD for files that are there. No listings, nothing outside the folder, nothing hidden. Cross-origin
isolation lets the network use several threads; that needs two headers that most servers do not send.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import shutil
import socket
import socketserver
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from segwright.errors import UserError

HERE = "127.0.0.1"
PORT = 8000

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".md": "text/markdown; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".onnx": "application/octet-stream",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
}
"""Stated here, because the systems' own tables lack .mjs and .wasm, or have them wrong."""

HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}

PATIENCE = 30
"""Seconds for which a connection may stay silent."""


class DemoServer(socketserver.ThreadingTCPServer):
    """Serves a folder until it is shut down.

    Args:
        folder: a finished demo.
        host: address to listen on; anything but this machine's own lets others in.
        port: TCP port; 0 takes a free one.

    Raises:
        UserError: no such folder, or the port is taken, not allowed or impossible.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, folder: Path, host: str = HERE, port: int = PORT) -> None:
        if not (folder / "index.html").is_file():
            raise UserError(
                f"{folder} holds no index.html to serve; make a demo with: segwright demo MODEL --out {folder}"
            )
        self.folder = folder.resolve()
        self.host = host
        if not 0 <= port <= 65535:
            raise UserError(f"A port is a number from 0 to 65535, not {port}; 0 takes a free one.")
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            reason = {
                errno.EADDRINUSE: f"port {port} is taken by another program",
                errno.EACCES: f"port {port} needs more rights than you have",
                errno.EADDRNOTAVAIL: "this machine has no such address",
            }.get(error.errno or 0, error.strerror or str(error))
            raise UserError(
                f"The demo cannot be served on {host}: {reason}; choose with --port (0 takes a free one) and --host."
            ) from error

    @property
    def address(self) -> str:
        """Where a browser finds it."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.server_address[1]}/"

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it."""
        with contextlib.suppress(ValueError):
            return ipaddress.ip_address(self.host).is_loopback
        return self.host == "localhost"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A visitor who goes away in the middle of a file is no error."""


class _Handler(BaseHTTPRequestHandler):
    """Answers one visitor."""

    server: DemoServer
    server_version, sys_version = "segwright", ""
    protocol_version = "HTTP/1.1"
    timeout = PATIENCE

    def do_GET(self) -> None:
        """The file, with its contents."""
        self._answer(contents=True)

    def do_HEAD(self) -> None:
        """Only what would be said about the file."""
        self._answer(contents=False)

    def _answer(self, *, contents: bool) -> None:
        path = self._file()
        if path is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        try:
            stream = path.open("rb")
        except OSError:
            self.send_error(HTTPStatus.FORBIDDEN)
            return
        with stream:
            status = path.stat()
            tag = f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
            known = self.headers.get("If-None-Match") == tag
            self.send_response(HTTPStatus.NOT_MODIFIED if known else HTTPStatus.OK)
            self.send_header("ETag", tag)
            if not known:
                self.send_header("Content-Type", TYPES.get(path.suffix, "application/octet-stream"))
                self.send_header("Content-Length", str(status.st_size))
            self.end_headers()
            if contents and not known:
                shutil.copyfileobj(stream, self.wfile)

    def _file(self) -> Path | None:
        """The file that was asked for, or None where there is nothing to hand out."""
        if self.server.local and not self._asks_for_us():
            return None
        asked = unquote(urlsplit(self.path).path)
        parts = [part for part in asked.split("/") if part]
        if any(part.startswith(".") or "\\" in part or "\0" in part or ":" in part for part in parts):
            return None
        path = self.server.folder.joinpath(*parts)
        try:
            if asked.endswith("/"):
                path /= "index.html"
            # A link may lead anywhere.
            inside = path.resolve().is_relative_to(self.server.folder)
            return path if inside and path.is_file() else None
        except OSError:  # a name that is too long, a folder that may not be read
            return None

    def _asks_for_us(self) -> bool:
        """Whether the browser meant this machine: a stranger's page could let its own name point here."""
        name = urlsplit(f"//{self.headers.get('Host', '')}").hostname
        return name in {"localhost", HERE, "::1", self.server.host}

    def end_headers(self) -> None:
        """Isolation belongs to every answer, the refusals too."""
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Only the command line speaks."""
