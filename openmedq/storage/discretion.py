"""Errors about the files of a credentialed set don't name them: their names hold patients' ids."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from openmedq.errors import MirrorError, OpenMedQError, StaleError


@contextmanager
def discreet(set_id: str, is_credentialed: bool) -> Iterator[None]:
    """Let errors of the file system, and those that name files of a mirror, say what is wrong but not where.

    SourceErrors of a reader pass: a reader of a credentialed set names its tables alone.
    """
    try:
        yield
    except (OSError, MirrorError, StaleError) as error:
        if not is_credentialed:
            raise
        what = (error.strerror if isinstance(error, OSError) else None) or "a file is missing, changed or not readable"
        advice = "which file is not shown, since the set is credentialed; look at its folder, and run `dvc repro`"
        raise OpenMedQError(f"{set_id}: {what}; {advice}") from None
