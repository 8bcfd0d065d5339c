"""Structured pruning: take whole channels out of a network, and of everything tied to them, so that it is really smaller.

torch-pruning's dependency graph finds what is tied: an addition ties the two maps it adds, a depthwise convolution its input
and output, squeeze-and-excitation the map that it weighs. How many channels go is decided here: widths stay multiples that
vector units like, where torch-pruning would round a narrow layer down to nothing and then leave it whole.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from segwright.errors import MissingExtraError, ModelError, RecipeError
from segwright.models.catalogue import Network, build, canonical
from segwright.models.widths import widths_of
from segwright.recipe import ModelRecipe

Importance = Literal["magnitude", "bn", "taylor"]

ROUND_TO = 8
"""Widths are multiples of this, where the plain ones are at least as wide."""
LEAST_SHARE = 0.1
"""Smallest share of its channels that a layer is asked to keep."""
TRACED_SIDE = 32
"""Side of the picture that the graph is traced with, at least; it decides no width."""

UNTRACEABLE = {"MAnet": "its attention ties every place of a map to every other, and following that takes hours"}
"""Architectures that are refused at once, and why."""

ENCODER = "body.encoder"
"""Where smp keeps what reads the picture."""


@dataclass(frozen=True)
class Pruned:
    """What came out."""

    network: Network
    """In evaluation mode, with `widths`; the weights that are left are those of before."""
    kept_whole: str
    """Empty, or why the encoder was left as wide as it was."""


def pruned(
    network: Network,
    recipe: ModelRecipe,
    channels_out: int,
    share: float,
    *,
    importance: Importance = "magnitude",
    gradients: Mapping[str, torch.Tensor] | None = None,
) -> Pruned:
    """A narrower copy of a network, proven to be rebuilt exactly from its widths and weights.

    Args:
        network: on the CPU; left as it is; may be pruned already.
        recipe: that the plain network is built from.
        channels_out: logits per pixel; the layers that give them keep their width.
        share: of the channels of every other layer that are kept, above 0 to 1.
        importance: what is kept: "magnitude", the channels with the largest weights in all layers tied to them; "bn", those
            with the largest batch-norm scales; "taylor", those without which the loss would change most.
        gradients: of the loss by the parameters, for "taylor".

    Raises:
        MissingExtraError: torch-pruning is not installed.
        ModelError: this architecture cannot be pruned; the message says why.
        RecipeError: a share that is none.
    """
    if not 0.0 < share <= 1.0:
        raise RecipeError(f"The share of the channels to keep is above 0 and at most 1, not {share}.")
    require_possible(recipe)
    encoder = [layer for name, layer in network.named_modules() if name.startswith(ENCODER)]
    reasons: list[str] = []
    # In the code of a transformer the sizes of its heads are written out; what reads it is pruned all the same.
    for spared in (set(), set(encoder)) if encoder else (set(),):
        try:
            smaller = _thinned(network, channels_out, share, importance, gradients or {}, spared)
            return Pruned(_rebuilt(smaller, recipe, channels_out), reasons[0] if reasons else "")
        except (
            Exception
        ) as error:  # the graph, and foreign code with channels taken out of it, fail in any way there is
            reasons.append(" ".join(str(error).split())[:160].rstrip(".") or type(error).__name__)
    raise ModelError(f"{recipe.model} cannot be pruned ({reasons[-1]}); choose another --model.")


def prunes(recipe: ModelRecipe, channels_out: int = 5, share: float = 0.5) -> str:
    """Whether an architecture can be pruned, tried on random weights.

    Args:
        recipe: names it.
        channels_out: logits per pixel.
        share: of the channels that are kept.

    Returns:
        "yes", "but for the encoder (reason)", or "no (reason)".

    Raises:
        MissingExtraError: torch-pruning is not installed.
        RecipeError: the network cannot even be built.
    """
    network = build(recipe, channels_out, load_weights=False)
    try:
        found = pruned(network, recipe, channels_out, share)
    except ModelError as error:
        return f"no ({error})"
    if not found.network.widths:
        return "no (no layer of it has channels that could go)"
    return f"but for the encoder ({found.kept_whole})" if found.kept_whole else "yes"


def _thinned(
    network: Network,
    channels_out: int,
    share: float,
    importance: Importance,
    gradients: Mapping[str, torch.Tensor],
    spared: set[nn.Module],
) -> Network:
    """A copy with channels taken out."""
    tp = require_library()
    places = {id(layer): name for name, layer in network.named_modules()}
    smaller = copy.deepcopy(network).eval()
    layers = dict(smaller.named_modules())
    for name, weights in smaller.named_parameters():
        weights.requires_grad_(True)  # the graph is read off the gradient functions
        if importance == "taylor":  # a part that is not used has no gradient, and no importance
            weights.grad = gradients[name].clone() if name in gradients else torch.zeros_like(weights)
    side = max(TRACED_SIDE, network.least_side)
    answering = _answering(smaller, channels_out, side)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice about parameters that stand alone; whether they fit is tried below
        graph = tp.DependencyGraph().build_dependency(smaller, example_inputs=torch.rand(1, 3, side, side))
    _untie_gates(graph)
    score_of = _importance(tp, importance)
    going = []
    ignored = [*answering, *(layers[places[id(layer)]] for layer in spared)]
    for group in graph.get_all_groups(ignored_layers=ignored, root_module_types=(nn.modules.conv._ConvNd, nn.Linear)):
        score = score_of(group)
        if score is None:  # no batch norm in it
            score = tp.importance.GroupMagnitudeImportance(p=2)(group)
        parts = max(_parts(dependency.target.module) for dependency, _ in group)
        each = score.view(parts, -1).mean(dim=0)  # every part of a grouped convolution must stay as wide as the others
        gone = each.argsort()[: len(each) - width_kept(len(each), share, max(ROUND_TO // parts, 1))].tolist()
        if gone:
            root = group[0].dep
            going.append((root.target.module, root.handler, [i + p * len(each) for p in range(parts) for i in gone]))
    for layer, how, channels in going:
        group = graph.get_pruning_group(layer, how, channels)
        if graph.check_pruning_group(group):
            group.prune()
    for weights in smaller.parameters():
        weights.grad = None
    return smaller


def width_kept(width: int, share: float, multiple: int = ROUND_TO) -> int:
    """Channels that stay.

    Args:
        width: there are now.
        share: to keep, 0..1.
        multiple: the answer is the nearest multiple of it, at least one of them; layers narrower than it keep any number.
    """
    if width < multiple:
        return max(round(width * share), 1)
    return min(max(int(width * share / multiple + 0.5), 1) * multiple, width)


def _rebuilt(smaller: Network, recipe: ModelRecipe, channels_out: int) -> Network:
    """The same network, made as a checkpoint is loaded.

    Raises:
        ModelError: it answers otherwise, or with another shape.
    """
    plain = build(recipe, channels_out, load_weights=False)
    made = build(recipe, channels_out, load_weights=False, widths=widths_of(smaller, plain)).eval()
    made.load_state_dict(smaller.state_dict())
    # Sides that differ, and none of them the traced one.
    images = torch.rand(2, 3, 160, 192, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before, after = smaller(images), made(images)
    if after.shape != (2, channels_out, *images.shape[2:]) or not torch.equal(before, after):
        raise ModelError("rebuilt from its widths it answers otherwise")
    return made


def _answering(network: Network, channels_out: int, side: int) -> list[nn.Module]:
    """The layers whose channels are the classes: where only one channel of the answer changes with one channel of theirs."""
    as_wide = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.out_channels == channels_out]
    if channels_out == 1:
        return list(as_wide)
    images = torch.rand(1, 3, side, side)

    def without_first(layer: nn.Module, given: Any, answer: torch.Tensor) -> torch.Tensor:
        return torch.cat([answer[:, :1] + 1.0, answer[:, 1:]], dim=1)

    found: list[nn.Module] = []
    with torch.no_grad():
        usual = network(images)
        for layer in as_wide:
            handle = layer.register_forward_hook(without_first)
            changed = (network(images) - usual).abs().amax(dim=(0, 2, 3))
            handle.remove()
            if changed[0] > 0 and not changed[1:].any():
                found.append(layer)
    return found


def _untie_gates(graph: Any) -> None:
    """Cut what ties layers with one channel to wider maps: an attention gate is laid over all of them alike."""
    single = {
        m
        for m in graph.module2node
        if (isinstance(m, nn.Conv2d) and m.out_channels == 1) or (isinstance(m, nn.BatchNorm2d) and m.num_features == 1)
    }
    for node in graph.module2node.values():
        node.dependencies = [
            tie
            for tie in node.dependencies
            if not (tie.source.module in single and graph.is_out_channel_pruning_fn(tie.trigger))
            and not (tie.target.module in single and graph.is_out_channel_pruning_fn(tie.handler))
        ]


def _parts(layer: nn.Module) -> int:
    """Groups whose channels must go alike; a depthwise convolution is tied channel by channel already."""
    if isinstance(layer, nn.GroupNorm):
        return layer.num_groups
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and layer.groups < max(layer.out_channels, layer.in_channels):
        return layer.groups
    return 1


def _importance(tp: Any, importance: Importance) -> Any:
    kinds = {
        "magnitude": lambda: tp.importance.GroupMagnitudeImportance(p=2),
        "bn": tp.importance.BNScaleImportance,
        "taylor": tp.importance.GroupTaylorImportance,
    }
    return kinds[importance]()


def require_possible(recipe: ModelRecipe) -> None:
    """Refuse before any work what cannot be pruned here.

    Args:
        recipe: of the network.

    Raises:
        MissingExtraError: torch-pruning is not installed.
        ModelError: an architecture whose ties cannot be followed.
    """
    require_library()
    if reason := UNTRACEABLE.get(canonical(recipe.model)):
        raise ModelError(f"{recipe.model} cannot be pruned ({reason}); choose another --model.")


def require_library() -> Any:
    """torch-pruning itself.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import torch_pruning
    except ImportError as error:
        raise MissingExtraError("torch-pruning", "prune") from error
    return torch_pruning
