"""Speed of training on a CPU beside transformers' `Trainer`, on the same model and rows, in turns.

The model, its batch and its limits are those of the profile `miniature`: a ViT and a LLaMA of two layers of width 96,
48 px images of 36 tokens, 32 rows an update; with its vocabulary of 768 tokens, and with one of 32,000, as published
language models have, whose logits cost more than all layers if they are computed for each token. Rows, initial
weights, optimizer, schedule and precision are the same, and so is the loss of the first update, which is checked. Both
read the rows from shards in the training process, each with its own loader: ours, or a map-style dataset with the saved
processor. The stages:

    openmedq            loop and loader of the stage `train`
    Trainer             the stock LLaVA class under PEFT, rows in the same order, padded to the longest of the batch
    Trainer, by length  the same with `group_by_length`
    ... in memory       both with encoded rows in memory: the updates alone

A process per precision, two threads. The median of the rounds counts.
"""

import argparse
import os
import statistics
import tempfile
import warnings
from pathlib import Path
from typing import Any

import mix
import numpy as np
import torch
import trainers

import openmedq
from openmedq import config
from openmedq.config import Train
from openmedq.model import model as models
from openmedq.training.order import Order

SKIP = 4  # updates that are not counted
NUM_WORDS = {768: 250, 32_000: 30_000}  # in the rows, by the tokens of the vocabulary
SIDES_PX = (64, 160)
CAPTION_WORDS = 20  # about half of the token slots are padding then, as on the miniature mix
PAIRS = (("openmedq", "Trainer"), ("openmedq", "Trainer, by length"), ("openmedq, in memory", "Trainer, in memory"))


def main() -> None:
    """Measure both precisions and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updates", type=int, default=16, help="counted updates a run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--vocabulary", type=int, nargs="+", choices=NUM_WORDS, default=list(NUM_WORDS))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.filterwarnings("ignore")
    miniature = config.profile(Path(openmedq.__file__).parent / "conf", "miniature").train
    num_updates = SKIP + arguments.updates
    for size in arguments.vocabulary:
        language = miniature.language.model_copy(update={"vocabulary_size": size})
        with tempfile.TemporaryDirectory() as name:
            folder, num_rows = Path(name), num_updates * miniature.batch_size
            index = mix.write_shards(folder, num_rows, NUM_WORDS[size], CAPTION_WORDS, SIDES_PX)
            texts = list(mix.read_texts(mix.open_rows(folder, index, 0)))
            for precision in arguments.precision:
                changes = {"precision": precision, "language": language, "blank_share": 0.0}
                settings = miniature.model_copy(update=changes)
                measure(settings, folder, index, texts, arguments.rounds, num_updates)


def measure(settings: Train, folder: Path, index: Any, texts: list[str], num_rounds: int, num_updates: int) -> None:
    """Measure all stages in each round, and print the table of a precision."""
    groups = index["row_group"].to_numpy().astype(np.int64)
    ordered = Order(np.ones(len(index), np.float32), groups, settings.seed, settings.batch_size).draw(0).tolist()
    cpu = torch.device("cpu")
    results: dict[str, list[trainers.Timed]] = {}
    for _ in range(num_rounds):
        for stage in ("openmedq", "Trainer", "Trainer, by length", "openmedq, in memory", "Trainer, in memory"):
            torch.manual_seed(settings.seed)
            model, processor = models.build(settings, texts)
            samples = mix.open_rows(folder, index, 0)
            options: dict[str, Any] = {"num_updates": num_updates, "skip": SKIP}
            if stage.startswith("openmedq"):
                rows: Any = samples
                if "memory" in stage:
                    rows = trainers.encode_rows(samples, processor, settings)
                    list(trainers.fill(rows))
                timed = trainers.run_ours(model, processor, rows, groups, settings, cpu, **options)
            else:
                rows = trainers.StockRows(samples, ordered, processor, settings)
                if "memory" in stage:
                    rows = [rows[number] for number in range(len(rows))]
                if "length" in stage:
                    options["sampling"] = "group_by_length"
                timed = trainers.run_stock(model, processor, rows, settings, cpu, folder / "stock", **options)
            results.setdefault(stage, []).append(timed)
    report(results, settings)


def report(results: dict[str, list[trainers.Timed]], settings: Train) -> None:
    """Print medians and ratios; the first losses must agree."""
    losses = {stage: each[0].first_loss for stage, each in results.items() if "length" not in stage}
    expected = losses["openmedq"]
    if any(abs(loss - expected) > 0.01 * expected for loss in losses.values()):
        raise SystemExit(f"error: the first updates differ: {losses}")
    what = f"{settings.precision}, {settings.language.vocabulary_size:,} tokens, {torch.get_num_threads()} threads"
    print(f"{what}, load {os.getloadavg()[0]:.1f}: medians of {len(results['openmedq'])}")
    print(f"  {'stage':<22} {'samples/s':>10} {'minimum':>8} {'maximum':>8} {'padding':>8} {'wait':>6}")
    for stage, each in results.items():
        speeds = [timed.samples_per_s for timed in each]
        row = f"  {stage:<22} {statistics.median(speeds):>10.1f} {min(speeds):>8.1f} {max(speeds):>8.1f}"
        wait = statistics.median(timed.wait_s / timed.seconds for timed in each)
        print(f"{row} {each[0].padding:>8.1%} {wait if wait else float('nan'):>6.1%}")
    for pair in PAIRS:
        both = list(zip(*(results[each] for each in pair), strict=True))
        ratio = statistics.median(ours.samples_per_s / stock.samples_per_s for ours, stock in both)
        of_cpu = statistics.median(stock.cpu_s / ours.cpu_s for ours, stock in both)
        print(f"  {pair[0]} is {ratio:.2f} times as fast as {pair[1]}; in CPU time {of_cpu:.2f} times")
    print(flush=True)


if __name__ == "__main__":
    main()
