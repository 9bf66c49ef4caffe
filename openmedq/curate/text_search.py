"""Keys and near copies of the texts of rows, found by the processes of an executor, in the order of the rows."""

import pickle
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from openmedq import paths
from openmedq.curate.fingerprints import make_keys
from openmedq.curate.near_texts import QuestionIndex
from openmedq.storage.decoding import keep_ahead

T = TypeVar("T")


Texts = tuple[list[bytes], list[tuple[int, int, float]]]  # as of `search`


def search(
    index: QuestionIndex,
    batches: Iterable[tuple[T, pa.RecordBatch, pa.Array]],
    executor: Executor,
    num_ahead: int,
) -> Iterator[tuple[T, Texts]]:
    """Yield the first element of each batch, the keys of its rows, and the copies among them.

    A copy is (position in the batch, number of the evaluation row, share of equal words).

    Args:
        index: of the evaluation questions; each process reads it once, from a file below data/.partial.
        batches: with columns `turns` and `labels` of SAMPLE_SCHEMA, and the positions of the rows that are compared
            with the index.
        executor: its processes run in the folder of the project.
        num_ahead: batches that are submitted before the first one must be finished.
    """
    paths.PARTIAL.mkdir(parents=True, exist_ok=True)
    for path in paths.PARTIAL.glob("questions-*"):  # of a run that was killed
        path.unlink()
    with tempfile.NamedTemporaryFile(dir=paths.PARTIAL, prefix="questions-") as file:
        pickle.dump(index, file)
        file.flush()
        path = paths.PARTIAL / Path(file.name).name  # relative: on another machine the project may be elsewhere
        tasks = ((batch, executor.submit(_search, path, rows, asked)) for batch, rows, asked in batches)
        for batch, future in keep_ahead(tasks, num_ahead):
            yield batch, future.result()


def _search(path: Path, rows: pa.RecordBatch, asked: pa.Array) -> Texts:
    turns = rows["turns"]
    found = _load(path).find(turns if len(asked) == len(turns) else turns.take(asked))
    positions = asked.to_pylist()
    copies = [(positions[place], number, share) for place, number, share in found]
    return make_keys(turns, rows["labels"]), copies


@lru_cache(maxsize=1)
def _load(path: Path) -> QuestionIndex:
    index: QuestionIndex = pickle.loads(path.read_bytes())
    return index
