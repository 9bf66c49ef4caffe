"""Speed of `normalize` beside peers on the same input in the same run.

Text rows like MedMCQA's, from a Parquet file as it is published:

    read            the reader alone
    normalize       the reader, `normalize.rows` and `ShardStore.write`: from published file to samples in Parquet
    from_generator  Hugging Face `datasets`: `Dataset.from_generator` over the same reader, with all columns

Images, half JPEG and a quarter each gray and RGB PNG, larger than the bound:

    bare pool       a pool of processes that decodes, resizes (`thumbnail`) and encodes with Pillow, and keeps no result
    normalize       the same number of processes; also hashes, thumbnails, checks, and writes shards
    img2dataset     the same number of processes, from files of this machine, to the same bound; PNG becomes JPEG too

Each figure is of a process of its own, with imports and the start of the workers excluded.
"""

import argparse
import json
import multiprocessing
import random
import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apart

NUM_WORDS = 5_000
NUM_WORKERS = 2
SIDES_PX = (700, 1800)

Run = Callable[[], int]


def main() -> None:
    """Measure every way, and print a table; or, called by itself, measure one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--bounds-px", type=int, nargs="+", default=[256, 768])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=3, metavar=("WAY", "RAW", "BOUND"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        way, raw, bound_px = arguments.one
        with tempfile.TemporaryDirectory() as scratch:
            print(json.dumps(measure(way, Path(raw), Path(scratch), int(bound_px))))
        return
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder)
        write_rows(raw, arguments.rows)
        write_images(raw / "images", arguments.images)
        print_table("rows", TEXT_WAYS, raw, 0, arguments.rounds)
        for bound_px in arguments.bounds_px:
            print_table(f"images to {bound_px} px", IMAGE_WAYS, raw, bound_px, arguments.rounds)


def print_table(what: str, ways: dict[str, Callable[..., Any]], raw: Path, bound_px: int, num_rounds: int) -> None:
    """Measure the ways in turns, and print the median rate of each."""
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(num_rounds):
        for way in ways:
            found = apart.run(__file__, way, raw, bound_px)
            rates[way].append(found["num"] / found["seconds"])
    own = statistics.median(rates[f"normalize {'images' if bound_px else 'rows'}"])
    for way, each in rates.items():
        rate = statistics.median(each)
        print(f"{way:<18} {rate:>9,.0f} {what}/s; normalize is {own / rate:.2f} times as fast", flush=True)


def measure(way: str, raw: Path, scratch: Path, bound_px: int) -> dict[str, float]:
    """Number of rows or images, and seconds, of one way."""
    if way == "img2dataset":
        return run_img2dataset(raw, scratch, bound_px)
    num, times = apart.measure((TEXT_WAYS | IMAGE_WAYS)[way](raw, scratch, bound_px))
    return {"num": num, **times}


# Input ----------------------------------------------------------------------------------------------------------------


def write_rows(raw: Path, num_rows: int) -> None:
    """Write MedMCQA's file of the train split, 800 bytes a row as the real one has."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    chance = random.Random(0)
    vocabulary = apart.draw_words(chance, NUM_WORDS)

    def say(low: int, high: int) -> str:
        return " ".join(chance.choices(vocabulary, k=chance.randint(low, high)))

    rows = [
        {
            "id": f"{chance.getrandbits(128):032x}",
            "question": f"{say(5, 20)}?",
            **{name: say(1, 4) for name in ("opa", "opb", "opc", "opd")},
            "cop": number % 4,
            "choice_type": "multi" if number % 3 == 0 else "single",
            "exp": f"Ans. is '{'abcd'[number % 4]}' i.e., {say(20, 90)}" if number % 8 else None,
            "subject_name": "Anatomy",
            "topic_name": say(2, 2) if number % 2 else None,
        }
        for number in range(num_rows)
    ]
    (raw / "data").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), raw / "data" / "train-00000-of-00001.parquet")


def write_images(folder: Path, num_images: int) -> None:
    """Write shapes with noise, of varied size."""
    import mix
    import numpy as np

    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(num_images):
        image = mix.draw_image(random, SIDES_PX, 3 if number % 4 < 2 else 1)
        image.save(folder / f"{number:06}.{'png' if number % 2 else 'jpg'}", quality=92)


# Text -----------------------------------------------------------------------------------------------------------------


def prepare_read(raw: Path, scratch: Path, _: int) -> Run:
    """The reader alone."""
    from openmedq.datasets import medmcqa

    return lambda: sum(1 for _ in medmcqa.read(raw))


def prepare_rows(raw: Path, scratch: Path, _: int) -> Run:
    """The reader and everything up to the samples in Parquet."""
    import gc

    from openmedq.config import Normalize
    from openmedq.curate.normalize import rows
    from openmedq.datasets import medmcqa
    from openmedq.schema import Sample
    from openmedq.storage.decoding import Inline
    from openmedq.storage.shards import ShardStore

    def run() -> int:
        gc.freeze()  # as the stage does
        found = rows(medmcqa, raw, Normalize(), Inline())
        return ShardStore(scratch).write((row for row in found if isinstance(row, Sample)), Normalize())

    return run


