"""Which data and which of its pictures a journey is about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console

from segwright.classes import Classes
from segwright.data.layouts import find_dataset
from segwright.data.sample import Sample
from segwright.data.shards import url_of
from segwright.errors import DataError, ModelError, UserError
from segwright.outputs import DATA_FILE
from segwright.recipe import Recipe

EVERYTHING = "all"
"""Name of the split that is every picture with a mask."""

PROOF_PICTURES = 32
"""An export is proven on at least as many pictures, where there are as many."""


def chosen_samples(
    data: Path, split: str, *, classes_csv: Path | None = None, settings: dict[str, Any] | None = None
) -> tuple[tuple[Sample, ...], Classes]:
    """The pictures of one split, cut exactly as training cut them.

    Args:
        data: folder in one of the known layouts.
        split: train, val, test, or "all".
        classes_csv: class table to use instead of the data's own.
        settings: the recipe the model was trained with, as a dict; its shares and seed are used.

    Raises:
        DataError: there is no such split; those there are, are named.
    """
    from segwright.data.splits import divide

    recipe = Recipe.from_dict(settings) if settings else Recipe()
    dataset = find_dataset(data, classes_csv=classes_csv, mask_suffix=recipe.data.mask_suffix)
    if split == EVERYTHING:
        everything = tuple(s for part in dataset.splits.values() for s in part if s.mask is not None)
        return everything, dataset.classes
    on_disk = dataset.splits.get(split, ())
    cut_by_training = settings is not None and split == "train" and "val" not in dataset.splits
    if any(s.mask is not None for s in on_disk) and not cut_by_training:
        return on_disk, dataset.classes
    parts = divide(dataset, val_share=recipe.data.val_share, seed=recipe.fit.seed)
    if not parts.get(split):
        known = ", ".join([name for name, part in parts.items() if part] + [EVERYTHING])
        raise DataError(f"{data} has no pictures with masks in a split named {split!r}; choose --split from {known}.")
    return parts[split], dataset.classes


def proof_samples(
    data: Path, *, classes_csv: Path | None = None, settings: dict[str, Any] | None = None
) -> tuple[tuple[Sample, ...], Classes]:
    """Pictures to prove an export on: test, else validation pictures, filled up with others where these are few."""
    _, samples, classes = held_out(data, classes_csv=classes_csv, settings=settings)
    if len(samples) >= PROOF_PICTURES:
        return samples, classes
    dataset = find_dataset(data, classes_csv=classes_csv)
    # Whether two files agree can be seen on any picture: where few were held out, others fill up.
    taken = {sample.key for sample in samples}
    others = [s for part in dataset.splits.values() for s in part if s.key not in taken]
    others.sort(key=lambda sample: sample.mask is None)
    return (*samples, *others[: PROOF_PICTURES - len(samples)]), dataset.classes


def calibration_samples(
    data: Path, *, classes_csv: Path | None = None, settings: dict[str, Any] | None = None
) -> tuple[Sample, ...]:
    """Pictures to measure INT8 ranges on: those of training, else all there are; masks are not needed."""
    try:
        return chosen_samples(data, "train", classes_csv=classes_csv, settings=settings)[0]
    except DataError:
        dataset = find_dataset(data, classes_csv=classes_csv)
        return tuple(s for part in dataset.splits.values() for s in part)


def held_out(
    data: Path, *, classes_csv: Path | None = None, settings: dict[str, Any] | None = None
) -> tuple[str, tuple[Sample, ...], Classes]:
    """Name and pictures of the split to judge a model by: test, else val, else all there is with masks."""
    for split in ("test", "val"):
        try:
            return split, *chosen_samples(data, split, classes_csv=classes_csv, settings=settings)
        except DataError:
            continue
    return EVERYTHING, *chosen_samples(data, EVERYTHING, classes_csv=classes_csv, settings=settings)


def data_of(model: Path, data: Path | None, classes_csv: Path | None) -> tuple[Path, Path | None]:
    """The data to use with a model: what the user named, else what the run remembers."""
    if data is not None:
        return data, classes_csv
    folder = model if model.is_dir() else model.parent
    try:
        remembered = json.loads((folder / DATA_FILE).read_text(encoding="utf-8"))
        data, stored = Path(remembered["data"]), remembered.get("classes_csv")
    except (OSError, ValueError, KeyError, TypeError) as error:
        if not model.exists():
            raise ModelError(f"{model} does not exist; name a run folder or a checkpoint.") from error
        raise UserError(
            f"{model} does not say which data it was trained on; name the folder of pictures too."
        ) from error
    if not data.is_dir() and url_of(data) is None:
        raise UserError(f"{model} was trained on {data}, which is no longer there; name the folder of pictures too.")
    return data, classes_csv or (Path(stored) if stored else None)


def shown(console: Console | None) -> bool:
    """Whether a progress bar has somebody to look at it."""
    # A bar that is redirected to a file would only leave blank lines there.
    return console is not None and not console.quiet and Console(stderr=True).is_terminal
