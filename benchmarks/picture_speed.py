"""One picture: each engine against PyTorch in inference mode, and our preparation and finishing against the usual lines.

python benchmarks/picture_speed.py                   what is around the network
python benchmarks/picture_speed.py RUN PICTURES      a trained run (LR-ASPP large), and a folder of pictures for the agreement

CPU time of the process, rivals in turn in one process; the median of all rounds. Network: from uint8 pixels of the model's
own size to the class map where the engine computes. Around it: what a loop of a camera does before and after, once as it is usually
written, once as segwright does it, for two and for twelve classes, without any network.

With more than one thread the machine must be quiet: where others hold a core, threads that wait for each other by spinning count as CPU
time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tables

from segwright.checkpoint import load as load_checkpoint
from segwright.classes import Classes
from segwright.data.sample import read_image
from segwright.engines.contract import Engine, ModelFacts
from segwright.engines.memory import keep_memory
from segwright.engines.opening import open_engine
from segwright.engines.race import class_map_of
from segwright.predict.predictor import Predictor
from segwright.predict.sources import find_pictures
from segwright.preprocess import place_image
from segwright.render import overlay
from segwright.workflows.opening import exported

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def in_turn(rivals: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median CPU milliseconds of each."""
    spent: dict[str, list[float]] = {name: [] for name in rivals}
    for run in rivals.values():
        run()
        run()
    for _ in range(rounds):
        for name, run in rivals.items():
            started = time.process_time()
            run()
            spent[name].append(1000 * (time.process_time() - started))
    return {name: float(np.median(values)) for name, values in spent.items()}


