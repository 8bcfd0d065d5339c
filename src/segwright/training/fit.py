"""Recipe in, checkpoint out: the whole training on one page."""

from __future__ import annotations

import json
import logging
import os
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from rich.console import Console

from segwright import __version__
from segwright.data.augment import KEPT, LEVELS, variation_of, variation_yaml
from segwright.data.layouts import Dataset, find_dataset
from segwright.data.licence import licence_of
from segwright.data.loaders import Pairs, Splits
from segwright.data.shards import url_of
from segwright.errors import ModelError, UserError
from segwright.models.catalogue import Network, require_possible
from segwright.outputs import DATA_FILE, first_process, require_free, require_writable, write_text
from segwright.recipe import Recipe, to_yaml
from segwright.training import loggers
from segwright.training.keeper import Bar, Keeper
from segwright.training.machines import trainer_settings
from segwright.training.mishaps import Skips, in_one_sentence
from segwright.training.pace import Pace
from segwright.training.prepare import (
    Prepared,
    data_for,
    parts_as_before,
    prepare,
    require_classes_as_before,
    speaking,
)
from segwright.training.segmenter import Segmenter
from segwright.training.state import NAME as STATE_NAME
from segwright.training.state import load as load_state


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
    variation_of(recipe)  # a file of one's own is read before any work
    if recipe.fit.teacher:  # asked again when the run is resumed, from whatever folder
        recipe = recipe.with_settings(teacher=str(Path(recipe.fit.teacher).absolute()))
    dataset, parts, recipe = data_for(data, recipe, classes_csv)
    prepared = prepare(dataset, parts, recipe, out, console)

    # Whatever can be refused has been refused: now there is something to keep.
    if first_process():
        require_writable(out)
        write_text(out / "recipe.yaml", to_yaml(prepared.recipe))
        if recipe.data.augment not in LEVELS:
            write_text(out / KEPT, variation_yaml(variation_of(recipe)))
        write_text(out / "splits.json", json.dumps({k: [s.key for s in v] for k, v in parts.items()}, indent=1) + "\n")
        place = str(data if url_of(data) else data.resolve())
        remembered = {"data": place, "classes_csv": str(classes_csv.resolve()) if classes_csv else None}
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
    recipe = Recipe.from_dict(state["recipe"]).with_settings(**changes)
    loggers.require_installed(recipe)
    try:
        remembered = json.loads((out / DATA_FILE).read_text(encoding="utf-8"))
        kept = json.loads((out / "splits.json").read_text(encoding="utf-8"))
        classes_csv = Path(remembered["classes_csv"]) if remembered["classes_csv"] else None
        data, kept = Path(remembered["data"]), {part: [str(key) for key in kept[part]] for part in ("train", "val")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{out} is no run that can be resumed ({error}); train again from the start.") from error
    dataset = find_dataset(data, classes_csv=classes_csv, mask_suffix=recipe.data.mask_suffix)
    require_classes_as_before(dataset, state)
    prepared = prepare(dataset, parts_as_before(dataset, kept), recipe, out, console, state)
    return carry_out(prepared, out, state, console)


def carry_out(prepared: Prepared, out: Path, state: dict[str, Any] | None, console: Console | None) -> Run:
    """Train to the end.

    Args:
        prepared: the run.
        out: its folder.
        state: of a run that is resumed.
        console: where progress is shown; None is silent.
    """
    console = speaking(console)
    segmenter, dataset, splits = prepared.segmenter, prepared.dataset, prepared.splits
    plan, pairs, recipe = segmenter.plan, segmenter.pairs, segmenter.recipe
    if state:
        console.print(f"{out} goes on after step {plan.step}.", soft_wrap=True, highlight=False)
    console.print(describe(segmenter.network, dataset, splits, recipe, segmenter.pace))
    tell_about_loading(pairs, out, console)
    with loggers.opened(recipe, out, plan, console) as listeners:
        facts = provenance(dataset, splits, segmenter.pace) | {"found_by_the_run": prepared.found}
        keeper = Keeper(out, facts, listeners, prepared.recipe, Skips(out))
        if state:
            keeper.restore(state["keeper"])
        if not keeper.over:
            run_lightning(segmenter, prepared.world, keeper, out, console)
        if said := keeper.skips.sentence():
            console.print(said, soft_wrap=True, highlight=False)
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
    callbacks: list[L.Callback] = [keeper, keeper.loggers, keeper.skips]
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
            told = in_one_sentence(error, segmenter.pairs.recipe)
            if world == 1 or isinstance(told, UserError):
                raise told from error
            raise UserError(
                f"The training of {world} processes broke off, because one of them ended ({str(error).splitlines()[0][:150]}); "
                "what it said stands above or in the log of its machine."
            ) from error
        if trainer.interrupted:
            raise KeyboardInterrupt


def _own_words(error: UserError) -> str:
    """The sentence alone: what a loading process raises arrives as a whole traceback in the text of the same error."""
    return str(error).rpartition(f"{type(error).__name__}: ")[2].strip()


def tell_about_loading(pairs: Pairs, out: Path, console: Console) -> None:
    """Say how pictures are loaded where that is unusual, and what balancing does to the classes (also in class_shares.csv)."""
    for note in pairs.notes:
        console.print(note, soft_wrap=True, highlight=False)
    if pairs.shares is not None and first_process():
        write_text(out / "class_shares.csv", pairs.shares.to_csv())
        console.print(pairs.shares.table())


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
        "torch": str(torch.__version__),  # its own type is not plain text, and could not be read back from a state
        "python": platform.python_version(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "licence": {"code": "Apache-2.0", "weights": "as the data allows", "data": licence_of(dataset.root)},
    }


def describe(network: Network, dataset: Dataset, splits: Splits, recipe: Recipe, pace: Pace) -> str:
    """Two lines that say what is about to be trained, on what and how."""
    millions = sum(p.numel() for p in network.parameters()) / 1e6
    length = f"{recipe.fit.minutes:g} minutes" if recipe.fit.minutes else f"{recipe.fit.epochs} epochs"
    size = f"{'patches of ' if recipe.data.patch_size else ''}{recipe.data.width}x{recipe.data.height}"
    names = ", ".join(dataset.classes.names[:12]) + (" ..." if len(dataset.classes) > 12 else "")
    return (
        f"{recipe.model.model}, {millions:.2f} M parameters, {size}, {length}, {pace.why}\n"
        f"{len(splits.train)} pictures to learn from, {len(splits.val)} to check with; classes: {names}"
    )
