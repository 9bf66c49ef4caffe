"""Errors that a user can correct, each with a one-line message: what is wrong, where, and what to do.

`python -m openmedq` prints such an error as one line and exits with 1, or with TRY_AGAIN for a TemporaryError. A stack
trace means a bug.
"""

import re

TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h: the failure may be temporary; the flows run such a stage again


def shorten(error: Exception, max_chars: int = 200) -> str:
    """Return a library's message on one line, cut: some are pages long."""
    return " ".join(str(error).split())[:max_chars]


def printable(text: str) -> str:
    """The text without control characters, which a terminal would obey; line ends and tabs stay."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "\N{REPLACEMENT CHARACTER}", text)


def numbered(number: int, noun: str) -> str:
    """A number with its noun: 1 row, 2,000 rows."""
    return f"{number:,} {noun if number == 1 else noun + 's'}"


class OpenMedQError(Exception):
    """Base of all errors below: `str()` of it is one complete line."""


class ParamsError(OpenMedQError):
    """params.yaml, a profile or an argument has a value that is not allowed."""


class SourceError(OpenMedQError):
    """A folder does not have the layout that the dataset's reader documents."""


class ArchiveError(SourceError):
    """An archive is truncated, malicious, or not an archive."""


class LocalFolderError(OpenMedQError):
    """The local data folder is missing, contains no dataset, lacks a required one, or has an unreadable file."""


class AcquisitionError(OpenMedQError):
    """Published files can't be fetched: refused, removed, or different from the card."""


class TemporaryError(AcquisitionError):
    """A server does not answer now; a later attempt may succeed."""


class AccessError(AcquisitionError):
    """A host requires credentials, or rejects the ones that were given."""


class ChecksumError(OpenMedQError):
    """Bytes differ from the pinned or recorded ones."""


class StaleError(OpenMedQError):
    """A derived file is missing, or no longer agrees with what it is derived from."""


class TrackingError(OpenMedQError):
    """The MLflow store does not answer or can't be opened."""


class ValidationError(OpenMedQError):
    """The data do not meet the expectations: training may not start."""


class ModelError(OpenMedQError):
    """Weights or a tokenizer can't be loaded, or do not fit the settings."""


class DiskFullError(OpenMedQError):
    """No disk space is left for an output."""


class ExportError(OpenMedQError):
    """The licence policy does not allow the export of the weights, or the target is not usable."""
