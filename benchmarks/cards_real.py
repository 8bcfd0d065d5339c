"""Train on synthetic cards only, measure on real photographs of cards.

    python benchmarks/cards_real.py REAL [--minutes 60] [--count 6000] [--model lraspp_mobilenet_v3_small] [--work DIR]

REAL is a data set of card photographs with masks in any layout; all its splits together are measured, and none is
trained on. The default is what results/cards_real.md shows.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import tables
from rich.console import Console

import segwright
from segwright.evaluation.report import number


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("real", type=Path)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--count", type=int, default=6000)
    parser.add_argument("--model", default="lraspp_mobilenet_v3_small")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--work", type=Path, default=Path("runs/cards_real"))
    options = parser.parse_args()
    console = Console()
    cards, run = options.work / f"cards-{options.count}", options.work / f"{options.model}-{options.minutes:g}"
    if not cards.exists():
        segwright.synthesize_cards(cards, count=options.count, seed=options.seed)
    recipe = segwright.named_recipe("card").with_settings(
        model=options.model, minutes=options.minutes, batch_size=8, lr=3e-3, small_share=0.65, ema=0.99, cache_gb=8.0
    )
    if not (run / "best.safetensors").exists():
        started = time.process_time()
        segwright.train(cards, recipe, run, console=console)
        console.print(f"{(time.process_time() - started) / 60:.0f} CPU minutes of training")
    rows = []
    for data, split, words in (
        (cards, "test", "synthetic, held out"),
        (options.real, "all", "real photographs, all"),
        (options.real, "test", "real photographs, test part"),
        (options.real, "train", "real photographs, train part (not trained on)"),
    ):
        report = segwright.evaluate(run, data, split=split, out=run / f"report-{data.name}-{split}", console=console)
        name, score, constant = report.headline
        rows.append([words, str(len(report.pictures)), f"{score}", number(constant)])
    kept = segwright.load(run).engine.facts.provenance
    tables.write(
        "cards_real",
        "Real cards, found by a model that has only seen drawn ones",
        f"{options.model}, random start, {options.count} synthetic pictures, {options.minutes:g} minutes of training on "
        f"{kept['threads']} thread(s) (recipe card; the best check was at step {kept['step']}). {name} with its 95 % interval "
        f"over pictures. Repeat with: `python benchmarks/cards_real.py REAL --minutes {options.minutes:g} "
        f"--count {options.count} --model {options.model}`.",
        ["measured on", "pictures", name, "best constant answer"],
        rows,
    )


if __name__ == "__main__":
    main()
