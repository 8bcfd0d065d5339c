"""When a step is not finite: keep all that made it, and compute it again, layer by layer, in any precision.

`keep` writes a folder: batch.safetensors (pictures, class maps, random state), weights.safetensors (the network before the
step), batch.png (what the batch looks like) and why.json (what was not finite, and every fact of the step). `replay` reads
it back. Nothing is pickled. Running statistics of batch norms are those after the forward pass that failed; a training
step does not read them. Dropout draws on a CPU what it drew in the run; on a GPU it draws anew.
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from segwright import __version__, render
from segwright.checkpoint import save_tensors
from segwright.classes import Classes
from segwright.data.loaders import Batch
from segwright.errors import ModelError
from segwright.models.catalogue import Network, build
from segwright.models.widths import widths_from
from segwright.outputs import folder_being_written, write_text
from segwright.recipe import Recipe
from segwright.training.losses import Sum, batch_loss, loss_of
from segwright.training.pace import Pace, computing

FOLDER = "nan"
"""In a run folder."""
MOST_SHOWN = 16
"""Pictures on the contact sheet."""


@dataclass(frozen=True)
class Layer:
    """What one layer answered, and what gradient came back to its answer."""

    name: str
    kind: str
    given: bool
    """Whether all it was given was finite."""
    finite: bool
    """Whether its answer is."""
    largest: float
    """Largest magnitude among the finite numbers of its answer."""


@dataclass
class Pass:
    """One forward and backward pass, watched."""

    precision: str
    loss: float
    parts: dict[str, float] = field(default_factory=dict)
    """Value of each part of the loss, before its factor."""
    layers: list[Layer] = field(default_factory=list)
    """In the order in which they answered."""
    gradient_norm: float | None = None
    """Of all weights together; None where only the forward pass was computed."""
    gradient_from: str = ""
    """Layer whose answer was the first to get a gradient that is not finite, walking back; empty if all was well."""

    @property
    def first(self) -> Layer | None:
        """The first layer whose answer is not finite."""
        return next((layer for layer in self.layers if not layer.finite), None)

    @property
    def finite(self) -> bool:
        """Whether nothing went wrong."""
        return self.first is None and math.isfinite(self.loss) and math.isfinite(self.gradient_norm or 0.0)

    def leading(self) -> list[Layer]:
        """The layers just before the first that is not finite, and that one; empty where all answers are finite."""
        place = next((number for number, layer in enumerate(self.layers) if not layer.finite), None)
        return [] if place is None else self.layers[max(place - 3, 0) : place + 1]

    def sentence(self) -> str:
        """What went wrong first, without the full stop."""
        loss = f"loss {_parts(self.parts) if len(self.parts) > 1 else _number(self.loss)}"
        if self.first is not None:
            whose = f"{self.first.name} ({self.first.kind})"
            where = f"the answer of {whose}" if self.first.given else f"something computed before {whose}"
            return f"{where} is the first thing that is not finite ({loss})"
        if not math.isfinite(self.loss):
            return f"the answers of all layers are finite and the loss is not ({loss})"
        if self.gradient_norm is None:
            return f"the answers of all layers are finite ({loss})"
        if not math.isfinite(self.gradient_norm):
            whose = f"at the answer of {self.gradient_from}" if self.gradient_from else "at a weight"
            return f"answers and loss are finite ({loss}); walking back, the gradient is first not finite {whose}"
        return f"all is finite ({loss}, gradient norm {self.gradient_norm:.3g})"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; numbers that are not finite become words."""
        return {
            "precision": self.precision,
            "loss": _number(self.loss),
            "parts": {name: _number(value) for name, value in self.parts.items()},
            "gradient_norm": None if self.gradient_norm is None else _number(self.gradient_norm),
            "gradient_from": self.gradient_from,
            "first": None if self.first is None else self.first.name,
            "said": self.sentence(),
            "layers": [
                {
                    "name": layer.name,
                    "kind": layer.kind,
                    "given_finite": layer.given,
                    "finite": layer.finite,
                    "largest": _number(layer.largest),
                }
                for layer in self.layers
            ],
        }


