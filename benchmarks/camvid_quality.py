"""Quality per minute: mean IoU after equal time on equal cores, segwright's default command against usual scripts.

    python benchmarks/camvid_quality.py DATA [--minutes 5 18] [--seeds 0 1 2] [--networks lraspp unet] [--sides ...]

DATA holds train/, val/ and test/ with images/ and masks/ each; masks hold class numbers 0..10, everything above is void
(CamVid as SegNet's authors published it; `train`, `trainannot`, `val`, ... are found as well). Every network starts from
random weights. The sides:

- plain: cross entropy, Adam at a constant 1e-3, horizontal flips, 240x320, batches of 8;
- smp: the CamVid example of segmentation-models-pytorch: its Dice loss, Adam at 2e-4 with a cosine over the budget, its
  albumentations list with crops of 320x320, batches of 32 (8 with `smp8`, which takes four times as many steps);
- segwright: `segwright.train(DATA, recipe multiclass, minutes=...)`, nothing else set.

A job is one training in a process of its own, with one thread. For the scripts only training counts, in seconds of
processor time; for segwright the whole training counts, in seconds on the clock, its own checks included: on a core of
its own that is the same or more. All are scored alike: mean IoU of the 11 classes at the masks' own size, void ignored,
pixels summed over the pictures. A job's result is a line of results/camvid_quality.jsonl; what is there is not run again,
so an interrupted series goes on where it stopped. `--table` only writes the table again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tables

CLASSES, VOID = 11, 255
NETWORKS = {"lraspp": "LR-ASPP MobileNetV3 large", "unet": "U-Net ResNet-18"}
MODELS = {"lraspp": {"model": "lraspp_mobilenet_v3_large"}, "unet": {"model": "Unet", "encoder": "resnet18"}}
"""The same networks as settings of ours."""
SIDES = ("plain", "smp", "smp8", "segwright")
JOBS = tables.RESULTS / "camvid_quality.jsonl"

Answer = Callable[[np.ndarray], np.ndarray]
"""(H, W, 3) uint8 RGB -> (H, W) class numbers 0..10."""


def pairs_of(data: Path, split: str) -> list[tuple[Path, Path]]:
    """Pictures and masks of one split, in the order of their names."""
    for images, masks in ((data / split / "images", data / split / "masks"), (data / split, data / f"{split}annot")):
        if masks.is_dir():
            return [(image, masks / image.name) for image in sorted(images.glob("*.png"))]
    raise SystemExit(f"{data} has no split {split} with pictures and masks.")


def read(image: Path, mask: Path) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) uint8 RGB and (H, W) uint8, everything that is no class set to VOID."""
    import cv2

    truth = np.asarray(cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE))
    seen = np.asarray(cv2.cvtColor(np.asarray(cv2.imread(str(image))), cv2.COLOR_BGR2RGB))
    return seen, np.where(truth < CLASSES, truth, VOID).astype(np.uint8)


def mean_iou(answer: Answer, pairs: list[tuple[Path, Path]]) -> float:
    """Mean over the classes that occur, of intersection over union of all pixels together."""
    counts = np.zeros((CLASSES, 256), np.int64)
    for image, mask in pairs:
        seen, truth = read(image, mask)
        known = truth != VOID
        both = truth[known].astype(np.int64) * 256 + answer(seen)[known]
        counts += np.bincount(both, minlength=counts.size).reshape(counts.shape)
    hit = np.diag(counts)
    union = counts.sum(0)[:CLASSES] + counts.sum(1) - hit
    return float(np.mean(hit[union > 0] / union[union > 0]))


def rival(network: str) -> Any:
    """The network as its own library makes it."""
    if network == "lraspp":
        from torchvision.models.segmentation import lraspp_mobilenet_v3_large

        return lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=CLASSES)
    import segmentation_models_pytorch as smp

    return smp.Unet("resnet18", encoder_weights=None, classes=CLASSES)


