"""Files beside a list of records that add fields to them, by id. Of rows with one id, the first counts."""

import logging
from pathlib import Path

from openmedq.datasets.fields import Unusable
from openmedq.datasets.readers.tables import Row, stream_lines, stream_table
from openmedq.errors import SourceError
from openmedq.schema import Reason

_log = logging.getLogger(__name__)


def lines_beside(path: Path) -> dict[str, str]:
    """Read lines of key, tab and text by key; empty if there is no such file.

    Lines without a tab are skipped. SourceError if the first line has none or the file is empty.
    """
    found: dict[str, str] = {}
    for _, line in stream_lines(path) if path.is_file() else ():
        key, tab, rest = line.partition("\t")
        if tab:
            found.setdefault(key.strip(), rest)
        elif not found:
            break
    if not found and path.is_file():
        raise SourceError(f"{path}: not the published layout: no line of an id, a tab and a text; get the file again")
    return found


def table_beside(path: Path, key: str, *needed: str) -> dict[str, Row]:
    """Read the rows of a CSV by the column `key`; empty if there is no such file.

    Rows whose length differs from the header are skipped. SourceError if a column is missing.
    """
    found: dict[str, Row] = {}
    for _, row in stream_table(path, (key, *needed)) if path.is_file() else ():
        if isinstance(row, Unusable):
            if row.reason is Reason.FILE_TRUNCATED:
                _log.warning("%s: %s", path, row.detail)
        else:
            found.setdefault(row[key].strip(), row)
    return found
