"""Time and memory of `deduplicate`, `mix` and `validate` over generated text rows, beside rensa and DuckDB.

Half of the training rows are captions of 20 to 80 words, the rest questions; 8 % copy an earlier row exactly but for
case and punctuation, 5 % are near copies of one of the evaluation questions. `deduplicate` runs with two workers, and
without (`deduplicate, 1`); `mix` and `validate` read its decisions. Each program runs in a process of its own.
rensa hashes all rows and looks each up (128 permutations, 32 bands); DuckDB counts distinct folded texts, exact copies.
"""

import argparse
import importlib
import json
import random
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import apart
import pyarrow.parquet as pq

from openmedq import paths
from openmedq.config import Execution, Normalize, profile
from openmedq.datasets import catalogue
from openmedq.errors import ValidationError
from openmedq.schema import Provenance, Sample, Task, Turn
from openmedq.storage.shards import ShardStore

ROOT = apart.ROOT
SOURCE = "medqa"
SHARE_EXACT, SHARE_NEAR, SHARE_EVALUATION = 0.08, 0.05, 0.005
EVALUATION_ROWS = 10_000  # at most
OPTIONS = 4


def main() -> None:
    """Print a line for each number of rows and program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[50_000])
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    parser.add_argument("--one", choices=[*PROGRAMS, "write"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one == "write":
        write(*arguments.rows)
        print(json.dumps({}))
    elif arguments.one:
        work, num_workers = PROGRAMS[arguments.one]
        text, times = apart.measure(work, num_workers)
        text = judge() if arguments.one.startswith("deduplicate") else text
        print(json.dumps({"text": text, **times}))
    else:
        for num_rows in arguments.rows:
            with tempfile.TemporaryDirectory() as folder:
                apart.run(__file__, "write", "--rows", num_rows, cwd=Path(folder))
                for name in PROGRAMS:
                    found = {"program": name, "rows": num_rows, **apart.run(__file__, name, cwd=Path(folder))}
                    print(json.dumps(found) if arguments.json else to_line(found), flush=True)


def to_line(found: dict[str, Any]) -> str:
    """Return the cost and the findings of a program as a line of text."""
    cost = f"{found['seconds']:>7.1f} s {found['cpu_s']:>7.1f} s CPU {found['peak_mb']:>7,.0f} MB"
    return f"{found['program']:<14} {found['rows']:>9,} rows {cost}  {found['text']}"


def write(num_rows: int) -> None:
    """Write the rows below the current folder, as `normalize` does."""
    cards = catalogue.read(ROOT / paths.CATALOGUE)
    for name in cards:
        (paths.SAMPLES / name).mkdir(parents=True)
        num_read = 0
        if name == SOURCE:
            num_read = ShardStore(paths.SAMPLES / name).write(make_samples(num_rows), Normalize())
        counts = {"state": "present" if num_read else "absent", "origin": "mirror", "found": num_read, "read": num_read}
        text = json.dumps({**counts, "rejected": {}, "splits": {}, "num_images": 0})
        (paths.SAMPLES / name / "counts.json").write_text(text, encoding="utf-8")
    shutil.copy(ROOT / paths.CATALOGUE, paths.CATALOGUE)
    shutil.copy(ROOT / "data" / "copies.csv", "data")


def make_samples(num_rows: int) -> Iterator[Sample]:
    """Generate evaluation rows and then training rows; the id begins with what a row is: base, copy or near."""
    draw = random.Random(0)
    words = apart.draw_words(draw, 30_000)
    frequencies = list(accumulate(1 / rank for rank in range(5, len(words) + 5)))

    def say(length: int) -> list[str]:
        return draw.choices(words, cum_weights=frequencies, k=length)

    def ask() -> Turn:
        options = tuple(" ".join(say(2)) for _ in range(OPTIONS))
        return Turn(f"{' '.join(say(draw.randint(12, 40))).capitalize()}?", draw.choice(options), options=options)

    asked = [ask() for _ in range(min(EVALUATION_ROWS, max(100, round(num_rows * SHARE_EVALUATION))))]
    yield from (_to_sample(f"base-test-{number}", "test", turn) for number, turn in enumerate(asked))
    own: list[Turn] = []
    for number in range(num_rows):
        kind = draw.random()
        if kind < SHARE_NEAR:
            yield _to_sample(f"near-{number}", "train", _edit(draw.choice(asked), draw))
        elif kind < SHARE_NEAR + SHARE_EXACT and own:
            turn = draw.choice(own)
            answer = turn.answer.upper() if not turn.options else turn.answer
            yield _to_sample(f"copy-{number}", "train", Turn(turn.question.upper(), answer, options=turn.options))
        else:
            turn = Turn("", f"{' '.join(say(draw.randint(20, 80)))}.") if draw.random() < 0.575 else ask()
            own.append(turn)
            yield _to_sample(f"base-{number}", "train", turn)


def _edit(turn: Turn, draw: random.Random) -> Turn:
    question, options = turn.question, turn.options
    kind = draw.randrange(5)
    if kind == 0:
        question = f"{draw.randint(1, 200)}. {question}"
    elif kind == 1:
        options = tuple(f"{letter}) {text}" for letter, text in zip("ABCD", options, strict=True))
    elif kind == 2:
        words = question.split()
        words[draw.randrange(1, len(words) - 1)] = "another"
        question = " ".join(words)
    elif kind == 3:
        options = tuple(text if text == turn.answer else f"{text} or so" for text in options)
    else:
        question = f"Read this with care. {question}"
    return Turn(question, turn.answer if kind != 1 else options[turn.options.index(turn.answer)], options=options)


def _to_sample(name: str, split: str, turn: Turn) -> Sample:
    return Sample(
        id=f"{SOURCE}/{name}",
        source=SOURCE,
        split=split,
        task=Task.TEXT_QA,
        modality="text",
        licence="CC0-1.0",
        provenance=Provenance("rows.json", name),
        turns=(turn,),
    )


def run_stage(name: str, num_workers: int) -> str:
    """Run a stage with `execution.workers` processes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Great Expectations imports deprecated modules
        stage = importlib.import_module(f"openmedq.curate.{name}")
    params = profile(ROOT / "openmedq" / "conf", "miniature")
    with suppress(ValidationError):  # there are not as many rows as MedQA has
        stage.run(params.model_copy(update={"execution": Execution(workers=num_workers)}))
    return ""


