"""Colours of the user's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from segwright.classes import Classes
from segwright.errors import DataError
from segwright.predict.palette import read_palette

CLASSES = Classes(names=("sky", "road", "car"))


@pytest.mark.parametrize(
    "text",
    [
        "road,1,2,3\ncar,4,5,6\n",
        "name,r,g,b\nroad,1,2,3\ncar,4,5,6\n",
        "1,1,2,3\n2,4,5,6\n",
        "index,r,g,b\n1,1,2,3\n2,4,5,6\n",
        "\ufeffb, g, r, name\n3,2,1,road\n\n6,5,4,car\n",
        "index,name,r,g,b,ignore\n0,road,1,2,3,0\n7,car,4,5,6,0\n255,void,0,0,0,1\n",
    ],
)
def test_every_way_of_writing_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.csv").write_text(text, encoding="utf-8")
    painted = read_palette(tmp_path / "p.csv", CLASSES)
    assert painted.colours == (CLASSES.colours[0], (1, 2, 3), (4, 5, 6))
    assert painted.names == CLASSES.names


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tree,1,2,3", "line 1: There is no class 'tree'; the classes are sky, road, car"),
        ("road,1,2,300", "line 1: the colour 1,2,300 is outside"),
        ("name,r,g,b\nroad,1,2", "line 2:"),
        ("road,red,2,3", "line 1:"),
        ("9,1,2,3", "There is no class '9'"),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "p.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=said):
        read_palette(tmp_path / "p.csv", CLASSES)


def test_an_absent_palette_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_palette(tmp_path / "absent.csv", CLASSES)
