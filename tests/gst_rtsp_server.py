"""GStreamer's RTSP server with a test picture, for a second opinion on what `tests/rtsp_server.py` does; Debian's Python has it.

/usr/bin/python3 tests/gst_rtsp_server.py    prints its port, and serves /h264 and /jpeg until its input ends.
"""

from __future__ import annotations

import sys
import threading

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PICTURE = "videotestsrc is-live=true pattern=white ! video/x-raw,format=I420,width=320,height=240,framerate=15/1"
WAYS = {
    "/h264": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 ! rtph264pay name=pay0 pt=96",
    "/jpeg": "jpegenc ! rtpjpegpay name=pay0 pt=26",
}


def main() -> None:
    Gst.init(None)
    server = GstRtspServer.RTSPServer(service="0", address="127.0.0.1")
    for path, encoding in WAYS.items():
        factory = GstRtspServer.RTSPMediaFactory(launch=f"( {PICTURE} ! {encoding} )", shared=True)
        server.get_mount_points().add_factory(path, factory)
    server.attach(None)
    print(server.get_bound_port(), flush=True)
    loop = GLib.MainLoop()
    threading.Thread(target=lambda: (sys.stdin.read(), loop.quit()), daemon=True).start()
    loop.run()


if __name__ == "__main__":
    main()