def judge() -> str:
    """Return precision and recall of the stage."""
    rows = pq.read_table(paths.VERDICTS / "verdicts.parquet").to_pylist()
    ids = [
        row_id for group in ShardStore(paths.SAMPLES / SOURCE).scan(["id"]) for row_id in group.rows["id"].to_pylist()
    ]
    texts = []
    for kind, tier in (("copy", "same text"), ("near", "near text")):
        planted = {row_id for row_id in ids if row_id.startswith(f"{SOURCE}/{kind}-")}
        found = {row["id"] for row in rows if row["tier"] == tier}
        other = {row["id"] for row in rows} & planted  # an exact copy of a near copy is both
        hits = len(found & planted)
        texts.append(
            f"{kind}: precision {hits / max(len(found), 1):.4f} recall {len(other) / max(len(planted), 1):.4f}"
        )
    return ", ".join(texts)


def run_rensa() -> str:
    """Hash all rows by their pairs of words and look each up among the earlier ones."""
    try:
        from rensa import RMinHash, RMinHashLSH  # type: ignore[import-not-found]
    except ImportError:
        return "not installed"
    index = RMinHashLSH(threshold=0.5, num_perm=128, num_bands=32)
    num_found = 0
    for number, text in enumerate(_read_texts()):
        words = text.lower().split()
        hashes = RMinHash(num_perm=128, seed=0)
        hashes.update([f"{one} {other}" for one, other in pairwise(words)])
        num_found += bool(index.query(hashes))
        index.insert(number, hashes)
    return f"{num_found:,} rows have a candidate"


def run_duckdb() -> str:
    """Count distinct folded texts in one query, with the fields of our key."""
    import duckdb

    with duckdb.connect(config={"threads": 1}) as database:
        num_rows, num_distinct = database.sql(
            "SELECT count(*), count(DISTINCT md5(trim(regexp_replace(lower(array_to_string(list_transform(turns, "
            "lambda turn: concat_ws(chr(31), turn.question, turn.context, turn.answer, "
            "array_to_string(list_sort(turn.options), chr(31)))), chr(30))), '[^a-z0-9%<>]+', ' ', 'g')))) "
            f"FROM '{paths.SAMPLES / SOURCE}/shard-*.parquet'"
        ).fetchall()[0]
    return f"{num_rows - num_distinct:,} exact copies"


def _read_texts() -> Iterator[str]:
    for group in ShardStore(paths.SAMPLES / SOURCE).scan(["turns"]):
        for turns in group.rows["turns"].to_pylist():
            yield " ".join(f"{turn['question']} {turn['answer']}" for turn in turns)


PROGRAMS: dict[str, tuple[Callable[[], str], int]] = {  # with the number of workers
    "deduplicate": (partial(run_stage, "deduplicate", 2), 2),
    "deduplicate, 1": (partial(run_stage, "deduplicate", 1), 0),
    "mix": (partial(run_stage, "mix", 1), 0),
    "validate": (partial(run_stage, "validate", 1), 0),
    "rensa": (run_rensa, 0),
    "duckdb": (run_duckdb, 0),
}


if __name__ == "__main__":
    main()
