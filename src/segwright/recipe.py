"""Recipe: every setting of a run as frozen dataclasses, and the named recipes as functions that return a whole one.

The sentence under each field is the help text of its flag. A recipe goes to and from a plain dict, is saved with its run
as YAML, and travels inside every checkpoint.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from segwright.errors import RecipeError

Fit = Literal["pad", "stretch"]
Level = Literal["none", "light", "medium", "strong"]
Precision = Literal["auto", "fp32", "fp16", "bf16"]
Device = Literal["auto", "cpu", "cuda"]
LayerRate = Literal["same", "relative"]
Strategy = Literal["auto", "ddp", "fsdp"]

LOGGERS = ("tensorboard", "csv", "wandb", "mlflow", "none")
Optimiser = Literal["adamw", "adam", "sgd"]
Schedule = Literal["onecycle", "cosine", "poly", "step", "plateau", "constant"]
Cache = Literal["ram", "disk", "none"]

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
    turn: bool = False
    """Turn pictures that lie across to the input a quarter turn counter-clockwise, so that landscape pictures fill a portrait
    input; predictions are turned back."""
    augment: str = "medium"
    """How strongly training pictures are varied: none, light, medium, strong, or a YAML file with ranges of your own."""
    mosaic: float = 0.0
    """Chance that a training picture is put together from parts of four, 0..1."""
    cutmix: float = 0.0
    """Chance that a rectangle of another picture, with its mask, is pasted into a training picture, 0..1."""
    mixup: float = 0.0
    """Chance that the pictures of a batch are blended in pairs and learnt with both masks, 0..1."""
    val_share: float = 0.15
    """Share of `train` set aside as `val` when the data set has no `val` of its own, 0..0.5."""
    mask_suffix: str = ""
    """What a mask's name has after its picture's stem, for example _mask for a.jpg and a_mask.png."""
    workers: int = -1
    """Processes that load pictures beside the training; -1 chooses."""
    cache: Cache = "ram"
    """Where decoded pictures are kept: ram: in memory; disk: in a memory-mapped file that all loading processes and later runs share;
    none: nowhere."""
    cache_gb: float = 2.0
    """Most gigabytes of decoded pictures that are kept, those for training and validation together; in memory the loading processes
    share them; 0 keeps none."""
    cache_dir: str = ""
    """Folder for what is kept on disk; empty takes the user's cache folder."""
    balance: float = 0.0
    """Even out rare classes by drawing their pictures more often, 0..1: classes in a smaller share of the pictures than this are drawn
    more often; 0 draws every picture once in a pass."""
    skip_bad: bool = False
    """Leave out pictures that turn out to be unreadable, and say which at the end, instead of stopping."""

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
        levels = get_args(Level)
        if self.augment not in levels and not self.augment.endswith((".yaml", ".yml")):
            raise RecipeError(_unknown(self.augment, levels, "--augment level ") + " A file of your own ends in .yaml.")
        for name in ("mosaic", "cutmix", "mixup"):
            chance = getattr(self, name)
            _refuse(not 0.0 <= chance <= 1.0, f"--{name} is a chance between 0 and 1, not {chance}.")
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
        _refuse(
            patch != 0 and self.turn,
            "--turn turns whole pictures to the input's shape, and --patch-size takes squares; use one of the two.",
        )
        _refuse(not 0.0 < self.val_share <= 0.5, f"--val-share is a share between 0 and 0.5, not {self.val_share}.")
        _refuse(self.workers < -1, "--workers is the number of loading processes, or -1 to choose.")
        _refuse(self.cache_gb < 0, "--cache-gb is a size in gigabytes, 0 or more.")
        _refuse(not 0.0 <= self.balance <= 1.0, f"--balance is a number between 0 and 1, not {self.balance}.")

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width) in pixels; (0, 0) means: not chosen yet."""
        return self.height, self.width


@dataclass(frozen=True, kw_only=True)
class ModelRecipe:
    """Which network."""

    model: str = "lraspp_mobilenet_v3_large"
    """lraspp_mobilenet_v3_large, lraspp_mobilenet_v3_small, UnetClassic, UnetAttention, or an architecture of
    segmentation-models-pytorch such as Unet; `segwright models` lists all."""
    encoder: str = ""
    """Encoder of a segmentation-models-pytorch architecture, such as resnet18 or tu-mobilenetv3_large_100; empty takes resnet34, for DPT
    a small vision transformer."""
    channels_in: Literal[1, 3] = 3
    """Colour channels the network sees: 3 for RGB, 1 for grey."""
    weights: str = "none"
    """none: random start; imagenet: pretrained backbone, downloaded once; or a file: a checkpoint of ours or a backbone's state dict,
    of which whatever fits is taken."""
    load_model: str = ""
    """Start from all weights of a run folder, a checkpoint of ours or a whole state dict; every tensor must fit."""
    padding: Literal[0, 1] = 1
    """UnetClassic and UnetAttention: 1 fills the border of every convolution with zeros; 0 is the paper's valid network, which sees a
    mirrored border of 92 pixels instead."""
    no_batch_norm: bool = False
    """UnetClassic and UnetAttention: leave out the batch norm after each convolution, as the paper does."""
    base_channels: int = 0
    """UnetClassic and UnetAttention: channels of the first level, doubled at each of the four below; 0 takes the paper's 64."""

    def __post_init__(self) -> None:
        _refuse_wrong_kinds(self)
        _refuse(not 0 <= self.base_channels <= 512, "--base-channels is a number from 1 to 512, or 0 for 64.")
        _refuse(
            bool(self.load_model) and self.weights != "none",
            f"--load-model brings every weight, so --weights {self.weights} would have nothing to do; leave one of them out.",
        )


