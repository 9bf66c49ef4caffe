"""Progress bars on stderr, if it is a terminal, and the interface of what logs a stage's metrics."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Answers:
    """Which evaluated questions were answered right, without their texts and ids; no row of a credentialed dataset."""

    questions: str  # digest of the questions: two models can be compared if theirs are equal
    correct: Sequence[int]  # 0 or 1 of each question, in the order of the index
    clusters: Sequence[int]  # number of the question's image: questions on one image are not independent
    confidence: float  # of the interval of a comparison


class Log(Protocol):
    """Logs a stage to its run. The first update of a training is step 1."""

    def __call__(self, metrics: Mapping[str, float], step: int | None) -> None:
        """Log metrics of a step, or final ones (None)."""

    def checkpoint(self, name: str, step: int, metrics: Mapping[str, float]) -> None:
        """Record the complete checkpoint data/checkpoints/<name>, and what was measured at its step."""

    def table(self, name: str, rows: Sequence[Mapping[str, object]]) -> None:
        """Log a table; a later one of the same name replaces it. Cells are numbers, texts or None."""

    def describe(self, text: str) -> None:
        """Set the run's description, in Markdown."""

    def answers(self, answers: Answers) -> None:
        """Log the answers by which the model is compared with the champion."""


class NoLog:
    """Logs nothing: for tests, and for all but the main process of a distributed training."""

    def __call__(self, metrics: Mapping[str, float], step: int | None) -> None:
        """Do nothing."""

    def checkpoint(self, name: str, step: int, metrics: Mapping[str, float]) -> None:
        """Do nothing."""

    def table(self, name: str, rows: Sequence[Mapping[str, object]]) -> None:
        """Do nothing."""

    def describe(self, text: str) -> None:
        """Do nothing."""

    def answers(self, answers: Answers) -> None:
        """Do nothing."""


@contextmanager
def progress(label: str, total: float | None, is_bytes: bool = False) -> Iterator[Callable[..., None]]:
    """Show a progress bar; yields a function that advances it and may change its text.

    `total` is None if it is unknown.
    """
    if not sys.stderr.isatty() or os.environ.get("RANK", "0") != "0":  # of several processes, one shows it
        yield lambda step, text=None: None
        return
    from rich import progress as bars
    from rich.console import Console

    count: bars.ProgressColumn = bars.DownloadColumn() if is_bytes else bars.MofNCompleteColumn()
    columns: list[bars.ProgressColumn] = [bars.TextColumn("{task.description}"), bars.BarColumn(), count]
    if is_bytes:
        columns.append(bars.TransferSpeedColumn())
    columns += [bars.TimeElapsedColumn(), bars.TimeRemainingColumn()]
    with bars.Progress(*columns, console=Console(stderr=True)) as shown:
        task = shown.add_task(label, total=total)
        yield lambda step, text=None: shown.update(task, advance=step, description=text)
