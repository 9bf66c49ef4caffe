"""Questions answered per second beside transformers' `pipeline("image-text-to-text")`: same model, same answers.

Needs a finished run (`make run`): its model, and the questions of its evaluation splits that have one image. Both
decode greedily. Reading is included:

    openmedq          the stage's answerer on rows of the shards
    openmedq, bf16    the same with the model's weights in bf16, in batches of the same and of another size
    pipeline          conversations with image files

The rounds take turns, and the median counts. CPU seconds vary less than the speed where processors are shared. Each
way's answers are compared with those of the first and of the one above it.
"""

import argparse
import statistics
import tempfile
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import apart
import numpy as np
import pyarrow.compute as pc
import torch
from transformers import pipeline

from openmedq import config, paths
from openmedq.evaluation import evaluate, generate
from openmedq.evaluation.metrics.choices import read_answer
from openmedq.model import prompt
from openmedq.model.model import load
from openmedq.schema import Sample
from openmedq.storage.shards import ShardStore
from openmedq.storage.tables import read_index


def main() -> None:
    """Measure both and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10**9, help="of the evaluation rows, evenly spread")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pipeline-batch-sizes", type=int, nargs="+", default=[1, 16, 64])
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.filterwarnings("ignore")
    settings = config.load(paths.PARAMS).evaluate
    rows = evaluate.find_rows(read_index())
    rows = rows.filter(pc.equal(rows["num_images"], 1))  # the pipeline can't put texts beside images into a batch
    rows = rows.take(np.arange(0, len(rows), max(1, len(rows) // arguments.rows)))
    samples = ShardStore(paths.SAMPLES).take(rows)

    def load_ours(model: Path, batch_size: int) -> Callable[[], list[str]]:
        options = {"max_new_tokens": settings.max_new_tokens, "batch_size": batch_size}
        answer = generate.make_answerer(*load(model), **options)
        return lambda: [each.text for each in answer(samples)]

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chats = write_chats(samples, folder)
        ways = {"openmedq": load_ours(paths.MODEL, settings.batch_size)}
        small = save_in_bf16(folder / "bf16")
        for size in (settings.batch_size, max(1, settings.batch_size // 8)):
            ways[f"openmedq, bf16, batch_size {size}"] = load_ours(small, size)
        theirs = pipeline("image-text-to-text", model=str(paths.MODEL), device="cpu")
        theirs.tokenizer.padding_side = theirs.processor.tokenizer.padding_side = "left"
        options = {"do_sample": False, "max_new_tokens": settings.max_new_tokens}

        def ask(batch_size: int) -> list[str]:
            given = theirs(text=chats, batch_size=batch_size, return_full_text=False, generate_kwargs=options)
            return [read_answer(row[0]["generated_text"], each) for row, each in zip(given, samples, strict=True)]

        for size in arguments.pipeline_batch_sizes:
            ways[f"pipeline, batches of {size}"] = partial(ask, size)
        measure(ways, len(samples), arguments.rounds)


def save_in_bf16(folder: Path) -> Path:
    """Save the model with bf16 weights."""
    model, processor = load(paths.MODEL)
    model.bfloat16().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def write_chats(samples: Sequence[Sample], folder: Path) -> list[list[dict[str, Any]]]:
    """Write each image to a file, and return the questions as conversations."""
    tokenizer = load(paths.MODEL)[1].tokenizer
    written: dict[bytes, str] = {}
    chats = []
    for sample in samples:
        chat = prompt.converse(sample, sample.turns, tokenizer, with_answer=False)
        for part, image in zip(chat[0]["content"], sample.images, strict=False):
            data = image.data or b""
            if data not in written:
                written[data] = str(folder / f"{len(written):06}")
                Path(written[data]).write_bytes(data)
            part["path"] = written[data]
        chats.append(chat)
    return chats


def measure(ways: dict[str, Callable[[], list[str]]], num_rows: int, num_rounds: int) -> None:
    """Run the ways in turns, and print the median of each."""
    answers: dict[str, list[str]] = {}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(num_rounds):
        for name, way in ways.items():
            answers[name], found = apart.measure(way)
            times[name].append((found["seconds"], found["cpu_s"]))
    print(f"{num_rows:,} questions")
    print(f"{'way':<30} {'wall s':>7} {'CPU s':>7} {'rows/s':>7} {'equal to first':>14} {'to above':>9}")
    above = first = answers["openmedq"]
    for name, pairs in times.items():
        wall_s, cpu_s = (statistics.median(values) for values in zip(*pairs, strict=True))
        shares = [
            np.mean([one == two for one, two in zip(answers[name], each, strict=True)]) for each in (first, above)
        ]
        above = answers[name]
        print(f"{name:<30} {wall_s:>7.1f} {cpu_s:>7.1f} {num_rows / wall_s:>7.0f} {shares[0]:>14.1%} {shares[1]:>9.1%}")


if __name__ == "__main__":
    main()
