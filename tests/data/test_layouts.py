from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segwright.data.layouts import LAYOUTS, find_dataset
from segwright.data.sample import read_mask, read_pair
from segwright.errors import DataError
from tests.tiny import draw_pair, make_dataset, write_mask


@pytest.mark.parametrize("layout", ["split_folders", "folders_of_splits", "twin_folders", "name_lists"])
def test_splits_on_disk_are_found(tmp_path: Path, layout: str) -> None:
    dataset = find_dataset(make_dataset(tmp_path, layout=layout))
    assert dataset.layout == layout
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {"train": 6, "val": 3, "test": 3}
    assert all(sample.mask is not None for samples in dataset.splits.values() for sample in samples)
    assert dataset.splits["train"][0].key == "aaa"
    assert dataset.classes.names == ("background", "disc")
    assert dataset.classes_declared
    assert not dataset.orphan_masks


@pytest.mark.parametrize(("layout", "mask_suffix"), [("flat", ""), ("flat", "_mask"), ("side_by_side", "_mask")])
def test_undivided_sets_are_one_split(tmp_path: Path, layout: str, mask_suffix: str) -> None:
    dataset = find_dataset(make_dataset(tmp_path, layout=layout, mask_suffix=mask_suffix))
    assert dataset.layout == layout
    assert list(dataset.splits) == ["all"]
    assert len(dataset.splits["all"]) == 12
    image, class_map = read_pair(dataset.splits["all"][0], dataset.classes)
    assert image.shape[:2] == class_map.shape
    assert (class_map == draw_pair(0).class_map).all()


def test_every_layout_has_a_sentence() -> None:
    assert all(layout.__doc__ for layout in LAYOUTS.values())


def test_pictures_without_masks(tmp_path: Path) -> None:
    plain = find_dataset(make_dataset(tmp_path / "plain", layout="pictures"))
    assert len(plain.splits["all"]) == 12
    assert all(sample.mask is None for sample in plain.splits["all"])
    only_images = make_dataset(tmp_path / "images", layout="flat", declared=False)
    shutil.rmtree(only_images / "masks")
    assert all(sample.mask is None for sample in find_dataset(only_images).splits["all"])
    (tmp_path / "tree" / "monday").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "tree" / "monday" / "a.png")
    assert find_dataset(tmp_path / "tree").splits["all"][0].key == "monday/a"


@pytest.mark.parametrize("name", ["valid", "validation", "Val"])
def test_validation_has_many_names(tmp_path: Path, name: str) -> None:
    root = make_dataset(tmp_path)
    (root / "val").rename(root / name)
    assert len(find_dataset(root).splits["val"]) == 3


@pytest.mark.parametrize("folder", ["indexes", "labels", "annotations", "semantic", "SegmentationClass", "MASKS"])
def test_mask_folders_have_many_names(tmp_path: Path, folder: str) -> None:
    dataset = find_dataset(make_dataset(tmp_path, layout="flat", mask_folder=folder))
    assert all(sample.mask is not None for sample in dataset.splits["all"])


def test_indexes_with_colour_mask_names(tmp_path: Path) -> None:
    root = make_dataset(
        tmp_path, layout="flat", notation="index", classes=3, mask_folder="indexes", mask_suffix="_color_mask"
    )
    dataset = find_dataset(root)
    assert dataset.classes.notation == "index"
    sample = dataset.splits["all"][0]
    assert sample.mask is not None
    assert sample.mask.name == "aaa_color_mask.png"


def test_masks_are_preferred_to_labels_unless_the_class_table_says_labels(tmp_path: Path) -> None:
    root = make_dataset(tmp_path)
    for split in ("train", "val", "test"):
        for mask in sorted((root / split / "masks").iterdir()):
            write_mask(root / split / "labels" / mask.name, draw_pair(0, classes=4).class_map, "index")
    (root / "labels_classes.csv").write_text("index,name\n0,null\n1,a\n2,b\n3,c\n")
    masks = find_dataset(root)
    assert masks.classes.notation == "binary"
    assert {s.mask.parent.name for s in masks.splits["train"] if s.mask} == {"masks"}
    labels = find_dataset(root, classes_csv=root / "labels_classes.csv")
    assert labels.classes.names == ("null", "a", "b", "c")
    assert labels.classes.notation == "index"
    assert {s.mask.parent.name for s in labels.splits["train"] if s.mask} == {"labels"}


