"""Pictures of PubMed Central: the address in its public bucket that an article and a file's name stand for.

Each file of an article is an object of its own, `PMC<id>.<version>/<name>`, called as its publisher called it (NLM,
"Changes to PMC Article Datasets Distribution Services", 2026). A bucket is asked for an article's names, once; what was
found is kept in parts, so that a resolution goes on where it was interrupted.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote
from xml.etree.ElementTree import Element, ParseError

import pyarrow as pa
import pyarrow.parquet as pq
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from openmedq.datasets.card import LinkedPicture
from openmedq.errors import AcquisitionError
from openmedq.fetch.client import Client
from openmedq.storage.folders import find_all
from openmedq.storage.progress import progress

BUCKET = "https://pmc-oa-opendata.s3.amazonaws.com"
ENDINGS = (".jpg", ".jpeg", ".png", ".gif", ".tif", ".tiff", ".bmp", ".webp")
MAX_PICTURE_BYTES = 64 * 2**20  # no figure of an article is larger; what fetches pictures takes each into memory
MAX_PAGES = 100  # of 1,000 files
PART_ROWS = 2_000  # a part is written when so many pictures are resolved

_ARTICLE = re.compile(r"PMC\d{1,12}", re.ASCII)
_SIZE = re.compile(r"\d{1,18}", re.ASCII)
_SCHEMA = pa.schema([("name", pa.string()), ("url", pa.string()), ("size_bytes", pa.int64()), ("reason", pa.string())])


@dataclass(frozen=True, slots=True)
class Address:
    """Where a picture is; without a `url`, the `reason` why it is not there."""

    name: str
    url: str | None = None
    size_bytes: int | None = None
    reason: str | None = None


async def resolve(client: Client, pictures: Iterable[LinkedPicture], folder: Path) -> int:
    """Find the addresses that `folder` does not have yet, and add them there; the number of articles asked for.

    Raises:
        PassingError: the bucket does not answer now; what was found is kept.
        AcquisitionError: it answers with something else than a listing.
    """
    known = {address.name for address in read(folder)}
    articles: dict[str, dict[str, LinkedPicture]] = {}
    for picture in pictures:
        if picture.name not in known:
            articles.setdefault(picture.article, {})[picture.name] = picture
    if not articles:
        return 0
    found: list[Address] = []
    waiting = iter(articles.items())

    async def work() -> None:
        for article, wanted in waiting:  # shared by all workers
            files = await _list(client, article)
            found.extend(_match(files, picture) for picture in wanted.values())
            advance(1)
            if len(found) >= PART_ROWS:
                _write(found, folder)

    with progress("resolving articles", len(articles)) as advance:
        workers = [asyncio.ensure_future(work()) for _ in range(client.execution.connections)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            _write(found, folder)
    return len(articles)


def read(folder: Path) -> Iterator[Address]:
    """The addresses found so far; AcquisitionError where a part is damaged."""
    for path in find_all(folder, "*.parquet"):
        try:
            rows = pq.read_table(path, schema=_SCHEMA).to_pylist()
        except (pa.ArrowInvalid, pa.ArrowKeyError, OSError):
            raise AcquisitionError(f"{path}: not a list of addresses; remove it, it is asked for again") from None
        yield from (Address(**row) for row in rows)


def _write(found: list[Address], folder: Path) -> None:
    """Add a part, whole; `found` is empty then."""
    if not found:
        return
    folder.mkdir(parents=True, exist_ok=True)
    number = max((int(path.stem) for path in find_all(folder, "*.parquet")), default=-1) + 1
    aside = folder / ".part"
    pq.write_table(pa.Table.from_pylist([asdict(address) for address in found], _SCHEMA), aside)
    aside.replace(folder / f"{number:05}.parquet")
    found.clear()


@dataclass(frozen=True, slots=True)
class _Files:
    """The files of an article's newest version: sizes by name, below `prefix`; or the reason why there are none."""

    prefix: str = ""
    sizes: dict[str, int] | None = None
    reason: str = ""


async def _list(client: Client, article: str) -> _Files:
    """An article's files. The prefix ends with the dot: without it, other articles' ids begin alike."""
    if not _ARTICLE.fullmatch(article):
        return _Files(reason="no id of an article")
    versions: dict[int, dict[str, int]] = {}
    address = f"{BUCKET}/?list-type=2&prefix={article}."
    page = address
    for _ in range(MAX_PAGES):
        listing = _parse(await client.read(page), address)
        for entry in listing.iterfind("{*}Contents"):
            named = re.fullmatch(rf"{article}\.(\d{{1,9}})/([^/]+)", entry.findtext("{*}Key") or "", re.ASCII)
            size = entry.findtext("{*}Size") or ""
            if named and _SIZE.fullmatch(size):
                versions.setdefault(int(named[1]), {})[named[2]] = int(size)
        if listing.findtext("{*}IsTruncated") != "true":
            break
        page = f"{address}&continuation-token={quote(listing.findtext('{*}NextContinuationToken') or '', safe='')}"
    else:
        raise AcquisitionError(f"{address}: a listing without end; it may have changed")
    if not versions:
        return _Files(reason="the article is not in the bucket")
    newest = max(versions)
    return _Files(f"{article}.{newest}/", versions[newest])


def _parse(document: bytes, address: str) -> Element:
    """A page of a listing; what declares entities is none."""
    try:
        listing: Element = fromstring(document)
    except (ParseError, DefusedXmlException, ValueError, LookupError):  # the last: of an encoding that is none
        raise AcquisitionError(f"{address}: answers with no listing; look at it") from None
    if listing.tag.rpartition("}")[2] != "ListBucketResult":
        raise AcquisitionError(f"{address}: answers with no listing; look at it")
    return listing


def _match(files: _Files, picture: LinkedPicture) -> Address:
    """The one file that is meant: of that very name, else of that name but for its case and a picture's ending."""
    if files.sizes is None:
        return Address(picture.name, reason=files.reason)
    matches = [picture.figure]
    if picture.figure not in files.sizes:
        stem = _stem(picture.figure)
        matches = [name for name in files.sizes if name.lower().endswith(ENDINGS) and _stem(name) == stem]
    if len(matches) != 1:
        reason = "several files could be meant" if matches else "the article has no such file"
        return Address(picture.name, reason=reason)
    size_bytes = files.sizes[matches[0]]
    if size_bytes > MAX_PICTURE_BYTES:
        return Address(picture.name, reason="too large for a picture")
    return Address(picture.name, f"{BUCKET}/{quote(files.prefix + matches[0])}", size_bytes)


def _stem(name: str) -> str:
    """The name without a picture's ending; other dots belong to it (`pone.0000308.g001`)."""
    lower = name.lower()
    return next((lower.removesuffix(ending) for ending in ENDINGS if lower.endswith(ending)), lower)
