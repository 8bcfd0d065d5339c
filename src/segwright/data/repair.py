"""Repair: a mended copy of a data set, laid out as OUT/{split}/{images,masks} with clean masks and class table.

The original is only read. Pictures with nothing to mend are copied byte for byte; pictures with an EXIF rotation are
written upright. Masks become PNG: 0/255 for black-and-white, class numbers otherwise, 255 for ignored. What was done to
which file is listed in OUT/repairs.csv.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from rich.console import Console
from rich.progress import Progress

from segwright.classes import IGNORED, Classes, Notation
from segwright.data.health import Health, check, relative, same_aspect
from segwright.data.inspection import Inspection
from segwright.data.layouts import ALL, Dataset, find_dataset
from segwright.data.likeness import same_pictures
from segwright.data.sample import opened, read_raw_mask
from segwright.errors import DataError, OutputError
from segwright.masks import UNOWNED, class_map_from_raw
from segwright.outputs import csv_text, folder_being_written

JPEG_QUALITY = 97
"""Of pictures that had to be turned, without colour subsampling; all others are the original bytes."""


@dataclass(frozen=True, kw_only=True)
class Repaired:
    """A mended copy and the list of what was done."""

    dataset: Dataset
    """The copy, as it is found on disk."""
    rows: tuple[tuple[str, str], ...]
    """(file below the original root, what was done), as in repairs.csv; untouched files are not listed."""
    kept: int
    """Pictures in the copy."""
    dropped: int
    """Pictures left out."""


def repair(dataset: Dataset, health: Health, out: Path, *, progress: bool = True) -> Repaired:
    """Write a mended copy.

    Args:
        health: of this data set; a quick one is replaced by a full one first, which reads every file.
        out: a folder that does not exist or is empty, outside the data set.

    Raises:
        OutputError: `out` lies inside the data set, holds something, or cannot be written.
        DataError: nothing would remain, or the data set is a pack.
    """
    if dataset.layout == "pack":
        raise DataError(
            f"{dataset.root} is a pack, which is never changed; mend the folder it was made from and pack again."
        )
    inside, root = out.resolve(), dataset.root.resolve()
    if inside == root or inside.is_relative_to(root):
        raise OutputError(
            f"{out} lies inside the data set {dataset.root}, which is never changed; name a folder elsewhere."
        )
    full = check(dataset, progress=progress) if health.quick else health
    plan = _Plan(full)
    drops = plan.drops()
    kept = [i for i in full.inspections if id(i) not in drops]
    if not kept:
        raise DataError(f"Nothing in {dataset.root} can be kept: {full.findings[0].message} Mend the files by hand.")
    rows = [
        (relative(i.sample.image, dataset.root), f"left out: {drops[id(i)]}")
        for i in full.inspections
        if id(i) in drops
    ]
    rows += [(relative(path, dataset.root), "left out: no picture belongs to it") for path in dataset.orphan_masks]
    rows += plan.class_rows
    with folder_being_written(out) as partial:
        with Progress(transient=True, disable=not progress, console=Console(stderr=True)) as bar:
            for inspection in bar.track(kept, description="mending"):
                rows += _write_pair(inspection, plan, partial)
        (partial / "classes.csv").write_text(plan.classes.to_csv(), encoding="utf-8")
        (partial / "repairs.csv").write_text(csv_text(["file", "what was done"], rows), encoding="utf-8")
    return Repaired(
        dataset=find_dataset(out), rows=tuple(rows), kept=len(kept), dropped=len(full.inspections) - len(kept)
    )


class _Plan:
    """What the findings mean for the copy: its classes, how each mask is translated, and which pairs are left out."""

    def __init__(self, health: Health) -> None:
        self.health, self.dataset = health, health.dataset
        self.inverted = health.of_kind("inverted_masks") is not None
        self.dark = health.of_kind("dark_foreground") is not None
        self.class_rows: list[tuple[str, str]] = []
        self.read_as = self.dataset.classes
        if health.of_kind("0_255_for_index"):
            self.read_as = Classes(names=("background", "foreground"), notation="binary")
            self.class_rows.append(
                ("classes.csv", "classes replaced by background and foreground: masks hold 0 and 255 only")
            )
        self.classes, self.table = self._clean_classes()
        self.names = _names_in_copy(health.inspections)

    def _clean_classes(self) -> tuple[Classes, np.ndarray]:
        """The copy's classes, and the table from the numbers that are read to the numbers that are written."""
        names, colours = self.read_as.names, self.read_as.colours
        table = np.full(256, IGNORED, np.uint8)
        seen = list(range(len(names)))
        if self.health.of_kind("class_without_pixels") and self.read_as is self.dataset.classes:
            with_pixels = [n for n in seen if any(shares.get(names[n]) for shares in self.health.shares.values())]
            if len(with_pixels) >= 2:
                gone = ", ".join(names[n] for n in seen if n not in with_pixels)
                self.class_rows.append(("classes.csv", f"classes without a pixel left out: {gone}"))
                seen = with_pixels
        table[seen] = np.arange(len(seen))
        if self.inverted:
            table[:2] = (1, 0)
        notation: Notation = "binary" if self.read_as.notation == "binary" else "index"
        kept = Classes(names=tuple(names[n] for n in seen), colours=tuple(colours[n] for n in seen), notation=notation)
        return kept, table

    def drops(self) -> dict[int, str]:
        """Why a pair is left out, by the id of its inspection."""
        whole = {s for s in self.dataset.splits if all(i.mask is None for i in self.health.inspections if i.split == s)}
        drops: dict[int, str] = {}
        for i in self.health.inspections:
            reason = _why_unusable(
                i,
                for_prediction=i.split in whole and i.split != "train",
                white_counts=self.read_as is not self.dataset.classes,
            )
            if reason:
                drops[id(i)] = reason
        return drops | self._copies([i for i in self.health.inspections if id(i) not in drops])

    def _copies(self, remaining: list[Inspection]) -> dict[int, str]:
        """Pictures that are also in a split that should stay as it is: test before val before train.

        When that would leave nothing to train with, the other side goes.
        """
        with_look = [i for i in remaining if i.picture.likeness is not None]
        groups = same_pictures([i.picture.likeness for i in with_look if i.picture.likeness is not None])
        for order in (("test", "val", "train"), ("train", "test", "val")):
            drops: dict[int, str] = {}
            for group in groups:
                members = [with_look[p] for p in group]
                stays = next((split for split in order if any(i.split == split for i in members)), ALL)
                drops |= {id(i): f"the same picture is in {stays}" for i in members if i.split not in {stays, ALL}}
            left = sum(i.split == "train" and i.mask is not None and id(i) not in drops for i in remaining)
            if left >= 2 or not any(i.split == "train" for i in remaining):
                return drops
        return drops


