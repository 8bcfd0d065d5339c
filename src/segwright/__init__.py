"""segwright: from a folder of pictures to a small, fast, proven segmentation model running where it is needed.

The names below are the whole public interface. They are imported when first used, so that `import segwright` and the
command line's help cost nothing.
"""

from __future__ import annotations

import os
from importlib import import_module
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
    "build_demo": "segwright.workflows.showing",
    "check": "segwright.workflows.data",
    "compare": "segwright.workflows.comparing",
    "draw_scene": "segwright.data.cards",
    "evaluate": "segwright.workflows.measuring",
    "export_model": "segwright.workflows.shipping",
    "find_dataset": "segwright.data.layouts",
    "frames": "segwright.predict.feed",
    "load": "segwright.workflows.opening",
    "mixed_cards": "segwright.data.card_photos",
    "named_recipe": "segwright.recipe",
    "pack": "segwright.workflows.data",
    "predict_pictures": "segwright.workflows.predicting",
    "predict_sources": "segwright.workflows.predicting",
    "prune_model": "segwright.workflows.pruning",
    "quickstart": "segwright.workflows.quickstart",
    "read_image": "segwright.data.sample",
    "repair": "segwright.workflows.data",
    "resume": "segwright.workflows.training",
    "synthesize_cards": "segwright.data.cards",
    "train": "segwright.workflows.training",
    "tune": "segwright.workflows.tuning",
}

__all__ = ["__version__", *sorted(_HOMES)]

if TYPE_CHECKING:
    from segwright.checkpoint import Checkpoint as Checkpoint
    from segwright.classes import Classes as Classes
    from segwright.data.card_photos import mixed_cards as mixed_cards
    from segwright.data.cards import draw_scene as draw_scene
    from segwright.data.cards import synthesize_cards as synthesize_cards
    from segwright.data.layouts import Dataset as Dataset
    from segwright.data.layouts import find_dataset as find_dataset
    from segwright.data.sample import Sample as Sample
    from segwright.data.sample import read_image as read_image
    from segwright.errors import SegwrightError as SegwrightError
    from segwright.errors import UserError as UserError
    from segwright.evaluation.report import Report as Report
    from segwright.predict.feed import frames as frames
    from segwright.predict.predictor import Prediction as Prediction
    from segwright.predict.predictor import Predictor as Predictor
    from segwright.recipe import Recipe as Recipe
    from segwright.recipe import named_recipe as named_recipe
    from segwright.workflows import quickstart as quickstart
    from segwright.workflows.comparing import compare as compare
    from segwright.workflows.data import check as check
    from segwright.workflows.data import pack as pack
    from segwright.workflows.data import repair as repair
    from segwright.workflows.measuring import evaluate as evaluate
    from segwright.workflows.opening import load as load
    from segwright.workflows.predicting import predict_pictures as predict_pictures
    from segwright.workflows.predicting import predict_sources as predict_sources
    from segwright.workflows.pruning import prune_model as prune_model
    from segwright.workflows.shipping import export_model as export_model
    from segwright.workflows.showing import build_demo as build_demo
    from segwright.workflows.training import resume as resume
    from segwright.workflows.training import train as train
    from segwright.workflows.tuning import tune as tune


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'segwright' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
