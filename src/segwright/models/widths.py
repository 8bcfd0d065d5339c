"""Widths: the shape of a pruned network as plain numbers, and how to make a freshly built network as narrow again.

Nothing of a pruned network is pickled. A checkpoint holds its tensors, the recipe of the plain network, and for each layer
that is narrower than the plain one the numbers that say so. Those who load it build the plain network and narrow it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import nn

from segwright.errors import ModelError

Widths: TypeAlias = dict[str, list[int]]
"""Layer's name -> its numbers: [out, in, groups] of a convolution, [out, in] of a linear layer, [channels] of a norm. Layers
that are as the plain network has them are not listed; an empty dict is the plain network."""

_Convolution = nn.Conv2d | nn.ConvTranspose2d
_BatchNorm = nn.modules.batchnorm._BatchNorm


def widths_of(network: nn.Module, plain: nn.Module) -> Widths:
    """What tells a pruned network from the plain one.

    Args:
        network: pruned; of the same architecture.
        plain: as its recipe builds it; its values do not matter.

    Raises:
        ModelError: they differ in something that widths cannot say, such as a free parameter.
    """
    layers, widths = dict(plain.named_modules()), Widths()
    for name, layer in network.named_modules():
        kind = _kind(layer)
        if kind is not None and (numbers := _NUMBERS[kind](layer)) != _NUMBERS[kind](layers[name]):
            widths[name] = numbers
    mine, theirs = network.state_dict(), plain.state_dict()
    for name, tensor in mine.items():
        if name not in theirs or (theirs[name].shape != tensor.shape and name.rpartition(".")[0] not in widths):
            raise ModelError(f"{name} of this network was pruned, and is no convolution, linear layer or norm.")
    return widths


def narrow(network: nn.Module, widths: Mapping[str, list[int]]) -> None:
    """Give layers their widths, in place; what they hold then is zero, since weights follow.

    Args:
        network: as its recipe builds it. One with `widths` of its own, as the catalogue's, is told.
        widths: from `widths_of`, maybe by way of a file that anybody may have written.

    Raises:
        ModelError: a layer that is not there, or numbers that it cannot have; none is wider than in the plain network.
    """
    layers = dict(network.named_modules())
    for name, numbers in widths.items():
        kind = _kind(layers[name]) if name in layers else None
        if kind is None:
            raise ModelError(f"its widths name a layer {name!r} that this network does not have; the file was changed.")
        whole = _NUMBERS[kind](layers[name])
        fits = len(numbers) == len(whole) and all(0 < n <= most for n, most in zip(numbers, whole, strict=True))
        if not fits or any(numbers[i] % numbers[-1] for i in range(len(numbers) - 1) if kind in _GROUPED):
            raise ModelError(
                f"its widths give the layer {name} {numbers}, which cannot be made from {whole}; the file was changed."
            )
        _RESIZE[kind](layers[name], numbers)
    network.widths = {name: list(numbers) for name, numbers in widths.items()}  # type: ignore[assignment]


def widths_from(raw: Any) -> Widths:
    """Widths out of JSON.

    Raises:
        ValueError: not what `widths_of` makes.
    """
    if not isinstance(raw, dict) or not all(
        isinstance(numbers, list) and all(type(n) is int for n in numbers) for numbers in raw.values()
    ):
        raise ValueError("its widths are not lists of whole numbers by layer")
    return {str(name): list(numbers) for name, numbers in raw.items()}


def _kind(layer: nn.Module) -> type[nn.Module] | None:
    """The class in the tables below that a layer is of; timm and smp derive their own from them."""
    return next((kind for kind in _NUMBERS if isinstance(layer, kind)), None)


def _convolution_numbers(layer: Any) -> list[int]:
    return [layer.out_channels, layer.in_channels, layer.groups]


_NUMBERS: dict[type[nn.Module], Callable[[Any], list[int]]] = {
    nn.Conv2d: _convolution_numbers,
    nn.ConvTranspose2d: _convolution_numbers,
    nn.Linear: lambda layer: [layer.out_features, layer.in_features],
    _BatchNorm: lambda layer: [layer.num_features],
    nn.LayerNorm: lambda layer: [int(size) for size in layer.normalized_shape],
    nn.GroupNorm: lambda layer: [layer.num_channels, layer.num_groups],
}


_GROUPED = {nn.Conv2d, nn.ConvTranspose2d, nn.GroupNorm}
"""Kinds whose last number is one of groups, which divides the others."""


def _resize_convolution(layer: _Convolution, numbers: list[int]) -> None:
    layer.out_channels, layer.in_channels, layer.groups = out, taken, groups = numbers
    first = (taken, out // groups) if isinstance(layer, nn.ConvTranspose2d) else (out, taken // groups)
    _zero(layer, "weight", *first, *layer.kernel_size)
    _zero(layer, "bias", out)


def _resize_linear(layer: nn.Linear, numbers: list[int]) -> None:
    layer.out_features, layer.in_features = numbers
    _zero(layer, "weight", *numbers)
    _zero(layer, "bias", numbers[0])


def _resize_batch_norm(layer: nn.modules.batchnorm._BatchNorm, numbers: list[int]) -> None:
    (layer.num_features,) = numbers
    for name in ("weight", "bias", "running_mean", "running_var"):
        _zero(layer, name, *numbers)


def _resize_layer_norm(layer: nn.LayerNorm, numbers: list[int]) -> None:
    layer.normalized_shape = tuple(numbers)
    for name in ("weight", "bias"):
        _zero(layer, name, *numbers)


def _resize_group_norm(layer: nn.GroupNorm, numbers: list[int]) -> None:
    layer.num_channels, layer.num_groups = numbers
    for name in ("weight", "bias"):
        _zero(layer, name, numbers[0])


_RESIZE: dict[type[nn.Module], Callable[[Any, list[int]], None]] = {
    nn.Conv2d: _resize_convolution,
    nn.ConvTranspose2d: _resize_convolution,
    nn.Linear: _resize_linear,
    _BatchNorm: _resize_batch_norm,
    nn.LayerNorm: _resize_layer_norm,
    nn.GroupNorm: _resize_group_norm,
}


def _zero(layer: nn.Module, name: str, *shape: int) -> None:
    """Replace a parameter or buffer, where the layer has it, by zeros of another shape on the same device."""
    old = getattr(layer, name)
    if isinstance(old, nn.Parameter):
        setattr(layer, name, nn.Parameter(old.data.new_zeros(shape), requires_grad=old.requires_grad))
    elif isinstance(old, torch.Tensor):
        setattr(layer, name, old.new_zeros(shape))
