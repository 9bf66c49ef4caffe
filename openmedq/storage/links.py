"""`links.tsv`: which files a mirror was made of, with sizes and hashes. A mirror that bears it is held to it.

One line a file, tab-separated: path (set id, then the file's path), url, size_bytes, sha256, md5; what is not known is
empty. `python -m openmedq links` writes it for who fetches; `survey` reads it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from openmedq.errors import MirrorError

NAME = "links.tsv"


@dataclass(frozen=True, slots=True)
class Link:
    """One file of the list; "" for what is not known."""

    path: str
    url: str
    size_bytes: str = ""
    sha256: str = ""
    md5: str = ""


HEADER = tuple(field.name for field in fields(Link))


def render(links: Iterable[Link]) -> Iterator[str]:
    """The lines of a list, without line ends; MirrorError for what would break a line."""
    yield "\t".join(HEADER)
    for link in links:
        cells = astuple(link)
        if any(letter in cell for cell in cells for letter in "\t\r\n"):
            raise MirrorError(f"{link.path!r}: a tab or a line end in a path or address can't be listed")
        yield "\t".join(cells)


def read(path: Path) -> dict[str, Link]:
    """The links of a list by path; none where it is not there, MirrorError where it is no such list."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            rows = [row for row in csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE) if row]
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, csv.Error):
        rows = []
    if not rows or tuple(rows[0]) != HEADER or any(len(row) != len(HEADER) for row in rows):
        raise MirrorError(f"{path}: not a list of links; write it with `python -m openmedq links`, or remove it")
    return {row[0]: Link(*row) for row in rows[1:]}