@dataclass(frozen=True, kw_only=True)
class FitRecipe:
    """How the network is trained."""

    epochs: int = 30
    """Passes over the training pictures."""
    minutes: float = 0.0
    """Plan the run to fit into this many minutes of training instead of counting epochs; 0 counts epochs."""
    batch_size: int = 8
    """Pictures that each device computes at once."""
    accumulate: int = 1
    """Batches whose gradients are added up before the weights move: batches as large as several without their memory."""
    lr: float | Literal["auto"] = 2e-3
    """Peak learning rate of the schedule; auto tries rising ones on a copy of the network first and keeps the curve."""
    layer_lr: LayerRate = "same"
    """same: every layer learns at --lr; relative: each in proportion to the size of its weights at the start, and at --lr
    where their root mean square is 0.05."""
    optimizer: Optimiser = "adamw"
    """adamw, adam, or sgd with Nesterov momentum."""
    momentum: float = 0.9
    """Momentum of sgd, 0..1."""
    adam_eps: float = 1e-8
    """Added to the denominator of adamw and adam; larger values calm steps whose gradients are tiny."""
    weight_decay: float = 1e-2
    """Weight decay, decoupled in adamw and part of the gradient in adam and sgd; norms, biases and other vectors have none."""
    schedule: Schedule = "onecycle"
    """How the learning rate falls after the warm-up: along a cosine, a power of 0.9, two steps, or by plateaus of the validation IoU."""
    warm_up: float = 0.1
    """First share of the run in which the learning rate rises to its peak, 0..0.9."""
    plateau_checks: int = 4
    """With --schedule plateau: checks without a better validation IoU after which the learning rate falls."""
    plateau_factor: float = 0.3
    """With --schedule plateau: what the learning rate is multiplied by when it falls."""
    loss: str = "auto"
    """auto: bce+dice for two classes, ce+dice for more; or bce, ce, dice, focal, tversky, lovasz, boundary, or a sum: ce+0.5*lovasz."""
    class_weights: str = "none"
    """Weights of classes in ce, bce, focal and boundary: none, auto from their shares of the pixels, several (auto where there are more
    than two classes and the loss takes weights, else none), or numbers in class order: 1,2,0.5."""
    teacher: str = ""
    """Run folder or checkpoint whose answers are learnt beside the masks (distillation); it must tell the same classes apart."""
    teacher_share: float = 0.5
    """Share of the loss that is the difference from the teacher's answers instead of the masks, above 0 to 1."""
    label_smoothing: float = 0.0
    """Share of certainty taken from the true class in ce, bce and boundary, 0..0.5."""
    precision: Precision = "auto"
    """auto: FP16 autocast on CUDA, bfloat16 on a CPU where a short trial shows a gain, else FP32."""
    small_share: float = 0.0
    """First share of the run that trains at half the size, four times as fast, 0..0.9."""
    middle_share: float = 0.0
    """Share of the run, after the small one, that trains at three quarters of the size; both together at most 0.9."""
    clip: float = 255.0
    """Largest gradient norm; larger ones are scaled down."""
    ema: float = 0.0
    """Decay of an exponential moving average of the weights that is what gets measured and kept; 0 switches it off."""
    patience: int = 10
    """Stop after this many checks without a better validation IoU; 0 never stops early."""
    cool_down: int = 0
    """First epochs in which the best weights are not yet looked for and patience is not yet counted."""
    eval_step: int = 0
    """Check after every so many optimiser steps instead of after each epoch; 0 does not."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        _refuse_wrong_kinds(self)
        _refuse(self.epochs < 1, f"--epochs must be at least 1, not {self.epochs}.")
        _refuse(self.minutes < 0, "--minutes must be positive, or 0 to count epochs.")
        _refuse(self.batch_size < 1, f"--batch-size must be at least 1, not {self.batch_size}.")
        _refuse(self.accumulate < 1, f"--accumulate must be at least 1, not {self.accumulate}.")
        _refuse(
            self.lr != "auto" and not 0.0 < self.lr < 100.0,
            f"--lr must be a positive number such as 0.002, or auto, not {self.lr}.",
        )
        _refuse(not 0.0 <= self.momentum < 1.0, f"--momentum is a share between 0 and 1, not {self.momentum}.")
        _refuse(
            not 0.0 < self.adam_eps < 1.0, f"--adam-eps is a small positive number such as 1e-8, not {self.adam_eps}."
        )
        _refuse(
            not 0.0 <= self.warm_up <= 0.9, f"--warm-up is a share of the run between 0 and 0.9, not {self.warm_up}."
        )
        _refuse(self.plateau_checks < 1, "--plateau-checks must be at least 1.")
        _refuse(not 0.0 < self.plateau_factor < 1.0, "--plateau-factor is a number between 0 and 1, for example 0.3.")
        _refuse(
            self.class_weights not in {"none", "auto", "several"} and not _are_numbers(self.class_weights),
            f"--class-weights is none, auto, several, or numbers in the order of the classes such as 1,2,0.5, not {self.class_weights!r}.",
        )
        _refuse(self.weight_decay < 0, "--weight-decay must be 0 or more.")
        _refuse(
            not 0.0 < self.teacher_share <= 1.0,
            f"--teacher-share is a share above 0, at most 1, not {self.teacher_share}.",
        )
        _refuse(not 0.0 <= self.label_smoothing <= 0.5, "--label-smoothing must be between 0 and 0.5.")
        _refuse(not 0.0 <= self.small_share <= 0.9, "--small-share is a share of the steps between 0 and 0.9.")
        _refuse(
            self.middle_share < 0 or self.small_share + self.middle_share > 0.9,
            "--middle-share is a share of the steps, 0 or more; with --small-share it is at most 0.9.",
        )
        _refuse(self.clip <= 0, "--clip must be positive.")
        _refuse(not 0.0 <= self.ema < 1.0, "--ema is a decay between 0 and 1, for example 0.99.")
        _refuse(not 0 <= self.seed < 2**32, f"--seed is a whole number from 0 to {2**32 - 1}, not {self.seed}.")
        _refuse(self.patience < 0, "--patience must be 0 or more.")
        _refuse(self.eval_step < 0, "--eval-step is a number of optimiser steps, or 0 to check after each epoch.")
        _refuse(
            self.cool_down < 0 or (not self.minutes and self.cool_down >= self.epochs),
            f"--cool-down must be less than --epochs, which is {self.epochs}, or no weights would be kept.",
        )


@dataclass(frozen=True, kw_only=True)
class RunRecipe:
    """Where it is computed, and what is shown and kept while it goes."""

    device: Device = "auto"
    """auto: CUDA where there is one, else the CPU."""
    devices: int = 1
    """GPUs of each machine to train on, or processes on a CPU; -1 takes every GPU. Each takes --batch-size pictures."""
    nodes: int = 1
    """Machines that train together; start the same command on each, with torchrun or SLURM."""
    strategy: Strategy = "auto"
    """How several devices work together: ddp keeps the whole network on each, fsdp shares it out; auto takes ddp."""
    save_minutes: float = 5.0
    """What --resume needs is saved at checks, and this often between them; 0 saves after every step."""
    save_checkpoints: bool = False
    """Also keep the weights of every epoch, in checkpoints/."""
    panels: int = 6
    """Validation pictures drawn as picture | truth | prediction after each check, besides the worst four; 0 draws none."""
    logger: str = "tensorboard+csv"
    """Who is told how it goes: tensorboard, wandb, mlflow, several joined by +, or none; log.csv (csv) is always written."""

    def __post_init__(self) -> None:
        _refuse_wrong_kinds(self)
        _refuse(self.panels < 0, "--panels must be 0 or more.")
        _refuse(self.devices < 1 and self.devices != -1, "--devices must be at least 1, or -1 for every GPU.")
        _refuse(self.nodes < 1, "--nodes must be at least 1.")
        _refuse(self.save_minutes < 0, "--save-minutes must be 0 or more.")
        self.loggers  # noqa: B018 - refuses what it does not know

    @property
    def loggers(self) -> tuple[str, ...]:
        """Who is told besides log.csv, each once, in the order given.

        Raises:
            RecipeError: a name nobody has; the nearest is suggested.
        """
        said = [name.strip().lower() for name in self.logger.replace(",", "+").split("+")]
        for name in said:
            _refuse(name not in LOGGERS, _unknown(name, list(LOGGERS), "logger "))
        _refuse("none" in said and len(set(said)) > 1, f"--logger {self.logger} says none and some; say one of both.")
        return tuple(name for name in dict.fromkeys(said) if name not in {"csv", "none"})


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
    return Recipe(name="multiclass", fit=dataclasses.replace(_steady(), class_weights="several"))


def binary() -> Recipe:
    """One thing against its background, at the data set's own size."""
    return Recipe(name="binary", fit=_steady())


