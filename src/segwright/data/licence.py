"""What a data set says about its licence: the lines of its SOURCE.md that name one."""

from __future__ import annotations

import re
from pathlib import Path

UNKNOWN = "see the data set"
LONGEST = 300
"""Characters of a licence that travel with a model."""
MOST_READ = 64 * 1024
"""Bytes of SOURCE.md that are looked at."""

_SAID = re.compile(r"\blicen[cs]es?:[ \t*]*(\S[^\n]*)", re.IGNORECASE)


def licence_of(root: Path) -> str:
    """The licences a data set names, joined by semicolons.

    Args:
        root: its folder; SOURCE.md is looked for there and in the folder above, where data lies in one part of a larger set.

    Returns:
        At most `LONGEST` characters, or `UNKNOWN` where nothing is said.
    """
    for folder in (root, root.absolute().parent):
        try:
            with (folder / "SOURCE.md").open("rb") as stream:
                text = stream.read(MOST_READ).decode("utf-8", errors="replace")
        except OSError:
            continue
        own = "\n".join(
            line for line in text.splitlines() if not line.startswith(">")
        )  # not what is quoted from others
        if said := dict.fromkeys(line.strip().rstrip(".") for line in _SAID.findall(own)):
            joined = "; ".join(said)
            return joined if len(joined) <= LONGEST else f"{joined[: LONGEST - 4]} ..."
    return UNKNOWN
