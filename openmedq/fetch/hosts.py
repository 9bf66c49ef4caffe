"""What the hub, Zenodo and figshare state about their files before a download.

The Hugging Face hub: size and, for large files, which Git does not store itself, sha256. Zenodo: size and md5.
figshare: address, size and md5 of a file in a collection, which a card names by `<collection>/articles#<start of the
article's title>/<file name, * as wildcard>`. ndownloader.figshare.com serves the bytes: figshare.com/ndownloader
answers programs with an empty 202.
"""

import re
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import TypeVar
from urllib.parse import unquote

from pydantic import BaseModel, Field, StrictInt

from openmedq.datasets.card import File
from openmedq.errors import AcquisitionError
from openmedq.fetch.addresses import HUB
from openmedq.fetch.client import Client

FIGSHARE = "https://api.figshare.com/v2"
HUB_FILE = re.compile(rf"https://{re.escape(HUB)}/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
FIGSHARE_FILE = re.compile(rf"({re.escape(FIGSHARE)}/collections/\d+/articles)#([^/]+)/(.+)")

_ZENODO_FILE = re.compile(r"https://zenodo\.org/records/(\d+)/files/([^?#]+)(?:\?.*)?")
_MD5 = re.compile(r"(?:md5:)?([0-9a-f]{32})")
_PAGE = "page_size=1000"  # figshare's maximum; the collections here are smaller


class _Lfs(BaseModel):
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class _HubFile(BaseModel):
    rfilename: str
    size: StrictInt
    lfs: _Lfs | None = None


class _Repository(BaseModel):
    siblings: list[_HubFile]


class _ZenodoFile(BaseModel):
    key: str
    size: StrictInt
    checksum: str | None = None


class _Record(BaseModel):
    files: list[_ZenodoFile]


class _Article(BaseModel):
    id: StrictInt
    title: str


class _FigshareFile(BaseModel):
    id: StrictInt
    name: str
    size: StrictInt
    computed_md5: str | None = None


_Named = TypeVar("_Named")


async def describe(client: Client, files: Iterable[File]) -> list[File]:
    """The files with the address, size and hash that their hosts state.

    Raises:
        TemporaryError: a host does not answer now.
        AcquisitionError: a host has no such file, denies access, contradicts the card, or answers in another form.
    """
    described = []
    for file in files:
        if match := HUB_FILE.fullmatch(file.url):
            file = await _ask_hub(client, file, *match.groups())
        elif (match := _ZENODO_FILE.fullmatch(file.url)) and not (file.sha256 or file.md5):
            file = await _ask_zenodo(client, file, match[1], unquote(match[2]))
        elif match := FIGSHARE_FILE.fullmatch(file.url):
            file = await _ask_figshare(client, file, *match.groups())
        described.append(file)
    return described


async def _ask_hub(client: Client, file: File, repository: str, revision: str, path: str) -> File:
    url = f"https://{HUB}/api/datasets/{repository}/revision/{revision}?blobs=true"
    found = await client.read_json(url, _Repository)
    entry = _choose(file, found.siblings, lambda each: each.rfilename, lambda name: name == unquote(path))
    return _agree(file, size_bytes=entry.size, sha256=entry.lfs.sha256 if entry.lfs else None)


async def _ask_zenodo(client: Client, file: File, record: str, name: str) -> File:
    found = await client.read_json(f"https://zenodo.org/api/records/{record}", _Record)
    entry = _choose(file, found.files, lambda each: each.key, lambda key: key == name)
    return _agree(file, size_bytes=entry.size, md5=_take_md5(file, entry.size, entry.checksum))


async def _ask_figshare(client: Client, file: File, collection: str, title: str, name: str) -> File:
    articles = await client.read_json(f"{collection}?{_PAGE}", list[_Article])
    begin = title.casefold()
    article = _choose(file, articles, lambda each: each.title, lambda found: found.casefold().startswith(begin))
    entries = await client.read_json(f"{FIGSHARE}/articles/{article.id}/files?{_PAGE}", list[_FigshareFile])
    entry = _choose(file, entries, lambda each: each.name, lambda found: fnmatchcase(found.lower(), name.lower()))
    md5 = _take_md5(file, entry.size, entry.computed_md5)
    file = file.model_copy(update={"url": f"https://ndownloader.figshare.com/files/{entry.id}"})
    return _agree(file, size_bytes=entry.size, md5=md5)


def _take_md5(file: File, size_bytes: int, stated: str | None) -> str:
    """The md5 of the wanted file; others of the record may have none, such as links. AcquisitionError without it."""
    match = _MD5.fullmatch(stated or "")
    if size_bytes <= 0 or not match:
        raise AcquisitionError(
            f"{file.path}: {file.url}: an answer of another form than expected: size or md5 is missing; "
            "the API may have changed"
        )
    return match[1]


def _choose(
    file: File, records: Iterable[_Named], name_of: Callable[[_Named], str], is_wanted: Callable[[str], bool]
) -> _Named:
    """The only record of a host whose name matches; AcquisitionError, with their names, if there is none or several."""
    named = [(name_of(record), record) for record in records]
    found = [record for name, record in named if is_wanted(name)]
    if len(found) != 1:
        names = ", ".join(repr(name[:60]) for name, _ in named[:8]) or "nothing"
        raise AcquisitionError(
            f"{file.path}: {len(found)} files or articles match {file.url}, which has {names}; download it by hand "
            "into the local data folder, or correct the card"
        )
    return found[0]


def _agree(file: File, **stated: str | int | None) -> File:
    """The file with what its host states; AcquisitionError if the card states something else."""
    for name, value in stated.items():
        pinned = getattr(file, name)
        if None not in (pinned, value) and pinned != value:
            raise AcquisitionError(f"{file.path}: its host states {name} {value}, the card {pinned}; correct the card")
    return file.model_copy(update={name: value for name, value in stated.items() if value is not None})
