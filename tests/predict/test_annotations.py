"""Polygons for other tools, read back and compared with the class map they were made from."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from segwright.classes import Classes
from segwright.predict.annotations import Coco, LabelMe, Yolo
from segwright.predict.found import Found
from segwright.predict.frame import Frame
from segwright.predict.predictor import Details, Prediction

CLASSES = Classes(names=("ground", "disc", "ring"))


@pytest.fixture
def found(tmp_path: Path) -> Found:
    class_map = np.zeros((90, 120), np.uint8)
    cv2.circle(class_map, (30, 40), 20, 1, -1)
    cv2.circle(class_map, (85, 45), 30, 2, -1)
    cv2.circle(class_map, (85, 45), 12, 0, -1)
    class_map[80:84, 10:20] = 1
    image = np.zeros((90, 120, 3), np.uint8)
    prediction = Prediction(
        class_map=class_map,
        milliseconds=1.0,
        classes=CLASSES,
        key="deep/a",
        details=lambda: Details(np.ones((90, 120), np.float32), None),
    )
    frame = Frame(image=image, key="deep/a", source="pictures", path=tmp_path / "shots/deep/a.jpg")
    return Found(frame, prediction, CLASSES)


def filled(points: np.ndarray) -> np.ndarray:
    """Pixels inside a polygon along pixel borders, by OpenCV at eight times the size."""
    large = np.zeros((90 * 8, 120 * 8), np.uint8)
    cv2.fillPoly(large, [np.round(points * 8 - 0.5).astype(np.int32)], 1)
    return large.reshape(90, 8, 120, 8).mean(axis=(1, 3)) > 0.5


def close(mask: np.ndarray, truth: np.ndarray) -> bool:
    return float((mask & truth).sum() / (mask | truth).sum()) > 0.95


def test_coco(found: Found, tmp_path: Path) -> None:
    sink = Coco(tmp_path, CLASSES)
    sink.write(found)
    sink.write(found)
    sink.close()
    document = json.loads((tmp_path / "coco.json").read_text())
    assert [c["name"] for c in document["categories"]] == ["disc", "ring"]
    assert [i["file_name"] for i in document["images"]] == ["deep/a.jpg"] * 2
    assert [a["id"] for a in document["annotations"]] == list(range(1, 7))
    assert {a["image_id"] for a in document["annotations"]} == {1, 2}
    ring = next(a for a in document["annotations"] if a["category_id"] == 2)
    truth = found.prediction.class_map == 2
    assert ring["area"] == truth.sum()
    assert ring["bbox"] == [55, 15, 61, 61]
    assert close(filled(np.array(ring["segmentation"][0]).reshape(-1, 2)), truth)
    assert list(tmp_path.glob(".*")) == []


def test_coco_of_nothing_leaves_nothing(tmp_path: Path) -> None:
    Coco(tmp_path, CLASSES).close()
    assert list(tmp_path.iterdir()) == []


def test_labelme(found: Found, tmp_path: Path) -> None:
    LabelMe(tmp_path).write(found)
    document = json.loads((tmp_path / "labelme/deep/a.json").read_text())
    assert (tmp_path / "labelme/deep" / document["imagePath"]).resolve() == (tmp_path / "shots/deep/a.jpg").resolve()
    assert (document["imageHeight"], document["imageWidth"], document["imageData"]) == (90, 120, None)
    assert [shape["label"] for shape in document["shapes"]] == ["disc", "disc", "ring"]
    assert close(
        filled(np.array(document["shapes"][0]["points"])), cv2.circle(np.zeros((90, 120)), (30, 40), 20, 1, -1) > 0
    )


def test_yolo(found: Found, tmp_path: Path) -> None:
    Yolo(tmp_path, CLASSES).write(found)
    assert yaml.safe_load((tmp_path / "yolo/data.yaml").read_text())["names"] == {0: "disc", 1: "ring"}
    lines = [line.split() for line in (tmp_path / "yolo/labels/deep/a.txt").read_text().splitlines()]
    assert [line[0] for line in lines] == ["0", "0", "1"]
    points = np.array(lines[2][1:], float).reshape(-1, 2)
    assert points.min() >= 0
    assert points.max() <= 1
    assert close(filled(points * (120, 90)), found.prediction.class_map == 2)
