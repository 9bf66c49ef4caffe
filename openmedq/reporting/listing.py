"""`sources`: every set with its access, licence, size, what is here, what is missing, and how to get it.

What was read is told from the stages' counts on disk. For the README's table (`--markdown`) the miniatures are read,
and the sets of a mirror of real files where one is named.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from openmedq import paths, synthetic
from openmedq.config import Normalize, Params
from openmedq.curate.normalize import dials_of
from openmedq.datasets.card import Card, Dataset
from openmedq.errors import SourceError, StaleError
from openmedq.fetch import needs
from openmedq.fetch.mirror import is_miniature, match_folders
from openmedq.fetch.planning import find_mirrored, say, tell_size
from openmedq.schema import Rejected
from openmedq.storage.tables import read_counts

HEADER = ("id", "dataset", "task", "modality", "licence", "access", "rows as published", "miniature", "real files")
REAL = Normalize(allow_unofficial=True)


@dataclass(frozen=True)
class Found:
    """What a reader made of a folder."""

    splits: Mapping[str, int]  # kept rows
    num_rejected: int

    def __str__(self) -> str:
        """`train 1,797, test 451; 3 rejected`."""
        kept = _tell(self.splits)
        rejected = f"{self.num_rejected:,} rejected" if self.num_rejected else ""
        return "; ".join(filter(None, (kept, rejected)))


def show(console: Console, sets: Mapping[str, Dataset], params: Params) -> None:
    """The table for people; below it, of each set, what is missing and how to get it, and whom to cite."""
    mirrored = find_mirrored(params.download, sets)
    assessed = {set_id: needs.assess(needs.choose(set_.card, params.download)) for set_id, set_ in sets.items()}
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("id", "access", "size", "here"):
        table.add_column(name, no_wrap=True, justify="right" if name in ("size", "here") else "left")
    for name in ("rows read", "of"):
        table.add_column(name, overflow="fold")
    for set_id, set_ in sets.items():
        card = set_.card
        found, state = _read_counts(paths.SAMPLES / set_id)
        need = assessed[set_id]
        size = tell_size(need.num_here + need.num_begun + need.num_known, need)
        here = decimal(need.num_here + need.num_begun) if need.num_here + need.num_begun else "-"
        table.add_row(set_id, card.access, size, here, found, state)
    console.print(table)
    for set_id, set_ in sets.items():
        card = set_.card
        say(console, f"\n{set_id}: {card.title}; {card.citation}; {card.homepage}")
        say(console, f"  licence: {card.licence}; rows as published: {_tell(card.published_rows)}")
        say(console, f"  {_tell_missing(card, assessed[set_id], mirrored.get(set_id), params)}")


def _tell_missing(card: Card, need: needs.Need, mirrored: Path | None, params: Params) -> str:
    """What is missing of a set, and how to get it."""
    if mirrored is not None:
        return f"here: {mirrored}"
    if need.is_whole:
        return f"here: {needs.folder_of(card.id)}"
    names = ", ".join(file.path for file in need.missing[:3]) or "the pictures that they name"
    names += " ..." if len(need.missing) > 3 else ""
    what = f"missing: {len(need.missing)} of {len(need.files)} files ({names})"
    how = needs.hindrance(card, params.policy.licences)
    if how is None:
        how = "`dvc repro` fetches them"
        if is_miniature(Path(params.download.mirror)):
            how += " once download.mirror is a folder of yours, and download.fetch true"
        elif not params.download.fetch:
            how += " once download.fetch is true"
        elif card.access in needs.GUARDED and card.id not in params.download.require:
            how += f" {needs.LOOK_AGAIN}"
        how += f" ({card.advice})" if card.advice else ""
    return f"{what}: {how}; or put them into a folder {card.id} of download.mirror"


def render_markdown(sets: Mapping[str, Dataset], mirror: Path | None) -> str:
    """The README's table: a line for each set."""
    cards = {set_id: set_.card for set_id, set_ in sets.items()}
    folders = match_folders(mirror, cards) if mirror else {}
    with tempfile.TemporaryDirectory() as folder:
        miniatures = {}
        for set_id, set_ in sets.items():
            synthetic.write(set_id, Path(folder, set_id))
            miniatures[set_id] = read(set_, Path(folder, set_id))
    real = {}
    for set_id, path in folders.items():
        with suppress(SourceError):  # a picture alone, say: nothing to read
            real[set_id] = read(sets[set_id], path)
    lines = [_row(HEADER), _row(["---"] * len(HEADER))]
    lines += [_row(_cells(set_.card, miniatures[set_id], real.get(set_id))) for set_id, set_ in sets.items()]
    return "\n".join(lines) + "\n"


def read(set_: Dataset, raw: Path) -> Found:
    """What the set's reader makes of a folder, pictures unopened."""
    splits: Counter[str] = Counter()
    num_rejected = 0
    for row in set_.read(raw, **dials_of(set_, REAL)):
        if isinstance(row, Rejected):
            num_rejected += 1
        else:
            splits[row.split] += 1
    return Found({split: splits[split] for split in set_.card.roles if splits[split]}, num_rejected)


def _cells(card: Card, miniature: Found, real: Found | None) -> list[str]:
    return [
        f"`{card.id}`",
        f"[{card.title}]({card.homepage}): {card.citation}",
        ", ".join((card.task, *card.other_tasks)).replace("_", " "),
        card.modality,
        card.licence,
        card.access,
        _tell(card.published_rows),
        str(miniature),
        str(real) if real else "-",
    ]


def _row(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _tell(rows: Mapping[str, int]) -> str:
    return ", ".join(f"{split} {number:,}" for split, number in rows.items())


def _read_counts(folder: Path) -> tuple[str, str]:
    """What was read of a set, and of which files; as before the first run where the counts are damaged."""
    try:
        counts = read_counts(folder)
        found = str(Found(counts["splits"], sum(counts["rejected"].values()))) if counts.get("found") else "-"
        return found, str(counts.get("origin") or counts["state"])
    except (OSError, StaleError):
        return "-", "not run"
