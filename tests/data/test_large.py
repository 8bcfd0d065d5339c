"""TIFFs read a few rows at a time: every layout against the whole picture, and files that lie about themselves."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segwright.classes import Classes
from segwright.data import large
from segwright.data.large import LargeTiff, write_class_map
from segwright.errors import DataError

tifffile = pytest.importorskip("tifffile", reason="the extra segwright[tiff] is not installed")

HEIGHT, WIDTH = 150, 203
GEO = [
    (33550, "d", 3, (0.5, 0.5, 0.0), True),
    (33922, "d", 6, (0.0, 0.0, 0.0, 400000.0, 5000000.0, 0.0), True),
    (34735, "H", 8, (1, 1, 0, 1, 1024, 0, 1, 1), True),
    (34737, "s", 0, "UTM 33N|", True),
]


def picture(channels: int = 3) -> np.ndarray:
    """Smooth, so that JPEG changes little, with a mark that shows a tile in the wrong place."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    planes = [(rows + 40 * n) % 256 if n % 2 else (columns * 255 // WIDTH) for n in range(channels)]
    return np.stack(planes, axis=2).astype(np.uint8)


LAYOUTS: dict[str, dict[str, Any]] = {
    "strips": {"rowsperstrip": 7},
    "tiles": {"tile": (32, 48)},
    "deflate": {"tile": (64, 64), "compression": "adobe_deflate", "predictor": True},
    "lzw": {"rowsperstrip": 16, "compression": "lzw"},
    "zstd": {"tile": (64, 64), "compression": "zstd"},
    "big": {"tile": (64, 64), "bigtiff": True},
    "one strip": {"rowsperstrip": HEIGHT},
    "planes": {"tile": (64, 64), "planarconfig": "separate"},
}


def written(path: Path, image: np.ndarray, *, bigtiff: bool = False, **layout: Any) -> Path:
    if layout.get("planarconfig") == "separate":
        image = np.ascontiguousarray(image.transpose(2, 0, 1))
    layout.setdefault("photometric", "rgb" if 3 in image.shape[:1] + image.shape[2:] else "minisblack")
    tifffile.imwrite(path, image, bigtiff=bigtiff, **layout)
    return path


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_are_those_of_the_whole(layout: str, tmp_path: Path) -> None:
    image = picture()
    with LargeTiff(written(tmp_path / "a.tif", image, **LAYOUTS[layout])) as tiff:
        assert tiff.shape == image.shape
        for start, stop in ((0, 40), (20, 60), (21, 21), (60, 150), (149, 500)):
            assert np.array_equal(tiff[start:stop], image[start:stop])


def test_jpeg_tiles_are_read_in_rgb(tmp_path: Path) -> None:
    image = picture()
    path = written(tmp_path / "a.tif", image, tile=(64, 64), compression="jpeg", compressionargs={"level": 95})
    with LargeTiff(path) as tiff:
        assert np.abs(tiff[0:HEIGHT].astype(int) - image.astype(int)).mean() < 6


@pytest.mark.parametrize("channels", [1, 2, 4, 5])
@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_grey_is_spread_and_of_many_bands_three_are_taken(channels: int, planes: str, tmp_path: Path) -> None:
    image = picture(channels)
    layout: dict[str, Any] = {} if channels == 1 else {"planarconfig": planes}
    pixels = image[..., 0] if channels == 1 else image
    path = written(tmp_path / "a.tif", pixels, tile=(64, 64), photometric="minisblack", **layout)
    expected = image[..., :3] if channels >= 3 else np.repeat(image[..., :1], 3, axis=2)
    with LargeTiff(path) as tiff:
        assert np.array_equal(tiff[0:HEIGHT], expected)


def test_each_tile_is_decoded_once_on_the_way_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    segment = LargeTiff._segment

    def counting(self: LargeTiff, index: int) -> Any:
        decoded.append(index)
        return segment(self, index)

    monkeypatch.setattr(LargeTiff, "_segment", counting)
    with LargeTiff(written(tmp_path / "a.tif", picture(), tile=(32, 48))) as tiff:
        for start in range(0, HEIGHT, 20):
            tiff[start : start + 50]
            assert len(tiff._kept) <= 3, "rows above are dropped"
    assert sorted(decoded) == list(range(5 * 5))


