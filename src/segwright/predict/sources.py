"""Pictures to predict on: one file, a folder with everything below it, or a glob, as Samples without masks."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from segwright.data.packing import read_pack
from segwright.data.sample import IMAGE_SUFFIXES, Sample
from segwright.data.shards import url_of
from segwright.errors import DataError

MAGIC = frozenset("*?[")


def find_pictures(source: Path, *, leave_out: Path | None = None) -> tuple[Sample, ...]:
    """Every picture a path means, sorted by key.

    Args:
        source: a picture, a folder, a pack, or a glob such as shots/**/*.jpg.
        leave_out: a folder whose pictures are skipped: the answers of an earlier run may lie below their own source.

    Returns:
        Samples without masks; keys are paths below the folder (or the glob's fixed part) without suffix. Pictures that
        differ only in their suffix, or only in upper and lower case, keep the suffix in their keys.

    Raises:
        DataError: nothing there, or no picture in it.
    """
    if (source.is_dir() or url_of(source)) and (packed := read_pack(source)):
        return tuple(sample for samples in packed.splits.values() for sample in samples)
    if source.is_dir():
        root, paths = source, _walk(source)
        nothing = f"{source} holds no pictures ({', '.join(sorted(IMAGE_SUFFIXES))}); name another folder."
    elif source.exists():
        root, paths = source.parent, [source]
        nothing = f"{source} is not a picture by its name; pictures end in {', '.join(sorted(IMAGE_SUFFIXES))}."
    elif MAGIC & set(str(source)):
        fixed = next(n for n, part in enumerate(source.parts) if MAGIC & set(part))
        root = Path(*source.parts[:fixed])
        try:
            paths = [path for path in root.glob(str(Path(*source.parts[fixed:]))) if path.is_file()]
        except ValueError as error:
            raise DataError(f"{source} is not a pattern ({error}); write for example 'shots/**/*.jpg'.") from error
        nothing = f"No picture matches {source}; check the pattern, and write it in quotes."
    else:
        raise DataError(
            f"{source} does not exist; name a picture, a folder of pictures or a pattern such as 'shots/*.jpg'."
        )
    paths = [path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES and not _below(path, leave_out)]
    if not paths:
        raise DataError(nothing)
    return _with_keys(root, sorted(paths))


def _walk(folder: Path) -> list[Path]:
    """Files below a folder, hidden ones left out; links to folders are not followed, because they may lead in circles."""

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename} may not be read ({error.strerror}); give yourself permission.") from error

    found: list[Path] = []
    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent) / name for name in files if not name.startswith(".")]
    return found


def _below(path: Path, folder: Path | None) -> bool:
    return folder is not None and path.resolve().is_relative_to(folder.resolve())


def _with_keys(root: Path, paths: list[Path]) -> tuple[Sample, ...]:
    keys = [path.relative_to(root).with_suffix("").as_posix() for path in paths]
    # Compared without case: two such files would be one on the disks of Windows and macOS.
    taken = Counter(key.casefold() for key in keys)
    return tuple(
        Sample(path.relative_to(root).as_posix() if taken[key.casefold()] > 1 else key, path)
        for key, path in zip(keys, paths, strict=True)
    )
