"""PubMed Central: the addresses of images in its public bucket.

Each file of an article is an object `PMC<id>.<version>/<name>`, with the name that its publisher gave it (NLM, "Changes
to PMC Article Datasets Distribution Services", 2026). The bucket lists an article's names.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from openmedq.config import Execution
from openmedq.datasets.card import LinkedImage
from openmedq.errors import AcquisitionError
from openmedq.fetch.client import Client, run_workers

BUCKET = "https://pmc-oa-opendata.s3.amazonaws.com"
SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".tif", ".tiff", ".bmp", ".webp")

_ARTICLE = re.compile(r"PMC\d{1,12}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Address:
    """The address of an image, or the `reason` why it has none."""

    name: str
    url: str | None = None
    size_bytes: int | None = None
    reason: str | None = None


Listings = dict[str, dict[str, int]]  # article -> object key -> size in bytes


async def locate(images: Sequence[LinkedImage], listings: Listings, execution: Execution) -> list[Address]:
    """The addresses of images; `listings` gets the articles that it lacks.

    Raises:
        TemporaryError: the bucket does not answer now.
        AcquisitionError: the answer is not a listing.
    """
    waiting = iter(sorted({image.article for image in images} - listings.keys()))

    async def work() -> None:
        for article in waiting:  # shared by all workers
            listings[article] = await _list(client, article)

    async with Client(execution) as client:
        await run_workers(work, execution.connections)
    return [_match(listings[image.article], image) for image in images]


async def _list(client: Client, article: str) -> dict[str, int]:
    """Sizes by object key of the files of an article's newest version; empty if there are none.

    The prefix ends with the dot: other articles' ids begin alike.
    """
    if not _ARTICLE.fullmatch(article):
        return {}
    versions: dict[int, dict[str, int]] = {}
    page = address = f"{BUCKET}/?list-type=2&prefix={article}."
    while True:
        listing = _parse(await client.read(page), address)
        for entry in listing.iterfind("{*}Contents"):
            key, size = entry.findtext("{*}Key") or "", entry.findtext("{*}Size") or ""
            if match := re.fullmatch(rf"{article}\.(\d{{1,9}})/[^/]+", key, re.ASCII):
                versions.setdefault(int(match[1]), {})[key] = int(size)
        if listing.findtext("{*}IsTruncated") != "true":
            return versions[max(versions)] if versions else {}
        page = f"{address}&continuation-token={quote(listing.findtext('{*}NextContinuationToken') or '', safe='')}"


def _parse(document: bytes, address: str) -> Element:
    """Parse a page of a listing, without entities."""
    try:
        listing: Element = fromstring(document)
    except (ParseError, DefusedXmlException, ValueError, LookupError):  # LookupError: an unknown encoding
        raise AcquisitionError(f"{address}: the answer is not a listing; the bucket may have changed") from None
    if listing.tag.rpartition("}")[2] != "ListBucketResult":
        raise AcquisitionError(f"{address}: the answer is not a listing; the bucket may have changed")
    return listing


def _match(sizes: dict[str, int], image: LinkedImage) -> Address:
    """The file of the same name, else the only image with the same name except for case and suffix."""
    if not sizes:
        is_id = _ARTICLE.fullmatch(image.article)
        return Address(image.name, reason="the article is not in the bucket" if is_id else "not an article id")
    keys = {key.partition("/")[2]: key for key in sizes}
    names = [image.figure]
    if image.figure not in keys:
        stem = _stem(image.figure)
        names = [name for name in keys if name.lower().endswith(SUFFIXES) and _stem(name) == stem]
    if len(names) != 1:
        return Address(image.name, reason="several files match" if names else "the article has no such file")
    key = keys[names[0]]
    return Address(image.name, f"{BUCKET}/{quote(key)}", sizes[key])


def _stem(name: str) -> str:
    """The name in lower case without an image suffix; other dots belong to it (`pone.0000308.g001`)."""
    lower = name.lower()
    return next((lower.removesuffix(suffix) for suffix in SUFFIXES if lower.endswith(suffix)), lower)
