"""Every error segwright raises on purpose, drawn as a family; each message ends with the next thing to do.

SegwrightError                 catches the whole family
├── UserError                  something the user can mend: one sentence, exit code 2, no traceback
│   ├── DataError              pictures, masks, folders and class tables
│   │   └── PixelLimitError    a picture too large to be decoded at all
│   ├── RecipeError            settings that contradict each other or the data
│   ├── ModelError             weights, checkpoints and exported files
│   ├── OutputError            a folder or file that cannot be written
│   └── MissingExtraError      an optional library that is not installed
└── GateError                  the work was done, and what came out is not good enough: exit code 1
"""

from __future__ import annotations


class SegwrightError(Exception):
    """Base of every error raised on purpose."""


class UserError(SegwrightError):
    """Something the user can mend. The message says what, where, and what to do next."""


class DataError(UserError):
    """Pictures, masks, folders or class tables that cannot be used as they are."""


class PixelLimitError(DataError):
    """A picture with more pixels than are ever decoded; cut it into smaller ones."""


class RecipeError(UserError):
    """Settings that contradict each other, the data or the machine."""


class ModelError(UserError):
    """Weights, a checkpoint or an exported model that cannot be used."""


class OutputError(UserError):
    """A folder or file that cannot be written."""


class MissingExtraError(UserError):
    """An optional library is absent.

    Args:
        library: the name that could not be imported.
        extra: the extra of segwright that brings it.
    """

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(f"This needs {library}, which is not installed; run: pip install 'segwright[{extra}]'")


class GateError(SegwrightError):
    """A finished result failed its own check (an export that differs from its model, data that would spoil training)."""
