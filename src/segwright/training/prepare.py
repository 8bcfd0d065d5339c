"""What is settled before the first step: size, splits, devices, network, precision, class weights, learning rate."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from rich.console import Console

from segwright.classes import Classes
from segwright.data import health
from segwright.data.augment import variation_of
from segwright.data.layouts import Dataset, find_dataset
from segwright.data.loaders import Pairs, Splits
from segwright.data.packing import as_packed
from segwright.data.sample import Sample, image_size_hw
from segwright.data.splits import divide
from segwright.engines.memory import keep_memory
from segwright.errors import DataError, RecipeError
from segwright.models.catalogue import build
from segwright.outputs import first_process
from segwright.recipe import SIZE_MULTIPLE, Recipe
from segwright.training.losses import with_weights
from segwright.training.lr_finder import with_lr
from segwright.training.machines import chosen_device, share_cores, world_of
from segwright.training.mishaps import in_one_sentence
from segwright.training.pace import Pace, choose
from segwright.training.plan import Plan
from segwright.training.segmenter import Segmenter
from segwright.training.start import load_start, refuse_lonely_batch
from segwright.training.teacher import teacher_of

SKIPPABLE = frozenset({"too_many_pixels", "unreadable_picture", "unreadable_mask", "size_differs"})
"""Findings about single pairs that --skip-bad leaves out."""

AUTOMATIC_AREA = 480 * 640
"""Largest automatic input, pixels; larger data is scaled down unless the user asks for more."""


@dataclass(frozen=True)
class Prepared:
    """A run that is ready to begin, or to go on."""

    dataset: Dataset
    splits: Splits
    recipe: Recipe
    """With everything automatic settled; the segmenter's has the names of files only, without their folders."""
    found: list[str]
    """Settings that the run has found itself, such as `lr`."""
    segmenter: Segmenter
    world: int
    """Processes that train together."""


