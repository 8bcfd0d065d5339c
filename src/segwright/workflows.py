"""Whole journeys made of the rooms: one function per command, and the quickstart that walks through all of them."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from segwright.classes import Classes
from segwright.data.layouts import find_dataset
from segwright.data.sample import Sample
from segwright.data.shards import url_of
from segwright.errors import DataError, GateError, ModelError, UserError
from segwright.outputs import DATA_FILE, require_free, require_writable
from segwright.recipe import Recipe, named_recipe

if TYPE_CHECKING:
    from segwright.data.health import Health
    from segwright.data.packing import Packed
    from segwright.evaluation.report import Report
    from segwright.export.parity import Certificate
    from segwright.predict.sinks import Summary
    from segwright.training.fit import Run
    from segwright.training.replay import Replay

EVERYTHING = "all"
"""Name of the split that is every picture with a mask."""


def check(
    data: Path, *, classes_csv: Path | None = None, mask_suffix: str = "", console: Console | None = None
) -> Health:
    """Read every pair of a data set and say what is wrong.

    Args:
        data: folder in one of the known layouts.
        classes_csv: class table to use instead of the data's own.
        mask_suffix: what a mask's name has after its picture's stem.
        console: where progress is shown; None is silent.

    Returns:
        The findings; `spoils` says whether one would make training meaningless.

    Raises:
        DataError: nothing readable there.
    """
    from segwright.data import health

    dataset = find_dataset(data, classes_csv=classes_csv, mask_suffix=mask_suffix)
    return health.check(dataset, progress=_shown(console))


def repair(
    data: Path,
    out: Path,
    *,
    classes_csv: Path | None = None,
    mask_suffix: str = "",
    console: Console | None = None,
) -> Path:
    """Write a mended copy of a data set; the original is not touched.

    Args:
        data: folder in one of the known layouts.
        out: new folder, outside `data`.
        classes_csv: class table to use instead of the data's own.
        mask_suffix: what a mask's name has after its picture's stem.
        console: where progress is shown; None is silent.

    Raises:
        DataError: nothing readable there.
        OutputError: `out` is taken, lies inside `data`, or cannot be written.
    """
    from segwright.data import health
    from segwright.data.repair import repair as mend

    dataset = find_dataset(data, classes_csv=classes_csv, mask_suffix=mask_suffix)
    mend(dataset, health.check(dataset, progress=_shown(console)), out, progress=_shown(console))
    return out


def pack(
    data: Path,
    out: Path,
    *,
    decoded: bool = False,
    recipe: Recipe | None = None,
    shard_mb: int = 256,
    classes_csv: Path | None = None,
    console: Console | None = None,
) -> Packed:
    """Write a data set as a few large files that train as its folder does; see `segwright.data.packing`.

    Args:
        data: folder in one of the known layouts.
        out: new folder, outside `data`.
        decoded: pack pairs decoded and shrunk for the recipe's size, divided into the splits its training would make.
        recipe: its mask suffix, and for a decoded pack its size, fit, val_share and seed; None takes the defaults.
        shard_mb: megabytes in one shard.
        classes_csv: class table to use instead of the data's own.
        console: where progress is shown; None is silent.

    Raises:
        DataError: the data would spoil a training, or cannot be read.
        OutputError: `out` is taken or cannot be written.
    """
    from dataclasses import replace

    from segwright.data import health, packing

    recipe = recipe or Recipe()
    if shard_mb < 1:
        raise UserError(f"--shard-mb is a size in megabytes, 1 or more, not {shard_mb}.")
    require_free(out)
    dataset = find_dataset(data, classes_csv=classes_csv, mask_suffix=recipe.data.mask_suffix)
    found = health.check(dataset, progress=_shown(console))
    if decoded and not found.spoils:
        from segwright.data.splits import divide
        from segwright.training.prepare import with_size

        dataset = replace(dataset, splits=divide(dataset, val_share=recipe.data.val_share, seed=recipe.fit.seed))
        recipe = with_size(recipe, dataset.splits["train"])
    wanted = recipe if decoded else None
    return packing.pack(dataset, found, out, decoded=wanted, shard_mb=shard_mb, progress=_shown(console))


def train(
    data: Path, recipe: Recipe, out: Path, *, classes_csv: Path | None = None, console: Console | None = None
) -> Run:
    """Train a model; see `segwright.training.fit.train`. The run remembers where its data lies."""
    from segwright.training import fit

    return fit.train(data, recipe, out, classes_csv=classes_csv, console=console)


def resume(run: Path, *, console: Console | None = None, **changes: Any) -> Run:
    """Go on with a training that was stopped; see `segwright.training.fit.resume`."""
    from segwright.training import fit

    return fit.resume(run, console=console, **changes)


def replay(run: Path) -> Replay:
    """Compute a step again that was not finite; see `segwright.training.replay.replay`."""
    from segwright.training.replay import replay as again

    return again(run)


def show_batch(
    data: Path, recipe: Recipe, out: Path, *, classes_csv: Path | None = None, console: Console | None = None
) -> Path:
    """Draw what the network would see; see `segwright.training.contact_sheet.show_batch`."""
    from segwright.training import contact_sheet

    return contact_sheet.show_batch(data, recipe, out, classes_csv=classes_csv, console=console)


def evaluate(
    model: Path,
    data: Path | None = None,
    *,
    split: str = "test",
    out: Path | None = None,
    classes_csv: Path | None = None,
    device: str = "auto",
    tile: bool = False,
    console: Console | None = None,
    extras: dict[str, Any] | None = None,
) -> Report:
    """Measure a model and write report.json and report.html.

    Args:
        model: run folder, checkpoint or exported file.
        data: folder in one of the known layouts; None takes the data the run was trained on.
        split: train, val, test, or "all" for every picture with a mask.
        out: folder for the report; None only returns it.
        classes_csv: class table to use instead of the data's own.
        device: "auto", "cpu" or "cuda".
        tile: cut pictures into tiles at their own scale; see `Predictor`.
        console: where progress is shown; None is silent.
        extras: more sections for the page, see `Report.write`.

    Raises:
        UserError: model or data that cannot be used together, each with what to do.
    """
    from segwright.evaluation.evaluate import evaluate as measure
    from segwright.predict.predictor import load

    data, classes_csv = _data_of(model, data, classes_csv)
    predictor = load(model, device=device, tile=tile)
    provenance = predictor.engine.facts.provenance
    recipe = provenance.get("recipe", {})
    # Pictures that training cut off as val are no train pictures; in any other data set they are.
    learnt_here = provenance.get("data") == data.resolve().name
    samples, classes = chosen_samples(data, split, classes_csv=classes_csv, settings=recipe if learnt_here else None)
    curves = _curves(model)
    return measure(
        predictor,
        samples,
        classes,
        split=split,
        data=data.resolve().name,
        progress=_shown(console),
        out=out,
        model_file=_model_file(model),
        recipe=recipe or None,
        extras={**({"curves": curves} if curves else {}), **(extras or {})},
    )


def predict_pictures(
    model: Path,
    source: Path,
    out: Path,
    *,
    threshold: float | None = None,
    device: str = "auto",
    tile: bool = False,
    console: Console | None = None,
) -> Summary:
    """Write index mask, colour mask and overlay for every picture of `source`.

    Args:
        model: run folder, checkpoint or exported file.
        source: a picture, or a folder of pictures.
        out: folder for what comes out.
        threshold: instead of the model's own, two classes only, 0..1.
        device: "auto", "cpu" or "cuda".
        tile: cut pictures into tiles at their own scale; see `Predictor`.
        console: where progress is shown; None is silent.

    Raises:
        UserError: nothing could be predicted.
    """
    from segwright.predict.predictor import load
    from segwright.predict.sinks import predict_folder

    predictor = load(model, threshold=threshold, device=device, tile=tile)
    return predict_folder(predictor, source, out, progress=_shown(console))


def export_model(
    model: Path,
    out: Path | None = None,
    *,
    data: Path | None = None,
    any_size: bool = False,
    keep_failed: bool = False,
    limit: int = 64,
    classes_csv: Path | None = None,
    console: Console | None = None,
) -> tuple[Path, Certificate]:
    """Export to ONNX and prove the file equal to the model on real pictures.

    Args:
        model: run folder or checkpoint.
        out: the .onnx file; None puts model.onnx beside the checkpoint.
        data: pictures for the proof; None takes the data the run was trained on.
        any_size: take pictures of any size and resize inside the graph.
        keep_failed: leave a file that failed the proof, for inspection.
        limit: pictures to compare at most.
        classes_csv: class table to use instead of the data's own.
        console: where progress is shown; None is silent.

    Raises:
        GateError: the file differs from the model; it was removed.
        UserError: model, data or place cannot be used.
    """
    from segwright import checkpoint
    from segwright.export.parity import export_checked

    if limit < 1:
        raise UserError(f"The proof needs at least one picture, not {limit}; give --pictures 64, for example.")
    file = checkpoint.checkpoint_file(model)
    out = out or file.with_name("model_any_size.onnx" if any_size else "model.onnx")
    data, classes_csv = _data_of(model, data, classes_csv)
    settings = checkpoint.load(file).recipe.to_dict()
    samples, classes = proof_samples(data, classes_csv=classes_csv, settings=settings)
    certificate = export_checked(
        file,
        samples,
        classes,
        out,
        any_size=any_size,
        keep_failed=keep_failed,
        limit=limit,
        progress=_shown(console),
    )
    return out, certificate


def chosen_samples(
    data: Path, split: str, *, classes_csv: Path | None = None, settings: dict[str, Any] | None = None
) -> tuple[tuple[Sample, ...], Classes]:
    """The pictures of one split, cut exactly as training cut them.

    Args:
        data: folder in one of the known layouts.
        split: train, val, test, or "all".
        classes_csv: class table to use instead of the data's own.
        settings: the recipe the model was trained with, as a dict; its shares and seed are used.

    Raises:
        DataError: there is no such split; those there are, are named.
    """
    from segwright.data.splits import divide

    recipe = Recipe.from_dict(settings) if settings else Recipe()
    dataset = find_dataset(data, classes_csv=classes_csv, mask_suffix=recipe.data.mask_suffix)
    if split == EVERYTHING:
        everything = tuple(s for part in dataset.splits.values() for s in part if s.mask is not None)
        return everything, dataset.classes
    on_disk = dataset.splits.get(split, ())
    cut_by_training = settings is not None and split == "train" and "val" not in dataset.splits
    if any(s.mask is not None for s in on_disk) and not cut_by_training:
        return on_disk, dataset.classes
    parts = divide(dataset, val_share=recipe.data.val_share, seed=recipe.fit.seed)
    if not parts.get(split):
        known = ", ".join([name for name, part in parts.items() if part] + [EVERYTHING])
        raise DataError(f"{data} has no pictures with masks in a split named {split!r}; choose --split from {known}.")
    return parts[split], dataset.classes


def proof_samples(
    data: Path, *, classes_csv: Path | None = None, settings: dict[str, Any] | None = None
) -> tuple[tuple[Sample, ...], Classes]:
    """Pictures to prove an export on: test, else validation pictures; without masks too when there are no others."""
    _, samples, classes = _held_out(data, classes_csv=classes_csv, settings=settings)
    if samples:
        return samples, classes
    dataset = find_dataset(data, classes_csv=classes_csv)
    return tuple(s for part in dataset.splits.values() for s in part), dataset.classes


def _held_out(
    data: Path, *, classes_csv: Path | None = None, settings: dict[str, Any] | None = None
) -> tuple[str, tuple[Sample, ...], Classes]:
    """Name and pictures of the split to judge a model by: test, else val, else all there is with masks."""
    for split in ("test", "val"):
        try:
            return split, *chosen_samples(data, split, classes_csv=classes_csv, settings=settings)
        except DataError:
            continue
    return EVERYTHING, *chosen_samples(data, EVERYTHING, classes_csv=classes_csv, settings=settings)


@dataclass(frozen=True)
class Journey:
    """What a quickstart leaves behind."""

    folder: Path
    report: Report
    certificate: Certificate
    seconds: float


QUICK_CLUTTER = 0.0
"""Share of busy scenes in the quickstart's cards: none, because three minutes from a random start teach plain ones only."""


