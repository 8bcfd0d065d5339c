"""Engines: PyTorch and ONNX Runtime side by side behind one small contract - uint8 pictures in, probabilities out.

An engine knows nothing about files of pictures, thresholds or sizes other than its own: `predict/predictor.py` places
pictures before it and undoes that behind it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from segwright.classes import Classes
from segwright.errors import MissingExtraError, ModelError, SegwrightError, UserError
from segwright.recipe import Fit

if TYPE_CHECKING:
    from segwright.checkpoint import Checkpoint

METADATA_KEY = "segwright"
"""Key under which an exported file carries its `ModelFacts` as JSON."""

LARGEST_FILE = 2 * 1024**3 - 1
"""Bytes; a single ONNX file cannot be larger, because protobuf counts in 31 bits."""

LONGEST_METADATA = 16 * 1024 * 1024
"""Characters of our JSON in an ONNX file; more is hostile or damaged."""

LARGEST_SIDE = 8192
"""Pixels; the same limit that recipes have."""


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What a model must say about itself to be used: read from a checkpoint, or from an exported file's metadata."""

    name: str
    """Network, and its encoder where it has one: Unet/resnet18."""
    classes: Classes
    size_hw: tuple[int, int]
    """Height and width at which the network itself runs, in pixels."""
    fit: Fit
    threshold: float = 0.5
    """Least probability of class 1 that counts as class 1 (two classes only)."""
    any_size: bool = False
    """Whether pictures of any size may be given, and are answered at their own size."""
    tiled: bool = False
    """Whether it was trained on patches: pictures are cut into tiles of `size_hw` at their own scale, and not placed into it."""
    precision: str = "fp32"
    provenance: dict[str, Any] = field(default_factory=dict)
    """Where it came from: data, licences, versions, scores, date."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "classes": self.classes.to_dict(),
            "size_hw": list(self.size_hw),
            "fit": self.fit,
            "threshold": self.threshold,
            "any_size": self.any_size,
            "tiled": self.tiled,
            "precision": self.precision,
            "provenance": self.provenance,
        }

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> ModelFacts:
        """Inverse of `to_dict`.

        Raises:
            ModelError: a fact is absent or impossible.
        """
        try:
            height, width = (int(side) for side in raw["size_hw"])
            facts = cls(
                name=str(raw["name"]),
                classes=Classes.from_dict(raw["classes"]),
                size_hw=(height, width),
                fit=raw["fit"],
                threshold=float(raw["threshold"]),
                any_size=bool(raw["any_size"]),
                tiled=bool(raw.get("tiled", False)),  # files written before there were patches say nothing
                precision=str(raw["precision"]),
                provenance=dict(raw["provenance"]),
            )
            possible = 0 < height <= LARGEST_SIDE and 0 < width <= LARGEST_SIDE and 0.0 <= facts.threshold <= 1.0
            if not possible or facts.fit not in {"pad", "stretch"}:
                raise ValueError("a size, threshold or fit is out of range")
        except (KeyError, TypeError, ValueError, AttributeError, SegwrightError) as error:
            raise ModelError(f"its facts are damaged ({error!r}); export the model again.") from error
        return facts

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> ModelFacts:
        """The facts of a checkpoint.

        Raises:
            ModelError: its recipe has no size yet.
        """
        height, width = checkpoint.recipe.data.size_hw
        if not height or not width:
            raise ModelError("The checkpoint's recipe says no picture size; train it again, or set width and height.")
        model = checkpoint.recipe.model
        return cls(
            name=f"{model.model}/{model.encoder}" if model.encoder else model.model,
            classes=checkpoint.classes,
            size_hw=(height, width),
            fit=checkpoint.recipe.data.fit,
            threshold=checkpoint.threshold,
            tiled=checkpoint.recipe.data.patch_size > 0,
            provenance={
                **checkpoint.provenance,
                "recipe": checkpoint.recipe.to_dict(),
                "scores": checkpoint.scores,
                "step": checkpoint.step,
            },
        )


class Engine(Protocol):
    """Runs a network."""

    @property
    def name(self) -> str:
        """Which library computes: "pytorch", "onnxruntime"."""

    @property
    def facts(self) -> ModelFacts:
        """What the model says about itself."""

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the network.

        Args:
            images: (B, h, w, 3) uint8 RGB at `facts.size_hw`; any height and width when `facts.any_size`.

        Returns:
            (B, classes.channels, h, w) float32, 0..1.
        """


