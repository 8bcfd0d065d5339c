"""`--shapes input_1:1x640x1280x3`, or MIN..OPT..MAX: which shapes an engine should take, read and checked against the ONNX file."""

from __future__ import annotations

from typing import Any

from segwright.engines.contract import LARGEST_SIDE, ModelFacts
from segwright.engines.tensorrt_note import Shape, Shapes
from segwright.errors import UserError

LARGEST_BATCH = 1024

FORM = "write --shapes NAME:BATCHxHEIGHTxWIDTHx3 (in the order of the file), or NAME:MIN..OPT..MAX with three of these"


def input_of(model: Any) -> tuple[str, tuple[int | None, ...]]:
    """Name and shape of an ONNX model's input; None for sides that are free.

    Args:
        model: onnx.ModelProto with one input.
    """
    entry = model.graph.input[0]
    sides = entry.type.tensor_type.shape.dim
    return str(entry.name), tuple(int(side.dim_value) if side.HasField("dim_value") else None for side in sides)


def chosen_shapes(text: str, name: str, free: tuple[int | None, ...], facts: ModelFacts) -> Shapes:
    """What the text asks for; without any, one picture at a time at the model's size.

    Args:
        text: as on the command line, or empty.
        name: of the input in the file.
        free: its shape there; None where any number is taken.
        facts: the model's.

    Raises:
        UserError: not of the form, another input, a shape that the file cannot take, or none where one has to be given.
    """
    if not text.strip():
        return _usual(free, facts)
    named, _, ranges = text.strip().rpartition(":")
    if "," in text:
        raise UserError(f"--shapes {text} names several inputs, and the model has one, {name}; {FORM}.")
    if named and named != name:
        raise UserError(f"--shapes {text} names the input {named}, but the model's is {name}; {FORM}.")
    parts = [_shape(part, text) for part in ranges.split("..")]
    if len(parts) > 3:
        raise UserError(f"--shapes {text} has more than three shapes; {FORM}.")
    # Two are least and most; like trtexec, an engine is then made fastest at the most.
    least, best, most = (parts[0], parts[-1], parts[-1]) if len(parts) < 3 else parts
    for shape in (least, best, most):
        _require_taken(shape, free, text, facts)
    if not all(low <= middle <= high for low, middle, high in zip(least, best, most, strict=True)):
        raise UserError(f"--shapes {text} must not shrink from one shape to the next, in any of its numbers; {FORM}.")
    return Shapes(name=name, least=least, best=best, most=most)


def written(shape: Shape) -> str:
    """1x640x1280x3."""
    return "x".join(str(side) for side in shape)


def free_shape(facts: ModelFacts) -> tuple[int | None, ...]:
    """The input's shape in a file with these facts; None where any number is taken."""
    height, width = (None, None) if facts.any_size else facts.size_hw
    batch = facts.interface.batch or None
    return (batch, height, width, 3) if facts.interface.layout == "nhwc" else (batch, 3, height, width)


def usual_shapes(free: tuple[int | None, ...], facts: ModelFacts, times: int = 1) -> Shapes:
    """One picture at a time, of so many times the model's size where the size is open.

    Args:
        free: as `free_shape`.
        facts: the model's.
        times: for any-size files.
    """
    sides = tuple(side * times for side in facts.size_hw)
    usual = (1, *sides, 3) if facts.interface.layout == "nhwc" else (1, 3, *sides)
    shape = tuple(side or asked for side, asked in zip(free, usual, strict=True))
    return Shapes(name=facts.interface.input_name, least=shape, best=shape, most=shape)


def _usual(free: tuple[int | None, ...], facts: ModelFacts) -> Shapes:
    if facts.any_size:
        # Kernels are chosen for the sizes that are named; guessed limits would refuse pictures, or cost speed on all.
        example = "..".join(written(usual_shapes(free, facts, times).best) for times in (1, 2, 4))
        raise UserError(
            "An any-size engine has to know the smallest, the usual and the largest picture; "
            f"give --shapes {facts.interface.input_name}:{example}, for example, or export without --any-size."
        )
    return usual_shapes(free, facts)


def _shape(part: str, text: str) -> Shape:
    try:
        sides = tuple(int(side) for side in part.lower().split("x"))
    except ValueError as error:
        raise UserError(f"--shapes {text}: {part!r} is no shape; {FORM}.") from error
    if len(sides) != 4:
        raise UserError(f"--shapes {text}: {part} has {len(sides)} numbers instead of 4; {FORM}.")
    return sides


def _require_taken(shape: Shape, free: tuple[int | None, ...], text: str, facts: ModelFacts) -> None:
    fits = all(side is None or side == asked for side, asked in zip(free, shape, strict=True))
    if not fits:
        file = "x".join("N" if side is None else str(side) for side in free)
        help_any = "" if facts.any_size else " (or export with --any-size, which takes all sizes)"
        raise UserError(f"--shapes {text}: the model takes {file}, not {written(shape)}; give such a shape{help_any}.")
    if not (1 <= shape[0] <= LARGEST_BATCH and all(1 <= side <= LARGEST_SIDE for side in shape[1:])):
        raise UserError(
            f"--shapes {text}: batches go to {LARGEST_BATCH} and sides to {LARGEST_SIDE}; give a smaller shape."
        )