def quick_recipe(kind: str, minutes: float) -> Recipe:
    """A named recipe for a few minutes on a CPU: the small network, mostly at half size, milder variation.

    Raises:
        RecipeError: `minutes` is refused.
    """
    return named_recipe(kind).with_settings(
        model="lraspp_mobilenet_v3_small",
        minutes=minutes,
        batch_size=8,
        lr=3e-3,
        layer_lr="same",
        small_share=0.6,
        middle_share=0.0,
        augment="light",
        ema=0.98,
        patience=0,
    )


def quickstart(
    data: Path | None = None,
    out: Path = Path("quickstart"),
    *,
    minutes: float = 3.3,
    count: int = 1000,
    console: Console | None = None,
) -> Journey:
    """The main job from end to end: data, check, training, report, export, proof, overlays.

    Args:
        data: the user's own pictures; None draws a synthetic card data set.
        out: new folder for everything.
        minutes: of training.
        count: synthetic pictures to draw.
        console: where progress is shown; None is silent.

    Raises:
        UserError: the data or the folder cannot be used.
        GateError: the data would spoil the training, or the export differs from the model.
    """
    from segwright.evaluation.report import print_report

    console = console or Console(quiet=True)
    started = time.monotonic()
    recipe = quick_recipe("card", minutes)  # a wrong --minutes is refused before anything is drawn
    require_free(out)
    if data is not None:
        find_dataset(data)  # a wrong path leaves no folder behind
    require_writable(out)
    say = _Steps(console)
    drawn = data is None
    if data is None:
        from segwright.data.cards import synthesize_cards

        say("Draw a synthetic card data set")
        data = synthesize_cards(out / "cards", count=count, seed=0, clutter=QUICK_CLUTTER, progress=_shown(console))
    say(f"Check {data}")
    found = check(data, console=console)
    found.render(console)
    if found.spoils:
        raise GateError(
            f"Training on {data} would give a meaningless model; write a mended copy with: segwright check {data} --fix OUT"
        )
    say("Train LR-ASPP on MobileNetV3 small")
    run_folder = out / "run"
    if not drawn:
        recipe = quick_recipe("binary" if len(found.dataset.classes) == 2 else "multiclass", minutes)
    train(data, recipe, run_folder, console=console)
    say("Export to ONNX and prove the file equal to the model")
    file, certificate = export_model(run_folder, data=data, console=console)
    console.print(f"  {certificate.sentence()}", highlight=False)
    split, samples, _ = _held_out(data, settings=recipe.to_dict())
    say(f"Measure on the {split} pictures")
    extras = {"health": found.to_dict(), "parity": certificate.to_dict()}
    report = evaluate(run_folder, data, split=split, out=out / "report", console=console, extras=extras)
    print_report(report, console)
    say("Draw overlays")
    _overlays(run_folder, samples[:24], out / "predictions", console)
    seconds = time.monotonic() - started
    _farewell(console, recipe, data, out, file, seconds)
    return Journey(out, report, certificate, seconds)


