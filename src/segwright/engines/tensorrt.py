"""TensorRT: an engine built for one kind of GPU, run there; memory and streams are PyTorch's.

An engine file is machine code, not data: what its note says is believed only as far as it goes, and nobody should open
an engine of a stranger. Code for the host that some engines carry stays forbidden, as is TensorRT's default.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segwright.engines.contract import first_line, require_fitting, thread_count
from segwright.engines.interface import Answers, Interface, Kind
from segwright.engines.onnx import read_model_file
from segwright.engines.tensorrt_library import gpu_here, listener, load_tensorrt, said
from segwright.engines.tensorrt_note import EngineNote, read_note
from segwright.errors import ModelError, UserError

DEVICE = "cuda"


class TensorRTEngine:
    """An engine file, run by the TensorRT library that built it.

    Args:
        path: an .engine or .plan file, with its note (`tensorrt_note.py`) or its ONNX file beside it.
        device: "auto" or "cuda".
        threads: taken and not used: the GPU computes.

    Raises:
        ModelError: missing, empty, damaged, not ours, or built by another version or for another GPU.
        MissingExtraError: the library is not installed.
        UserError: there is no GPU, or the CPU was asked for.
    """

    name = "tensorrt"

    def __init__(self, path: Path, *, device: str = "auto", threads: int | None = None) -> None:
        if threads is not None:
            thread_count(threads)
        data = read_model_file(path)
        note = read_note(path, data)
        _require_gpu(path, device)
        import torch

        self.facts = note.facts
        trt = load_tensorrt(note.library)
        self._listener = listener(trt)  # TensorRT keeps only a pointer to it
        self._runtime = trt.Runtime(self._listener)
        engine = self._runtime.deserialize_cuda_engine(data)
        if engine is None:
            raise ModelError(
                f"{path} {_why(note, trt)} ({said(self._listener.errors)}); build it again on this machine."
            )
        self._engine, self._context = engine, engine.create_execution_context()
        self._outputs = _require_signature(engine, trt, note.facts.interface, path)
        self._input = note.facts.interface.input_name
        self._least, self._most = _range(engine, self._input)
        self._stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._lock = threading.Lock()  # one context runs one batch at a time

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Engine.probabilities`; batches larger than the engine takes are run in parts."""
        answers = self._answers((self.facts.interface.telling,), images)
        return self.facts.interface.probabilities(answers, self.facts.classes, images.shape[1:3])

    def class_maps(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """See `ClassMapEngine.class_maps`."""
        if "classes" not in self.facts.interface.outputs:
            return self.run(images)[0]
        return self.facts.interface.own_class_maps(self._answers(("classes",), images))

    def run(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Both answers of the file; what it does not give is made from what it gives.

        Args:
            images: as in `Engine.probabilities`.

        Returns:
            class maps (B, h, w) uint8 and probabilities (B, channels, h, w) float32.
        """
        answers, facts = self._answers(tuple(self.facts.interface.outputs), images), self.facts
        return facts.interface.both(answers, facts.classes, facts.threshold, images.shape[1:3])

    def _answers(self, kinds: tuple[Kind, ...], images: NDArray[np.uint8]) -> Answers:
        """Some of the outputs, by kind; only these are brought to the host."""
        require_fitting(images, self.facts)
        interface, most = self.facts.interface, self._most[0]
        names = {kind: interface.outputs[kind] for kind in kinds}
        given = interface.fed(images)
        self._require_in_range(given.shape)
        with self._lock:
            parts = [
                self._batch(given[start : start + most], set(names.values())) for start in range(0, len(given), most)
            ]
        return {kind: np.concatenate([part[name] for part in parts]) for kind, name in names.items()}

    def _batch(self, images: NDArray[Any], wanted: set[str]) -> dict[str, NDArray[Any]]:
        """Wanted outputs by name for a batch of at most `most` pictures; one below the least is filled up and cut back."""
        import torch

        count = len(images)
        if count < self._least[0]:
            images = np.concatenate([images, np.repeat(images[-1:], self._least[0] - count, axis=0)])
        try:
            with torch.inference_mode(), torch.cuda.stream(self._stream):
                pixels = torch.from_numpy(np.require(images, requirements=["C", "W"])).to(DEVICE)
                self._context.set_input_shape(self._input, tuple(images.shape))
                self._context.set_tensor_address(self._input, pixels.data_ptr())
                answers = {}
                for name, dtype in self._outputs.items():
                    shape = tuple(self._context.get_tensor_shape(name))
                    answers[name] = torch.empty(shape, dtype=dtype, device=DEVICE)
                    self._context.set_tensor_address(name, answers[name].data_ptr())
                if not self._context.execute_async_v3(self._stream.cuda_stream):
                    raise ModelError(
                        f"TensorRT failed ({said(self._listener.errors)}); build the engine again on this machine."
                    )
                # To the host on the same stream, so after the network; this waits for it.
                return {name: answers[name].cpu().numpy()[:count] for name in wanted}
        except torch.cuda.OutOfMemoryError as error:
            batch = "x".join(str(side) for side in images.shape)
            raise ModelError(
                f"The GPU has too little memory for a batch of {batch} ({first_line(error)}); give fewer pictures at a time."
            ) from error

    def _require_in_range(self, shape: tuple[int, ...]) -> None:
        """Refuse sizes for which the engine was not built."""
        if shape[0] == 0:
            raise UserError("There are no pictures in this batch; give one or more.")
        if all(low <= side <= high for low, side, high in zip(self._least[1:], shape[1:], self._most[1:], strict=True)):
            return
        first = 1 if self.facts.interface.layout == "nhwc" else 2
        least, given, most = (f"{sides[first + 1]}x{sides[first]}" for sides in (self._least, shape, self._most))
        raise UserError(
            f"This engine was built for pictures from {least} to {most}, not for {given}; build one with other --shapes."
        )


def _require_gpu(path: Path, device: str) -> None:
    if device not in {"auto", "cpu", "cuda"}:
        raise UserError(f"There is no device {device!r}; choose auto, cpu or cuda.")
    if device == "cpu":
        raise UserError(
            f"{path.name} is a TensorRT engine, which runs on an NVIDIA GPU only; use the .onnx file on a CPU."
        )
    if not gpu_here():
        raise UserError(
            f"{path.name} is a TensorRT engine, and PyTorch finds no NVIDIA GPU with a driver here; run it where there is one, or use "
            "the .onnx file on this machine."
        )


def _require_signature(engine: Any, trt: Any, interface: Interface, path: Path) -> dict[str, Any]:
    """PyTorch types of the outputs by their names, after checking that the engine takes and gives what its facts promise."""
    import torch

    types = {
        "UINT8": torch.uint8,
        "FLOAT": torch.float32,
        "HALF": torch.float16,
        "INT32": torch.int32,
        "INT64": torch.int64,
    }
    names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
    outputs = {name: types.get(engine.get_tensor_dtype(name).name) for name in names if name not in inputs}
    fits = inputs == [interface.input_name] and len(tuple(engine.get_tensor_shape(inputs[0]))) == 4
    fits = fits and engine.get_tensor_dtype(inputs[0]).name == ("FLOAT" if interface.floats else "UINT8")
    if not fits or None in outputs.values() or not set(interface.outputs.values()) <= outputs.keys():
        raise ModelError(
            f"{path} does not have the input and outputs that its facts promise; build it again from its .onnx file."
        )
    return outputs


def _range(engine: Any, name: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Least and most shape of the input; an engine without open sides has no range but its shape."""
    shape = tuple(engine.get_tensor_shape(name))
    if -1 not in shape:
        return shape, shape
    least, _, most = (tuple(shape) for shape in engine.get_tensor_profile_shape(name, 0))
    return least, most


def _why(note: EngineNote, trt: Any) -> str:
    """Why an engine was refused, as far as the note tells."""
    if note.version and note.version != trt.__version__:
        return f"was built by {note.library} {note.version}, and version {trt.__version__}, installed here, refuses it"
    return "was refused by TensorRT, as engines for another GPU or version are"
