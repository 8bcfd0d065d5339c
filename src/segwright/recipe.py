"""Recipe: every setting of a run as frozen dataclasses, and the named recipes as functions that return a whole one.

The sentence under each field is the help text of its flag. A recipe goes to and from a plain dict, is saved with its run
as YAML, and travels inside every checkpoint.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from segwright.errors import RecipeError

Fit = Literal["pad", "stretch"]
Level = Literal["none", "light", "medium", "strong"]
Precision = Literal["auto", "fp32", "fp16", "bf16"]
Device = Literal["auto", "cpu", "cuda"]

SIZE_MULTIPLE = 32
"""Networks halve a picture up to five times; sizes that are multiples of this are never padded inside them."""


@dataclass(frozen=True, kw_only=True)
class DataRecipe:
    """How pictures become network inputs."""

    width: int = 0
    """Width of the network's input in pixels; 0 takes the commonest size of the data set."""
    height: int = 0
    """Height of the network's input in pixels; 0 takes the commonest size of the data set."""
    patch_size: int = 0
    """Train on random square patches of this many pixels at the pictures' own scale, and evaluate tile by tile; 0 trains on whole
    pictures placed into the input size."""
    fit: Fit = "pad"
    """pad: keep the shape and fill up with black; stretch: fill the input whatever the shape."""
    augment: Level = "medium"
    """How strongly training pictures are varied."""
    val_share: float = 0.15
    """Share of `train` set aside as `val` when the data set has no `val` of its own, 0..0.5."""
    mask_suffix: str = ""
    """What a mask's name has after its picture's stem, for example _mask for a.jpg and a_mask.png."""
    workers: int = -1
    """Processes that load pictures beside the training; -1 chooses."""
    cache_gb: float = 2.0
    """Decoded pictures are kept in memory when the data set fits into this many gigabytes; 0 switches that off."""

    def __post_init__(self) -> None:
        _refuse_wrong_kinds(self)
        _refuse(self.width < 0 or self.height < 0, "--width and --height must be positive, or 0 for automatic.")
        _refuse(
            (self.width == 0) != (self.height == 0),
            "--width and --height go together; give both, or neither for automatic.",
        )
        _refuse(0 < self.width < 32 or 0 < self.height < 32, "--width and --height must be at least 32 pixels.")
        _refuse(
            max(self.width, self.height) > 8192,
            "--width and --height must be at most 8192 pixels.",
        )
        patch = self.patch_size
        _refuse(patch != 0 and not 32 <= patch <= 8192, f"--patch-size must be 32 to 8192 pixels, or 0, not {patch}.")
        _refuse(
            patch != 0 and self.size_hw not in {(0, 0), (patch, patch)},
            f"--patch-size {patch} takes squares out of the pictures as they are, and a size of {self.width}x{self.height} would "
            "scale them first; leave out --width and --height, or set both to 0 where the recipe has them.",
        )
        _refuse(
            patch != 0 and self.fit != "pad",
            f"--fit {self.fit} scales pictures, and --patch-size takes them as they are; use one of the two.",
        )
        _refuse(not 0.0 < self.val_share <= 0.5, f"--val-share is a share between 0 and 0.5, not {self.val_share}.")
        _refuse(self.workers < -1, "--workers is the number of loading processes, or -1 to choose.")
        _refuse(self.cache_gb < 0, "--cache-gb is a size in gigabytes, 0 or more.")

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width) in pixels; (0, 0) means: not chosen yet."""
        return self.height, self.width


@dataclass(frozen=True, kw_only=True)
class ModelRecipe:
    """Which network."""

    model: str = "lraspp_mobilenet_v3_large"
    """lraspp_mobilenet_v3_large, lraspp_mobilenet_v3_small, or an architecture of segmentation-models-pytorch such as Unet."""
    encoder: str = ""
    """Encoder of a segmentation-models-pytorch architecture, such as resnet18 or tu-mobilenetv3_large_100; empty takes resnet34, for DPT
    a small vision transformer."""
    channels_in: Literal[1, 3] = 3
    """Colour channels the network sees: 3 for RGB, 1 for grey."""
    weights: str = "none"
    """none: random start; imagenet: pretrained backbone, downloaded once; or a file: a checkpoint of ours or a backbone's state dict."""

    def __post_init__(self) -> None:
        _refuse_wrong_kinds(self)


