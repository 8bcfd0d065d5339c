from __future__ import annotations

import csv
import io
import json
import os
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter
from rich.console import Console

from segwright.data.health import Health, check
from segwright.data.layouts import find_dataset
from segwright.data.repair import repair
from segwright.data.sample import read_image, read_mask, read_pair
from segwright.errors import DataError, OutputError
from tests.tiny import draw_pair, make_dataset, write_mask


def health_of(root: Path, *, quick: bool = False) -> Health:
    return check(find_dataset(root), quick=quick, progress=False)


def kinds(health: Health) -> dict[str, str]:
    return {finding.kind: finding.severity for finding in health.findings}


def printed(health: Health) -> str:
    console = Console(file=io.StringIO(), width=2000)
    health.render(console)
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize(
    ("notation", "classes"), [("binary", 2), ("soft", 2), ("index", 4), ("palette", 3), ("colour", 3)]
)
def test_a_sound_set_has_no_findings(tmp_path: Path, notation: str, classes: int, quick: bool) -> None:
    health = health_of(make_dataset(tmp_path, notation=notation, classes=classes), quick=quick)
    assert not health.findings
    assert not health.spoils
    assert health.counts["train"] == {"pictures": 6, "masks": 6, "masks_decoded": 6}
    assert health.sizes == (((48, 64), 12),)
    for split in ("train", "val", "test"):
        assert sum(health.shares[split].values()) == pytest.approx(1.0)
        assert all(share > 0 for share in health.shares[split].values())
    assert "Nothing is wrong" in printed(health)


def test_shares_are_those_of_the_pixels(tmp_path: Path) -> None:
    health = health_of(make_dataset(tmp_path, splits={"train": 2, "val": 1}))
    truth = np.mean([draw_pair(n).class_map for n in range(2)])
    assert health.shares["train"]["disc"] == pytest.approx(truth)


