"""Recipe in, checkpoint out: the whole training on one page."""

from __future__ import annotations

import json
import logging
import os
import time
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from rich.console import Console

from segwright import __version__, render
from segwright.data import health
from segwright.data.layouts import Dataset, find_dataset
from segwright.data.loaders import Draw, Pairs, Splits, stack
from segwright.data.sample import Sample, image_size_hw
from segwright.data.splits import divide
from segwright.errors import DataError, RecipeError, UserError
from segwright.models.catalogue import Network, build, require_possible
from segwright.outputs import require_free, require_writable, write_text
from segwright.recipe import SIZE_MULTIPLE, Recipe, to_yaml
from segwright.training.keeper import Bar, CheckPace, Keeper, answers
from segwright.training.pace import Pace, choose, keep_memory
from segwright.training.plan import Plan
from segwright.training.segmenter import Segmenter

AUTOMATIC_AREA = 480 * 640
"""Largest automatic input, pixels; larger data is scaled down unless the user asks for more."""

CUDA_PRECISION: dict[str, Any] = {"fp16": "16-mixed", "bf16": "bf16-mixed", "fp32": "32-true"}
"""Lightning's names; on a CPU the segmenter opens its own context, which can leave grouped convolutions in FP32."""


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
    console = console or Console(quiet=True)
    require_free(out)
    require_possible(recipe.model)
    dataset = find_dataset(data, classes_csv=classes_csv, mask_suffix=recipe.data.mask_suffix)
    refuse_unhealthy(dataset)
    parts = divide(dataset, val_share=recipe.data.val_share, seed=recipe.fit.seed)
    splits = Splits(parts["train"], parts["val"])
    recipe = with_size(recipe, splits.train)

    device = chosen_device(recipe)
    L.seed_everything(recipe.fit.seed, verbose=False)
    keep_memory()
    network = build(recipe.model, dataset.classes.channels).to(device)
    network.to(memory_format=torch.channels_last)
    pace = choose(network, dataset.classes.channels, recipe.data.size_hw, recipe.fit.precision, device)
    chosen = to_yaml(recipe)
    recipe = recipe.with_settings(weights=Path(recipe.model.weights).name)  # folders of this machine stay here
    pairs = Pairs(splits, dataset.classes, recipe, device)
    plan = Plan(recipe, steps_per_epoch=len(pairs.order) // pairs.batch_size)
    segmenter = Segmenter(network, dataset.classes, recipe, pace, plan, pairs)

    # Whatever can be refused has been refused: now there is something to keep.
    require_writable(out)
    write_text(out / "recipe.yaml", chosen)
    write_text(out / "splits.json", json.dumps({k: [s.key for s in v] for k, v in parts.items()}, indent=1) + "\n")
    keeper = Keeper(out, provenance(dataset, splits, pace), lambda s, n: draw_panels(s, out / "panels", n))
    console.print(describe(network, dataset, splits, recipe, pace))
    started = time.monotonic()
    run_lightning(segmenter, pairs, keeper, out, console)
    seconds = time.monotonic() - started
    row = max(keeper.rows, key=lambda r: r["val_iou"])
    scores = {k: v for k, v in row.items() if k.startswith("val_")}
    return Run(out, scores, plan.step, plan.step * pairs.batch_size / seconds, pace)


def run_lightning(segmenter: Segmenter, pairs: Pairs, keeper: Keeper, out: Path, console: Console) -> None:
    """Hand over to Lightning, which owns devices, processes and gradients; then check the last weights.

    Raises:
        KeyboardInterrupt: the user stopped it; what was kept so far lies in `out`.
    """
    recipe, plan = segmenter.recipe, segmenter.plan
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    callbacks: list[L.Callback] = [keeper] + ([CheckPace()] if recipe.fit.minutes else [])
    if not console.quiet:
        callbacks.append(Bar(console))
    with warnings.catch_warnings():
        # Advice about loading processes and about logging more often; both were decided here, with measurements.
        warnings.filterwarnings("ignore", module="lightning.*")
        warnings.filterwarnings("ignore", message="This DataLoader will create .* worker processes")
        warnings.filterwarnings("ignore", message=".*treespec.*|.*isinstance.*LeafSpec.*")
        trainer = L.Trainer(
            accelerator="gpu" if segmenter.pairs.device == "cuda" else "cpu",
            devices=1,
            precision=CUDA_PRECISION[segmenter.pace.precision] if segmenter.pairs.device == "cuda" else "32-true",
            max_epochs=-1 if recipe.fit.minutes else recipe.fit.epochs,
            gradient_clip_val=recipe.fit.clip,
            num_sanity_val_steps=0,
            callbacks=callbacks,
            logger=_tensorboard(out),
            enable_progress_bar=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            log_every_n_steps=10,
            default_root_dir=out,
        )
        plan.started = keeper.started = time.monotonic()
        try:
            trainer.fit(segmenter, datamodule=pairs)
        except SystemExit as stopped:  # Lightning turns Ctrl-C into sys.exit
            raise KeyboardInterrupt from stopped
        except UserError as error:
            raise type(error)(_own_words(error)) from error
        if trainer.interrupted:
            raise KeyboardInterrupt
        if keeper.last_checked_step != plan.step:
            trainer.validate(segmenter, datamodule=pairs, verbose=False)


def _own_words(error: UserError) -> str:
    """The sentence alone: what a loading process raises arrives as a whole traceback in the text of the same error."""
    return str(error).rpartition(f"{type(error).__name__}: ")[2].strip()


def _tensorboard(out: Path) -> Any:
    from lightning.pytorch.loggers import TensorBoardLogger

    return TensorBoardLogger(out, name="tensorboard", version="")


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
    if patch:
        _require_pictures_for(patch, samples)
        return recipe.with_settings(height=patch, width=patch)
    sizes = Counter(image_size_hw(s.image) for s in samples[:: max(len(samples) // 200, 1)])
    height, width = sizes.most_common(1)[0][0]
    scale = min(1.0, (AUTOMATIC_AREA / (height * width)) ** 0.5)
    height, width = (max(round(side * scale / SIZE_MULTIPLE), 1) * SIZE_MULTIPLE for side in (height, width))
    return recipe.with_settings(height=height, width=width)


def _require_pictures_for(patch: int, samples: tuple[Sample, ...]) -> None:
    """Refuse patches that no picture can fill in either direction.

    Raises:
        RecipeError: all pictures looked at, at most 200, are smaller.
    """
    sizes = [image_size_hw(s.image) for s in samples[:: max(len(samples) // 200, 1)]]
    height, width = max(sizes, key=max)
    if max(height, width) < patch:
        raise RecipeError(
            f"--patch-size {patch} is larger than every training picture (the largest is {width}x{height}), so that part of every "
            f"patch would be black; use at most {max(height, width)}, or --width and --height to have pictures enlarged."
        )


def chosen_device(recipe: Recipe) -> str:
    """Where to compute, "cpu" or "cuda".

    Raises:
        RecipeError: CUDA was asked for and is not there.
    """
    if recipe.run.device == "cuda" and not torch.cuda.is_available():
        raise RecipeError("--device cuda was asked for, but PyTorch sees no CUDA GPU here; use --device cpu or auto.")
    return "cuda" if recipe.run.device != "cpu" and torch.cuda.is_available() else "cpu"


def draw_panels(segmenter: Segmenter, folder: Path, number: int) -> None:
    """Picture | truth | prediction of the same validation pictures after every check, as one PNG.

    Args:
        segmenter: its network as it is now.
        folder: gets check_001.png and so on.
        number: of the check.
    """
    pictures = segmenter.pairs.val_pictures
    count = min(segmenter.recipe.run.panels, len(pictures))
    if not count:
        return
    chosen = np.linspace(0, len(pictures) - 1, count).astype(int)
    batch = stack([pictures[Draw(int(i), (0,), segmenter.recipe.data.size_hw)] for i in chosen])
    panels = [
        render.panel(image.permute(1, 2, 0).numpy(), truth.numpy(), answer, segmenter.classes)
        for image, truth, answer in zip(batch.images, batch.class_maps, answers(segmenter, batch.images), strict=True)
    ]
    render.write_png(folder / f"check_{number:03d}.png", render.sheet(panels))


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
    size = f"{'patches of ' if recipe.data.patch_size else ''}{recipe.data.width}x{recipe.data.height}"
    names = ", ".join(dataset.classes.names[:12]) + (" ..." if len(dataset.classes) > 12 else "")
    return (
        f"{recipe.model.model}, {millions:.2f} M parameters, {size}, {length}, {pace.why}\n"
        f"{len(splits.train)} pictures to learn from, {len(splits.val)} to check with; classes: {names}"
    )
