"""Read the tables of a page and of a Markdown file."""

import itertools
import re
from html.parser import HTMLParser

Table = list[list[str]]  # rows of cells, the header first; an interval follows its value after a space


def read_html(page: str) -> list[Table]:
    reader = _Reader()
    reader.feed(page)
    return [[[" ".join(cell.split()) for cell in row] for row in table] for table in reader.tables]


def read_markdown(text: str) -> list[Table]:
    tables: list[Table] = []
    lines = ["", *text.splitlines()]
    for before, line in itertools.pairwise(lines):
        if not line.startswith("|"):
            continue
        cells = [_plain(cell) for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not before.startswith("|"):
            tables.append([cells])
        elif any(cell.strip("-:") for cell in cells):
            tables[-1].append(cells)
    return tables


def _plain(cell: str) -> str:
    link = re.fullmatch(r"\[(.*)\]\(\S*\)", cell.strip())
    text = re.sub(r"\\(.)", r"\1", link[1] if link else cell.strip())
    return text.strip("`*").removeprefix("↳ ")


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tables: list[Table] = []
        self._is_cell = self._is_note = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("")
            self._is_cell = True
        elif tag == "span" and self._is_cell:
            self._is_note = True

    def handle_endtag(self, tag: str) -> None:
        self._is_cell &= tag not in ("th", "td")
        self._is_note &= tag not in ("span", "th", "td")

    def handle_data(self, data: str) -> None:
        if self._is_note:
            self.tables[-1][-1][-1] += f"({data})"
        elif self._is_cell:
            self.tables[-1][-1][-1] += data