def naive_network(checkpoint: Any) -> Callable[[np.ndarray], np.ndarray]:
    """The network as most scripts run it: float planes in, softmax or sigmoid and argmax in PyTorch."""
    import torch  # after segwright, which keeps its threads from spinning

    network = checkpoint.network().eval()
    classes = checkpoint.classes

    def run(image: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            planes = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
            logits = network(planes.contiguous())
            if classes.channels == 1:
                return (logits.sigmoid()[0, 0] >= checkpoint.threshold).to(torch.uint8).numpy()
            return logits.softmax(dim=1).argmax(dim=1)[0].to(torch.uint8).numpy()

    return run


def networks(run: Path, pictures: Path, rounds: int, count: int, threads: int) -> None:
    """Table of engines."""
    checkpoint = load_checkpoint(run)
    naive = naive_network(checkpoint)
    file = exported(run)
    engines: dict[str, Engine] = {"pytorch": open_engine(run, threads=threads)}
    for name in ("onnxruntime", "openvino-fp32", "openvino"):
        engines[name] = open_engine(file, engine=name, threads=threads)
    facts = engines["pytorch"].facts
    samples = find_pictures(pictures)
    chosen = [samples[i] for i in np.linspace(0, len(samples) - 1, min(count, len(samples))).round().astype(int)]
    images = [place_image(read_image(sample.image), facts.size_hw, facts.fit) for sample in chosen]
    truth = [naive(image) for image in images]
    rivals: dict[str, Callable[[], Any]] = {"PyTorch in inference mode": lambda: naive(images[0])}
    for name, engine in engines.items():
        rivals[name] = partial(class_map_of, engine, images[0])
    spent = in_turn(rivals, rounds)
    base = spent["PyTorch in inference mode"]
    rows = [["PyTorch in inference mode", f"{base:.1f}", "1.0", ""]]
    for name, engine in engines.items():
        same = np.mean([np.mean(class_map_of(engine, image) == t) for image, t in zip(images, truth, strict=True)])
        detail = f" ({engine.computes_in})" if hasattr(engine, "computes_in") else ""
        rows.append([name + detail, f"{spent[name]:.1f}", f"{base / spent[name]:.1f}", f"{100 * same:.3f} %"])
    flags = Path("/proc/cpuinfo")
    text = flags.read_text(encoding="utf-8") if flags.is_file() else ""
    has = [flag for flag in ("avx512_bf16", "amx_bf16") if flag in text]
    height, width = facts.size_hw
    words = (
        f"{facts.name}, trained, {len(facts.classes)} classes, {width}x{height}, {threads} threads, {rounds} rounds in turn, CPU "
        f"milliseconds of the process. Same class: share of pixels of {len(images)} pictures. "
        f"The processor has {' and '.join(has) or 'no bfloat16'}."
    )
    tables.write(
        "picture_network", "One picture through each engine", words, ["", "CPU ms", "times as fast", "same class"], rows
    )


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


def naive_around(image: np.ndarray, logits: np.ndarray, classes: Classes, size_hw: tuple[int, int]) -> Any:
    """Preparation and finishing as tutorials have them."""
    if image.shape[:2] != size_hw:
        image = cv2.resize(image, size_hw[::-1])
    planes = ((image / 255.0 - MEAN) / STD).transpose(2, 0, 1)[None].astype(np.float32)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    class_map = (powers / powers.sum(axis=1, keepdims=True)).argmax(axis=1)[0]
    colours = np.zeros_like(image)
    for number, colour in enumerate(classes.colours):
        colours[class_map == number] = colour
    blended = np.where((class_map > 0)[..., None], image * 0.55 + colours * 0.45, image).astype(np.uint8)
    found, _ = cv2.findContours((class_map > 0).astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_NONE)
    largest = max(found, key=cv2.contourArea) if found else None
    return planes, blended, largest


def our_around(predictor: Predictor, image: np.ndarray) -> Any:
    """The same with segwright."""
    prediction = predictor.predict(image)
    drawn = overlay(image, prediction.class_map, predictor.classes)
    found, _ = cv2.findContours(prediction.class_map, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    largest = max(found, key=cv2.contourArea) if found else None
    return drawn, largest


def around(rounds: int) -> None:
    """Table of preparation and finishing."""
    cv2.setNumThreads(1)
    size_hw = (480, 640)
    rng = np.random.default_rng(0)
    rows = []
    for count in (2, 12):
        classes = Classes(names=tuple(f"class {n}" for n in range(count)))
        facts = ModelFacts(name="instant", classes=classes, size_hw=size_hw, fit="pad")
        coarse = rng.normal(size=(count, 9, 12)).astype(np.float32) * 3
        logits = np.stack([cv2.resize(plane, size_hw[::-1], interpolation=cv2.INTER_CUBIC) for plane in coarse])[None]
        powers = np.exp(logits)
        probabilities = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
        predictor = Predictor(Instant(facts, probabilities[:, 1:] if count == 2 else probabilities))
        for height, width in (size_hw, (1080, 1920)):
            image = rng.integers(0, 256, (height, width, 3), np.uint8)
            usual = naive_around if (height, width) == size_hw else naive_large
            rivals = {
                "naive": partial(usual, image, logits, classes, size_hw),
                "ours": partial(our_around, predictor, image),
            }
            spent = in_turn(rivals, rounds)
            rows.append(
                [
                    f"{count} classes, a picture of {width}x{height}",
                    f"{spent['naive']:.1f}",
                    f"{spent['ours']:.2f}",
                    f"{spent['naive'] / spent['ours']:.0f}",
                ]
            )
    words = (
        "From the picture in memory to what enters the network of 640x480, and from its answer to class map, overlay and largest polygon; "
        f"no network in it. CPU milliseconds, {rounds} rounds in turn. The class map always has the picture's own size."
    )
    tables.write(
        "picture_around", "Before and after the network", words, ["", "usual lines", "segwright", "times as fast"], rows
    )


def naive_large(image: np.ndarray, logits: np.ndarray, classes: Classes, size_hw: tuple[int, int]) -> Any:
    """As `naive_around`, with the logits resized to the picture."""
    planes = ((cv2.resize(image, size_hw[::-1]) / 255.0 - MEAN) / STD).transpose(2, 0, 1)[None].astype(np.float32)
    own = np.stack([cv2.resize(plane, image.shape[1::-1]) for plane in logits[0]])[None]
    return planes, naive_around(image, own, classes, image.shape[:2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("pictures", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--count", type=int, default=12, help="pictures for the agreement")
    arguments = parser.parse_args()
    keep_memory()
    if not arguments.run:
        around(arguments.rounds)
    elif arguments.pictures:
        networks(arguments.run, arguments.pictures, arguments.rounds, arguments.count, arguments.threads)


if __name__ == "__main__":
    main()
