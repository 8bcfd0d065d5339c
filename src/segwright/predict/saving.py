"""What is written: from the words of `--save` to places for results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from segwright.classes import Classes
from segwright.errors import UserError
from segwright.predict.annotations import Coco, LabelMe, Yolo
from segwright.predict.found import Drawing
from segwright.predict.recorder import Recorder
from segwright.predict.sinks import JsonLines, Pictures, Sink
from segwright.predict.sources import Source

PICTURES = ("masks", "colours", "overlays", "contours", "frames")
POLYGONS = ("coco", "labelme", "yolo")
SAVES = (*PICTURES, "jsonl", *POLYGONS, "video")
"""Everything that `--save` knows."""


def saved_by_default(sources: Sequence[Source]) -> frozenset[str]:
    """What is written when nothing is said.

    Pictures get masks, colours and overlays; video files an annotated video; live sources, which may run for weeks, only their
    lines of JSON.
    """
    kinds = {source.kind for source in sources}
    still = {"masks", "colours", "overlays"} if "pictures" in kinds else set()
    return frozenset({"jsonl"} | still | ({"video"} if "video" in kinds else set()))


def parse_saves(text: str) -> frozenset[str]:
    """The words of `--save masks,jsonl`.

    Raises:
        UserError: a word that is not known.
    """
    words = frozenset(word for part in text.lower().split(",") if (word := part.strip())) - {"none"}
    if unknown := sorted(words - set(SAVES)):
        raise UserError(
            f"--save does not know {', '.join(unknown)}; choose from {', '.join(SAVES)}, with commas between."
        )
    return words


def sinks_for(
    said: frozenset[str] | None,
    out: Path,
    classes: Classes,
    sources: Sequence[Source],
    *,
    save_video: bool = False,
    draw: Drawing = "overlay",
    keep_audio: bool = False,
) -> tuple[frozenset[str], list[Sink]]:
    """What is written, and the places for it.

    Args:
        said: words of `--save`; None takes the defaults, which do not write a PNG for every frame of a video.
        out: folder.
        classes: of the model, in the colours that are drawn.
        sources: of the run.
        save_video: write videos, whatever was said.
        draw: what videos show.
        keep_audio: with the sound of video files.

    Raises:
        UserError: videos of nothing that moves, or sound without videos.
        MissingExtraError: videos without PyAV.
    """
    saves = (saved_by_default(sources) if said is None else said) | ({"video"} if save_video else set())
    moving = any(source.kind != "pictures" for source in sources)
    if "video" in saves and not moving:
        raise UserError("--save-video is for videos, streams and webcams, and only pictures were named; leave it out.")
    if keep_audio and "video" not in saves:
        raise UserError("--keep-audio belongs to --save-video; give both.")
    sinks: list[Sink] = []
    pictures = saves & set(PICTURES)
    if moving and saves & {"labelme"}:
        pictures |= {"frames"}  # LabelMe opens a picture, and frames of a video are none yet
    # The list of what was done is written last, so that it never names what is not there.
    if pictures:
        sinks.append(Pictures(out, pictures, moving=said is not None))
    if "labelme" in saves:
        sinks.append(LabelMe(out))
    if "yolo" in saves:
        sinks.append(Yolo(out, classes))
    if "coco" in saves:
        sinks.append(Coco(out, classes))
    if "video" in saves:
        sinks.append(Recorder(out, draw=draw, keep_audio=keep_audio))
    if "jsonl" in saves:
        # What watches a camera is started again after a power cut, and must not begin by losing what it saw.
        sinks.append(JsonLines(out, go_on=any(source.kind in {"stream", "webcam"} for source in sources)))
    return saves, sinks
