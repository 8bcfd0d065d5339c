"""The licence of a data set is what its SOURCE.md says."""

from __future__ import annotations

from pathlib import Path

import pytest

from segwright.data.licence import LONGEST, UNKNOWN, licence_of


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("Drawn. Licence: CC0-1.0.\n", "CC0-1.0"),
        (
            "- License: Apache-2.0 (LICENSE of that repository).\n- Counts: 3\n",
            "Apache-2.0 (LICENSE of that repository)",
        ),
        ("**Licence:** CC-BY-4.0\n", "CC-BY-4.0"),
        ("drawn-*; licence: CC0-1.0.\nphoto-*:\n- Licence: Apache-2.0\n- Licence: Apache-2.0", "CC0-1.0; Apache-2.0"),
        ("Licence: MIT of A\n\n> Licence: MIT\n", "MIT of A"),
        ("Nobody knows the licence.\n", UNKNOWN),
        ("Licence:\n", UNKNOWN),
        ("Licence: \x00\xff", "\x00\xff"),
    ],
)
def test_what_is_said(text: str, licence: str, tmp_path: Path) -> None:
    (tmp_path / "SOURCE.md").write_text(text, encoding="utf-8")
    assert licence_of(tmp_path) == licence


def test_a_part_has_the_licence_of_the_whole(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    assert licence_of(tmp_path / "train") == UNKNOWN
    (tmp_path / "SOURCE.md").write_text("Licence: MIT", encoding="utf-8")
    assert licence_of(tmp_path / "train") == "MIT"


def test_much_text_is_cut(tmp_path: Path) -> None:
    (tmp_path / "SOURCE.md").write_bytes(b"Licence: " + b"x" * 1_000_000)
    assert len(licence_of(tmp_path)) == LONGEST