@dataclass(frozen=True)
class Replay:
    """A kept step, computed again."""

    folder: Path
    step: int
    lr: float
    keys: tuple[str, ...]
    found: str
    """What the run found, such as "the loss became nan"."""
    passes: tuple[Pass, ...]
    """In float32 and, where it differs, in the run's precision."""
    taught: bool = False
    """Whether a teacher had a part in the run's loss, which is not computed again."""

    def sentence(self) -> str:
        """Advice that follows from the passes."""
        exact, own = self.passes[0], self.passes[-1]
        if exact.finite and not own.finite:
            return (
                f"float32 is finite where {own.precision} is not; train with --precision fp32, or with a smaller --lr."
            )
        if not exact.finite:
            return (
                "float32 fails as well: either the weights had grown too far (look at the largest answers; a smaller --lr, "
                "a longer --warm-up or a smaller --clip helps), or something in this batch is out of the ordinary (see batch.png)."
            )
        if self.taught:
            return (
                "The step is finite without the teacher's part of the loss, which is not computed again: look at what the teacher "
                "makes of these pictures (see batch.png), or train without --teacher."
            )
        return (
            "The step is finite here; the machine, its libraries or its number of threads differ from those of the run."
        )


def watched(
    network: nn.Module, loss: Sum | Any, batch: Batch, pace: Pace, device: str, *, backward: bool = True
) -> Pass:
    """One training step without its end, with an eye on every layer.

    Args:
        network: in training mode; its weights stay, its running statistics move, its gradients are cleared.
        loss: as `build_loss` makes it.
        batch: on `device`.
        pace: precision.
        device: "cpu" or "cuda".
        backward: also differentiate.
    """
    layers: list[Layer] = []
    bad_gradients: list[str] = []
    names = {module: name for name, module in network.named_modules() if not list(module.children())}

    def look(module: nn.Module, given: tuple[Any, ...], answer: Any) -> None:
        if not isinstance(answer, torch.Tensor):
            return
        name, ours = names[module], answer.detach().float()
        right = torch.isfinite(ours)
        fine = bool(right.all())
        largest = float((ours if fine else torch.where(right, ours, 0.0)).abs().max()) if ours.numel() else 0.0
        came = all(bool(torch.isfinite(x.detach()).all()) for x in given if isinstance(x, torch.Tensor))
        layers.append(Layer(name, type(module).__name__, came, fine, largest))
        if backward and answer.requires_grad:
            answer.register_hook(partial(returned, name))  # type: ignore[no-untyped-call]

    def returned(name: str, gradient: torch.Tensor) -> None:
        if not bool(torch.isfinite(gradient).all()):
            bad_gradients.append(name)

    # Layers that work in place would overwrite their input before it is looked at.
    with _hooked(list(names), look), torch.set_grad_enabled(backward), _out_of_place(network):
        with computing(network, pace, device):
            logits = network(batch.images)
        value = batch_loss(loss, logits.float(), batch)
        parts = loss.each(logits.detach().float(), batch.class_maps) if isinstance(loss, Sum) else {}
        result = Pass(pace.precision, float(value.detach()), parts, layers)
        if backward:
            value.backward()  # type: ignore[no-untyped-call]
            norm = torch.nn.utils.get_total_norm([p.grad for p in network.parameters() if p.grad is not None])
            result.gradient_norm, result.gradient_from = float(norm), bad_gradients[0] if bad_gradients else ""
            network.zero_grad(set_to_none=True)
    return result


