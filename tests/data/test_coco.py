from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import segwright
from segwright.classes import IGNORED
from segwright.data.coco import coco_file
from segwright.data.layouts import find_dataset
from segwright.data.sample import read_mask, read_pair, read_raw_mask
from segwright.errors import DataError
from segwright.masks import polygons
from tests.tiny import draw_pair, draw_pictures, require_drawn

CATEGORIES = [{"id": 1, "name": "disc"}, {"id": 7, "name": "square"}, {"id": 9, "name": "never seen"}]
SPLITS = {"train": 5, "val": 3}


def annotations_of(class_map: np.ndarray, image: int, ids: tuple[int, ...] = (1, 7)) -> list[dict[str, Any]]:
    return [
        {"image_id": image, "category_id": ids[number - 1], "segmentation": [piece.points.ravel().tolist()]}
        for number in range(1, len(ids) + 1)
        for piece in polygons(class_map == number, tolerance=0)
    ]


def make_coco(
    root: Path,
    *,
    name: str = "annotations/instances_{split}.json",
    pictures: str = "{split}2017",
    splits: dict[str, int] = SPLITS,
    categories: list[dict[str, Any]] = CATEGORIES,
    ids: tuple[int, ...] = (1, 7),
) -> Path:
    """Discs and squares as COCO describes them; the picture with id N is draw_pair(N, classes=3)."""
    images: dict[str, list[Any]] = {split: [] for split in splits}
    things: dict[str, list[Any]] = {split: [] for split in splits}
    for number, (split, path, pair) in enumerate(draw_pictures(root, pictures, splits)):
        images[split].append({"id": number, "file_name": path.name, "height": 48, "width": 64})
        things[split] += annotations_of(pair.class_map, number, ids)
    for split in splits:
        write_coco(root / name.format(split=split), images[split], things[split], categories)
    return root


def write_coco(path: Path, images: list[Any], things: list[Any], categories: list[Any] = CATEGORIES) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"images": images, "annotations": things, "categories": categories}
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")


def rewritten(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "pictures"),
    [
        ("annotations/instances_{split}2017.json", "{split}2017"),
        ("annotations/{split}.json", "images/{split}"),
        ("{split}/_annotations.coco.json", "{split}"),
        ("{split}.json", "images"),
    ],
)
def test_usual_places(tmp_path: Path, name: str, pictures: str) -> None:
    dataset = find_dataset(make_coco(tmp_path, name=name, pictures=pictures))
    require_drawn(dataset, "coco", SPLITS)


def test_one_file_is_not_divided(tmp_path: Path) -> None:
    dataset = find_dataset(make_coco(tmp_path, name="labels.json", pictures="data", splits={"x": 6}))
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {"all": 6}


def test_pictures_of_masks_come_first(tmp_path: Path) -> None:
    root = make_coco(tmp_path, pictures="images/{split}")
    for path in root.rglob("*.png"):
        other = root / "masks" / path.relative_to(root / "images")
        other.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ones((48, 64), np.uint8)).save(other)
    assert find_dataset(root).layout == "folders_of_splits"


def test_key_points_and_captions_lie_beside(tmp_path: Path) -> None:
    root = make_coco(tmp_path)
    shutil.copy(root / "annotations/instances_val.json", root / "annotations/person_keypoints_val.json")
    write_coco(root / "annotations/captions_val.json", [], [])
    assert len(find_dataset(root).splits["val"]) == 3


def test_an_id_of_zero_makes_room_for_the_background(tmp_path: Path) -> None:
    categories = [{"id": 0, "name": "disc"}, {"id": 1, "name": "square"}]
    dataset = find_dataset(make_coco(tmp_path, categories=categories, ids=(0, 1)))
    assert dataset.classes.names == ("background", "disc", "square")
    sample = dataset.splits["train"][0]
    assert np.array_equal(read_pair(sample, dataset.classes)[1], draw_pair(0, classes=3).class_map)


def test_a_category_called_background_is_the_background(tmp_path: Path) -> None:
    categories = [{"id": 0, "name": "Background"}, {"id": 1, "name": "disc"}, {"id": 2, "name": "square"}]
    dataset = find_dataset(make_coco(tmp_path, categories=categories, ids=(1, 2)))
    assert dataset.classes.names == ("background", "disc", "square")
    assert dataset.classes.values[1] == (1, 1)


def test_one_name_is_one_class(tmp_path: Path) -> None:
    categories = [{"id": 1, "name": "shape"}, {"id": 7, "name": "shape"}]
    assert find_dataset(make_coco(tmp_path, categories=categories)).classes.names == ("background", "shape")


