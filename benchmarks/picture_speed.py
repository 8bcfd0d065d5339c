"""One picture: each engine against PyTorch in inference mode, and our preparation and finishing against the usual lines.

python benchmarks/picture_speed.py                   what is around the network
python benchmarks/picture_speed.py RUN PICTURES      a trained run (LR-ASPP large), and a folder of pictures for the agreement

CPU time, in turn, each in a process of its own (`sides.py`); the median of all rounds. Network: from uint8 pixels of the model's own
size to the class map where the engine computes. Around it: what a loop of a camera does before and after, once as it is usually written,
once as segwright does it, for two and for twelve classes, without any network.

With more than one thread the machine must be quiet: where others hold a core, threads wait longer for each other, and waiting counts.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import tables
import torch
from sides import Side, at_work

from segwright.checkpoint import load as load_checkpoint
from segwright.classes import Classes
from segwright.data.sample import read_image
from segwright.engines.contract import ModelFacts
from segwright.engines.opening import open_engine
from segwright.engines.race import class_map_of
from segwright.predict.predictor import Predictor
from segwright.predict.sources import find_pictures
from segwright.preprocess import place_image
from segwright.render import overlay
from segwright.workflows.opening import exported

STARTS = 3
"""Of every process: where its memory happens to lie makes PyTorch up to a fifth faster or slower."""

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def usual_network(run: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The network as most scripts run it: float planes in, softmax or sigmoid and argmax in PyTorch."""
    checkpoint = load_checkpoint(run)
    network = checkpoint.network().eval()
    classes = checkpoint.classes

    def class_map(image: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            planes = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
            logits = network(planes.contiguous())
            if classes.channels == 1:
                return (logits.sigmoid()[0, 0] >= checkpoint.threshold).to(torch.uint8).numpy()
            return logits.softmax(dim=1).argmax(dim=1)[0].to(torch.uint8).numpy()

    return class_map


def our_network(model: Path, engine: str, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """An engine of segwright's."""
    return partial(class_map_of, open_engine(model, engine=engine, threads=threads))


def networks(run: Path, pictures: Path, rounds: int, count: int, threads: int) -> None:
    """Table of engines."""
    file = exported(run)
    facts = open_engine(file, threads=threads).facts
    sides = {"PyTorch in inference mode": Side(partial(usual_network, run), threads=threads)}
    sides["pytorch"] = Side(partial(our_network, run, "pytorch", threads), ours=True, threads=threads)
    for name in ("onnxruntime", "openvino-fp32", "openvino"):
        sides[name] = Side(partial(our_network, file, name, threads), ours=True, threads=threads)
    samples = find_pictures(pictures)
    chosen = [samples[i] for i in np.linspace(0, len(samples) - 1, min(count, len(samples))).round().astype(int)]
    images = [place_image(read_image(sample.image), facts.size_hw, facts.fit) for sample in chosen]
    spent: dict[str, list[float]] = {name: [] for name in sides}
    answers: dict[str, list[np.ndarray]] = {}
    for _ in range(STARTS):
        with at_work(sides) as asked:
            answers |= {name: [ask(image).answer for image in images] for name, ask in asked.items()}
            for number in range(rounds):
                for name, ask in asked.items():
                    spent[name].append(ask(images[number % len(images)]).cpu_ms)
    usual = next(iter(sides))
    rows = []
    for name in sides:
        same = np.mean([np.mean(ours == theirs) for ours, theirs in zip(answers[name], answers[usual], strict=True)])
        ratio = np.median([theirs / ours for ours, theirs in zip(spent[name], spent[usual], strict=True)])
        cells = [f"{ratio:.1f}", f"{100 * same:.3f} %"] if name != usual else ["", ""]
        rows.append([name, f"{np.median(spent[name]):.1f}", *cells])
    flags = Path("/proc/cpuinfo")
    text = flags.read_text(encoding="utf-8") if flags.is_file() else ""
    has = [flag for flag in ("avx512_bf16", "amx_bf16") if flag in text]
    height, width = facts.size_hw
    words = (
        f"{facts.name}, trained, {len(facts.classes)} classes, {width}x{height}, {threads} thread{'s' * (threads > 1)}, "
        f"{STARTS} times {rounds} rounds in turn, each in a process of its own: the first with the settings of the system, the others with "
        "those of segwright's commands. CPU milliseconds of the process, medians; ratios are medians over rounds. Threads that wait for "
        "each other by spinning count, as they do on a user's machine. "
        f"Same class: share of pixels of {len(images)} pictures. "
        f"The processor has {' and '.join(has) or 'no bfloat16'}; openvino computes in it where it does."
    )
    head = ["", "CPU ms", "times as fast", "same class"]
    tables.write(f"picture_network_{threads}", "One picture through each engine", words, head, rows)


class Instant:
    """An engine that has its answer ready: what remains is ours."""

    name = "instant"

    def __init__(self, facts: ModelFacts, probabilities: np.ndarray) -> None:
        self.facts, self._probabilities = facts, probabilities
        self._class_map = facts.classes.decode(probabilities[0])[None]

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """See `Engine.probabilities`."""
        return self._probabilities

    def class_maps(self, images: np.ndarray) -> np.ndarray:
        """See `ClassMapEngine.class_maps`."""
        return self._class_map


SIZE_HW = (480, 640)
"""Of the network."""


def logits_of(count: int) -> np.ndarray:
    """(1, count, 480, 640) float32, smooth as those of a network."""
    coarse = np.random.default_rng(0).normal(size=(count, 9, 12)).astype(np.float32) * 3
    return np.stack([cv2.resize(plane, SIZE_HW[::-1], interpolation=cv2.INTER_CUBIC) for plane in coarse])[None]


def classes_of(count: int) -> Classes:
    return Classes(names=tuple(f"class {n}" for n in range(count)))


def usual_around(count: int, image_hw: tuple[int, int]) -> Callable[[np.ndarray], None]:
    """Preparation and finishing as tutorials have them; where the picture is larger, the logits are resized to it."""
    logits, colours = logits_of(count), classes_of(count).colours

    def work(image: np.ndarray) -> None:
        fitting = cv2.resize(image, SIZE_HW[::-1]) if image_hw != SIZE_HW else image
        ((fitting / 255.0 - MEAN) / STD).transpose(2, 0, 1)[None].astype(np.float32)
        own = logits
        if image_hw != SIZE_HW:
            own = np.stack([cv2.resize(plane, image_hw[::-1]) for plane in logits[0]])[None]
        powers = np.exp(own - own.max(axis=1, keepdims=True))
        class_map = (powers / powers.sum(axis=1, keepdims=True)).argmax(axis=1)[0]
        painted = np.zeros_like(image)
        for number, colour in enumerate(colours):
            painted[class_map == number] = colour
        np.where((class_map > 0)[..., None], image * 0.55 + painted * 0.45, image).astype(np.uint8)
        found, _ = cv2.findContours((class_map > 0).astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_NONE)
        max(found, key=cv2.contourArea)

    return work


def our_around(count: int) -> Callable[[np.ndarray], None]:
    """The same with segwright."""
    powers = np.exp(logits_of(count))
    probabilities = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    facts = ModelFacts(name="instant", classes=classes_of(count), size_hw=SIZE_HW, fit="pad")
    predictor = Predictor(Instant(facts, probabilities[:, 1:] if count == 2 else probabilities))

    def work(image: np.ndarray) -> None:
        prediction = predictor.predict(image)
        overlay(image, prediction.class_map, predictor.classes)
        found, _ = cv2.findContours(prediction.class_map, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        max(found, key=cv2.contourArea)

    return work


def around(rounds: int) -> None:
    """Table of preparation and finishing."""
    rows = []
    for count in (2, 12):
        for height, width in (SIZE_HW, (1080, 1920)):
            image = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
            usual = Side(partial(usual_around, count, (height, width)))
            ours = Side(partial(our_around, count), ours=True)
            with at_work({"usual": usual, "ours": ours}) as asked:
                spent = [(asked["usual"](image).cpu_ms, asked["ours"](image).cpu_ms) for _ in range(rounds + 2)]
            theirs, mine = np.median(spent[2:], axis=0)
            rows.append(
                [
                    f"{count} classes, a picture of {width}x{height}",
                    f"{theirs:.1f}",
                    f"{mine:.2f}",
                    f"{theirs / mine:.0f}",
                ]
            )
    words = (
        "From the picture in memory to what enters the network of 640x480, and from its answer to class map, overlay and largest polygon; "
        f"no network in it. CPU milliseconds, {rounds} rounds in turn, each in a process of its own. The class map always has the "
        "picture's own size."
    )
    tables.write(
        "picture_around", "Before and after the network", words, ["", "usual lines", "segwright", "times as fast"], rows
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("pictures", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--count", type=int, default=12, help="pictures for the agreement")
    arguments = parser.parse_args()
    if not arguments.run:
        around(arguments.rounds)
    elif arguments.pictures:
        networks(arguments.run, arguments.pictures, arguments.rounds, arguments.count, arguments.threads)


if __name__ == "__main__":
    main()
