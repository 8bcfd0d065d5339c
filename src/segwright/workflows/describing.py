"""What the user says about a model file from elsewhere, from the text of flags."""

from __future__ import annotations

from pathlib import Path

from segwright.classes import Classes, classes_from_rows, read_classes_csv
from segwright.engines.foreign import Described
from segwright.errors import UserError


def described(
    model: Path,
    *,
    classes: Path | None = None,
    size: str | None = None,
    mean: str | None = None,
    std: str | None = None,
) -> Described | None:
    """The description that flags make, or None where nothing is said.

    Args:
        model: the file it is about; only .onnx files are described.
        classes: a class table, or the names themselves with commas between.
        size: "640x480", width x height.
        mean: "0.485,0.456,0.406", of the channels after scaling to 0..1.
        std: likewise.

    Raises:
        UserError: a flag that cannot be read.
        DataError: a class table that cannot be read.
    """
    if model.suffix.lower() != ".onnx":
        if size or mean or std:
            raise UserError(
                f"{model} says itself how pictures are prepared; --size, --mean and --std are for .onnx files from elsewhere."
            )
        return None
    if classes is None and size is None and mean is None and std is None:
        return None
    return Described(
        classes=None if classes is None else _classes(classes),
        size_hw=None if size is None else _size(size),
        mean=None if mean is None else _numbers(mean, "--mean"),
        std=None if std is None else _numbers(std, "--std"),
    )


def table(classes: Path | None) -> Path | None:
    """The class table among what `--classes` may be, or None where it is a list of names."""
    return None if classes is None or _names(classes) else classes


def _names(classes: Path) -> tuple[str, ...]:
    text = str(classes)
    if classes.is_file() or "," not in text:
        return ()
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _classes(given: Path) -> Classes:
    names = _names(given)
    return Classes(names=names) if names else classes_from_rows(read_classes_csv(given))


def _size(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() for part in parts):
        raise UserError(f"--size {text} cannot be read; write width x height in pixels, such as --size 640x480.")
    width, height = (int(part) for part in parts)
    return height, width


def _numbers(text: str, flag: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UserError(f"{flag} {text} cannot be read; write three numbers, such as {flag} 0.5,0.5,0.5.") from error
