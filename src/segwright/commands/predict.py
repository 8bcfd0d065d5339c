"""`predict`: what a model finds in pictures, videos, streams and webcams."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from segwright import recipe
from segwright.commands.speaking import NOT_GOOD_ENOUGH, OK, console_of, fail
from segwright.errors import UserError

if TYPE_CHECKING:
    from segwright.predict.loop import Summary

PLACES = {
    "masks": "masks",
    "colours": "colours",
    "overlays": "overlays",
    "contours": "contours",
    "frames": "frames",
    "video": "videos",
    "coco": "COCO annotations",
    "labelme": "LabelMe files",
    "yolo": "YOLO files",
}
"""What is said of each word of `--save`; predictions.jsonl is always named in the documentation, and here when it is alone."""

Flag = Annotated[bool, Parameter(negative="")]


def predict(
    model: Path,
    /,
    *sources: str,
    out: Path = Path("predictions"),
    save: str | None = None,
    save_video: Flag = False,
    keep_audio: Flag = False,
    view_img: Flag = False,
    draw: Literal["overlay", "contours", "colours"] = "overlay",
    palette: Path | None = None,
    threshold: Annotated[float | None, Parameter(name=["--conf-thres", "--threshold"])] = None,
    min_area: int = 0,
    fill_holes: int = 0,
    largest_only: Flag = False,
    steady: float | None = None,
    size: str | None = None,
    every: int = 1,
    max_frames: int | None = None,
    start: float = 0.0,
    end: float | None = None,
    engine: str = "auto",
    device: recipe.Device = "auto",
    threads: int | None = None,
    tile: Flag = False,
    classes: Path | None = None,
    mean: str | None = None,
    std: str | None = None,
    ray: Flag = False,
    workers: int | None = None,
) -> int:
    """Find things in pictures, videos, streams or webcams, and write what was found.

    Args:
        model: Run folder, checkpoint or exported .onnx file.
        sources: Pictures, folders, globs, videos, stream addresses (rtsp://, http://), webcam numbers; several at once.
        out: Folder for what comes out.
        save: What is written, with commas: masks, colours, overlays, contours, frames, jsonl, coco, labelme, yolo, video; default
            masks,colours,overlays,jsonl for pictures, video,jsonl for videos, jsonl for streams.
        save_video: Also write an annotated video (H.264, at the original times) for each video, stream or webcam.
        keep_audio: Take the sound of video files along.
        view_img: Show what is found in a window; q quits, space pauses.
        draw: What videos and the window show.
        palette: CSV of name,r,g,b or index,r,g,b with colours for what is drawn.
        threshold: Least probability that counts as foreground (two classes); default the model's own.
        min_area: Remove pieces of fewer pixels.
        fill_holes: Fill holes of up to so many pixels.
        largest_only: Keep only the largest piece of each class.
        steady: Smooth masks over time, 0 to less than 1; prints the flicker before and after. 0 only measures.
        size: Resize every picture to WIDTHxHEIGHT first, for example 640x480; all that is written has that size. Of an .onnx file from
            elsewhere: the size it is to run at.
        every: Take only every so manieth frame of videos and streams.
        max_frames: Stop each video or stream after so many frames.
        start: Second of videos and streams to begin at.
        end: Second of videos and streams to stop at.
        engine: What computes: auto takes the fastest here, measured once for each model and machine where there is enough to predict;
            file takes what belongs to the kind of file (PyTorch for runs); or a name, such as onnxruntime or openvino.
        device: Where to compute: auto takes CUDA where there is one.
        threads: CPU threads; default the engine's own choice.
        tile: Cut pictures into tiles of the model's size at their own scale; models trained with --patch-size always do.
            TIFFs of more than 50 million pixels are then read and written by rows.
        classes: Of an .onnx file from elsewhere: a class table, or the names in their order with commas between.
        mean: Of an .onnx file from elsewhere: mean of the channels after scaling to 0..1, such as 0.485,0.456,0.406.
        std: Of an .onnx file from elsewhere: standard deviation of the channels likewise.
        ray: For millions of pictures: predict on the Ray cluster that RAY_ADDRESS names, else with one worker on each core here;
            the same command goes on where it was stopped.
        workers: With --ray, so many at the same time.
    """
    from segwright.engines.memory import keep_memory
    from segwright.predict.cleanup import Cleanup
    from segwright.predict.frame import Choice, size_of
    from segwright.predict.saving import parse_saves
    from segwright.workflows import predicting
    from segwright.workflows.bulk import predict_with_ray
    from segwright.workflows.describing import described

    console = console_of()
    keep_memory()
    elsewhere = any((classes, mean, std))
    about = described(model, classes=classes, size=size, mean=mean, std=std) if elsewhere else None
    resized = size_of(size) if size and not elsewhere else None
    choice = Choice(every=every, most=max_frames, start=start, end=end, size_wh=resized)
    wishes = predicting.Wishes(
        saves=None if save is None else parse_saves(save),
        save_video=save_video,
        keep_audio=keep_audio,
        draw=draw,
        palette=palette,
        steady=steady,
        window=view_img,
    )
    asked: dict[str, Any] = {
        "choice": choice,
        "cleanup": Cleanup(smallest=min_area, hole=fill_holes, largest_only=largest_only),
        "wishes": wishes,
        "console": console,
        "threshold": threshold,
        "engine": engine,
        "device": device,
        "threads": threads,
        "tile": tile,
        "described": about,
    }
    if workers is not None and not ray:
        raise UserError("--workers belongs to --ray; give both, or --threads for one process.")
    with _sigterm_as_ctrl_c():
        if ray:
            done = predict_with_ray(model, sources, out, workers=workers, **asked)
            summary = done.summary
        else:
            summary = predicting.predict_sources(model, sources, out, **asked)
    _report(summary, console)
    if ray and done.new < summary.pictures:
        say = f"{done.new} of them in this run; the others were there already"
        console.print(say, soft_wrap=True, highlight=False)
    if summary.stopped and not summary.losses:
        raise KeyboardInterrupt  # a file was not read to its end; a live source has none, so stopping it is no failure
    if summary.failures:
        count, whole = len(summary.failures), " whole" if summary.frames or summary.losses else ""
        noun = ("source" if whole else "picture") + ("s" if count > 1 else "")
        fail(f"{count} {noun} could not be read{whole}; the first: {summary.failures[0].reason}", NOT_GOOD_ENOUGH)
    return OK


def _report(summary: Summary, console: Any) -> None:
    def say(text: str) -> None:
        console.print(text, soft_wrap=True, highlight=False, markup=False)

    shares = ", ".join(f"{name} {100 * share:.1f} %" for name, share in summary.shares.items())
    if summary.pictures:
        what = ("frame" if summary.frames == summary.pictures else "picture") + ("s" if summary.pictures > 1 else "")
        rate = f" ({summary.pictures / summary.seconds:.1f} a second)" if summary.frames else ""
        pace = "" if math.isnan(summary.milliseconds) else f", {summary.milliseconds:.0f} ms each"
        say(f"{summary.pictures} {what}{pace}{rate}: {shares}")
    for name, losses in summary.losses.items():
        say(
            f"{name}: {losses.received} frames received, {losses.replaced + losses.skipped} passed over for newer ones, "
            f"{losses.damaged} damaged, {losses.reconnected} times reconnected; answers {summary.delay:.1f} s after arrival"
        )
    if summary.flicker is not None:
        before, after = (100 * share for share in summary.flicker)
        what = f"{before:.2f} % of pixels change class from frame to frame before smoothing, {after:.2f} % after"
        say(f"Flicker: {what if before >= 0 else 'not measured, for want of two frames that follow each other'}")
    if places := _places(summary.saved):
        say(f"{places} in {summary.out}")


def _places(saved: frozenset[str]) -> str:
    """Masks, colours and overlays lie."""
    words = [word for name, word in PLACES.items() if name in saved]
    if not words:
        return "predictions.jsonl lies" if "jsonl" in saved else ""
    listed = " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
    return f"{listed[0].upper()}{listed[1:]} lie"


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Service managers stop what runs for days with SIGTERM; it should then end as with Ctrl-C."""
    try:
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    except ValueError:
        yield  # not the main thread: whoever calls from there has signals of their own
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
