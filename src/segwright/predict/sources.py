"""What a word of the command line means: pictures, videos, a stream or a webcam - files, folders, globs, addresses, numbers."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path
from typing import Literal
from urllib.request import urlopen

from segwright.data.packing import PACK_FILE, read_pack
from segwright.data.sample import IMAGE_SUFFIXES, Sample
from segwright.data.shards import exists, files_below, url_of
from segwright.errors import DataError
from segwright.predict.decoders import without_secrets

ANSWER_SECONDS = 5.0
"""How long a web server may take to say whether an address is a pack of pictures."""
MAGIC = frozenset("*?[")
VIDEO_SUFFIXES = frozenset(
    {
        *(".3gp", ".avi", ".flv", ".gif", ".h264", ".m2ts", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4"),
        *(".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv"),
    }
)
STREAMS = re.compile(r"(rtsps?|rtmps?|https?|udp|tcp|rtp|srt|mms)://.+", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Source:
    """One thing that frames come from: pictures, one video file, one stream or one webcam."""

    kind: Literal["pictures", "video", "stream", "webcam"]
    name: str
    """Differs from those of the other sources of a run; keys of frames and names of written videos begin with it."""
    address: str = ""
    """Path, URL (with its password, if it has one) or number."""
    pictures: tuple[Sample, ...] = ()

    @property
    def shown(self) -> str:
        """The address for messages."""
        return f"webcam {self.address}" if self.kind == "webcam" else without_secrets(self.address)


def find_sources(words: Sequence[str | Path], *, leave_out: Path | None = None) -> tuple[Source, ...]:
    """Everything that some words mean, in their order; the pictures of all of them are one source.

    Args:
        words: each a picture, a video, a folder with both, a glob, a pack, a URL such as s3://bucket/shots, a stream's address or a
            webcam's number.
        leave_out: as in `find_pictures`.

    Raises:
        DataError: nothing there, or nothing that can be looked at.
    """
    if not words:
        raise DataError("Name what to predict: a picture, folder, glob, video, stream (rtsp://...) or webcam number.")
    pictures: list[Sample] = []
    moving: list[Source] = []
    for word in words:
        text = str(word)
        if re.fullmatch(r"\d{1,3}", text) and not Path(text).exists():
            moving.append(Source(kind="webcam", name=f"webcam-{text}", address=text))
        elif STREAMS.fullmatch(text) and not _is_pack(text):
            moving.append(Source(kind="stream", name=_stream_name(text), address=text))
        else:
            found, videos = _find(Path(word), leave_out=leave_out, also_videos=True)
            pictures += _apart(pictures, found, Path(word))
            moving += [Source(kind="video", name=video.key, address=str(video.image)) for video in videos]
    taken = Counter(sample.key.casefold() for sample in pictures)
    named = []
    for source in moving:
        name, number = source.name, 2
        while taken[name.casefold()]:
            name, number = f"{source.name}-{number}", number + 1
        taken[name.casefold()] += 1
        named.append(replace(source, name=name))
    if pictures:
        named.insert(0, Source(kind="pictures", name="pictures", pictures=tuple(pictures)))
    return tuple(named)


def find_pictures(source: Path, *, leave_out: Path | None = None) -> tuple[Sample, ...]:
    """Every picture a path means, sorted by key.

    Args:
        source: a picture, a folder, a pack, a glob such as shots/**/*.jpg, or a URL such as s3://bucket/shots.
        leave_out: a folder whose pictures are skipped: the answers of an earlier run may lie below their own source.

    Returns:
        Samples without masks; keys are paths below the folder (or the glob's fixed part) without suffix. Pictures that
        differ only in their suffix, or only in upper and lower case, keep the suffix in their keys.

    Raises:
        DataError: nothing there, or no picture in it.
    """
    return _find(source, leave_out=leave_out, also_videos=False)[0]


def _find(source: Path, *, leave_out: Path | None, also_videos: bool) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Pictures and videos of a path, both with keys."""
    url = url_of(source)
    behind_url = url is not None and source.suffix.lower() not in IMAGE_SUFFIXES and exists(source / PACK_FILE)
    if (source.is_dir() or behind_url) and (packed := read_pack(source)):
        return tuple(sample for samples in packed.splits.values() for sample in samples), ()
    wanted = IMAGE_SUFFIXES | VIDEO_SUFFIXES if also_videos else IMAGE_SUFFIXES
    endings, things = ", ".join(sorted(wanted)), "pictures or videos" if also_videos else "pictures"
    thing = "picture or video" if also_videos else "picture"
    if url is not None:
        paths = files_below(source)
        root = source.parent if paths == [source] else source
        wanted = IMAGE_SUFFIXES  # videos are read from disks, and from servers that stream them
        nothing = f"{url} holds no pictures ({', '.join(sorted(wanted))}); name another address."
    elif source.is_dir():
        root, paths = source, _walk(source)
        nothing = f"{source} holds no {things} ({endings}); name another folder."
    elif source.exists():
        root, paths = source.parent, [source]
        nothing = f"{source} is not a {thing} by its name; {things} end in {endings}."
    elif MAGIC & set(str(source)):
        fixed = next(n for n, part in enumerate(source.parts) if MAGIC & set(part))
        root = Path(*source.parts[:fixed])
        try:
            paths = [path for path in root.glob(str(Path(*source.parts[fixed:]))) if path.is_file()]
        except ValueError as error:
            raise DataError(f"{source} is not a pattern ({error}); write for example 'shots/**/*.jpg'.") from error
        nothing = f"No {thing} matches {source}; check the pattern, and write it in quotes."
    else:
        raise DataError(
            f"{source} does not exist; name a picture, a folder of pictures or a pattern such as 'shots/*.jpg'."
        )
    paths = [path for path in paths if path.suffix.lower() in wanted and not _below(path, leave_out)]
    if not paths:
        raise DataError(nothing)
    samples = _with_keys(root, sorted(paths))
    videos = tuple(sample for sample in samples if sample.image.suffix.lower() in VIDEO_SUFFIXES)
    return tuple(sample for sample in samples if sample.image.suffix.lower() not in VIDEO_SUFFIXES), videos


def _is_pack(address: str) -> bool:
    """Whether a URL holds what `segwright pack` wrote. Many cameras send their endless stream whatever is asked for."""
    if not address.lower().startswith("http") or "?" in address:
        return False
    try:
        with urlopen(f"{address.rstrip('/')}/{PACK_FILE}", timeout=ANSWER_SECONDS) as answer:  # noqa: S310 - http, as said above
            return bool(answer.read(1) == b"{")
    except (OSError, ValueError, HTTPException):
        return False


def _stream_name(address: str) -> str:
    """A name for files from a stream's address: its host and path, without password, query or port."""
    rest = without_secrets(address).partition("://")[2].partition("?")[0]
    host, _, path = rest.partition("/")
    words = re.findall(r"[\w.-]+", f"{re.sub(r':[0-9]+$', '', host)}/{path}")
    return "-".join(words).strip(".-") or "stream"


def _apart(taken: Sequence[Sample], found: Sequence[Sample], word: Path) -> list[Sample]:
    """The samples of one more word; where a key is taken already, all of its keys are put below the word's own name."""
    keys, name, number = {sample.key.casefold() for sample in taken}, word.resolve().stem or "pictures", 1
    apart = list(found)
    while any(sample.key.casefold() in keys for sample in apart):
        below = name if number == 1 else f"{name}-{number}"
        apart = [replace(sample, key=f"{below}/{sample.key}") for sample in found]
        number += 1
    return apart


def _walk(folder: Path) -> list[Path]:
    """Files below a folder, hidden ones left out; links to folders are not followed, because they may lead in circles."""

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename} may not be read ({error.strerror}); give yourself permission.") from error

    found: list[Path] = []
    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent) / name for name in files if not name.startswith(".")]
    return found


def _below(path: Path, folder: Path | None) -> bool:
    return folder is not None and not url_of(path) and path.resolve().is_relative_to(folder.resolve())


def _with_keys(root: Path, paths: list[Path]) -> tuple[Sample, ...]:
    keys = [path.relative_to(root).with_suffix("").as_posix() for path in paths]
    # Compared without case: two such files would be one on the disks of Windows and macOS.
    taken = Counter(key.casefold() for key in keys)
    return tuple(
        Sample(path.relative_to(root).as_posix() if taken[key.casefold()] > 1 else key, path)
        for key, path in zip(keys, paths, strict=True)
    )