def test_partners_and_damage_are_counted_and_named(tmp_path: Path) -> None:
    root = make_dataset(tmp_path, splits={"train": 12, "val": 3})
    train = root / "train"
    (train / "masks" / "aaa.png").unlink()
    (train / "images" / "aab.png").unlink()
    (train / "images" / "aac.png").write_bytes(b"")
    (train / "images" / "aad.png").write_text("these are words")
    torn = (train / "images" / "aae.png").read_bytes()
    (train / "images" / "aae.png").write_bytes(torn[: len(torn) // 2])
    whole = (train / "masks" / "aaf.png").read_bytes()
    (train / "masks" / "aaf.png").write_bytes(whole[: len(whole) // 2])
    health = health_of(root)
    assert kinds(health) == {
        "unreadable_picture": "spoils",
        "unreadable_mask": "spoils",
        "picture_without_mask": "warns",
        "mask_without_picture": "warns",
    }
    unreadable = health.of_kind("unreadable_picture")
    assert unreadable is not None
    assert unreadable.count == 3
    assert [path.name for path in unreadable.files] == ["aac.png", "aad.png", "aae.png"]
    assert health.spoils
    text = printed(health)
    assert "train/images/aac.png" in text
    assert "is empty (0 bytes)" in text


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises a size and holds no pixels."""
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"")),
        (b"IEND", b""),
    )
    packed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def test_a_picture_over_the_limit_is_not_decoded(tmp_path: Path) -> None:
    root = make_dataset(tmp_path)
    bomb = png_header(40_000, 40_000)  # a few bytes on disk, 4.8 gigabytes as RGB
    (root / "train" / "images" / "aaa.png").write_bytes(bomb)
    for quick in (True, False):
        finding = health_of(root, quick=quick).of_kind("too_many_pixels")
        assert finding is not None
        assert (finding.severity, finding.count) == ("spoils", 1)


def test_sizes_that_differ(tmp_path: Path) -> None:
    root = make_dataset(tmp_path)
    for name, size in (("aaa", (32, 24)), ("aab", (40, 24))):
        mask = root / "train" / "masks" / f"{name}.png"
        Image.open(mask).resize(size, Image.Resampling.NEAREST).save(mask)
    finding = health_of(root, quick=True).of_kind("size_differs")
    assert finding is not None
    assert finding.count == 2
    assert "32x24 instead of 64x48" in finding.message
    assert "only scaled: 1" in finding.message


def turn(path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    Image.open(path).save(path, exif=exif, quality=95)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_exif_rotation_is_explained_and_mended(tmp_path: Path, orientation: int) -> None:
    root = make_dataset(tmp_path / "data", suffix=".jpg")
    turn(root / "train" / "images" / "aaa.jpg", orientation)
    turn(root / "train" / "images" / "aab.jpg", 3)
    health = health_of(root)
    assert kinds(health) == {"exif_rotation": "spoils", "exif_unsure": "notes"}
    repaired = repair(find_dataset(root), health, tmp_path / "out", progress=False)
    assert repaired.kept == 12
    mended = health_of(tmp_path / "out")
    assert not mended.findings
    sample = next(s for s in repaired.dataset.splits["train"] if s.key == "aaa")
    image, class_map = read_pair(sample, repaired.dataset.classes)
    assert np.abs(image.astype(int) - read_image(root / "train" / "images" / "aaa.jpg")).mean() < 3.0
    # The disc is brighter than anything else, so the turned mask must lie on bright pixels.
    assert image[class_map == 1].mean() > image[class_map == 0].mean() + 50


def test_values_no_class_owns(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "data", notation="index", classes=3)
    mask = root / "train" / "masks" / "aaa.png"
    raw = np.array(Image.open(mask))
    raw[:10] = 9
    Image.fromarray(raw).save(mask)
    health = health_of(root)
    finding = health.of_kind("unowned_values")
    assert finding is not None
    assert finding.severity == "spoils"
    assert "(9)" in finding.message
    repaired = repair(find_dataset(root), health, tmp_path / "out", progress=False)
    assert not health_of(tmp_path / "out").findings
    assert set(np.unique(np.array(Image.open(repaired.dataset.splits["train"][0].mask or "")))) <= {0, 1, 2, 255}


def test_black_and_white_where_numbers_are_declared(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "data", notation="binary")
    (root / "classes.csv").write_text("index,name\n0,background\n1,cat\n2,dog\n")
    for quick in (True, False):
        health = health_of(root, quick=quick)
        assert kinds(health)["0_255_for_index"] == "spoils"
    repaired = repair(find_dataset(root), health, tmp_path / "out", progress=False)
    assert repaired.dataset.classes.names == ("background", "foreground")
    assert not health_of(tmp_path / "out").findings


def test_foreground_written_as_one_among_white(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "data")
    write_mask(root / "train" / "masks" / "aaa.png", draw_pair(0).class_map, "index")
    health = health_of(root)
    assert kinds(health) == {"dark_foreground": "spoils"}
    repaired = repair(find_dataset(root), health, tmp_path / "out", progress=False)
    first = repaired.dataset.splits["train"][0]
    assert (read_pair(first, repaired.dataset.classes)[1] == draw_pair(0).class_map).all()
    assert not health_of(tmp_path / "out").findings


def test_classes_without_pixels(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "data", notation="index", classes=4)
    (root / "classes.csv").write_text("index,name\n0,a\n1,b\n2,c\n3,d\n4,unicorn\n")
    for mask in (root / "val" / "masks").iterdir():
        Image.fromarray(np.minimum(np.array(Image.open(mask)), 2)).save(mask)
    health = health_of(root)
    assert kinds(health) == {"class_without_pixels": "spoils", "class_missing_in_split": "warns"}
    assert "unicorn" in health.findings[0].message
    assert "val" in health.findings[1].message
    repaired = repair(find_dataset(root), health, tmp_path / "out", progress=False)
    assert repaired.dataset.classes.names == ("a", "b", "c", "d")
    assert ("classes.csv", "classes without a pixel left out: unicorn") in repaired.rows


def test_empty_and_ignored_masks(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "data", notation="index", classes=3)
    masks = sorted((root / "train" / "masks").iterdir())
    write_mask(masks[0], np.zeros((48, 64), np.uint8), "index")
    write_mask(masks[1], np.full((48, 64), 255, np.uint8), "index")
    health = health_of(root)
    assert kinds(health) == {"empty_masks": "notes", "all_ignored": "warns"}
    assert health.ignored["train"] == pytest.approx(1 / 6)
    assert repair(find_dataset(root), health, tmp_path / "out", progress=False).dropped == 1
    for mask in masks:
        write_mask(mask, np.zeros((48, 64), np.uint8), "index")
    for split in ("val", "test"):
        shutil.rmtree(root / split)
    assert kinds(health_of(root))["empty_masks"] == "spoils"


def test_swapped_black_and_white(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "data")
    for mask in root.rglob("masks/*.png"):
        Image.fromarray(255 - np.array(Image.open(mask))).save(mask)
    health = health_of(root)
    assert kinds(health) == {"inverted_masks": "warns"}
    assert not health.spoils
    repaired = repair(find_dataset(root), health, tmp_path / "out", progress=False)
    first = repaired.dataset.splits["train"][0]
    assert (read_pair(first, repaired.dataset.classes)[1] == draw_pair(0).class_map).all()


def test_the_same_picture_in_train_and_test(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "data", splits={"train": 8, "val": 3, "test": 3})
    for kind in ("images", "masks"):
        shutil.copy(root / "train" / kind / "aab.png", root / "test" / kind / "other.png")
    for quick in (True, False):
        health = health_of(root, quick=quick)
        assert kinds(health) == {"same_picture_in_two_splits": "spoils"}
        assert [path.name for path in health.findings[0].files] == ["other.png"]
    repaired = repair(find_dataset(root), health, tmp_path / "out", progress=False)
    assert {split: len(samples) for split, samples in repaired.dataset.splits.items()} == {
        "train": 7,
        "val": 3,
        "test": 4,
    }
    assert ("train/images/aab.png", "left out: the same picture is in test") in repaired.rows
    assert not health_of(tmp_path / "out").findings


def test_val_equal_to_train(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "data", splits={"train": 4})
    shutil.copytree(root / "train", root / "val")
    health = health_of(root, quick=True)
    assert kinds(health) == {"val_equals_train": "spoils"}
    repaired = repair(find_dataset(root), health, tmp_path / "out", progress=False)
    assert {split: len(samples) for split, samples in repaired.dataset.splits.items()} == {"train": 4}
    assert sorted(p.name for p in (tmp_path / "out" / "train" / "images").iterdir())[0] == "aaa.png"


def test_nearly_the_same_picture_warns(tmp_path: Path) -> None:
    root = make_dataset(tmp_path)
    copy = Image.open(root / "train" / "images" / "aab.png").resize((32, 24)).resize((64, 48))
    copy.save(root / "test" / "images" / "other.jpg", quality=60)
    shutil.copy(root / "train" / "masks" / "aab.png", root / "test" / "masks" / "other.png")
    health = health_of(root)
    assert kinds(health) == {"near_duplicates": "warns"}
    assert [path.name for path in health.findings[0].files] == ["other.jpg"]
    assert not health.spoils


def test_flat_grey_pictures_are_not_called_near(tmp_path: Path) -> None:
    root = make_dataset(tmp_path)
    for n, split in enumerate(("train", "val", "test")):
        for m, path in enumerate((root / split / "images").iterdir()):
            Image.new("RGB", (64, 48), (n * 60 + m, 90, 90)).save(path)
    assert "near_duplicates" not in kinds(health_of(root))


def test_too_few_pairs(tmp_path: Path) -> None:
    assert kinds(health_of(make_dataset(tmp_path / "one", splits={"train": 1, "val": 2})))["too_few"] == "spoils"
    assert kinds(health_of(make_dataset(tmp_path / "test", splits={"test": 2})))["too_few"] == "warns"
    assert kinds(health_of(make_dataset(tmp_path / "none", layout="pictures"))) == {"no_masks": "spoils"}


def test_things_good_to_know(tmp_path: Path) -> None:
    root = make_dataset(tmp_path, layout="flat", declared=False)
    images = sorted((root / "images").iterdir())
    Image.open(images[0]).convert("L").save(images[0])
    Image.open(images[1]).convert("RGBA").save(images[1])
    Image.fromarray(np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 21).save(images[2])
    for mask in sorted((root / "masks").iterdir())[:3]:
        Image.open(mask).filter(ImageFilter.SMOOTH).save(mask.with_suffix(".jpg"))
        mask.unlink()
    health = health_of(root)
    assert kinds(health) == {
        "classes_guessed": "notes",
        "grey_pictures": "notes",
        "transparent_pictures": "notes",
        "16_bit_pictures": "notes",
        "jpeg_masks": "notes",
    }


def test_a_test_part_without_masks_is_kept(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "data")
    shutil.rmtree(root / "test" / "masks")
    health = health_of(root)
    assert kinds(health) == {"split_without_masks": "notes"}
    repaired = repair(find_dataset(root), health, tmp_path / "out", progress=False)
    assert [len(samples) for samples in repaired.dataset.splits.values()] == [6, 3, 3]


def test_findings_as_json(tmp_path: Path) -> None:
    root = make_dataset(tmp_path, notation="index", classes=3)
    (root / "train" / "images" / "aaa.png").write_bytes(b"")
    raw = json.loads(json.dumps(health_of(root).to_dict()))
    assert raw["spoils"] is True
    assert raw["findings"][0]["files"] == ["train/images/aaa.png"]
    assert raw["counts"]["train"]["pictures"] == 6
    assert raw["sizes"] == [{"height": 48, "width": 64, "pictures": 11}]


def test_a_quick_check_does_not_say_nowhere(tmp_path: Path) -> None:
    root = make_dataset(tmp_path, layout="flat", notation="index", classes=3, splits={"train": 70}, size_hw=(16, 24))
    (root / "classes.csv").write_text("index,name\n0,a\n1,b\n2,c\n3,rare\n")
    assert kinds(health_of(root, quick=True)) == {"class_without_pixels": "notes"}
    assert kinds(health_of(root)) == {"class_without_pixels": "spoils"}


# --- mended copies -----------------------------------------------------------------------------------------------------


def test_a_mended_copy_keeps_bytes_and_lists_what_was_done(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "data", suffix=".jpg")
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    (root / "train" / "images" / "aab.jpg").write_bytes(b"")
    small = root / "train" / "masks" / "aac.png"
    Image.open(small).resize((32, 24), Image.Resampling.NEAREST).save(small)
    (root / "val" / "images" / "aag.jpg").unlink()
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    repaired = repair(find_dataset(root), health_of(root, quick=True), tmp_path / "out", progress=False)
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
    out = tmp_path / "out"
    assert (out / "train" / "images" / "aaa.jpg").read_bytes() == before[root / "train" / "images" / "aaa.jpg"]
    with (out / "repairs.csv").open(newline="") as file:
        rows = dict(list(csv.reader(file))[1:])
    assert rows.keys() == {"train/images/aab.jpg", "train/masks/aac.png", "val/masks/aag.png"}
    assert rows["train/masks/aac.png"] == "scaled from 32x24 to 64x48"
    assert (repaired.kept, repaired.dropped) == (10, 1)
    assert not health_of(out).findings
    assert (out / "classes.csv").read_text() == "index,name,r,g,b,ignore\n0,background,0,0,0,0\n1,disc,0,255,255,0\n"
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("layout", ["flat", "side_by_side", "name_lists"])
@pytest.mark.parametrize(("notation", "classes"), [("colour", 3), ("soft", 2), ("index", 4)])
def test_a_mended_copy_has_the_same_masks(tmp_path: Path, layout: str, notation: str, classes: int) -> None:
    root = make_dataset(tmp_path / "data", layout=layout, notation=notation, classes=classes, mask_suffix="_mask")
    dataset = find_dataset(root)
    copy = repair(dataset, health_of(root), tmp_path / "out", progress=False).dataset
    assert copy.splits.keys() == dataset.splits.keys()
    assert copy.classes.names == dataset.classes.names
    for split, samples in dataset.splits.items():
        for one, other in zip(samples, copy.splits[split], strict=True):
            assert one.mask is not None
            assert other.mask is not None
            assert (read_mask(one.mask, dataset.classes) == read_mask(other.mask, copy.classes)).all()


def test_a_copy_is_never_written_into_the_data(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "data")
    for out in (root, root / "mended", tmp_path / "data" / ".." / "data" / "x"):
        with pytest.raises(OutputError, match="inside the data set"):
            repair(find_dataset(root), health_of(root), out, progress=False)
    with pytest.raises(OutputError, match="not empty"):
        repair(find_dataset(root), health_of(root), tmp_path, progress=False)


def test_nothing_left_to_keep(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "data", splits={"train": 2})
    for picture in (root / "train" / "images").iterdir():
        picture.write_bytes(b"")
    with pytest.raises(DataError, match="Nothing"):
        repair(find_dataset(root), health_of(root), tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_that_may_not_be_read(tmp_path: Path) -> None:
    root = make_dataset(tmp_path)
    (root / "train" / "images" / "aaa.png").chmod(0)
    assert "may not be read" in health_of(root).findings[0].message


@pytest.mark.parametrize("name", ["camvid-small", "cards-real", "person"])
def test_real_sets_raise_no_alarm(shared_data: Path, name: str) -> None:
    health = health_of(shared_data / name, quick=name != "cards-real")
    assert {finding.severity for finding in health.findings} <= {"notes"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["camvid-small", "person"])
def test_real_sets_raise_no_alarm_when_every_file_is_read(shared_data: Path, name: str) -> None:
    assert {finding.severity for finding in health_of(shared_data / name).findings} <= {"notes"}