@dataclass(frozen=True, kw_only=True)
class FitRecipe:
    """How the network is trained."""

    epochs: int = 30
    """Passes over the training pictures."""
    minutes: float = 0.0
    """Plan the run to fit into this many minutes of training instead of counting epochs; 0 counts epochs."""
    batch_size: int = 8
    """Pictures per optimiser step."""
    lr: float = 2e-3
    """Peak learning rate of the one-cycle schedule."""
    weight_decay: float = 1e-2
    """Decoupled weight decay of AdamW; norms and biases have none."""
    loss: str = "auto"
    """auto: bce+dice for two classes, ce+dice for more; or one of bce, ce, dice, or a sum such as ce+dice."""
    label_smoothing: float = 0.0
    """Share of certainty taken from the true class in cross entropy, 0..0.5."""
    precision: Precision = "auto"
    """auto: FP16 autocast on CUDA, bfloat16 on a CPU where a short trial shows a gain, else FP32."""
    small_share: float = 0.0
    """First share of the run that trains at half the size, four times as fast, 0..0.9."""
    clip: float = 255.0
    """Largest gradient norm; larger ones are scaled down."""
    ema: float = 0.0
    """Decay of an exponential moving average of the weights that is what gets measured and kept; 0 switches it off."""
    patience: int = 10
    """Stop after this many checks without a better validation IoU; 0 never stops early."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        _refuse_wrong_kinds(self)
        _refuse(self.epochs < 1, f"--epochs must be at least 1, not {self.epochs}.")
        _refuse(self.minutes < 0, "--minutes must be positive, or 0 to count epochs.")
        _refuse(self.batch_size < 1, f"--batch-size must be at least 1, not {self.batch_size}.")
        _refuse(not 0.0 < self.lr < 100.0, f"--lr must be a positive number such as 0.002, not {self.lr}.")
        _refuse(self.weight_decay < 0, "--weight-decay must be 0 or more.")
        _refuse(not 0.0 <= self.label_smoothing <= 0.5, "--label-smoothing must be between 0 and 0.5.")
        _refuse(not 0.0 <= self.small_share <= 0.9, "--small-share is a share of the steps between 0 and 0.9.")
        _refuse(self.clip <= 0, "--clip must be positive.")
        _refuse(not 0.0 <= self.ema < 1.0, "--ema is a decay between 0 and 1, for example 0.99.")
        _refuse(not 0 <= self.seed < 2**32, f"--seed is a whole number from 0 to {2**32 - 1}, not {self.seed}.")
        _refuse(self.patience < 0, "--patience must be 0 or more.")


@dataclass(frozen=True, kw_only=True)
class RunRecipe:
    """Where it is computed, and what is shown and kept while it goes. Nothing here changes what is learnt."""

    device: Device = "auto"
    """auto: CUDA where there is one, else the CPU."""
    panels: int = 6
    """Validation pictures drawn as picture | truth | prediction after each check."""

    def __post_init__(self) -> None:
        _refuse_wrong_kinds(self)
        _refuse(self.panels < 0, "--panels must be 0 or more.")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All settings of one run."""

    name: str = "multiclass"
    data: DataRecipe = field(default_factory=DataRecipe)
    model: ModelRecipe = field(default_factory=ModelRecipe)
    fit: FitRecipe = field(default_factory=FitRecipe)
    run: RunRecipe = field(default_factory=RunRecipe)

    def __post_init__(self) -> None:
        _refuse_wrong_kinds(self)

    def to_dict(self) -> dict[str, Any]:
        """Nested plain dict."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Recipe:
        """Inverse of `to_dict`; absent keys keep their defaults.

        Raises:
            RecipeError: an unknown key (the nearest right one is named) or a value that is refused.
        """
        parts: dict[str, Any] = {}
        for key, value in raw.items():
            if key in PARTS:
                if not isinstance(value, dict):
                    raise RecipeError(f"In a recipe '{key}' holds settings by name, not {value!r}.")
                parts[key] = PARTS[key](**_known(PARTS[key], value, f"{key}."))
            else:
                parts.update(_known(cls, {key: value}, ""))
        return cls(**parts)

    def with_settings(self, **changes: Any) -> Recipe:
        """The same recipe with some settings replaced, each named as its flag (`epochs=5, width=320`).

        Raises:
            RecipeError: no part of a recipe has that setting, or its value is refused.
        """
        parts: dict[str, dict[str, Any]] = {}
        for key, value in changes.items():
            owner = next((part for part, kind in PARTS.items() if key in _names(kind)), None)
            if owner is None:
                raise RecipeError(_unknown(key, [n for kind in PARTS.values() for n in _names(kind)], ""))
            parts.setdefault(owner, {})[key] = value
        replaced = {part: dataclasses.replace(getattr(self, part), **values) for part, values in parts.items()}
        return dataclasses.replace(self, **replaced)


PARTS: dict[str, type[Any]] = {"data": DataRecipe, "model": ModelRecipe, "fit": FitRecipe, "run": RunRecipe}


def multiclass() -> Recipe:
    """Any number of classes at the data set's own size."""
    return Recipe(name="multiclass", fit=FitRecipe(small_share=0.5))


