"""`publish`: a card's official files, made from its miniature, at the URLs where they are published."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

from openmedq.cards import Card, File
from tests.servers.exchange import Content

BUCKET = "https://pmc-oa-opendata.s3.amazonaws.com"
_PAGES = ("drive.google.com", "doi.org", "medfm2023.grand-challenge.org")  # where a person signs in or clicks


def is_direct(card: Card, file: File) -> bool:
    """Whether the file's URL is its own, not a page where a person finds it."""
    num_files = Counter(other.url for other in card.files)[file.url]
    return num_files == 1 and urlsplit(file.url).netloc not in _PAGES


def publish(card: Card, raw: Path) -> dict[str, bytes | Path]:
    """URL -> bytes of the card's files, and of those that belong to them without standing in the card.

    `raw` is the card's miniature. FileNotFoundError where it has neither a file nor what the file is packed from.
    """
    files = {file.url: take(raw, file.path) for file in card.files if is_direct(card, file)}
    named = {file.path for file in card.files}
    bases = {
        file.url.removesuffix(quote(file.path)): None for file in card.files if file.url.endswith(quote(file.path))
    }
    if card.id == "roco":
        return files | dict(_list_bucket(raw))
    if bases and "raw.githubusercontent.com" not in next(iter(bases)):  # the hub's repositories, PhysioNet's project
        paths = (path for path in sorted(raw.rglob("*")) if path.is_file())
        for path in paths:
            name = path.relative_to(raw).as_posix()
            if name not in named:
                files[next(iter(bases)) + quote(name)] = path
    return files


def take(raw: Path, name: str) -> bytes | Path:
    """The miniature's file of that name, or the archive of that name packed from its folder."""
    path = raw / name
    if path.is_file():
        return path
    folder = path.with_suffix("")
    if path.suffix == ".zip" and folder.is_dir():
        return pack({inner.relative_to(folder).as_posix(): inner for inner in sorted(folder.rglob("*"))})
    raise FileNotFoundError(f"{raw}: the miniature has no {name}, and no folder that it is packed from")


def pack(members: dict[str, Path]) -> bytes:
    """A zip of the files, the same bytes whenever it is made."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, path in members.items():
            if path.is_file():
                archive.writestr(zipfile.ZipInfo(name), path.read_bytes())
    return buffer.getvalue()


def _list_bucket(raw: Path) -> Iterator[tuple[str, bytes | Path]]:
    """ROCO's pictures in PubMed Central's bucket: a folder an article and version, its record, its figures by name."""
    articles: dict[str, dict[str, Path]] = {}
    licences: dict[str, str] = {}
    for part in sorted(raw.glob("data/*/*")):
        with (part / "licences.txt").open(encoding="utf-8", newline="") as file:
            licences |= {row["PMC_ID"].partition("_")[0]: row["CC"] for row in csv.DictReader(file)}
        for line in (part / "dlinks.txt").read_text(encoding="utf-8").splitlines():
            record, link, figure = line.split("\t")
            article = link.partition(".tar.gz")[0].rpartition("/")[2]
            called = (part / "images" / f"{record}.jpg", part / "images" / f"{article}_{figure}")
            pictures = articles.setdefault(article, {})
            for path in filter(Path.is_file, called):
                pictures[figure] = path
    for article, pictures in articles.items():
        key = f"{article}.1"
        described = {
            "pmcid": article,
            "version": 1,
            "is_pmc_openaccess": True,
            "is_retracted": False,
            "license_code": licences.get(article, "").replace("NO-CC CODE", "") or None,
            "media_urls": [
                f"s3://pmc-oa-opendata/{key}/{name}?md5={Content(path).md5}" for name, path in pictures.items()
            ],
        }
        for name in (f"metadata/{key}.json", f"{key}/{key}.json"):
            yield f"{BUCKET}/{name}", json.dumps(described).encode()
        yield f"{BUCKET}/{key}/{key}.xml", b"<article/>"
        for name, path in pictures.items():
            yield f"{BUCKET}/{key}/{quote(name)}", path
