"""Which TensorRT is here: finding it, asking for its version and a GPU, and listening to what it says.

`tensorrt` is for servers and Jetsons, and builds for the GPU it finds. `tensorrt_rtx` (TensorRT for RTX) has the same Python
interface, is for the GPUs of desktops, and builds engines without any GPU. Neither runs the engines of the other. Both
are proprietary software of NVIDIA and never installed unless asked for.
"""

from __future__ import annotations

import importlib
import re
from typing import Any

from segwright.errors import MissingExtraError, UserError

LIBRARIES = {"tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt-rtx"}
"""Module, and the extra of segwright that brings it; the first one found is taken."""

OLDEST = 10
"""Major version of `tensorrt` whose Python interface (named tensors, strongly typed networks) is the one used here."""


def load_tensorrt(wanted: str = "auto") -> Any:
    """The module.

    Args:
        wanted: "auto", or a name of `LIBRARIES`.

    Raises:
        MissingExtraError: it is not installed.
        UserError: no such library, or one too old.
    """
    if wanted != "auto" and wanted not in LIBRARIES:
        raise UserError(f"There is no TensorRT library {wanted!r}; choose {' or '.join(LIBRARIES)}.")
    names = tuple(LIBRARIES) if wanted == "auto" else (wanted,)
    for name in names:
        try:
            module = importlib.import_module(name)
        except (ImportError, OSError):  # OSError: the bindings are there, the libraries they load are not
            continue
        if name == "tensorrt" and version_of(module)[0] < OLDEST:
            raise UserError(
                f"TensorRT {module.__version__} is too old for segwright, which uses the Python interface of {OLDEST} and newer; "
                "update it, or build with the trtexec that came with it (segwright export --to onnx says how)."
            )
        return module
    raise MissingExtraError("TensorRT" if wanted == "auto" else wanted, LIBRARIES[names[0]])


def version_of(trt: Any) -> tuple[int, ...]:
    """(11, 4, 0, 106), for example."""
    return tuple(int(part) for part in trt.__version__.split(".") if part.isdigit())


def is_rtx(trt: Any) -> bool:
    """Whether the module is TensorRT for RTX."""
    return bool(trt.__name__ == "tensorrt_rtx")


def gpu_here() -> bool:
    """Whether PyTorch finds an NVIDIA GPU with a working driver."""
    import torch

    return torch.cuda.is_available()


def listener(trt: Any) -> Any:
    """A logger for TensorRT that is silent and keeps what went wrong in `errors`, a list of lines."""

    class Listener(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in {trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR}:
                self.errors.append(message)

    return Listener()


def said(errors: list[str]) -> str:
    """The first error that tells something, as part of a sentence: without the library's own file names and brackets."""
    telling = [line for line in errors if "checkMacros" not in line] or errors or ["it gave no reason"]
    words = " ".join(telling[0].split())
    return re.sub(r"\s*\(?\bIn \w+ at /\S+", "", words)[:300].rstrip(" .)")
