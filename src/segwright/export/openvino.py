"""Checkpoint -> OpenVINO: an .xml file with the graph and a .bin file with the weights, which belong together.

The ONNX graph is read by OpenVINO itself. FP16 keeps the weights in half precision and lets the engine compute in whatever half
format the processor has (bfloat16 on most); INT8 is made by NNCF, OpenVINO's own compression library.
"""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

from segwright.checkpoint import Checkpoint
from segwright.engines.contract import METADATA_KEY
from segwright.engines.openvino import library, said
from segwright.errors import MissingExtraError, ModelError
from segwright.export.deployable import deployed_facts, exporting, plain_facts
from segwright.export.int8 import Pictures, required
from segwright.export.onnx import onnx_model
from segwright.export.request import ExportRequest

NO_TELEMETRY = "NNCF_CI"
"""NNCF reports its use over the network unless this is in the environment."""


def write_openvino(
    checkpoint: Checkpoint, request: ExportRequest, out: Path, calibration: Pictures | None = None
) -> None:
    """Write `out` (.xml) and the .bin file beside it.

    Args:
        checkpoint: a trained model.
        request: what is asked for.
        out: where half a file does no harm.
        calibration: for INT8, (N, h, w, 3) real pictures of the network's size.

    Raises:
        ModelError: the network cannot be exported.
        MissingExtraError: OpenVINO, NNCF or one of ONNX's libraries is not installed.
    """
    import dataclasses

    openvino = library()
    facts = deployed_facts(checkpoint, request)
    graph = onnx_model(checkpoint, dataclasses.replace(facts, precision="fp32"), request.opset)
    try:
        model = openvino.Core().read_model(model=graph.SerializeToString(), weights=b"")
        if request.precision == "int8":
            model = _quantized(model, required(calibration), facts.name)
        # What ONNX's metadata said is copied there by OpenVINO, in another precision's words.
        _forget(model, "framework")
        model.set_rt_info(json.dumps(facts.to_dict()), [METADATA_KEY, "facts"])
        for key, value in plain_facts(facts).items():
            model.set_rt_info(value, [METADATA_KEY, key])
        openvino.save_model(model, out, compress_to_fp16=request.precision == "fp16")
    except RuntimeError as error:
        raise ModelError(f"{facts.name} cannot be exported to OpenVINO ({said(error)}); use --to onnx.") from error


def certify(path: Path, certificate: dict[str, Any]) -> None:
    """Add a certificate to the metadata of a pair of files."""
    openvino = library()
    half = path.with_name(f"certified-{path.name}")
    # The model must be gone before its .bin file is replaced: OpenVINO maps it into memory.
    model = openvino.Core().read_model(model=path.read_bytes(), weights=path.with_suffix(".bin").read_bytes())
    model.set_rt_info(json.dumps(certificate), [METADATA_KEY, "certificate"])
    openvino.save_model(model, half, compress_to_fp16=False)
    half.replace(path)
    half.with_suffix(".bin").replace(path.with_suffix(".bin"))


def _forget(model: Any, key: str) -> None:
    if model.has_rt_info(key):
        model.set_rt_info("", key)


def _quantized(model: Any, pictures: Pictures, name: str) -> Any:
    os.environ.setdefault(NO_TELEMETRY, "1")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import nncf
    except ImportError as error:
        raise MissingExtraError("nncf", "openvino") from error
    channels_first = model.inputs[0].get_partial_shape()[1].is_static and model.inputs[0].get_partial_shape()[1] == 3
    given = pictures.transpose(0, 3, 1, 2) if channels_first else pictures
    with exporting(name, "INT8"):
        return nncf.quantize(
            model,
            nncf.Dataset([picture[None] for picture in given]),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(pictures),
        )
