"""A data set of drawn cards and photographed ones, which are repeated until they count and lend their parts to drawn scenes.

A few dozen photographs among thousands of drawn scenes would hardly be seen. So each is shown several times, pictures of one
scene together less often than as many single ones, and its cards and empty surroundings also appear in drawn scenes.
Some photographs are held out for validation, whole scenes at a time; no part of them is drawn with or learnt from.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from segwright.data.cards import CLASSES_CSV, FEWEST_PICTURES, MARK, synthesize_cards
from segwright.data.layouts import ALL, Dataset, find_dataset
from segwright.data.licence import licence_of
from segwright.data.sample import Sample, read_pair
from segwright.data.splits import divide, groups_of
from segwright.errors import DataError
from segwright.outputs import folder_being_written

VAL_SHARE = 0.15
"""Share of the photographs that is held out for validation."""
DRAWN_VAL, DRAWN_TEST = 48, 100
"""Most drawn pictures in val and in test; a check during training looks at all of val."""
LEAST_CARD_PX = 40
"""Shorter side of the smallest photographed card that is cut out as a face."""
LEAST_GROUND_SHARE = 0.25
"""Sides of a strip without cards, against the picture's own, from which on it is kept as a background."""
STRAIGHT = 0.93
"""A card is cut out when it fills this share of the rectangle or quadrilateral around it: one card, and nothing on it."""


