"""One table of commands. Flags of `train` are read from the recipe's own fields; nothing heavy is imported for help.

Exit codes: 0 all is well; 1 the work was done and its result is not good enough (data that would spoil training, an
export that differs); 2 something the user can mend, said in one sentence.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import sys
import textwrap
import typing
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, TypeAlias

from cyclopts import App, CycloptsError, Parameter

from segwright import __version__, recipe
from segwright.errors import GateError, SegwrightError, UserError

OK, NOT_GOOD_ENOUGH, USER_ERROR = 0, 1, 2


def field_sentences(kind: type[Any]) -> dict[str, str]:
    """The sentence under each field of a dataclass, read from its source."""
    body = typing.cast("ast.ClassDef", ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]).body
    sentences: dict[str, str] = {}
    for node, below in itertools.pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and isinstance(below, ast.Expr):
            sentences[node.target.id] = " ".join(str(ast.literal_eval(below.value)).split())
    return sentences


def _number_or_word(_: Any, tokens: Any) -> float | str:
    """A flag such as --lr, which takes a number or auto; the recipe refuses other words in a sentence of its own."""
    said = str(tokens[0].value)
    try:
        return float(said)
    except ValueError:
        return said


def recipe_flags() -> type[Any]:
    """A dataclass with every setting of a recipe, all absent by default: what the user says overrides the recipe."""
    fields: list[Any] = []
    for part, kind in recipe.PARTS.items():
        sentences, types = field_sentences(kind), typing.get_type_hints(kind)
        for known in dataclasses.fields(kind):
            either = float in typing.get_args(types[known.name])
            parameter = Parameter(
                help=sentences[known.name].replace("`", ""),
                group=part.capitalize(),
                negative="",
                converter=_number_or_word if either else None,
            )
            annotated: Any = Annotated[types[known.name] | None, parameter]
            fields.append((known.name, annotated, dataclasses.field(default=None)))
    made = dataclasses.make_dataclass("Settings", fields, kw_only=True)
    # Generated classes claim to come from `types`, and cyclopts takes those for built-in values, not for flags.
    made.__module__ = __name__
    return made


if TYPE_CHECKING:
    Settings: TypeAlias = Any
else:
    Settings = recipe_flags()
Flags = Parameter(name="*")
NOTHING_SAID = Settings()


def check(
    data: Path,
    /,
    *,
    fix: Path | None = None,
    classes: Path | None = None,
    mask_suffix: str = "",
    json: Path | None = None,
) -> int:
    """Read every pair of a data set, say what is wrong and what would mend it.

    Args:
        data: Folder with pictures and masks.
        fix: Write a mended copy to this new folder; the original is never touched.
        classes: Class table (index,name,r,g,b,ignore) to use instead of the data's classes.csv.
        mask_suffix: What a mask's name has after its picture's stem, for example _mask.
        json: Also write the findings to this file.
    """
    import json as json_module

    from segwright import workflows
    from segwright.outputs import write_text

    console = _console()
    found = workflows.check(data, classes_csv=classes, mask_suffix=mask_suffix, console=console)
    found.render(console)
    if json is not None:
        write_text(json, json_module.dumps(found.to_dict(), indent=1) + "\n")
    if fix is not None:
        workflows.repair(data, fix, classes_csv=classes, mask_suffix=mask_suffix, console=console)
        console.print(
            f"A mended copy lies in {fix}; what was changed is listed in {fix / 'repairs.csv'}.", soft_wrap=True
        )
        return OK
    return NOT_GOOD_ENOUGH if found.spoils else OK


def synth_cards(
    out: Path,
    /,
    *,
    count: int = 400,
    seed: int = 0,
    width: int = 480,
    height: int = 640,
    clutter: float = 1.0,
    backgrounds: Path | None = None,
    faces: Path | None = None,
    workers: int | None = None,
) -> int:
    """Draw a data set of card scenes with masks.

    Args:
        out: New folder for train, val and test.
        count: Number of pictures.
        seed: The same seed draws the same pictures.
        width: Of the pictures, pixels.
        height: Of the pictures, pixels.
        clutter: Share of busy scenes, 0..1; the others show playing cards alone on one evenly lit surface.
        backgrounds: Folder of your own pictures to lay cards on.
        faces: Folder of your own pictures of card faces.
        workers: Processes that draw; default one for each core.
    """
    from rich.console import Console

    from segwright.data.cards import synthesize_cards

    synthesize_cards(
        out,
        count=count,
        seed=seed,
        size_hw=(height, width),
        clutter=clutter,
        backgrounds=backgrounds,
        faces=faces,
        workers=workers,
        progress=Console(stderr=True).is_terminal,
    )
    _console().print(
        f"{count} pictures lie in {out}; look at them, then: segwright train {out} --recipe card", soft_wrap=True
    )
    return OK


def pack(
    data: Path,
    out: Path,
    /,
    *,
    decoded: Annotated[bool, Parameter(negative="")] = False,
    recipe_name: Annotated[str, Parameter(name="--recipe")] = "multiclass",
    width: int | None = None,
    height: int | None = None,
    fit: recipe.Fit | None = None,
    shard_mb: int = 256,
    mask_suffix: str = "",
    classes: Path | None = None,
) -> int:
    """Write a data set as a few large tar files; train, check, evaluate and predict take them like a folder.

    Args:
        data: Folder with pictures and masks.
        out: New folder for the pack.
        decoded: Pack decoded pictures at the training size instead of the files: larger, faster to read, of that size only.
        recipe_name: With --decoded: the recipe (name or YAML file) whose size, fit, val_share and seed are used.
        width: With --decoded: width of the network's input; default the recipe's, else the commonest size.
        height: With --decoded: height of the network's input.
        fit: With --decoded: pad or stretch; default the recipe's.
        shard_mb: Megabytes in one tar file.
        mask_suffix: What a mask's name has after its picture's stem, for example _mask.
        classes: Class table to use instead of the data's classes.csv.
    """
    from segwright import workflows

    said = {"width": width, "height": height, "fit": fit, "mask_suffix": mask_suffix or None}
    given = {name: value for name, value in said.items() if value is not None}
    chosen = _recipe(recipe_name, given)
    packed = workflows.pack(
        data, out, decoded=decoded, recipe=chosen, shard_mb=shard_mb, classes_csv=classes, console=_console()
    )
    _console().print(
        f"{packed.pictures} pictures lie in {packed.shards} shards of {out}, {packed.bytes / 1e6:.1f} MB. "
        f"Next: segwright train {out}",
        soft_wrap=True,
        highlight=False,
    )
    return OK


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

    from segwright import workflows
    from segwright.outputs import first_process

    given = _given(settings) | _devices(gpus, settings)
    console = _console(quiet=not first_process())
    if resume is not None:
        also = {"load_model_if_exists": load_model_if_exists, "show_batch": show_batch or None}
        _refuse_with_resume(data, out, classes, recipe_name, given | also)
        folder = resume
    elif data is None:
        raise UserError("Name the folder with pictures and masks: segwright train DATA (or --resume RUN).")
    else:
        chosen = _recipe(recipe_name, given)
        if load_model_if_exists is not None:
            chosen, said = _started_from(load_model_if_exists, chosen)
            console.print(said, soft_wrap=True, highlight=False)
        if show_batch:
            # Beside the run's folder and not in it, so that the same line without --show-batch trains.
            sheet = out.with_name(f"{out.name}-batch.png") if out else Path("show-batch.png")
            workflows.show_batch(data, chosen, sheet, classes_csv=classes, console=console)
            return OK
        folder = out or _fresh(Path("runs") / f"{data.resolve().name}-{chosen.name}")
    try:
        if data is None:
            run = workflows.resume(folder, console=console, **given)
        else:
            run = workflows.train(data, chosen, folder, classes_csv=classes, console=console)
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


def evaluate(
    model: Path,
    data: Path | None = None,
    /,
    *,
    split: str = "test",
    out: Path | None = None,
    classes: Path | None = None,
    device: recipe.Device = "auto",
    tile: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Measure a model on pictures with masks; writes report.json and report.html.

    Args:
        model: Run folder, checkpoint or exported .onnx file.
        data: Folder with pictures and masks; default the data the run was trained on.
        split: train, val, test, or all for every picture with a mask.
        out: Folder for the report; default evaluation-DATA-SPLIT beside the model.
        classes: Class table to use instead of the data's classes.csv.
        device: Where to compute: auto takes CUDA where there is one.
        tile: Cut pictures into tiles of the model's size at their own scale; models trained with --patch-size always do.
    """
    from segwright import workflows
    from segwright.evaluation.report import print_report

    beside = model if model.is_dir() else model.parent
    name = f"evaluation-{data.resolve().name}-{split}" if data else f"evaluation-{split}"
    folder = out or beside / name
    console = _console()
    report = workflows.evaluate(
        model, data, split=split, out=folder, classes_csv=classes, device=device, tile=tile, console=console
    )
    print_report(report, console)
    console.print(f"The report lies in {folder / 'report.html'}", soft_wrap=True, highlight=False)
    return OK


