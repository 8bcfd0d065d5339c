"""Who is told how a run goes, besides log.csv: TensorBoard, and only when asked for, Weights & Biases and MLflow.

Steps are optimiser steps of the whole run, so curves of a resumed run join. Names are those of log.csv with a slash after
the split: train/loss, val/iou, val_iou/CLASS. Nothing leaves this machine unless the user has asked for that.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import math
import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import lightning as L
import lightning.pytorch.utilities
import numpy as np
from PIL import Image
from rich.console import Console

from segwright.errors import MissingExtraError, OutputError, RecipeError
from segwright.outputs import write_text
from segwright.recipe import Recipe, to_yaml
from segwright.training.panels import film_strip
from segwright.training.plan import Plan
from segwright.training.segmenter import Segmenter

EVERY = 50
"""Loss and learning rate are told every so many steps between checks; MLflow needs some ten milliseconds for a line."""
BOARD_WIDTH = 1200
"""TensorBoard keeps every picture inside its one file, so panels are made smaller for it."""
IDS_FILE = "loggers.json"
"""In the run folder: which run of W&B or MLflow this is, so that resuming goes on in the same one."""
PROJECT = "segwright"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Kind:
    """One way of being told."""

    library: str
    """What must be importable; the extra of the same name brings it."""
    begin: Callable[[Path, Recipe, dict[str, str], Say], Any]
    """(run folder, recipe, ids of an earlier part of the run, say) -> Lightning's logger, ready."""
    picture: Callable[[Any, str, Path, int], None]
    """(logger, name, PNG or GIF, step)."""
    end: Callable[[Any, bool], None]
    """(logger, whether the run ended well)."""