class PyTorchEngine:
    """A checkpoint, run by PyTorch in float32: the reference every other engine is compared with.

    Args:
        checkpoint: weights and what belongs to them.
        device: "auto" (CUDA where there is one), "cpu" or "cuda".
        threads: CPU threads of PyTorch, which has one number for the whole process; None leaves it.

    Raises:
        ModelError: the weights do not fit the recipe's network.
        UserError: CUDA was asked for and is not there.
    """

    name = "pytorch"

    def __init__(self, checkpoint: Checkpoint, *, device: str = "auto", threads: int | None = None) -> None:
        import torch

        if threads is not None:
            torch.set_num_threads(_thread_count(threads))
        self.facts = ModelFacts.of(checkpoint)
        self.device = _torch_device(device)
        network: Any = checkpoint.network().to(self.device)
        self._network = network.to(memory_format=torch.channels_last)

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Engine.probabilities`."""
        import torch

        _require_fitting(images, self.facts)
        # TF32 would keep 10 of 23 bits on newer GPUs: fine for training, not for the reference of every comparison.
        exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=False, allow_tf32=False)
        with torch.inference_mode(), exact:
            # PyTorch warns about read-only arrays, as Pillow hands out; those are copied.
            pixels = torch.from_numpy(np.require(images, requirements=["C", "W"])).to(self.device)
            # NHWC memory seen as NCHW is exactly the channels_last layout the network wants: nothing is copied.
            logits = self._network(pixels.permute(0, 3, 1, 2).float() / 255.0)
            answer: NDArray[np.float32] = self.facts.classes.probabilities(logits).float().contiguous().cpu().numpy()
        return answer


class OnnxEngine:
    """An exported file, run by ONNX Runtime.

    Args:
        path: an .onnx file written by `segwright export`.
        device: "auto" (CUDA where ONNX Runtime has it), "cpu" or "cuda".
        threads: CPU threads; None takes all cores.

    Raises:
        ModelError: missing, empty, damaged, not ours, or reaching for other files.
        MissingExtraError: ONNX Runtime is not installed.
        UserError: CUDA was asked for and is not there.
    """

    name = "onnxruntime"

    def __init__(self, path: Path, *, device: str = "auto", threads: int | None = None) -> None:
        data = read_model_file(path)
        self.facts = onnx_facts(data, path)
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtraError("onnxruntime", "onnx") from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # errors arrive as exceptions; printed twice they only frighten
        if threads is not None:
            options.intra_op_num_threads = _thread_count(threads)
        try:
            self._session = onnxruntime.InferenceSession(data, options, providers=_providers(device, onnxruntime))
        except UserError:
            raise
        except Exception as error:  # ONNX Runtime has one unrelated exception type per status code
            raise ModelError(
                f"{path} cannot be run by ONNX Runtime ({_first_line(error)}); export the model again."
            ) from error
        self._input = _require_signature(self._session, path)

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Engine.probabilities`."""
        return np.asarray(self._run(["probabilities"], images)[0], np.float32)

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
        _require_fitting(images, self.facts)
        try:
            answers: list[Any] = self._session.run(outputs, {self._input: np.ascontiguousarray(images)})
        except Exception as error:  # as above
            raise ModelError(
                f"ONNX Runtime failed on {images.shape[0]} pictures of {images.shape[2]}x{images.shape[1]} "
                f"({_first_line(error)}); try smaller pictures, or export the model again."
            ) from error
        return answers


def open_engine(path: Path, *, device: str = "auto", threads: int | None = None) -> Engine:
    """The engine a path asks for.

    Args:
        path: a run folder or .safetensors checkpoint (PyTorch), or an .onnx file (ONNX Runtime).
        device: "auto", "cpu" or "cuda".
        threads: CPU threads; None lets the engine choose.

    Raises:
        ModelError: nothing usable there.
        MissingExtraError: the engine's library is not installed.
        UserError: the device is not there.
    """
    if path.suffix.lower() == ".onnx" and not path.is_dir():
        return OnnxEngine(path, device=device, threads=threads)
    from segwright import checkpoint

    return PyTorchEngine(checkpoint.load(path), device=device, threads=threads)


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
        raise ModelError(f"{path}: its facts are damaged ({_first_line(error)}); export the model again.") from error
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


def _require_fitting(images: NDArray[np.uint8], facts: ModelFacts) -> None:
    height, width = facts.size_hw
    fits = images.ndim == 4 and images.shape[3] == 3 and images.dtype == np.uint8
    if not fits or not (facts.any_size or images.shape[1:3] == facts.size_hw):
        raise UserError(
            f"{facts.name} takes uint8 pictures of shape (B, {height}, {width}, 3), but was given {images.dtype} {images.shape}; "
            "let Predictor.predict place pictures of other sizes."
        )


def _torch_device(device: str) -> str:
    import torch

    if device not in {"auto", "cpu", "cuda"}:
        raise UserError(f"There is no device {device!r}; choose auto, cpu or cuda.")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("PyTorch finds no CUDA device here; use --device cpu, or check the driver with nvidia-smi.")
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


def _providers(device: str, onnxruntime: Any) -> list[str]:
    if device not in {"auto", "cpu", "cuda"}:
        raise UserError(f"There is no device {device!r}; choose auto, cpu or cuda.")
    cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if device == "cuda" and not cuda:
        raise UserError("This ONNX Runtime has no CUDA; use --device cpu, or install onnxruntime-gpu in its place.")
    return ["CUDAExecutionProvider", "CPUExecutionProvider"] if cuda and device != "cpu" else ["CPUExecutionProvider"]


def _thread_count(threads: int) -> int:
    if threads < 1:
        raise UserError(f"The number of threads must be 1 or more, not {threads}.")
    return threads


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
