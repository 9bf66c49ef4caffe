"""Peak memory of the stage `transfer` on a dataset of CXR8's size: 112,120 images of 30,805 patients, 14 labels a row.

The images are generated, gray JPEG of `--side` px; the encoder is tiny and has random weights, so that memory is that
of the data. One epoch with its validation, the predictions, and the frozen features with their companions. The peak is
that of all processes of the stage together: PSS counts shared pages once, RSS once for each process.
"""

import argparse
import io
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import mix
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from openmedq import config, paths
from openmedq.config import Normalize, Params
from openmedq.config.render import render
from openmedq.datasets import catalogue
from openmedq.datasets.card import Access
from openmedq.schema import INDEX_SCHEMA, Groups, Role, Sample, Task, Turn
from openmedq.storage.images import encode
from openmedq.storage.shards import ShardStore
from openmedq.storage.tables import INDEX

NAME, NUM_ROWS, NUM_PATIENTS, TEST_SHARE = "cxr8", 112_120, 30_805, 0.228
NUM_IMAGES = 2048  # different ones, which alternate: more than a row group has
ROOT = Path(__file__).parents[1]


def main() -> None:
    """Generate the dataset, run the stage, and print its peak memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=NUM_ROWS)
    parser.add_argument("--side", type=int, default=256, help="of the images, in pixels; the encoder's are of 224")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data").mkdir()
        for path in (paths.CATALOGUE, paths.FORGOTTEN):
            shutil.copy(ROOT / path, folder / path)
        (folder / paths.PARAMS).write_text(render(make_params(arguments.workers)), encoding="utf-8")
        size_bytes = write(folder, arguments.rows, arguments.side)
        print(f"{arguments.rows:,} rows, {size_bytes / 1e6:,.0f} MB of shards", flush=True)
        seconds, peaks = run(folder)
    print(f"{seconds:.0f} s; peak: " + ", ".join(f"{name.upper()} {size / 1e9:.2f} GB" for name, size in peaks.items()))


def make_params(workers: int) -> Params:
    """The miniature's, with images of 224 px and a tiny encoder."""
    params = config.profile(ROOT / paths.CONF, "miniature")
    sizes = {"image_size_px": 224, "patch_size_px": 56, "width": 16, "num_layers": 1, "num_heads": 2}
    train = params.train.model_copy(update={"vision": params.train.vision.model_copy(update=sizes)})
    own = {"benchmarks": (NAME,), "num_epochs": 1, "batch_size": 64}
    return params.model_copy(
        update={
            "train": train,
            "transfer": params.transfer.model_copy(update=own),
            "execution": params.execution.model_copy(update={"workers": workers, "device": "cpu"}),
        }
    )


def write(folder: Path, num_rows: int, side_px: int) -> int:
    """Write the shards and the index; return the size of the shards in bytes."""
    card = catalogue.read(ROOT / paths.CATALOGUE)[NAME]
    samples = folder / paths.SAMPLES / NAME
    samples.mkdir(parents=True)
    ShardStore(samples).write(_generate(num_rows, side_px, card.classes), Normalize())
    index: dict[str, list[object]] = {field.name: [] for field in INDEX_SCHEMA}
    for group in ShardStore(samples).scan(["id", "split"]):
        for row, (row_id, split) in enumerate(
            zip(*(group.rows[each].to_pylist() for each in ("id", "split")), strict=True)
        ):
            place = (row_id, NAME, group.shard, group.number, row, split, Role.EVALUATION.value)
            rest = (Task.CLASSIFICATION.value, "", Access.OPEN.value, 1.0, 1, 0)
            for values, value in zip(index.values(), place + rest, strict=True):
                values.append(value)
    (folder / paths.MIX).mkdir()
    pq.write_table(pa.table(index, INDEX_SCHEMA), folder / INDEX)
    return sum(path.stat().st_size for path in samples.iterdir())


def _generate(num_rows: int, side_px: int, classes: tuple[str, ...]) -> Iterator[Sample]:
    rng = np.random.default_rng(0)
    images = []
    for _ in range(min(NUM_IMAGES, num_rows)):
        buffer = io.BytesIO()
        mix.draw_image(rng, (side_px, side_px + 1), 1).save(buffer, "JPEG")
        images.append(encode(buffer.getvalue(), Normalize()))
    for number, image in zip(range(num_rows), itertools.cycle(images)):
        patient = number * NUM_PATIENTS // NUM_ROWS
        yield mix.make_sample(
            number,
            Turn("", ""),
            image,
            source=NAME,
            split="test" if (patient * 7919) % 1000 < 1000 * TEST_SHARE else "train_val",
            task=Task.CLASSIFICATION,
            groups=Groups(patient=str(patient)),
            labels=tuple(name for name, each in zip(classes, rng.random(len(classes)), strict=True) if each < 0.07),
        )


def run(folder: Path) -> tuple[float, dict[str, int]]:
    """Run the stage; return its seconds, and its peak memory in bytes by two ways of counting."""
    start = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "MLFLOW_TRACKING_URI": ""}
    code = (
        "from openmedq import config, paths\n"
        "from openmedq.evaluation import transfer\n"
        "from openmedq.storage.progress import NoLog\n"
        "if __name__ == '__main__': transfer.run(config.load(paths.PARAMS), 'scratch', NoLog())\n"
    )
    (folder / "run.py").write_text(code, encoding="utf-8")
    process = psutil.Popen([sys.executable, "run.py"], cwd=folder, env=environment)
    peaks = {"pss": 0, "rss": 0}
    while process.poll() is None:
        sizes = dict.fromkeys(peaks, 0)
        for each in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):  # it has ended
                found = each.memory_full_info()
                sizes = {name: size + getattr(found, name) for name, size in sizes.items()}
        peaks = {name: max(peak, sizes[name]) for name, peak in peaks.items()}
        time.sleep(0.5)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, "transfer")
    return time.perf_counter() - start, peaks


if __name__ == "__main__":
    main()