def _overlays(model: Path, samples: tuple[Sample, ...], out: Path, console: Console) -> None:
    from segwright.predict.predictor import load
    from segwright.predict.sinks import predict_samples

    predict_samples(load(model), samples, out, progress=_shown(console))


def _farewell(console: Console, recipe: Recipe, data: Path, out: Path, file: Path, seconds: float) -> None:
    from segwright.export.parity import certificate_path

    places = {
        "data": data,
        "trained model": out / "run",
        "training panels": out / "run" / "panels",
        "report": out / "report" / "report.html",
        "overlays": out / "predictions" / "overlays",
        "exported model": file,
        "proof of equality": certificate_path(file),
    }
    console.rule(f"[bold]Done in {seconds / 60:.1f} minutes")
    for name, place in places.items():
        console.print(f"{name:>18}  {place}", highlight=False, soft_wrap=True)
    console.print("\nTry next:")
    for line in (
        f"segwright predict {file} YOUR_PICTURES --out predictions",
        f"segwright evaluate {out / 'run'} {data} --split val",
        f"segwright train {data} --recipe {recipe.name} --minutes 60",
    ):
        console.print(f"  {line}", highlight=False, soft_wrap=True)


class _Steps:
    """Numbered headings."""

    def __init__(self, console: Console) -> None:
        self.console, self.number = console, 0

    def __call__(self, what: str) -> None:
        self.number += 1
        self.console.print(f"\n[bold cyan]{self.number}  {what}[/]")


