"""Zenodo: size and md5 of a record's files, where the card pins no hash."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

from openmedq.datasets.card import File
from openmedq.errors import AcquisitionError
from openmedq.fetch.client import Client

API = "https://zenodo.org/api/records"

_URL = re.compile(r"https://zenodo\.org/records/(\d+)/files/([^?#]+)(?:\?.*)?")
_MD5 = re.compile(r"md5:([0-9a-f]{32})")


async def describe(client: Client, files: Iterable[File]) -> list[File]:
    """The files; those of Zenodo that have no hash get the size and md5 that it states.

    Raises:
        PassingError: Zenodo does not answer now.
        AcquisitionError: the record or file does not exist, or the answer has another form.
    """
    records: dict[str, dict[str, Any]] = {}
    described = []
    for file in files:
        match = _URL.fullmatch(file.url)
        if match and not (file.sha256 or file.md5):
            record_id, name = match.groups()
            if record_id not in records:
                records[record_id] = await _list(client, record_id)
            file = _describe(file, records[record_id].get(unquote(name)))
        described.append(file)
    return described


async def _list(client: Client, record_id: str) -> dict[str, Any]:
    """The files of a record by name."""
    try:
        return {entry["key"]: entry for entry in json.loads(await client.read(f"{API}/{record_id}"))["files"]}
    except (ValueError, KeyError, TypeError, RecursionError):
        raise AcquisitionError(f"{API}/{record_id}: expected a record with files; Zenodo's API may differ") from None


def _describe(file: File, entry: Any) -> File:
    stated = _MD5.fullmatch(str(entry.get("checksum"))) if isinstance(entry, dict) else None
    if stated is None or type(entry.get("size")) is not int or entry["size"] < 1:
        raise AcquisitionError(f"{file.path}: {file.url} is not in its record, or has no size and md5; open its page")
    if file.size_bytes not in (None, entry["size"]):
        sizes = f"Zenodo states {entry['size']} bytes, the card {file.size_bytes}"
        raise AcquisitionError(f"{file.path}: {sizes}; correct the card")
    return file.model_copy(update={"size_bytes": entry["size"], "md5": stated[1]})
