from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segwright.classes import Classes
from segwright.data.sample import MOST_PIXELS, Sample, image_size_hw, read_image, read_mask, read_pair, read_raw_mask
from segwright.errors import DataError, PixelLimitError
from tests.tiny import draw_pair

TWO = Classes(names=("background", "thing"), notation="binary")


def gradient() -> np.ndarray:
    """(20, 30, 3) uint8: red grows to the right, green downwards."""
    image = np.zeros((20, 30, 3), np.uint8)
    image[..., 0] = np.arange(30) * 8
    image[..., 1] = np.arange(20)[:, None] * 12
    return image


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp", ".jpg"])
def test_every_file_type_gives_rgb(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(gradient()).save(path, lossless=True)  # only WebP has a choice
    image = read_image(path)
    assert image.shape == (20, 30, 3)
    assert image.dtype == np.uint8
    assert np.abs(image.astype(int) - gradient()).max() <= (40 if suffix == ".jpg" else 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_come_out_upright(tmp_path: Path, orientation: int) -> None:
    stored = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation](gradient())
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    assert (read_image(tmp_path / "a.png") == gradient()).all()
    assert image_size_hw(tmp_path / "a.png") == (20, 30)


def test_odd_pictures_become_rgb(tmp_path: Path) -> None:
    grey = gradient()[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert (read_image(tmp_path / "grey.png") == grey[..., None]).all()
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "sixteen.png")
    assert (read_image(tmp_path / "sixteen.png") == grey[..., None]).all()
    clear = np.dstack([gradient(), np.zeros((20, 30), np.uint8)])
    Image.fromarray(clear).save(tmp_path / "clear.png")
    assert (read_image(tmp_path / "clear.png") == 255).all()
    Image.fromarray(gradient()).quantize(16).save(tmp_path / "palette.png")
    assert np.abs(read_image(tmp_path / "palette.png").astype(int) - gradient()).mean() < 20
    Image.fromarray(gradient()).convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    assert np.abs(read_image(tmp_path / "print.jpg").astype(int) - gradient()).mean() < 8
    Image.fromarray(gradient()[..., 0] > 100).save(tmp_path / "bits.png")
    assert set(np.unique(read_image(tmp_path / "bits.png"))) == {0, 255}
    Image.fromarray(gradient()[..., 0].astype(np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(DataError, match="floating-point"):
        read_image(tmp_path / "float.tif")


def test_a_large_jpeg_may_be_decoded_smaller(tmp_path: Path) -> None:
    Image.fromarray(draw_pair(1, size_hw=(512, 768)).image).save(tmp_path / "a.jpg")
    assert read_image(tmp_path / "a.jpg", shrink_to_hw=(100, 100)).shape == (128, 192, 3)
    assert read_image(tmp_path / "a.jpg", shrink_to_hw=(500, 700)).shape == (512, 768, 3)


def test_raw_masks_are_not_interpreted(tmp_path: Path) -> None:
    class_map = np.arange(12, dtype=np.uint8).reshape(3, 4)
    palette = Image.fromarray(class_map)
    palette.putpalette([7] * 36)
    palette.save(tmp_path / "palette.png")
    assert (read_raw_mask(tmp_path / "palette.png") == class_map).all()
    Image.fromarray(class_map.astype(np.uint16) * 1000).save(tmp_path / "sixteen.png")
    assert (read_raw_mask(tmp_path / "sixteen.png") == class_map.astype(int) * 1000).all()
    Image.fromarray(class_map > 5).save(tmp_path / "bits.png")
    assert (read_raw_mask(tmp_path / "bits.png") == (class_map > 5) * 255).all()
    Image.fromarray(np.dstack([class_map] * 4)).save(tmp_path / "rgba.png")
    assert read_raw_mask(tmp_path / "rgba.png").shape == (3, 4, 3)
    Image.fromarray(np.dstack([class_map, class_map])).save(tmp_path / "la.png")
    assert (read_raw_mask(tmp_path / "la.png") == class_map).all()


def test_unowned_values_are_read_as_ignored(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 1, 9, 255]], np.uint8)).save(tmp_path / "a.png")
    assert read_mask(tmp_path / "a.png", Classes(names=("a", "b"))).tolist() == [[0, 1, 255, 255]]


def test_pairs(tmp_path: Path) -> None:
    pair = draw_pair(3)
    Image.fromarray(pair.image).save(tmp_path / "a.png")
    Image.fromarray(pair.class_map * np.uint8(255)).save(tmp_path / "m.png")
    image, class_map = read_pair(Sample("a", tmp_path / "a.png", tmp_path / "m.png"), TWO)
    assert (image == pair.image).all()
    assert (class_map == pair.class_map).all()
    with pytest.raises(DataError, match="no mask"):
        read_pair(Sample("a", tmp_path / "a.png"), TWO)
    Image.fromarray(pair.class_map[:-1]).save(tmp_path / "m.png")
    with pytest.raises(DataError, match=r"64x48.*64x47"):
        read_pair(Sample("a", tmp_path / "a.png", tmp_path / "m.png"), TWO)


@pytest.mark.parametrize("read", [read_image, read_raw_mask, image_size_hw])
def test_bad_files_are_named_in_one_sentence(tmp_path: Path, read: object) -> None:
    assert callable(read)
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "words.jpg").write_text("not a picture")
    for name, message in (
        ("empty.png", "0 bytes"),
        ("words.jpg", "not a picture"),
        ("gone.png", "does not exist"),
        ("", "folder"),
    ):
        with pytest.raises(DataError, match=message) as caught:
            read(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp"])
def test_truncated_files(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(draw_pair(0, size_hw=(200, 300)).image).save(path)
    path.write_bytes(path.read_bytes()[:-800])
    with pytest.raises(DataError, match=f"a{suffix}"):
        read_image(path)


def test_pictures_over_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(gradient()).save(tmp_path / "a.png")
    monkeypatch.setattr("segwright.data.sample.MOST_PIXELS", 599)
    with pytest.raises(PixelLimitError, match="30x20"):
        read_image(tmp_path / "a.png")
    assert MOST_PIXELS == 200_000_000


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_forbidden_files(tmp_path: Path) -> None:
    Image.fromarray(gradient()).save(tmp_path / "a.png")
    (tmp_path / "a.png").chmod(0)
    with pytest.raises(DataError, match="may not be read"):
        read_image(tmp_path / "a.png")