def _data_of(model: Path, data: Path | None, classes_csv: Path | None) -> tuple[Path, Path | None]:
    """The data to use with a model: what the user named, else what the run remembers."""
    if data is not None:
        return data, classes_csv
    folder = model if model.is_dir() else model.parent
    try:
        remembered = json.loads((folder / DATA_FILE).read_text(encoding="utf-8"))
        data, stored = Path(remembered["data"]), remembered.get("classes_csv")
    except (OSError, ValueError, KeyError, TypeError) as error:
        if not model.exists():
            raise ModelError(f"{model} does not exist; name a run folder or a checkpoint.") from error
        raise UserError(
            f"{model} does not say which data it was trained on; name the folder of pictures too."
        ) from error
    if not data.is_dir() and url_of(data) is None:
        raise UserError(f"{model} was trained on {data}, which is no longer there; name the folder of pictures too.")
    return data, classes_csv or (Path(stored) if stored else None)


def _curves(model: Path) -> list[dict[str, str]]:
    import csv

    log = (model if model.is_dir() else model.parent) / "log.csv"
    if not log.is_file():
        return []
    with log.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _model_file(model: Path) -> Path:
    from segwright.checkpoint import checkpoint_file

    return model if model.is_file() else checkpoint_file(model)


def _shown(console: Console | None) -> bool:
    # A bar that is redirected to a file would only leave blank lines there.
    return console is not None and not console.quiet and Console(stderr=True).is_terminal
