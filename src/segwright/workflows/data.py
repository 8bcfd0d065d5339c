"""Journeys of data: check it, mend it, pack it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from segwright.data.layouts import find_dataset
from segwright.errors import UserError
from segwright.outputs import require_free
from segwright.recipe import Recipe
from segwright.workflows.choosing import shown

if TYPE_CHECKING:
    from segwright.data.health import Health
    from segwright.data.packing import Packed


def check(
    data: Path, *, classes_csv: Path | None = None, mask_suffix: str = "", console: Console | None = None
) -> Health:
    """Read every pair of a data set and say what is wrong.

    Args:
        data: folder in one of the known layouts.
        classes_csv: class table to use instead of the data's own.
        mask_suffix: what a mask's name has after its picture's stem.
        console: where progress is shown; None is silent.

    Returns:
        The findings; `spoils` says whether one would make training meaningless.

    Raises:
        DataError: nothing readable there.
    """
    from segwright.data import health

    dataset = find_dataset(data, classes_csv=classes_csv, mask_suffix=mask_suffix)
    return health.check(dataset, progress=shown(console))


def repair(
    data: Path,
    out: Path,
    *,
    classes_csv: Path | None = None,
    mask_suffix: str = "",
    console: Console | None = None,
) -> Path:
    """Write a mended copy of a data set; the original is not touched.

    Args:
        data: folder in one of the known layouts.
        out: new folder, outside `data`.
        classes_csv: class table to use instead of the data's own.
        mask_suffix: what a mask's name has after its picture's stem.
        console: where progress is shown; None is silent.

    Raises:
        DataError: nothing readable there.
        OutputError: `out` is taken, lies inside `data`, or cannot be written.
    """
    from segwright.data import health
    from segwright.data.repair import repair as mend

    dataset = find_dataset(data, classes_csv=classes_csv, mask_suffix=mask_suffix)
    mend(dataset, health.check(dataset, progress=shown(console)), out, progress=shown(console))
    return out


def pack(
    data: Path,
    out: Path,
    *,
    decoded: bool = False,
    recipe: Recipe | None = None,
    shard_mb: int = 256,
    classes_csv: Path | None = None,
    console: Console | None = None,
) -> Packed:
    """Write a data set as a few large files that train as its folder does; see `segwright.data.packing`.

    Args:
        data: folder in one of the known layouts.
        out: new folder, outside `data`.
        decoded: pack pairs decoded and shrunk for the recipe's size, divided into the splits its training would make.
        recipe: its mask suffix, and for a decoded pack its size, fit, val_share and seed; None takes the defaults.
        shard_mb: megabytes in one shard.
        classes_csv: class table to use instead of the data's own.
        console: where progress is shown; None is silent.

    Raises:
        DataError: the data would spoil a training, or cannot be read.
        OutputError: `out` is taken or cannot be written.
    """
    from dataclasses import replace

    from segwright.data import health, packing

    recipe = recipe or Recipe()
    if shard_mb < 1:
        raise UserError(f"--shard-mb is a size in megabytes, 1 or more, not {shard_mb}.")
    require_free(out)
    dataset = find_dataset(data, classes_csv=classes_csv, mask_suffix=recipe.data.mask_suffix)
    found = health.check(dataset, progress=shown(console))
    if decoded and not found.spoils:
        from segwright.data.splits import divide
        from segwright.training.prepare import with_size

        dataset = replace(dataset, splits=divide(dataset, val_share=recipe.data.val_share, seed=recipe.fit.seed))
        recipe = with_size(recipe, dataset.splits["train"])
    wanted = recipe if decoded else None
    return packing.pack(dataset, found, out, decoded=wanted, shard_mb=shard_mb, progress=shown(console))
