"""Layouts: where pictures and masks lie in a folder - one function per way of laying them out - and which belong together.

A layout function looks at the root and answers with the places of every split, or None when the folder is laid out
otherwise; the first one that answers wins. Pairing, class tables and errors are the same for all of them. A new layout is
one function and one line in LAYOUTS. Where no masks lie, annotations are looked for (`coco.py`, `labelme.py`, `yolo.py`).
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from segwright.classes import Classes, ClassRow, read_classes_csv
from segwright.data.notation import classes_of
from segwright.data.sample import IMAGE_SUFFIXES, MASK_SUFFIXES, Sample
from segwright.data.shards import url_of
from segwright.errors import DataError
from segwright.recipe import Fit

ALL = "all"
"""Name of the only split of a data set that is not divided on disk."""

SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
SPLIT_LISTS = {
    "train": ("training_dataset.txt", "train_dataset.txt"),
    "val": ("validation_dataset.txt", "val_dataset.txt"),
    "test": ("test_dataset.txt",),
}
IMAGE_FOLDERS = ("images", "image", "imgs", "img", "pictures", "photos", "JPEGImages", "leftImg8bit")
MASK_FOLDERS = (
    *("masks", "mask", "indexes", "labels", "label", "semantic", "segmentation", "segmentations"),
    *("SegmentationClass", "SegmentationClassRaw", "gtFine", "gt", "groundtruth", "annotations", "annotation"),
)
"""In the order in which they are preferred; capitals do not matter."""

TWIN_ENDINGS = ("annot", "_masks", "_mask", "_labels", "_label", "_annotations", "_gt")
"""What the folder of the masks adds to the name of the pictures' folder, as in train and train_labels."""

CLASS_TABLES = ("classes.csv", "class_dict.csv")

ENDINGS = (
    *(("", ""), ("", "_mask"), ("", "_color_mask"), ("", "_label"), ("", "_labelIds"), ("", "_gt"), ("", "_seg")),
    *(("", "_L"), ("", "_labels"), ("", "-mask"), ("", "_segmentation"), ("_image", "_mask"), ("_img", "_mask")),
    *(("_leftImg8bit", "_gtFine_labelIds"), ("_sat", "_mask")),
)
"""(what ends the picture's stem, what ends the mask's stem instead); the pair that matches most pictures is taken."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Pictures and masks as they lie on disk."""

    root: Path
    layout: str
    """Key of LAYOUTS."""
    classes: Classes
    classes_declared: bool
    """Whether a class table said so; otherwise the classes were guessed from the masks."""
    splits: dict[str, tuple[Sample, ...]]
    """As on disk: "train", "val", "test", or only "all". Samples may have no mask."""
    orphan_masks: tuple[Path, ...] = ()
    """Masks without a picture."""
    shrunk_to: tuple[int, int, Fit, bool] | None = None
    """Height, width, fit and turn of the training that the pictures of a decoded pack were shrunk for."""


@dataclass(frozen=True)
class Place:
    """A folder of pictures and the folder of their masks, which may be the same, or None when there are no masks."""

    images: Path
    masks: Path | None
    nested: bool = True
    """Whether sub-folders belong to it."""
    listed: frozenset[Path] | None = None
    """The pictures a list names; None takes every picture of the folder."""


Places = dict[str, list[Place]]
Layout = Callable[[Path, tuple[str, ...]], "Places | Dataset | None"]


