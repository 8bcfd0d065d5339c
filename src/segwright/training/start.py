"""What must hold before the first step: weights to start from fit as a whole, and the network can learn from its batches."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch.func import functional_call

from segwright.checkpoint import Checkpoint, checkpoint_file, load
from segwright.classes import Classes
from segwright.errors import ModelError, RecipeError
from segwright.models.catalogue import Network, architecture
from segwright.models.weights import read_weights
from segwright.models.widths import narrow
from segwright.recipe import ModelRecipe

MOST_NAMED = 6
"""Tensors that do not fit are named one by one up to this many; more would hide the sentence that says what to do."""

WRAPPERS = ("", "module.", "model.", "network.")
"""What may stand before every name of a state dict, left by what the network was wrapped in when it was saved."""


def load_start(network: Network, recipe: ModelRecipe, classes: Classes) -> None:
    """Take over all weights of `recipe.load_model`, if it names any.

    Args:
        network: gets the weights, and the widths of a pruned checkpoint; left as it was when they do not fit.
        recipe: that the network was built from.
        classes: of the data, to say when another number of them is why the weights do not fit.

    Raises:
        ModelError: nothing there, damaged, or some tensors do not fit; they are named with both shapes.
    """
    if not recipe.load_model:
        return
    path = Path(recipe.load_model)
    file = checkpoint_file(path) if path.is_dir() else path
    made = load(file) if _is_ours(file) else None
    if made and architecture(made.recipe.model) == architecture(recipe) and made.classes.channels == classes.channels:
        narrow(network, made.widths)
    own = network.state_dict()
    weights = _named_alike(made.weights if made else read_weights(file), own)
    wrong = _misfits(weights, own)
    if wrong:
        more = f"; and {len(wrong) - MOST_NAMED} more" if len(wrong) > MOST_NAMED else ""
        raise ModelError(
            f"{file} does not fit {recipe.model}{_because(made, recipe, classes)}: {'; '.join(wrong[:MOST_NAMED])}{more}. "
            "To copy only what fits, use --weights in place of --load-model."
        )
    network.load_state_dict(weights)


def _is_ours(file: Path) -> bool:
    """Whether a file is a checkpoint with everything in it, rather than somebody's tensors."""
    from safetensors import SafetensorError, safe_open

    if file.suffix != ".safetensors" or not file.is_file():
        return False
    try:
        with safe_open(file, "pt") as opened:
            return "segwright" in (opened.metadata() or {})
    except (SafetensorError, OSError):
        return False  # `read_weights` says what is wrong with it


def _named_alike(weights: dict[str, torch.Tensor], own: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors under the network's names: a wrapper's name taken off all of them, `body.` put before them."""

    def renamed(wrapper: str, prefix: str) -> dict[str, torch.Tensor]:
        return {prefix + name.removeprefix(wrapper): tensor for name, tensor in weights.items()}

    ways = [renamed(wrapper, prefix) for wrapper in WRAPPERS for prefix in ("", "body.")]
    # Two names can only become one if a file holds both a wrapped and a plain tensor: then nothing is renamed.
    return max((way for way in ways if len(way) == len(weights)), key=lambda way: len(way.keys() & own.keys()))


def _misfits(weights: dict[str, torch.Tensor], own: dict[str, torch.Tensor]) -> list[str]:
    """Everything that keeps `weights` from being taken whole: other shapes first, then what is missing, then what is over."""
    shapes = [
        f"{name} is {_shape(weights[name])} in the file and {_shape(tensor)} in the network"
        for name, tensor in own.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    missing = [f"{name} ({_shape(tensor)}) is not in the file" for name, tensor in own.items() if name not in weights]
    over = [f"{name} ({_shape(tensor)}) is not in the network" for name, tensor in weights.items() if name not in own]
    return shapes + missing + over


def _because(made: Checkpoint | None, recipe: ModelRecipe, classes: Classes) -> str:
    """Why a checkpoint does not fit, where it says so itself."""
    if made is None:
        return ""
    theirs, ours = architecture(made.recipe.model), architecture(recipe)
    if theirs != ours:
        same = ours["model"] == theirs["model"]
        # Of another model, what it has by default need not be said.
        known = ours if same else architecture(ModelRecipe(model=theirs["model"])) | {"model": ours["model"]}
        flags = " ".join(_flag(key, value) for key, value in theirs.items() if known.get(key) != value)
        return f", being a checkpoint of another architecture ({flags})"
    if made.classes.channels != classes.channels:
        return f", since it was trained for {len(made.classes)} classes and this data has {len(classes)}"
    return ""


def _flag(key: str, value: object) -> str:
    flag = f"--{key.replace('_', '-')}"
    return f"{flag} {value}" if not isinstance(value, bool) else flag if value else f"without {flag}"


def _shape(tensor: torch.Tensor) -> str:
    return "x".join(str(n) for n in tensor.shape) or "one number"


def refuse_lonely_batch(
    network: Network, recipe: ModelRecipe, *, batch_size: int, pictures: int, sizes: Iterable[tuple[int, int]]
) -> None:
    """Refuse batches of one picture where a batch norm would be left with a single value per channel.

    That is the case after global pooling, and wherever a small picture has shrunk to one pixel: the mean is then the value
    itself, every difference is 0, and PyTorch stops. The network is asked itself, with tensors that have no content.

    Args:
        network: on any device; weights and statistics are left as they are.
        recipe: that it was built from.
        batch_size: asked for.
        pictures: to learn from.
        sizes: (height, width) of the inputs of the run.

    Raises:
        RecipeError: it cannot learn from one picture at a time.
    """
    if min(batch_size, pictures) > 1:
        return
    hollow = {
        name: torch.empty_like(tensor, device="meta")
        for name, tensor in (*network.named_parameters(), *network.named_buffers())
    }
    was_training = network.training
    network.train()
    try:
        for height, width in sorted(set(sizes)):
            with torch.no_grad():
                functional_call(network, hollow, (torch.empty(1, 3, height, width, device="meta"),))
    except (ValueError, RuntimeError) as error:
        if "more than 1 value per channel" not in str(error):
            return  # a network that cannot be asked like this; the training itself will show
        way_out = (
            "use --batch-size 2 or more"
            if pictures > 1
            else "there is only one to learn from, so add pictures or choose another --model, such as lraspp_mobilenet_v3_large"
        )
        raise RecipeError(
            f"{recipe.model} cannot learn from one picture of {width}x{height} at a time, because a batch norm in it would see "
            f"a single value per channel; {way_out}."
        ) from error
    finally:
        network.train(was_training)