def prepare(
    dataset: Dataset,
    parts: Mapping[str, tuple[Sample, ...]],
    recipe: Recipe,
    out: Path,
    console: Console | None,
    state: dict[str, Any] | None = None,
) -> Prepared:
    """Build the network and everything that carries it through a training.

    Args:
        dataset: its classes.
        parts: train and val.
        recipe: with a size.
        out: folder of the run, not yet made.
        console: where progress is shown; None is silent.
        state: of a run that is resumed.

    Raises:
        RecipeError: settings that contradict the data or the machine.
        ModelError: weights that do not fit.
    """
    console, began = speaking(console), time.monotonic()
    splits, classes = Splits(parts["train"], parts["val"]), dataset.classes
    device = chosen_device(recipe)
    world = world_of(recipe, device)
    if state and world != state["world"]:
        raise RecipeError(
            f"The run was started with {state['world']} processes and would go on with {world}; give the same --devices and --nodes."
        )
    if device == "cpu":
        share_cores(world, recipe.run.nodes)
    L.seed_everything(recipe.fit.seed, verbose=False)
    keep_memory()
    widths = state.get("widths") if state else None  # a run of the time before there was pruning has none in its state
    network = build(recipe.model, classes.channels, load_weights=state is None, widths=widths).to(device)
    if not state:
        load_start(network, recipe.model, classes)
    network.to(memory_format=torch.channels_last)
    variation = variation_of(recipe, out if state else None)
    found = [name for name in ("lr", "class_weights") if getattr(recipe.fit, name) in {"auto", "several"}]
    shown = not console.quiet and Console(stderr=True).is_terminal
    pairs = Pairs(splits, classes, recipe, device, world, variation=variation, progress=shown)
    # What can be refused is refused before --lr auto trains a copy and writes its curve.
    teacher = teacher_of(recipe, classes)
    sizes = (Plan(recipe, steps_per_epoch=1).size_hw(0), recipe.data.size_hw)
    refuse_lonely_batch(network, recipe.model, batch_size=pairs.batch_size, pictures=len(splits.train), sizes=sizes)
    if state:
        pace = Pace(**state["pace"])
        if pace.precision == "fp16" and device == "cpu":  # begun on a GPU
            pace = choose(network, classes.channels, recipe.data.size_hw, "auto", device)
    else:
        pace = choose(network, classes.channels, recipe.data.size_hw, recipe.fit.precision, device)
        recipe = with_weights(recipe, classes, pairs, console)
        spent = time.monotonic() - began  # counts in a run planned in minutes; looking for a rate does not
        try:
            recipe = with_lr(recipe, network, classes, pairs, pace, out, console)
        except RuntimeError as error:
            raise in_one_sentence(error, recipe) from error
    names = {key: Path(getattr(recipe.model, key)).name for key in ("weights", "load_model")}
    names["teacher"] = Path(recipe.fit.teacher).name
    # Folders of this machine stay here.
    carried = recipe.with_settings(**names, augment=Path(recipe.data.augment).name, cache_dir="")
    plan = Plan(carried, steps_per_epoch=pairs.order.batches_per_pass // recipe.fit.accumulate)
    segmenter = Segmenter(network, classes, carried, pace, plan, pairs)
    segmenter.folder, segmenter.teacher = out, teacher
    if state:
        segmenter.restore(state)
    else:
        plan.before = spent
    return Prepared(dataset, splits, recipe, found, segmenter, world)


def data_for(
    data: Path, recipe: Recipe, classes_csv: Path | None = None
) -> tuple[Dataset, dict[str, tuple[Sample, ...]], Recipe]:
    """What a training of this recipe begins with: the data set, its splits, and the recipe with a size.

    Args:
        data: folder in one of the known layouts.
        recipe: all settings.
        classes_csv: class table to use instead of the data's own.

    Raises:
        DataError: the data would give a meaningless model; the health check's finding is quoted.
        RecipeError: settings that contradict the data.
    """
    dataset = find_dataset(data, classes_csv=classes_csv, mask_suffix=recipe.data.mask_suffix)
    refuse_unhealthy(dataset, skip_bad=recipe.data.skip_bad)
    parts = divide(dataset, val_share=recipe.data.val_share, seed=recipe.fit.seed)
    return dataset, parts, with_size(as_packed(recipe, dataset), parts["train"])


def speaking(console: Console | None) -> Console:
    """The console in the process that speaks, a silent one in the others."""
    return console if console is not None and first_process() else Console(quiet=True)


def parts_as_before(dataset: Dataset, kept: dict[str, list[str]]) -> dict[str, tuple[Sample, ...]]:
    """The splits a run began with, found again in its data.

    Raises:
        DataError: pictures are missing now; the first is named.
    """
    there = {sample.key: sample for samples in dataset.splits.values() for sample in samples if sample.mask}
    wanted = {key for part in ("train", "val") for key in kept.get(part, [])}
    if missing := sorted(wanted - there.keys()):
        raise DataError(
            f"{dataset.root} has changed since the run began: {len(missing)} of its pictures are missing, the first is {missing[0]}; "
            "put them back, or train again."
        )
    return {part: tuple(there[key] for key in kept.get(part, [])) for part in ("train", "val")}


def require_classes_as_before(dataset: Dataset, state: dict[str, Any]) -> None:
    """Refuse to go on with other classes than a run began with: its masks would be read in another way.

    Args:
        dataset: as it is now.
        state: of the run; one that was saved before states held classes passes.

    Raises:
        DataError: class table or masks have changed; both lists of names are given.
    """
    if "classes" not in state:
        return
    before = Classes.from_dict(state["classes"])
    if before != dataset.classes:
        then, now = (", ".join(classes.names) for classes in (before, dataset.classes))
        how = f"were {then} and are now {now}" if then != now else "are written in another way in the masks"
        raise DataError(
            f"{dataset.root} has changed since the run began: its classes {how}; put the class table back, or train again."
        )


def refuse_unhealthy(dataset: Dataset, *, skip_bad: bool = False) -> None:
    """Run the quick part of the health check.

    Args:
        dataset: a pack passes: it was checked whole when it was made, and reading it all again over a network takes long.
        skip_bad: whether pairs that cannot be read are left out by the training itself.

    Raises:
        DataError: something would spoil the training; all such findings are named.
    """
    if dataset.layout == "pack":
        return
    findings = health.check(dataset, quick=True, progress=False).findings
    spoiling = [f for f in findings if f.severity == "spoils" and not (skip_bad and f.kind in SKIPPABLE)]
    if spoiling:
        raise DataError(
            f"Training on {dataset.root} would give a meaningless model: "
            + " ".join(f.message for f in spoiling)
            + f" See everything with: segwright check {dataset.root}"
        )


def with_size(recipe: Recipe, samples: tuple[Sample, ...]) -> Recipe:
    """The recipe with an input size: its own or its patch's, else the commonest size of the pictures, at most `AUTOMATIC_AREA`.

    Args:
        recipe: size 0 means automatic.
        samples: training pictures; at most 200 of them are asked for their size.

    Raises:
        DataError: no pictures.
        RecipeError: patches larger than any of them.
    """
    patch = recipe.data.patch_size
    if recipe.data.width and not patch:
        return recipe
    if not samples:
        raise DataError("There is no training picture with a mask; see what is missing with: segwright check DATA")
    asked = samples[:: max(len(samples) // 200, 1)]
    sizes = Counter(size for s in asked if (size := _size_hw(s, recipe)))
    if not sizes:
        raise DataError(f"None of {len(asked)} training pictures can be read; see why with: segwright check DATA")
    if patch:
        _require_pictures_for(patch, list(sizes))
        return recipe.with_settings(height=patch, width=patch)
    height, width = sizes.most_common(1)[0][0]
    scale = min(1.0, (AUTOMATIC_AREA / (height * width)) ** 0.5)
    height, width = (max(round(side * scale / SIZE_MULTIPLE), 1) * SIZE_MULTIPLE for side in (height, width))
    return recipe.with_settings(height=height, width=width)


def _size_hw(sample: Sample, recipe: Recipe) -> tuple[int, int] | None:
    try:
        return image_size_hw(sample.image)
    except DataError:
        if recipe.data.skip_bad:
            return None
        raise


def _require_pictures_for(patch: int, sizes: list[tuple[int, int]]) -> None:
    """Refuse patches that no picture can fill in either direction.

    Raises:
        RecipeError: all pictures looked at, at most 200, are smaller.
    """
    height, width = max(sizes, key=max)
    if max(height, width) < patch:
        raise RecipeError(
            f"--patch-size {patch} is larger than every training picture (the largest is {width}x{height}), so that part of every "
            f"patch would be black; use at most {max(height, width)}, or --width and --height to have pictures enlarged."
        )