def find_dataset(root: Path, *, classes_csv: Path | None = None, mask_suffix: str = "") -> Dataset:
    """Find the pictures, masks, splits and classes below a folder, whatever the layout.

    Args:
        root: the data set's folder.
        classes_csv: class table to use instead of `classes.csv` in the root. When it is called like a masks folder
            (`labels_classes.csv`), that folder is preferred.
        mask_suffix: what a mask's stem adds to its picture's stem, such as "_mask"; empty tries the common ones.

    Returns:
        Samples sorted by key; keys are unique in the data set.

    Raises:
        DataError: no such folder, no pictures, masks that match no picture, or an unusable class table.
    """
    _require_folder(root)
    table = _class_table(root, classes_csv)
    named_after = (table.stem.removesuffix("_classes"),) if table and table.stem.endswith("_classes") else ()
    looks = ((name, look(root, named_after + MASK_FOLDERS)) for name, look in LAYOUTS.items())
    layout, places = next(((name, places) for name, places in looks if places), ("", None))
    rows: tuple[ClassRow, ...] | None = read_classes_csv(table) if table else None
    if isinstance(places, Dataset):
        return _declared(places, rows)
    splits, orphans = _pair(places, mask_suffix) if places else ({}, ())
    masks = [sample.mask for samples in splits.values() for sample in samples if sample.mask]
    annotated = None if masks or mask_suffix else _annotated(root, with_unique_keys(root, splits))
    if annotated is not None:
        return _declared(annotated, rows)
    if not places or not any(splits.values()):
        raise DataError(_nothing_found(root))
    _require_a_match(places, splits, masks, mask_suffix)
    return Dataset(
        root=root,
        layout=layout,
        classes=classes_of(masks, rows),
        classes_declared=rows is not None,
        splits=with_unique_keys(root, splits),
        orphan_masks=orphans,
    )


# --- layouts -----------------------------------------------------------------------------------------------------------


def pack(root: Path, mask_folders: tuple[str, ...]) -> Dataset | None:
    """pack.json, with lists and tar files: what `segwright pack` wrote, on a disk or behind a URL."""
    from segwright.data.packing import read_pack

    return read_pack(root)


def name_lists(root: Path, mask_folders: tuple[str, ...]) -> Places | None:
    """training_dataset.txt, validation_dataset.txt, test_dataset.txt that list folders or pictures."""
    places: Places = {}
    for split, names in SPLIT_LISTS.items():
        path = next((root / name for name in names if (root / name).is_file()), None)
        if path is not None:
            places[split] = _listed_places(root, path, mask_folders)
    return places or None


def voc(root: Path, mask_folders: tuple[str, ...]) -> Places | None:
    """JPEGImages and SegmentationClass with lists of stems in ImageSets/Segmentation."""
    lists = root / "ImageSets" / "Segmentation"
    images, masks = _child(root, ("JPEGImages",)), _mask_folder(root, mask_folders)
    if images is None or not lists.is_dir():
        return None
    by_stem = {path.stem: path for path in files_with(images, IMAGE_SUFFIXES)}
    places: Places = {}
    for split, names in SPLIT_FOLDERS.items():
        path = next((lists / f"{name}.txt" for name in names if (lists / f"{name}.txt").is_file()), None)
        if path is not None:
            stems = [line for _, line in _lines(path)]
            unknown = [stem for stem in stems if stem not in by_stem]
            if unknown:
                raise DataError(f"{path} names {unknown[0]}, but {images} has no such picture; mend the list.")
            places[split] = [Place(images, masks, listed=frozenset(by_stem[stem] for stem in stems))]
    return places or None


def twin_folders(root: Path, mask_folders: tuple[str, ...]) -> Places | None:
    """Folders train and train_labels (or trainannot, train_images and train_masks), side by side."""
    children = _children(root)
    places: Places = {}
    twins = False
    for split, names in SPLIT_FOLDERS.items():
        for name in names:
            images = children.get(f"{name}_images") or children.get(name)
            masks = next((children[name + end] for end in TWIN_ENDINGS if name + end in children), None)
            if images is not None and _holds(images, IMAGE_SUFFIXES):
                places.setdefault(split, []).append(Place(images, masks))
                twins = twins or masks is not None or f"{name}_images" in children
    return places if twins else None


def split_folders(root: Path, mask_folders: tuple[str, ...]) -> Places | None:
    """train, val, test, each with images and masks (or with pictures and masks side by side)."""
    places: Places = {}
    for split, folder in _split_folders(root):
        images = _child(folder, IMAGE_FOLDERS)
        masks = _mask_folder(folder, mask_folders)
        if images is not None and _holds(images, IMAGE_SUFFIXES):
            places.setdefault(split, []).append(Place(images, masks))
        elif _holds(folder, IMAGE_SUFFIXES, nested=masks is None):
            places.setdefault(split, []).append(Place(folder, masks or folder, nested=masks is None))
    return places or None


