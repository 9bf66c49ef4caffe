"""`links.tsv`: a list of the files of a local data folder, with addresses, sizes and hashes that they must match.

Tab-separated, one file per line: path (dataset id, then the file's path), url, size_bytes, sha256, md5; unknown values
are empty. `python -m openmedq links` writes it, `manifest` reads it.
"""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from openmedq.errors import LocalFolderError

NAME = "links.tsv"


@dataclass(frozen=True, slots=True)
class Link:
    """One file of the list; "" for an unknown value."""

    path: str
    url: str
    size_bytes: str = ""
    sha256: str = ""
    md5: str = ""


HEADER = tuple(field.name for field in fields(Link))


def render(links: Iterable[Link]) -> Iterator[str]:
    """The lines of the list, without line ends; LocalFolderError for a value that contains a tab or a line end."""
    yield "\t".join(HEADER)
    for link in links:
        cells = astuple(link)
        if any(letter in cell for cell in cells for letter in "\t\r\n"):
            raise LocalFolderError(
                f"{link.path!r}: a path or address with a tab or a line end can't be listed; rename the file"
            )
        yield "\t".join(cells)


def read(path: Path) -> dict[str, Link]:
    """The links by path, empty if the file is missing; LocalFolderError if it is not such a list."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            rows = [row for row in csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE) if row]
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, csv.Error):
        rows = []
    if not rows or tuple(rows[0]) != HEADER or any(len(row) != len(HEADER) for row in rows):
        raise LocalFolderError(f"{path}: not a list of links; write it with `python -m openmedq links`, or remove it")
    return {row[0]: Link(*row) for row in rows[1:]}
