"""What figshare says of files before they are fetched: where they lie, their sizes and md5.

A card can name a file of a collection whose number is not known: `<collection>/articles#<title>/<name>`, with how the
article's title begins and the file's name, `*` standing for anything. Asked for when it is needed, it must be one file.

The bytes come from ndownloader.figshare.com: figshare.com/ndownloader answers programs with 202 and nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any

from openmedq.datasets.card import File
from openmedq.errors import AcquisitionError
from openmedq.fetch.client import Client

API = "https://api.figshare.com/v2"
ADDRESS = re.compile(rf"({re.escape(API)}/collections/\d+/articles)#([^/]+)/(.+)")
DOWNLOAD = "https://ndownloader.figshare.com/files"

_PAGE = "page_size=1000"  # the longest that it gives; no collection here has as many
_MD5 = re.compile(r"[0-9a-f]{32}")

Record = dict[str, Any]


async def describe(client: Client, files: Iterable[File]) -> list[File]:
    """The files, those of figshare with their address, size and md5 as it states them.

    Raises:
        PassingError: figshare does not answer now.
        AcquisitionError: no such article or file, or several; or figshare's answer is none of its own.
    """
    return [await _describe(client, file) for file in files]


async def _describe(client: Client, file: File) -> File:
    address = ADDRESS.fullmatch(file.url)
    if address is None:
        return file
    collection, title, name = address.groups()
    articles = await _ask(client, f"{collection}?{_PAGE}")
    article = _choose(file, articles, "title", lambda found: found.casefold().startswith(title.casefold()))
    held = await _ask(client, f"{API}/articles/{_number(file, article)}/files?{_PAGE}")
    entry = _choose(file, held, "name", lambda found: fnmatchcase(found.casefold(), name.casefold()))
    size_bytes, md5 = entry.get("size"), entry.get("computed_md5")
    if type(size_bytes) is not int or size_bytes < 1 or not _MD5.fullmatch(str(md5)):
        raise AcquisitionError(f"{file.path}: figshare states no size or md5 of it; look at {API}")
    return file.model_copy(
        update={"url": f"{DOWNLOAD}/{_number(file, entry)}", "size_bytes": size_bytes, "md5": str(md5)}
    )


async def _ask(client: Client, url: str) -> list[Record]:
    """A list of records of figshare's API."""
    try:
        records = json.loads(await client.read(url))
    except (ValueError, RecursionError):
        records = None
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise AcquisitionError(f"{url.partition('?')[0]}: expected a list of records, as figshare's API gives it")
    return records


def _choose(file: File, records: list[Record], key: str, is_meant: Callable[[str], bool]) -> Record:
    """The one record that is meant; AcquisitionError, naming what is there, where there is none or several."""
    found = [record for record in records if is_meant(str(record.get(key)))]
    if len(found) != 1:
        there = ", ".join(repr(str(record.get(key))[:60]) for record in records[:8]) or "nothing"
        raise AcquisitionError(
            f"{file.path}: {len(found)} of figshare's {key}s are `{file.url.partition('#')[2]}`, which holds {there}; "
            "get it by hand into the mirror, or correct the card"
        )
    return found[0]


def _number(file: File, record: Record) -> int:
    if type(record.get("id")) is not int:
        raise AcquisitionError(f"{file.path}: figshare gives it no number; look at {API}")
    return int(record["id"])
