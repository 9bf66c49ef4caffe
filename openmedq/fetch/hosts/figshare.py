"""figshare: the download address, size and md5 of a file in a collection.

A card names it by `<collection>/articles#<start of the article's title>/<file name, * as wildcard>`, which must match
one file. ndownloader.figshare.com serves the bytes: figshare.com/ndownloader answers programs with an empty 202.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

from openmedq.datasets.card import File
from openmedq.errors import AcquisitionError
from openmedq.fetch.client import Client

API = "https://api.figshare.com/v2"
ADDRESS = re.compile(rf"({re.escape(API)}/collections/\d+/articles)#([^/]+)/(.+)")
DOWNLOAD = "https://ndownloader.figshare.com/files"

_PAGE = "page_size=1000"  # the maximum; the collections here are smaller
_MD5 = re.compile(r"[0-9a-f]{32}")


async def describe(client: Client, file: File) -> File:
    """The file; one of figshare gets the address, size and md5 that it states.

    Raises:
        TemporaryError: figshare does not answer now.
        AcquisitionError: not exactly one article or file matches, or the answer has another form.
    """
    address = ADDRESS.fullmatch(file.url)
    if address is None:
        return file
    collection, title, name = address.groups()
    articles = await client.read_json(f"{collection}?{_PAGE}")
    article = _choose(file, articles, "title", lambda found: found.casefold().startswith(title.casefold()))
    entries = await client.read_json(f"{API}/articles/{article['id']}/files?{_PAGE}")
    entry = _choose(file, entries, "name", lambda found: fnmatchcase(found.casefold(), name.casefold()))
    size_bytes, md5 = entry.get("size"), entry.get("computed_md5")
    if type(size_bytes) is not int or size_bytes < 1 or not _MD5.fullmatch(str(md5)):
        raise AcquisitionError(f"{file.path}: figshare states no size or md5; its API may have changed")
    return file.model_copy(update={"url": f"{DOWNLOAD}/{entry['id']}", "size_bytes": size_bytes, "md5": str(md5)})


def _choose(file: File, records: Any, key: str, matches: Callable[[str], bool]) -> dict[str, Any]:
    """The only record that matches; AcquisitionError, with the records' names, if there is none or several."""
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise AcquisitionError(f"{file.path}: expected a list of records; figshare's API may have changed")
    found: list[dict[str, Any]] = [record for record in records if matches(str(record.get(key)))]
    if len(found) != 1:
        names = ", ".join(repr(str(record.get(key))[:60]) for record in records[:8]) or "nothing"
        raise AcquisitionError(
            f"{file.path}: {len(found)} of figshare's {key}s match `{file.url.partition('#')[2]}`, found {names}; "
            "download it by hand into the local data folder, or correct the card"
        )
    if type(found[0].get("id")) is not int:
        raise AcquisitionError(f"{file.path}: figshare states no id; its API may have changed")
    return found[0]
