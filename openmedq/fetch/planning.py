"""`plan` and `links`: what would be downloaded, before anything is asked of any host.

Sizes are those that publishers state or that the ledger remembers; rounded ones count and are marked, unknown ones are
named. Nothing here opens a connection, but for `links --ask`.
"""

from __future__ import annotations

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
from openmedq.fetch import fetching, needs
from openmedq.fetch.client import Client
from openmedq.fetch.mirror import is_miniature, match_folders
from openmedq.storage import links

_log = logging.getLogger(__name__)

SHARDS = "its Parquet shards may take as much again: pictures are stored as published, or smaller"


@dataclass(frozen=True)
class Step:
    """What `download` would do for one set."""

    need: needs.Need
    skipped: str | None  # why nothing is fetched

    @property
    def num_bytes(self) -> int:
        """Bytes to fetch, as far as they are known."""
        return 0 if self.skipped else self.need.num_known

    @property
    def disk_bytes(self) -> int:
        """Bytes that the disk has to take: what is fetched, and the shards made of it."""
        return 0 if self.skipped else self.num_bytes * 2 + self.need.num_here + self.need.num_begun


def plan(params: Params, sets: Mapping[str, Dataset]) -> list[Step]:
    """A step for each set, in the catalogue's order; as if `download.fetch` were on."""
    held = find_mirrored(params.download, sets)
    return [_plan_set(params, set_.card, held.get(set_id)) for set_id, set_ in sets.items()]


def find_mirrored(dials: Download, sets: Mapping[str, Dataset]) -> dict[str, Path]:
    """The mirror's folder of each set that it holds; none where there is no mirror (yet), and no miniature."""
    mirror = Path(dials.mirror)
    if is_miniature(mirror):
        return {}
    cards = {set_id: set_.card for set_id, set_ in sets.items()}
    return match_folders(mirror, cards, may_be_empty=True) if mirror.is_dir() else {}


def _plan_set(params: Params, card: Card, mirrored: Path | None) -> Step:
    card = needs.choose(card, params.download)
    need = needs.assess(card)
    skipped = None
    if card.id in params.download.skip:
        skipped = "download.skip names it"
    elif mirrored is not None:
        skipped = f"taken from {mirrored}"
    else:
        skipped = needs.hindrance(card, params.policy.licences)
    if skipped is None and need.is_whole:
        skipped = "all here"
    return Step(need, skipped)


def show(console: Console, steps: list[Step], dials: Download) -> bool:
    """The plan for people; whether the disk has the room."""
    table = Table(title="Downloads", box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    table.title_justify, table.title_style = "left", "bold"
    table.add_column("set", no_wrap=True)
    for name in ("to fetch", "here", "disk"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("skipped, and why", overflow="fold")
    for step in steps:
        here = step.need.num_here + step.need.num_begun
        table.add_row(
            step.need.set_id,
            "-" if step.skipped else tell_size(step.num_bytes, step.need),
            decimal(here) if here else "-",
            "-" if step.skipped else decimal(step.disk_bytes) if step.disk_bytes else "?",
            step.skipped or "",
        )
    console.print(table)
    needed = sum(max(0, step.disk_bytes - step.need.num_here - step.need.num_begun) for step in steps)
    free = shutil.disk_usage(_nearest(paths.RAW)).free
    has_room = needed <= free
    rough = "~: as a page rounds it. n?: n files (more) whose size nobody states. disk: with what is here; " + SHARDS
    say(console, f"\n{rough}.")
    verdict = "enough" if has_room else "NOT enough: leave sets out (download.skip), or move data/ to a larger disk"
    say(console, f"Disk: {decimal(needed)} are still needed, {decimal(free)} are free: {verdict}.")
    if is_miniature(Path(dials.mirror)):
        until = "until params.yaml names a folder of yours there (data/supplied), and says download.fetch: true"
        say(console, f"download.mirror is {dials.mirror}, generated sets: `dvc repro` fetches nothing {until}.")
    elif not dials.fetch:
        say(console, "download.fetch is false: `dvc repro` fetches nothing until params.yaml says true.")
    return has_room


def tell_size(num_bytes: int, need: needs.Need) -> str:
    """`~1.5 GB +2?`: rounded sizes count, unknown ones are named."""
    if not num_bytes and need.num_unsized:
        return f"{need.num_unsized}?"
    unsized = f" +{need.num_unsized}?" if need.num_unsized else ""
    return f"{'~' if need.is_rough else ''}{decimal(num_bytes)}{unsized}"


def say(console: Console, text: str) -> None:
    """A line for people, as it is: brackets and numbers in it are nothing special."""
    console.print(text, highlight=False, markup=False)


def write_links(sets: Mapping[str, Dataset], params: Params, *, is_asked: bool, form: str) -> Iterator[str]:
    """Lines that let someone else fetch the files of sets: tab-separated, or as aria2 reads them.

    Laid out as they say, below one folder and with the list (links.tsv) in it, the files are a mirror that is held to
    it. Files that the first ones name are listed once these are here or in the mirror; until then a line on stderr
    says that there are more.
    """
    lines = links.render(_list(sets, params, is_asked=is_asked))
    if form == "tsv":
        yield from lines
        return
    next(lines)
    for line in lines:
        path, url, _, sha256, md5 = line.split("\t")
        yield from (url, f"  out={path}")
        if sha256 or md5:
            yield f"  checksum={f'sha-256={sha256}' if sha256 else f'md5={md5}'}"


def _list(sets: Mapping[str, Dataset], params: Params, *, is_asked: bool) -> Iterator[links.Link]:
    mirrored = find_mirrored(params.download, sets)
    for set_id, set_ in sets.items():
        card = needs.choose(set_.card, params.download)
        listed = {file.path: file for file in needs.links(card)}
        if is_asked:
            asked = asyncio.run(_ask(card, list(listed.values()), params.execution))
            listed = {file.path: file for file in asked}
        for file in _list_more(set_, card, mirrored.get(set_id, needs.folder_of(set_id))):
            if file.path in listed:  # named again, with a hash
                listed[file.path] = listed[file.path].model_copy(update={"sha256": file.sha256})
            else:
                yield _link(set_id, file)
        for file in listed.values():
            yield _link(set_id, file)


def _list_more(set_: Dataset, card: Card, folder: Path) -> Iterator[File]:
    """The files that those in `folder` name."""
    if not card.linked_bytes:
        return
    more = getattr(set_, "more_files", None)
    if more is None:
        how = f"fetch it with `dvc repro download@{card.id}` where there is a network, and mirror {folder}"
        _log.warning(f"{card.id}: its pictures are not listed, since they have to be asked for: {how}")
    elif all((folder / file.path).is_file() for file in card.files):
        yield from more(folder)
    else:
        how = f"once they lie in {folder}, `python -m openmedq links {card.id}` lists all"
        _log.warning(f"{card.id}: its pictures are not listed, since these files name them: {how}")


def _link(set_id: str, file: File) -> links.Link:
    return links.Link(f"{set_id}/{file.path}", file.url, str(file.size_bytes or ""), file.sha256 or "", file.md5 or "")


async def _ask(card: Card, files: list[File], execution: Execution) -> list[File]:
    async with Client(execution) as client:
        return await fetching.describe(client, card.id, files)


def _nearest(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    return next(each for each in (path, *path.absolute().parents) if each.exists())
