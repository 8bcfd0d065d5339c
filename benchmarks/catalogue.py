"""Which networks of the catalogue can be shipped: exported, proven, halved, quantised, built for TensorRT, and pruned.

    python benchmarks/catalogue.py [--only Unet/resnet18 ...] [--seconds 120] [--again STEP ...]

Every architecture with six encoders, random weights, small pictures: what is asked is whether it can be done, not how well. One
process for each combination, which is ended when it has used up its processor time. What was found before is kept in
results/catalogue.jsonl and not tried again (but with --again); results/catalogue.md is written from it, also half-way.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import resource
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import onnx
import tables
import torch

from segwright.checkpoint import Checkpoint
from segwright.classes import Classes
from segwright.export import half
from segwright.export import onnx as exporter
from segwright.export.deployable import Deployable, deployed_facts, exporting, made_up_pictures
from segwright.export.enlarging import by_matrices
from segwright.export.int8 import quantized
from segwright.export.prune import prunes
from segwright.export.request import OPSET
from segwright.models.catalogue import BUILDERS, SETTINGS, build
from segwright.recipe import DataRecipe, ModelRecipe, Recipe

ENCODERS = (
    "resnet18",
    "mobilenet_v2",
    "efficientnet-b0",
    "tu-mobilenetv3_large_100",
    "mit_b0",
    "tu-vit_tiny_patch16_224",
)
SIZE_HW = (96, 128)
CLASSES = Classes(names=("background", "card", "hand"))
LOG = tables.RESULTS / "catalogue.jsonl"

STEPS = {
    "exports": "exports",
    "agrees": "agrees",
    "fp16": "FP16",
    "int8": "INT8",
    "engine": "TensorRT-RTX, FP16",
    "prunes": "prunes",
}
"""Columns; a step whose predecessor failed is not tried."""

Say = Callable[[str, str], None]


def combinations() -> list[tuple[str, str]]:
    """Ours first, then encoder by encoder, so that half a table has whole columns."""
    ours = [(model, "") for model, builder in BUILDERS.items() if "encoder" not in SETTINGS[builder]]
    theirs = [model for model, builder in BUILDERS.items() if "encoder" in SETTINGS[builder]]
    return ours + [(model, encoder) for encoder in ENCODERS for model in theirs]


def answering_checkpoint(model: ModelRecipe) -> Checkpoint:
    """Random weights whose answers differ from pixel to pixel."""
    torch.manual_seed(0)
    network = build(model, CLASSES.channels, load_weights=False)
    images = torch.from_numpy(made_up_pictures(2, SIZE_HW, seed=5)).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        network.train()
        for _ in range(3):
            network(images)
    recipe = Recipe(data=DataRecipe(height=SIZE_HW[0], width=SIZE_HW[1]), model=model)
    return Checkpoint(recipe=recipe, classes=CLASSES, weights=network.state_dict())


def ship(model: ModelRecipe, say: Say) -> None:
    """Try every step but pruning; the graph is traced once, because tracing takes most of the time."""
    checkpoint = answering_checkpoint(model)
    facts = {precision: deployed_facts(checkpoint, precision=precision) for precision in ("fp32", "fp16", "int8")}
    module = Deployable(checkpoint, facts["fp32"])
    module.network.body = half.Marked(module.network.body)
    marked = by_matrices(exporter._graph(module, facts["fp32"], OPSET))
    plain = onnx.ModelProto()
    plain.CopyFrom(marked)
    half._unmark(plain.graph)
    say("exports", "yes")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        agrees(checkpoint, plain, facts["fp32"], folder, say, "agrees")
        pictures = made_up_pictures(3, SIZE_HW, seed=9)
        eighths = attempt(say, "int8", lambda: quantized(plain, facts["int8"], pictures))
        if eighths is not None:
            agrees(checkpoint, eighths, facts["int8"], folder, say, "int8")
        halves = attempt(say, "fp16", lambda: half.halved(marked))
        if halves is not None and agrees(checkpoint, halves, facts["fp16"], folder, say, "fp16"):
            builds(folder / "fp16.onnx", say)


def agrees(checkpoint: Checkpoint, graph: Any, facts: Any, folder: Path, say: Say, step: str) -> bool:
    """The proof of every export, on made-up pictures."""
    file = folder / f"{facts.precision}.onnx"
    exporter.write_facts(graph, facts)
    file.write_bytes(graph.SerializeToString())
    found = attempt(say, step, lambda: exporter.prove(file, checkpoint, facts))
    if found is not None:
        say(step, "yes")
    return found is not None


def builds(file: Path, say: Say) -> None:
    """An engine of TensorRT for RTX, without a GPU."""
    from segwright.export.tensorrt import BuildSettings, build_engine

    settings = BuildSettings(library="tensorrt_rtx", targets=("sm86",))
    if attempt(say, "engine", lambda: build_engine(file, file.with_suffix(".engine"), settings, progress=False)):
        say("engine", "yes")


def attempt(say: Say, step: str, work: Callable[[], Any]) -> Any:
    """What `work` returns; None where it failed, which is then said."""
    try:
        return work()
    except Exception as error:  # whatever a library raises is a finding here
        say(step, f"no: {short(error)}")
        return None


def short(error: BaseException) -> str:
    """A reason of one line."""
    words = " ".join((str(error).strip() or type(error).__name__).split())
    return words[:200].replace("|", "/")


def child(model: str, encoder: str, steps: tuple[str, ...], seconds: int, pipe: Connection) -> None:
    """All steps of one combination, in a process of its own."""
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    # The attention U-Net and the classic one are narrowed: width decides time, not whether it can be done.
    narrow = {"base_channels": 16} if "base_channels" in SETTINGS[BUILDERS[model]] else {}
    recipe = ModelRecipe(model=model, encoder=encoder, **narrow)

    def say(step: str, answer: str) -> None:
        pipe.send((step, answer))

    if set(steps) != {"prunes"}:
        attempt(say, "exports", lambda: ship(recipe, say))
    if "prunes" in steps:
        answer = attempt(say, "prunes", lambda: prunes(recipe, CLASSES.channels))
        if answer is not None:
            say("prunes", answer)
    pipe.close()


def tried(model: str, encoder: str, steps: tuple[str, ...], seconds: int) -> dict[str, Any]:
    """What one combination answered, and its processor time."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = multiprocessing.get_context("fork").Process(target=child, args=(model, encoder, steps, seconds, sender))
    process.start()
    sender.close()
    found: dict[str, str] = {}
    try:
        while True:
            step, answer = receiver.recv()
            found[step] = answer
    except EOFError:
        process.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if process.exitcode:
        late = next((step for step in steps if step not in found), steps[-1])
        why = (
            f"more than {seconds} s of processor time"
            if spent >= seconds
            else f"the process ended with {process.exitcode}"
        )
        found[late] = f"no: {why}"
    return {"model": model, "encoder": encoder, "steps": found, "seconds": round(spent, 1)}


