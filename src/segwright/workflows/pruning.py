"""Pruning from end to end: thin a network out, let it learn again, measure, and go on while no more is lost than allowed.

All that a pruning knows lies in its folder, so that it can be stopped at any moment and gone on with:

    plan.json           what was asked for                      attempts/N/pruned.safetensors  thinned out, nothing learnt yet
    data.json           where the data lies, on this machine    attempts/N/run/                its training, a run like any other
    before.safetensors  the network as it came                  attempts/N/measured.json       what came of it
    best.safetensors    the narrowest that lost no more than allowed; prune.json, prune.png: what was gained and lost
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from rich.console import Console

from segwright.classes import Classes
from segwright.data.shards import url_of
from segwright.errors import DataError, GateError, ModelError, RecipeError
from segwright.outputs import DATA_FILE, require_free, require_writable, write_text
from segwright.recipe import ModelRecipe, Recipe
from segwright.workflows.choosing import chosen_samples, data_of, shown

if TYPE_CHECKING:
    import torch

    from segwright.checkpoint import Checkpoint
    from segwright.data.sample import Sample
    from segwright.engines.contract import Engine
    from segwright.evaluation.report import Report
    from segwright.export.prune import Importance
    from segwright.export.targets import Measured, Targets
    from segwright.export.trade import Attempt, Outcome, Side

PLAN, MEASURED, BEFORE, BEST = "plan.json", "measured.json", "before.safetensors", "best.safetensors"
THINNED, RUN, ATTEMPTS = "pruned.safetensors", "run", "attempts"

RETREATS = 2
"""How often the way is halved after a network that lost too much."""
SEARCH_SECONDS = 1.5
"""How long each candidate of a search is timed."""
LENGTH = 3
"""Each network learns again for this part of what the run was trained for, unless told otherwise."""
LEEWAY = 1.03
"""How much slower than in the search the finished network may be for a target to count as met: clocks are not exact."""


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What was asked for."""

    targets: Targets
    max_drop: float
    """Points of IoU."""
    rounds: int
    importance: Importance
    distill: float
    engine: str
    threads: int | None
    settings: dict[str, Any]
    """Of the training after each thinning, instead of the run's own."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**vars(self), "targets": self.targets.to_dict()}


@dataclass(frozen=True)
class _Given:
    """What every step of one pruning works with."""

    out: Path
    wishes: Wishes
    before: Checkpoint
    data: Path
    classes_csv: Path | None
    samples: tuple[Sample, ...]
    """Validation pictures."""
    data_classes: Classes
    engine: Engine
    """The unpruned network."""
    scratch: Path
    start: Measured
    score: Report
    console: Console
    floor: list[str] = field(default_factory=list)


def prune_model(
    model: Path,
    /,
    data: Path | None = None,
    out: Path = Path("pruned"),
    *,
    speedup: float | None = None,
    latency: str = "",
    size: str = "",
    channels: float | None = None,
    max_drop: float = 1.0,
    rounds: int = 1,
    importance: Importance = "magnitude",
    distill: float = 0.0,
    engine: str = "auto",
    threads: int | None = None,
    classes_csv: Path | None = None,
    console: Console | None = None,
    **settings: Any,
) -> Outcome:
    """Make a trained network smaller and faster, at a loss that is known.

    Args:
        model: run folder or checkpoint.
        data: pictures with masks to learn again from; None takes the data the run was trained on.
        out: new folder.
        speedup: how many times as fast, such as 2.
        latency: time for one picture, such as "20ms".
        size: of the file that is served, such as "2MB".
        channels: share of the channels to keep, such as 0.5; roughly half of 0.5's parameters are gone twice over.
        max_drop: points of IoU on validation pictures that may be lost.
        rounds: steps to the target, each with a training after it.
        importance: what is kept: "magnitude", "bn" or "taylor".
        distill: share of the loss that is the difference from the unpruned network's answers, 0..1.
        engine: in which time is measured, "auto" for the one that serves it best here.
        threads: CPU threads of the engine; None lets it choose.
        classes_csv: class table to use instead of the data's own.
        console: where progress is shown; None is silent.
        settings: of the training after each thinning, such as `epochs=10`; the rest is as the run was trained.

    Returns:
        What was gained and lost; `met` says whether the targets are reached.

    Raises:
        UserError: model, data or wishes that cannot be used together.
        GateError: every network tried lost more than `max_drop`; the attempts are left for inspection.
    """
    from segwright import checkpoint
    from segwright.data.layouts import find_dataset
    from segwright.export import cost, prune
    from segwright.export.targets import targets_from

    require_free(out)
    wishes = Wishes(
        targets=targets_from(speedup, latency, size, channels),
        max_drop=max_drop,
        rounds=rounds,
        importance=importance,
        distill=distill,
        engine=cost.engine_for(engine),
        threads=threads,
        settings=settings,
    )
    _refuse_impossible(wishes)
    prune.require_library()
    before = checkpoint.load(model)
    prune.require_possible(before.recipe.model)
    data, classes_csv = data_of(model, data, classes_csv)
    _refuse_other_classes(before, find_dataset(data, classes_csv=classes_csv).classes, data)
    fine_tuning(before.recipe, wishes, model)  # wrong settings are refused before anything is written
    chosen_samples(data, "val", classes_csv=classes_csv, settings=before.recipe.to_dict())

    require_writable(out)
    before.save(out / BEFORE)
    kept = fine_tuning(before.recipe, wishes, model).fit
    length = {"minutes": kept.minutes, "epochs": kept.epochs, "cool_down": kept.cool_down}
    augment = fine_tuning(before.recipe, wishes, model).data.augment
    settled = dataclasses.replace(wishes, settings=settings | length | {"augment": augment})
    write_text(out / PLAN, json.dumps(settled.to_dict(), indent=1) + "\n")
    place = {
        "data": str(data if url_of(data) else data.resolve()),
        "classes_csv": str(classes_csv.resolve()) if classes_csv else None,
    }
    write_text(out / DATA_FILE, json.dumps(place, indent=1) + "\n")
    return _carry_out(out, console)


def resume_pruning(out: Path, *, console: Console | None = None) -> Outcome:
    """Go on with a pruning that was stopped, where it stopped.

    Args:
        out: its folder.
        console: where progress is shown; None is silent.

    Raises:
        ModelError: nothing to go on with, or it is damaged.
        UserError, GateError: as `prune_model`.
    """
    if not (out / PLAN).is_file():
        raise ModelError(f"{out} is no pruning that can be gone on with: it holds no {PLAN}; name the folder of one.")
    return _carry_out(out, console)


def _refuse_impossible(wishes: Wishes) -> None:
    from segwright.export.prune import Importance

    for wrong, said in (
        (
            not 0.0 <= wishes.max_drop <= 100.0,
            f"--max-drop is a number of points of IoU, 0 to 100, not {wishes.max_drop}.",
        ),
        (wishes.rounds < 1, f"--rounds must be 1 or more, not {wishes.rounds}."),
        (not 0.0 <= wishes.distill <= 1.0, f"--distill is a share between 0 and 1, not {wishes.distill}."),
        (
            wishes.importance not in get_args(Importance),
            f"--importance is one of {', '.join(get_args(Importance))}, not {wishes.importance!r}.",
        ),
        (wishes.threads is not None and wishes.threads < 1, f"--threads must be 1 or more, not {wishes.threads}."),
    ):
        if wrong:
            raise RecipeError(said)
    decided = {f.name for f in dataclasses.fields(ModelRecipe)} | {"width", "height", "patch_size", "fit", "teacher"}
    if settled := sorted(decided & wishes.settings.keys()):
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in settled)
        raise RecipeError(
            f"{flags}: a pruned network keeps what its run says about this; leave it out (teachers: --distill)."
        )


def _refuse_other_classes(before: Checkpoint, theirs: Classes, data: Path) -> None:
    """A network can only learn again what its channels mean already."""
    ours = before.classes
    if ours.names != theirs.names and not len(ours) == len(theirs) == 2:
        raise ModelError(
            f"The model tells apart {len(ours)} classes ({_listed(ours)}) and {data} has {len(theirs)} ({_listed(theirs)}); "
            "prune with the data it was trained on, or give the same class table with --classes."
        )


def _listed(classes: Classes) -> str:
    return ", ".join(classes.names[:6]) + (", ..." if len(classes) > 6 else "")


def fine_tuning(recipe: Recipe, wishes: Wishes, model: Path) -> Recipe:
    """The recipe of the training after each thinning: the run's own, shorter, with what the user said put over it.

    Args:
        recipe: of the checkpoint.
        wishes: whose settings win.
        model: where the checkpoint came from: variation of one's own lies in its folder.

    Raises:
        RecipeError: settings that contradict each other.
    """
    from segwright.data.augment import KEPT, LEVELS

    fit, said = recipe.fit, dict(wishes.settings)
    settings: dict[str, Any] = {"weights": "none", "load_model": "", "teacher": ""}
    if "epochs" not in said and "minutes" not in said:
        settings |= {"minutes": fit.minutes / LENGTH} if fit.minutes else {"epochs": math.ceil(fit.epochs / LENGTH)}
    elif "epochs" in said and "minutes" not in said:
        settings["minutes"] = 0.0
    epochs = int(said.get("epochs", settings.get("epochs", fit.epochs)))
    settings["cool_down"] = min(fit.cool_down, epochs - 1)
    if recipe.data.augment not in LEVELS and "augment" not in said:
        folder = model if model.is_dir() else model.parent
        if not (folder / KEPT).is_file():
            raise RecipeError(
                f"The run was trained with a variation of its own, which is no longer in {folder}; choose one: --augment medium."
            )
        settings["augment"] = str((folder / KEPT).resolve())
    return recipe.with_settings(**(settings | said))


def _carry_out(out: Path, console: Console | None) -> Outcome:
    """Whatever of the plan is not done yet, and the result."""
    from segwright import checkpoint
    from segwright.export.cost import opened, race
    from segwright.export.targets import Measured

    console = console or Console(quiet=True)
    wishes, data, classes_csv = _read(out)
    before = checkpoint.load(out / BEFORE)
    samples, data_classes = chosen_samples(data, "val", classes_csv=classes_csv, settings=before.recipe.to_dict())
    with tempfile.TemporaryDirectory(prefix="segwright-prune-") as folder:
        scratch = Path(folder)
        engine, size = opened(before, wishes.engine, scratch / "before", threads=wishes.threads)
        milliseconds = race({"": engine}, seconds=SEARCH_SECONDS)[""]
        score = _measured(before, samples, data_classes, "val", data, console)
        given = _Given(
            out=out,
            wishes=wishes,
            before=before,
            data=data,
            classes_csv=classes_csv,
            samples=samples,
            data_classes=data_classes,
            engine=engine,
            scratch=scratch,
            start=Measured(share=1.0, ratio=1.0, milliseconds=milliseconds, bytes=size),
            score=score,
            console=console,
        )
        name, value, _ = score.headline
        console.print(
            f"Before: {name} {value} on {len(samples)} validation pictures, {milliseconds:.1f} ms in {wishes.engine}",
            soft_wrap=True,
            highlight=False,
        )
        return _walk(given)


def _read(out: Path) -> tuple[Wishes, Path, Path | None]:
    from segwright.export.targets import Targets

    try:
        raw = json.loads((out / PLAN).read_text(encoding="utf-8"))
        place = json.loads((out / DATA_FILE).read_text(encoding="utf-8"))
        wishes = Wishes(**{**raw, "targets": Targets(**raw["targets"])})
        data, classes_csv = Path(place["data"]), Path(place["classes_csv"]) if place["classes_csv"] else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{out} is no pruning that can be gone on with ({error}); prune again.") from error
    if not data.is_dir() and url_of(data) is None:
        raise DataError(f"{data}, which this pruning learns from, is no longer there; put it back, or prune again.")
    return wishes, data, classes_csv


def _walk(given: _Given) -> Outcome:
    """Steps towards the targets; after one that lost too much, half of what lies before it."""
    wishes, console = given.wishes, given.console
    targets, notes = _reachable(given)
    good, level, failed = given.before, 0.0, math.inf
    share, retreats = 1.0, 0
    attempts: list[Attempt] = []
    chosen: Attempt | None = None
    while level < 1.0:
        # Rounded, since six sixths of floats are a little less than 1.
        wanted = min(round(level + 1.0 / wishes.rounds, 9), 1.0)
        if wanted >= failed:
            if retreats == RETREATS:
                break
            wanted, retreats = (level + failed) / 2, retreats + 1
        attempt, network = _attempt(given, len(attempts) + 1, targets, good, share, wanted)
        attempts.append(attempt)
        console.print(_said(attempt, wishes), soft_wrap=True, highlight=False)
        if attempt.accepted:
            good, level, share, chosen = network, wanted, attempt.share, attempt
            _keep(given, network, attempt)
        else:
            failed = wanted
    if chosen is None:
        least = min(attempts, key=lambda attempt: attempt.drop)
        raise GateError(
            f"Nothing was kept: even the mildest of {len(attempts)} networks ({1 / least.ratio:.2f} times as fast) lost "
            f"{least.drop:.1f} points of IoU, and --max-drop allows {wishes.max_drop:g}; allow more, let them learn for longer "
            f"(--epochs), or take smaller steps (--rounds 4). They lie in {given.out / ATTEMPTS}."
        )
    return _outcome(given, attempts, chosen, good, notes)


def _said(attempt: Attempt, wishes: Wishes) -> str:
    verdict = "kept" if attempt.accepted else f"more than --max-drop {wishes.max_drop:g}: not kept"
    return (
        f"Network {attempt.number}: {attempt.share:.0%} of the channels, {1 / attempt.ratio:.2f} times as fast, "
        f"IoU {attempt.score}, {-attempt.drop:+.1f} points: {verdict}"
    )


def _reachable(given: _Given) -> tuple[Targets, list[str]]:
    """The targets, or as much of them as this architecture can reach at all."""
    from segwright.export.prune import LEAST_SHARE

    targets = given.wishes.targets
    if targets.met(given.start, given.start):
        raise RecipeError(
            f"The network is there already: {given.start.milliseconds:.1f} ms and {given.start.bytes / 1e6:.2f} MB, and asked for is "
            f"{targets.sentence()}; ask for less than it has."
        )
    if not (targets.speedup or targets.milliseconds or targets.bytes):
        return targets, []
    narrowest, _ = _candidate(given, given.before, 1.0, LEAST_SHARE, {})
    if targets.met(narrowest, given.start):
        return targets, []
    note = (
        f"{targets.sentence()} is out of reach: with {LEAST_SHARE:.0%} of its channels the network still takes "
        f"{narrowest.milliseconds:.1f} ms ({1 / narrowest.ratio:.1f} times as fast) and {narrowest.bytes / 1e6:.2f} MB; "
        "going as far as the allowed loss lets it"
    )
    given.console.print(note, soft_wrap=True, highlight=False)
    return targets.within(narrowest), [note]


def _attempt(
    given: _Given, number: int, targets: Targets, good: Checkpoint, share: float, level: float
) -> tuple[Attempt, Checkpoint]:
    """Thin out, learn again, measure: or whatever of it is not done yet."""
    from segwright import checkpoint
    from segwright.export.trade import attempt_from
    from segwright.training import fit, state

    folder = given.out / ATTEMPTS / str(number)
    run = folder / RUN
    if (folder / MEASURED).is_file():
        try:
            done = attempt_from(json.loads((folder / MEASURED).read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{folder / MEASURED} is damaged ({error}); remove {folder} and go on again.") from error
        return done, checkpoint.load(run)
    if (run / state.NAME).is_file():
        fit.resume(run, console=given.console)
    elif not (run / BEST).is_file():
        shutil.rmtree(folder, ignore_errors=True)  # it was stopped before anything was saved of its training
        _thin(given, folder, targets, good, share, level)
        wishes = given.wishes
        recipe = fine_tuning(given.before.recipe, wishes, given.out).with_settings(
            load_model=str(folder / THINNED),
            **({"teacher": str(given.out / BEFORE), "teacher_share": wishes.distill} if wishes.distill else {}),
        )
        fit.train(given.data, recipe, run, classes_csv=given.classes_csv, console=given.console)
    finished = checkpoint.load(run)
    attempt = _judged(given, number, level, finished, folder)
    write_text(folder / MEASURED, json.dumps(attempt.to_dict(), indent=1) + "\n")
    return attempt, finished


def _thin(given: _Given, folder: Path, targets: Targets, good: Checkpoint, share: float, level: float) -> None:
    """Find the widest network that has come far enough, and write it."""
    from segwright.export.targets import widest

    gradients = _gradients(given, good) if given.wishes.importance == "taylor" else {}
    seen: dict[float, tuple[Measured, Checkpoint]] = {}

    def tried(part: float) -> Measured:
        if part not in seen:
            seen[part] = _candidate(given, good, share, part, gradients)
        return seen[part][0]

    only = targets.channels is not None and not (targets.speedup or targets.milliseconds or targets.bytes)
    if only and targets.channels is not None:
        part = min(targets.channels**level / share, 1.0)
        tried(part)
    else:
        # Time falls somewhat faster than the share of the channels.
        part, _ = widest(tried, lambda found: targets.met(found, given.start, level), guess=0.7 * share**0.2)
    found, thinned = seen[part] if part in seen else _candidate(given, good, share, part, gradients)
    require_writable(folder)
    facts = {"share": found.share, "level": level}
    dataclasses.replace(thinned, provenance={**thinned.provenance, "thinned": facts}).save(folder / THINNED)


def _candidate(
    given: _Given, good: Checkpoint, share: float, part: float, gradients: Mapping[str, torch.Tensor]
) -> tuple[Measured, Checkpoint]:
    """A network with `part` of the channels of `good`, and what it costs beside the unpruned one."""
    from segwright.export.cost import opened, race
    from segwright.export.prune import pruned
    from segwright.export.targets import Measured

    recipe, channels = good.recipe.model, good.classes.channels
    found = pruned(good.network(), recipe, channels, part, importance=given.wishes.importance, gradients=gradients)
    if found.kept_whole and not given.floor:
        given.floor.append(f"the encoder was left as it is ({found.kept_whole})")
    thinned = dataclasses.replace(
        good, weights=dict(found.network.state_dict()), widths=found.network.widths, scores={}, step=0, epoch=0
    )
    place = Path(tempfile.mkdtemp(dir=given.scratch))
    engine, size = opened(thinned, given.wishes.engine, place, threads=given.wishes.threads)
    times = race({"before": given.engine, "after": engine}, seconds=SEARCH_SECONDS)
    ratio = times["after"] / times["before"]
    return Measured(share=share * part, ratio=ratio, milliseconds=times["after"], bytes=size), thinned


def _gradients(given: _Given, good: Checkpoint) -> dict[str, torch.Tensor]:
    """Of the loss at the weights of `good`, over training pictures."""
    from segwright.training.gradients import loss_gradients
    from segwright.training.prepare import data_for, prepare

    place = good.save(given.scratch / "good.safetensors")
    recipe = fine_tuning(good.recipe, given.wishes, given.out).with_settings(load_model=str(place), device="cpu")
    dataset, parts, recipe = data_for(given.data, recipe, given.classes_csv)
    return loss_gradients(prepare(dataset, parts, recipe, given.scratch, None))


def _judged(given: _Given, number: int, level: float, finished: Checkpoint, folder: Path) -> Attempt:
    from segwright import checkpoint
    from segwright.export.cost import opened, race
    from segwright.export.trade import Attempt

    wishes = given.wishes
    place = Path(tempfile.mkdtemp(dir=given.scratch))
    engine, size = opened(finished, wishes.engine, place, threads=wishes.threads)
    times = race({"before": given.engine, "after": engine})
    report = _measured(finished, given.samples, given.data_classes, "val", given.data, given.console)
    drop = 100.0 * (given.score.headline[1].value - report.headline[1].value)
    return Attempt(
        number=number,
        level=level,
        share=float(checkpoint.load(folder / THINNED).provenance["thinned"]["share"]),
        milliseconds=times["after"],
        ratio=times["after"] / times["before"],
        bytes=size,
        score=report.headline[1],
        drop=drop,
        accepted=drop <= wishes.max_drop,
    )


def _measured(
    model: Checkpoint, samples: tuple[Sample, ...], data_classes: Classes, split: str, data: Path, console: Console
) -> Report:
    from segwright.engines.pytorch import PyTorchEngine
    from segwright.evaluation.evaluate import evaluate
    from segwright.predict.predictor import Predictor

    predictor = Predictor(PyTorchEngine(model))
    return evaluate(
        predictor, samples, data_classes, split=split, data=data.resolve().name, progress=shown(console), panels=0
    )


def _keep(given: _Given, network: Checkpoint, attempt: Attempt) -> None:
    """Make the folder a run whose best weights are these."""
    story = {
        "share": round(attempt.share, 4),
        "speedup": round(1 / attempt.ratio, 3),
        "drop": round(attempt.drop, 3),
        "importance": given.wishes.importance,
    }
    provenance = {**network.provenance, "pruned": story}
    dataclasses.replace(network, provenance=provenance, threshold=given.before.threshold).save(given.out / BEST)


def _outcome(given: _Given, attempts: list[Attempt], chosen: Attempt, good: Checkpoint, notes: list[str]) -> Outcome:
    """Both networks beside each other, in every engine there is, on validation and on test pictures."""
    from segwright.evaluation.evaluate import machine_facts
    from segwright.evaluation.paired import difference
    from segwright.export.cost import cost_of, engines_here, opened, race
    from segwright.export.trade import Outcome, Side

    wishes, both = given.wishes, {"before": given.before, "after": good}
    rivals, sizes = {}, {}
    names = [wishes.engine, *(name for name in engines_here() if name != wishes.engine)]
    for name in names:
        for when, model in both.items():
            place = given.scratch / when
            rivals[name, when], sizes[name, when] = opened(model, name, place, threads=wishes.threads)
    times = race(rivals, seconds=2 * SEARCH_SECONDS * len(rivals))
    tests = _test_reports(given, both)
    val = {
        when: _measured(m, given.samples, given.data_classes, "val", given.data, given.console)
        for when, m in both.items()
    }

    def side(when: str) -> Side:
        by_engine = {name: times[name, when] for name in names}
        cost = cost_of(both[when], sizes[wishes.engine, when], by_engine)
        test = tests[when].headline[1] if tests else None
        return Side(cost=cost, val=val[when].headline[1], test=test)

    before, after = side("before"), side("after")
    measured = dataclasses.replace(
        given.start,
        share=chosen.share,
        ratio=times[wishes.engine, "after"] / times[wishes.engine, "before"] / LEEWAY,
        milliseconds=times[wishes.engine, "after"] / LEEWAY,
        bytes=after.cost.bytes,
    )
    result = Outcome(
        folder=given.out,
        targets=wishes.targets,
        max_drop=wishes.max_drop,
        engine=wishes.engine,
        score_name=val["before"].headline[0],
        before=before,
        after=after,
        val_change=difference(val["before"], val["after"]),
        test_change=difference(tests["before"], tests["after"]) if tests else None,
        attempts=tuple(attempts),
        chosen=chosen,
        met=wishes.targets.met(measured, given.start),
        notes=(*notes, *given.floor),
        facts={
            "model": given.before.recipe.model.model,
            "data": given.data.resolve().name,
            "rounds": wishes.rounds,
            "importance": wishes.importance,
            "distill": wishes.distill,
            "threads": wishes.threads,
            "val_pictures": len(given.samples),
            "test_pictures": len(tests["before"].pictures) if tests else 0,
            "machine": machine_facts(),
        },
    )
    result.save()
    return result


def _test_reports(given: _Given, both: Mapping[str, Checkpoint]) -> dict[str, Report]:
    """On pictures that decided nothing; empty where the data has none."""
    try:
        settings = given.before.recipe.to_dict()
        samples, classes = chosen_samples(given.data, "test", classes_csv=given.classes_csv, settings=settings)
    except DataError:
        return {}
    return {when: _measured(m, samples, classes, "test", given.data, given.console) for when, m in both.items()}
