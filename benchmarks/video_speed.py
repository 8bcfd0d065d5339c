"""From a video file to an annotated video file: segwright with every engine there is, against the usual loop, interleaved.

python benchmarks/video_speed.py VIDEO --frames 300

The usual loop: OpenCV reads, NumPy normalises, PyTorch predicts eagerly, argmax, NumPy blends, OpenCV writes, one after another.
LR-ASPP large with random weights at 640x480 (the weights do not change the time). Each round runs every way once over the same
frames, so that other work on the machine hits all alike; CPU time is that of the whole process, and the usual loop has one of its own.

With as many threads for the network as there are cores, reading and writing take time from it: the rate of the network alone cannot be
reached. With fewer it can, where the rest finds a core of its own, so both are measured.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import tables  # noqa: E402
from sides import Side, at_work  # noqa: E402

from segwright.checkpoint import Checkpoint  # noqa: E402
from segwright.checkpoint import load as load_checkpoint  # noqa: E402
from segwright.classes import Classes  # noqa: E402
from segwright.errors import UserError  # noqa: E402
from segwright.export.onnx import export_onnx  # noqa: E402
from segwright.models.catalogue import build  # noqa: E402
from segwright.predict.crew import members  # noqa: E402
from segwright.predict.decoders import CvDecoder, open_video  # noqa: E402
from segwright.predict.feed import Feed  # noqa: E402
from segwright.predict.frame import Choice  # noqa: E402
from segwright.predict.loop import run  # noqa: E402
from segwright.predict.predictor import Predictor, Predicts  # noqa: E402
from segwright.predict.saving import sinks_for  # noqa: E402
from segwright.predict.sources import find_sources  # noqa: E402
from segwright.predict.video import read_video  # noqa: E402
from segwright.recipe import DataRecipe, ModelRecipe, Recipe  # noqa: E402
from segwright.workflows.opening import load  # noqa: E402

HEIGHT, WIDTH = 480, 640
THREADS = (2, 1)
"""For the network; the usual loop and PyTorch get the first."""
MODEL = "model.onnx"
USUAL = "usual loop"
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def usual_loop(network: Any, video: Path, out: Path) -> int:
    """What is written by hand everywhere."""
    capture = cv2.VideoCapture(str(video))
    writer = cv2.VideoWriter(str(out), cv2.VideoWriter_fourcc(*"mp4v"), 25, (WIDTH, HEIGHT))
    colours = np.array([[0, 0, 0], [255, 255, 0]], np.uint8)
    count = 0
    while True:
        read, bgr = capture.read()
        if not read:
            break
        image = (bgr[..., ::-1] / 255.0 - MEAN) / STD
        tensor = torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32))[None]
        with torch.no_grad():
            logits = network(tensor)
        two = torch.cat([torch.zeros_like(logits), logits], dim=1)
        class_map = two.softmax(dim=1).argmax(dim=1)[0].numpy()
        writer.write((0.55 * bgr + 0.45 * colours[class_map]).astype(np.uint8))
        count += 1
    writer.release()
    return count


def ours(predictors: Sequence[Predicts], video: Path, out: Path) -> int:
    """`segwright predict MODEL VIDEO --save video`, without starting Python."""
    sources = find_sources([video])
    one, *helpers = predictors
    _, sinks = sinks_for(frozenset({"video"}), out, one.classes, sources)
    return run(one, Feed(sources, Choice()), sinks, out, helpers=helpers).pictures


def network_alone(predictors: Sequence[Predicts], video: Path, count: int) -> int:
    """The slowest stage without the others: frames that are decoded already."""
    decoder = open_video(str(video))
    pictures = [decoder.picture(shot) for shot, _ in zip(decoder.shots(), range(20), strict=False)]
    decoder.close()

    def work(predictor: Predicts) -> None:
        for number in range(count):
            predictor.predict(pictures[number % len(pictures)])

    with ThreadPoolExecutor(len(predictors)) as pool:
        list(pool.map(work, predictors))
    return count * len(predictors)


ALONE = ": its network alone"
"""Behind the name of an engine."""


class Idle:
    """A network that takes no time, for the rate of reading and writing alone."""

    def __init__(self, predictor: Predictor, image: np.ndarray) -> None:
        self.classes, self.threshold = predictor.classes, predictor.threshold
        self._answer = predictor.predict(image)

    def predict(self, image: np.ndarray, *, key: str = "", probabilities: bool = False) -> Any:
        """Always the same."""
        return self._answer


def make_video(source: Path, out: Path, frames: int) -> Path:
    """The first frames of a video at 640x480; from its beginning again when it is too short."""
    writer = cv2.VideoWriter(str(out), cv2.VideoWriter_fourcc(*"mp4v"), 25, (WIDTH, HEIGHT))
    capture, written = cv2.VideoCapture(str(source)), 0
    while written < frames:
        read, bgr = capture.read()
        if not read:
            capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
            continue
        writer.write(cv2.resize(bgr, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA))
        written += 1
    writer.release()
    return out


def make_model(folder: Path) -> None:
    """A checkpoint and an ONNX file."""
    torch.manual_seed(0)
    recipe = Recipe(data=DataRecipe(height=HEIGHT, width=WIDTH), model=ModelRecipe(model="lraspp_mobilenet_v3_large"))
    classes = Classes(names=("ground", "thing"))
    file = folder / "best.safetensors"
    Checkpoint(recipe=recipe, classes=classes, weights=build(recipe.model, 1).state_dict()).save(file)
    export_onnx(load_checkpoint(file), folder / MODEL)


def engines_of(folder: Path) -> dict[str, list[Predictor]]:
    """Predictors for every engine that is installed: alone with so many threads, and a frame on every core as `segwright predict`
    has it.
    """
    found = {"PyTorch": [load(folder, device="cpu", threads=THREADS[0])]}
    count, each = members()
    for name, engine in (("ONNX Runtime", "onnxruntime"), ("OpenVINO", "openvino")):
        opened = partial(load, folder / MODEL, device="cpu", engine=engine)
        try:
            found[f"{name}, {count} frames at a time"] = [opened(threads=each) for _ in range(count)]
            found |= {f"{name}, {spelled(threads)}": [opened(threads=threads)] for threads in THREADS}
        except UserError as error:
            print(f"{name}: {error}", file=sys.stderr)
    return found


def spelled(threads: int) -> str:
    return "1 thread" if threads == 1 else f"{threads} threads"


def decoding(video: Path) -> dict[str, float]:
    """CPU milliseconds to decode a frame to RGB."""
    spent = {}
    for name, opener in (("PyAV", open_video), ("OpenCV", CvDecoder)):
        each = []
        for _ in range(3):
            began, decoder, count = time.process_time(), opener(str(video)), 0
            for shot in decoder.shots():
                decoder.picture(shot)
                count += 1
            decoder.close()
            each.append(1000 * (time.process_time() - began) / count)
        spent[name] = min(each)
    return spent


def usual_side(folder: Path, video: Path) -> Callable[[str], int]:
    """The loop that others write."""
    network = load_checkpoint(folder).network()
    with torch.no_grad():
        network(torch.zeros(1, 3, HEIGHT, WIDTH))
    return lambda way: usual_loop(network, video, folder / "usual.mp4")


def our_side(folder: Path, video: Path, count: int) -> Callable[[str], Any]:
    """Every way of ours by its name; asked for no way, their names."""
    predictors = engines_of(folder)
    first = next(read_video(video)).image
    ways: dict[str, Callable[[], int]] = {}
    for engine, crew in predictors.items():
        ways[engine] = partial(ours, crew, video, folder / engine)
        ways[f"{engine}{ALONE}"] = partial(network_alone, crew, video, count)
        for predictor in crew:  # at the first picture libraries make their plans
            predictor.predict(first)
    idle: Any = Idle(predictors["PyTorch"][0], first)
    ways["reading and writing alone"] = partial(ours, [idle], video, folder / "idle")
    return lambda way: ways[way]() if way else list(ways)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", type=Path)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=2)
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        video = make_video(said.video, folder / "clip.mp4", said.frames)
        make_model(folder)
        sides = {
            USUAL: Side(partial(usual_side, folder, video), threads=THREADS[0]),
            "ours": Side(partial(our_side, folder, video, min(said.frames, 100)), ours=True, threads=THREADS[0]),
        }
        with at_work(sides) as asked:
            ways = {USUAL: USUAL} | dict.fromkeys(asked["ours"]("").answer, "ours")
            spent: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
            for _ in range(said.rounds):
                for way, side in ways.items():
                    turn = asked[side](way)
                    spent[way].append((turn.cpu_ms / turn.answer, turn.wall_ms / turn.answer))
                    print(way, spent[way][-1], file=sys.stderr)
        codecs = decoding(video)
    report(spent, codecs, said)


def report(spent: dict[str, list[tuple[float, float]]], codecs: dict[str, float], said: argparse.Namespace) -> None:
    cpu = {way: float(np.median([c for c, _ in each])) for way, each in spent.items()}
    wall = {way: float(np.median([w for _, w in each])) for way, each in spent.items()}
    rows = [
        [
            way,
            f"{cpu[way]:.1f}",
            f"{cpu[USUAL] / cpu[way]:.1f}",
            f"{1000 / wall[way]:.1f}",
            f"{wall[USUAL] / wall[way]:.1f}",
            f"{100 * wall[way + ALONE] / wall[way]:.0f} %" if way + ALONE in wall else "",
        ]
        for way in spent
    ]
    words = (
        f"{said.frames} frames of 640x480, LR-ASPP large, two classes, decode to written overlay video; {said.rounds} rounds, "
        f"interleaved, medians. PyTorch has {spelled(THREADS[0])}. The usual loop reads with OpenCV, normalises in NumPy, runs "
        "PyTorch eagerly, blends in NumPy and writes MPEG-4 with OpenCV; the others write H.264.\n\n"
        + "Decoding to RGB alone, CPU ms a frame: "
        + ", ".join(f"{name} {ms:.2f}" for name, ms in codecs.items())
        + "."
    )
    head = ["way", "CPU ms a frame", "times less CPU", "frames a second", "times faster", "of its network's rate"]
    tables.write("video_speed", "From video file to annotated video file", words, head, rows)


if __name__ == "__main__":
    main()
