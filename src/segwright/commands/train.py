"""`train` and `replay`: every setting of a recipe is a flag; a stopped run goes on, a failed step is computed again."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from segwright import recipe
from segwright.commands.settings import NOTHING_SAID, Flags, Settings, given_in, recipe_of
from segwright.commands.speaking import OK, console_of, fresh
from segwright.errors import UserError


def train(
    data: Path | None = None,
    /,
    *,
    recipe_name: Annotated[str, Parameter(name="--recipe")] = "multiclass",
    out: Path | None = None,
    classes: Path | None = None,
    resume: Path | None = None,
    gpus: int | None = None,
    load_model_if_exists: Path | None = None,
    show_batch: Annotated[bool, Parameter(negative="")] = False,
    settings: Annotated[Settings, Flags] = NOTHING_SAID,
) -> int:
    """Train a model. Settings not given come from the recipe.

    Args:
        data: Folder with pictures and masks.
        recipe_name: Name of a recipe (card, binary, multiclass, patches, person) or a YAML file.
        out: New folder for the run; default runs/DATA-RECIPE, numbered.
        classes: Class table to use instead of the data's classes.csv.
        resume: Go on with this run, which was stopped; it brings its data and settings.
        gpus: Short for --device cuda --devices N; 0 for --device cpu.
        load_model_if_exists: As --load-model where this is there, else start without it; for scripts that always pass one.
        show_batch: Train nothing; draw what the network would see into show-batch.png, or into OUT-batch.png.
        settings: Overrides.
    """
    import json as json_module

    from segwright.outputs import first_process
    from segwright.workflows import training

    given = given_in(settings) | _devices(gpus, settings)
    console = console_of(quiet=not first_process())
    if resume is not None:
        # --gpus 0 is --device cpu, which may differ; any other number is one of devices, which may not.
        also = {"load_model_if_exists": load_model_if_exists, "show_batch": show_batch or None, "gpus": gpus or None}
        _refuse_with_resume(data, out, classes, recipe_name, given_in(settings) | also)
        folder = resume
    elif data is None:
        raise UserError("Name the folder with pictures and masks: segwright train DATA (or --resume RUN).")
    else:
        chosen = recipe_of(recipe_name, given)
        if load_model_if_exists is not None:
            chosen, said = _started_from(load_model_if_exists, chosen)
            console.print(said, soft_wrap=True, highlight=False)
        if show_batch:
            # Beside the run's folder and not in it, so that the same line without --show-batch trains.
            sheet = out.with_name(f"{out.name}-batch.png") if out else Path("show-batch.png")
            training.show_batch(data, chosen, sheet, classes_csv=classes, console=console)
            return OK
        folder = out or fresh(Path("runs") / f"{data.resolve().name}-{chosen.name}")
    try:
        if data is None:
            run = training.resume(folder, console=console, **given)
        else:
            run = training.train(data, chosen, folder, classes_csv=classes, console=console)
    except KeyboardInterrupt:
        raise UserError(f"Training was stopped; {_what_is_left(folder)}.") from None
    if not first_process():
        return OK
    scores = "  ".join(f"{name} {score:.4f}" for name, score in run.scores.items())
    console.print(f"{scores}\n{run.steps} steps, {run.images_per_second:.1f} images/s", highlight=False)
    # Evaluation takes the test pictures; data without any is measured on those of the checks.
    split = (
        "" if json_module.loads((folder / "splits.json").read_text(encoding="utf-8")).get("test") else " --split val"
    )
    console.print(
        f"The run lies in {folder}. Next: segwright evaluate {folder}{split}", soft_wrap=True, highlight=False
    )
    return OK


def replay(run: Path, /) -> int:
    """Compute again the step at which a run stopped because a loss or gradient was not finite.

    Args:
        run: Run folder, or the folder nan inside it.
    """
    from segwright.workflows import training

    done = training.replay(run)
    lines = [f"Step {done.step}, learning rate {done.lr:.3g}, pictures {', '.join(done.keys)}: {done.found}."]
    for each in done.passes:
        lines.append(f"{each.precision}: {each.sentence()}")
        lines += [f"    {layer.name} ({layer.kind}): largest answer {layer.largest:.4g}" for layer in each.leading()]
    lines += [
        done.sentence(),
        f"The batch is drawn in {done.folder / 'batch.png'}; all layers are in replay.json there.",
    ]
    console_of().print("\n".join(lines), soft_wrap=True, highlight=False, markup=False)
    return OK


def _devices(gpus: int | None, settings: Any) -> dict[str, Any]:
    if gpus is None:
        return {}
    if settings.device is not None or settings.devices is not None:
        raise UserError("--gpus is short for --device and --devices; give one or the other.")
    if gpus < -1:
        raise UserError(f"--gpus is a number of GPUs, 0 for the CPU or -1 for every GPU, not {gpus}.")
    return {"device": "cuda", "devices": gpus} if gpus else {"device": "cpu"}


def _refuse_with_resume(
    data: Path | None, out: Path | None, classes: Path | None, recipe_name: str, given: dict[str, Any]
) -> None:
    """A resumed run brings everything that decides what is learnt.

    Raises:
        UserError: something else was said about it.
    """
    free = {f.name for f in dataclasses.fields(recipe.RunRecipe)} - {"devices", "nodes", "strategy"}
    said = {"DATA": data, "--out": out, "--classes": classes, "--recipe": recipe_name != "multiclass" or None}
    said |= {f"--{name.replace('_', '-')}": value for name, value in given.items() if name not in free}
    if settled := [name for name, value in said.items() if value is not None]:
        raise UserError(
            f"--resume goes on with the data and settings of its run; leave out {', '.join(settled)}, or start a new run "
            "from its weights with --load-model RUN."
        )


def _what_is_left(folder: Path) -> str:
    from segwright.training.state import NAME

    if (folder / NAME).is_file():
        return f"go on with: segwright train --resume {folder}"
    if (folder / "best.safetensors").is_file():
        return f"the best weights so far lie in {folder}"
    return f"no check was finished; remove {folder}"


def _started_from(model: Path, chosen: recipe.Recipe) -> tuple[recipe.Recipe, str]:
    """The recipe with `--load-model` where that model exists, and one line that says which of the two it was."""
    if chosen.model.load_model:
        raise UserError("--load-model and --load-model-if-exists both say where to start; leave one of them out.")
    if model.exists():
        # What the run starts from otherwise has nothing to do then.
        return chosen.with_settings(load_model=str(model), weights="none"), f"Starting from {model}."
    other = chosen.model.weights
    start = "random weights" if other == "none" else f"--weights {other}"
    return chosen, f"{model} does not exist, so the training starts from {start}."
