"""What the network will see: training batches after all variation and mixing, drawn as one sheet, without training."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from segwright import render
from segwright.classes import IGNORED, Classes
from segwright.data.augment import variation_of
from segwright.data.loaders import Batch, Pairs, Splits
from segwright.recipe import Recipe
from segwright.training.prepare import data_for

BATCHES = 2
MOST_SAMPLES = 24
"""More would be too small to be looked at."""
LARGEST_SIDE = 360
"""Of a drawn picture, pixels; larger ones are scaled down."""
STRIPE = 10
"""Pixels from one stripe of the hatching to the next."""
HATCH = (170, 170, 170)


def show_batch(
    data: Path, recipe: Recipe, out: Path, *, classes_csv: Path | None = None, console: Console | None = None
) -> Path:
    """Draw the first training batches of a run.

    Args:
        data: folder in one of the known layouts.
        recipe: all settings.
        out: PNG to write; replaced where it exists.
        classes_csv: class table to use instead of the data's own.
        console: where a line about the sheet goes; None is silent.

    Raises:
        DataError: the data cannot be trained on.
        RecipeError: settings that contradict the data, or an augmentation file that cannot be read.
        OutputError: `out` cannot be written.
    """
    variation = variation_of(recipe)
    dataset, parts, recipe = data_for(data, recipe, classes_csv)
    recipe = recipe.with_settings(workers=0)
    pairs = Pairs(Splits(parts["train"], parts["val"]), dataset.classes, recipe, "cpu", variation=variation)
    batches = list(islice(pairs.train_dataloader(), BATCHES))
    sheet = contact_sheet(batches, dataset.classes, title(recipe, pairs.batch_size))
    if console:
        console.print(f"What the network sees lies in {out}", soft_wrap=True, highlight=False)
    return render.write_png(out, sheet)


def title(recipe: Recipe, batch_size: int) -> str:
    """Size and variation in one line."""
    data = recipe.data
    mixed = [f"{name} {chance:g}" for name in ("mosaic", "cutmix", "mixup") if (chance := getattr(data, name))]
    how = [
        f"augment {Path(data.augment).name}",
        *mixed,
        f"seed {recipe.fit.seed}",
        "class 0 is not tinted, ignored pixels are hatched",
    ]
    return f"{data.width}x{data.height}, {data.fit}, batches of {batch_size}, {', '.join(how)}"


def contact_sheet(batches: list[Batch], classes: Classes, words: str) -> render.Rgb8:
    """Every sample as picture | mask, under its keys; where pictures were blended, both masks with their shares.

    Args:
        batches: as the network gets them.
        classes: whose colours.
        words: above everything.

    Returns:
        (H, W, 3) uint8; at most `MOST_SAMPLES` samples of all batches.
    """
    each = max(MOST_SAMPLES // max(len(batches), 1), 1)
    shown = [(batch, n) for batch in batches for n in range(min(len(batch.keys), each))]
    blended = any(batch.other_maps is not None for batch in batches)
    panels = [drawn(batch, n, classes, blended) for batch, n in shown]
    height, width = panels[0].shape[:2]
    # About as wide as a screen: four to three.
    columns = max(1, min(len(panels), round((len(panels) * height / width * 4 / 3) ** 0.5)))
    body = render.sheet(panels, columns=columns)
    return np.concatenate([render.titled(body, words), render.legend(classes, width=body.shape[1])])


def drawn(batch: Batch, number: int, classes: Classes, blended: bool) -> render.Rgb8:
    """One sample of a batch: picture and mask beside each other.

    Args:
        batch: holds it.
        number: its place.
        classes: whose colours.
        blended: leave room for a second mask, so that all panels of a sheet are alike.
    """
    image = np.ascontiguousarray(batch.images[number].permute(1, 2, 0).numpy())
    height, width = image.shape[:2]
    scale = min(1.0, LARGEST_SIDE / max(height, width))
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    columns = [small, masked(small, batch.class_maps[number].numpy(), classes)]
    key = batch.keys[number]
    if batch.other_maps is not None:
        columns.append(masked(small, batch.other_maps[number].numpy(), classes))
        key = f"{100 * batch.share:.0f} % and {100 * (1 - batch.share):.0f} % of {key}"
    elif blended:
        columns.append(np.full_like(small, render.PAPER))
    gap = np.full((size[1], render.GAP // 2, 3), render.PAPER, np.uint8)
    strip = [piece for column in columns for piece in (column, gap)][:-1]
    return render.titled(np.concatenate(strip, axis=1), key)


def masked(image: render.Rgb8, class_map: NDArray[np.uint8], classes: Classes) -> render.Rgb8:
    """A picture under its mask: classes tinted and outlined, ignored pixels grey and hatched.

    Args:
        image: (H, W, 3).
        class_map: at any size; brought to the picture's.
        classes: whose colours.
    """
    height, width = image.shape[:2]
    class_map = np.asarray(cv2.resize(class_map, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
    answer = render.overlay(image, class_map, classes, 0.55)
    ignored = class_map == IGNORED
    if ignored.any():
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB) // 3 + 40
        rows, columns = np.ogrid[:height, :width]
        answer[ignored] = grey[ignored]
        answer[ignored & ((rows + columns) % STRIPE < 2)] = HATCH
    return answer
