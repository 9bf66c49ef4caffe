"""Progress bars on stderr, if it is a terminal, and the type of the functions that log metrics."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

Log = Callable[[Mapping[str, float], int | None], None]  # takes metrics by name and their step; None: the final ones


@contextmanager
def progress(label: str, total: float | None, is_bytes: bool = False) -> Iterator[Callable[..., None]]:
    """Show a progress bar; yields a function that advances it and may change its text.

    `total` is None if it is unknown.
    """
    if not sys.stderr.isatty():
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