def folders_of_splits(root: Path, mask_folders: tuple[str, ...]) -> Places | None:
    """Folders images and masks, each with train, val, test inside."""
    images = _child(root, IMAGE_FOLDERS)
    if images is None:
        return None
    children = _children(root)
    candidates = [children[name.lower()] for name in mask_folders if name.lower() in children]
    divided = next((folder for folder in candidates if any(_split_folders(folder))), None)
    masks_of = dict(_split_folders(divided)) if divided else {}
    together = None if divided else _mask_folder(root, mask_folders)
    places: Places = {}
    for split, folder in _split_folders(images):
        if _holds(folder, IMAGE_SUFFIXES):
            places.setdefault(split, []).append(Place(folder, masks_of.get(split, together)))
    return places or None


def flat(root: Path, mask_folders: tuple[str, ...]) -> Places | None:
    """Folders images and masks (or indexes, labels, ...); the pictures may also lie in the root itself."""
    images, masks = _child(root, IMAGE_FOLDERS), _mask_folder(root, mask_folders)
    if images is not None and _holds(images, IMAGE_SUFFIXES):
        return {ALL: [Place(images, masks)]}
    if masks is not None and _holds(root, IMAGE_SUFFIXES, nested=False):
        return {ALL: [Place(root, masks, nested=False)]}
    return None


def side_by_side(root: Path, mask_folders: tuple[str, ...]) -> Places | None:
    """Pictures straight in the folder, with their masks beside them (a.jpg, a_mask.png) or without masks."""
    return {ALL: [Place(root, root, nested=False)]} if _holds(root, IMAGE_SUFFIXES, nested=False) else None


def picture_tree(root: Path, mask_folders: tuple[str, ...]) -> Places | None:
    """A tree of folders of pictures, none of which is called like a folder of masks or of a split."""
    known = {name.lower() for names in (mask_folders, IMAGE_FOLDERS, *SPLIT_FOLDERS.values()) for name in names}
    inner = {Path(folder).name.lower() for folder, _, _ in _walk(root) if Path(folder) != root}
    return {ALL: [Place(root, root)]} if not inner & known and _holds(root, IMAGE_SUFFIXES) else None


LAYOUTS: dict[str, Layout] = {
    "pack": pack,
    "name_lists": name_lists,
    "voc": voc,
    "twin_folders": twin_folders,
    "split_folders": split_folders,
    "folders_of_splits": folders_of_splits,
    "flat": flat,
    "side_by_side": side_by_side,
    "picture_tree": picture_tree,
}

KNOWN_LAYOUTS = (
    "train/images + train/masks (and val, test), images/train + masks/train, images + masks, images + indexes, "
    "training_dataset.txt with folders, a.jpg + a_mask.png side by side, COCO or LabelMe JSON, or YOLO outlines in labels/a.txt"
)


# --- lists of folders and pictures -------------------------------------------------------------------------------------


def _listed_places(root: Path, path: Path, mask_folders: tuple[str, ...]) -> list[Place]:
    places: list[Place] = []
    pictures: defaultdict[Path, set[Path]] = defaultdict(set)
    for number, line in _lines(path):
        entry = next((p for p in (root / line, root / line.replace("\\", "/")) if p.exists()), None)
        if entry is None:
            raise DataError(f"{path}, line {number}: {line} does not exist below {root}; mend the list.")
        if entry.is_dir():
            images = _child(entry, IMAGE_FOLDERS)
            masks = _mask_folder(entry, mask_folders)
            if images is not None:
                places.append(Place(images, masks))
            else:
                partner = masks or _partner(entry, root, mask_folders)
                places.append(Place(entry, partner or entry, nested=masks is None))
        elif entry.suffix.lower() in IMAGE_SUFFIXES:
            pictures[entry.parent].add(entry)
        else:
            raise DataError(f"{path}, line {number}: {line} is neither a folder nor a picture; mend the list.")
    for folder, listed in pictures.items():
        partner = _partner(folder, root, mask_folders) or _mask_folder(folder, mask_folders)
        places.append(Place(folder, partner or folder, nested=False, listed=frozenset(listed)))
    if not places:
        raise DataError(f"{path} lists nothing; write one folder or picture per line.")
    return places