def mixed_cards(
    out: Path,
    *,
    count: int = 5000,
    photographs: Path | None = None,
    photo_share: float = 0.4,
    seed: int = 0,
    size_hw: tuple[int, int] = (640, 480),
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Draw cards, add photographed ones, and write both as one data set.

    Args:
        out: the folder to make; it must not exist, or be empty.
        count: drawn pictures.
        photographs: a data set of card photographs with masks of two classes (its train part, where it is divided); it is only
            read. None draws alone.
        photo_share: share of photographs in what is trained on, each repeated as often as that takes, 0..0.9.
        seed: of everything random.
        size_hw: height and width of the drawn pictures.
        workers: processes that draw; None uses every core.
        progress: show a bar.

    Returns:
        `out`, holding `{train,val,test}/{images,masks}`, `classes.csv` and `SOURCE.md`.

    Raises:
        DataError: too few pictures asked for, or the photographs cannot be used.
        OutputError: `out` is in use or cannot be written.
    """
    if not 0.0 <= photo_share <= 0.9:
        raise DataError(f"The share of photographs is {photo_share}; choose one between 0 and 0.9.")
    least = 2 * FEWEST_PICTURES if photographs else FEWEST_PICTURES
    if count < least:
        raise DataError(f"{count} drawn pictures cannot fill train, val and test; ask for at least {least}.")
    found = _photographs(photographs) if photographs else None
    with folder_being_written(out) as partial:
        for split in ("train", "val", "test"):
            for kind in ("images", "masks"):
                (partial / split / kind).mkdir(parents=True)
        drawn, parts = partial / "drawn", partial / "parts"
        how = {"size_hw": size_hw, "workers": workers, "progress": progress}
        if found is None:
            synthesize_cards(drawn, count=count, seed=seed, **how)  # type: ignore[arg-type]
            _move(drawn, partial, "drawn")
        else:
            train, val = _divided(found, seed)
            faces, grounds = cut_out(train, found, parts)
            synthesize_cards(drawn, count=count // 2, seed=seed, **how)  # type: ignore[arg-type]
            _move(drawn, partial, "drawn")
            own = {"faces": faces, "backgrounds": grounds}
            synthesize_cards(drawn, count=count - count // 2, seed=seed + 1, **own, **how)  # type: ignore[arg-type]
            _move(drawn, partial, "pasted")
            shutil.rmtree(parts)
            wanted = photo_share / (1.0 - photo_share) * len(list((partial / "train" / "images").iterdir()))
            for sample, times in zip(train, _repeats(train, wanted), strict=True):
                _copy(sample, found, partial / "train", times)
            for sample in val:
                _copy(sample, found, partial / "val", 1)
        (partial / "classes.csv").write_text(CLASSES_CSV, encoding="utf-8")
        (partial / "SOURCE.md").write_text(_source(count, seed, photographs, found), encoding="utf-8")
    return out


def cut_out(samples: Sequence[Sample], dataset: Dataset, out: Path) -> tuple[Path | None, Path | None]:
    """Cards and places without cards, from photographs.

    Args:
        samples: with masks.
        dataset: theirs; class 1 is card.
        out: folder for `faces` and `grounds`.

    Returns:
        Folder of the faces and folder of the backgrounds; None where there are none.
    """
    faces, grounds = out / "faces", out / "grounds"
    for folder in (faces, grounds):
        folder.mkdir(parents=True)
    for number, sample in enumerate(samples):
        image, class_map = read_pair(sample, dataset.classes)
        mask = np.asarray(class_map == 1, np.uint8)
        for kind, pictures in ((faces, _faces(image, mask)), (grounds, _grounds(image, mask))):
            for which, picture in enumerate(pictures):
                _write(kind / f"{number:04d}-{which}.jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    return (faces if any(faces.iterdir()) else None), (grounds if any(grounds.iterdir()) else None)


def _faces(image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Every whole, single card, seen straight from above."""
    faces = []
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    for outline in outlines:
        corners = _corners(np.asarray(outline, np.int32))
        if corners is None:
            continue
        sides = np.linalg.norm(corners - np.roll(corners, -1, axis=0), axis=1)
        across, down = (sides[0] + sides[2]) / 2, (sides[1] + sides[3]) / 2
        if min(across, down) < LEAST_CARD_PX or max(across, down) > 2.2 * min(across, down):
            continue
        width, height = round(float(across)), round(float(down))
        # A pixel inside the outline, so that none of the ground comes along.
        target = np.array([[-1, -1], [width, -1], [width, height], [-1, height]], np.float32)
        matrix = cv2.getPerspectiveTransform(corners.astype(np.float32), target)
        faces.append(np.asarray(cv2.warpPerspective(image, matrix, (width, height)), np.uint8))
    return faces


def _corners(outline: NDArray[np.int32]) -> NDArray[np.float64] | None:
    """The four corners (x, y) in order round a card, or None where the outline is no quadrilateral inside the picture."""
    area = cv2.contourArea(outline)
    length = cv2.arcLength(outline, True)
    for tolerance in (0.02, 0.03, 0.04, 0.05):
        rough = cv2.approxPolyDP(outline, tolerance * length, True)
        if len(rough) == 4:
            whole = cv2.contourArea(rough)
            if cv2.isContourConvex(rough) and whole and STRAIGHT < area / whole < 1 / STRAIGHT:
                return np.asarray(rough[:, 0], np.float64)
            return None
    return None


def _grounds(image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """The strips above, below, left and right of everything that is card, where they are wide enough."""
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return [image]
    gap = round(0.02 * max(height, width))  # masks are not exact
    strips = [
        image[: max(rows[0] - gap, 0)],
        image[rows[-1] + 1 + gap :],
        image[:, : max(columns[0] - gap, 0)],
        image[:, columns[-1] + 1 + gap :],
    ]
    least = LEAST_GROUND_SHARE * min(height, width)
    return [strip for strip in strips if strip.size and min(strip.shape[:2]) >= least]


# --- photographs as they are ---------------------------------------------------------------------------------------


def _photographs(folder: Path) -> Dataset:
    dataset = find_dataset(folder)
    if len(dataset.classes) != 2:
        raise DataError(
            f"{folder} has {len(dataset.classes)} classes, and photographs of cards have two: background (black) and card (white)."
        )
    if not _with_masks(dataset):
        raise DataError(f"{folder} has no picture with a mask to train from; name a folder with images and masks.")
    return dataset


def _with_masks(dataset: Dataset) -> tuple[Sample, ...]:
    samples = dataset.splits.get("train") or dataset.splits.get(ALL) or ()
    return tuple(sample for sample in samples if sample.mask)


def _divided(dataset: Dataset, seed: int) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """What is trained on and what is held out; a test part, where there is one, is not touched at all."""
    samples = _with_masks(dataset)
    if dataset.splits.get("val"):
        return samples, tuple(sample for sample in dataset.splits["val"] if sample.mask)
    if len(samples) < 2:
        return samples, ()
    parts = divide(Dataset(**{**vars(dataset), "splits": {"train": samples}}), val_share=VAL_SHARE, seed=seed)
    return parts["train"], parts["val"]


def _repeats(samples: Sequence[Sample], wanted: float) -> list[int]:
    """How often each photograph is shown, at least once: a scene with four times as many pictures counts twice as much."""
    scene = {s.key: len(group) for group in groups_of(samples, len(samples)) for s in group}
    weights = [1.0 / math.sqrt(scene[sample.key]) for sample in samples]
    return [max(round(wanted * weight / sum(weights)), 1) for weight in weights]


def _copy(sample: Sample, dataset: Dataset, split: Path, times: int) -> None:
    image, class_map = read_pair(sample, dataset.classes)
    stem = f"photo-{sample.key.replace('/', '_')}"
    jpeg = sample.image.suffix.lower() in {".jpg", ".jpeg"}
    for number in range(times):
        name = f"{stem}-{number:03d}" if times > 1 else stem
        if jpeg:
            shutil.copyfile(sample.image, split / "images" / f"{name}.jpg")
        else:
            _write(split / "images" / f"{name}.jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
        _write(split / "masks" / f"{name}.png", np.asarray(class_map == 1, np.uint8) * np.uint8(255), [])


def _move(drawn: Path, out: Path, prefix: str) -> None:
    """Bring one drawn set in; what val and test need not hold is trained on."""
    for split, most in (("train", None), ("val", DRAWN_VAL), ("test", DRAWN_TEST)):
        for number, image in enumerate(sorted((drawn / split / "images").iterdir())):
            to = out / (split if most is None or number < most // 2 else "train")
            image.rename(to / "images" / f"{prefix}-{image.name}")
            mask = drawn / split / "masks" / f"{image.stem}.png"
            mask.rename(to / "masks" / f"{prefix}-{mask.name}")
    shutil.rmtree(drawn)


def _source(count: int, seed: int, photographs: Path | None, dataset: Dataset | None) -> str:
    text = f"{MARK} {count} synthetic pictures of cards (drawn-*, pasted-*), seed {seed}."
    if photographs is None or dataset is None:
        return f"{text}\nLicence: CC0-1.0.\n"
    name = f"{photographs.resolve().parent.name}/{photographs.name}"
    text += (
        f" photo-* are {len(_with_masks(dataset))} photographs of {name}, repeated; pasted-* contain parts of them.\n"
        f"Licence: CC0-1.0 for drawn-*; for photo-* and pasted-* that of {name}: {licence_of(photographs)}.\n"
    )
    for folder in (photographs, photographs.parent):
        if (folder / "SOURCE.md").is_file():
            theirs = (folder / "SOURCE.md").read_text(encoding="utf-8", errors="replace")
            return text + "\n" + "".join(f"> {line}\n" for line in theirs.splitlines())
    return text


def _write(path: Path, pixels: NDArray[np.uint8], settings: list[int]) -> None:
    done, encoded = cv2.imencode(path.suffix, np.ascontiguousarray(pixels), settings)
    if not done:
        raise OSError(f"{path.name} could not be encoded")
    path.write_bytes(encoded.tobytes())
