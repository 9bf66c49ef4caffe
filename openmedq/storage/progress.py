"""Progress of long work: a bar in a terminal, a line a minute in a log; and the interface of what logs metrics."""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

PERIOD_S = 60.0  # between the lines in a log

logger = logging.getLogger(__name__)


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

    def __call__(self, *arguments: Any, **options: Any) -> None:
        """Do nothing."""

    checkpoint = table = describe = answers = __call__


@contextmanager
def progress(label: str, total: float | None, is_bytes: bool = False) -> Iterator[Callable[..., None]]:
    """Show a progress bar, or log lines if stderr is no terminal; yields a function that advances it.

    The function may change the text, too. `total` is None if it is unknown.
    """
    if os.environ.get("RANK", "0") != "0":  # of several processes, one shows it
        yield lambda step, text=None: None
        return
    if not sys.stderr.isatty():
        yield _Lines(label, total, is_bytes).advance
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


class _Lines:
    """Logs a line every `PERIOD_S`: what was done, of how much, and the time left at the rate since the last line."""

    def __init__(self, label: str, total: float | None, is_bytes: bool) -> None:
        self._label, self._total, self._is_bytes = label, total, is_bytes
        self._done, self._logged, self._time = 0.0, 0.0, time.monotonic()

    def advance(self, step: float, text: str | None = None) -> None:
        self._done, self._label = self._done + step, text or self._label
        seconds = time.monotonic() - self._time
        if seconds < PERIOD_S:
            return
        line = f"{self._label}: {self._format(self._done)}"
        if self._total is not None:
            rate = (self._done - self._logged) / seconds
            line += f" of {self._format(self._total)}"
            line += f", {(self._total - self._done) / rate / 60:,.0f} min left" if rate else ""
        logger.info("%s", line)
        self._logged, self._time = self._done, time.monotonic()

    def _format(self, number: float) -> str:
        return f"{number / 1e6:,.1f} MB" if self._is_bytes else f"{number:,.0f}"
