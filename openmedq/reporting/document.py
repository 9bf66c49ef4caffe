"""The report as a document: sections of texts, tables, figures and predictions.

The HTML page and the Markdown file are two templates of the same document, so that they have the same content. Cells
are formatted here. `inline` markup of texts is that of Markdown: `code` and **strong**.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from markupsafe import Markup

from openmedq.reporting.examples import Example, Pair

Tree = Mapping[str, Any]

NOTHING = "–"


@dataclass(frozen=True)
class Cell:
    """A cell of a table."""

    text: str
    note: str = ""  # beside the text, in small letters: an interval
    kind: str = ""  # number, none, strong, good, bad or why; part: the row is a part of the row above
    link: str = ""


Row = Sequence[Cell]  # of a table; the first cell is its heading


@dataclass(frozen=True)
class Text:
    """A paragraph with inline markup."""

    text: str


@dataclass(frozen=True)
class Heading:
    """The title of a part of a section."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table; a column of numbers is aligned to the right."""

    header: Sequence[str]
    rows: Sequence[Row]

    @property
    def is_numeric(self) -> list[bool]:
        """Whether each column has numbers."""
        return [
            any("number" in row[place].kind for row in self.rows if place < len(row))
            for place in range(len(self.header))
        ]

    @property
    def has_parts(self) -> bool:
        """Whether rows are parts of others."""
        return any(row[0].kind == "part" for row in self.rows)


@dataclass(frozen=True)
class Figure:
    """A chart; the Markdown file shows it from figures/<file>.svg."""

    file: str
    title: str
    svg: Markup


@dataclass(frozen=True)
class Examples:
    """Predictions with their images; the Markdown file shows them from figures/."""

    examples: Sequence[Example]


@dataclass(frozen=True)
class Pairs:
    """Pairs of an evaluation row and a training row; the Markdown file shows their images from figures/."""

    pairs: Sequence[Pair]


Block = Text | Heading | Table | Figure | Examples | Pairs
B = TypeVar("B", bound=Block)


@dataclass(frozen=True)
class Section:
    """A section of the report."""

    id: str  # of the heading, for links
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Headline:
    """A number at the top of the report."""

    title: str
    value: Cell
    notes: Sequence[str]


@dataclass(frozen=True)
class Document:
    """The whole report."""

    lead: str
    notice: str  # "" if there is nothing to warn of
    headlines: Sequence[Headline]
    sections: Sequence[Section]

    def find(self, kind: type[B]) -> list[B]:
        """All blocks of a kind."""
        return [block for section in self.sections for block in section.blocks if isinstance(block, kind)]


def group(rows: Iterable[Row]) -> list[Row]:
    """Rows of a table; one with the same first cell as the row above is a part of it, and does not repeat it."""
    grouped: list[Row] = []
    above = None
    for first, *others in rows:
        grouped.append([Cell("", kind="part") if first == above else first, *others])
        above = first
    return grouped


def text(value: object, kind: str = "") -> Cell:
    """A cell with a text; a dash if it is empty."""
    return Cell(str(value), kind=kind) if value not in ("", None) else Cell(NOTHING, kind="none")


def count(number: int | None) -> Cell:
    """A cell with an integer; a dash in place of 0."""
    return Cell(f"{number:,}", kind="number") if number else Cell(NOTHING, kind="number none")


def score(scores: Tree, name: str, digits: int = 1, *, is_signed: bool = False) -> Cell:
    """A cell with a score and its interval; a dash if it is not among the scores."""
    if scores.get(name) is None:
        return Cell(NOTHING, kind="number none")
    return Cell(
        format_number(scores[name], digits, is_signed), format_interval(scores, name, digits, is_signed), "number"
    )


def format_number(value: float, digits: int, is_signed: bool = False) -> str:
    """`62.1`, or `+3.0`; 0 has no sign."""
    number = f"{value:.{digits}f}"
    if float(number) == 0:
        return number.removeprefix("-")
    return f"+{number}" if is_signed and value > 0 else number.replace("-", "\N{MINUS SIGN}")


def format_interval(scores: Tree, name: str, digits: int, is_signed: bool = False) -> str:
    """`62.1 – 70.3`, or `−1.2 to +3.0`; "" if the score has no interval."""
    low, high = (scores.get(f"{name}_{bound}") for bound in ("low", "high"))
    if low is None or high is None:
        return ""
    between = " to " if is_signed else "\u2009–\u2009"
    return between.join(format_number(each, digits, is_signed) for each in (low, high))