def _names_in_copy(inspections: Sequence[Inspection]) -> dict[int, str]:
    """Name without suffix, by the id of the inspection: the key, without the split that may have been put before it."""
    short = {id(i): i.sample.key.removeprefix(f"{i.split}/") for i in inspections}
    often = Counter((i.split, short[id(i)]) for i in inspections)
    return {id(i): short[id(i)] if often[i.split, short[id(i)]] == 1 else i.sample.key for i in inspections}


def _why_unusable(i: Inspection, *, for_prediction: bool, white_counts: bool) -> str:
    if i.picture.error:
        return f"the picture cannot be read ({i.picture.error})"
    if i.mask is None:
        return "" if for_prediction else "it has no mask"
    if i.mask.error:
        return f"the mask cannot be read ({i.mask.error})"
    if not any(i.mask.pixels) and not white_counts:
        return "every pixel of the mask is ignored"
    if i.mask.hw not in {i.picture.hw, i.picture.raw_hw} and not same_aspect(i):
        return "the mask has another shape than the picture"
    return ""


def _write_pair(i: Inspection, plan: _Plan, out: Path) -> list[tuple[str, str]]:
    folder = out if i.split == ALL else out / i.split
    root = plan.dataset.root
    rows: list[tuple[str, str]] = []
    image = _inside(folder / "images", f"{plan.names[id(i)]}{i.sample.image.suffix.lower()}")
    if i.picture.orientation == 1:
        shutil.copyfile(i.sample.image, image)
    else:
        _write_upright(i.sample.image, image)
        rows.append((relative(i.sample.image, root), "written upright, EXIF rotation applied"))
    if i.sample.mask is None or i.mask is None:
        return rows
    class_map, done = _mended_mask(i, plan)
    pixels = class_map * np.uint8(255) if plan.classes.notation == "binary" else class_map
    Image.fromarray(pixels).save(_inside(folder / "masks", f"{plan.names[id(i)]}.png"))
    if done:
        rows.append((relative(i.sample.mask, root), "; ".join(done)))
    return rows


def _mended_mask(i: Inspection, plan: _Plan) -> tuple[np.ndarray, list[str]]:
    """Class map of the copy, (H, W) uint8 as its picture, and what was done to it."""
    if i.sample.mask is None or i.mask is None:
        raise DataError(f"{i.sample.image} has no mask; run the check again.")
    raw = read_raw_mask(i.sample.mask)
    done: list[str] = []
    if i.mask.dark:
        class_map = ((raw if raw.ndim == 2 else raw.max(axis=2)) > 0).astype(np.uint8)
        done.append("everything but 0 became foreground")
    else:
        class_map = class_map_from_raw(raw, plan.read_as)
    unowned = int((class_map == UNOWNED).sum())
    if unowned:
        done.append(f"{unowned} pixels of values no class owns marked as ignored")
    class_map = plan.table[class_map]
    if plan.inverted:
        done.append("black and white swapped")
    if class_map.shape == i.picture.raw_hw != i.picture.hw:
        with opened(i.sample.image) as picture:
            class_map = _turned(class_map, picture)
        done.append("turned like its picture")
    if class_map.shape != i.picture.hw:
        height, width = i.picture.hw
        done.append(f"scaled from {class_map.shape[1]}x{class_map.shape[0]} to {width}x{height}")
        class_map = np.asarray(Image.fromarray(class_map).resize((width, height), Image.Resampling.NEAREST))
    return class_map, done


def _turned(class_map: np.ndarray, like: Image.Image) -> np.ndarray:
    """Apply the EXIF rotation of a picture to a mask."""
    mask = Image.fromarray(class_map)
    exif = Image.Exif()
    exif[0x0112] = like.getexif().get(0x0112, 1)
    mask.getexif().update(exif)
    return np.asarray(ImageOps.exif_transpose(mask))


def _write_upright(source: Path, target: Path) -> None:
    with opened(source) as picture:
        upright = ImageOps.exif_transpose(picture)
        if picture.format == "JPEG":
            upright.save(target, quality=JPEG_QUALITY, subsampling=0, icc_profile=picture.info.get("icc_profile"))
        elif picture.format == "WEBP":
            upright.save(target, lossless=True)
        else:
            upright.save(target)


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