@contextlib.contextmanager
def _hooked(modules: list[nn.Module], look: Any) -> Iterator[None]:
    handles = [module.register_forward_hook(look) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def _out_of_place(network: nn.Module) -> Iterator[None]:
    changed = [module for module in network.modules() if getattr(module, "inplace", None) is True]
    for module in changed:
        module.inplace = False  # type: ignore[assignment]
    try:
        yield
    finally:
        for module in changed:
            module.inplace = True  # type: ignore[assignment]


def keep(
    folder: Path,
    *,
    what: str,
    network: Network,
    loss: Sum | Any,
    batch: Batch,
    random: torch.Tensor,
    recipe: Recipe,
    classes: Classes,
    pace: Pace,
    step: int,
    lr: float,
) -> Pass:
    """Write all that a step was made of; what lay in `folder` from an earlier time is replaced.

    Args:
        folder: to write.
        what: what the run found, such as "the loss became nan".
        network: before the step.
        loss: of the run.
        batch: of the step.
        random: state of torch's random numbers on the CPU before the step's forward pass.
        recipe: of the run.
        classes: of the run.
        pace: how the run computes.
        step: number of optimiser steps before.
        lr: learning rate of the step.

    Returns:
        The forward pass again, watched, in the run's precision.

    Raises:
        OutputError: the folder cannot be written.
    """
    # Before anything else runs through the network: its statistics move.
    weights = {name: value.detach().clone().cpu().contiguous() for name, value in network.state_dict().items()}
    with torch.random.fork_rng(), torch.no_grad():
        torch.set_rng_state(random)
        seen = watched(network, loss, batch, pace, batch.images.device.type, backward=False)
    given = batch._asdict()
    tensors = {name: value for name, value in given.items() if isinstance(value, torch.Tensor)}
    facts = {
        "what": what,
        "step": step,
        "lr": lr,
        "rest": {name: value for name, value in given.items() if name not in tensors},
        "device": batch.images.device.type,
        "pace": {"precision": pace.precision, "grouped_fp32": pace.grouped_fp32},
        "forward": seen.to_dict(),
        "recipe": recipe.to_dict(),
        "classes": classes.to_dict(),
        "widths": network.widths,
        "segwright": __version__,
        "torch": torch.__version__,
    }
    shutil.rmtree(folder, ignore_errors=True)
    with folder_being_written(folder) as partial:
        stored = {name: value.detach().cpu().contiguous() for name, value in tensors.items()} | {"random": random}
        save_tensors(stored, partial / "batch.safetensors")
        save_tensors(weights, partial / "weights.safetensors")
        render.write_png(partial / "batch.png", sheet_of(batch, classes))
        (partial / "why.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return seen


def sheet_of(batch: Batch, classes: Classes) -> render.Rgb8:
    """Pictures of a batch, each beside its truth.

    Args:
        batch: at most `MOST_SHOWN` of its pictures are shown.
        classes: whose colours.

    Returns:
        (H, W, 3).
    """
    panels = []
    for image, truth, key in list(zip(batch.images, batch.class_maps, batch.keys, strict=False))[:MOST_SHOWN]:
        picture = np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy())
        panels.append(
            render.panel(picture, None, truth.cpu().numpy(), classes, height=200, caption=key, captions=("", "truth"))
        )
    return render.sheet(panels)


def replay(folder: Path) -> Replay:
    """Compute a kept step again, in float32 and in the run's precision, and write what was seen to replay.json.

    Args:
        folder: run folder, or the folder inside it that was kept.

    Raises:
        ModelError: nothing was kept there, or it cannot be read.
    """
    place = folder / FOLDER if (folder / FOLDER).is_dir() else folder
    if not (place / "why.json").is_file():
        raise ModelError(
            f"{folder} holds no step to replay; a run keeps one in its folder {FOLDER} when a loss or gradient is not finite."
        )
    try:
        from safetensors.torch import load_file

        facts = json.loads((place / "why.json").read_text(encoding="utf-8"))
        stored, weights = load_file(place / "batch.safetensors"), load_file(place / "weights.safetensors")
        recipe, classes = Recipe.from_dict(facts["recipe"]), Classes.from_dict(facts["classes"])
        random = stored.pop("random")
        # As the loaders stack them: dropout draws in the order in which numbers lie in memory.
        stored["images"] = stored["images"].contiguous(memory_format=torch.channels_last)
        rest = {name: tuple(v) if isinstance(v, list) else v for name, v in facts["rest"].items()}
        batch = _batch({**stored, **rest})
        pace = Pace(str(facts["pace"]["precision"]), bool(facts["pace"]["grouped_fp32"]), "")
        widths = widths_from(facts.get("widths", {}))  # steps kept before there was pruning say nothing
        network = build(recipe.model, classes.channels, load_weights=False, widths=widths)
        network.load_state_dict(weights)
        step, lr, found = int(facts["step"]), float(facts["lr"]), str(facts["what"])
        device = "cuda" if facts["device"] == "cuda" and torch.cuda.is_available() else "cpu"
    except Exception as error:  # safetensors and torch raise untyped errors for damaged files
        said = " ".join(str(error).split())[:160]  # PyTorch names every weight that is missing
        raise ModelError(
            f"The step kept in {place} cannot be read ({type(error).__name__}: {said}); it was changed or cut off."
        ) from error
    fit = recipe.fit
    loss = loss_of(fit, classes)
    network.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    batch = _batch({k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in batch._asdict().items()})
    passes = []
    for way in [Pace("fp32", False, "")] + ([pace] if pace.precision != "fp32" else []):
        with torch.random.fork_rng():
            torch.set_rng_state(random)
            passes.append(watched(network, loss, batch, way, device))
    done = Replay(place, step, lr, batch.keys, found, tuple(passes), taught=bool(fit.teacher))
    text = json.dumps({"passes": [each.to_dict() for each in passes], "advice": done.sentence()}, indent=1)
    write_text(place / "replay.json", text + "\n")
    return done


def _batch(values: dict[str, Any]) -> Batch:
    return Batch(**values)


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _parts(parts: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in parts.items())