def _partner(folder: Path, root: Path, mask_folders: tuple[str, ...]) -> Path | None:
    """The masks of a folder like .../images/city: .../masks/city, or .../masks."""
    for ancestor in (folder, *folder.parents):
        if ancestor == root:
            return None
        if ancestor.name.lower() in {name.lower() for name in IMAGE_FOLDERS}:
            masks = _mask_folder(ancestor.parent, mask_folders)
            if masks is not None:
                inner = masks / folder.relative_to(ancestor)
                return inner if inner.is_dir() else masks
    return None


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text ({error}); write one name per line.") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, line.strip()


# --- pairing -----------------------------------------------------------------------------------------------------------


def _pair(places: Places, mask_suffix: str) -> tuple[dict[str, tuple[Sample, ...]], tuple[Path, ...]]:
    splits: dict[str, tuple[Sample, ...]] = {}
    taken: set[Path] = set()
    loose: set[Path] = set()
    for split, folders in places.items():
        samples: dict[Path, Sample] = {}
        for place in folders:
            paired, unused = _pair_place(place, mask_suffix)
            samples |= {sample.image: sample for sample in paired}
            loose |= unused
        splits[split] = tuple(sorted(samples.values(), key=lambda sample: (sample.key, sample.image.as_posix())))
        taken |= {sample.mask for sample in splits[split] if sample.mask}
    return splits, tuple(sorted(loose - taken))


def _pair_place(place: Place, mask_suffix: str) -> tuple[list[Sample], set[Path]]:
    """Samples of one place, and its masks that found no picture."""
    pictures = files_with(place.images, IMAGE_SUFFIXES, nested=place.nested)
    if place.masks == place.images:
        return _pair_beside(place, pictures, mask_suffix)
    masks = files_with(place.masks, MASK_SUFFIXES) if place.masks is not None else []
    pictures = [p for p in pictures if place.listed is None or p in place.listed]
    endings = (("", _stem_ending(mask_suffix)),) if mask_suffix else ENDINGS
    best: dict[Path, Path] = {}
    chosen = endings[0]
    for ending in endings:
        found = _matches(pictures, place.images, masks, place.masks or place.images, ending)
        if len(found) > len(best):
            best, chosen = found, ending
        if len(best) == len(pictures):
            break
    samples = [Sample(key_of(p, place.images), p, best.get(p)) for p in pictures]
    used = set(best.values())
    # With an ending, masks without it are other things (instance maps, colour views), not masks that lost their picture.
    loose = {m for m in masks if m not in used and m.stem.lower().endswith(chosen[1].lower())}
    return samples, loose if place.listed is None else set()


def _pair_beside(place: Place, files: list[Path], mask_suffix: str) -> tuple[list[Sample], set[Path]]:
    """Pictures and masks in one folder: told apart by the ending, or by a png beside a jpg of the same name."""
    stems = {key_of(p, place.images): p for p in files}
    endings = (
        [_stem_ending(mask_suffix)] if mask_suffix else [mask for picture, mask in ENDINGS if mask and not picture]
    )
    best: dict[Path, Path] = {}
    chosen = ""
    for ending in endings:
        found = {}
        for key, path in stems.items():
            mask = stems.get(key + ending)
            if mask is not None and mask != path:
                found[path] = mask
        if len(found) > len(best):
            best, chosen = found, ending
    if not best and not mask_suffix:
        groups: defaultdict[str, list[Path]] = defaultdict(list)
        for path in files:
            groups[key_of(path, place.images)].append(path)
        for group in groups.values():
            masks = [p for p in group if p.suffix.lower() == ".png"]
            photos = [p for p in group if p.suffix.lower() in {".jpg", ".jpeg", ".webp"}]
            if len(masks) == len(photos) == 1:
                best[photos[0]] = masks[0]
    used = set(best.values())
    loose = {p for p in files if best and chosen and p not in used and p not in best and p.stem.endswith(chosen)}
    pictures = [p for p in files if p not in used and p not in loose]
    if place.listed is not None:
        pictures, loose = [p for p in pictures if p in place.listed], set()
    return [Sample(key_of(p, place.images), p, best.get(p)) for p in pictures], loose