def damaged(path: Path, tag: int, values: bytes) -> None:
    """Overwrite the value field of a tag in the first directory of a little-endian TIFF."""
    data = bytearray(path.read_bytes())
    (place,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, place)
    for number in range(count):
        entry = place + 2 + 12 * number
        if struct.unpack_from("<H", data, entry)[0] == tag:
            data[entry + 8 : entry + 8 + len(values)] = values
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("absent", "does not exist"),
        ("empty", "not a TIFF"),
        ("text", "not a TIFF"),
        ("half", "truncated|damaged"),
        ("wide", "pixels, more than can be|pieces where"),
        ("sixteen", "16 bits"),
        ("palette", "PALETTE"),
        ("one huge strip", "TILED=YES"),
        ("webp", "compressed by WEBP"),
        ("folder", "cannot be read"),
    ],
)
def test_files_that_cannot_be_read_in_pieces_are_refused(
    case: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tif"
    if case == "empty":
        path.write_bytes(b"")
    elif case == "text":
        path.write_text("no picture")
    elif case == "folder":
        path.mkdir()
    elif case == "sixteen":
        tifffile.imwrite(path, np.zeros((40, 40), np.uint16), tile=(16, 16))
    elif case == "palette":
        tifffile.imwrite(path, picture()[..., 0], photometric="palette", colormap=np.zeros((3, 256), np.uint16))
    elif case == "webp":
        written(path, picture(), tile=(64, 64), compression="webp")
    elif case != "absent":
        written(path, picture(), rowsperstrip=HEIGHT if case == "one huge strip" else 10)
    if case == "half":
        path.write_bytes(path.read_bytes()[: HEIGHT * WIDTH])
    if case == "wide":
        damaged(path, 256, struct.pack("<I", 1 << 30))
    if case == "one huge strip":
        monkeypatch.setattr(large, "LARGEST_SEGMENT", HEIGHT * WIDTH * 3 - 1)
    with pytest.raises(DataError, match=reason), LargeTiff(path) as tiff:
        tiff[0:HEIGHT]


def test_a_tile_that_unpacks_to_more_than_its_place_is_refused(tmp_path: Path) -> None:
    import zlib

    path = written(tmp_path / "bomb.tif", np.zeros((64, 64, 3), np.uint8), tile=(64, 64), compression="adobe_deflate")
    bomb = zlib.compress(bytes(200_000_000), 9)
    offset = path.stat().st_size
    with path.open("ab") as stream:
        stream.write(bomb)
    damaged(path, 324, struct.pack("<I", offset))
    damaged(path, 325, struct.pack("<I", len(bomb)))
    with LargeTiff(path) as tiff, pytest.raises(DataError, match="damaged in piece 0"):
        tiff[0:64]


def test_a_jpeg_that_is_larger_than_its_tile_is_refused(tmp_path: Path) -> None:
    import cv2

    path = written(tmp_path / "a.tif", picture()[:64, :64], tile=(64, 64), compression="jpeg")
    _, larger = cv2.imencode(".jpg", np.zeros((2000, 2000, 3), np.uint8))
    offset = path.stat().st_size
    with path.open("ab") as stream:
        stream.write(larger.tobytes())
    damaged(path, 324, struct.pack("<I", offset))
    damaged(path, 325, struct.pack("<I", len(larger)))
    with LargeTiff(path) as tiff, pytest.raises(DataError, match="a JPEG of 2000x2000"):
        tiff[0:64]


@pytest.mark.parametrize("heights", [[150], [1] * 150, [100, 50], [7] * 21 + [3]])
def test_a_class_map_comes_back_with_colours_and_its_place(
    heights: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large, "TILE", 64)
    classes = Classes(names=("water", "land", "road"))
    class_map = np.random.default_rng(0).integers(0, 3, (HEIGHT, WIDTH), np.uint8)
    source = written(tmp_path / "source.tif", picture(), tile=(64, 64), extratags=GEO)
    with LargeTiff(source) as tiff:
        tags = tiff.geo_tags
    starts = np.cumsum([0, *heights])
    bands = (class_map[a:b] for a, b in itertools.pairwise(starts))
    out = write_class_map(tmp_path / "out.tif", (HEIGHT, WIDTH), classes, bands, tags)
    with tifffile.TiffFile(out) as file:
        page = file.pages[0]
        assert np.array_equal(page.asarray(), class_map)
        assert page.is_tiled
        assert page.tags[33550].value == (0.5, 0.5, 0.0)
        assert page.tags[33922].value[3:5] == (400000.0, 5000000.0)
        assert page.tags[34735].value == (1, 1, 0, 1, 1024, 0, 1, 1)
        assert page.tags[34737].value.rstrip("\0") == "UTM 33N|"
        assert np.array_equal(page.colormap[:, :3].T // 257, np.array(classes.colours))