def _steady() -> FitRecipe:
    """For data and networks of all kinds, chosen by what they gave per minute (docs/log.md).

    A CPU computes four pictures at a time as fast as eight, and twice as many steps learn more in the same minutes.
    """
    return FitRecipe(batch_size=4, lr=1e-3, layer_lr="relative", small_share=0.35, middle_share=0.3)


def card() -> Recipe:
    """Cards against their background: LR-ASPP at 480 wide x 640 high, landscape pictures turned upright, strong variation."""
    return Recipe(
        name="card",
        data=DataRecipe(width=480, height=640, turn=True, augment="strong"),
        model=ModelRecipe(model="lraspp_mobilenet_v3_large"),
        fit=FitRecipe(epochs=40, lr=3e-3, small_share=0.45, middle_share=0.2, ema=0.99),
    )


def patches() -> Recipe:
    """Large pictures with fine detail, such as microscopy or aerial views: a wide network learns from them for long."""
    return Recipe(
        name="patches",
        data=DataRecipe(patch_size=928),
        model=ModelRecipe(model="UnetPlusPlus", encoder="resnext101_32x8d"),
        fit=FitRecipe(epochs=300, batch_size=8, weight_decay=1e-3),
    )


def person() -> Recipe:
    """People against their background, upright or across: LR-ASPP at 512 x 512, strong variation."""
    # In a square, pictures of 3:4 and of 4:3 both keep three quarters of the input; a frame of either shape would leave the
    # other with little over half.
    return Recipe(
        name="person",
        data=DataRecipe(width=512, height=512, augment="strong"),
        model=ModelRecipe(model="lraspp_mobilenet_v3_large"),
        fit=FitRecipe(epochs=60, small_share=0.6),
    )


