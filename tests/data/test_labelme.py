from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import segwright
from segwright.data.layouts import find_dataset
from segwright.data.sample import read_pair
from segwright.errors import DataError
from segwright.masks import polygons
from tests.tiny import draw_pair, draw_pictures, require_drawn

SPLITS = {"train": 4, "val": 3}


def shape(label: str, points: Any, kind: str = "polygon", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}, **more}


def write_note(path: Path, picture: str, shapes: list[dict[str, Any]], size_hw: tuple[int, int] = (48, 64)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    document: dict[str, Any] = {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": picture,
        "imageData": None,
        "imageHeight": size_hw[0],
        "imageWidth": size_hw[1],
    }
    path.write_text(json.dumps(document), encoding="utf-8")


def make_labelme(root: Path, *, pictures: str = "{split}", notes: str = "{split}", back: str = "") -> Path:
    """Discs and squares as LabelMe describes them; pictures in their order are draw_pair(N, classes=3)."""
    for split, image, pair in draw_pictures(root, pictures, SPLITS):
        shapes = [
            shape(name, piece.points.tolist())
            for value, name in ((1, "disc"), (2, "square"))
            for piece in polygons(pair.class_map == value, tolerance=0)
        ]
        note = root / notes.format(split=split) / f"{image.stem}.json"
        write_note(note, back.format(split=split) + image.name, shapes)
    return root


@pytest.mark.parametrize(
    ("pictures", "notes", "back"),
    [
        ("{split}", "{split}", ""),
        ("images/{split}", "labels/{split}", "../../images/{split}/"),
        ("images/{split}", "labels/{split}", "..\\..\\images\\{split}\\"),
        ("{split}/images", "{split}/json", "../images/"),
    ],
)
def test_usual_places(tmp_path: Path, pictures: str, notes: str, back: str) -> None:
    dataset = find_dataset(make_labelme(tmp_path, pictures=pictures, notes=notes, back=back))
    require_drawn(dataset, "labelme", SPLITS)


def test_one_folder_is_not_divided(tmp_path: Path) -> None:
    dataset = find_dataset(make_labelme(tmp_path, pictures=".", notes="."))
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {"all": 7}


def test_pictures_without_a_file_have_no_mask(tmp_path: Path) -> None:
    root = make_labelme(tmp_path)
    (root / "train/b.json").unlink()
    assert [sample.mask is None for sample in find_dataset(root).splits["train"]] == [False, True, False, False]
    (finding,) = [f for f in segwright.check(root).findings if f.kind == "picture_without_mask"]
    assert finding.count == 1


def painted(tmp_path: Path, *shapes: dict[str, Any], size_hw: tuple[int, int] = (20, 30)) -> np.ndarray:
    """The class map of one picture."""
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    write_note(tmp_path / "a.json", "a.png", list(shapes), size_hw)
    dataset = find_dataset(tmp_path)
    return read_pair(dataset.splits["all"][0], dataset.classes)[1]


def test_rectangles_and_circles(tmp_path: Path) -> None:
    found = painted(tmp_path, shape("a", [[12, 9], [3, 4]], "rectangle"), shape("b", [[20, 10], [20, 15]], "circle"))
    assert (found == 1).sum() == 9 * 5
    assert (found == 1)[4:9, 3:12].all()
    assert (found == 2).sum() == pytest.approx(np.pi * 25, rel=0.05)
    assert (found == 2)[10, 15:25].all()


def test_pasted_masks(tmp_path: Path) -> None:
    inside = np.random.default_rng(0).random((5, 7)) < 0.5
    inside[0, 0] = True
    file = io.BytesIO()
    Image.fromarray(inside.astype(np.uint8) * 255).save(file, "PNG")
    text = base64.b64encode(file.getvalue()).decode()
    found = painted(tmp_path, shape("a", [[4, 3], [10, 7]], "mask", mask=text))
    assert np.array_equal(found[3:8, 4:11] == 1, inside)
    assert found.sum() == inside.sum()


def test_words_of_labelme_itself(tmp_path: Path) -> None:
    whole, left = [[0, 0], [30, 20]], [[0, 0], [10, 20]]
    found = painted(
        tmp_path,
        shape("card ", whole, "rectangle"),
        shape("__ignore__", left, "rectangle"),
        shape("_background_", [[20, 0], [30, 20]], "rectangle"),
    )
    assert (found[:, :10] == 255).all()
    assert (found[:, 10:20] == 1).all()
    assert (found[:, 20:] == 0).all()


def test_what_predict_writes_is_read(tmp_path: Path) -> None:
    """Predict, correct, train: what `--save labelme` leaves is a data set when its pictures are below the same folder."""
    from segwright.classes import Classes
    from segwright.predict.annotations import LabelMe
    from segwright.predict.found import Found
    from segwright.predict.frame import Frame
    from segwright.predict.predictor import Details, Prediction

    classes = Classes(names=("background", "disc"))
    for number in range(3):
        pair = draw_pair(number)
        path = tmp_path / "images" / f"{'abc'[number]}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pair.image).save(path)
        prediction = Prediction(
            class_map=pair.class_map,
            milliseconds=1.0,
            classes=classes,
            key=path.stem,
            details=lambda: Details(np.ones((48, 64), np.float32), None),
        )
        frame = Frame(image=pair.image, key=path.stem, source="pictures", path=path)
        LabelMe(tmp_path).write(Found(frame, prediction, classes))
    dataset = find_dataset(tmp_path)
    assert dataset.layout == "labelme"
    for number, sample in enumerate(dataset.splits["all"]):
        found, truth = read_pair(sample, dataset.classes)[1], draw_pair(number).class_map
        assert ((found == 1) & (truth == 1)).sum() / ((found == 1) | (truth == 1)).sum() > 0.9


BOMB = base64.b64encode(b"no picture").decode()


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (shape("a", [[1, 1], [5, 5]], "line"), "a line covers no pixels"),
        (shape("a", [[1, 1]], "point"), "a point covers no pixels"),
        (shape("a", [[1, 1], [5, 5]]), "2 points"),
        (shape("a", [[1, 1], [5, 5], [float("nan"), 2]]), "no places"),
        (shape("a", [[1, 1], [5, 5], [1e30, 2]], "rectangle"), "no places"),
        (shape("a", "text"), "cannot be painted"),
        (shape("a", [[1], [2, 3]]), "cannot be painted"),
        (shape("a", [[1, 1], [5, 5]], "mask", mask=BOMB), "no PNG"),
        (shape("a", [[1, 1], [5, 5]], "mask", mask="?"), "cannot be painted"),
        (shape("a", [[1, 1], [5, 5]], "mask"), "cannot be painted"),
        ({"label": "a"}, "cannot be painted"),
        ({"points": [[1, 1], [5, 5], [1, 5]]}, "cannot be painted"),
        (5, "cannot be painted"),
    ],
)
def test_shapes_that_cannot_be_painted_are_a_finding(tmp_path: Path, bad: Any, words: str) -> None:
    root = make_labelme(tmp_path)
    write_note(root / "train/b.json", "b.png", [shape("disc", [[1, 1], [9, 1], [9, 9]]), bad])
    (finding,) = [f for f in segwright.check(root).findings if f.kind == "unreadable_mask"]
    assert finding.count == 1
    assert words in finding.message
    assert "b.json: shape 2" in finding.message


