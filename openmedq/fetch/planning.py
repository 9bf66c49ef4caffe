"""Command `plan`: list what would be downloaded, according to the cards, the ledger and the disk, without a network.

Files of unknown size are counted.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from openmedq import paths
from openmedq.config import Download, Params
from openmedq.datasets.card import Card, Dataset
from openmedq.errors import numbered
from openmedq.fetch import ledger, needs
from openmedq.fetch.mirror import is_miniature, match_folders


@dataclass(frozen=True)
class Step:
    """What `download` would do for one dataset."""

    dataset_id: str
    present_bytes: int  # of complete and incomplete files
    missing_bytes: int  # as far as known
    num_unsized: int  # missing files of unknown size
    skipped: str | None  # why nothing is downloaded

    @property
    def num_bytes(self) -> int:
        """Bytes to download, as far as known."""
        return 0 if self.skipped else self.missing_bytes

    @property
    def disk_bytes(self) -> int:
        """Bytes on the disk after the download: the files, and shards of up to the same size."""
        return 0 if self.skipped else self.num_bytes * 2 + self.present_bytes


def plan(params: Params, datasets: Mapping[str, Dataset]) -> list[Step]:
    """Return a step for each dataset, in the order of the catalogue, as if `download.fetch` were true."""
    mirror, local = Path(params.download.mirror), {}
    if mirror.is_dir() and not is_miniature(mirror):
        cards = {dataset_id: dataset.card for dataset_id, dataset in datasets.items()}
        local = match_folders(mirror, cards, may_be_empty=True)
    return [_plan_dataset(params, dataset.card, local.get(dataset_id)) for dataset_id, dataset in datasets.items()]


def _plan_dataset(params: Params, card: Card, local: Path | None) -> Step:
    card = card.choose(params.download.editions.get(card.id))
    entries, folder = ledger.read(card.id), needs.folder_of(card.id)
    missing = [file for file in card.files if not (folder / file.path).is_file()]
    card_bytes = sum(needs.size_of(folder / file.path) for file in card.files)
    complete_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    partial_bytes = sum(needs.size_of(needs.partial_of(card.id, file)) for file in missing)
    recorded = {name: entry.size_bytes for name, entry in entries.items()}
    sizes = [file.size_bytes or recorded.get(file.path) or file.about_bytes for file in missing]
    missing_bytes, num_unsized = sum(size or 0 for size in sizes), sizes.count(None)
    if num_unsized and card.about_bytes is not None:
        missing_bytes, num_unsized = card.about_bytes - card_bytes, 0
    is_whole = needs.is_whole(card)
    linked_bytes = 0 if is_whole else max(0, card.linked_bytes - (complete_bytes - card_bytes))
    if card.id in params.download.skip:
        skipped: str | None = "download.skip names it"
    elif local is not None:
        skipped = f"present in {local}"
    else:
        skipped = needs.reason_to_skip(card, params.policy.licences) or ("downloaded" if is_whole else None)
    return Step(
        dataset_id=card.id,
        present_bytes=complete_bytes + partial_bytes,
        missing_bytes=max(0, missing_bytes - partial_bytes) + linked_bytes,
        num_unsized=num_unsized,
        skipped=skipped,
    )


def show(console: Console, steps: list[Step], settings: Download) -> bool:
    """Print the plan; return whether the disk has enough space."""
    table = Table(title="Downloads", box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    table.title_justify, table.title_style = "left", "bold"
    table.add_column("dataset", no_wrap=True)
    for name in ("to download", "present", "disk"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("reason for skipping", overflow="fold")
    for step in steps:
        table.add_row(
            step.dataset_id,
            "-" if step.skipped else _format(step.num_bytes, step.num_unsized),
            decimal(step.present_bytes) if step.present_bytes else "-",
            "-" if step.skipped else _format(step.disk_bytes, step.num_unsized),
            Text(step.skipped or ""),
        )
    console.print(table)
    needed = sum(max(0, step.disk_bytes - step.present_bytes) for step in steps)
    free = shutil.disk_usage(next(each for each in (paths.RAW, *paths.RAW.absolute().parents) if each.exists())).free
    has_room = needed <= free
    num_unsized = sum(step.num_unsized for step in steps if not step.skipped)
    unsized = f", without {numbered(num_unsized, 'file')} of unknown size" if num_unsized else ""
    console.out(f"\nSizes are approximate{unsized}. disk: with Parquet shards and present files.", highlight=False)
    advice = "enough" if has_room else "NOT enough: leave datasets out (download.skip), or move data/ to a larger disk"
    console.out(f"Disk: {decimal(needed)} needed, {decimal(free)} free: {advice}.", highlight=False)
    if is_miniature(Path(settings.mirror)):
        until = "until params.yaml sets it to your own folder (data/supplied) and download.fetch to true"
        found = f"download.mirror is {settings.mirror}, generated data"
        console.out(f"{found}: `dvc repro` downloads nothing {until}.", highlight=False)
    elif not settings.fetch:
        until = "until params.yaml sets it to true"
        console.out(f"download.fetch is false: `dvc repro` downloads nothing {until}.", highlight=False)
    return has_room


def _format(num_bytes: int, num_unsized: int) -> str:
    """A size, as `1.5 GB + ?` if there are also files of unknown size."""
    return " + ".join([decimal(num_bytes)] * (num_bytes > 0) + ["?"] * (num_unsized > 0 or not num_bytes))
