"""How commands speak: exit codes, one line for what went wrong, a console, a free name for an output folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NoReturn

OK, NOT_GOOD_ENOUGH, USER_ERROR = 0, 1, 2


def fail(reason: Exception | str, code: int) -> NoReturn:
    """Say what went wrong in one line and exit with `code`."""
    # What a library said is quoted in some sentences, and may hold line breaks.
    sys.stderr.write(f"segwright: {' '.join(line.strip() for line in str(reason).splitlines())}\n")
    sys.exit(code)


def console_of(*, quiet: bool = False) -> Any:
    """Where results are printed; rich is imported only here, so that help costs nothing."""
    from rich.console import Console

    return Console(quiet=quiet)


def fresh(folder: Path) -> Path:
    """`folder`, or the first of folder-2, folder-3, ... that does not exist yet."""
    if not folder.exists():
        return folder
    number = 2
    while (numbered := folder.with_name(f"{folder.name}-{number}")).exists():
        number += 1
    return numbered
