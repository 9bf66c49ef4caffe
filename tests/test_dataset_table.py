"""The table of datasets in docs/ agrees with the cards and the readers; the README is short."""

import os
from pathlib import Path

from openmedq.datasets import BENCHMARKS, SOURCES
from openmedq.reporting import listing

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "datasets.md"


def _cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in text.splitlines() if line[:1] == "|"]


def _published() -> list[list[str]]:
    text = PAGE.read_text(encoding="utf-8")
    return _cells(text.split("<!-- sources: ")[1].split("<!-- end of sources -->")[0])


def test_the_table_is_the_cards_the_miniatures_and_the_real_slices() -> None:
    """The slices are read if OPENMEDQ_REAL_DATA names their folder."""
    folder = os.environ.get("OPENMEDQ_REAL_DATA")
    written = _cells(listing.render_markdown(SOURCES | BENCHMARKS, mirror=Path(folder) if folder else None))
    assert len(written) == 2 + len(SOURCES) + len(BENCHMARKS)
    assert [row[:-1] for row in _published()] == [row[:-1] for row in written]
    found = {row[0]: row[-1] for row in written[2:] if row[-1] != "-"}
    assert len(found) > 3 or not folder
    assert {row[0]: row[-1] for row in _published() if row[0] in found} == found
