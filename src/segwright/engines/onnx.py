"""ONNX Runtime, and how an exported file is read: facts first, tensors in other files refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segwright.engines.contract import METADATA_KEY, ModelFacts, first_line, require_fitting, thread_count
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
        path: an .onnx file written by `segwright export`.
        device: "auto" (CUDA where ONNX Runtime has it), "cpu" or "cuda".
        threads: CPU threads; None takes all cores.
        tensorrt: let TensorRT build and run what it can; the first time that takes minutes.

    Raises:
        ModelError: missing, empty, damaged, not ours, or reaching for other files.
        MissingExtraError: ONNX Runtime is not installed.
        UserError: CUDA or TensorRT was asked for and is not there.
    """

    name = "onnxruntime"

    def __init__(self, path: Path, *, device: str = "auto", threads: int | None = None, tensorrt: bool = False) -> None:
        data = read_model_file(path)
        self.facts = onnx_facts(data, path)
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
        self._input = _require_signature(self._session, path)

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Engine.probabilities`."""
        return np.asarray(self._run(["probabilities"], images)[0], np.float32)

    def class_maps(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """See `ClassMapEngine.class_maps`."""
        return np.asarray(self._run(["classes"], images)[0], np.uint8)

    def run(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Both outputs of the file.

        Args:
            images: as in `Engine.probabilities`.

        Returns:
            class maps (B, h, w) uint8 and probabilities (B, channels, h, w) float32.
        """
        class_maps, probabilities = self._run(["classes", "probabilities"], images)
        return np.asarray(class_maps, np.uint8), np.asarray(probabilities, np.float32)

    def _run(self, outputs: list[str], images: NDArray[np.uint8]) -> list[Any]:
        require_fitting(images, self.facts)
        try:
            answers: list[Any] = self._session.run(outputs, {self._input: np.ascontiguousarray(images)})
        except Exception as error:  # as above
            raise ModelError(
                f"ONNX Runtime failed on {images.shape[0]} pictures of {images.shape[2]}x{images.shape[1]} "
                f"({first_line(error)}); try smaller pictures, or export the model again."
            ) from error
        return answers


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


def onnx_facts(data: bytes, path: Path) -> ModelFacts:
    """The facts in an ONNX file's metadata; the file is parsed, never run.

    Args:
        data: the whole file.
        path: its name, for messages.

    Raises:
        ModelError: not ONNX, not ours, damaged, or keeping tensors in other files.
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
        raise ModelError(
            f"{path} does not carry the facts of a segwright model (classes, size); export one with: segwright export RUN"
        )
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


def _require_signature(session: Any, path: Path) -> str:
    """Name of the input, after checking that the graph takes and gives what our facts promise."""
    inputs, outputs = session.get_inputs(), {o.name for o in session.get_outputs()}
    fits = len(inputs) == 1 and inputs[0].type == "tensor(uint8)" and len(inputs[0].shape) == 4
    if not fits or not {"classes", "probabilities"} <= outputs:
        raise ModelError(
            f"{path} carries our facts but not our input and outputs; it was changed, export the model again."
        )
    return str(inputs[0].name)


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
