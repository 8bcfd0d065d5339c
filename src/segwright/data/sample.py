"""Sample: one image and its mask on disk, and how both are read - with limits, EXIF rotation and errors that name the file."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from segwright.classes import Classes
from segwright.data.painting import painted, png
from segwright.data.shards import inside, read_file, spelled, stamp, url_of
from segwright.errors import DataError, PixelLimitError
from segwright.masks import class_map_from_raw, ignore_unowned

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"})
MASK_SUFFIXES = frozenset({".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg", ".webp"})

MOST_PIXELS = 200_000_000
"""A picture with more pixels is refused before it is decoded: it would take over 600 MB, and may be a decompression bomb."""

EXIF_ORIENTATION = 274
SIDEWAYS = frozenset({5, 6, 7, 8})
"""Orientations that swap height and width."""


@dataclass(frozen=True)
class Sample:
    """One image and its mask on disk."""

    key: str
    """Unique in its data set: the path below the split's image folder, without suffix."""
    image: Path
    """A file, or the address of one inside a shard (`data/shards.py`); read both with the functions below."""
    mask: Path | None = None
    """The same, or the address of a mask that is painted from annotations (`data/painting.py`)."""


def with_masks(splits: Mapping[str, tuple[Sample, ...]], masks: Mapping[Path, Path]) -> dict[str, tuple[Sample, ...]]:
    """The same samples with masks for some of them.

    Args:
        splits: split -> samples.
        masks: picture -> mask; pictures that are not in it keep theirs, or none.
    """
    return {
        split: tuple(replace(sample, mask=masks.get(sample.image, sample.mask)) for sample in part)
        for split, part in splits.items()
    }


def read_image(path: Path, *, shrink_to_hw: tuple[int, int] | None = None) -> np.ndarray:
    """Decode a picture, upright.

    Args:
        path: jpg, png, webp, tif or bmp; grey, palette, alpha and 16 bits are converted.
        shrink_to_hw: a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size while both sides stay at least this large.

    Returns:
        (H, W, 3) uint8 RGB, EXIF rotation applied.

    Raises:
        DataError: missing, empty, truncated, not a picture, or over `MOST_PIXELS`.
    """
    with opened(path) as picture:
        if shrink_to_hw and picture.format == "JPEG":
            picture.draft("RGB", (shrink_to_hw[1], shrink_to_hw[0]))
        turned = picture.getexif().get(EXIF_ORIENTATION, 1) != 1
        upright = ImageOps.exif_transpose(picture) if turned else picture
        return np.asarray(_to_rgb(upright))