class Script:
    """A usual training script: what it draws, learns with and answers."""

    size_hw = (240, 320)
    batch_size = 8

    def __init__(self, pairs: list[tuple[Path, Path]], network: str) -> None:
        import torch

        self.pairs = pairs
        self.body = rival(network)
        self.optimiser = torch.optim.Adam(self.body.parameters(), lr=1e-3)
        self.mean, self.std = (
            torch.tensor(numbers).view(1, 3, 1, 1) for numbers in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        )

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        seen, truth = self.varied(*read(*self.pairs[index]))
        return np.ascontiguousarray(seen.transpose(2, 0, 1)), truth.astype(np.int64)

    def varied(self, seen: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A picture and its classes as the network sees them in training."""
        import cv2
        import torch

        height, width = self.size_hw
        seen = np.asarray(cv2.resize(seen, (width, height), interpolation=cv2.INTER_LINEAR))
        truth = np.asarray(cv2.resize(truth, (width, height), interpolation=cv2.INTER_NEAREST))
        return (seen[:, ::-1], truth[:, ::-1]) if torch.rand(()) < 0.5 else (seen, truth)

    def logits(self, images: Any) -> Any:
        """(B, 11, H, W) from (B, 3, H, W) uint8."""
        answer = self.body((images.float() / 255.0 - self.mean) / self.std)
        return answer["out"] if isinstance(answer, dict) else answer

    def loss(self, logits: Any, truth: Any) -> Any:
        """A scalar."""
        from torch.nn import functional as F

        return F.cross_entropy(logits, truth, ignore_index=VOID)

    def rate(self, progress: float) -> float:
        """Learning rate at a share of the budget."""
        return 1e-3

    def answer(self, image: np.ndarray) -> np.ndarray:
        """(H, W) class numbers of one picture."""
        import cv2
        import torch
        from torch.nn import functional as F

        height, width = self.size_hw
        small = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR))
        logits = self.logits(torch.from_numpy(small).permute(2, 0, 1)[None])
        large = F.interpolate(logits, image.shape[:2], mode="bilinear", align_corners=False)
        return np.asarray(large.argmax(1)[0].numpy())


class Example(Script):
    """The CamVid example of segmentation-models-pytorch, which pads pictures to 384x480 to answer."""

    batch_size = 32

    def __init__(self, pairs: list[tuple[Path, Path]], network: str) -> None:
        import albumentations as A
        from segmentation_models_pytorch.losses import DiceLoss

        super().__init__(pairs, network)
        self.dice = DiceLoss("multiclass", from_logits=True, ignore_index=VOID)
        one_of = [
            [A.CLAHE(p=1), A.RandomBrightnessContrast(p=1), A.RandomGamma(p=1)],
            [A.Sharpen(p=1), A.Blur(blur_limit=3, p=1), A.MotionBlur(blur_limit=3, p=1)],
            [A.RandomBrightnessContrast(p=1), A.HueSaturationValue(p=1)],
        ]
        self.transform = A.Compose(
            [
                A.HorizontalFlip(p=0.5),
                A.Affine(scale=(0.5, 1.5), translate_percent=(-0.1, 0.1), p=1, fill_mask=VOID),
                A.PadIfNeeded(320, 320, fill_mask=VOID),
                A.RandomCrop(320, 320),
                A.GaussNoise(p=0.2),
                A.Perspective(p=0.5, fill_mask=VOID),
                *(A.OneOf(choices, p=0.9) for choices in one_of),
            ]
        )

    def varied(self, seen: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Crops of pictures between half and one and a half times their size, and colours changed."""
        both = self.transform(image=seen, mask=truth)
        return both["image"], both["mask"]

    def loss(self, logits: Any, truth: Any) -> Any:
        """Dice."""
        return self.dice(logits, truth)

    def rate(self, progress: float) -> float:
        """Half a cosine."""
        return float(1e-5 + (2e-4 - 1e-5) * (1 + np.cos(np.pi * min(progress, 1.0))) / 2)

    def answer(self, image: np.ndarray) -> np.ndarray:
        """At full size, padded to what the network takes."""
        import torch
        from torch.nn import functional as F

        height, width = image.shape[:2]
        below, right = -height % 32, -width % 32
        padded = F.pad(torch.from_numpy(image).permute(2, 0, 1)[None], (0, right, 0, below))
        return np.asarray(self.logits(padded)[0, :, :height, :width].argmax(0).numpy())


class SmallBatches(Example):
    """The same with four times as many steps."""

    batch_size = 8


SCRIPTS: dict[str, type[Script]] = {"plain": Script, "smp": Example, "smp8": SmallBatches}


def train_script(data: Path, side: str, network: str, minutes: list[float], seed: int) -> Iterator[dict[str, Any]]:
    """Train, and score whenever one of the budgets is used up.

    Args:
        minutes: ascending; several only for a rate that does not depend on the budget.
    """
    import random

    import torch
    from torch.utils.data import DataLoader

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    script = SCRIPTS[side](pairs_of(data, "train"), network)
    if hasattr(script, "transform"):
        script.transform.set_random_seed(seed)
    loader = DataLoader(script, script.batch_size, shuffle=True, drop_last=True)
    spent, steps, left = 0.0, 0, sorted(minutes)
    while True:
        began = time.process_time()
        for images, truth in loader:
            for group in script.optimiser.param_groups:
                group["lr"] = script.rate((spent + time.process_time() - began) / 60 / left[-1])
            script.optimiser.zero_grad()
            script.loss(script.logits(images), truth).backward()
            script.optimiser.step()
            steps += 1
            if spent + time.process_time() - began < 60 * left[0]:
                continue
            spent += time.process_time() - began
            script.body.eval()
            with torch.inference_mode():
                scores = {split: mean_iou(script.answer, pairs_of(data, split)) for split in ("val", "test")}
            script.body.train()
            yield {"minutes": left.pop(0), **scores, "steps": steps, "seconds": spent}
            if not left:
                return
            began = time.process_time()
        spent += time.process_time() - began


def train_ours(data: Path, network: str, minutes: float, seed: int) -> dict[str, Any]:
    """The default command: `segwright train DATA --model ... --minutes ...`."""
    import segwright

    recipe = segwright.named_recipe("multiclass").with_settings(minutes=minutes, seed=seed, **MODELS[network])
    out = Path("runs") / "camvid_quality" / f"{network}-{minutes:g}-{seed}-{os.getpid()}"
    wall, cpu = time.monotonic(), time.process_time()
    run = segwright.train(data, recipe, out)
    seconds = {"seconds": time.monotonic() - wall, "cpu_seconds": time.process_time() - cpu}
    predictor = segwright.load(out)
    scores = {
        split: mean_iou(lambda image: predictor.predict(image).class_map, pairs_of(data, split))
        for split in ("val", "test")
    }
    shutil.rmtree(out)
    return {"minutes": minutes, **scores, "steps": run.steps, **seconds}


def job(data: Path, side: str, network: str, minutes: list[float], seed: int) -> None:
    """Run in a process of its own: one training, one line for each budget."""
    import torch

    torch.set_num_threads(1)
    done = [train_ours(data, network, minutes[0], seed)] if side == "segwright" else None
    for result in done or train_script(data, side, network, minutes, seed):
        counts = {split: len(pairs_of(data, split)) for split in ("train", "val", "test")}
        line = {
            "side": side,
            "network": network,
            "seed": seed,
            **result,
            "pictures": counts,
            "machine": tables.machine(),
        }
        print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in line.items()}), flush=True)


