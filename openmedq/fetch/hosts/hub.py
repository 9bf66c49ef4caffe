"""The Hugging Face hub: commit, size and, for large files, sha256 of a repository's files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

from openmedq.datasets.card import File
from openmedq.errors import AcquisitionError
from openmedq.fetch.addresses import HUB
from openmedq.fetch.client import Client

ADDRESS = re.compile(rf"https://{re.escape(HUB)}/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
COMMIT = re.compile(r"[0-9a-f]{40}")

_SHA256 = re.compile(r"[0-9a-f]{64}")


def locate(file: File) -> tuple[str, str, str] | None:
    """Repository, revision and path of a file on the hub; None for other hosts."""
    found = ADDRESS.fullmatch(file.url)
    return (found[1], found[2], found[3]) if found else None


def is_pinned(file: File) -> bool:
    """Whether the address names a commit, or another host."""
    found = locate(file)
    return found is None or COMMIT.fullmatch(found[1]) is not None


def pin(file: File, commit: str) -> File:
    """The same file at a commit."""
    repository, _, path = locate(file) or ("", "", "")
    return file.model_copy(update={"url": f"https://{HUB}/datasets/{repository}/resolve/{commit}/{path}"})


async def describe(client: Client, files: Iterable[File]) -> list[File]:
    """The files; those of the hub get the commit, size and sha256 that it states.

    Raises:
        PassingError: the hub does not answer now.
        AcquisitionError: the repository, revision or file does not exist, access is denied, or the card differs.
    """
    listings: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {}
    described = []
    for file in files:
        found = locate(file)
        if found is None:
            described.append(file)
            continue
        repository, revision, path = found
        if (repository, revision) not in listings:
            listings[repository, revision] = await _list(client, repository, revision)
        commit, entries = listings[repository, revision]
        entry = entries.get(unquote(path))
        if entry is None:
            names = ", ".join(sorted(entries)[:8])
            raise AcquisitionError(
                f"{unquote(path)}: not in {repository} on {HUB} at {commit}, which has {names} ...; correct the card"
            )
        described.append(_describe(pin(file, commit), entry))
    return described


async def _list(client: Client, repository: str, revision: str) -> tuple[str, dict[str, Any]]:
    """The commit of a revision, and its files by path."""
    url = f"https://{HUB}/api/datasets/{repository}/revision/{revision}"
    try:
        tree = json.loads(await client.read(f"{url}?blobs=true"))
        commit, entries = tree["sha"], {str(entry["rfilename"]): entry for entry in tree["siblings"]}
        if COMMIT.fullmatch(commit):
            return commit, entries
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise AcquisitionError(f"{url}: expected a commit and its files; the hub's API may differ")


def _describe(file: File, entry: Any) -> File:
    """The file with size and sha256; git itself stores small files, and the hub states no sha256 of them."""
    size_bytes, lfs = entry.get("size"), entry.get("lfs") or {}
    sha256 = lfs.get("sha256") if isinstance(lfs, dict) else ""
    if type(size_bytes) is not int or (lfs and not _SHA256.fullmatch(str(sha256))):
        raise AcquisitionError(f"{file.path}: {HUB} states an invalid size or sha256; open {file.url}")
    for name, stated in (("size_bytes", size_bytes), ("sha256", sha256)):
        pinned = getattr(file, name)
        if None not in (pinned, stated) and pinned != stated:
            raise AcquisitionError(f"{file.path}: {HUB} states {name} {stated}, the card {pinned}; correct the card")
    return file.model_copy(update={"size_bytes": size_bytes, "sha256": sha256 or file.sha256})