def test_a_file_that_was_cut_off_is_a_finding(tmp_path: Path) -> None:
    root = make_labelme(tmp_path)
    path = root / "train/b.json"
    path.write_bytes(path.read_bytes()[:-20])
    (finding,) = [f for f in segwright.check(root).findings if f.kind == "unreadable_mask"]
    assert "b.json is no whole JSON file" in finding.message


def test_a_size_that_is_not_said_is_a_finding(tmp_path: Path) -> None:
    root = make_labelme(tmp_path)
    write_note(root / "train/b.json", "b.png", [], (10**6, 10**6))
    (finding,) = [f for f in segwright.check(root).findings if f.kind == "unreadable_mask"]
    assert "how large its picture is" in finding.message


def test_files_of_other_pictures(tmp_path: Path) -> None:
    root = make_labelme(tmp_path / "data", back="../../elsewhere/")
    (tmp_path / "elsewhere").mkdir()
    Image.new("RGB", (64, 48)).save(tmp_path / "elsewhere" / "a.png")
    with pytest.raises(DataError, match="put them there"):
        find_dataset(root)


def test_no_labels_at_all(tmp_path: Path) -> None:
    root = make_labelme(tmp_path)
    for path in root.rglob("*.json"):
        write_note(path, f"{path.stem}.png", [])
    with pytest.raises(DataError, match="no shape with a label"):
        find_dataset(root)


def test_other_json_is_none_of_it(tmp_path: Path) -> None:
    root = make_labelme(tmp_path)
    (root / "settings.json").write_text('{"shapes": 5}', encoding="utf-8")
    (root / "empty.json").write_bytes(b"")
    assert find_dataset(root).layout == "labelme"