def binary() -> Recipe:
    """One thing against its background, at the data set's own size."""
    return Recipe(name="binary", fit=FitRecipe(small_share=0.5))


def card() -> Recipe:
    """Cards against their background: LR-ASPP at 480 wide x 640 high, strong variation."""
    return Recipe(
        name="card",
        data=DataRecipe(width=480, height=640, augment="strong"),
        model=ModelRecipe(model="lraspp_mobilenet_v3_large"),
        fit=FitRecipe(epochs=40, small_share=0.6),
    )


RECIPES: dict[str, Callable[[], Recipe]] = {"card": card, "binary": binary, "multiclass": multiclass}


def named_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        RecipeError: there is none; the nearest name is suggested.
    """
    if name not in RECIPES:
        raise RecipeError(_unknown(name, list(RECIPES), "recipe "))
    return RECIPES[name]()


def to_yaml(recipe: Recipe) -> str:
    """A recipe as YAML text, in the order of its fields."""
    import yaml

    return yaml.safe_dump(recipe.to_dict(), sort_keys=False)


def read_yaml(path: Path) -> Recipe:
    """A recipe from a YAML file.

    Raises:
        RecipeError: no such file, not YAML, or an unknown setting.
    """
    import yaml

    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:  # 2026-13-01 is a ValueError of PyYAML's
        raise RecipeError(
            f"{path} cannot be read as a recipe ({error}); print one with: segwright recipe card"
        ) from error
    if not isinstance(raw, dict):
        raise RecipeError(f"{path} holds no settings by name; print a recipe with: segwright recipe card")
    return Recipe.from_dict(raw)


def _names(kind: type[Any]) -> list[str]:
    return [f.name for f in dataclasses.fields(kind)]


def _known(kind: type[Any], values: dict[str, Any], prefix: str) -> dict[str, Any]:
    for key in values:
        if key not in _names(kind):
            raise RecipeError(_unknown(f"{prefix}{key}", [f"{prefix}{n}" for n in _names(kind)], ""))
    return {key: _number_from_yaml(_kinds(kind)[key], value) for key, value in values.items()}


def _number_from_yaml(kind: Any, value: Any) -> Any:
    """YAML 1.1 reads 2e-3 as text, since it has no dot; people mean a number."""
    if kind is not float or not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value


def _kinds(part: type[Any]) -> dict[str, Any]:
    return get_type_hints(part)


def _refuse_wrong_kinds(part: Any) -> None:
    """Refuse values that are not what the field's annotation says, whether they came from a flag, YAML or a checkpoint."""
    for name, kind in _kinds(type(part)).items():
        value, flag = getattr(part, name), f"--{name.replace('_', '-')}"
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if get_origin(kind) is Literal:
            choices = get_args(kind)
            known = any(type(value) is type(choice) and value == choice for choice in choices)
            _refuse(not known, f"{flag} is one of {', '.join(map(str, choices))}, not {value!r}.")
        elif kind is float:
            _refuse(not number or not math.isfinite(value), f"{flag} is a number such as 0.5, not {value!r}.")
        elif kind is int:
            _refuse(not number or isinstance(value, float), f"{flag} is a whole number, not {value!r}.")
        else:
            _refuse(
                not isinstance(value, kind), f"{flag} is {'text' if kind is str else kind.__name__}, not {value!r}."
            )


def _unknown(key: str, known: list[str], kind: str) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(known)}."
    return f"There is no {kind or 'setting '}{key!r}; {hint}"


def _refuse(wrong: bool, message: str) -> None:
    if wrong:
        raise RecipeError(message)
