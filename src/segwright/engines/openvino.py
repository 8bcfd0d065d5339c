"""OpenVINO: our own .xml files and exported .onnx files, on Intel's and other processors with AVX-512 or AMX in bfloat16.

By itself OpenVINO computes FP32 networks in bfloat16 where the processor has it: here that is what makes it fast. An .xml
file exported as FP32 is computed in FP32, as it was proven; `precision` says otherwise for any file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segwright.engines.contract import METADATA_KEY, ModelFacts, first_line, require_fitting, thread_count
from segwright.engines.foreign import Described
from segwright.engines.interface import Answers, Interface, Kind, in_batches
from segwright.engines.onnx import LONGEST_METADATA, onnx_facts, read_model_file
from segwright.errors import MissingExtraError, ModelError, UserError
from segwright.machine import cores_here

Precision = Literal["file", "fast", "fp32"]
"""What to compute in: as the file was proven, whatever is fastest on this processor, or FP32."""


class OpenVinoEngine:
    """An exported file, run by OpenVINO on the CPU.

    Args:
        path: an .xml file written by `segwright export --to openvino`, its .bin beside it, or an .onnx file of ours.
        device: "auto" or "cpu".
        threads: CPU threads; None takes all cores.
        precision: "file" computes FP32 .xml files in FP32 and all others in whatever is fastest here; "fast" and "fp32" do so with
            any file.
        described: what the user says about an .onnx file from elsewhere.

    Raises:
        ModelError: missing, damaged, or not ours.
        MissingExtraError: OpenVINO is not installed.
        UserError: another device was asked for.
    """

    name = "openvino"
    on_cpu = True
    """As `OnnxEngine.on_cpu`."""

    def __init__(
        self,
        path: Path,
        *,
        device: str = "auto",
        threads: int | None = None,
        precision: Precision = "file",
        described: Described | None = None,
    ) -> None:
        openvino = library()
        if device not in {"auto", "cpu"}:
            raise UserError(f"OpenVINO is used on the CPU here, not on {device!r}; choose auto or cpu.")
        core = openvino.Core()
        try:
            if path.suffix.lower() == ".onnx":
                data = read_model_file(path)
                self.facts = onnx_facts(data, path, described)
                model = core.read_model(model=data, weights=b"")
            else:
                model = read_pair(core, path)
                self.facts = openvino_facts(model, path)
        except RuntimeError as error:
            raise ModelError(
                f"{path} cannot be read by OpenVINO ({said(error)}); copy it again, or export again."
            ) from error
        exact = precision == "fp32" or (
            precision == "file" and path.suffix.lower() != ".onnx" and self.facts.precision == "fp32"
        )
        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if exact:
            options["INFERENCE_PRECISION_HINT"] = "f32"
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = thread_count(threads)
            # It would tie few threads to the first cores, and those of a second engine to the same; all of them wait less when tied.
            options["ENABLE_CPU_PINNING"] = threads >= cores_here()
        interface = self.facts.interface
        _require_signature(model, interface, path)
        self._any_batch: Any = None
        self._compile: Any = lambda found: core.compile_model(found, "CPU", options)
        self._read = model
        single = model.clone()
        try:
            if not self.facts.any_size and not interface.batch:
                # Frames come one by one, and for one known shape the network runs an eighth faster than for any.
                single.reshape(interface.shape(1, self.facts.size_hw))
            compiled = self._compile(single)
        except RuntimeError as error:
            raise ModelError(f"{path} cannot be run by OpenVINO ({said(error)}); export it again.") from error
        self.computes_in = str(compiled.get_property("INFERENCE_PRECISION_HINT").to_string())
        self._single = compiled.create_infer_request()
        if self.facts.any_size or interface.batch:
            self._any_batch = self._single

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Engine.probabilities`."""
        answers = self._infer((self.facts.interface.telling,), images)
        return self.facts.interface.probabilities(answers, self.facts.classes, images.shape[1:3])

    def class_maps(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """See `ClassMapEngine.class_maps`."""
        if "classes" not in self.facts.interface.outputs:
            return self.run(images)[0]
        return self.facts.interface.own_class_maps(self._infer(("classes",), images))

    def run(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Both answers of the file; what it does not give is made from what it gives.

        Args:
            images: as in `Engine.probabilities`.

        Returns:
            class maps (B, h, w) uint8 and probabilities (B, channels, h, w) float32.
        """
        answers, facts = self._infer(tuple(self.facts.interface.outputs), images), self.facts
        return facts.interface.both(answers, facts.classes, facts.threshold, images.shape[1:3])

    def _infer(self, kinds: tuple[Kind, ...], images: NDArray[np.uint8]) -> Answers:
        require_fitting(images, self.facts)
        interface = self.facts.interface

        def run(given: NDArray[Any]) -> Answers:
            if len(given) != 1 and self._any_batch is None:
                self._any_batch = self._compile(self._read).create_infer_request()
            request = self._single if len(given) == 1 else self._any_batch
            answers = request.infer({0: given}, share_inputs=True, share_outputs=True)
            # Copies, because the next call writes its answers into the same memory.
            return {kind: np.array(answers[interface.outputs[kind]]) for kind in kinds}

        try:
            return in_batches(run, interface.fed(images), interface.batch)
        except RuntimeError as error:
            raise ModelError(
                f"OpenVINO failed on {images.shape[0]} pictures of {images.shape[2]}x{images.shape[1]} "
                f"({said(error)}); try smaller pictures, or export the model again."
            ) from error


def read_pair(core: Any, path: Path) -> Any:
    """The openvino.Model of an .xml file and the .bin file beside it.

    Raises:
        ModelError: one of them is missing, empty or unreadable.
        RuntimeError: OpenVINO refuses them.
    """
    weights = path.with_suffix(".bin")
    if path.is_file() and not weights.is_file():
        raise ModelError(f"{path} has no {weights.name} beside it, which holds its weights; copy both files.")
    # Both are read here, so that missing and empty files and LFS pointers are told apart in our words.
    return core.read_model(model=read_model_file(path), weights=read_model_file(weights))


def openvino_facts(model: Any, path: Path) -> ModelFacts:
    """The facts in an openvino.Model's runtime information.

    Raises:
        ModelError: not ours, or damaged.
    """
    if not model.has_rt_info([METADATA_KEY, "facts"]):
        raise ModelError(
            f"{path} does not carry the facts of a segwright model (classes, size); export one with: segwright export RUN "
            "--to openvino"
        )
    try:
        text = str(model.get_rt_info([METADATA_KEY, "facts"]).astype(str))
        if len(text) > LONGEST_METADATA:
            raise ValueError("they are impossibly long")
        return ModelFacts.from_dict(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: its facts are damaged ({first_line(error)}); export the model again.") from error
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def library() -> Any:
    """The openvino module.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError("openvino", "openvino") from error
    return openvino


def said(error: RuntimeError) -> str:
    """The reason in an error of OpenVINO, whose first lines only say where in its source it was thrown."""
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.startswith("Exception from")]
    return (telling or [first_line(error)])[-1][:300]


def _require_signature(model: Any, interface: Interface, path: Path) -> None:
    outputs = {name for output in model.outputs for name in output.names}
    kind = "f32" if interface.floats else "u8"
    fits = len(model.inputs) == 1 and model.inputs[0].element_type.to_string() == kind
    if not fits or not set(interface.outputs.values()) <= outputs:
        raise ModelError(
            f"{path} carries our facts but not our input and outputs; it was changed, export the model again."
        )
