"""Health: what is wrong with a data set, found before training, counted, with the first files named and a repair proposed.

One function per thing that can be wrong, in the table CHECKS at the end; each looks at what the inspection of every pair
recorded and returns findings. "spoils" means: training on this would fail or give a worthless or flattering model;
"warns": look at it; "notes": good to know.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from segwright.classes import IGNORED
from segwright.data.inspection import Inspection, inspect_all
from segwright.data.layouts import ALL, Dataset
from segwright.data.likeness import MOST_COMPARED, near_pairs, same_pictures
from segwright.data.notation import evenly_spaced
from segwright.data.shards import read_file, stamp

Severity = Literal["spoils", "warns", "notes"]

FILES_NAMED = 5
"""Files that a finding names."""

CLASSES_SHOWN = 30
"""Classes whose shares are printed."""

QUICK_MASKS = 60
"""Masks that a quick check decodes, evenly spaced."""

QUICK_COMPARED = 400
"""Pictures of equal file size that a quick check compares byte by byte."""

UNOWNED_SPOILS = 0.01
"""Share of all pixels that no class owns from which training is spoilt, 0..1: soft edges of colour masks stay below."""

MOSTLY = 0.8
"""Share of the pictures that makes "nearly everywhere", 0..1."""

ASPECT_TOLERANCE = 0.01
"""Relative difference of width / height up to which a mask of another size is the same picture, scaled."""

BACKGROUND_NAMES = frozenset({"background", "bg", "null", "none", "void", "unlabeled", "unlabelled", "other"})


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong."""

    kind: str
    severity: Severity
    message: str
    count: int
    files: tuple[Path, ...] = ()
    """The first few files."""
    repair: str | None = None
    """What `--fix` would do about it; None when only a person can."""


