"""Commands `plan` and `links`: list what would be downloaded, according to the cards, the ledger and the disk.

Only `links --ask` connects to the hosts. Approximate sizes are marked, and files of unknown size are counted.
"""

import asyncio
import logging
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from openmedq import paths
from openmedq.config import Download, Execution, Params
from openmedq.datasets.card import Card, Dataset, File
from openmedq.fetch import hosts, ledger, needs
from openmedq.fetch.client import Client
from openmedq.fetch.mirror import is_miniature, match_folders
from openmedq.storage import links

MAX_CELL_CHARS = 60  # a longer reason is printed below the table

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Step:
    """What `download` would do for one dataset."""

    dataset_id: str
    present_bytes: int  # of complete and incomplete files
    missing_bytes: int  # as far as known
    num_unsized: int  # missing files of unknown size
    is_approximate: bool  # a missing file has no exact size, or only linked files are missing
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
    local = _find_local(params.download, datasets)
    return [_plan_dataset(params, dataset.card, local.get(dataset_id)) for dataset_id, dataset in datasets.items()]


def _find_local(settings: Download, datasets: Mapping[str, Dataset]) -> dict[str, Path]:
    """Find the datasets in the local data folder; empty if it is the miniatures' folder or does not exist."""
    mirror = Path(settings.mirror)
    if is_miniature(mirror) or not mirror.is_dir():
        return {}
    cards = {dataset_id: dataset.card for dataset_id, dataset in datasets.items()}
    return match_folders(mirror, cards, may_be_empty=True)


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
        is_approximate=not is_whole and (not missing or any(file.size_bytes is None for file in missing)),
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
    explained = [step for step in steps if len(step.skipped or "") > MAX_CELL_CHARS]
    for step in steps:
        table.add_row(
            step.dataset_id,
            "-" if step.skipped else _format_size(step.num_bytes, step),
            decimal(step.present_bytes) if step.present_bytes else "-",
            "-" if step.skipped else decimal(step.disk_bytes) if step.disk_bytes else "?",
            "see below" if step in explained else step.skipped,
        )
    console.print(table)
    for step in explained:
        console.print(f"\n{step.dataset_id}: {step.skipped}", highlight=False, markup=False)
    needed = sum(max(0, step.disk_bytes - step.present_bytes) for step in steps)
    free = shutil.disk_usage(next(each for each in (paths.RAW, *paths.RAW.absolute().parents) if each.exists())).free
    has_room = needed <= free
    console.out(
        "\n~ = approximate. n? = files of unknown size. disk = with Parquet shards and present files.", highlight=False
    )
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


def _format_size(num_bytes: int, step: Step) -> str:
    """Format as `~1.5 GB +2?`: an approximate size, and two files of unknown size."""
    if not num_bytes and step.num_unsized:
        return f"{step.num_unsized}?"
    unsized = f" +{step.num_unsized}?" if step.num_unsized else ""
    return f"{'~' if step.is_approximate else ''}{decimal(num_bytes)}{unsized}"


def write_links(datasets: Mapping[str, Dataset], params: Params, *, is_asked: bool, form: str) -> Iterator[str]:
    """Yield lines from which another program can download the files: tab-separated (`tsv`), or in aria2's format.

    A folder with these files and the list (as links.tsv) is a local data folder; stage `manifest` checks its files
    against the list. Some published files list further files, such as images; these are included if the listing files
    are present, and a warning is logged otherwise.
    """
    lines = links.render(_list_links(datasets, params, is_asked=is_asked))
    if form == "tsv":
        yield from lines
        return
    next(lines)
    for line in lines:
        path, url, _, sha256, md5 = line.split("\t")
        yield from (url, f"  out={path}")
        if sha256 or md5:
            yield f"  checksum={f'sha-256={sha256}' if sha256 else f'md5={md5}'}"


def _list_links(datasets: Mapping[str, Dataset], params: Params, *, is_asked: bool) -> Iterator[links.Link]:
    local = _find_local(params.download, datasets)
    for dataset_id, dataset in datasets.items():
        card = dataset.card.choose(params.download.editions.get(dataset_id))
        files = list(_add_recorded(card))
        if is_asked:
            files = asyncio.run(_ask(files, params.execution))
        listed = {file.path: file for file in files}
        for file in _list_more(dataset, card, local.get(dataset_id, needs.folder_of(dataset_id))):
            if file.path in listed:  # listed again, with a hash
                listed[file.path] = listed[file.path].model_copy(update={"sha256": file.sha256})
            else:
                yield _link(dataset_id, file)
        for file in listed.values():
            yield _link(dataset_id, file)


def _add_recorded(card: Card) -> Iterator[File]:
    """The card's files with the hashes and sizes that the ledger records."""
    entries = ledger.read(card.id)
    for file in hosts.pin_commits(card.files, (entry.url for entry in entries.values())):
        entry = entries.get(file.path)
        found = {"sha256": file.sha256 or entry.sha256, "size_bytes": entry.size_bytes} if entry else {}
        yield file.model_copy(update=found)


def _list_more(dataset: Dataset, card: Card, folder: Path) -> Iterator[File]:
    """Yield the files that the card's files in `folder` list, such as images; warn if these are missing."""
    if not card.linked_bytes:
        return
    more = getattr(dataset, "more_files", None)
    if more is None:
        how = f"run `dvc repro download@{card.id}` on a machine with network access, and copy {folder}"
        _log.warning(f"{card.id}: its images are not listed, because their addresses are not known; {how}")
    elif all((folder / file.path).is_file() for file in card.files):
        yield from more(folder)
    else:
        how = f"put the other files of the dataset into {folder} and run `python -m openmedq links {card.id}` again"
        _log.warning(f"{card.id}: its images are not listed, because the files with their addresses are missing; {how}")


def _link(dataset_id: str, file: File) -> links.Link:
    size = str(file.size_bytes or "")
    return links.Link(f"{dataset_id}/{file.path}", file.url, size, file.sha256 or "", file.md5 or "")


async def _ask(files: list[File], execution: Execution) -> list[File]:
    async with Client(execution) as client:
        return await hosts.describe(client, files)
