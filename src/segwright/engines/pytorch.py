"""PyTorch in float32: the reference that every other engine is compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segwright.engines.contract import ModelFacts, require_fitting, thread_count
from segwright.errors import UserError

if TYPE_CHECKING:
    from segwright.checkpoint import Checkpoint


class PyTorchEngine:
    """A checkpoint, run by PyTorch in float32: the reference every other engine is compared with.

    Args:
        checkpoint: weights and what belongs to them.
        device: "auto" (CUDA where there is one), "cpu" or "cuda".
        threads: CPU threads of PyTorch, which has one number for the whole process; None leaves it.
        compiled: compile the network at the first picture of each batch size, which takes minutes on a CPU and needs a C++ compiler.

    Raises:
        ModelError: the weights do not fit the recipe's network.
        UserError: CUDA was asked for and is not there.
    """

    name = "pytorch"

    def __init__(
        self, checkpoint: Checkpoint, *, device: str = "auto", threads: int | None = None, compiled: bool = False
    ) -> None:
        import torch

        if threads is not None:
            torch.set_num_threads(thread_count(threads))
        self.facts = ModelFacts.of(checkpoint)
        self.device = _torch_device(device)
        network: Any = checkpoint.network().to(self.device)
        network = network.to(memory_format=torch.channels_last)
        self._network: Any = torch.compile(network) if compiled else network

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Engine.probabilities`."""
        answer: NDArray[np.float32] = self._run(images).contiguous().cpu().numpy()
        return answer

    def class_maps(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """See `ClassMapEngine.class_maps`."""
        import torch

        probabilities = self._run(images)
        with torch.inference_mode():
            two = self.facts.classes.channels == 1
            # The maximum's index is found four times as fast as by argmax on a CPU.
            found = probabilities[:, 0] >= self.facts.threshold if two else probabilities.max(dim=1).indices
            class_maps: NDArray[np.uint8] = found.to(torch.uint8).cpu().numpy()
        return class_maps

    def _run(self, images: NDArray[np.uint8]) -> Any:
        """(B, channels, h, w) float32 probabilities, where the network is."""
        import torch

        require_fitting(images, self.facts)
        # TF32 would keep 10 of 23 bits on newer GPUs: fine for training, not for the reference of every comparison.
        exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=False, allow_tf32=False)
        with torch.inference_mode(), exact:
            # PyTorch warns about read-only arrays, as Pillow hands out; those are copied.
            pixels = torch.from_numpy(np.require(images, requirements=["C", "W"])).to(self.device)
            # NHWC memory seen as NCHW is exactly the channels_last layout the network wants: nothing is copied.
            logits = self._network(pixels.permute(0, 3, 1, 2).float() / 255.0)
            return self.facts.classes.probabilities(logits).float()


def _torch_device(device: str) -> str:
    import torch

    if device not in {"auto", "cpu", "cuda"}:
        raise UserError(f"There is no device {device!r}; choose auto, cpu or cuda.")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("PyTorch finds no CUDA device here; use --device cpu, or check the driver with nvidia-smi.")
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
