"""The `trtexec` commands that build the same engine elsewhere, for each major version of TensorRT.

What changed between them: TensorRT 8 chooses precisions itself when allowed to (--fp16) and says --workspace; 10 takes
them from the file when told so (--stronglyTyped) and says --memPoolSize; 11 always takes them from the file.
"""

from __future__ import annotations

import shlex

from segwright.engines.tensorrt_note import Shapes
from segwright.export.shapes import written

VERSIONS = (8, 10, 11)
"""Major versions that differ from each other."""

WORKSPACE = 2048
"""MiB, unless told otherwise."""

WEAK = {"fp32": [], "fp16": ["--fp16"], "int8": ["--int8"]}
"""What TensorRT 8 has to be allowed, by the precision of the file."""


def trtexec_command(
    major: int, onnx: str, engine: str, *, shapes: Shapes | None, precision: str, workspace: int, timing_cache: str = ""
) -> str:
    """One line, to be run in the folder of the ONNX file.

    Args:
        major: one of `VERSIONS`.
        onnx: name of the file.
        engine: name of the file to be written.
        shapes: which the engine should take; None for a file that leaves nothing open, with which trtexec takes none.
        precision: of the ONNX file: fp32, fp16 or int8.
        workspace: most memory for a layer's scratch space, in MiB.
        timing_cache: name of a timing cache file; empty for none.
    """
    words = ["trtexec", f"--onnx={onnx}", f"--saveEngine={engine}"]
    if shapes is not None and shapes.fixed:
        words.append(f"--shapes={shapes.name}:{written(shapes.best)}")
    elif shapes is not None:
        for flag, shape in (("minShapes", shapes.least), ("optShapes", shapes.best), ("maxShapes", shapes.most)):
            words.append(f"--{flag}={shapes.name}:{written(shape)}")
    words.append(f"--workspace={workspace}" if major < 10 else f"--memPoolSize=workspace:{workspace}")
    if major < 10:
        words += WEAK.get(precision, [])
    elif major == 10:
        words.append("--stronglyTyped")
    if timing_cache:
        words.append(f"--timingCacheFile={timing_cache}")
    return shlex.join(words)


def trtexec_commands(
    onnx: str, engine: str, *, shapes: Shapes | None, precision: str, workspace: int
) -> dict[int, str]:
    """`trtexec_command` of every major version."""
    return {
        major: trtexec_command(major, onnx, engine, shapes=shapes, precision=precision, workspace=workspace)
        for major in VERSIONS
    }
