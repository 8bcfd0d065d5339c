"""segwright: from a folder of pictures to a small, fast, proven segmentation model running where it is needed.

The names below are the whole public interface. They are imported when first used, so that `import segwright` and the
command line's help cost nothing.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# PyTorch's threads wait for each other by spinning. Where another process holds one of the cores, the waiting one then
# burns the time that the other needs: a training step took 9.0 s instead of 0.7 s on two cores, one of them busy.
# Spinning briefly and sleeping then costs nothing measurable on a quiet machine. Read once, when PyTorch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

_HOMES = {
    "Checkpoint": "segwright.checkpoint",
    "Classes": "segwright.classes",
    "Dataset": "segwright.data.layouts",
    "Prediction": "segwright.predict.predictor",
    "Predictor": "segwright.predict.predictor",
    "Recipe": "segwright.recipe",
    "Report": "segwright.evaluation.report",
    "Sample": "segwright.data.sample",
    "SegwrightError": "segwright.errors",
    "UserError": "segwright.errors",
    "check": "segwright.workflows",
    "draw_scene": "segwright.data.cards",
    "evaluate": "segwright.workflows",
    "export": "segwright.workflows",
    "find_dataset": "segwright.data.layouts",
    "load": "segwright.predict.predictor",
    "named_recipe": "segwright.recipe",
    "predict": "segwright.workflows",
    "quickstart": "segwright.workflows",
    "repair": "segwright.workflows",
    "synthesize_cards": "segwright.data.cards",
    "train": "segwright.workflows",
}

__all__ = ["__version__", *sorted(_HOMES)]

if TYPE_CHECKING:
    from segwright.checkpoint import Checkpoint as Checkpoint
    from segwright.classes import Classes as Classes
    from segwright.data.cards import draw_scene as draw_scene
    from segwright.data.cards import synthesize_cards as synthesize_cards
    from segwright.data.layouts import Dataset as Dataset
    from segwright.data.layouts import find_dataset as find_dataset
    from segwright.data.sample import Sample as Sample
    from segwright.errors import SegwrightError as SegwrightError
    from segwright.errors import UserError as UserError
    from segwright.evaluation.report import Report as Report
    from segwright.predict.predictor import Prediction as Prediction
    from segwright.predict.predictor import Predictor as Predictor
    from segwright.predict.predictor import load as load
    from segwright.recipe import Recipe as Recipe
    from segwright.recipe import named_recipe as named_recipe
    from segwright.workflows import check as check
    from segwright.workflows import evaluate as evaluate
    from segwright.workflows import export as export
    from segwright.workflows import predict as predict
    from segwright.workflows import quickstart as quickstart
    from segwright.workflows import repair as repair
    from segwright.workflows import train as train


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'segwright' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__


class _FrontDoor(ModuleType):
    """Keeps `export` and `predict` the functions they are said to be.

    Importing `segwright.export.onnx` makes Python store the folder `export` as an attribute of this module, where it would
    hide the function of that name. Files in the folder are found all the same, with `from segwright.export import onnx`.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _FrontDoor
