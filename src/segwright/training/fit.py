"""Recipe in, checkpoint out: the whole training on one page."""

from __future__ import annotations

import json
import logging
import os
import time
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from rich.console import Console

from segwright import __version__
from segwright.data import health
from segwright.data.layouts import Dataset, find_dataset
from segwright.data.loaders import Pairs, Splits
from segwright.data.sample import Sample, image_size_hw
from segwright.data.splits import divide
from segwright.errors import DataError, ModelError, RecipeError, UserError
from segwright.models.catalogue import Network, build, require_possible
from segwright.outputs import DATA_FILE, first_process, require_free, require_writable, write_text
from segwright.recipe import SIZE_MULTIPLE, Recipe, read_yaml, to_yaml
from segwright.training import loggers
from segwright.training.keeper import Bar, Keeper
from segwright.training.losses import with_weights
from segwright.training.lr_finder import with_lr
from segwright.training.machines import chosen_device, share_cores, trainer_settings, world_of
from segwright.training.pace import Pace, choose, keep_memory
from segwright.training.plan import Plan
from segwright.training.segmenter import Segmenter
from segwright.training.start import load_start, refuse_lonely_batch
from segwright.training.state import NAME as STATE_NAME
from segwright.training.state import load as load_state

AUTOMATIC_AREA = 480 * 640
"""Largest automatic input, pixels; larger data is scaled down unless the user asks for more."""


@dataclass(frozen=True)
class Run:
    """A finished training."""

    folder: Path
    """Holds best.safetensors, last.safetensors, recipe.yaml, splits.json, log.csv and panels/."""
    scores: dict[str, float]
    """Validation scores of the best check, 0..1."""
    steps: int
    """Optimiser steps taken."""
    images_per_second: float
    """Pictures learnt from, over the whole time of the training, checks included."""
    pace: Pace
    """How steps were computed."""


def train(
    data: Path, recipe: Recipe, out: Path, *, classes_csv: Path | None = None, console: Console | None = None
) -> Run:
    """Train a model.

    Args:
        data: folder in one of the known layouts.
        recipe: all settings.
        out: folder of the run; must be new or empty.
        classes_csv: class table to use instead of the data's own.
        console: where progress is shown; None is silent.

    Raises:
        DataError: the data would give a meaningless model; the health check's finding is quoted.
        RecipeError: settings that contradict the data or the machine.
        OutputError: `out` is taken or cannot be written.
    """
    if first_process():
        require_free(out)
    require_possible(recipe.model)
    loggers.require_installed(recipe)
    dataset = find_dataset(data, classes_csv=classes_csv, mask_suffix=recipe.data.mask_suffix)
    refuse_unhealthy(dataset)
    parts = divide(dataset, val_share=recipe.data.val_share, seed=recipe.fit.seed)
    recipe = with_size(recipe, parts["train"])
    prepared = prepare(dataset, parts, recipe, out, console)

    # Whatever can be refused has been refused: now there is something to keep.
    if first_process():
        require_writable(out)
        write_text(out / "recipe.yaml", to_yaml(prepared.recipe))
        write_text(out / "splits.json", json.dumps({k: [s.key for s in v] for k, v in parts.items()}, indent=1) + "\n")
        remembered = {"data": str(data.resolve()), "classes_csv": str(classes_csv.resolve()) if classes_csv else None}
        write_text(out / DATA_FILE, json.dumps(remembered, indent=1) + "\n")
    return carry_out(prepared, out, None, console)


