"""A model on its way to an NVIDIA GPU: exported to ONNX and proven, built into an engine, and that proven too where a GPU is at hand."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from segwright.errors import GateError, MissingExtraError, UserError
from segwright.outputs import write_text
from segwright.render import write_png
from segwright.workflows.choosing import data_of, proof_samples, shown
from segwright.workflows.shipping import export_model

if TYPE_CHECKING:
    from segwright.export.parity import Certificate
    from segwright.export.tensorrt import BuildSettings


@dataclass(frozen=True, kw_only=True)
class EngineExport:
    """What `export_engine` made."""

    onnx: Path
    """The file from which the engine is built, here or elsewhere."""
    engine: Path | None
    """None where only the commands were asked for."""
    onnx_certificate: Certificate | None
    """None where the ONNX file was there already."""
    certificate: Certificate | None
    """Of the engine; None where it could not be run."""
    commands: dict[int, str] = field(default_factory=dict)
    """The `trtexec` line that builds the same engine, by major version of TensorRT."""


def export_engine(
    model: Path,
    out: Path | None = None,
    settings: BuildSettings | None = None,
    *,
    build: bool = True,
    data: Path | None = None,
    keep_failed: bool = False,
    limit: int = 64,
    classes_csv: Path | None = None,
    console: Console | None = None,
    **asked: Any,
) -> EngineExport:
    """Export to a TensorRT engine, by way of an ONNX file that stays.

    Args:
        model: run folder or checkpoint; or an .onnx file of ours, from which the engine is then built.
        out: the .engine or .plan file; None puts it beside the ONNX file.
        settings: how to build; None takes the defaults.
        build: False stops at the ONNX file and the commands.
        data: as in `export_model`.
        keep_failed: as in `export_model`.
        limit: as in `export_model`.
        classes_csv: as in `export_model`.
        console: as in `export_model`.
        asked: what else `export_model` takes, for the ONNX file.

    Raises:
        GateError: the ONNX file or the engine differs from the model; it was removed.
        UserError: something cannot be used, or is missing for building here.
    """
    from segwright import checkpoint
    from segwright.engines.contract import ModelFacts
    from segwright.engines.tensorrt_library import gpu_here
    from segwright.engines.tensorrt_note import note_path
    from segwright.export.request import ExportRequest
    from segwright.export.shapes import chosen_shapes, free_shape
    from segwright.export.tensorrt import BuildSettings, build_engine, read_shapes, require_engine_name
    from segwright.export.trtexec import trtexec_commands

    settings = settings or BuildSettings()
    given = model.suffix.lower() == ".onnx"
    if given and asked:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in asked)
        raise UserError(f"{model} is exported already; leave {flags} out, or name the run instead.")
    # What can be refused at once is refused before the minutes that an export takes.
    if out is not None:
        require_engine_name(out)
    if build:
        _require_buildable(settings)
    if given:
        source, onnx_certificate = model, None
    else:
        request = {name: value for name, value in asked.items() if name not in {"calibration", "max_drop"}}
        facts = ExportRequest(**request).applied(ModelFacts.of(checkpoint.load(model)))
        chosen_shapes(settings.shapes, facts.interface.input_name, free_shape(facts), facts)
        source, onnx_certificate = export_model(
            model,
            out and out.with_suffix(".onnx"),
            data=data,
            keep_failed=keep_failed,
            limit=limit,
            classes_csv=classes_csv,
            runs_here=False,
            console=console,
            **asked,
        )
    engine = out or source.with_suffix(".engine")
    facts, shapes = read_shapes(source, settings.shapes)
    commands = trtexec_commands(
        source.name,
        engine.name,
        shapes=shapes if None in free_shape(facts) else None,
        precision=facts.precision,
        workspace=settings.workspace,
    )
    made = EngineExport(
        onnx=source, engine=None, onnx_certificate=onnx_certificate, certificate=None, commands=commands
    )
    if not build:
        return made
    proofs: list[Certificate] = []

    def prove(fresh: Path) -> None:
        certificate, worst = _compared(model, source, fresh, data, classes_csv, limit, console)
        picture = write_png(engine.with_name(f"{engine.name}.worst.png"), worst)
        if certificate.failure is None:
            proofs.append(certificate)
            return
        kept = "no engine was written"
        if keep_failed:
            failed = engine.with_suffix(f".failed{engine.suffix}")
            note_path(fresh).replace(note_path(failed))
            kept = f"it was kept as {fresh.replace(failed)}"
        raise GateError(f"{certificate.sentence()}, but {certificate.failure}; {kept}, look at {picture}.")

    # An engine for named GPUs need not run on this one; an ONNX file alone brings no pictures.
    provable = gpu_here() and not settings.targets and (not given or data is not None)
    build_engine(source, engine, settings, prove=prove if provable else None, progress=shown(console))
    if proofs:
        write_text(
            engine.with_name(f"{engine.name}.certificate.json"), json.dumps(proofs[0].to_dict(), indent=2) + "\n"
        )
    return dataclasses.replace(made, engine=engine, certificate=proofs[0] if proofs else None)


def _require_buildable(settings: BuildSettings) -> None:
    from segwright.export.tensorrt import require_buildable

    try:
        require_buildable(settings)
    except MissingExtraError as error:
        raise UserError(
            f"{error}, or add --trtexec, which writes the .onnx file and the commands that build it elsewhere."
        ) from error


def _compared(
    model: Path,
    source: Path,
    engine: Path,
    data: Path | None,
    classes_csv: Path | None,
    limit: int,
    console: Console | None,
) -> tuple[Certificate, NDArray[np.uint8]]:
    """The engine, and the picture on which it differs most, against the checkpoint, or against the ONNX file where that is all there is."""
    from segwright.engines.opening import open_engine
    from segwright.export.gate import LEAST_PICTURES, MOST_DROP
    from segwright.export.parity import parity, worst_panel
    from segwright.predict.predictor import Predictor

    candidate = Predictor(open_engine(engine))
    reference = Predictor(open_engine(model, device="cpu"), threshold=candidate.threshold)
    settings = reference.engine.facts.provenance.get("recipe")
    data, classes_csv = data_of(model, data, classes_csv)
    samples, classes = proof_samples(data, classes_csv=classes_csv, settings=settings)
    certificate = parity(
        reference,
        candidate,
        samples,
        classes,
        limit=max(limit, LEAST_PICTURES),
        most_drop=MOST_DROP if candidate.engine.facts.precision == "int8" else None,
        progress=shown(console),
        files=(source, engine),
    )
    worst = next(sample for sample in samples if sample.key == certificate.worst_key)
    return certificate, worst_panel(reference, candidate, worst)
