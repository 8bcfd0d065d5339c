from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segwright.classes import (
    IGNORED,
    MOST_CLASSES,
    Classes,
    ClassRow,
    Notation,
    classes_from_rows,
    default_colours,
    read_classes_csv,
)
from segwright.errors import DataError, ModelError

names = st.lists(
    st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=1), min_size=2, max_size=20, unique=True
)


def table(tmp_path: Path, text: str) -> tuple[ClassRow, ...]:
    path = tmp_path / "classes.csv"
    path.write_text(text, encoding="utf-8")
    return read_classes_csv(path)


@given(names, st.sampled_from(["index", "colour"]))
def test_to_dict_and_back(labels: list[str], notation: Notation) -> None:
    classes = Classes(names=tuple(labels), notation=notation)
    assert Classes.from_dict(classes.to_dict()) == classes


@given(names)
def test_to_csv_and_back(labels: list[str]) -> None:
    import tempfile

    classes = Classes(names=tuple(labels))
    with tempfile.TemporaryDirectory() as folder:
        again = classes_from_rows(table(Path(folder), classes.to_csv()))
    assert again == classes


def test_default_colours_differ() -> None:
    colours = default_colours(60)
    assert colours[:2] == ((0, 0, 0), (0, 255, 255))
    assert len(set(colours)) == 60
    assert all(0 <= channel <= 255 for colour in colours for channel in colour)


def test_what_cannot_be_a_class_table() -> None:
    for wrong, message in (
        ({"names": ("a",)}, "at least two"),
        ({"names": ("a", "b", "a")}, "repeat"),
        ({"names": tuple(f"c{n}" for n in range(MOST_CLASSES + 1))}, "at most"),
        ({"names": ("a", "b"), "colours": ((0, 0, 0),)}, "one colour for each"),
        ({"names": ("a", "b", "c"), "notation": "binary"}, "two classes"),
    ):
        with pytest.raises(DataError, match=message):
            Classes(**wrong)
    with pytest.raises(DataError, match="no class 'd'"):
        Classes(names=("a", "b")).number("d")
    with pytest.raises(ModelError, match="cannot be read"):
        Classes.from_dict({"colours": []})


def test_gaps_merged_and_ignored_rows(tmp_path: Path) -> None:
    classes = classes_from_rows(
        table(tmp_path, "index,name,r,g,b,ignore\n10,road,1,2,3,\n20,car,,,,\n21,car,,,,\n99,void,9,9,9,1\n")
    )
    assert classes.names == ("road", "car")
    assert classes.colours == ((1, 2, 3), (0, 255, 255))
    assert dict(classes.values) == {10: 0, 20: 1, 21: 1, 99: IGNORED, IGNORED: IGNORED}
    assert classes.index_table[[10, 20, 21, 99, 255, 11]].tolist() == [0, 1, 1, 255, 255, 254]


def test_a_table_of_names_and_colours_is_numbered(tmp_path: Path) -> None:
    rows = table(tmp_path, "\ufeffName, R ,G,B\nsky,1,2,3\nroad,4,5,6\n")
    assert [(row.index, row.name, row.rgb) for row in rows] == [(0, "sky", (1, 2, 3)), (1, "road", (4, 5, 6))]
    classes = classes_from_rows(rows, "colour")
    assert classes.rgb_values == (((1, 2, 3), 0), ((4, 5, 6), 1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column 'name'"),
        ("index,r\n1,2\n", "no column 'name'"),
        ("index,name\n0,a\nx,b\n", "line 3"),
        ("index,name\n0,a\n1,\n", "line 3"),
        ("index,name\n0,a\n70000,b\n", "line 3"),
        ("index,name,r,g,b\n0,a,1,2,300\n", "line 2"),
        ("index,name\n0,a\n0,b\n", "twice"),
    ],
)
def test_unusable_tables_name_the_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        table(tmp_path, text)


def test_unreadable_tables(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_classes_csv(tmp_path / "gone.csv")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(DataError, match="cannot be read"):
        read_classes_csv(tmp_path / "bytes.csv")
    with pytest.raises(DataError, match="add the colours"):
        classes_from_rows((ClassRow(0, "a", None, False), ClassRow(1, "b", (1, 1, 1), False)), "colour")


def test_two_classes_share_a_logit() -> None:
    two, three = Classes(names=("a", "b")), Classes(names=("a", "b", "c"))
    assert (two.channels, three.channels) == (1, 3)
    logits = torch.tensor([[[[0.0, 2.0]]]])
    assert torch.allclose(two.probabilities(logits), logits.sigmoid())
    many = torch.randn(2, 3, 4, 5)
    assert torch.allclose(three.probabilities(many).sum(dim=1), torch.ones(2, 4, 5))


@given(st.integers(2, 6), st.floats(0.05, 0.95))
def test_decode_and_confidence_agree(count: int, threshold: float) -> None:
    classes = Classes(names=tuple(f"c{n}" for n in range(count)))
    rng = np.random.default_rng(count)
    probabilities = rng.dirichlet(np.ones(max(classes.channels, 2)), (5, 7)).transpose(2, 0, 1)[: classes.channels]
    class_map = classes.decode(probabilities, threshold)
    confidence = classes.confidence(probabilities, threshold)
    assert class_map.dtype == np.uint8
    assert confidence.dtype == np.float32
    every = probabilities if count > 2 else np.concatenate([1 - probabilities, probabilities])
    chosen = np.take_along_axis(every, class_map[None].astype(int), axis=0)[0]
    assert np.allclose(confidence, chosen, atol=1e-6)
    if count == 2:
        assert ((probabilities[0] >= threshold) == (class_map == 1)).all()


@pytest.mark.parametrize("steps", [3, 1000])
def test_decoding_many_classes_is_argmax_and_of_equals_the_first_wins(steps: int) -> None:
    classes = Classes(names=tuple(f"class {n}" for n in range(7)))
    values = np.random.default_rng(0).integers(0, steps, (7, 40, 50)).astype(np.float32) / steps
    class_map = classes.decode(values)
    assert class_map.dtype == np.uint8
    assert np.array_equal(class_map, values.argmax(axis=0))


def test_numbers_of_another_table() -> None:
    model = Classes(names=("sky", "road", "car"))
    assert model.numbers_in(Classes(names=("car", "sky")))[[0, 1, 2, 255]].tolist() == [2, 0, 255, 255]
    assert Classes(names=("bg", "card")).numbers_in(Classes(names=("null", "person")))[[0, 1, 255]].tolist() == [
        0,
        1,
        255,
    ]
    with pytest.raises(DataError, match="horse"):
        model.numbers_in(Classes(names=("sky", "horse")))


def test_palette_paints_ignored_pixels_grey() -> None:
    palette = Classes(names=("a", "b")).palette
    assert palette.shape == (256, 3)
    assert palette[[0, 1, IGNORED]].tolist() == [[0, 0, 0], [0, 255, 255], [128, 128, 128]]