class Loggers(L.Callback):
    """Tells every logger of a run what happens. One that fails is dropped with a sentence; the run goes on.

    Args:
        recipe: its `logger` says who, its fields are told at the start.
        folder: of the run.
        plan: knows step and learning rate.
        say: prints a line for the user.

    Raises:
        RecipeError: a logger cannot be started, for example because its server does not answer.
    """

    def __init__(self, recipe: Recipe, folder: Path, plan: Plan, say: Say) -> None:
        self.plan, self.say = plan, say
        self.images_per_second = 0.0
        """Pictures learnt from since the last check, loading included, the check not."""
        self._pictures, self._since = 0, time.monotonic()
        self._told = -1
        self.listening: dict[str, Any] = {}
        self.speaks = not getattr(lightning.pytorch.utilities.rank_zero_only, "rank", 0)
        """Whether this is the first process, which speaks for all."""
        if not self.speaks:
            return
        ids = json.loads((folder / IDS_FILE).read_text(encoding="utf-8")) if (folder / IDS_FILE).is_file() else {}
        before = dict(ids)
        for name in recipe.run.loggers:
            try:
                self.listening[name] = KINDS[name].begin(folder, recipe, ids, say)
            except Exception as error:
                self.finish(well=False)
                raise RecipeError(
                    f"--logger {name} cannot be started ({_first_line(error)}); mend that, or train without it."
                ) from error
        if ids != before:
            write_text(folder / IDS_FILE, json.dumps(ids) + "\n")

    def log_check(self, row: Mapping[str, float], panels: Path | None) -> None:
        """Tell the results of a check.

        Args:
            row: a line of log.csv; scores that do not exist (NaN) are left out.
            panels: its pictures, if any were drawn.
        """
        step = int(row["step"])
        self._tell({name: value for name, value in row.items() if name != "step"}, step)
        if panels is not None:
            self._each(lambda name, logger: KINDS[name].picture(logger, "panels", panels, step))

    def log_film(self, files: tuple[Path, Path] | None) -> None:
        """Hand over the film strip: PNG and GIF."""
        still, moving = files or (None, None)
        if still is not None and moving is not None:
            self._each(lambda name, logger: KINDS[name].picture(logger, "film", still, self.plan.step))
            self._each(lambda name, logger: KINDS[name].picture(logger, "film_moving", moving, self.plan.step))

    def finish(self, *, well: bool) -> None:
        """Close everything.

        Args:
            well: whether the run came to its end.
        """
        self._each(lambda name, logger: KINDS[name].end(logger, well))
        self.listening = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the watch."""
        self._pictures, self._since = 0, time.monotonic()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Tell loss and learning rate now and then."""
        step = self.plan.step
        if isinstance(pl_module, Segmenter) and step and step % EVERY == 0 and step != self._told:
            self._told = step
            self._tell({"train_loss": pl_module.train_loss, "lr": self.plan.learning_rate()}, step)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count pictures."""
        self._pictures += len(batch.keys) * trainer.world_size

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Work out the speed since the last check."""
        if self._pictures:
            self.images_per_second = self._pictures / max(time.monotonic() - self._since, 1e-9)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the watch again; callbacks that draw and save belong before this one."""
        self._pictures, self._since = 0, time.monotonic()

    def _tell(self, row: Mapping[str, float], step: int) -> None:
        known = {slashed(name): float(value) for name, value in row.items() if math.isfinite(value)}
        self._each(lambda _, logger: logger.log_metrics(known, step=step))

    def _each(self, do: Callable[[str, Any], None]) -> None:
        for name, logger in list(self.listening.items()):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # what these libraries find old-fashioned in each other
                    do(name, logger)
            except Exception as error:  # a server that went away must not end hours of training
                del self.listening[name]
                self.say(
                    f"{name} is no longer told ({_first_line(error)}); the run goes on, and log.csv has everything."
                )


@contextlib.contextmanager
def opened(recipe: Recipe, folder: Path, plan: Plan, console: Console) -> Iterator[Loggers]:
    """The loggers of a run. At its end, however it comes, the film strip is made and everything is closed.

    Args:
        recipe: as in `Loggers`.
        folder: of the run.
        plan: as in `Loggers`.
        console: where lines for the user go.

    Raises:
        RecipeError: as in `Loggers`.
    """
    loggers = Loggers(recipe, folder, plan, lambda line: console.print(line, soft_wrap=True, highlight=False))
    well = False
    try:
        yield loggers
        well = True
    finally:
        if loggers.speaks:
            try:
                loggers.log_film(film_strip(folder / "panels"))
            except OutputError as error:  # what was learnt lies there already
                loggers.say(str(error))
        loggers.finish(well=well)


def require_installed(recipe: Recipe) -> None:
    """Refuse a logger whose library is absent, before any work.

    Raises:
        MissingExtraError: names the extra to install.
    """
    for name in recipe.run.loggers:
        library = KINDS[name].library
        if library in sys.modules:
            continue
        found = importlib.util.find_spec(library)
        # W&B leaves folders of its own name; Python takes a folder without code for a package, but one without an origin.
        if found is None or found.origin is None:
            raise MissingExtraError(library, library)


def slashed(column: str) -> str:
    """The name of a column of log.csv for loggers, which make groups of what stands before a slash."""
    for split in ("val_iou_", "train_", "val_"):
        if column.startswith(split):
            return f"{split[:-1]}/{column.removeprefix(split)}"
    return column


def _begin_tensorboard(folder: Path, recipe: Recipe, ids: dict[str, str], say: Say) -> Any:
    from lightning.pytorch.loggers import TensorBoardLogger

    logger = TensorBoardLogger(folder, name="tensorboard", version="", default_hp_metric=False)
    logger.experiment.add_text("recipe", f"```\n{to_yaml(recipe)}```", 0)
    return logger


def _picture_to_tensorboard(logger: Any, name: str, file: Path, step: int) -> None:
    if file.suffix == ".gif":
        return  # it would show the first frame
    with Image.open(file) as page:
        picture = np.asarray(page.convert("RGB"))
    height, width = picture.shape[:2]
    if width > BOARD_WIDTH:
        size = BOARD_WIDTH, max(1, round(height * BOARD_WIDTH / width))
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    logger.experiment.add_image(name, picture, step, dataformats="HWC")
    logger.experiment.flush()  # somebody may be looking


def _end_tensorboard(logger: Any, well: bool) -> None:
    logger.finalize("success" if well else "failed")


def _begin_wandb(folder: Path, recipe: Recipe, ids: dict[str, str], say: Say) -> Any:
    """Offline unless WANDB_MODE or WANDB_API_KEY says otherwise; names of folders, users and hosts are not collected."""
    asked = bool(os.environ.get("WANDB_MODE") or os.environ.get("WANDB_API_KEY"))
    if not asked:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb
    from lightning.pytorch.loggers import WandbLogger

    folder.mkdir(parents=True, exist_ok=True)
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        name=folder.name,
        dir=folder,
        id=ids.get("wandb"),
        resume="allow",
        config=recipe.to_dict(),
        mode=None if asked else "offline",
        settings=wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            disable_code=True,
            x_disable_meta=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
        ),
    )
    run.define_metric("trainer/global_step")  # Lightning's name for the step it is given
    run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    ids["wandb"] = run.id
    logger = WandbLogger(experiment=run)
    if not asked:
        say(
            f"W&B is offline: nothing leaves this machine. To send the run later: wandb sync {folder}/wandb/offline-run-*"
        )
    elif run.url:
        say(f"W&B: {run.url}")
    return logger


def _picture_to_wandb(logger: Any, name: str, file: Path, step: int) -> None:
    if file.suffix == ".gif":
        logger.log_video(name, [str(file)], step=step, format=["gif"])
    else:
        logger.log_image(name, [str(file)], step=step)


def _end_wandb(logger: Any, well: bool) -> None:
    logger.experiment.finish(exit_code=0 if well else 1)


def _begin_mlflow(folder: Path, recipe: Recipe, ids: dict[str, str], say: Say) -> Any:
    """Into a SQLite file in the run folder unless MLFLOW_TRACKING_URI names a place."""
    server = os.environ.get("MLFLOW_TRACKING_URI")
    if not server:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # The training waits for a server; the default is minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what it imports, about each other
        import mlflow  # noqa: F401 - sets the levels of its messages when imported
        from lightning.pytorch.loggers import MLFlowLogger

        for noisy in ("mlflow", "alembic", "lightning.pytorch.loggers.mlflow"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        logger = MLFlowLogger(
            experiment_name=PROJECT,
            run_name=folder.name,
            tracking_uri=server or f"sqlite:///{folder.resolve() / 'mlflow.db'}",
            artifact_location=None if server else (folder.resolve() / "mlflow").as_uri(),
            run_id=ids.get("mlflow"),
            tags={"mlflow.source.name": PROJECT, "mlflow.user": ""},
        )
        known = "mlflow" in ids
        ids["mlflow"] = str(logger.run_id)
        if not known:  # MLflow refuses settings that changed, and a resumed run may have another device
            logger.log_hyperparams(recipe.to_dict())
    if not server:
        os.environ.pop("MLFLOW_TRACKING_URI", None)  # MLflow has set it, and the next run would take it for the user's
        say(f"MLflow writes into the run folder; look with: mlflow ui --backend-store-uri sqlite:///{folder}/mlflow.db")
    return _Sayable(logger)


class _Sayable:
    """Lightning's MLflow logger with names that MLflow takes: letters, digits and _/.- and space."""

    def __init__(self, logger: Any) -> None:
        self.logger = logger
        self._names: dict[str, str] = {}

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        self.logger.log_metrics({self._name(name): value for name, value in metrics.items()}, step=step)

    def _name(self, name: str) -> str:
        if name not in self._names:
            plain = re.sub(r"[^a-zA-Z0-9_/. -]", "_", name)
            while plain in self._names.values():  # two names may become one
                plain += "_"
            self._names[name] = plain
        return self._names[name]


def _picture_to_mlflow(logger: Any, name: str, file: Path, step: int) -> None:
    logger.logger.experiment.log_artifact(logger.logger.run_id, str(file), name.partition("_")[0])


def _end_mlflow(logger: Any, well: bool) -> None:
    logger.logger.finalize("success" if well else "failed")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


KINDS: dict[str, Kind] = {
    "tensorboard": Kind("tensorboard", _begin_tensorboard, _picture_to_tensorboard, _end_tensorboard),
    "wandb": Kind("wandb", _begin_wandb, _picture_to_wandb, _end_wandb),
    "mlflow": Kind("mlflow", _begin_mlflow, _picture_to_mlflow, _end_mlflow),
}