def predict(
    model: Path,
    source: Path,
    /,
    *,
    out: Path = Path("predictions"),
    threshold: float | None = None,
    device: recipe.Device = "auto",
    tile: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Write index mask, colour mask and overlay for each picture.

    Args:
        model: Run folder, checkpoint or exported .onnx file.
        source: A picture, or a folder of pictures.
        out: Folder for what comes out.
        threshold: Least probability that counts as foreground (two classes); default the model's own.
        device: Where to compute: auto takes CUDA where there is one.
        tile: Cut pictures into tiles of the model's size at their own scale; models trained with --patch-size always do.
    """
    from segwright import workflows

    console = _console()
    summary = workflows.predict_pictures(
        model, source, out, threshold=threshold, device=device, tile=tile, console=console
    )
    shares = ", ".join(f"{name} {100 * share:.1f} %" for name, share in summary.shares.items())
    console.print(f"{summary.pictures} pictures, {summary.milliseconds:.0f} ms each: {shares}", highlight=False)
    console.print(f"Masks, colours and overlays lie in {out}", soft_wrap=True, highlight=False)
    if summary.failures:
        unread = summary.failures
        _fail(f"{len(unread)} pictures could not be read; the first: {unread[0].reason}", NOT_GOOD_ENOUGH)
    return OK


def export(
    model: Path,
    /,
    *,
    to: Literal["onnx"] = "onnx",
    out: Path | None = None,
    data: Path | None = None,
    any_size: Annotated[bool, Parameter(negative="")] = False,
    pictures: int = 64,
    keep_failed: Annotated[bool, Parameter(negative="")] = False,
    classes: Path | None = None,
) -> int:
    """Export a model and prove the file equal to it on real pictures.

    Args:
        model: Run folder or checkpoint.
        to: Format.
        out: The file to write; default model.onnx beside the checkpoint.
        data: Pictures for the proof; default the data the run was trained on.
        any_size: Take pictures of any size and resize inside the graph.
        pictures: Compare this many at most.
        keep_failed: Leave a file that failed the proof.
        classes: Class table to use instead of the data's classes.csv.
    """
    from segwright import workflows

    console = _console()
    file, certificate = workflows.export_model(
        model,
        out,
        data=data,
        any_size=any_size,
        keep_failed=keep_failed,
        limit=pictures,
        classes_csv=classes,
        console=console,
    )
    console.print(certificate.sentence(), soft_wrap=True, highlight=False)
    console.print(f"The model lies in {file}", soft_wrap=True, highlight=False)
    return OK


def replay(run: Path, /) -> int:
    """Compute again the step at which a run stopped because a loss or gradient was not finite.

    Args:
        run: Run folder, or the folder nan inside it.
    """
    from segwright import workflows

    done = workflows.replay(run)
    lines = [f"Step {done.step}, learning rate {done.lr:.3g}, pictures {', '.join(done.keys)}: {done.found}."]
    for each in done.passes:
        lines.append(f"{each.precision}: {each.sentence()}")
        lines += [f"    {layer.name} ({layer.kind}): largest answer {layer.largest:.4g}" for layer in each.leading()]
    lines += [
        done.sentence(),
        f"The batch is drawn in {done.folder / 'batch.png'}; all layers are in replay.json there.",
    ]
    _console().print("\n".join(lines), soft_wrap=True, highlight=False, markup=False)
    return OK


def show_recipe(name: str = "multiclass", /, *, settings: Annotated[Settings, Flags] = NOTHING_SAID) -> int:
    """Print a recipe as YAML; save it, edit it, and give it to train --recipe FILE.

    Args:
        name: Name of a recipe (card, binary, multiclass, patches, person) or a YAML file.
        settings: Overrides.
    """
    sys.stdout.write(recipe.to_yaml(_recipe(name, _given(settings))))
    return OK


def show_augmentation(name: str = "medium", /) -> int:
    """Print how far training pictures are varied, as YAML; save it, edit it, and give it to train --augment FILE.

    Args:
        name: none, light, medium, strong, or a YAML file.
    """
    from segwright.data.augment import Variation, variation_of, variation_yaml

    variation = variation_of(recipe.Recipe().with_settings(augment=name))
    sys.stdout.write(variation_yaml(variation, field_sentences(Variation)))
    return OK


def models() -> int:
    """List the networks that can be trained."""
    from segwright.models.catalogue import BUILDERS

    sys.stdout.write("\n".join(BUILDERS) + "\n")
    return OK


def quickstart(*, data: Path | None = None, out: Path | None = None, minutes: float = 3.3, count: int = 1000) -> int:
    """Run the main job from end to end, on synthetic cards or your own pictures.

    Args:
        data: Your own folder with pictures and masks; default a synthetic card data set is drawn.
        out: New folder for everything; default quickstart, numbered.
        minutes: Of training.
        count: Synthetic pictures to draw.
    """
    from segwright import workflows

    workflows.quickstart(data, out or _fresh(Path("quickstart")), minutes=minutes, count=count, console=_console())
    return OK


COMMANDS: dict[str, Callable[..., int]] = {
    "quickstart": quickstart,
    "check": check,
    "pack": pack,
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "export": export,
    "replay": replay,
    "recipe": show_recipe,
    "augmentation": show_augmentation,
    "models": models,
}

SYNTH: dict[str, Callable[..., int]] = {"cards": synth_cards}


def build_app() -> App:
    """The command line, made from the tables above."""
    app = App(
        name="segwright",
        version=__version__,
        help="From a folder of pictures to a small, fast, proven segmentation model.",
        help_format="plaintext",  # importing the Markdown renderer would add 0.1 s to every --help
        suppress_keyboard_interrupt=False,
    )
    for name, function in COMMANDS.items():
        app.command(function, name=name)
    synth = App(name="synth", help="Draw synthetic data sets.")
    for name, function in SYNTH.items():
        synth.command(function, name=name)
    app.command(synth)
    return app


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a command and exit with its code."""
    app = build_app()
    try:
        code = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        _fail(str(error), USER_ERROR)
    except UserError as error:
        _fail(error, USER_ERROR)
    except GateError as error:
        _fail(error, NOT_GOOD_ENOUGH)
    except SegwrightError as error:
        _fail(error, NOT_GOOD_ENOUGH)
    except KeyboardInterrupt:
        _fail("Stopped by Ctrl-C; what was finished is whole, nothing was left half-written.", USER_ERROR)
    except BrokenPipeError:
        # The reader of our output went away (`segwright models | head`); there is nobody left to tell.
        sys.stderr.close()
        sys.exit(OK)
    sys.exit(code if isinstance(code, int) else OK)


def _fail(reason: Exception | str, code: int) -> NoReturn:
    # What a library said is quoted in some sentences, and may hold line breaks.
    sys.stderr.write(f"segwright: {' '.join(line.strip() for line in str(reason).splitlines())}\n")
    sys.exit(code)


def _console(*, quiet: bool = False) -> Any:
    from rich.console import Console

    return Console(quiet=quiet)


def _given(settings: Any) -> dict[str, Any]:
    return {k: v for k, v in vars(settings).items() if v is not None}


def _recipe(name: str, given: dict[str, Any]) -> recipe.Recipe:
    base = recipe.read_yaml(Path(name)) if name.endswith((".yaml", ".yml")) else recipe.named_recipe(name)
    return base.with_settings(**given) if given else base


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
    if (folder / "resume.pt").is_file():
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


def _fresh(folder: Path) -> Path:
    if not folder.exists():
        return folder
    number = 2
    while (numbered := folder.with_name(f"{folder.name}-{number}")).exists():
        number += 1
    return numbered


if __name__ == "__main__":
    main()
