"""From a name to a network, ours or of segmentation-models-pytorch: LR-ASPP, U-Nets and more; normalisation comes first."""

from __future__ import annotations

import dataclasses
import difflib
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from segwright.errors import ModelError, RecipeError
from segwright.models.lraspp import LRASPP
from segwright.models.unet import BASE_CHANNELS, UNet
from segwright.models.weights import copy_matching, no_file, read_weights
from segwright.models.widths import Widths, narrow
from segwright.recipe import SIZE_MULTIPLE, ModelRecipe

# ImageNet statistics of RGB pictures scaled to 0..1, as used by torchvision's and timm's pretrained backbones.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
LUMA = (0.299, 0.587, 0.114)
"""Weights of R, G, B in grey (ITU-R BT.601)."""

DEFAULT_ENCODER = "resnet34"
DEFAULT_ENCODERS = {"DPT": "tu-vit_tiny_patch16_224"}
"""DPT takes vision transformers only."""

LEAST_SIDES = {"PAN": 128}
"""PAN pools its deepest map three times, and nothing is left of it below this size."""


def normalised(images: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """(images - mean) / std, on a CPU in a third of the time where the channels lie beside each other.

    PyTorch then works through three numbers at a time; whole rows against a repeated mean give the same bits. Bytes need one
    sweep less: a 255th of them is never written down, and the answer differs in the last bit.

    Args:
        images: (B, C, H, W) float, or uint8 for 255 times as much.
        mean: (1, C, 1, 1).
        std: (1, C, 1, 1).

    Returns:
        (B, C, H, W) float, of images that are uint8 float32.
    """
    raw = images.dtype == torch.uint8
    together = images.device.type == "cpu" and not torch.compiler.is_compiling() and images.shape[1] > 1
    if not (together and images.is_contiguous(memory_format=torch.channels_last)):
        return ((images.float() / 255.0 if raw else images) - mean) / std
    batch, channels, height, width = images.shape
    rows = images.permute(0, 2, 3, 1).reshape(batch, height, width * channels)
    if raw:
        factor, offset = 1.0 / (255.0 * std.flatten()), -mean.flatten() / std.flatten()
        rows = rows.float()
        torch.addcmul(offset.repeat(width), rows, factor.repeat(width), out=rows)
    else:
        rows = (rows - mean.flatten().repeat(width)).div_(std.flatten().repeat(width))
    return rows.view(batch, height, width, channels).permute(0, 3, 1, 2)


class Network(nn.Module):
    """What every builder returns: images 0..1 (or bytes 0..255) in, logits of the same size out.

    Normalises (and turns RGB into grey for one-channel bodies) and pads sides that the body cannot take.

    Args:
        body: module from normalised images (B, channels_in, H, W) to logits (B, channels_out, H, W).
        channels_in: 1 or 3, what the body sees.
        multiple: both sides are padded to multiples of this by repeating the border, and the answer is cut back.
        least_side: sides below this are padded to it likewise; a multiple of `multiple`, or 0 for none.
    """

    mean: torch.Tensor
    std: torch.Tensor
    luma: torch.Tensor

    def __init__(self, body: nn.Module, channels_in: int, multiple: int = SIZE_MULTIPLE, least_side: int = 0) -> None:
        super().__init__()
        self.body = body
        self.channels_in = channels_in
        self.multiple = multiple
        self.least_side = least_side
        self.widths: Widths = {}
        """Of the layers that were pruned."""
        grey = channels_in == 1
        mean, std = ((sum(MEAN) / 3,), (sum(STD) / 3,)) if grey else (MEAN, STD)
        # Not persistent: constants of the code, not of the training; pruned or foreign weights never miss them.
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("luma", torch.tensor(LUMA).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of every pixel.

        Args:
            images: (B, 3, H, W), RGB: float 0..1, or uint8 0..255, which is quicker on a CPU.

        Returns:
            (B, channels_out, H, W).
        """
        if self.channels_in == 1:
            images = images.float() / 255.0 if images.dtype == torch.uint8 else images
            images = (images * self.luma).sum(dim=1, keepdim=True)
        height, width = images.shape[-2:]
        below, right = -height % self.multiple, -width % self.multiple
        if self.least_side:
            below, right = max(below, self.least_side - height), max(right, self.least_side - width)
        images = normalised(images, self.mean, self.std)
        if below or right:
            images = F.pad(images, (0, right, 0, below), mode="replicate")
        logits: torch.Tensor = self.body(images)
        return logits[..., :height, :width] if below or right else logits


def _lraspp(recipe: ModelRecipe, channels_out: int, pretrained: bool) -> nn.Module:
    body = LRASPP("large" if recipe.model.endswith("large") else "small", channels_out)
    if recipe.channels_in == 1:
        first = body.backbone["0"][0]
        body.backbone["0"][0] = nn.Conv2d(
            1, first.out_channels, first.kernel_size, first.stride, first.padding, bias=False
        )
    if pretrained:
        if recipe.channels_in == 1:
            raise RecipeError(
                "ImageNet weights of MobileNetV3 see three channels; use --channels-in 3 or --weights none."
            )
        from torchvision.models import MobileNet_V3_Large_Weights, MobileNet_V3_Small_Weights

        weights: Any = MobileNet_V3_Large_Weights if recipe.model.endswith("large") else MobileNet_V3_Small_Weights
        copy_matching(body, weights.DEFAULT.get_state_dict(progress=True, check_hash=True), "ImageNet weights")
    return body


def _unet(recipe: ModelRecipe, channels_out: int, pretrained: bool) -> nn.Module:
    if pretrained:
        raise RecipeError(
            f"{recipe.model} has no backbone that ImageNet weights were made for; use --weights none, or --model Unet."
        )
    return UNet(
        recipe.channels_in,
        channels_out,
        base_channels=recipe.base_channels or BASE_CHANNELS,
        padding=recipe.padding,
        batch_norm=not recipe.no_batch_norm,
        attention=recipe.model == "UnetAttention",
    )


def _smp(recipe: ModelRecipe, channels_out: int, pretrained: bool) -> nn.Module:
    import segmentation_models_pytorch as smp

    encoder = architecture(recipe)["encoder"]
    _require_encoder(encoder)
    # Its client retries for half a minute and logs every try; our own sentence says it once.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)

    def made(**options: Any) -> nn.Module:
        body: nn.Module = smp.create_model(
            recipe.model,
            encoder_name=encoder,
            encoder_weights="imagenet" if pretrained else None,
            in_channels=recipe.channels_in,
            classes=channels_out,
            **options,
        )
        return body

    try:
        if recipe.model == "DPT":
            # A vision transformer keeps to one size unless told to interpolate its positions; others know no such option.
            with suppress(TypeError):
                return made(dynamic_img_size=True)
        return made()
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError, NotImplementedError) as error:
        said = str(error).strip("'\"").splitlines()[0][:300] if str(error) else type(error).__name__
        raise RecipeError(
            f"{recipe.model} cannot be built with the encoder {encoder!r} ({said}); choose another --encoder."
        ) from error


def _require_encoder(name: str) -> None:
    import segmentation_models_pytorch as smp

    known = smp.encoders.get_encoder_names()
    if name in known or name.startswith("tu-"):
        return
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    hint = (
        f"did you mean {' or '.join(near)}?"
        if near
        else "segmentation-models-pytorch lists its encoders, timm's begin with tu-."
    )
    raise RecipeError(f"There is no encoder {name!r}; {hint}")


def require_possible(recipe: ModelRecipe) -> None:
    """Refuse before any work what `build` would refuse after reading the data.

    Raises:
        RecipeError: unknown model, or a setting that it does not have.
        ModelError: a file to start from does not exist.
    """
    _require_own_settings(canonical(recipe.model), recipe)
    if recipe.load_model and not Path(recipe.load_model).exists():
        raise ModelError(
            f"{recipe.load_model}, from which --load-model should start, does not exist; check the path, or use "
            "--load-model-if-exists, which starts without it."
        )
    if recipe.weights not in {"none", "imagenet"} and not Path(recipe.weights).is_file():
        raise no_file(Path(recipe.weights))


def _require_own_settings(name: str, recipe: ModelRecipe) -> None:
    """Refuse settings that the named model would silently ignore."""
    known, defaults = SETTINGS.get(BUILDERS[name]), ModelRecipe()
    for setting in (setting for owned in SETTINGS.values() for setting in owned):
        default = getattr(defaults, setting)
        if known is None or setting in known or getattr(recipe, setting) == default:
            continue
        owners = [other for other, builder in BUILDERS.items() if setting in SETTINGS.get(builder, ())]
        listed = ", ".join(owners[:3]) + (" and others" if len(owners) > 3 else "")
        raise RecipeError(
            f"{name} has no setting --{setting.replace('_', '-')} (that is for {listed}); "
            f"leave it at {default!r}, or choose another --model."
        )


BUILDERS: Mapping[str, Callable[[ModelRecipe, int, bool], nn.Module]] = {
    "lraspp_mobilenet_v3_large": _lraspp,
    "lraspp_mobilenet_v3_small": _lraspp,
    "UnetClassic": _unet,
    "UnetAttention": _unet,
} | dict.fromkeys(
    (
        "Unet",
        "UnetPlusPlus",
        "MAnet",
        "Linknet",
        "FPN",
        "PSPNet",
        "DeepLabV3",
        "DeepLabV3Plus",
        "PAN",
        "UPerNet",
        "Segformer",
        "DPT",
    ),
    _smp,
)
"""Every network by its name; the contract tests run over this table."""

SETTINGS: Mapping[Callable[[ModelRecipe, int, bool], nn.Module], tuple[str, ...]] = {
    _lraspp: (),
    _unet: ("padding", "no_batch_norm", "base_channels"),
    _smp: ("encoder",),
}
"""Which fields of `ModelRecipe` only some models have."""


def build(
    recipe: ModelRecipe, channels_out: int, *, load_weights: bool = True, widths: Widths | None = None
) -> Network:
    """The network a recipe describes.

    Args:
        recipe: name, its own settings, channels and weights; `load_model` is training's (`training/start.py`).
        channels_out: logits per pixel, `Classes.channels`.
        load_weights: False builds the bare shape, for a checkpoint that brings its own weights.
        widths: of a pruned network, which brings its own weights too.

    Raises:
        RecipeError: unknown name, a setting it does not have, or an impossible combination.
        ModelError: the weights cannot be downloaded or do not fit, or the widths do not.
    """
    name = canonical(recipe.model)
    pretrained = load_weights and recipe.weights == "imagenet"
    if load_weights:  # older checkpoints may name settings that their model ignored
        _require_own_settings(name, recipe)
    try:
        body = BUILDERS[name](dataclasses.replace(recipe, model=name), channels_out, pretrained)
    except OSError as error:  # urllib, requests and the hub's client all raise relatives of OSError
        raise ModelError(
            f"The ImageNet weights for {name} could not be downloaded ({type(error).__name__}); "
            "start without them (--weights none) or name a file you have (--weights FILE)."
        ) from error
    multiple = body.multiple if isinstance(body, LRASPP | UNet) else SIZE_MULTIPLE
    network = Network(body, recipe.channels_in, multiple, least_side=LEAST_SIDES.get(name, 0))
    if load_weights and recipe.weights not in {"none", "imagenet"}:
        path = Path(recipe.weights)
        copy_matching(network, read_weights(path), str(path))
    narrow(network, widths or {})
    return network


def architecture(recipe: ModelRecipe) -> dict[str, Any]:
    """The settings that make the network, defaults filled in: equal ones give networks whose weights fit each other.

    Args:
        recipe: of any model, also one that is no longer known.
    """
    try:
        name = canonical(recipe.model)
    except RecipeError:
        return {"model": recipe.model}
    owned = SETTINGS.get(BUILDERS[name], ())
    made = {"model": name, "channels_in": recipe.channels_in} | {key: getattr(recipe, key) for key in owned}
    if "encoder" in made:
        made["encoder"] = made["encoder"] or DEFAULT_ENCODERS.get(name, DEFAULT_ENCODER)
    if "base_channels" in made:
        made["base_channels"] = made["base_channels"] or BASE_CHANNELS
    return made


def canonical(name: str) -> str:
    """The catalogue's spelling of a model name, whatever its case.

    Raises:
        RecipeError: unknown; the nearest name is suggested.
    """
    spelling = {known.lower(): known for known in BUILDERS}
    if name.lower() in spelling:
        return spelling[name.lower()]
    near = difflib.get_close_matches(name.lower(), list(spelling), n=1, cutoff=0.4)
    hint = f"did you mean {spelling[near[0]]}?" if near else f"choose from {', '.join(BUILDERS)}."
    raise RecipeError(f"There is no model {name!r}; {hint}")