def known() -> dict[tuple[str, str], dict[str, Any]]:
    """Everything found so far; later lines count."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for line in LOG.read_text(encoding="utf-8").splitlines() if LOG.exists() else ():
        entry = json.loads(line)
        place = found.setdefault((entry["model"], entry["encoder"]), {"steps": {}, "seconds": 0.0})
        place["steps"] |= entry["steps"]
        place["seconds"] += entry["seconds"]
    return found


def unbuildable(steps: dict[str, str]) -> bool:
    """Whether there is no such network at all."""
    return any("cannot be built" in answer for answer in steps.values())


def untried(step: str, steps: dict[str, str]) -> bool:
    """Whether a step was left out because one before it failed."""
    before = "fp16" if step == "engine" else "exports"
    return unbuildable(steps) or (step != "prunes" and "exports" in steps and steps.get(before, "no") != "yes")


def write_table() -> None:
    """results/catalogue.md."""
    found, rows = known(), []
    reasons: dict[str, int] = {}

    def why(answer: str) -> str:
        """The number of a reason; equal ones share it."""
        reason = answer
        while (inner := re.search(r"\((.*)\)", reason)) and re.match(r"no |but |.*cannot be (built|pruned)", reason):
            reason = inner[1]
        reason = reason.removeprefix("no: ").rstrip(".")
        return f"({reasons.setdefault(reason, len(reasons) + 1)})"

    for model, encoder in combinations():
        steps = found.get((model, encoder), {"steps": {}})["steps"]
        cells = []
        if unbuildable(steps):
            reason = next(answer for answer in steps.values() if "cannot be built" in answer)
            cells = [f"no such network {why(reason)}"] + ["-"] * (len(STEPS) - 1)
        for step in () if cells else STEPS:
            answer = steps.get(step)
            if answer is None:
                cells.append("-" if steps and untried(step, steps) else "not run")
            elif answer == "yes":
                cells.append("yes")
            else:
                cells.append(f"{'no' if answer.startswith('no') else 'all but the encoder'} {why(answer)}")
        rows.append([model, encoder or "its own", *cells])
    whole = sum("not run" not in row for row in rows)
    print(f"complete: {whole} of {len(rows)}")
    file = tables.write(
        "catalogue",
        "What can be shipped",
        f"Random weights, pictures of {SIZE_HW[1]}x{SIZE_HW[0]}, {len(CLASSES)} classes. exports: the ONNX graph is written. agrees: its "
        "answers are those of PyTorch within 0.001. FP16 and INT8: ONNX Runtime runs the file and it is no nonsense (INT8: symmetric, "
        "calibrated on made-up pictures; what it costs in score is measured when a real model is exported). TensorRT-RTX: an engine is "
        "built of the FP16 file for compute capability 8.6 without a GPU; it was not run. prunes: half of the channels are taken out. "
        f"Complete: {whole} of {len(rows)} combinations; - was not tried because the network cannot be built or exported.",
        ["model", "encoder", *STEPS.values()],
        rows,
    )
    if reasons:
        lines = "\n".join(f"{number}. {reason}" for reason, number in reasons.items())
        file.write_text(f"{file.read_text(encoding='utf-8')}\n{lines}\n", encoding="utf-8")


def warm_up() -> None:
    """Load and start once, before processes are forked, what takes each of them seconds: the exporter and its neighbours."""
    import onnxslim
    import segmentation_models_pytorch  # noqa: F401
    from onnxruntime import quantization  # noqa: F401

    from segwright.export import tensorrt  # noqa: F401

    with exporting("a convolution", "ONNX"):
        program = torch.onnx.export(torch.nn.Conv2d(3, 1, 1), (torch.zeros(1, 3, 8, 8),), dynamo=True, verbose=False)
        onnxslim.slim(program.model_proto)


def main() -> None:
    """Try what is not known yet, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], help="MODEL/ENCODER; the encoder is empty for ours")
    parser.add_argument("--again", nargs="*", default=[], choices=STEPS, help="steps to try again")
    parser.add_argument("--skip", nargs="*", default=[], choices=STEPS, help="steps to leave out")
    parser.add_argument("--seconds", type=int, default=120, help="processor time for one combination")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warm_up()
    for model, encoder in combinations():
        if given.only and f"{model}/{encoder}" not in given.only:
            continue
        entry = known().get((model, encoder), {"steps": {}})["steps"]
        # All but pruning is one piece of work around one traced graph.
        wanted = "exports" not in entry or set(given.again) - {"prunes"}
        missing = tuple(STEPS)[:-1] if wanted and not unbuildable(entry) else ()
        if not unbuildable(entry) and ("prunes" not in entry or "prunes" in given.again):
            missing = (*missing, "prunes")
        missing = tuple(step for step in missing if step not in given.skip)
        if not missing:
            continue
        started = time.perf_counter()
        line = tried(model, encoder, missing, given.seconds)
        with LOG.open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        print(
            f"{model}/{encoder}: {line['steps']} ({line['seconds']} s, {time.perf_counter() - started:.0f} s by the clock)",
            flush=True,
        )
    write_table()


if __name__ == "__main__":
    main()
