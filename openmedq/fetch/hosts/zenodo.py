"""What Zenodo says of a record's files before they are fetched: sizes and md5, where their card pins no hash."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

from openmedq.datasets.card import File
from openmedq.errors import AcquisitionError
from openmedq.fetch.client import Client

ADDRESS = re.compile(r"https://zenodo\.org/records/(\d+)/files/([^?#]+)(?:\?.*)?")
API = "https://zenodo.org/api/records"
_MD5 = re.compile(r"md5:([0-9a-f]{32})")


async def describe(client: Client, files: Iterable[File]) -> list[File]:
    """The files, those of Zenodo without a pinned hash with size and md5 as it states them.

    Raises:
        PassingError: Zenodo does not answer now.
        AcquisitionError: no such record or file, or Zenodo's answer is none of its own.
    """
    records: dict[str, dict[str, Any]] = {}
    described = []
    for file in files:
        address = ADDRESS.fullmatch(file.url)
        if address and not (file.sha256 or file.md5):
            number, name = address.groups()
            if number not in records:
                records[number] = await _ask(client, number)
            file = _hold(file, records[number].get(unquote(name)))
        described.append(file)
    return described


async def _ask(client: Client, number: str) -> dict[str, Any]:
    """The files of a record by name."""
    try:
        return {entry["key"]: entry for entry in json.loads(await client.read(f"{API}/{number}"))["files"]}
    except (ValueError, KeyError, TypeError, RecursionError):
        raise AcquisitionError(f"{API}/{number}: expected a record with its files, as Zenodo's API gives it") from None


def _hold(file: File, entry: Any) -> File:
    """The file with what the record states of it."""
    stated = _MD5.fullmatch(str(entry.get("checksum"))) if isinstance(entry, dict) else None
    if stated is None or type(entry.get("size")) is not int or entry["size"] < 1:
        raise AcquisitionError(f"{file.path}: {file.url} is not in its record, or without a size and md5; look at it")
    if file.size_bytes not in (None, entry["size"]):
        raise AcquisitionError(f"{file.path}: Zenodo states {entry['size']} bytes, the card {file.size_bytes}")
    return file.model_copy(update={"size_bytes": entry["size"], "md5": stated[1]})
