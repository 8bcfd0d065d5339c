"""What is asked of an export: format, precision, sizes, and how the file is to be spoken to."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from segwright.engines.contract import ModelFacts
from segwright.engines.interface import KINDS, MOST_BATCH, OWN_INPUT, Interface, Kind, Layout
from segwright.errors import ModelError, UserError

OPSET = 20
OPSETS = range(18, 22)
"""18 is the first in which the exporter writes itself; TensorRT 11 and ONNX Runtime Web read all of these."""

PRECISIONS = ("fp32", "fp16", "int8")
"""What the network computes in; pictures, placement and probabilities are the same in all."""

NAME = re.compile(r"[A-Za-z_][\w.]{0,63}")
"""What an input may be called; some engines take its name into file and variable names."""


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """One export; refused on creation where it contradicts itself."""

    to: str = "onnx"
    """Format, one of `formats.FORMATS`."""
    precision: str = "fp32"
    """One of `PRECISIONS`."""
    any_size: bool = False
    """Take pictures of any size, and answer at their size."""
    batch: int = 0
    """Pictures in one call; 0 for any number."""
    layout: Layout = "nhwc"
    input_name: str = OWN_INPUT
    outputs: tuple[str, ...] = ("classes", "probabilities")
    """One or more of classes, probabilities and logits, in this order."""
    threshold: float | None = None
    """Least probability of class 1 (two classes only); None takes the model's own."""
    opset: int = OPSET

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ModelError(f"There is no precision {self.precision!r}; choose {', '.join(PRECISIONS)}.")
        if self.opset not in OPSETS:
            raise ModelError(f"Opset {self.opset} is not supported; choose {OPSETS.start} to {OPSETS.stop - 1}.")
        if not 0 <= self.batch <= MOST_BATCH:
            raise UserError(f"A batch holds 1 to {MOST_BATCH} pictures, not {self.batch}; 0 takes any number.")
        if self.layout not in {"nhwc", "nchw"}:
            raise UserError(f"There is no layout {self.layout!r}; choose nhwc (channels last) or nchw.")
        if not NAME.fullmatch(self.input_name) or self.input_name in KINDS:
            raise UserError(
                f"The input cannot be called {self.input_name!r}; use letters, digits, _ and dots, such as {OWN_INPUT}."
            )
        if not self.outputs or len(set(self.outputs)) != len(self.outputs) or not set(self.outputs) <= set(KINDS):
            raise UserError(
                f"The outputs {', '.join(self.outputs) or '(none)'} are not possible; choose some of {', '.join(KINDS)}."
            )
        if self.threshold is not None and not 0.0 <= self.threshold <= 1.0:
            raise UserError(f"The threshold is a probability between 0 and 1, not {self.threshold}.")

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The outputs in the order they have in every file."""
        return tuple(kind for kind in KINDS if kind in self.outputs)

    @property
    def interface(self) -> Interface:
        """How the file will be spoken to."""
        return Interface(
            input_name=self.input_name,
            layout=self.layout,
            batch=self.batch,
            outputs={kind: str(kind) for kind in self.kinds},
        )

    def applied(self, facts: ModelFacts) -> ModelFacts:
        """Facts of a checkpoint as those of the file that is asked for.

        Raises:
            ModelError: any size is asked of a model that was trained on patches.
            UserError: a threshold is asked of a model with more than two classes.
        """
        if facts.tiled and self.any_size:
            raise ModelError(
                f"{facts.name} was trained on patches of {facts.size_hw[1]} pixels, and an any-size file would scale pictures "
                "down to that; export it without --any-size: segwright then cuts pictures of any size into tiles."
            )
        if self.threshold is not None and facts.classes.channels != 1:
            raise UserError(
                f"{facts.name} tells {len(facts.classes)} classes apart and takes the most probable one; leave --threshold out."
            )
        return replace(
            facts,
            any_size=self.any_size,
            precision=self.precision,
            threshold=facts.threshold if self.threshold is None else self.threshold,
            interface=self.interface,
        )
