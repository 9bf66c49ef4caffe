"""How fast text rows are read, and whether memory stays flat, beside a peer on the same file in the same run.

100,000 generated rows like MedMCQA's, in the original release's JSON lines, go

    read        through the reader alone
    normalize   through the reader, `normalize.rows` and `shards.write`: from published file to samples in Parquet
    datasets    through Hugging Face `datasets`: `load_dataset("json")`, then `to_parquet`; its cache in scratch

`datasets` neither checks a record nor builds a sample; it is there to say what moving the same bytes costs. Each figure
is of a process of its own, which tells the peak of its memory and what it took before the first row.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

NUM_ROWS = (10_000, 50_000, 100_000)
NUM_WORDS = 5_000
MIB = 2**20


def main() -> None:
    """Measure every way at every size, and print a table; or, called by itself, measure one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--one", nargs=3, metavar=("WAY", "RAW", "SCRATCH"), help="measure one way, print JSON")
    arguments = parser.parse_args()
    if arguments.one:
        way, raw, scratch = arguments.one
        print(json.dumps(measure(WAYS[way], Path(raw), Path(scratch))))
        return
    print(f"{'way':<10} {'rows':>8} {'rows/s':>9} {'MB/s':>6} {'peak MiB':>9} {'of that before':>15}")
    for num_rows in NUM_ROWS:
        with tempfile.TemporaryDirectory() as folder:
            raw = Path(folder) / "raw"
            size_bytes = generate(raw, num_rows)
            for way in WAYS:
                found = measure_apart(way, raw, Path(folder) / way)
                if found["num_rows"] != num_rows:
                    raise SystemExit(f"error: {way}: {found['num_rows']} of {num_rows} rows")
                speed, megabytes = num_rows / found["seconds"], size_bytes / 1e6 / found["seconds"]
                memory = f"{found['peak_bytes'] / MIB:>9.0f} {found['before_bytes'] / MIB:>15.0f}"
                print(f"{way:<10} {num_rows:>8} {speed:>9.0f} {megabytes:>6.1f} {memory}", flush=True)


def generate(raw: Path, num_rows: int) -> int:
    """Write `raw/train.json`, 800 bytes a row as the real one has; how many bytes."""
    chance = random.Random(0)
    vocabulary = ["".join(chance.choices("abcdefghilmnoprstuvy", k=chance.randint(3, 10))) for _ in range(NUM_WORDS)]

    def say(num_words: int) -> str:
        return " ".join(chance.choices(vocabulary, k=num_words))

    raw.mkdir()
    with (raw / "train.json").open("w", encoding="utf-8") as file:
        for number in range(num_rows):
            record = {
                "id": f"{chance.getrandbits(128):032x}",
                "question": f"{say(chance.randint(5, 20))}?",
                **{name: say(chance.randint(1, 4)) for name in ("opa", "opb", "opc", "opd")},
                "cop": 1 + number % 4,
                "choice_type": "multi" if number % 3 == 0 else "single",
                "exp": f"Ans. is '{'abcd'[number % 4]}' i.e., {say(chance.randint(20, 90))}" if number % 8 else None,
                "subject_name": "Anatomy",
                "topic_name": say(2) if number % 2 else None,
            }
            file.write(json.dumps(record) + "\n")
    return (raw / "train.json").stat().st_size


def measure_apart(way: str, raw: Path, scratch: Path) -> dict[str, float]:
    """Measure in a process of its own, away from the network."""
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parent.parent),
        "HF_HOME": str(scratch / "hub"),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    }
    command = [sys.executable, __file__, "--one", way, str(raw), str(scratch)]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(prepare: Callable[[Path, Path], Callable[[], int]], raw: Path, scratch: Path) -> dict[str, float]:
    """Time and memory of one way; imports are done before the clock starts."""
    scratch.mkdir(exist_ok=True)
    run = prepare(raw, scratch)
    before_bytes = peak_bytes()
    start = time.perf_counter()
    num_rows = run()
    seconds = time.perf_counter() - start
    return {"num_rows": num_rows, "seconds": seconds, "peak_bytes": peak_bytes(), "before_bytes": before_bytes}


def peak_bytes() -> int:
    """The most memory that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def prepare_read(raw: Path, scratch: Path) -> Callable[[], int]:
    """The reader alone."""
    from openmedq.datasets import medmcqa

    return lambda: sum(1 for _ in medmcqa.read(raw))


def prepare_normalize(raw: Path, scratch: Path) -> Callable[[], int]:
    """The reader and everything up to the samples in Parquet."""
    from openmedq.config import Normalize
    from openmedq.curate.normalize import rows
    from openmedq.datasets import medmcqa
    from openmedq.schema import Sample
    from openmedq.storage.decoding import Inline
    from openmedq.storage.shards import ShardStore

    def run() -> int:
        found = rows(medmcqa, raw, Normalize(), Inline())
        return ShardStore(scratch).write((row for row in found if isinstance(row, Sample)), Normalize())

    return run


def prepare_datasets(raw: Path, scratch: Path) -> Callable[[], int]:
    """The peer."""
    import datasets

    def run() -> int:
        files = str(raw / "train.json")
        table = datasets.load_dataset("json", data_files=files, split="train", cache_dir=str(scratch / "cache"))
        table.to_parquet(scratch / "train.parquet")
        return len(table)

    return run


WAYS = {"read": prepare_read, "normalize": prepare_normalize, "datasets": prepare_datasets}

if __name__ == "__main__":
    main()
