"""A model and what it is to look at: pictures, videos, streams, webcams."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from segwright.errors import DataError, UserError
from segwright.workflows.choosing import shown

if TYPE_CHECKING:
    from segwright.classes import Classes
    from segwright.engines.foreign import Described
    from segwright.predict.cleanup import Cleanup
    from segwright.predict.found import Drawing
    from segwright.predict.frame import Choice
    from segwright.predict.loop import Summary
    from segwright.predict.predictor import Predictor
    from segwright.predict.sources import Source


FEW = 64
"""Frames of each video that are wanted, below which copies of the engine are not worth their opening."""


def predict_pictures(
    model: Path,
    source: Path,
    out: Path,
    *,
    threshold: float | None = None,
    engine: str = "file",
    device: str = "auto",
    threads: int | None = None,
    tile: bool = False,
    described: Described | None = None,
    console: Console | None = None,
) -> Summary:
    """Write index mask, colour mask and overlay for every picture of `source`.

    Args:
        model: run folder, checkpoint or exported file.
        source: a picture, or a folder of pictures.
        out: folder for what comes out.
        threshold: instead of the model's own, two classes only, 0..1.
        engine: "file" for the one that belongs to the kind of file, "auto" for the fastest here, or its name; see `opening.load`.
        device: "auto", "cpu" or "cuda".
        threads: CPU threads; None lets the engine choose.
        tile: cut pictures into tiles at their own scale; see `Predictor`.
        described: what is known about an .onnx file from elsewhere.
        console: where progress is shown; None is silent.

    Raises:
        UserError: nothing could be predicted.
    """
    from segwright.predict.large import predict_large_ones
    from segwright.predict.loop import predict_samples
    from segwright.predict.predictor import Predictor
    from segwright.predict.sources import find_pictures
    from segwright.workflows.opening import open_model

    samples = find_pictures(source, leave_out=out)
    opened = open_model(
        model,
        engine=engine,
        device=device,
        threads=threads,
        pictures=len(samples),
        described=described,
        console=console,
    )
    predictor = Predictor(opened.engine, threshold=threshold, tile=tile)
    others, lines, failures = predict_large_ones(predictor, samples, out)
    if not lines and not failures:
        return predict_samples(predictor, samples, out, progress=shown(console))
    summary = predict_samples(predictor, others, out, progress=shown(console)) if others else None
    return _with_large(summary, lines, failures, predictor.classes, out)


def _with_large(
    summary: Summary | None,
    lines: list[dict[str, Any]],
    failures: list[tuple[Path, str]],
    classes: Classes,
    out: Path,
) -> Summary:
    """One summary of small pictures, where there were some, and of large ones."""
    from segwright.outputs import write_text
    from segwright.predict.feed import Failure
    from segwright.predict.large import add_lines
    from segwright.predict.loop import Summary

    if summary is None and not lines:
        raise DataError(f"None of the {len(failures)} pictures could be read; the first: {failures[0][1]}")
    write_text(out / "classes.csv", classes.to_csv())
    add_lines(out, lines, others=summary is not None)
    every = [json.loads(line) for line in (out / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    pixels = {name: sum(line["pixels"][name] for line in every) for name in classes.names}
    total = max(sum(pixels.values()), 1)
    return replace(
        summary or Summary(out=out, pictures=0, failures=(), milliseconds=0.0, shares={}),
        pictures=len(every),
        failures=(
            *(summary.failures if summary else ()),
            *(Failure(path=path, reason=reason) for path, reason in failures),
        ),
        milliseconds=statistics.median(line["milliseconds"] for line in every),
        shares={name: count / total for name, count in pixels.items()},
    )


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What is done with the answers."""

    saves: frozenset[str] | None = None
    """Of `predict.saving.SAVES`; None takes what suits the sources."""
    save_video: bool = False
    """Annotated videos too."""
    keep_audio: bool = False
    """With the sound of video files."""
    draw: Drawing = "overlay"
    """What videos and the window show."""
    palette: Path | None = None
    """CSV of colours."""
    steady: float | None = None
    """Smoothing over time; 0 only measures the flicker."""
    window: bool = False
    """Show what is found."""