def prepare_generator(raw: Path, scratch: Path, _: int) -> Run:
    """`datasets` on the same reader."""
    import datasets

    from openmedq.datasets import medmcqa
    from openmedq.schema import SAMPLE_SCHEMA, Sample
    from openmedq.storage.records import to_record

    features = datasets.Features.from_arrow_schema(SAMPLE_SCHEMA)

    def read() -> Iterator[dict[str, object]]:
        return (to_record(row) for row in medmcqa.read(raw) if isinstance(row, Sample))

    return lambda: len(datasets.Dataset.from_generator(read, features=features, cache_dir=str(scratch)))


# Images ---------------------------------------------------------------------------------------------------------------


def encode_bare(task: tuple[Path, int]) -> int:
    """Decode, resize to a bound and encode an image; return the number of bytes."""
    import io

    import PIL.Image

    path, bound_px = task
    buffer = io.BytesIO()
    with PIL.Image.open(path) as image:
        image.thumbnail((bound_px, bound_px), PIL.Image.Resampling.LANCZOS)
        if path.suffix == ".png":
            image.save(buffer, "PNG", compress_level=1)
        else:
            image.save(buffer, "JPEG", quality=95, subsampling="4:4:4")
    return len(buffer.getvalue())


def prepare_pool(raw: Path, scratch: Path, bound_px: int) -> Run:
    """A pool of processes without anything else."""
    files = sorted((raw / "images").iterdir())
    pool = multiprocessing.get_context("spawn").Pool(NUM_WORKERS)
    pool.map(encode_bare, [(files[0], 8)] * 8)  # workers have started and imported
    return lambda: sum(1 for _ in pool.imap(encode_bare, [(file, bound_px) for file in files]))


def prepare_images(raw: Path, scratch: Path, bound_px: int) -> Run:
    """`normalize` up to the shards."""
    from types import SimpleNamespace

    from openmedq.config import Execution, Normalize
    from openmedq.curate.normalize import rows
    from openmedq.datasets import slake
    from openmedq.schema import Image, Provenance, Sample, Task, Turn
    from openmedq.storage.decoding import encode_image, open_executor
    from openmedq.storage.shards import ShardStore

    settings = Normalize(max_side_px=bound_px)
    files = sorted((raw / "images").iterdir())

    def read(raw: Path) -> Iterator[Sample]:
        for file in files:
            provenance = Provenance("images", file.name)
            content = (Task.CAPTION, "mixed", "CC0-1.0", provenance, (Turn("", "shapes"),), (Image(file.name, file),))
            yield Sample(f"slake/{file.name}", "slake", "train", *content)

    dataset = SimpleNamespace(card=slake.card, read=read)
    opened = open_executor(Execution(workers=NUM_WORKERS))
    executor, num_ahead = opened.__enter__()
    for started in [executor.submit(encode_image, Image("", files[0]), Normalize(max_side_px=8)) for _ in range(8)]:
        started.result()
    found = rows(dataset, raw, settings, executor, num_ahead)

    def run(opened: object = opened) -> int:  # which ends the workers when it is deleted
        return ShardStore(scratch).write((row for row in found if isinstance(row, Sample)), settings)

    return run


def run_img2dataset(raw: Path, scratch: Path, bound_px: int) -> dict[str, float]:
    """img2dataset on the files of this machine, with several shards per process, so that none waits for another.

    The time is from the start of its first shard to the end of its last, by its own statistics: without its start-up.
    """
    import img2dataset

    urls = [f"file://{file}\n" for file in sorted((raw / "images").iterdir())]
    (scratch / "urls.txt").write_text("".join(urls), encoding="utf-8")
    img2dataset.download(
        url_list=str(scratch / "urls.txt"),
        output_folder=str(scratch / "output"),
        processes_count=NUM_WORKERS,
        thread_count=16,
        number_sample_per_shard=-(-len(urls) // (4 * NUM_WORKERS)),
        image_size=bound_px,
        resize_mode="keep_ratio_largest",
        resize_only_if_bigger=True,
        encode_format="jpg",
        encode_quality=95,
        output_format="parquet",
        compute_hash="sha256",
        disallowed_header_directives=[],
    )
    shards = [json.loads(path.read_text(encoding="utf-8")) for path in (scratch / "output").glob("*_stats.json")]
    seconds = max(each["end_time"] for each in shards) - min(each["start_time"] for each in shards)
    return {"seconds": seconds, "num": sum(each["successes"] for each in shards)}


TEXT_WAYS: dict[str, Callable[..., Any]] = {
    "read": prepare_read,
    "normalize rows": prepare_rows,
    "from_generator": prepare_generator,
}
IMAGE_WAYS: dict[str, Callable[..., Any]] = {
    "bare pool": prepare_pool,
    "normalize images": prepare_images,
    "img2dataset": run_img2dataset,
}

if __name__ == "__main__":
    main()