def series(options: argparse.Namespace) -> None:
    """All jobs that have no result yet, seed by seed and the sides in turn."""
    for seed in options.seeds:
        for network in options.networks:
            for side in options.sides:
                wanted = [m for m in sorted(options.minutes) if not found(side, network, seed, m, options.data)]
                # At a constant learning rate the shorter budget is a stretch of the longer one.
                for minutes in [wanted] if side == "plain" and wanted else [[m] for m in wanted]:
                    run_job(options.data, side, network, minutes, seed)


def run_job(data: Path, side: str, network: str, minutes: list[float], seed: int) -> None:
    """Start the process and keep its lines."""
    words = [side, network, str(seed), *map(str, minutes)]
    command = [sys.executable, __file__, str(data), "--job", *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NO_ALBUMENTATIONS_UPDATE": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            if line.startswith("{"):
                print(line, end="", flush=True)
                with JOBS.open("a", encoding="utf-8") as stream:
                    stream.write(line)
    if process.returncode:
        raise SystemExit(f"The job {' '.join(words)} failed with exit code {process.returncode}.")


def known() -> list[dict[str, Any]]:
    """The results so far."""
    return [json.loads(line) for line in JOBS.read_text(encoding="utf-8").splitlines()] if JOBS.is_file() else []


def found(side: str, network: str, seed: int, minutes: float, data: Path) -> bool:
    """Whether that job has a result on as many pictures."""
    wanted = (side, network, seed, minutes, len(pairs_of(data, "train")))
    return any((r["side"], r["network"], r["seed"], r["minutes"], r["pictures"]["train"]) == wanted for r in known())


def write_table(pictures: int) -> None:
    """results/camvid_quality.md of all results on that many training pictures: the mean of the seeds, then each."""
    results = [r for r in known() if r["pictures"]["train"] == pictures]
    cells = sorted({(r["network"], r["minutes"]) for r in results})
    rows = []
    for network, minutes in cells:
        for split in ("val", "test"):
            row, means = [NETWORKS[network], f"{minutes:g}", split], {}
            for side in SIDES:
                scores = {
                    r["seed"]: r[split]
                    for r in results
                    if (r["network"], r["minutes"], r["side"]) == (network, minutes, side)
                }
                if scores:
                    means[side] = statistics.mean(scores.values())
                each = ", ".join(f"{scores[seed]:.3f}" for seed in sorted(scores))
                row.append(f"{means[side]:.3f} ({each})" if len(scores) > 1 else each or "-")
            rivals = [mean for side, mean in means.items() if side != "segwright"]
            ahead = "segwright" in means and rivals
            rows.append([*row, f"{100 * (means['segwright'] - max(rivals)):+.1f}" if ahead else "-"])
    tables.write(
        "camvid_quality",
        f"Mean IoU on CamVid after equal minutes on one core, {pictures} training pictures",
        "Random start, one thread, 11 classes at 480x360, void ignored; the mean of the seeds and each seed's score. plain, smp "
        "and smp8 are the usual scripts described in benchmarks/camvid_quality.py, segwright is its default command; the last "
        "column is the lead over the best of the scripts in points of mean IoU. Scores are those of a whole run, never "
        "chosen on test. Repeat with: `python benchmarks/camvid_quality.py DATA`.",
        ["network", "minutes", "split", *SIDES, "lead"],
        rows,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--minutes", type=float, nargs="+", default=[5.0, 18.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=["plain", "smp8", "segwright"])
    parser.add_argument("--table", action="store_true", help="only write the table again")
    parser.add_argument("--job", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        side, network, seed, *minutes = options.job
        return job(options.data, side, network, [float(m) for m in minutes], int(seed))
    if not options.table:
        series(options)
    return write_table(len(pairs_of(options.data, "train")))


if __name__ == "__main__":
    main()