def _matches(
    pictures: list[Path], images_root: Path, masks: list[Path], masks_root: Path, ending: tuple[str, str]
) -> dict[Path, Path]:
    """Masks by relative path; then without regard to capitals; then by the bare stem where that names one file only."""
    exact: dict[str, Path] = {}
    for mask in reversed(masks):
        key = key_of(mask, masks_root)
        if key not in exact or mask.suffix.lower() == ".png":
            exact[key] = mask
    folded = {key.casefold(): mask for key, mask in exact.items()}
    stems = Counter(mask.stem.casefold() for mask in exact.values())
    bare = {mask.stem.casefold(): mask for mask in exact.values() if stems[mask.stem.casefold()] == 1}
    pictured = Counter(picture.stem.casefold() for picture in pictures)
    found: dict[Path, Path] = {}
    for picture in pictures:
        key = key_of(picture, images_root)
        if not key.endswith(ending[0]):
            continue
        key = key.removesuffix(ending[0]) + ending[1]
        match = exact.get(key) or folded.get(key.casefold())
        if match is None and pictured[picture.stem.casefold()] == 1:
            match = bare.get(key.rsplit("/", 1)[-1].casefold())
        if match is not None:
            found[picture] = match
    return found


def key_of(path: Path, root: Path) -> str:
    """The key of a sample whose picture lies below the folder of its split: its path from there, without suffix."""
    return path.relative_to(root).with_suffix("").as_posix()


def _stem_ending(mask_suffix: str) -> str:
    """The ending without a file type: people write both _mask and _mask.png."""
    kinds = "|".join(re.escape(kind) for kind in sorted(MASK_SUFFIXES))
    return re.sub(f"({kinds})$", "", mask_suffix, flags=re.IGNORECASE)


def with_unique_keys(root: Path, splits: dict[str, tuple[Sample, ...]]) -> dict[str, tuple[Sample, ...]]:
    """Keys that occur twice in the data set become longer until each is the only one.

    First by the name of the split, then by the path below the root, then by that path with the file type.
    """

    def in_split(split: str, sample: Sample) -> str:
        return f"{split}/{sample.key}"

    def path(split: str, sample: Sample) -> str:
        return _below(sample.image, root).with_suffix("").as_posix()

    def with_type(split: str, sample: Sample) -> str:
        return f"{path(split, sample)}_{sample.image.suffix[1:]}"

    for longer in (in_split, path, with_type):
        counts = Counter(sample.key for samples in splits.values() for sample in samples)
        splits = {
            split: tuple(replace(s, key=longer(split, s)) if counts[s.key] > 1 else s for s in samples)
            for split, samples in splits.items()
        }
    return splits