RECIPES: dict[str, Callable[[], Recipe]] = {
    "card": card,
    "binary": binary,
    "multiclass": multiclass,
    "patches": patches,
    "person": person,
}


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
    try:
        return Recipe.from_dict(raw)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error


def _names(kind: type[Any]) -> list[str]:
    return [f.name for f in dataclasses.fields(kind)]


def _known(kind: type[Any], values: dict[str, Any], prefix: str) -> dict[str, Any]:
    for key in values:
        if key not in _names(kind):
            raise RecipeError(_unknown_setting(str(key), kind, prefix))
    return {key: _number_from_yaml(_kinds(kind)[key], value) for key, value in values.items()}


def _unknown_setting(key: str, kind: type[Any], prefix: str) -> str:
    """As `_unknown`; the right name in the wrong part of a recipe is sent to its own."""
    # Names are compared without their part's, in which all of them would resemble each other.
    own = {name: f"{prefix}{name}" for name in _names(kind)}
    others = {name: f"{part}.{name}" for part, other in PARTS.items() for name in _names(other)}
    near = [key] if key in others else []
    for names in (own, others):
        near = near or difflib.get_close_matches(key, names, n=1, cutoff=0.6)
    hint = f"did you mean {(others | own)[near[0]]}?" if near else f"choose from {', '.join(own.values())}."
    return f"There is no setting '{prefix}{key}'; {hint}"


