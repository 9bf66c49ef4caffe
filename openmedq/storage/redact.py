"""Errors about a credentialed dataset do not name its files, whose paths contain patients' ids."""

from collections.abc import Iterator
from contextlib import contextmanager

from openmedq.errors import LocalFolderError, OpenMedQError, StaleError


@contextmanager
def redact_paths(dataset_id: str, is_credentialed: bool) -> Iterator[None]:
    """Remove paths from file errors of a credentialed dataset.

    SourceErrors of its reader pass, because the reader names only the dataset's tables.
    """
    try:
        yield
    except (OSError, LocalFolderError, StaleError) as error:
        if not is_credentialed:
            raise
        what = (error.strerror if isinstance(error, OSError) else None) or "a file is missing, changed or not readable"
        advice = "its name is hidden because the dataset is credentialed; check its folder and run `dvc repro`"
        raise OpenMedQError(f"{dataset_id}: {what}; {advice}") from None
