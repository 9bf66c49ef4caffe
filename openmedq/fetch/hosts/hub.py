"""The Hugging Face hub: commit, size and, for large files, sha256 of a repository's files."""

from __future__ import annotations

import re
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


async def describe(client: Client, file: File) -> File:
    """The file; one of the hub gets the commit, size and sha256 that it states.

    Git itself stores small files: the hub states no sha256 of them.

    Raises:
        TemporaryError: the hub does not answer now.
        AcquisitionError: the repository, revision or file does not exist, access is denied, or the card differs.
    """
    place = locate(file)
    if place is None:
        return file
    repository, revision, path = place[0], place[1], unquote(place[2])
    url = f"https://{HUB}/api/datasets/{repository}/revision/{revision}"
    tree = await client.read_json(f"{url}?blobs=true")
    try:
        commit, entries = tree["sha"], {str(entry["rfilename"]): entry for entry in tree["siblings"]}
        if not COMMIT.fullmatch(commit):
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise AcquisitionError(f"{url}: expected a commit and its files; the hub's API may have changed") from None
    if path not in entries:
        names = ", ".join(sorted(entries)[:8])
        raise AcquisitionError(
            f"{path}: not in {repository} on {HUB} at {commit}, which has {names} ...; correct the card"
        )
    size_bytes, lfs = entries[path].get("size"), entries[path].get("lfs") or {}
    sha256 = lfs.get("sha256") if isinstance(lfs, dict) else ""
    if type(size_bytes) is not int or (lfs and not _SHA256.fullmatch(str(sha256))):
        raise AcquisitionError(f"{path}: {HUB} states an invalid size or sha256; open {file.url}")
    for name, stated in (("size_bytes", size_bytes), ("sha256", sha256)):
        pinned = getattr(file, name)
        if None not in (pinned, stated) and pinned != stated:
            raise AcquisitionError(f"{path}: {HUB} states {name} {stated}, the card {pinned}; correct the card")
    return pin(file, commit).model_copy(update={"size_bytes": size_bytes, "sha256": sha256 or file.sha256})
