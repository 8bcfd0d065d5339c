"""A small RTSP camera on 127.0.0.1 for tests: H.264 over RTP, interleaved in the RTSP connection; it can be mistreated at will.

Every picture carries its number and the time at which it was drawn as rows of black and white blocks, so that a reader knows
what it sees and how late. `python tests/rtsp_server.py PORT` runs it as a process of its own, which can be killed.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np

BITS, BLOCK = 40, 8
"""Bits of a row of blocks, and pixels of a block."""
LARGEST_PACKET = 1400

SDP = "\r\n".join(
    [
        "v=0",
        "o=- 0 0 IN IP4 127.0.0.1",
        "s=camera",
        "c=IN IP4 0.0.0.0",
        "t=0 0",
        "m=video 0 RTP/AVP 96",
        "a=rtpmap:96 H264/90000",
        "a=fmtp:96 packetization-mode=1",
        "a=control:track1",
        "",
    ]
)


class Camera:
    """Draws, encodes and sends until it is stopped.

    Args:
        port: 0 takes a free one.
        size_wh: width, at least BITS * BLOCK, and height.
        fps: pictures a second.
        key_frames: pictures from one key frame to the next.
    """

    def __init__(
        self, port: int = 0, *, size_wh: tuple[int, int] = (320, 240), fps: float = 25.0, key_frames: int = 5
    ) -> None:
        self.size_wh, self.fps, self.key_frames = size_wh, fps, key_frames
        self.frozen = False
        """Says nothing more, but keeps connections."""
        self.garbage = 0
        """Packets still to be replaced by noise."""
        self.sent = 0
        """Pictures."""
        self._port = port
        self._clients: list[_Client] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self.start()

    @property
    def url(self) -> str:
        """Where to watch."""
        return f"rtsp://127.0.0.1:{self._port}/cam"

    def start(self) -> None:
        """Begin to serve, again at the same address after `kill`."""
        self._stop = threading.Event()
        self._server = socket.create_server(("127.0.0.1", self._port), reuse_port=False)
        self._port = self._server.getsockname()[1]
        self._threads = [
            threading.Thread(target=work, args=(self._stop,), daemon=True) for work in (self._accept, self._send)
        ]
        for thread in self._threads:
            thread.start()

    def kill(self) -> None:
        """Cut all connections, as a lost power supply does."""
        self._stop.set()
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        with self._lock:
            for client in self._clients:
                client.cut()
            self._clients.clear()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _accept(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            client = _Client(connection)
            with self._lock:
                self._clients.append(client)
            threading.Thread(target=client.talk, daemon=True).start()

    def _send(self, stop: threading.Event) -> None:
        began, number, encoder, size_wh = time.monotonic(), 0, None, (0, 0)
        while not stop.is_set():
            if size_wh != self.size_wh:
                size_wh = self.size_wh
                encoder = _encoder(size_wh, self.fps, self.key_frames)
            assert encoder is not None
            frame = av.VideoFrame.from_ndarray(picture(number, size_wh), format="rgb24").reformat(format="yuv420p")
            frame.pts = number
            stamp = int(number * 90_000 / self.fps) & 0xFFFFFFFF
            for packet in encoder.encode(frame):
                units = list(nal_units(bytes(packet)))
                with self._lock:
                    clients = [client for client in self._clients if client.playing]
                for client in clients:
                    if not self.frozen:
                        client.send(units, stamp, key=packet.is_keyframe, noise=self._noise())
                self.sent += 1
            number += 1
            stop.wait(max(began + number / self.fps - time.monotonic(), 0))

    def _noise(self) -> bool:
        if not self.garbage:
            return False
        self.garbage -= 1
        return True


class _Client:
    """One who watches."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.playing = False
        self._seen_key = False
        self._sequence = 0
        self._writing = threading.Lock()

    def cut(self) -> None:
        # Without lingering, the other side meets a reset and no farewell.
        with contextlib.suppress(OSError):
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()
        self.playing = False

    def talk(self) -> None:
        buffer = b""
        with contextlib.suppress(OSError):
            while data := self._connection.recv(4096):
                buffer += data
                while buffer:
                    if buffer[:1] == b"$":  # a report of the receiver
                        length = 4 + struct.unpack(">H", buffer[2:4])[0] if len(buffer) >= 4 else len(buffer) + 1
                        if len(buffer) < length:
                            break
                        buffer = buffer[length:]
                        continue
                    head, found, rest = buffer.partition(b"\r\n\r\n")
                    if not found:
                        break
                    buffer = rest
                    self._answer(head.decode("latin-1"))
        self.playing = False

    def _answer(self, request: str) -> None:
        method = request.split(" ", 1)[0]
        number = next(line.split(":")[1].strip() for line in request.splitlines() if line.lower().startswith("cseq"))
        head, body = [f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\nSession: 1"], ""
        if method == "OPTIONS":
            head.append("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER")
        elif method == "DESCRIBE":
            body = SDP
            head += ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
        elif method == "SETUP":
            head.append("Transport: RTP/AVP/TCP;unicast;interleaved=0-1;ssrc=00000001")
        with self._writing:
            self._connection.sendall(("\r\n".join(head) + "\r\n\r\n" + body).encode("latin-1"))
        self.playing = self.playing or method == "PLAY"

    def send(self, units: list[bytes], stamp: int, *, key: bool, noise: bool) -> None:
        self._seen_key = self._seen_key or key
        if not self._seen_key:
            return
        payloads = [payload for unit in units for payload in payloads_of(unit)]
        if noise:
            payloads = [random.Random(stamp).randbytes(len(payload)) for payload in payloads]
        try:
            with self._writing:
                for at, payload in enumerate(payloads):
                    marker = 0x80 if at == len(payloads) - 1 else 0
                    packet = struct.pack(">BBHII", 0x80, 96 | marker, self._sequence, stamp, 1) + payload
                    self._sequence = (self._sequence + 1) & 0xFFFF
                    self._connection.sendall(struct.pack(">BBH", 0x24, 0, len(packet)) + packet)
        except OSError:
            self.playing = False


def _encoder(size_wh: tuple[int, int], fps: float, key_frames: int) -> av.VideoCodecContext:
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height = size_wh
    encoder.pix_fmt = "yuv420p"
    encoder.time_base = 1 / Fraction(fps).limit_denominator(1000)
    encoder.gop_size = key_frames
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "24", "threads": "1"}
    return encoder