def test_folders_of_text_files_are_not_masks(tmp_path: Path) -> None:
    root = make_dataset(tmp_path, layout="flat", mask_folder="annotations")
    (root / "labels").mkdir()
    (root / "labels" / "aaa.txt").write_text("0 0.5 0.5 0.1 0.1")
    assert all(s.mask and s.mask.parent.name == "annotations" for s in find_dataset(root).splits["all"])


def test_capitals_and_sub_folders(tmp_path: Path) -> None:
    for city in ("ulm", "bonn"):
        (tmp_path / "images" / city).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "images" / city / "A.JPG", format="JPEG")
        write_mask(tmp_path / "masks" / city / "a.png", np.zeros((8, 8), np.uint8), "binary")
    samples = find_dataset(tmp_path).splits["all"]
    assert [s.key for s in samples] == ["bonn/A", "ulm/A"]
    assert [s.mask.parent.name for s in samples if s.mask] == ["bonn", "ulm"]


def test_the_same_name_in_two_splits_gives_two_keys(tmp_path: Path) -> None:
    root = make_dataset(tmp_path)
    for kind in ("images", "masks"):
        shutil.copy(root / "train" / kind / "aaa.png", root / "val" / kind / "aaa.png")
    keys = [s.key for samples in find_dataset(root).splits.values() for s in samples]
    assert len(set(keys)) == len(keys)
    assert {"train/aaa", "val/aaa"} <= set(keys)


def test_cityscapes_and_roboflow_names(tmp_path: Path) -> None:
    (tmp_path / "city" / "leftImg8bit" / "train" / "ulm").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "city" / "leftImg8bit" / "train" / "ulm" / "ulm_0_leftImg8bit.png")
    for kind in ("labelIds", "color"):
        path = tmp_path / "city" / "gtFine" / "train" / "ulm" / f"ulm_0_gtFine_{kind}.png"
        write_mask(path, np.eye(8, dtype=np.uint8), "index")
    city = find_dataset(tmp_path / "city")
    assert [s.mask.name for s in city.splits["train"] if s.mask] == ["ulm_0_gtFine_labelIds.png"]
    assert not city.orphan_masks
    for split in ("train", "valid"):
        make_dataset(
            tmp_path / "robo" / split, layout="side_by_side", mask_suffix="_mask", suffix=".jpg", declared=False
        )
    assert [len(samples) for samples in find_dataset(tmp_path / "robo").splits.values()] == [12, 12]


def test_jpg_and_png_of_one_name_are_picture_and_mask(tmp_path: Path) -> None:
    samples = find_dataset(make_dataset(tmp_path, layout="side_by_side", suffix=".jpg")).splits["all"]
    assert len(samples) == 12
    assert all(s.image.suffix == ".jpg" and s.mask and s.mask.suffix == ".png" for s in samples)


def test_voc_lists(tmp_path: Path) -> None:
    root = make_dataset(tmp_path, layout="flat", mask_folder="SegmentationClass", notation="palette", classes=3)
    (root / "images").rename(root / "JPEGImages")
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("aaa\naab\n")
    (lists / "val.txt").write_text("aac\n")
    dataset = find_dataset(root)
    assert dataset.layout == "voc"
    assert [s.key for s in dataset.splits["train"]] == ["aaa", "aab"]
    (lists / "val.txt").write_text("zzz\n")
    with pytest.raises(DataError, match="zzz"):
        find_dataset(root)


def test_lists_of_pictures_relative_or_absolute(tmp_path: Path) -> None:
    root = make_dataset(tmp_path, layout="flat")
    pictures = sorted((root / "images").iterdir())
    (root / "training_dataset.txt").write_text(
        "# chosen by hand\n" + "".join(f"images/{p.name}\n" for p in pictures[:7])
    )
    (root / "validation_dataset.txt").write_text("".join(f"{p}\n" for p in pictures[7:9]))
    dataset = find_dataset(root)
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {"train": 7, "val": 2}
    assert all(s.mask for samples in dataset.splits.values() for s in samples)
    (root / "test_dataset.txt").write_text("images/nothing.png\n")
    with pytest.raises(DataError, match="line 1"):
        find_dataset(root)