def test_a_class_table_merges_and_ignores_ids(tmp_path: Path) -> None:
    root = make_coco(tmp_path)
    (root / "classes.csv").write_text("index,name,ignore\n0,nothing,0\n1,disc,0\n7,square,1\n", encoding="utf-8")
    dataset = find_dataset(root)
    assert dataset.classes.names == ("nothing", "disc")
    mask = dataset.splits["train"][0].mask
    assert mask is not None
    assert set(np.unique(read_mask(mask, dataset.classes))) == {0, 1, IGNORED}


def test_the_smaller_lies_above(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    images = [{"id": 1, "file_name": "a.png", "height": 30, "width": 40}]

    def thing(category: int, left: int, top: int, right: int, bottom: int) -> dict[str, Any]:
        ring = [left, top, right, top, right, bottom, left, bottom]
        return {"image_id": 1, "category_id": category, "segmentation": [ring]}

    window, wall = thing(7, 12, 12, 18, 18), thing(1, 5, 5, 35, 25)
    for order in ([window, wall], [wall, window]):
        write_coco(tmp_path / "all.json", images, order)
        dataset = find_dataset(tmp_path)
        class_map = read_pair(dataset.splits["all"][0], dataset.classes)[1]
        assert (class_map == 2).sum() == 36
        assert (class_map == 1).sum() == 30 * 20 - 36


def test_crowds_are_runs(tmp_path: Path) -> None:
    Image.new("RGB", (4, 3)).save(tmp_path / "a.png")
    images = [{"id": 1, "file_name": "a.png", "height": 3, "width": 4}]
    runs = {"size": [3, 4], "counts": [4, 2, 6]}
    write_coco(tmp_path / "all.json", images, [{"image_id": 1, "category_id": 1, "iscrowd": 1, "segmentation": runs}])
    dataset = find_dataset(tmp_path)
    assert read_pair(dataset.splits["all"][0], dataset.classes)[1].tolist() == [
        [0, 0, 0, 0],
        [0, 1, 0, 0],
        [0, 1, 0, 0],
    ]


def test_many_categories_need_16_bits(tmp_path: Path) -> None:
    categories = [{"id": 1, "name": "disc"}, {"id": 700, "name": "square"}]
    dataset = find_dataset(make_coco(tmp_path, categories=categories, ids=(1, 700)))
    mask = dataset.splits["train"][0].mask
    assert mask is not None
    assert read_raw_mask(mask).max() == 700
    assert np.array_equal(read_mask(mask, dataset.classes), draw_pair(0, classes=3).class_map)


def test_pictures_that_are_not_there(tmp_path: Path) -> None:
    root = make_coco(tmp_path)
    (root / "train2017" / "b.png").unlink()
    dataset = find_dataset(root)
    assert len(dataset.splits["train"]) == 4
    assert [path.stem for path in dataset.orphan_masks] == ["b"]
    (finding,) = [f for f in segwright.check(root).findings if f.kind == "mask_without_picture"]
    assert finding.count == 1


def test_names_may_have_folders_and_lead_nowhere_else(tmp_path: Path) -> None:
    root = make_coco(tmp_path / "data", pictures="images/{split}", splits={"train": 2})
    file = root / "annotations/instances_train.json"
    (tmp_path / "secret.png").write_bytes((root / "images/train/a.png").read_bytes())
    images = json.loads(file.read_text(encoding="utf-8"))["images"]
    images[0]["file_name"], images[1]["file_name"] = "../../secret.png", "train/b.png"
    rewritten(file, images=images)
    dataset = find_dataset(root)
    assert [sample.image.name for sample in dataset.splits["train"]] == ["b.png"]


def test_a_mended_copy_has_pictures_of_masks(tmp_path: Path) -> None:
    root = make_coco(tmp_path / "coco")
    segwright.repair(root, tmp_path / "mended")
    mended = find_dataset(tmp_path / "mended")
    assert mended.layout == "split_folders"
    assert np.array_equal(read_pair(mended.splits["train"][2], mended.classes)[1], draw_pair(2, classes=3).class_map)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    root = make_coco(tmp_path, splits={"train": 2})
    file = root / "annotations/instances_train.json"
    assert len(coco_file(file).objects) == 2
    rewritten(file, annotations=annotations_of(draw_pair(0, classes=3).class_map, 0))
    assert len(coco_file(file).objects) == 1


@pytest.mark.parametrize(
    ("segmentation", "words"),
    [
        ([], "a box and no outline"),
        ([[1, 2, 3, 4]], "2 points"),
        ([[1, 2, 3, 4, 5]], "odd number"),
        ([[1, 2, 3, 4, 5, float("nan")]], "no places"),
        ([[1, 2, 3, 4, 5, 1e30]], "no places"),
        ([["a", 2, 3, 4, 5, 6]], "cannot be painted"),
        ({"size": [3, 4], "counts": [5]}, "drawn for"),
        ({"size": [48, 64], "counts": [5]}, "add up"),
        ({"counts": [5]}, "cannot be painted"),
        ("text", "cannot be painted"),
        (5, "cannot be painted"),
    ],
)
def test_objects_that_cannot_be_painted_are_a_finding(tmp_path: Path, segmentation: Any, words: str) -> None:
    root = make_coco(tmp_path)
    file = root / "annotations/instances_train.json"
    things = annotations_of(draw_pair(0, classes=3).class_map, 0)
    rewritten(file, annotations=[*things, {"image_id": 1, "category_id": 1, "segmentation": segmentation}])
    (finding,) = [f for f in segwright.check(root).findings if f.kind == "unreadable_mask"]
    assert finding.count == 1
    assert words in finding.message
    assert "object 1 of b.png" in finding.message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": [{"id": 1}]}, "has no 'file_name'"),
        ({"images": [{"id": 1, "file_name": "a.png", "height": 10**6, "width": 10**6}]}, "pixels"),
        ({"images": [{"id": 1, "file_name": "a.png", "height": "x", "width": 1}]}, "not a whole COCO file"),
        ({"images": 5}, "not a whole COCO file"),
        ({"categories": [{"id": -3, "name": "x"}, *CATEGORIES]}, "category -3"),
        ({"categories": CATEGORIES[:1]}, "category 7"),
        ({"annotations": [{"image_id": 0, "category_id": 1, "bbox": [1, 2, 3, 4]}]}, "no object with an outline"),
        ({"images": [{"id": 1, "file_name": "gone.png", "height": 9, "width": 9}]}, "None of the pictures"),
    ],
)
def test_files_that_are_not_whole(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    root = make_coco(tmp_path, splits={"train": 2})
    rewritten(root / "annotations/instances_train.json", **changes)
    with pytest.raises(DataError, match=words):
        find_dataset(root)


def test_a_file_that_was_cut_off(tmp_path: Path) -> None:
    root = make_coco(tmp_path, splits={"train": 2})
    file = root / "annotations/instances_train.json"
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(DataError, match="export it again"):
        find_dataset(root)
    file.write_bytes(b"")
    with pytest.raises(DataError, match="0 bytes"):
        find_dataset(root)
    (file.parent / "notes.json").write_bytes(b"")
    file.unlink()
    assert all(sample.mask is None for part in find_dataset(root / "train2017").splits.values() for sample in part)


def test_parts_must_agree(tmp_path: Path) -> None:
    root = make_coco(tmp_path)
    rewritten(root / "annotations/instances_val.json", categories=[{"id": 1, "name": "ball"}, CATEGORIES[1]])
    with pytest.raises(DataError, match="'ball' where another file has 'disc'"):
        find_dataset(root)


def test_a_picture_may_be_listed_once(tmp_path: Path) -> None:
    root = make_coco(tmp_path)
    shutil.copy(root / "annotations/instances_val.json", root / "annotations/instances_val_again.json")
    with pytest.raises(DataError, match="listed twice"):
        find_dataset(root)


def test_a_facade_export(shared_data: Path) -> None:
    dataset = find_dataset(shared_data / "facade-coco")
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {"train": 24, "val": 8}
    assert dataset.classes.names[:4] == ("background", "balcony-fence", "car", "facade")
    image, class_map = read_pair(dataset.splits["val"][0], dataset.classes)
    assert image.shape[:2] == class_map.shape == (1024, 1024)


def test_painted_objects_are_those_of_the_panoptic_pictures(shared_data: Path, tmp_path: Path) -> None:
    """The polygons of coco-mini were made from its panoptic masks, which is a second way to the same pixels."""
    mini = shared_data / "coco-mini"
    shutil.copytree(mini / "images", tmp_path / "images")
    (tmp_path / "annotations").mkdir()
    for path in mini.glob("annotations/*.json"):
        shutil.copy(path, tmp_path / "annotations")
    dataset = find_dataset(tmp_path)
    same = all_in_all = 0
    for split, samples in dataset.splits.items():
        for sample in samples:
            assert sample.mask is not None
            painted = read_raw_mask(sample.mask)
            things = read_raw_mask(mini / "semantic" / split / f"{sample.image.stem}.png")
            things = np.where(things > 90, 0, things)
            either = (painted > 0) | (things > 0)
            same += int((painted == things)[either].sum())
            all_in_all += int(either.sum())
    assert len(dataset.splits["train"]) == 26
    assert same / all_in_all > 0.999