def nal_units(stream: bytes) -> Iterator[bytes]:
    """Units of an Annex B byte stream, without start codes."""
    for part in stream.split(b"\x00\x00\x01")[1:]:
        yield part.rstrip(b"\x00") if part.endswith(b"\x00") else part


def payloads_of(unit: bytes) -> Iterator[bytes]:
    """RTP payloads of a unit (RFC 6184): itself, or fragments of type FU-A."""
    if len(unit) <= LARGEST_PACKET:
        yield unit
        return
    head, body = unit[0], unit[1:]
    for at in range(0, len(body), LARGEST_PACKET):
        first, last = 0x80 * (at == 0), 0x40 * (at + LARGEST_PACKET >= len(body))
        yield bytes([head & 0xE0 | 28, first | last | head & 0x1F]) + body[at : at + LARGEST_PACKET]


def picture(number: int, size_wh: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 RGB: two rows of blocks, and below them a bright bar that walks to the right."""
    width, height = size_wh
    image = np.full((height, width, 3), 30, np.uint8)
    for row, value in enumerate((number, int(time.time() * 1000))):
        bits = (value >> np.arange(BITS)) & 1
        blocks = np.repeat(np.repeat(bits[None] * 225 + 15, BLOCK, axis=0), BLOCK, axis=1)
        image[row * BLOCK : (row + 1) * BLOCK, : BITS * BLOCK] = blocks[..., None]
    left = number * 3 % (width - 40)
    image[height // 2 : height // 2 + 60, left : left + 40] = 230
    return image


def read_picture(image: np.ndarray) -> tuple[int, float]:
    """Number of a picture as a reader got it, and how many seconds ago it was drawn."""
    values = []
    for row in range(2):
        middle = image[row * BLOCK + BLOCK // 2, BLOCK // 2 : BITS * BLOCK : BLOCK].mean(axis=1)
        values.append(int(((middle > 128) * (1 << np.arange(BITS))).sum()))
    return values[0], (int(time.time() * 1000) - values[1]) % (1 << BITS) / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description="A camera for tests.")
    parser.add_argument("port", type=int)
    parser.add_argument("--fps", type=float, default=25.0)
    parser.add_argument("--size", default="320x240")
    parser.add_argument("--seconds", type=float, default=1e9)
    said = parser.parse_args()
    width, height = (int(side) for side in said.size.split("x"))
    with Camera(said.port, size_wh=(width, height), fps=said.fps):
        time.sleep(said.seconds)


if __name__ == "__main__":
    main()