def read_scaled(path: Path, size_of: Callable[[int, int], tuple[int, int]]) -> tuple[np.ndarray, tuple[int, int]]:
    """Decode a picture that will be shrunk, upright; a large JPEG at 1/2, 1/4 or 1/8, which is several times as fast.

    Only fractions that divide both sides are used. The decoder rounds others up, and its last row and column would then
    stand for less of the picture than the rest, so that picture and mask would drift apart.

    Args:
        path: as `read_image`.
        size_of: from the picture's (height, width) to those it will be shrunk to.

    Returns:
        (h, w, 3) uint8 RGB, at least as large as `size_of` said, and the picture's own (height, width).

    Raises:
        DataError: as `read_image`.
    """
    with opened(path) as picture:
        orientation = picture.getexif().get(EXIF_ORIENTATION, 1)
        height, width = (picture.width, picture.height) if orientation in SIDEWAYS else (picture.height, picture.width)
        wanted = size_of(height, width)
        if picture.format == "JPEG":
            whole = [d for d in (8, 4, 2) if height % d == width % d == 0]
            fitting = [d for d in whole if height // d >= wanted[0] and width // d >= wanted[1]]
            if fitting:
                picture.draft("RGB", (picture.width // fitting[0], picture.height // fitting[0]))
        upright = ImageOps.exif_transpose(picture) if orientation != 1 else picture
        return np.asarray(_to_rgb(upright)), (height, width)


def read_raw_mask(path: Path) -> np.ndarray:
    """Decode a mask without interpreting it.

    Returns:
        (H, W) uint8/uint16 for grey, palette and 1-bit files (palette indexes stay indexes), else (H, W, 3) uint8 RGB.

    Raises:
        DataError: as `read_image`.
    """
    with opened(path) as picture:
        turned = picture.getexif().get(EXIF_ORIENTATION, 1) != 1
        upright = ImageOps.exif_transpose(picture) if turned else picture
        if upright.mode in {"L", "P"}:
            return np.asarray(upright)
        if upright.mode == "1":
            return np.asarray(upright.convert("L"))
        if upright.mode.startswith("I;16") or upright.mode == "I":
            return np.clip(np.asarray(upright), 0, 65535).astype(np.uint16)
        if upright.mode == "LA":
            return np.asarray(upright.getchannel("L"))
        return np.asarray(upright.convert("RGB"))


def read_mask(path: Path, classes: Classes) -> np.ndarray:
    """Decode a mask into class numbers; values no class owns are ignored (the health check names them).

    Returns:
        class_map (H, W) uint8, 255 where ignored.

    Raises:
        DataError: as `read_image`.
    """
    return ignore_unowned(class_map_from_raw(read_raw_mask(path), classes))


def read_pair(sample: Sample, classes: Classes) -> tuple[np.ndarray, np.ndarray]:
    """Image (H, W, 3) uint8 RGB and class map (H, W) uint8 of one sample.

    Raises:
        DataError: as `read_image`, and when the sample has no mask or the sizes differ.
    """
    image, class_map = read_image(sample.image), read_mask(mask_of(sample), classes)
    require_same_size(sample, image.shape[:2], class_map.shape)
    return image, class_map


def mask_of(sample: Sample) -> Path:
    """Where the mask of a sample that must have one lies.

    Raises:
        DataError: it has none.
    """
    if sample.mask is None:
        raise DataError(f"{sample.image} has no mask; run: segwright check on its folder to see what is missing.")
    return sample.mask


def require_same_size(sample: Sample, image_hw: tuple[int, ...], mask_hw: tuple[int, ...]) -> None:
    """Refuse a mask of another size than its picture's.

    Raises:
        DataError: both sizes are named.
    """
    if image_hw != mask_hw:
        raise DataError(
            f"{sample.image} is {image_hw[1]}x{image_hw[0]} but its mask {sample.mask} is "
            f"{mask_hw[1]}x{mask_hw[0]}; run: segwright check DATA --fix OUT"
        )


def file_bytes(path: Path) -> bytes:
    """All bytes of a picture or mask, wherever they lie; those of a mask that is painted from annotations are a PNG's.

    Raises:
        OSError: as any file may, where it lies on a disk.
        DataError: annotations that cannot be painted, or as `read_file`.
    """
    drawn = painted(path)
    if drawn is None:
        return read_file(path)
    if drawn.kind == "coco":
        from segwright.data.coco import paint_coco

        return png(paint_coco(drawn.source, drawn.what))
    if drawn.kind == "labelme":
        from segwright.data.labelme import paint_labelme

        return png(paint_labelme(drawn.source, drawn.what))
    from segwright.data.yolo import paint_yolo

    return png(paint_yolo(drawn.source, image_size_hw(drawn.source.parent / drawn.what)))


def image_size_hw(path: Path) -> tuple[int, int]:
    """Height and width after EXIF rotation, read from the header alone.

    Raises:
        DataError: as `read_image`, except for truncated pixel data, which only decoding shows.
    """
    with opened(path) as picture:
        width, height = picture.size
        if picture.getexif().get(EXIF_ORIENTATION, 1) in SIDEWAYS:
            return width, height
        return height, width


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Open a picture or mask; only the header is read until its pixels are asked for.

    Raises:
        DataError: as `read_image`; it also stands for what goes wrong inside the block.
        PixelLimitError: over `MOST_PIXELS`.
    """
    place = spelled(path)
    try:
        with warnings.catch_warnings():
            # Our own limit below decides; Pillow's warnings would only repeat it in other words.
            warnings.simplefilter("ignore")
            elsewhere = inside(path) or painted(path) or url_of(path)
            picture = Image.open(io.BytesIO(file_bytes(path)) if elsewhere else path)
            width, height = picture.size
            if width * height > MOST_PIXELS:
                picture.close()
                raise PixelLimitError(
                    f"{place} is {width}x{height} pixels, more than the limit of {MOST_PIXELS // 1_000_000} million; "
                    "cut it into smaller pictures first, or predict a TIFF with --tile."
                )
            with picture:
                yield picture
    except FileNotFoundError as error:
        raise DataError(f"{place} does not exist; check the path.") from error
    except IsADirectoryError as error:
        raise DataError(f"{place} is a folder, not a picture; check the path.") from error
    except PermissionError as error:
        raise DataError(f"{place} may not be read; give yourself read permission.") from error
    except Image.DecompressionBombError as error:
        raise PixelLimitError(
            f"{place} has more pixels than the limit of {MOST_PIXELS // 1_000_000} million; "
            "cut it into smaller pictures first, or predict a TIFF with --tile."
        ) from error
    except UnidentifiedImageError as error:
        kind = "is empty (0 bytes)" if stamp(path)[0] == 0 else "is not a picture, whatever its name says"
        raise DataError(f"{place} {kind}; remove it or put the right file there.") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise DataError(f"{place} is damaged or truncated ({error}); remove it or copy it again.") from error


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I;16") or picture.mode == "I":
        # 16-bit grey: Pillow's own conversion clips at 255 instead of scaling by the type's range.
        return Image.fromarray((np.asarray(picture).clip(0, 65535) // 257).astype(np.uint8)).convert("RGB")
    if picture.mode == "F":
        raise ValueError("pixels are floating-point numbers, whose scale nobody can know")
    if picture.mode in {"RGBA", "LA", "PA"} or "transparency" in picture.info:
        flat = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        flat.alpha_composite(picture.convert("RGBA"))
        return flat.convert("RGB")
    return picture.convert("RGB")