def test_lists_of_folders_with_masks_beside(tmp_path: Path) -> None:
    make_dataset(tmp_path / "a", layout="side_by_side", mask_suffix="_mask", declared=False)
    make_dataset(tmp_path / "b", layout="side_by_side", mask_suffix="_mask", declared=False)
    (tmp_path / "training_dataset.txt").write_text("a\n")
    (tmp_path / "test_dataset.txt").write_text("b\n")
    dataset = find_dataset(tmp_path)
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {"train": 12, "test": 12}
    assert all(s.mask for samples in dataset.splits.values() for s in samples)


def test_orphans_and_missing_masks(tmp_path: Path) -> None:
    root = make_dataset(tmp_path)
    (root / "train" / "images" / "aaa.png").unlink()
    (root / "train" / "masks" / "aab.png").unlink()
    dataset = find_dataset(root)
    assert [p.name for p in dataset.orphan_masks] == ["aaa.png"]
    assert [s.key for s in dataset.splits["train"] if s.mask is None] == ["aab"]


# --- notation and classes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("notation", ["binary", "soft", "index", "palette"])
@pytest.mark.parametrize("declared", [True, False])
def test_two_classes_have_pixels_in_every_notation(tmp_path: Path, notation: str, declared: bool) -> None:
    """Two names over 0/255 masks once gave one class: white was read as "ignored"."""
    dataset = find_dataset(make_dataset(tmp_path, notation=notation, declared=declared))
    assert dataset.classes.notation == ("index" if notation in {"index", "palette"} else "binary")
    assert dataset.classes.names == ("background", "disc" if declared else "foreground")
    for sample in dataset.splits["train"]:
        assert sample.mask is not None
        assert set(np.unique(read_mask(sample.mask, dataset.classes))) == {0, 1}


@pytest.mark.parametrize("declared", [True, False])
def test_colour_masks(tmp_path: Path, declared: bool) -> None:
    dataset = find_dataset(make_dataset(tmp_path, notation="colour", classes=4, declared=declared))
    assert dataset.classes.notation == "colour"
    assert len(dataset.classes) == 4
    assert dataset.classes.names[0] == "background"
    assert declared or dataset.classes.names[1].startswith("colour_")
    sample = dataset.splits["train"][0]
    assert sample.mask is not None
    assert set(np.unique(read_mask(sample.mask, dataset.classes))) == {0, 1, 2, 3}


def test_jpeg_masks_in_black_and_white_and_colour(tmp_path: Path) -> None:
    for notation, classes in (("binary", 2), ("colour", 3)):
        root = make_dataset(tmp_path / notation, layout="flat", classes=classes, declared=False, size_hw=(96, 128))
        for number, mask in enumerate(sorted((root / "masks").iterdir())):
            mask.unlink()
            write_mask(
                mask.with_suffix(".jpg"), draw_pair(number, classes=classes, size_hw=(96, 128)).class_map, notation
            )
        dataset = find_dataset(root)
        assert dataset.classes.notation == notation
        assert len(dataset.classes) == classes
        truth = draw_pair(0, classes=classes, size_hw=(96, 128)).class_map
        first = dataset.splits["all"][0].mask
        assert first is not None
        assert (read_mask(first, dataset.classes) == truth).mean() > 0.97


def test_soft_edges_between_colours_are_no_classes(tmp_path: Path) -> None:
    root = make_dataset(tmp_path, layout="flat", notation="colour", classes=3, declared=False, size_hw=(96, 128))
    for mask in sorted((root / "masks").iterdir()):
        picture = Image.open(mask)
        picture.resize((200, 150), Image.Resampling.BILINEAR).resize((128, 96), Image.Resampling.BILINEAR).save(mask)
    assert len(find_dataset(root).classes) == 3


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ((0, 7, 9, 255), ("class_0", "class_7", "class_9")),
        ((0, 200), ("background", "foreground")),
        ((5, 6, 255), ("class_5", "class_6")),
        ((3,), ("background", "foreground")),
    ],
)
def test_guessed_numbers_keep_their_values(tmp_path: Path, values: tuple[int, ...], names: tuple[str, ...]) -> None:
    root = make_dataset(tmp_path, layout="flat", declared=False)
    for mask in (root / "masks").iterdir():
        Image.fromarray(np.resize(np.array(values, np.uint8).repeat(64), (48, 64))).save(mask)
    classes = find_dataset(root).classes
    assert classes.notation == "index"
    assert classes.names == names
    assert dict(classes.values)[values[0]] in {0, 1}


