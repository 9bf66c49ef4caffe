"""What the hub, Zenodo and figshare state about their files before a download.

The Hugging Face hub: commit, size and, for large files, which Git does not store itself, sha256. Zenodo: size and md5.
figshare: address, size and md5 of a file in a collection, which a card names by `<collection>/articles#<start of the
article's title>/<file name, * as wildcard>`. ndownloader.figshare.com serves the bytes: figshare.com/ndownloader
answers programs with an empty 202.
"""

import re
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import unquote

from openmedq.datasets.card import File
from openmedq.errors import AcquisitionError
from openmedq.fetch.addresses import HUB
from openmedq.fetch.client import Client

COMMIT = re.compile(r"[0-9a-f]{40}")
FIGSHARE = "https://api.figshare.com/v2"
FIGSHARE_FILE = re.compile(rf"({re.escape(FIGSHARE)}/collections/\d+/articles)#([^/]+)/(.+)")

_HUB_FILE = re.compile(rf"https://{re.escape(HUB)}/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
_ZENODO_FILE = re.compile(r"https://zenodo\.org/records/(\d+)/files/([^?#]+)(?:\?.*)?")
_PAGE = "page_size=1000"  # figshare's maximum; the collections here are smaller
_MD5, _SHA256 = re.compile(r"[0-9a-f]{32}"), re.compile(r"[0-9a-f]{64}")


async def describe(client: Client, files: Iterable[File]) -> list[File]:
    """The files with the address, commit, size and hash that their hosts state.

    Raises:
        TemporaryError: a host does not answer now.
        AcquisitionError: a host has no such file, denies access, contradicts the card, or answers in another form.
    """
    described = []
    for file in files:
        if place := locate(file):
            file = await _ask_hub(client, file, *place)
        elif (match := _ZENODO_FILE.fullmatch(file.url)) and not (file.sha256 or file.md5):
            file = await _ask_zenodo(client, file, match[1], unquote(match[2]))
        elif match := FIGSHARE_FILE.fullmatch(file.url):
            file = await _ask_figshare(client, file, *match.groups())
        described.append(file)
    return described


def locate(file: File) -> tuple[str, str, str] | None:
    """Repository, revision and path of a file on the hub; None for other hosts."""
    found = _HUB_FILE.fullmatch(file.url)
    return (found[1], found[2], found[3]) if found else None


def is_pinned(file: File) -> bool:
    """Whether the address names a commit, or another host."""
    place = locate(file)
    return place is None or COMMIT.fullmatch(place[1]) is not None


def pin_commits(files: Iterable[File], urls: Iterable[str]) -> list[File]:
    """The files; those of the hub at the commit of their repository's file in `urls`."""
    places = filter(None, (locate(File(path="", url=url)) for url in urls))
    commits = {repository: commit for repository, commit, _ in places}
    pinned = []
    for file in files:
        if (place := locate(file)) and not is_pinned(file) and place[0] in commits:
            file = _pin(file, place[0], commits[place[0]], place[2])
        pinned.append(file)
    return pinned


def _pin(file: File, repository: str, commit: str, path: str) -> File:
    return file.model_copy(update={"url": f"https://{HUB}/datasets/{repository}/resolve/{commit}/{path}"})


async def _ask_hub(client: Client, file: File, repository: str, revision: str, quoted: str) -> File:
    path = unquote(quoted)
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
    found = {"size_bytes": size_bytes, "sha256": sha256 or file.sha256}
    return _pin(file, repository, commit, quoted).model_copy(update=found)


async def _ask_zenodo(client: Client, file: File, record: str, name: str) -> File:
    url = f"https://zenodo.org/api/records/{record}"
    try:
        entries = {entry["key"]: entry for entry in (await client.read_json(url))["files"]}
    except (KeyError, TypeError):
        raise AcquisitionError(f"{url}: expected a record with files; Zenodo's API may have changed") from None
    entry = entries.get(name, {})
    size_bytes, md5 = entry.get("size"), str(entry.get("checksum")).removeprefix("md5:")
    if not _is_stated(size_bytes, md5):
        raise AcquisitionError(f"{file.path}: {file.url} is not in its record, or has no size and md5; open {url}")
    if file.size_bytes not in (None, size_bytes):
        sizes = f"Zenodo states {size_bytes} bytes, the card {file.size_bytes}"
        raise AcquisitionError(f"{file.path}: {sizes}; correct the card")
    return file.model_copy(update={"size_bytes": size_bytes, "md5": md5})


async def _ask_figshare(client: Client, file: File, collection: str, title: str, name: str) -> File:
    articles = await client.read_json(f"{collection}?{_PAGE}")
    article = _choose(file, articles, "title", lambda found: found.casefold().startswith(title.casefold()))
    entries = await client.read_json(f"{FIGSHARE}/articles/{article['id']}/files?{_PAGE}")
    entry = _choose(file, entries, "name", lambda found: fnmatchcase(found.casefold(), name.casefold()))
    size_bytes, md5 = entry.get("size"), str(entry.get("computed_md5"))
    if not _is_stated(size_bytes, md5):
        raise AcquisitionError(f"{file.path}: figshare states no size or md5; its API may have changed")
    url = f"https://ndownloader.figshare.com/files/{entry['id']}"
    return file.model_copy(update={"url": url, "size_bytes": size_bytes, "md5": md5})


def _is_stated(size_bytes: Any, md5: str) -> bool:
    return type(size_bytes) is int and size_bytes > 0 and _MD5.fullmatch(md5) is not None


def _choose(file: File, records: Any, key: str, matches: Callable[[str], bool]) -> dict[str, Any]:
    """The only record of figshare that matches; AcquisitionError, with their names, if there is none or several."""
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
