from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import segwright
from segwright.data.layouts import find_dataset
from segwright.data.sample import read_pair
from segwright.errors import DataError
from segwright.masks import polygons
from tests.tiny import draw_pair, draw_pictures, require_drawn

SPLITS = {"train": 5, "val": 3}
YAML = "path: .\ntrain: images/train\nval: images/val\nnames:\n  0: disc\n  1: square\n  2: never seen\n"


def lines_of(class_map: np.ndarray) -> str:
    height, width = class_map.shape
    lines = [
        " ".join([str(number - 1), *(f"{share:.6f}" for share in (piece.points / (width, height)).ravel())])
        for number in (1, 2)
        for piece in polygons(class_map == number, tolerance=0)
    ]
    return "".join(f"{line}\n" for line in lines)


def make_yolo(
    root: Path, *, pictures: str = "images/{split}", labels: str = "labels/{split}", names: str = YAML
) -> Path:
    """Discs and squares as YOLO describes them; pictures in their order are draw_pair(N, classes=3)."""
    for split, image, pair in draw_pictures(root, pictures, SPLITS):
        label = root / labels.format(split=split) / f"{image.stem}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(lines_of(pair.class_map), encoding="utf-8")
    if names:
        (root / "data.yaml").write_text(names, encoding="utf-8")
    return root


@pytest.mark.parametrize(
    ("pictures", "labels"),
    [
        ("images/{split}", "labels/{split}"),
        ("{split}/images", "{split}/labels"),
        ("{split}", "{split}"),
    ],
)
def test_usual_places(tmp_path: Path, pictures: str, labels: str) -> None:
    dataset = find_dataset(make_yolo(tmp_path, pictures=pictures, labels=labels))
    assert dataset.classes_declared
    require_drawn(dataset, "yolo", SPLITS)


def test_undivided(tmp_path: Path) -> None:
    dataset = find_dataset(make_yolo(tmp_path, pictures="images", labels="labels"))
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {"all": 8}


def test_names(tmp_path: Path) -> None:
    root = make_yolo(tmp_path, names="")
    assert find_dataset(root).classes.names == ("background", "class_0", "class_1")
    assert not find_dataset(root).classes_declared
    (root / "classes.txt").write_text("ball\nbox\n", encoding="utf-8")
    assert find_dataset(root).classes.names == ("background", "ball", "box")
    (root / "other.yaml").write_text("names: [one, two]\n", encoding="utf-8")
    assert find_dataset(root).classes.names == ("background", "one", "two")
    (root / "data.yaml").write_text("names: [[\n", encoding="utf-8")
    with pytest.raises(DataError, match="cannot be read as YAML"):
        find_dataset(root)
    (root / "data.yaml").write_text("names: {first: ball}\n", encoding="utf-8")
    with pytest.raises(DataError, match="0: cat"):
        find_dataset(root)


def test_an_empty_file_shows_nothing_and_none_is_no_label(tmp_path: Path) -> None:
    root = make_yolo(tmp_path)
    (root / "labels/train/a.txt").write_text("", encoding="utf-8")
    (root / "labels/train/b.txt").unlink()
    first, second, third = find_dataset(root).splits["train"][:3]
    assert read_pair(first, find_dataset(root).classes)[1].max() == 0
    assert second.mask is None
    assert third.mask is not None


def test_a_turned_picture_is_measured_upright(tmp_path: Path) -> None:
    root = make_yolo(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(root / "images/train/z.jpg", exif=exif)
    (root / "labels/train/z.txt").write_text("0 0 0 1 0 1 0.5 0 0.5\n", encoding="utf-8")
    dataset = find_dataset(root)
    image, class_map = read_pair(dataset.splits["train"][-1], dataset.classes)
    assert image.shape[:2] == class_map.shape == (40, 20)
    assert (class_map[:20] == 1).all()
    assert (class_map[20:] == 0).all()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0 0.5 0.5 0.2 0.2", "a box"),
        ("0 0.5 0.5 0.2 0.2 0.1", "not the corners"),
        ("0 0.5 0.5", "not the corners"),
        ("0 10 10 50 10 50 40", "0 to 1"),
        ("0 nan 0.1 0.5 0.1 0.5 0.4", "0 to 1"),
        ("disc 0.1 0.1 0.5 0.1 0.5 0.4", "not a class"),
        ("-1 0.1 0.1 0.5 0.1 0.5 0.4", "number of a class"),
        ("inf 0.1 0.1 0.5 0.1 0.5 0.4", "not a class"),
    ],
)
def test_lines_that_cannot_be_painted_are_a_finding(tmp_path: Path, line: str, words: str) -> None:
    root = make_yolo(tmp_path)
    path = root / "labels/train/b.txt"
    path.write_text(path.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    (finding,) = [f for f in segwright.check(root).findings if f.kind == "unreadable_mask"]
    assert finding.count == 1
    assert words in finding.message
    assert "b.txt, line 3" in finding.message


def test_only_boxes(tmp_path: Path) -> None:
    root = make_yolo(tmp_path)
    for path in root.rglob("*.txt"):
        path.write_text("0 0.5 0.5 0.2 0.2\n", encoding="utf-8")
    with pytest.raises(DataError, match="hold boxes"):
        find_dataset(root)


def test_captions_are_no_labels(tmp_path: Path) -> None:
    root = make_yolo(tmp_path)
    for path in root.rglob("*.txt"):
        path.write_text("a photograph of a disc\n", encoding="utf-8")
    assert all(sample.mask is None for part in find_dataset(root).splits.values() for sample in part)


def test_a_damaged_file_is_a_finding(tmp_path: Path) -> None:
    root = make_yolo(tmp_path)
    (root / "labels/train/a.txt").write_bytes(b"\xff\xfe\x00")
    (finding,) = [f for f in segwright.check(root).findings if f.kind == "unreadable_mask"]
    assert "a.txt cannot be read as text" in finding.message


def test_training_on_polygons_is_training_on_pictures_of_them(tmp_path: Path) -> None:
    """Paint, keep, vary, train in processes of their own: the weights are those of the mended copy, which has PNG masks."""
    root = make_yolo(tmp_path / "yolo")
    segwright.repair(root, tmp_path / "png")
    recipe = segwright.Recipe.from_dict(
        {
            "data": {"width": 32, "height": 32, "workers": 1},
            "fit": {"epochs": 1, "batch_size": 2, "seed": 5},
        }
    )
    painted, png = (
        segwright.load(segwright.train(data, recipe, tmp_path / name).folder).predict(draw_pair(7, classes=3).image)
        for name, data in (("a", root), ("b", tmp_path / "png"))
    )
    assert np.array_equal(painted.confidence, png.confidence)


def test_a_pack_holds_painted_masks(tmp_path: Path) -> None:
    root = make_yolo(tmp_path / "yolo")
    segwright.pack(root, tmp_path / "pack")
    packed, dataset = find_dataset(tmp_path / "pack"), find_dataset(root)
    assert packed.classes == dataset.classes
    for here, there in zip(dataset.splits["train"], packed.splits["train"], strict=True):
        assert np.array_equal(read_pair(here, dataset.classes)[1], read_pair(there, packed.classes)[1])