def test_all_black_masks_at_first_do_not_hide_the_notation(tmp_path: Path) -> None:
    root = make_dataset(tmp_path, layout="flat", splits={"train": 120}, size_hw=(16, 16), classes=2)
    masks = sorted((root / "masks").iterdir())
    for mask in masks:
        write_mask(mask, np.zeros((16, 16), np.uint8), "binary")
    write_mask(masks[41], np.eye(16, dtype=np.uint8), "binary")
    assert find_dataset(root).classes.notation == "binary"


def test_white_that_is_declared_as_ignored_stays_ignored(tmp_path: Path) -> None:
    root = make_dataset(tmp_path)
    (root / "classes.csv").write_text("index,name,r,g,b,ignore\n0,a,,,,0\n1,b,,,,0\n255,void,,,,1\n")
    assert find_dataset(root).classes.notation == "index"


def test_black_and_white_classes_in_reversed_lines(tmp_path: Path) -> None:
    root = make_dataset(tmp_path)
    (root / "classes.csv").write_text("index,name\n1,card\n0,background\n")
    assert find_dataset(root).classes.names == ("background", "card")


def test_one_bright_ink_counts_as_white(tmp_path: Path) -> None:
    root = make_dataset(tmp_path, layout="flat", notation="colour")
    (root / "classes.csv").write_text("index,name,r,g,b\n0,background,0,0,0\n1,card,255,0,0\n")
    dataset = find_dataset(root)
    mask = dataset.splits["all"][0].mask
    assert mask is not None
    assert set(np.unique(read_mask(mask, dataset.classes))) == {0, 1}


# --- what goes wrong ---------------------------------------------------------------------------------------------------


def test_bad_paths(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"does not exist"):
        find_dataset(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"is a file"):
        find_dataset(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"is empty.*train/images"):
        find_dataset(tmp_path / "empty")
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "a.txt").write_text("x")
    with pytest.raises(DataError, match=r"no pictures.*training_dataset.txt"):
        find_dataset(tmp_path / "words")
    make_dataset(tmp_path / "outer" / "inner")
    with pytest.raises(DataError, match=r"inner looks like one"):
        find_dataset(tmp_path / "outer")
    with pytest.raises(DataError, match=r"my.csv does not exist"):
        find_dataset(tmp_path / "outer" / "inner", classes_csv=tmp_path / "my.csv")


def test_masks_that_match_nothing_show_both_names(tmp_path: Path) -> None:
    root = make_dataset(tmp_path, layout="flat", mask_suffix="-truth")
    with pytest.raises(DataError, match=r"aaa\.png.*aaa-truth\.png.*--mask-suffix"):
        find_dataset(root)
    for suffix in ("-truth", "-truth.png"):
        assert all(s.mask for s in find_dataset(root, mask_suffix=suffix).splits["all"])
    with pytest.raises(DataError, match="_wrong"):
        find_dataset(root, mask_suffix="_wrong")


def test_photographs_as_masks_are_refused(tmp_path: Path) -> None:
    root = make_dataset(tmp_path, layout="flat", declared=False)
    for number, mask in enumerate((root / "masks").iterdir()):
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (64, 64), dtype=np.uint8)).save(mask)
    with pytest.raises(DataError, match="photographs"):
        find_dataset(root)


def test_real_sets(shared_data: Path) -> None:
    found = {name: find_dataset(shared_data / name) for name in ("camvid-small", "cards-real", "person", "coco-mini")}
    assert {name: dataset.classes.notation for name, dataset in found.items()} == {
        "camvid-small": "index",
        "cards-real": "binary",
        "person": "binary",
        "coco-mini": "index",
    }
    assert {name: [len(samples) for samples in dataset.splits.values()] for name, dataset in found.items()} == {
        "camvid-small": [120, 40, 40],
        "cards-real": [76, 17],
        "person": [112, 28],
        "coco-mini": [26, 27],
    }
    assert all(s.mask for dataset in found.values() for samples in dataset.splits.values() for s in samples)
