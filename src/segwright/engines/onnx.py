"""ONNX Runtime, and how an exported file is read: facts first, tensors in other files refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segwright.engines.contract import METADATA_KEY, ModelFacts, first_line, require_fitting, thread_count
from segwright.engines.foreign import Described, foreign_facts
from segwright.engines.interface import Answers, Interface, Kind, in_batches
from segwright.errors import MissingExtraError, ModelError, UserError

LARGEST_FILE = 2 * 1024**3 - 1
"""Bytes; a single ONNX file cannot be larger, because protobuf counts in 31 bits."""

LONGEST_METADATA = 16 * 1024 * 1024
"""Characters of our JSON in an ONNX file; more is hostile or damaged."""


TENSORRT = "TensorrtExecutionProvider"
"""As ONNX Runtime calls it."""


class OnnxEngine:
    """An exported file, run by ONNX Runtime.

    Args:
        path: an .onnx file written by `segwright export`, or one from elsewhere.
        device: "auto" (CUDA where ONNX Runtime has it), "cpu" or "cuda".
        threads: CPU threads; None takes all cores.
        tensorrt: let TensorRT build and run what it can; the first time that takes minutes.
        described: what the user says about a file from elsewhere.

    Raises:
        ModelError: missing, empty, damaged, neither ours nor described, or reaching for other files.
        MissingExtraError: ONNX Runtime is not installed.
        UserError: CUDA or TensorRT was asked for and is not there.
    """

    name = "onnxruntime"

    def __init__(
        self,
        path: Path,
        *,
        device: str = "auto",
        threads: int | None = None,
        tensorrt: bool = False,
        described: Described | None = None,
    ) -> None:
        data = read_model_file(path)
        self.facts = onnx_facts(data, path, described)
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtraError("onnxruntime", "onnx") from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # errors arrive as exceptions; printed twice they only frighten
        # Its threads would wait for each other by spinning: with one busy neighbour on two cores, twice the CPU time.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if threads is not None:
            options.intra_op_num_threads = thread_count(threads)
        try:
            self._session = onnxruntime.InferenceSession(
                data, options, providers=_providers(device, onnxruntime, tensorrt=tensorrt)
            )
        except UserError:
            raise
        except Exception as error:  # ONNX Runtime has one unrelated exception type per status code
            raise ModelError(
                f"{path} cannot be run by ONNX Runtime ({first_line(error)}); export the model again."
            ) from error
        if tensorrt and TENSORRT not in self._session.get_providers():
            # Its libraries are loaded only now, and without them ONNX Runtime silently goes on without it.
            raise UserError(
                "ONNX Runtime cannot load TensorRT's libraries; install tensorrt, or choose another engine."
            )
        _require_signature(self._session, self.facts.interface, path)
        self.on_cpu = self._session.get_providers()[0] == "CPUExecutionProvider"
        """Whether copies of it, each with a share of the cores, take more frames a second than it alone."""

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Engine.probabilities`."""
        answers = self._run((self.facts.interface.telling,), images)
        return self.facts.interface.probabilities(answers, self.facts.classes, images.shape[1:3])

    def class_maps(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """See `ClassMapEngine.class_maps`."""
        if "classes" not in self.facts.interface.outputs:
            return self.run(images)[0]
        return self.facts.interface.own_class_maps(self._run(("classes",), images))

    def run(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Both answers of the file; what it does not give is made from what it gives.

        Args:
            images: as in `Engine.probabilities`.

        Returns:
            class maps (B, h, w) uint8 and probabilities (B, channels, h, w) float32.
        """
        answers, facts = self._run(tuple(self.facts.interface.outputs), images), self.facts
        return facts.interface.both(answers, facts.classes, facts.threshold, images.shape[1:3])

    def _run(self, kinds: tuple[Kind, ...], images: NDArray[np.uint8]) -> Answers:
        require_fitting(images, self.facts)
        interface = self.facts.interface
        names = [interface.outputs[kind] for kind in kinds]

        def run(given: NDArray[Any]) -> Answers:
            return dict(zip(kinds, self._session.run(names, {interface.input_name: given}), strict=True))

        try:
            return in_batches(run, interface.fed(images), interface.batch)
        except Exception as error:  # as above
            raise ModelError(
                f"ONNX Runtime failed on {images.shape[0]} pictures of {images.shape[2]}x{images.shape[1]} "
                f"({first_line(error)}); try smaller pictures, or export the model again."
            ) from error


def read_model_file(path: Path) -> bytes:
    """Bytes of a model file, after the looks that need no parsing.

    Raises:
        ModelError: missing, a folder, empty, too large, or a Git LFS pointer instead of the file.
    """
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise ModelError(
                f"{path} has {size / 1024**3:.1f} GiB, and a single ONNX file holds at most 2; name another file."
            )
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise ModelError(f"{path} does not exist; make it with: segwright export RUN") from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}); check the path and its permissions.") from error
    if not data:
        raise ModelError(f"{path} is empty (0 bytes); copy it again, or export the model again.")
    if data.startswith(b"version https://git-lfs"):
        raise ModelError(f"{path} is only a Git LFS pointer to the model; fetch the file with: git lfs pull")
    return data


def onnx_facts(data: bytes, path: Path, described: Described | None = None) -> ModelFacts:
    """The facts in an ONNX file's metadata; the file is parsed, never run.

    Args:
        data: the whole file.
        path: its name, for messages.
        described: what the user says about a file that is not ours.

    Raises:
        ModelError: not ONNX, neither ours nor described, damaged, or keeping tensors in other files.
        MissingExtraError: onnx is not installed.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtraError("onnx", "onnx") from error
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise ModelError(f"{path} is not an ONNX file or is damaged; copy it again, or export again.") from error

    def tensors(message: Message) -> Iterator[Any]:
        for description, value in message.ListFields():
            if description.message_type is not None:
                for part in value if isinstance(value, (list, tuple)) or hasattr(value, "add") else (value,):
                    if isinstance(part, onnx.TensorProto):
                        yield part
                    else:
                        yield from tensors(part)

    if any(t.data_location == onnx.TensorProto.EXTERNAL for t in tensors(model)):
        # Such a tensor names any file of this computer; loading it would read that file.
        raise ModelError(f"{path} keeps weights in other files, which is refused; export it as one file.")
    text = next((p.value for p in model.metadata_props if p.key == METADATA_KEY), None)
    if text is None:
        return foreign_facts(model, path, described)
    if described is not None and described.prepares:
        raise UserError(f"{path} says itself how pictures are prepared; leave --size, --mean and --std out.")
    try:
        if len(text) > LONGEST_METADATA:
            raise ValueError("they are impossibly long")
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: its facts are damaged ({first_line(error)}); export the model again.") from error
    try:
        return ModelFacts.from_dict(raw)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def _require_signature(session: Any, interface: Interface, path: Path) -> None:
    """Refuse a graph that does not take and give what its facts promise."""
    inputs, outputs = session.get_inputs(), {o.name for o in session.get_outputs()}
    kind = "tensor(float)" if interface.floats else "tensor(uint8)"
    fits = len(inputs) == 1 and inputs[0].type == kind and len(inputs[0].shape) == 4
    if not fits or inputs[0].name != interface.input_name or not set(interface.outputs.values()) <= outputs:
        raise ModelError(
            f"{path} carries our facts but not our input and outputs; it was changed, export the model again."
        )


def _providers(device: str, onnxruntime: Any, *, tensorrt: bool = False) -> list[str]:
    if device not in {"auto", "cpu", "cuda"}:
        raise UserError(f"There is no device {device!r}; choose auto, cpu or cuda.")
    available = onnxruntime.get_available_providers()
    if tensorrt and (TENSORRT not in available or device == "cpu"):
        raise UserError(
            "This ONNX Runtime has no TensorRT; install onnxruntime-gpu in its place, or choose another engine."
        )
    cuda = "CUDAExecutionProvider" in available
    if device == "cuda" and not cuda:
        raise UserError("This ONNX Runtime has no CUDA; use --device cpu, or install onnxruntime-gpu in its place.")
    on_gpu = [TENSORRT] * tensorrt + ["CUDAExecutionProvider"] * (cuda and device != "cpu")
    return [*on_gpu, "CPUExecutionProvider"]