def resume(out: Path, *, console: Console | None = None, **changes: Any) -> Run:
    """Go on with a run that was stopped, at the step whose state was saved last.

    On a CPU with the same number of threads the weights are bit for bit those of a run that was never stopped, unless it
    is planned in minutes.

    Args:
        out: folder of the run.
        console: where progress is shown; None is silent.
        changes: settings of the recipe's `run` part that may differ now, such as `panels` or `device`.

    Raises:
        ModelError: nothing to resume from, or it is damaged.
        DataError: the data is no longer where it was, or no longer what it was.
        RecipeError: another number of devices than before.
    """
    state = load_state(out)
    recipe = read_yaml(out / "recipe.yaml").with_settings(**changes)
    try:
        remembered = json.loads((out / DATA_FILE).read_text(encoding="utf-8"))
        kept = json.loads((out / "splits.json").read_text(encoding="utf-8"))
        classes_csv = Path(remembered["classes_csv"]) if remembered["classes_csv"] else None
        data, kept = Path(remembered["data"]), {part: [str(key) for key in kept[part]] for part in ("train", "val")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{out} is no run that can be resumed ({error}); train again from the start.") from error
    dataset = find_dataset(data, classes_csv=classes_csv, mask_suffix=recipe.data.mask_suffix)
    prepared = prepare(dataset, _parts_as_before(dataset, kept), recipe, out, console, state)
    return carry_out(prepared, out, state, console)


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
    console = _speaking(console)
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
    network = build(recipe.model, classes.channels, load_weights=state is None).to(device)
    if not state:
        load_start(network, recipe.model, classes)
    network.to(memory_format=torch.channels_last)
    found = [name for name in ("lr", "class_weights") if getattr(recipe.fit, name) in {"auto", "several"}]
    if state:
        pace = Pace(**state["pace"])
    else:
        pace = choose(network, classes.channels, recipe.data.size_hw, recipe.fit.precision, device)
        pairs = Pairs(splits, classes, recipe, device, world)
        recipe = with_weights(recipe, classes, pairs, console)
        recipe = with_lr(recipe, network, classes, pairs, pace, out, console)
    names = {key: Path(getattr(recipe.model, key)).name for key in ("weights", "load_model")}
    carried = recipe.with_settings(**names)  # folders of this machine stay here
    pairs = Pairs(splits, classes, carried, device, world)
    plan = Plan(carried, steps_per_epoch=pairs.order.batches_per_pass // recipe.fit.accumulate)
    sizes = (plan.size_hw(0), recipe.data.size_hw)
    refuse_lonely_batch(network, recipe.model, batch_size=pairs.batch_size, pictures=len(splits.train), sizes=sizes)
    segmenter = Segmenter(network, classes, carried, pace, plan, pairs)
    segmenter.folder = out
    if state:
        segmenter.restore(state)
    return Prepared(dataset, splits, recipe, found, segmenter, world)


def _speaking(console: Console | None) -> Console:
    return console if console is not None and first_process() else Console(quiet=True)


def carry_out(prepared: Prepared, out: Path, state: dict[str, Any] | None, console: Console | None) -> Run:
    """Train to the end.

    Args:
        prepared: the run.
        out: its folder.
        state: of a run that is resumed.
        console: where progress is shown; None is silent.
    """
    console = _speaking(console)
    segmenter, dataset, splits = prepared.segmenter, prepared.dataset, prepared.splits
    plan, pairs, recipe = segmenter.plan, segmenter.pairs, segmenter.recipe
    if state:
        console.print(f"{out} goes on after step {plan.step}.", soft_wrap=True, highlight=False)
    console.print(describe(segmenter.network, dataset, splits, recipe, segmenter.pace))
    with loggers.opened(recipe, out, plan, console) as listeners:
        facts = provenance(dataset, splits, segmenter.pace) | {"found_by_the_run": prepared.found}
        keeper = Keeper(out, facts, listeners)
        if state:
            keeper.restore(state["keeper"])
        run_lightning(segmenter, prepared.world, keeper, out, console)
    if first_process():
        (out / STATE_NAME).unlink(missing_ok=True)
    rows = [row for row in keeper.rows if row["epoch"] > recipe.fit.cool_down] or keeper.rows[-1:]
    best = max(rows, key=lambda row: row["val_iou"])
    scores = {name: best[name] for name in segmenter.scores}
    pictures = plan.step * recipe.fit.accumulate * pairs.batch_size * prepared.world
    return Run(out, scores, plan.step, pictures / plan.seconds, segmenter.pace)


def run_lightning(segmenter: Segmenter, world: int, keeper: Keeper, out: Path, console: Console) -> None:
    """Hand over to Lightning, which owns devices, processes and gradients.

    One of its epochs is the stretch up to the next check, which may be a pass over the pictures, part of one or several.

    Raises:
        KeyboardInterrupt: the user stopped it; what was kept so far lies in `out`.
        UserError: another of several processes ended.
    """
    recipe, plan, device = segmenter.recipe, segmenter.plan, segmenter.pairs.device
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    logging.getLogger("lightning.fabric").setLevel(logging.ERROR)
    callbacks: list[L.Callback] = [keeper, keeper.loggers]
    if not console.quiet:
        callbacks.append(Bar(console))
    with warnings.catch_warnings():
        # Advice about loading processes and about logging more often; both were decided here, with measurements.
        warnings.filterwarnings("ignore", module="lightning.*")
        warnings.filterwarnings("ignore", message="This DataLoader will create .* worker processes")
        warnings.filterwarnings("ignore", message=".*treespec.*|.*isinstance.*LeafSpec.*")
        trainer = L.Trainer(
            **trainer_settings(recipe, device, world, segmenter.pace.precision),
            max_epochs=-1,
            gradient_clip_val=recipe.fit.clip,
            num_sanity_val_steps=0,
            callbacks=callbacks,
            logger=False,
            enable_progress_bar=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            default_root_dir=out,
        )
        plan.started = time.monotonic()
        try:
            trainer.fit(segmenter, datamodule=segmenter.pairs)
        except SystemExit as stopped:  # Lightning turns Ctrl-C into sys.exit
            raise KeyboardInterrupt from stopped
        except UserError as error:
            raise type(error)(_own_words(error)) from error
        except RuntimeError as error:
            if world == 1:
                raise
            raise UserError(
                f"The training of {world} processes broke off, because one of them ended ({str(error).splitlines()[0][:150]}); "
                "what it said stands above or in the log of its machine."
            ) from error
        if trainer.interrupted:
            raise KeyboardInterrupt


def _parts_as_before(dataset: Dataset, kept: dict[str, list[str]]) -> dict[str, tuple[Sample, ...]]:
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


def _own_words(error: UserError) -> str:
    """The sentence alone: what a loading process raises arrives as a whole traceback in the text of the same error."""
    return str(error).rpartition(f"{type(error).__name__}: ")[2].strip()


def refuse_unhealthy(dataset: Dataset) -> None:
    """Run the quick part of the health check.

    Raises:
        DataError: something would spoil the training; all such findings are named.
    """
    spoiling = [f for f in health.check(dataset, quick=True, progress=False).findings if f.severity == "spoils"]
    if spoiling:
        raise DataError(
            f"Training on {dataset.root} would give a meaningless model: "
            + " ".join(f.message for f in spoiling)
            + f" See everything with: segwright check {dataset.root}"
        )


def with_size(recipe: Recipe, samples: tuple[Sample, ...]) -> Recipe:
    """The recipe with an input size: its own, else the commonest size of the pictures, at most `AUTOMATIC_AREA`.

    Args:
        recipe: size 0 means automatic.
        samples: training pictures; at most 200 of them are asked for their size.
    """
    if recipe.data.width:
        return recipe
    if not samples:
        raise DataError("There is no training picture with a mask; see what is missing with: segwright check DATA")
    sizes = Counter(image_size_hw(s.image) for s in samples[:: max(len(samples) // 200, 1)])
    height, width = sizes.most_common(1)[0][0]
    scale = min(1.0, (AUTOMATIC_AREA / (height * width)) ** 0.5)
    height, width = (max(round(side * scale / SIZE_MULTIPLE), 1) * SIZE_MULTIPLE for side in (height, width))
    return recipe.with_settings(height=height, width=width)


def provenance(dataset: Dataset, splits: Splits, pace: Pace) -> dict[str, Any]:
    """Where a checkpoint comes from: names and counts, never a path of this machine."""
    import platform

    return {
        "data": dataset.root.resolve().name,
        "train_pictures": len(splits.train),
        "val_pictures": len(splits.val),
        "precision": pace.precision,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "segwright": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "licence": {"code": "Apache-2.0", "weights": "as the data allows", "data": "see the data set"},
    }


def describe(network: Network, dataset: Dataset, splits: Splits, recipe: Recipe, pace: Pace) -> str:
    """Two lines that say what is about to be trained, on what and how."""
    millions = sum(p.numel() for p in network.parameters()) / 1e6
    length = f"{recipe.fit.minutes:g} minutes" if recipe.fit.minutes else f"{recipe.fit.epochs} epochs"
    names = ", ".join(dataset.classes.names[:12]) + (" ..." if len(dataset.classes) > 12 else "")
    return (
        f"{recipe.model.model}, {millions:.2f} M parameters, {recipe.data.width}x{recipe.data.height}, {length}, {pace.why}\n"
        f"{len(splits.train)} pictures to learn from, {len(splits.val)} to check with; classes: {names}"
    )
