"""Zenodo: size and md5 of a record's file, where the card pins no hash."""

from __future__ import annotations

import re
from urllib.parse import unquote

from openmedq.datasets.card import File
from openmedq.errors import AcquisitionError
from openmedq.fetch.client import Client

API = "https://zenodo.org/api/records"

_URL = re.compile(r"https://zenodo\.org/records/(\d+)/files/([^?#]+)(?:\?.*)?")
_MD5 = re.compile(r"md5:([0-9a-f]{32})")


async def describe(client: Client, file: File) -> File:
    """The file; one of Zenodo without a hash gets the size and md5 that it states.

    Raises:
        TemporaryError: Zenodo does not answer now.
        AcquisitionError: the record or file does not exist, or the answer has another form.
    """
    match = _URL.fullmatch(file.url)
    if not match or file.sha256 or file.md5:
        return file
    url = f"{API}/{match[1]}"
    try:
        entries = {entry["key"]: entry for entry in (await client.read_json(url))["files"]}
    except (KeyError, TypeError):
        raise AcquisitionError(f"{url}: expected a record with files; Zenodo's API may have changed") from None
    entry = entries.get(unquote(match[2]), {})
    size_bytes, md5 = entry.get("size"), _MD5.fullmatch(str(entry.get("checksum")))
    if md5 is None or type(size_bytes) is not int or size_bytes < 1:
        raise AcquisitionError(f"{file.path}: {file.url} is not in its record, or has no size and md5; open {url}")
    if file.size_bytes not in (None, size_bytes):
        sizes = f"Zenodo states {size_bytes} bytes, the card {file.size_bytes}"
        raise AcquisitionError(f"{file.path}: {sizes}; correct the card")
    return file.model_copy(update={"size_bytes": size_bytes, "md5": md5[1]})
