from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from segwright.errors import UserError
from segwright.export import web_server

FILES = {
    "index.html": ("text/html; charset=utf-8", b"<!doctype html>"),
    "app.js": ("text/javascript; charset=utf-8", b"export {}"),
    "manifest.json": ("application/json", b"{}"),
    "icon.svg": ("image/svg+xml", b"<svg/>"),
    "runtime/ort.mjs": ("text/javascript; charset=utf-8", b"export {}"),
    "runtime/ort.wasm": ("application/wasm", b"\0asm" * 100_000),
    "models/model.fp16.onnx": ("application/octet-stream", b"onnx"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secret.txt").write_text("secret")
    folder = tmp_path / "demo"
    for name, (_, data) in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / ".gitattributes").write_text("hidden")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    return folder


@pytest.fixture
def server(folder: Path) -> Iterator[web_server.DemoServer]:
    with web_server.DemoServer(folder, port=0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(
    server: web_server.DemoServer, path: str, method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("name", FILES)
def test_files_have_their_types_and_isolation(name: str, server: web_server.DemoServer) -> None:
    kind, data = FILES[name]
    status, headers, contents = ask(server, f"/{name}?h=0123456789ab")
    assert (status, headers["Content-Type"], contents) == (200, kind, data)
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    status, headers, contents = ask(server, f"/{name}", "HEAD")
    assert (status, headers["Content-Length"], contents) == (200, str(len(data)), b"")


def test_the_address_is_the_page(server: web_server.DemoServer) -> None:
    assert server.address == f"http://127.0.0.1:{server.server_address[1]}/"
    assert server.server_address[0] == "127.0.0.1"
    assert ask(server, "/")[2] == FILES["index.html"][1]


@pytest.mark.parametrize(
    "path",
    [
        "/absent.js",
        "/models",
        "/models/",
        "/runtime/",
        "/.gitattributes",
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/models/../../secret.txt",
        "/..%2fsecret.txt",
        "/..%5csecret.txt",
        "//secret.txt",
        "/link.txt",
        "/index.html/",
        "/index.html%00",
        "/C:/secret.txt",
        "/" + "x" * 5000,
        "/%ff%fe",
    ],
)
def test_nothing_else_is_handed_out(path: str, server: web_server.DemoServer) -> None:
    status, headers, contents = ask(server, path)
    assert status == 404
    assert b"secret\n" not in contents
    assert contents != b"secret"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_nothing_can_be_changed(method: str, server: web_server.DemoServer) -> None:
    assert ask(server, "/index.html", method)[0] == 501


def test_what_the_browser_has_is_not_sent_again(server: web_server.DemoServer, folder: Path) -> None:
    tag = ask(server, "/app.js")[1]["ETag"]
    assert ask(server, "/app.js", If_None_Match=tag)[0] == 304
    (folder / "app.js").write_bytes(b"export let a")
    assert ask(server, "/app.js", If_None_Match=tag)[2] == b"export let a"


@pytest.mark.parametrize(
    ("host", "status"), [("localhost", 200), ("127.0.0.1:99", 200), ("[::1]", 200), ("evil.example", 404), ("", 404)]
)
def test_a_strangers_name_for_this_machine_gets_nothing(host: str, status: int, server: web_server.DemoServer) -> None:
    """Else any page on the web could point its own name here and read the model."""
    assert ask(server, "/", Host=host)[0] == status


def test_a_server_for_others_answers_to_any_name(folder: Path) -> None:
    with web_server.DemoServer(folder, "0.0.0.0", 0) as server:
        assert not server.local
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        assert ask(server, "/", Host="workstation.example")[0] == 200
        server.shutdown()
        thread.join()


def test_a_visitor_who_goes_away_is_no_trouble(
    server: web_server.DemoServer, capfd: pytest.CaptureFixture[str]
) -> None:
    for said in (b"GET /runtime/ort.wasm HTTP/1.1\r\nHost: localhost\r\n\r\n", b"nonsense", b"\x16\x03\x01\x02\x00"):
        with socket.create_connection(("127.0.0.1", server.server_address[1]), timeout=10) as connection:
            connection.sendall(said)
    assert ask(server, "/")[0] == 200
    assert capfd.readouterr() == ("", "")


def test_a_taken_port(server: web_server.DemoServer, folder: Path) -> None:
    port = server.server_address[1]
    with pytest.raises(UserError, match=f"port {port} is taken by another program; choose with --port"):
        web_server.DemoServer(folder, port=port)


@pytest.mark.parametrize(
    ("host", "port", "said"),
    [("127.0.0.1", 70000, "from 0 to 65535"), ("203.0.113.7", 0, "no such address"), ("not a name", 0, "--host")],
)
def test_impossible_places(host: str, port: int, said: str, folder: Path) -> None:
    with pytest.raises(UserError, match=said):
        web_server.DemoServer(folder, host, port)


def test_a_folder_without_a_page(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no index\.html"):
        web_server.DemoServer(tmp_path)


def test_a_file_that_may_not_be_read(server: web_server.DemoServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert ask(server, "/app.js")[0] == 403
