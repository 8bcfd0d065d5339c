"""TIFFs larger than memory: read a few rows at a time, and class maps written so too, with the tags that place them on the earth.

Tiles and strips are decoded one by one as they are needed; those that the next rows need again are kept. What a file says about its
own sizes is checked before it is believed: nothing is decoded to more than it may take.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segwright.classes import Classes
from segwright.errors import DataError, MissingExtraError
from segwright.outputs import file_being_written

if TYPE_CHECKING:
    from types import ModuleType

SUFFIXES = frozenset({".tif", ".tiff"})

LARGEST_SIDE = 1 << 20
"""Pixels."""

LARGEST_SEGMENT = 1 << 28
"""Bytes of one decoded tile or strip, 256 MiB; they are what is held in memory."""

MOST_SEGMENTS = 1 << 24

MOST_SAMPLES = 64
"""Bands of one pixel; the first three are the picture."""

READABLE = {"NONE", "LZW", "JPEG", "ADOBE_DEFLATE", "DEFLATE", "PACKBITS", "ZSTD"}
"""Compressions whose decoders are told beforehand how much may come out."""

TILE = 512
"""Side of the tiles of a class map."""

GEO_TAGS = (33550, 33922, 34264, 34735, 34736, 34737)
"""Pixel scale, tie points, transformation, and the three parts of the coordinate system."""


class LargeTiff:
    """Rows of the first picture in a TIFF; use as a context.

    Args:
        path: an 8-bit grey, RGB or many-band TIFF or BigTIFF, in tiles or strips; of many bands the first three are taken.

    Raises:
        DataError: missing, damaged, of another kind, or so laid out that it cannot be read in pieces.
        MissingExtraError: tifffile is not installed.
    """

    def __init__(self, path: Path) -> None:
        library = _library()
        self.path = path
        try:
            self._file = library.TiffFile(path)
        except FileNotFoundError as error:
            raise DataError(f"{path} does not exist; check the path.") from error
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror or error}); check its permissions.") from error
        except (library.TiffFileError, ValueError, struct.error, IndexError, KeyError) as error:
            raise DataError(f"{path} is not a TIFF or is damaged ({_said(error)}); copy it again.") from error
        try:
            self._page: Any = self._file.pages[0]
            self._examine()
        except DataError:
            self._file.close()
            raise
        except (library.TiffFileError, ValueError, struct.error, IndexError, KeyError, TypeError) as error:
            self._file.close()
            raise DataError(f"{path} is damaged ({_said(error)}); copy it again.") from error
        self._kept: dict[int, NDArray[np.uint8]] = {}

    def __enter__(self) -> LargeTiff:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width, 3."""
        return self._height, self._width, 3

    @property
    def geo_tags(self) -> tuple[tuple[int, int, int, Any, bool], ...]:
        """Tags that place the picture on the earth, as tifffile writes them; none in a plain picture."""
        found = []
        for code in GEO_TAGS:
            tag = self._page.tags.get(code)
            if tag is not None:
                found.append((code, int(tag.dtype), int(tag.count), tag.value, True))
        return tuple(found)

    def __getitem__(self, rows: slice) -> NDArray[np.uint8]:
        """Rows (rows, W, 3) uint8 RGB; asked for from top to bottom, each tile and strip is decoded once.

        Raises:
            DataError: a tile or strip is damaged.
        """
        start, stop, _ = rows.indices(self._height)
        high = self._segment_height
        first, last = start // high, -(-stop // high)
        for number in [number for number in self._kept if number < first]:
            del self._kept[number]
        found = np.empty((stop - start, self._width, 3), np.uint8)
        for number in range(first, last):
            if number not in self._kept:
                self._kept[number] = self._row_of_segments(number)
            top, bottom = max(start, number * high), min(stop, (number + 1) * high)
            found[top - start : bottom - start] = self._kept[number][top - number * high : bottom - number * high]
        return found

    def _examine(self) -> None:
        page, path = self._page, self.path
        self._height, self._width = int(page.imagelength), int(page.imagewidth)
        if not (0 < self._height <= LARGEST_SIDE and 0 < self._width <= LARGEST_SIDE):
            raise DataError(f"{path} says it has {self._width}x{self._height} pixels, more than can be; copy it again.")
        if page.bitspersample != 8 or page.sampleformat != 1:
            raise DataError(
                f"{path} has {page.bitspersample} bits per sample, and large TIFFs are read with 8; convert it, for example with: "
                "gdal_translate -ot Byte -scale"
            )
        if page.photometric.name not in {"MINISBLACK", "RGB", "YCBCR"} or not 1 <= page.samplesperpixel <= MOST_SAMPLES:
            raise DataError(
                f"{path} is {page.photometric.name} with {page.samplesperpixel} samples; convert it to RGB."
            )
        if page.compression.name not in READABLE:
            raise DataError(
                f"{path} is compressed by {page.compression.name}, and large TIFFs are read with {', '.join(sorted(READABLE))}; convert it."
            )
        self._planes = int(page.samplesperpixel) if page.planarconfig == 2 else 1
        if page.is_tiled:
            self._segment_height, self._segment_width = int(page.tilelength), int(page.tilewidth)
        else:
            self._segment_height, self._segment_width = int(min(page.rowsperstrip, self._height)), self._width
        samples = 1 if self._planes > 1 else int(page.samplesperpixel)
        size = self._segment_height * self._segment_width * samples
        if not 0 < size <= LARGEST_SEGMENT:
            raise DataError(
                f"{path} holds {self._segment_width}x{self._segment_height} pixels in one piece, which cannot be read in parts; "
                "cut it into tiles, for example with: gdal_translate -co TILED=YES"
            )
        self._across = -(-self._width // self._segment_width)
        self._down = -(-self._height // self._segment_height)
        count = self._across * self._down * self._planes
        if count > MOST_SEGMENTS or len(page.dataoffsets) != count or len(page.databytecounts) != count:
            raise DataError(f"{path} lists {len(page.dataoffsets)} pieces where {count} belong; copy it again.")

    def _row_of_segments(self, number: int) -> NDArray[np.uint8]:
        """One row of tiles, or one strip: (rows, W, 3)."""
        rows = min(self._segment_height, self._height - number * self._segment_height)
        found = np.zeros((rows, self._width, 3), np.uint8)
        for column in range(self._across):
            left = column * self._segment_width
            width = min(self._segment_width, self._width - left)
            place = found[:, left : left + width]
            for plane in range(min(self._planes, 3)):
                index = (plane * self._down + number) * self._across + column
                values = self._segment(index)
                if values is None:
                    continue  # a tile that was left out holds nothing
                values = values[:rows, :width]
                if self._planes == 1:
                    place[:] = values[..., :3] if values.shape[2] >= 3 else values[..., :1]
                else:
                    place[..., plane] = values[..., 0]
            if self._planes == 2:  # grey and something else
                place[..., 1:] = place[..., :1]
        return found

    def _segment(self, index: int) -> NDArray[np.uint8] | None:
        """(rows, columns, samples) of one tile or strip; None where the file leaves it out."""
        page = self._page
        offset, size = int(page.dataoffsets[index]), int(page.databytecounts[index])
        if size == 0:
            return None
        handle = self._file.filehandle
        if size > handle.size or size > 2 * LARGEST_SEGMENT:
            raise DataError(f"{self.path} is truncated: a piece of it lies behind its end; copy it again.")
        handle.seek(offset)
        data = handle.read(size)
        if len(data) != size:
            raise DataError(f"{self.path} is truncated: a piece of it lies behind its end; copy it again.")
        try:
            if page.compression.name == "JPEG":
                _require_size(data, self._segment_height, self._segment_width)
            values, _, _ = page.decode(data, index, jpegtables=page.jpegtables, jpegheader=page.jpegheader)
        except Exception as error:  # each of a dozen decoders has an error of its own
            raise DataError(f"{self.path} is damaged in piece {index} ({_said(error)}); copy it again.") from error
        return np.asarray(values[0], np.uint8)


def _require_size(data: bytes, height: int, width: int) -> None:
    """Refuse a JPEG whose own header promises more than its tile holds.

    Raises:
        ValueError: it does, or has no header.
    """
    place = 2
    while place + 9 < len(data) and data[place] == 0xFF:
        kind, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if 0xC0 <= kind <= 0xCF and kind not in {0xC4, 0xC8, 0xCC}:
            rows, columns = struct.unpack(">HH", data[place + 5 : place + 9])
            if rows > height or columns > width:
                raise ValueError(f"a JPEG of {columns}x{rows} in a tile of {width}x{height}")
            return
        place += 2 + length
    raise ValueError("a JPEG without a header")


def write_class_map(
    out: Path,
    size_hw: tuple[int, int],
    classes: Classes,
    bands: Iterable[NDArray[np.uint8]],
    geo_tags: tuple[tuple[int, int, int, Any, bool], ...] = (),
) -> Path:
    """Write a class map that never exists whole: deflated tiles of `TILE`, class numbers with the classes' colours.

    Args:
        out: a .tif file; BigTIFF where it may pass 4 GB.
        size_hw: of the class map.
        classes: whose colours.
        bands: its rows from top to bottom, (rows, W) uint8 each; pulled while the file is written.
        geo_tags: as `LargeTiff.geo_tags`.

    Raises:
        OutputError: it cannot be written.
    """
    library = _library()
    height, width = size_hw
    table = np.ascontiguousarray(classes.palette.T.astype(np.uint16) * 257)
    with (
        file_being_written(out) as partial,
        library.TiffWriter(partial, bigtiff=height * width > 3 * 2**30) as writer,
    ):
        writer.write(
            _tiles(bands, width),
            shape=size_hw,
            dtype=np.uint8,
            tile=(TILE, TILE),
            compression="adobe_deflate",
            photometric="palette",
            colormap=table,
            metadata=None,
            extratags=geo_tags,
            maxworkers=1,
            buffersize=1 << 24,
        )
    return out


def _tiles(bands: Iterable[NDArray[np.uint8]], width: int) -> Iterator[NDArray[np.uint8]]:
    """Tiles from left to right and top to bottom, filled up with zeros at the right and at the bottom."""
    padded = -(-width // TILE) * TILE
    waiting, filled = np.zeros((TILE, padded), np.uint8), 0
    for band in bands:
        taken = 0
        while taken < len(band):
            rows = min(TILE - filled, len(band) - taken)
            waiting[filled : filled + rows, :width] = band[taken : taken + rows]
            filled, taken = filled + rows, taken + rows
            if filled == TILE:
                # Copies: the writer may still hold a tile when its place is filled again.
                yield from (waiting[:, left : left + TILE].copy() for left in range(0, padded, TILE))
                waiting[:], filled = 0, 0
    if filled:
        yield from (waiting[:, left : left + TILE].copy() for left in range(0, padded, TILE))


def _library() -> ModuleType:
    try:
        import imagecodecs  # noqa: F401 - tifffile would read less without it
        import tifffile
    except ImportError as error:
        raise MissingExtraError("tifffile", "tiff") from error
    module: ModuleType = tifffile
    return module


def _said(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