def _below(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else path.relative_to(path.anchor)


# --- folders -----------------------------------------------------------------------------------------------------------


def _walk(root: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """os.walk in a fixed order, without hidden folders and those that macOS leaves in archives."""

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename} may not be read ({error.strerror}); give yourself permission.") from error

    for folder, inner, files in os.walk(root, onerror=refuse):
        inner[:] = sorted(name for name in inner if not name.startswith((".", "__MACOSX")))
        yield folder, inner, sorted(name for name in files if not name.startswith("."))


def _iter_files(folder: Path, suffixes: Iterable[str], *, nested: bool = True) -> Iterator[Path]:
    for inner, _, names in _walk(folder):
        for name in names:
            if name[name.rfind(".") :].lower() in suffixes:
                yield Path(inner, name)
        if not nested:
            return


def files_with(folder: Path, suffixes: Iterable[str], *, nested: bool = True) -> list[Path]:
    """Files with one of these endings, sorted; those of folders inside only when `nested`."""
    return sorted(_iter_files(folder, suffixes, nested=nested))


def _holds(folder: Path, suffixes: Iterable[str], *, nested: bool = True) -> bool:
    return next(_iter_files(folder, suffixes, nested=nested), None) is not None


def _children(folder: Path) -> dict[str, Path]:
    try:
        return {p.name.lower(): p for p in sorted(folder.iterdir(), reverse=True) if p.is_dir()}
    except OSError as error:
        raise DataError(f"{folder} may not be read ({error.strerror}); give yourself permission.") from error


def _child(folder: Path, names: tuple[str, ...]) -> Path | None:
    children = _children(folder)
    return next((children[name.lower()] for name in names if name.lower() in children), None)


def _mask_folder(folder: Path, names: tuple[str, ...]) -> Path | None:
    """The first of `names` that really holds pictures: `labels` may be full of text files."""
    children = _children(folder)
    folders = (children[name.lower()] for name in names if name.lower() in children)
    return next((f for f in folders if _holds(f, MASK_SUFFIXES)), None)


def _split_folders(folder: Path) -> Iterator[tuple[str, Path]]:
    children = _children(folder)
    for split, names in SPLIT_FOLDERS.items():
        for name in names:
            if name in children:
                yield split, children[name]


# --- class table and errors --------------------------------------------------------------------------------------------


def _class_table(root: Path, classes_csv: Path | None) -> Path | None:
    if classes_csv is not None:
        if not classes_csv.is_file():
            raise DataError(f"{classes_csv} does not exist; name a CSV with the columns index,name,r,g,b,ignore.")
        return classes_csv
    return next((root / name for name in CLASS_TABLES if (root / name).is_file()), None)


def _annotated(root: Path, splits: dict[str, tuple[Sample, ...]]) -> Dataset | None:
    """What annotations say where no pictures of masks are: COCO, which names its pictures, else files beside those of a layout."""
    from segwright.data.coco import read_coco
    from segwright.data.labelme import read_labelme
    from segwright.data.yolo import read_yolo

    return read_coco(root) or read_labelme(root, splits) or read_yolo(root, splits)


def _declared(dataset: Dataset, rows: tuple[ClassRow, ...] | None) -> Dataset:
    """A pack, or painted masks, read with another class table than their own."""
    if rows is None:
        return dataset
    if dataset.shrunk_to:
        raise DataError(
            f"{dataset.root} is a decoded pack, whose masks are class numbers already; give the class table to segwright pack."
        )
    masks = [sample.mask for samples in dataset.splits.values() for sample in samples if sample.mask]
    return replace(dataset, classes=classes_of(masks, rows), classes_declared=True)


def _require_folder(root: Path) -> None:
    if url_of(root):
        return
    if not root.exists():
        raise DataError(f"{root} does not exist; check the path.")
    if not root.is_dir():
        raise DataError(f"{root} is a file; name the folder that holds the pictures and masks.")


def _require_a_match(
    places: Places, splits: dict[str, tuple[Sample, ...]], masks: list[Path], mask_suffix: str
) -> None:
    if masks:
        return
    for split, folders in places.items():
        for place in folders:
            lying = (
                [] if place.masks in {None, place.images} else files_with(place.masks or place.images, MASK_SUFFIXES)
            )
            if lying and splits[split]:
                with_suffix = f" + {mask_suffix!r}" if mask_suffix else ""
                raise DataError(
                    f"No mask matches a picture: pictures in {place.images} are called like "
                    f"{splits[split][0].image.name}{with_suffix}, masks in {place.masks} like {lying[0].name}; "
                    "say what a mask's name adds with --mask-suffix, for example --mask-suffix _mask"
                )
    if mask_suffix:
        raise DataError(
            f"No mask ends in {mask_suffix!r}; check --mask-suffix, or leave it out to try the common ones."
        )


def _nothing_found(root: Path) -> str:
    inner = [p for p in _children(root).values() if any(look(p, MASK_FOLDERS) for look in list(LAYOUTS.values())[3:7])]
    if inner:
        return f"{root} is not a data set itself, but {inner[0]} looks like one; name that folder."
    if next((True for _ in root.iterdir()), None) is None:
        return f"{root} is empty; put pictures there, laid out as {KNOWN_LAYOUTS}."
    return f"{root} holds no pictures in a layout that is known; lay them out as {KNOWN_LAYOUTS}."