def predict_sources(
    model: Path,
    sources: Sequence[str | Path],
    out: Path,
    *,
    choice: Choice | None = None,
    cleanup: Cleanup | None = None,
    wishes: Wishes | None = None,
    threshold: float | None = None,
    engine: str = "file",
    device: str = "auto",
    threads: int | None = None,
    tile: bool = False,
    described: Described | None = None,
    console: Console | None = None,
) -> Summary:
    """Predict pictures, videos, streams and webcams, until they end or Ctrl-C.

    Args:
        model: run folder, checkpoint or exported file.
        sources: each a picture, a folder, a glob, a video, a stream's address, or a webcam's number.
        out: folder for what comes out.
        choice: which frames; None takes all.
        cleanup: of the masks; None leaves them.
        wishes: what is written and shown; None takes the defaults.
        threshold: as in `predict_pictures`, and so are the next four.
        engine: which engine.
        device: which device.
        threads: how many threads; None takes all cores, for video files with a frame on each.
        tile: whether in tiles.
        described: what is known about an .onnx file from elsewhere.
        console: where progress is shown; None is silent.

    Returns:
        What was done; `stopped` says whether Ctrl-C ended it.

    Raises:
        UserError: nothing could be predicted, or something could not be written.
    """
    from segwright.outputs import require_writable, write_text
    from segwright.predict.bulk import forget
    from segwright.predict.cleanup import Cleanup
    from segwright.predict.decoders import without_secrets
    from segwright.predict.feed import Feed
    from segwright.predict.frame import Choice
    from segwright.predict.loop import bar, run
    from segwright.predict.palette import read_palette
    from segwright.predict.predictor import Predictor
    from segwright.predict.saving import sinks_for
    from segwright.predict.sources import find_sources
    from segwright.predict.window import Window
    from segwright.workflows.opening import crew, open_model

    wishes, choice, cleanup = wishes or Wishes(), choice or Choice(), cleanup or Cleanup()
    found = find_sources(sources, leave_out=out)
    window = Window() if wishes.window else None
    # Nobody knows how many frames of a video will be wanted; there are enough to look for the fastest engine.
    still = all(source.kind == "pictures" for source in found)
    pictures = sum(len(source.pictures) for source in found) if still else None
    opened = open_model(
        model, engine=engine, device=device, threads=threads, pictures=pictures, described=described, console=console
    )
    with_engine = partial(Predictor, threshold=threshold, tile=tile)
    predictor = with_engine(opened.engine)
    classes = read_palette(wishes.palette, predictor.classes) if wishes.palette else predictor.classes
    require_writable(out)
    forget(out)
    write_text(out / "classes.csv", classes.to_csv())
    if predictor.tiled and (choice.size_wh or not cleanup.idle):
        _refuse_large_ones(found)
    found, lines, failures = _large_ones_first(predictor, found, out)
    if not found:
        return replace(_with_large(None, lines, failures, classes, out), saved=frozenset({"masks", "jsonl"}))
    # The lines of large pictures are added to those of the others.
    said = wishes.saves if wishes.saves is None or not lines else wishes.saves | {"jsonl"}
    saves, sinks = sinks_for(
        said,
        out,
        classes,
        found,
        save_video=wishes.save_video,
        draw=wishes.draw,
        keep_audio=wishes.keep_audio,
    )
    if not sinks and window is None:
        raise UserError("Nothing would be written or shown; give --save or --view-img.")

    def tell(sentence: str) -> None:
        if console is not None:
            Console(stderr=True).print(without_secrets(sentence), soft_wrap=True, highlight=False, markup=False)

    feed = Feed(found, choice, tell=tell)
    # Pictures wait for their decoding rather than for the network, and many large ones at once would fill the memory.
    many = threads is None and window is None and any(source.kind == "video" for source in found) and not feed.live
    if many and (choice.most or FEW) >= FEW:
        one, *others = crew(opened, device=device, described=described)
        predictor, helpers = with_engine(one), [with_engine(other) for other in others]
    else:
        helpers = []
    try:
        summary = run(
            predictor,
            feed,
            sinks,
            out,
            helpers=helpers,
            palette=classes,
            cleanup=cleanup,
            steady=wishes.steady,
            window=window,
            draw=wishes.draw,
            status=bar(feed) if shown(console) else None,
        )
        summary = replace(summary, saved=saves)
        return _with_large(summary, lines, failures, classes, out) if lines or failures else summary
    finally:
        if window is not None:
            window.close()


def _refuse_large_ones(sources: Sequence[Source]) -> None:
    """Whole pictures are resized and cleaned, not rows of them.

    Raises:
        UserError: there is a picture that is only read by rows.
    """
    from segwright.predict.large import is_large

    for sample in (sample for source in sources for sample in source.pictures):
        if is_large(sample.image):
            raise UserError(
                f"{sample.image} is read by rows, because it is large, and --size, --min-area, --fill-holes and --largest-only need whole "
                "pictures; leave them out, or that file."
            )


def _large_ones_first(
    predictor: Predictor, sources: Sequence[Source], out: Path
) -> tuple[tuple[Source, ...], list[dict[str, Any]], list[tuple[Path, str]]]:
    """`predict_large_ones` for the pictures among some sources; answers with the sources that are left."""
    from segwright.predict.large import predict_large_ones

    left: list[Source] = []
    lines: list[dict[str, Any]] = []
    failures: list[tuple[Path, str]] = []
    for source in sources:
        others, some, bad = predict_large_ones(predictor, source.pictures, out)
        lines += some
        failures += bad
        if source.kind != "pictures" or others:
            left.append(replace(source, pictures=tuple(others)))
    return tuple(left), lines, failures
