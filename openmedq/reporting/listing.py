"""Command `sources`: every dataset with its access, licence, size, missing files, and how to get them.

Row counts are those that the stages wrote. For the README's table (`--markdown`) the miniatures are read, and the
datasets of a folder of real files if one is given.
"""

import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from openmedq import paths, synthetic
from openmedq.config import Normalize, Params
from openmedq.curate.normalize import settings_of
from openmedq.datasets.card import Card, Dataset
from openmedq.errors import SourceError, StaleError
from openmedq.fetch import needs
from openmedq.fetch.mirror import is_miniature, match_folders
from openmedq.fetch.planning import Step, plan
from openmedq.schema import Rejected
from openmedq.storage.tables import read_counts

HEADER = ("id", "dataset", "task", "modality", "licence", "access", "rows as published", "miniature", "real files")


def show(console: Console, datasets: Mapping[str, Dataset], params: Params) -> None:
    """Print the table, and below it, for each dataset, its citation, missing files and how to get them."""
    steps = plan(params, datasets)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("id", "access", "size", "present"):
        table.add_column(name, no_wrap=True, justify="right" if name in ("size", "present") else "left")
    for name in ("rows read", "from"):
        table.add_column(name, overflow="fold")
    for step in steps:
        num_bytes = step.present_bytes + step.missing_bytes
        size = decimal(num_bytes) if num_bytes else "?"
        present = decimal(step.present_bytes) if step.present_bytes else "-"
        rows, state = _read_counts(paths.SAMPLES / step.dataset_id)
        table.add_row(step.dataset_id, datasets[step.dataset_id].card.access, size, present, rows, state)
    console.print(table)
    for step in steps:
        card = datasets[step.dataset_id].card
        lines = (
            f"\n{card.id}: {card.title}; {card.citation}; {card.homepage}",
            f"  licence: {card.licence}; rows as published: {_format_rows(card.published_rows)}",
            f"  {_describe_missing(card, step, params)}",
        )
        console.out("\n".join(lines), highlight=False)


def _describe_missing(card: Card, step: Step, params: Params) -> str:
    """The missing files of a dataset, and how to get them."""
    if step.folder is not None:
        return f"present: {step.folder}"
    names = ", ".join(step.missing[:3]) or "the images that they list"
    names += " ..." if len(step.missing) > 3 else ""
    how = step.skipped
    if how is None:
        how = "`dvc repro` downloads them"
        if is_miniature(Path(params.download.mirror)):
            how += " once download.mirror is your own folder and download.fetch is true"
        elif not params.download.fetch:
            how += " once download.fetch is true"
        elif card.access in needs.GUARDED and card.id not in params.download.require:
            how += f" {needs.REQUIRE}"
        how += f" ({card.advice})" if card.advice else ""
    files = f"{len(step.missing)} of {step.num_files} files ({names})"
    return f"missing: {files}: {how}; or put them into a folder {card.id} of download.mirror"


def render_markdown(datasets: Mapping[str, Dataset], mirror: Path | None) -> str:
    """The README's table: a line for each dataset; `mirror` is a folder of real files."""
    cards = {dataset_id: dataset.card for dataset_id, dataset in datasets.items()}
    folders = match_folders(mirror, cards) if mirror else {}
    lines = [_row(HEADER), _row(["---"] * len(HEADER))]
    for dataset_id, dataset in datasets.items():
        with tempfile.TemporaryDirectory() as raw:
            synthetic.write(dataset_id, Path(raw))
            miniature = _count_rows(dataset, Path(raw))
        real = "-"
        if dataset_id in folders:
            with suppress(SourceError):  # an image alone, for example: nothing to read
                real = _count_rows(dataset, folders[dataset_id])
        card = dataset.card
        title = f"[{card.title}]({card.homepage}): {card.citation}"
        tasks = ", ".join((card.task, *card.other_tasks)).replace("_", " ")
        cells = (f"`{card.id}`", title, tasks, card.modality, card.licence, card.access)
        lines.append(_row((*cells, _format_rows(card.published_rows), miniature, real)))
    return "\n".join(lines) + "\n"


def _count_rows(dataset: Dataset, raw: Path) -> str:
    """The numbers of rows that the dataset's reader finds in a folder, without opening images."""
    splits: Counter[str] = Counter()
    num_rejected = 0
    for row in dataset.read(raw, **settings_of(dataset, Normalize(allow_unofficial=True))):
        if isinstance(row, Rejected):
            num_rejected += 1
        else:
            splits[row.split] += 1
    return _format_counts({split: splits[split] for split in dataset.card.roles if splits[split]}, num_rejected)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _format_rows(rows: Mapping[str, int]) -> str:
    return ", ".join(f"{split} {number:,}" for split, number in rows.items())


def _format_counts(splits: Mapping[str, int], num_rejected: int) -> str:
    """`train 1,797, test 451; 3 rejected`."""
    return "; ".join(filter(None, (_format_rows(splits), f"{num_rejected:,} rejected" if num_rejected else "")))


def _read_counts(folder: Path) -> tuple[str, str]:
    """The rows read, and the origin of the files; "not run" if the counts are missing or damaged."""
    try:
        counts = read_counts(folder)
        rows = _format_counts(counts["splits"], sum(counts["rejected"].values())) if counts["found"] else "-"
        return rows, str(counts["origin"] or counts["state"])
    except (OSError, StaleError):
        return "-", "not run"