def _number_from_yaml(kind: Any, value: Any) -> Any:
    """YAML 1.1 reads 2e-3 as text, since it has no dot; people mean a number."""
    if float not in _choices(kind) or not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value


def _choices(kind: Any) -> tuple[Any, ...]:
    """The kinds that one annotation allows: `float | Literal["auto"]` allows two."""
    return get_args(kind) if isinstance(kind, UnionType) or get_origin(kind) is Union else (kind,)


def _are_numbers(text: str) -> bool:
    try:
        return all(math.isfinite(float(number)) for number in text.split(","))
    except ValueError:
        return False


def _kinds(part: type[Any]) -> dict[str, Any]:
    return get_type_hints(part)


def _refuse_wrong_kinds(part: Any) -> None:
    """Refuse values that are not what the field's annotation says, whether they came from a flag, YAML or a checkpoint."""
    for name, kind in _kinds(type(part)).items():
        value, flag = getattr(part, name), f"--{name.replace('_', '-')}"
        number = isinstance(value, int | float) and not isinstance(value, bool)
        words = [word for choice in _choices(kind) if get_origin(choice) is Literal for word in get_args(choice)]
        if float in _choices(kind) and words:
            _refuse(
                value not in words and (not number or not math.isfinite(value)),
                f"{flag} is a number such as 0.5, or {' or '.join(words)}, not {value!r}.",
            )
        elif get_origin(kind) is Literal:
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


def _unknown(key: str, known: Sequence[str], kind: str) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(known)}."
    return f"There is no {kind or 'setting '}{key!r}; {hint}"


def _refuse(wrong: bool, message: str) -> None:
    if wrong:
        raise RecipeError(message)
