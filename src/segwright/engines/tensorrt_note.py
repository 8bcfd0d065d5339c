"""What lies beside a TensorRT engine: a JSON file with the model's facts, the engine's hash, and what built it for which shapes.

An engine file cannot carry facts of ours and still be read by `trtexec --loadEngine`, so they are in `model.engine.json`.
The hash finds damage and mix-ups. It is no protection from an enemy, who would change both files: an engine is machine
code, and only engines from people you trust should ever be opened.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segwright.engines.contract import METADATA_KEY, ModelFacts, first_line
from segwright.engines.onnx import LONGEST_METADATA, onnx_facts, read_model_file
from segwright.errors import ModelError
from segwright.outputs import write_text

SUFFIXES = (".engine", ".plan")
"""How the names of engine files end."""

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """Which shapes of the input an engine takes: anything from `least` to `most`, fastest at `best`."""

    name: str
    """Of the input."""
    least: Shape
    best: Shape
    most: Shape

    @property
    def fixed(self) -> bool:
        """Whether only one shape is taken."""
        return self.least == self.best == self.most


@dataclass(frozen=True, kw_only=True)
class EngineNote:
    """The content of the file beside an engine."""

    facts: ModelFacts
    sha256: str = ""
    """Of the engine file; empty where the engine was built by others (`trtexec`)."""
    onnx_sha256: str = ""
    """Of the file it was built from."""
    library: str = "auto"
    """tensorrt or tensorrt_rtx; only the same one runs it."""
    version: str = ""
    shapes: Shapes | None = None
    targets: tuple[str, ...] = ()
    """Compute capabilities it was built for; empty: those that the library takes by itself."""
    gpu: str = ""
    """On which it was built; empty where there was none."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        shapes = self.shapes and {
            "input": self.shapes.name,
            "least": list(self.shapes.least),
            "best": list(self.shapes.best),
            "most": list(self.shapes.most),
        }
        return {
            METADATA_KEY: self.facts.to_dict(),
            "sha256": self.sha256,
            "onnx_sha256": self.onnx_sha256,
            "library": self.library,
            "version": self.version,
            "shapes": shapes,
            "targets": list(self.targets),
            "gpu": self.gpu,
        }

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> EngineNote:
        """Inverse of `to_dict`.

        Raises:
            ModelError: something is absent or impossible.
        """
        try:
            facts = ModelFacts.from_dict(raw[METADATA_KEY])
            shapes = raw["shapes"] and Shapes(
                name=str(raw["shapes"]["input"]),
                **{key: tuple(int(side) for side in raw["shapes"][key]) for key in ("least", "best", "most")},
            )
            return cls(
                facts=facts,
                shapes=shapes,
                targets=tuple(str(target) for target in raw["targets"]),
                **{key: str(raw[key]) for key in ("sha256", "onnx_sha256", "library", "version", "gpu")},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(f"its facts are damaged ({error!r}); build the engine again.") from error


def note_path(engine: Path) -> Path:
    """model.engine.json for model.engine."""
    return engine.with_name(f"{engine.name}.json")


def write_note(engine: Path, note: EngineNote) -> Path:
    """Write the file beside an engine.

    Raises:
        OutputError: it cannot be written.
    """
    return write_text(note_path(engine), json.dumps(note.to_dict(), indent=2) + "\n")


def read_note(engine: Path, data: bytes) -> EngineNote:
    """The note beside an engine; of an engine without one, made elsewhere, the facts of the ONNX file of the same name.

    Args:
        engine: the engine file.
        data: its bytes, compared with the hash in the note.

    Raises:
        ModelError: neither is there, or it is damaged, or belongs to another engine.
        MissingExtraError: onnx is not installed, and an ONNX file has to be read.
    """
    beside, source = note_path(engine), engine.with_suffix(".onnx")
    if not beside.exists():
        if source.exists():
            return EngineNote(facts=onnx_facts(read_model_file(source), source))
        raise ModelError(
            f"{engine} says nothing about its classes and sizes; put {beside.name} (written with every engine) or "
            f"{source.name} (from which it was built) beside it."
        )
    try:
        if beside.stat().st_size > LONGEST_METADATA:
            raise ValueError("it is impossibly long")
        raw = json.loads(beside.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{beside} cannot be read ({error.strerror}); check its permissions.") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"{beside} is damaged ({first_line(error)}); copy it again, or build the engine again."
        ) from error
    try:
        note = EngineNote.from_dict(raw)
    except ModelError as error:
        raise ModelError(f"{beside}: {error}") from error
    if hashlib.sha256(data).hexdigest() != note.sha256:
        raise ModelError(
            f"{engine} is not the file that {beside.name} speaks of (another SHA-256): it is damaged or was replaced; copy both "
            "again, or build the engine again."
        )
    return note