@dataclass(frozen=True, kw_only=True)
class Health:
    """Everything a check found."""

    dataset: Dataset
    quick: bool
    findings: tuple[Finding, ...]
    counts: dict[str, dict[str, int]]
    """split -> pictures, masks, masks_decoded."""
    shares: dict[str, dict[str, float]]
    """split -> class name -> share of the labelled pixels, 0..1."""
    ignored: dict[str, float]
    """split -> share of the pixels that are ignored, 0..1."""
    sizes: tuple[tuple[tuple[int, int], int], ...]
    """((height, width), pictures), commonest first."""
    inspections: tuple[Inspection, ...] = field(repr=False)

    @property
    def spoils(self) -> bool:
        """Whether training on this data would fail or give a worthless or flattering model."""
        return any(finding.severity == "spoils" for finding in self.findings)

    def of_kind(self, kind: str) -> Finding | None:
        """The first finding of that kind."""
        return next((finding for finding in self.findings if finding.kind == kind), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; paths relative to the data set's folder."""
        return {
            "root": self.dataset.root.resolve().name,
            "layout": self.dataset.layout,
            "classes": list(self.dataset.classes.names),
            "classes_declared": self.dataset.classes_declared,
            "notation": self.dataset.classes.notation,
            "quick": self.quick,
            "spoils": self.spoils,
            "counts": self.counts,
            "shares": self.shares,
            "ignored": self.ignored,
            "sizes": [{"height": h, "width": w, "pictures": count} for (h, w), count in self.sizes],
            "findings": [
                {
                    "kind": f.kind,
                    "severity": f.severity,
                    "message": f.message,
                    "count": f.count,
                    "files": [relative(path, self.dataset.root) for path in f.files],
                    "repair": f.repair,
                }
                for f in self.findings
            ],
        }

    def render(self, console: Console) -> None:
        """Print the splits, the classes and the findings."""
        dataset = self.dataset
        how = "declared" if dataset.classes_declared else "guessed from the masks"
        console.print(
            f"[bold]{escape(str(dataset.root))}[/bold]: layout {dataset.layout}, {dataset.classes.notation} masks, "
            f"{len(dataset.classes)} classes {how}"
        )
        splits = Table(box=None, pad_edge=False)
        for column in ("split", "pictures", "masks", "read"):
            splits.add_column(column, justify="left" if column == "split" else "right")
        for split, counts in self.counts.items():
            splits.add_row(split, str(counts["pictures"]), str(counts["masks"]), str(counts["masks_decoded"]))
        console.print(splits)
        if self.sizes:
            common = ", ".join(f"{w}x{h} ({count})" for (h, w), count in self.sizes[:3])
            console.print(f"sizes: {common}{' ...' if len(self.sizes) > 3 else ''}")
        if any(self.shares.values()):
            classes = Table("class", *self.shares, box=None, pad_edge=False)
            for name in dataset.classes.names[:CLASSES_SHOWN]:
                shares = (f"{100 * of[name]:.2f} %" if name in of else "-" for of in self.shares.values())
                classes.add_row(escape(name), *shares)
            console.print(classes)
            if len(dataset.classes) > CLASSES_SHOWN:
                console.print(f"and {len(dataset.classes) - CLASSES_SHOWN} more classes")
        if not self.findings:
            console.print("[green]Nothing is wrong.[/green]")
            return
        table = Table("", "count", "finding", "first files", "repair with --fix", show_lines=True)
        style = {"spoils": "red", "warns": "yellow", "notes": "dim"}
        for f in self.findings:
            files = "\n".join(relative(path, dataset.root) for path in f.files)
            table.add_row(
                f"[{style[f.severity]}]{f.severity}[/]",
                str(f.count),
                escape(f.message),
                escape(files),
                escape(f.repair or "-"),
            )
        console.print(table)


def relative(path: Path, root: Path) -> str:
    """A path as people know it: below the data set's folder where it is there."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def check(dataset: Dataset, *, quick: bool = False, progress: bool = True) -> Health:
    """Inspect every pair and say what is wrong.

    Args:
        quick: read all headers but only `QUICK_MASKS` masks, no pictures and no look-alikes; a second or two.
        progress: show a bar on the terminal (stderr).
    """
    samples = [(split, sample) for split, members in dataset.splits.items() for sample in members]
    masked = [position for position, (_, sample) in enumerate(samples) if sample.mask is not None]
    looked_at = set(_spread(masked, QUICK_MASKS)) if quick else set(masked)
    with Progress(transient=True, disable=not progress, console=Console(stderr=True)) as bar:
        task = bar.add_task("checking", total=len(samples))
        inspections = inspect_all(
            samples,
            dataset.classes,
            decode=lambda position: (not quick, position in looked_at),
            step=lambda: bar.advance(task),
        )
    seen = _Seen(dataset, inspections, quick)
    order: dict[Severity, int] = {"spoils": 0, "warns": 1, "notes": 2}
    findings = [finding for one in CHECKS for finding in one(seen)]
    return Health(
        dataset=dataset,
        quick=quick,
        findings=tuple(sorted(findings, key=lambda f: order[f.severity])),
        counts={
            split: {
                "pictures": len(seen.of(split)),
                "masks": sum(i.mask is not None for i in seen.of(split)),
                "masks_decoded": sum(i.mask is not None and i.mask.decoded for i in seen.of(split)),
            }
            for split in dataset.splits
        },
        shares={split: seen.shares(split) for split in dataset.splits},
        ignored={split: seen.ignored_share(split) for split in dataset.splits},
        sizes=tuple(Counter(i.picture.hw for i in inspections if not i.picture.error).most_common()),
        inspections=tuple(inspections),
    )


def _spread(positions: Sequence[int], most: int) -> list[int]:
    return [positions[int(path.name)] for path in evenly_spaced([Path(str(i)) for i in range(len(positions))], most)]


class _Seen:
    """The inspections, asked in the ways that checks ask."""

    def __init__(self, dataset: Dataset, inspections: Sequence[Inspection], quick: bool) -> None:
        self.dataset, self.inspections, self.quick = dataset, inspections, quick
        self.classes = dataset.classes
        self.masked = [i for i in inspections if i.mask is not None]
        self.decoded = [i for i in self.masked if i.mask is not None and i.mask.decoded]

    def of(self, split: str) -> list[Inspection]:
        return [i for i in self.inspections if i.split == split]

    @cached_property
    def complete(self) -> bool:
        """Whether every readable mask was decoded, so that "nowhere" may be said."""
        return len(self.decoded) == sum(not i.mask.error for i in self.masked if i.mask is not None)

    @cached_property
    def pixels(self) -> dict[str, list[int]]:
        """Split -> pixels per class number."""
        sums = {split: [0] * len(self.classes) for split in self.dataset.splits}
        for i in self.decoded:
            if i.mask is not None:
                sums[i.split] = [a + b for a, b in zip(sums[i.split], i.mask.pixels, strict=True)]
        return sums

    def shares(self, split: str) -> dict[str, float]:
        total = sum(self.pixels[split])
        return {n: p / total for n, p in zip(self.classes.names, self.pixels[split], strict=True)} if total else {}

    def ignored_share(self, split: str) -> float:
        masks = [i.mask for i in self.decoded if i.split == split and i.mask is not None]
        total = sum(sum(mask.pixels) + mask.ignored + mask.unowned for mask in masks)
        return sum(mask.ignored + mask.unowned for mask in masks) / total if total else 0.0


def _finding(
    kind: str,
    severity: Severity,
    message: str,
    files: Sequence[Path],
    repair: str | None = None,
    count: int | None = None,
) -> Finding:
    return Finding(kind, severity, message, len(files) if count is None else count, tuple(files[:FILES_NAMED]), repair)


def _of(part: int, whole: int) -> str:
    return f"all {whole}" if part == whole else f"{part} of {whole}"


def _masks(inspections: Iterable[Inspection]) -> list[Path]:
    return [i.sample.mask for i in inspections if i.sample.mask is not None]


# --- partners ----------------------------------------------------------------------------------------------------------


def too_few(seen: _Seen) -> Iterator[Finding]:
    """Nothing to train with."""
    if not seen.masked:
        message = "No picture has a mask: these pictures can be predicted, not trained on."
        yield _finding("no_masks", "spoils", message, [i.sample.image for i in seen.inspections])
        return
    training = [i for i in seen.inspections if i.split in {"train", ALL}]
    usable = sum(i.usable for i in training)
    if not training:
        message = (
            f"There is no train part, only {', '.join(seen.dataset.splits)}: good for measuring, not for training."
        )
        yield _finding("too_few", "warns", message, [], count=0)
    elif usable < 2:
        message = f"Only {usable} picture(s) with a usable mask to train from; at least 2 are needed."
        yield _finding("too_few", "spoils", message, [i.sample.image for i in training if i.usable], count=usable)


def missing_partners(seen: _Seen) -> Iterator[Finding]:
    """Pictures without masks, and masks without pictures."""
    if not seen.masked:
        return
    lacking: list[Path] = []
    for split in seen.dataset.splits:
        without = [i.sample.image for i in seen.of(split) if i.mask is None]
        if without and len(without) == len(seen.of(split)) and split != "train":
            message = f"The pictures of {split} have no masks: they can be predicted, not measured."
            yield _finding("split_without_masks", "notes", message, without)
        else:
            lacking += without
    if lacking:
        message = f"Pictures without a mask: {_of(len(lacking), len(seen.inspections))}; training leaves them out."
        yield _finding("picture_without_mask", "warns", message, lacking, "leave them out")
    orphans = seen.dataset.orphan_masks
    if orphans:
        yield _finding(
            "mask_without_picture", "warns", f"Masks without a picture: {len(orphans)}.", orphans, "leave them out"
        )


# --- files -------------------------------------------------------------------------------------------------------------


def unreadable(seen: _Seen) -> Iterator[Finding]:
    """Damaged, empty or oversized files, which would stop training in the middle."""
    large = [i.sample.image for i in seen.inspections if i.picture.over_limit]
    if large:
        message = f"Pictures with too many pixels to be read: {len(large)}; cut them into smaller ones."
        yield _finding("too_many_pixels", "spoils", message, large, "leave the pairs out")
    broken = [i for i in seen.inspections if i.picture.error and not i.picture.over_limit]
    if broken:
        message = f"Pictures that cannot be read: {len(broken)}. {broken[0].picture.error}"
        yield _finding("unreadable_picture", "spoils", message, [i.sample.image for i in broken], "leave the pairs out")
    torn = [i for i in seen.masked if i.mask is not None and i.mask.error]
    if torn and torn[0].mask is not None:
        message = f"Masks that cannot be read: {len(torn)}. {torn[0].mask.error}"
        yield _finding("unreadable_mask", "spoils", message, _masks(torn), "leave the pairs out")


def sizes(seen: _Seen) -> Iterator[Finding]:
    """Masks that do not lie on their pictures."""
    readable = [i for i in seen.masked if i.mask and not i.mask.error and not i.picture.error]
    differ = [i for i in readable if i.mask and i.mask.hw != i.picture.hw]
    turned = [i for i in differ if i.mask and i.mask.hw == i.picture.raw_hw]
    others = [i for i in differ if i not in turned]
    if turned:
        message = (
            f"Masks drawn on the unturned pixels of a picture that its EXIF note turns: {len(turned)}; mask and picture "
            "do not fit."
        )
        yield _finding(
            "exif_rotation", "spoils", message, [i.sample.image for i in turned], "turn the masks like the pictures"
        )
    if others:
        scaled = sum(same_aspect(i) for i in others)
        first = others[0]
        message = f"Masks of another size than their picture: {len(others)}"
        if first.mask is not None:
            (h, w), (mh, mw) = first.picture.hw, first.mask.hw
            message += f", the first {mw}x{mh} instead of {w}x{h}; same shape, only scaled: {scaled}."
        repair = "scale masks of the same shape, leave the other pairs out"
        yield _finding("size_differs", "spoils", message, _masks(others), repair)
    unsure = [i for i in readable if i.picture.orientation != 1 and i not in differ]
    same = [i for i in unsure if i.picture.orientation < 5 or i.picture.raw_hw[0] == i.picture.raw_hw[1]]
    if same:
        message = (
            f"Pictures turned or mirrored by their EXIF note without a change of size: {len(same)}; "
            "look at a few to see that their masks were drawn the same way round."
        )
        yield _finding("exif_unsure", "notes", message, [i.sample.image for i in same])


def same_aspect(inspection: Inspection) -> bool:
    """Whether the mask has its picture's shape within `ASPECT_TOLERANCE`, so that scaling it makes sense."""
    if inspection.mask is None:
        return False
    (h, w), (mask_h, mask_w) = inspection.picture.hw, inspection.mask.hw
    return abs((w * mask_h) / (h * mask_w) - 1.0) <= ASPECT_TOLERANCE


# --- values ------------------------------------------------------------------------------------------------------------


def values(seen: _Seen) -> Iterator[Finding]:
    """Masks that are not written the way the classes are."""
    white = [i for i in seen.decoded if i.mask and i.mask.only_0_255]
    if declared_as_numbers(seen.dataset) and white and all(i.mask and not any(i.mask.pixels[1:]) for i in seen.decoded):
        message = (
            f"Masks of only 0 and 255 where {len(seen.classes)} classes are declared as numbers: "
            f"{_of(len(white), len(seen.decoded))}; everything white is ignored. Declare two classes for black-and-white masks, "
            "or name the folder of the index masks."
        )
        yield _finding("0_255_for_index", "spoils", message, _masks(white), "read them as background and foreground")
    dark = [i for i in seen.decoded if i.mask and i.mask.dark]
    if dark:
        message = (
            f"Masks whose foreground is darker than 128 where white is expected: {_of(len(dark), len(seen.decoded))}; "
            "it would be read as background."
        )
        yield _finding("dark_foreground", "spoils", message, _masks(dark), "everything but 0 becomes foreground")
    strange = [i for i in seen.decoded if i.mask and i.mask.unowned]
    if strange:
        lost = sum(i.mask.unowned for i in strange if i.mask)
        total = sum(i.mask.hw[0] * i.mask.hw[1] for i in seen.decoded if i.mask)
        often = Counter(value for i in strange if i.mask for value in i.mask.strangers).most_common(6)
        message = (
            f"Masks with values no class owns ({', '.join(v for v, _ in often)}): {_of(len(strange), len(seen.decoded))}, "
            f"{100 * lost / total:.2f} % of all pixels; training ignores those. Declare them in classes.csv."
        )
        severity: Severity = "spoils" if lost >= UNOWNED_SPOILS * total else "warns"
        yield _finding("unowned_values", severity, message, _masks(strange), "mark them as ignored")


def declared_as_numbers(dataset: Dataset) -> bool:
    """Whether masks should hold class numbers and 255 is nobody's number."""
    owners = dict(dataset.classes.values)
    return dataset.classes_declared and dataset.classes.notation == "index" and owners.get(IGNORED) == IGNORED


def classes_without_pixels(seen: _Seen) -> Iterator[Finding]:
    """Classes that the network could not learn, or that would not be measured."""
    names = seen.classes.names
    parts = {split: pixels for split, pixels in seen.pixels.items() if sum(pixels)}
    if not parts:
        return
    nowhere = [n for n, name in enumerate(names) if not any(pixels[n] for pixels in parts.values())]
    if nowhere and seen.complete:
        left = [name for n, name in enumerate(names) if n not in nowhere]
        severity: Severity = "spoils" if seen.dataset.classes_declared or len(left) == 1 else "warns"
        alone = f", and all that is labelled is {left[0]}" if len(left) == 1 else ""
        message = f"Classes without a pixel anywhere, {_of(len(nowhere), len(names))}: {_names(names, nowhere)}{alone}."
        repair = None if alone else "leave them out of classes.csv"
        yield _finding("class_without_pixels", severity, message, [], repair, len(nowhere))
    elif nowhere:
        message = f"Classes without a pixel in the {len(seen.decoded)} masks looked at: {_names(names, nowhere)}."
        yield _finding("class_without_pixels", "notes", message, [], count=len(nowhere))
    if not seen.complete:
        return
    for split, pixels in parts.items():
        absent = [n for n in range(len(names)) if not pixels[n] and n not in nowhere]
        if absent:
            harm = "not learned" if split == "train" else "not measured"
            message = f"Classes without a pixel in {split}, so {harm} there: {_names(names, absent)}."
            severity = "warns" if split in {"train", "val"} else "notes"
            yield _finding("class_missing_in_split", severity, message, [], count=len(absent))


def _names(names: Sequence[str], numbers: Sequence[int]) -> str:
    shown = ", ".join(names[n] for n in numbers[:8])
    return shown + (f" and {len(numbers) - 8} more" if len(numbers) > 8 else "")


def empty_masks(seen: _Seen) -> Iterator[Finding]:
    """Masks that show nothing but background, or nothing at all."""
    blank = [i for i in seen.decoded if i.mask and not any(i.mask.pixels)]
    if blank:
        severity: Severity = "spoils" if len(blank) == len(seen.decoded) else "warns"
        message = f"Masks that are ignored everywhere: {_of(len(blank), len(seen.decoded))}; nothing can be learned from them."
        yield _finding("all_ignored", severity, message, _masks(blank), "leave the pairs out")
    if len(seen.classes) > 2 and seen.classes.names[0].lower() not in BACKGROUND_NAMES:
        return
    empty = [i for i in seen.decoded if i.mask and i.mask.pixels[0] and not any(i.mask.pixels[1:]) and not i.mask.dark]
    if not empty:
        return
    share = len(empty) / len(seen.decoded)
    message = f"Masks with nothing but {seen.classes.names[0]}: {_of(len(empty), len(seen.decoded))}."
    all_empty: Severity = "spoils" if seen.complete else "warns"
    yield _finding(
        "empty_masks", all_empty if share == 1 else "warns" if share > 0.5 else "notes", message, _masks(empty)
    )


def inverted(seen: _Seen) -> Iterator[Finding]:
    """Black-and-white masks whose foreground is really the background."""
    filled = [i for i in seen.decoded if i.mask and sum(i.mask.pixels)]
    if len(seen.classes) != 2 or len(filled) < 2:
        return
    large = [i for i in filled if i.mask and i.mask.pixels[1] > 0.5 * sum(i.mask.pixels) and i.mask.border > 0.5]
    if len(large) >= MOSTLY * len(filled):
        message = (
            f"Masks in which {seen.classes.names[1]} fills more than half of the picture and most of its border: "
            f"{_of(len(large), len(filled))}; black and white look swapped."
        )
        repair = f"swap {seen.classes.names[0]} and {seen.classes.names[1]}"
        yield _finding("inverted_masks", "warns", message, _masks(large), repair)


# --- leaks -------------------------------------------------------------------------------------------------------------


def leaks(seen: _Seen) -> Iterator[Finding]:
    """Pictures that are in more than one split, exactly or nearly: scores would flatter."""
    groups = _same_bytes(seen.inspections) if seen.quick else _same_pixels(seen.inspections)
    members = {id(i): group for group in groups for i in group}
    for held in ("val", "test"):
        also = [i for i in seen.of(held) if any(other.split == "train" for other in members.get(id(i), ()))]
        if also and len(also) == len(seen.of(held)):
            message = f"Every picture of {held} is also in train: its scores say nothing."
            yield _finding(f"{held}_equals_train", "spoils", message, [i.sample.image for i in also], _UNLEAK)
        elif also:
            message = (
                f"Pictures of {held} that are also in train: {_of(len(also), len(seen.of(held)))}; its scores flatter."
            )
            yield _finding("same_picture_in_two_splits", "spoils", message, [i.sample.image for i in also], _UNLEAK)
    both = [i for i in seen.of("val") if any(other.split == "test" for other in members.get(id(i), ()))]
    if both:
        message = f"Pictures of val that are also in test: {len(both)}; what is chosen on val flatters test."
        yield _finding("same_picture_in_val_and_test", "warns", message, [i.sample.image for i in both], _UNLEAK)
    within = [i for group in groups for i in group[1:] if i.split == group[0].split]
    if within:
        message = f"Pictures that repeat another one of the same split: {len(within)}."
        yield _finding("same_picture_twice", "notes", message, [i.sample.image for i in within])
    yield from _near(seen)


_UNLEAK = "keep test first, then val: remove the copies from the other side"


def _near(seen: _Seen) -> Iterator[Finding]:
    with_look = [i for i in seen.inspections if i.picture.likeness is not None]
    if len(with_look) > MOST_COMPARED:
        message = f"More than {MOST_COMPARED} pictures: nearly equal pictures in different splits were not looked for."
        yield _finding("near_duplicates_not_checked", "notes", message, [], count=len(with_look))
        return
    pairs = near_pairs([i.picture.likeness for i in with_look if i.picture.likeness is not None])
    rank = {"train": 0, ALL: 0, "val": 1, "test": 2}
    flattering: defaultdict[tuple[str, str], list[Inspection]] = defaultdict(list)
    for a, b in pairs:
        first, second = sorted((with_look[a], with_look[b]), key=lambda i: rank.get(i.split, 3))
        if first.split != second.split and second not in flattering[first.split, second.split]:
            flattering[first.split, second.split].append(second)
    for (one, other), alike in sorted(flattering.items()):
        message = (
            f"Pictures of {other} that look nearly like one of {one}: {_of(len(alike), len(seen.of(other)))} (copies, or "
            f"neighbouring frames of a video); {other} is easier than new pictures."
        )
        if alike:
            yield _finding("near_duplicates", "warns", message, [i.sample.image for i in alike])


def _same_pixels(inspections: Sequence[Inspection]) -> list[list[Inspection]]:
    with_look = [i for i in inspections if i.picture.likeness is not None]
    groups = same_pictures([i.picture.likeness for i in with_look if i.picture.likeness is not None])
    return [[with_look[p] for p in group] for group in groups]


def _same_bytes(inspections: Sequence[Inspection]) -> list[list[Inspection]]:
    by_size: defaultdict[tuple[int, tuple[int, int]], list[Inspection]] = defaultdict(list)
    for i in inspections:
        if not i.picture.error:
            by_size[stamp(i.sample.image)[0], i.picture.raw_hw].append(i)
    candidates = [i for group in by_size.values() if len({m.split for m in group}) > 1 for i in group]
    by_bytes: defaultdict[bytes, list[Inspection]] = defaultdict(list)
    for i in candidates[:QUICK_COMPARED]:
        by_bytes[hashlib.blake2b(read_file(i.sample.image), digest_size=16).digest()].append(i)
    return [group for group in by_bytes.values() if len(group) > 1]


# --- good to know ------------------------------------------------------------------------------------------------------


def oddities(seen: _Seen) -> Iterator[Finding]:
    """Things that are handled, but that somebody may not expect."""
    if not seen.dataset.classes_declared and seen.masked:
        message = f"No classes.csv: the classes were guessed from the masks: {_names(seen.classes.names, range(len(seen.classes)))}."
        yield _finding("classes_guessed", "notes", message, [], "write a classes.csv", len(seen.classes))
    kinds = {
        "grey_pictures": (("1", "L"), "Grey pictures", "read as RGB with three equal channels."),
        "transparent_pictures": (("RGBA", "LA", "PA"), "Pictures with transparency", "laid on white."),
        "16_bit_pictures": (("I", "I;16", "I;16B", "I;16L"), "Pictures of 16 bits", "scaled to 8."),
        "cmyk_pictures": (("CMYK", "YCCK"), "Pictures in print colours (CMYK)", "converted to RGB."),
    }
    for kind, (modes, what, treated) in kinds.items():
        found = [i.sample.image for i in seen.inspections if i.picture.mode in modes and not i.picture.error]
        if found:
            yield _finding(kind, "notes", f"{what}: {_of(len(found), len(seen.inspections))}; {treated}", found)
    lossy = [i for i in seen.masked if i.mask and i.mask.kind == "JPEG"]
    if lossy:
        message = f"Masks that are JPEG files, whose values are blurred: {len(lossy)}; the nearest class is taken."
        severity: Severity = "warns" if seen.classes.notation == "index" else "notes"
        yield _finding("jpeg_masks", severity, message, _masks(lossy), "write clean PNG masks")


CHECKS: tuple[Callable[[_Seen], Iterator[Finding]], ...] = (
    too_few,
    missing_partners,
    unreadable,
    sizes,
    values,
    classes_without_pixels,
    empty_masks,
    inverted,
    leaks,
    oddities,
)
