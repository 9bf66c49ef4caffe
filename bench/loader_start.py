"""Start and memory of the loader processes, with an index of 3.35 million rows.

Times run from the start of the loader to its first batch, in a new process each: as the stage `train` starts them
(`forkserver`, with modules imported before the fork), and with `spawn`, which imports them in each process. Memory is
that which a process has for itself (USS), after some batches. The rows of the index lie in a few generated shards.
"""

import argparse
import json
import multiprocessing
import os
import pickle
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any
from unittest.mock import patch

import apart
import mix
import numpy as np
import psutil
import trainers

import openmedq
from openmedq import config
from openmedq.model import language
from openmedq.model import model as models
from openmedq.training import loader
from openmedq.training.loader import Job

NUM_ROWS = 3_350_000
NUM_STORED = 2_000  # rows in shards
NUM_WORDS = 30_000  # so many that the tokenizer has 32,000 tokens: as large a piece as published ones
NUM_BATCHES = 40
BATCH_SIZE = 64
METHODS = ("forkserver", "spawn")


def main() -> None:
    """Measure each method in turns, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[8, 4])
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        del globals()["__file__"]  # loader processes would import this script, unlike `python -m openmedq`
        folder, method, num_workers = arguments.one
        print(json.dumps(measure(Path(folder), method, int(num_workers))))
        return
    print(f"{'':<14} first batch, s  minimum  maximum   batches/s   MiB a process   MiB shared   kB pickled   load")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        index = mix.write_shards(folder, NUM_STORED, NUM_WORDS)
        tokenizer = language.train_tokenizer(mix.read_texts(mix.open_rows(folder, index, 0)), 32_000)
        tokenizer.chat_template = models.CHAT_TEMPLATE
        tokenizer.save_pretrained(folder / "tokenizer")
        for num_workers in arguments.workers:
            found: dict[str, list[dict[str, float]]] = {method: [] for method in METHODS}
            for _ in range(arguments.rounds):
                for method in METHODS:
                    found[method].append(apart.run(__file__, name, method, num_workers))
            for method, each in found.items():
                starts = [one["start_s"] for one in each]
                rest = [statistics.median(one[key] for one in each) for key in ("speed", "uss", "shared", "pickled")]
                print(
                    f"{method:<11}{num_workers:>3} {statistics.median(starts):>14.1f} {min(starts):>8.1f} "
                    f"{max(starts):>8.1f} {rest[0]:>11.1f} {rest[1]:>15.0f} {rest[2]:>12.0f} {rest[3]:>12.1f} "
                    f"{os.getloadavg()[0]:>6.1f}",
                    flush=True,
                )


def measure(folder: Path, method: str, num_workers: int) -> dict[str, float]:
    """Start the loader in this process and read some batches."""
    warnings.filterwarnings("ignore")
    settings = config.profile(Path(openmedq.__file__).parent / "conf", "paper").train
    few = mix.read_index(folder)
    index = few.take(np.arange(NUM_ROWS) % len(few))
    tokenizer = language.load_tokenizer(str(folder / "tokenizer"))
    processor = models.build_processor(tokenizer, settings.vision)
    samples = mix.open_rows(folder, index, num_workers, folder / f"rows-{method}-{num_workers}.npy")
    rows = trainers.encode_rows(samples, processor, settings)
    del index
    chosen = np.random.default_rng(0).integers(0, len(few), (NUM_BATCHES, BATCH_SIZE))
    jobs = (Job(np.sort(each), update) for update, each in enumerate(chosen))
    contexts: Any = multiprocessing.context._concrete_contexts  # type: ignore[attr-defined]
    with patch.object(loader.multiprocessing, "get_context", lambda _: contexts[method]):
        started = time.perf_counter()
        batches = loader.load(rows, jobs, lambda job: np.full(len(job.rows), np.nan, np.float32), num_workers)
        next(batches)
        start_s = time.perf_counter() - started
        for _ in range(NUM_BATCHES // 2):
            next(batches)
        seconds = time.perf_counter() - started - start_s
    workers = find_workers()
    assert len(workers) == num_workers, workers
    memory = [process.memory_full_info() for process in workers]
    batches.close()
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert not alive
    return {
        "start_s": start_s,
        "speed": NUM_BATCHES // 2 / seconds,
        "uss": max(each.uss for each in memory) / 2**20,
        "shared": max(each.rss - each.uss for each in memory) / 2**20,
        "pickled": len(pickle.dumps(rows)) / 1e3,
    }


def find_workers() -> list[psutil.Process]:
    """Return the loader processes: of those below this one, the ones that run torch's loop."""
    below = psutil.Process().children(recursive=True)
    return [each for each in below if not each.children() and "resource_tracker" not in " ".join(each.cmdline())]


if __name__ == "__main__":
    main()
