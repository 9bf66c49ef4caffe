"""The stream of micro batches of a whole training, validations included, from loader processes that start once.

The processes are forked from a server that has imported torch and this package (`forkserver`): they start in parallel,
and no lock of a thread of the training is copied. They end with the training.
"""

import functools
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from openmedq.errors import ModelError, OpenMedQError
from openmedq.storage.processes import be_loader
from openmedq.training.data import Piece, Row, pack

# Unpickling a dataset imports the modules of its samples and of its tokenizer. Without them here, each process imports
# them, and the training waits for it: a tokenizer is larger than a pipe's buffer.
PRELOADED = ["openmedq.training.data", "openmedq.storage.shards", "transformers.tokenization_utils_tokenizers"]


@dataclass(frozen=True, slots=True)
class Job:
    """Rows that are encoded together: those of an update, or some of a validation."""

    rows: np.ndarray[Any, np.dtype[np.int64]]  # (B,), of all devices
    update: int | None  # its number, from 0; None: of a validation
    epoch: int = 0  # of the last row, from 0
    ends_epoch: bool = False  # the next update begins another epoch
    ends_validation: bool = False


def load(
    dataset: Dataset[Any],
    jobs: Iterator[Job],
    draw_levels: Callable[[Job], np.ndarray[Any, np.dtype[np.float32]]],
    num_workers: int,
    rank: int = 0,
    num_devices: int = 1,
) -> Generator[tuple[Job, list[Row]]]:
    """Yield each job with this device's encoded rows, in an order that does not depend on the number of processes.

    `draw_levels` gives the gray level of each row of a job (see `Piece`).

    Raises:
        ModelError: a loader process was killed.
        StaleError: a shard is damaged.
    """
    waiting: deque[Job] = deque()
    num_pieces = max(1, num_workers)

    def cut() -> Iterator[Piece]:
        for job in jobs:
            waiting.append(job)
            rows, levels = job.rows[rank::num_devices], draw_levels(job)[rank::num_devices]
            for number in range(num_pieces):  # a loader process gets the same lanes of each update
                yield Piece(rows[number::num_pieces], levels[number::num_pieces])

    context = None
    if num_workers:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_size=None,
        sampler=cut(),  # iterated once
        collate_fn=pack,
        num_workers=num_workers,
        worker_init_fn=functools.partial(be_loader, os.getpid()),
        multiprocessing_context=context,
        prefetch_factor=2 if num_workers else None,
    )
    pieces: list[list[Row]] = []
    try:
        for piece in loader:
            pieces.append(piece.unpack())
            if len(pieces) == num_pieces:
                yield waiting.popleft(), _interleave(pieces)
                pieces = []
    except OpenMedQError as error:  # torch adds the loader process's stack trace to the message
        _, _, line = str(error).rstrip().rpartition(f"{type(error).__qualname__}: ")
        raise type(error)(line) from None
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise ModelError(
            "a loader process was killed, perhaps for lack of memory; lower execution.workers and run the command again"
        ) from error


def _interleave(pieces: Sequence[Sequence[Row]]) -> list[Row]:
    """Undo the division: row i of the job is row i // n of piece i % n."""
    return [piece[place] for place in range(len(pieces[0])) for piece in pieces if place < len(piece)]
