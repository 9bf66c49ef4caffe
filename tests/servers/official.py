"""`publish`: a card's official files, made from its miniature, at the URLs where they are published."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

from openmedq.datasets.card import Card, File
from openmedq.fetch.hosts import figshare
from tests.servers.exchange import Content

FIGSHARE = "https://ndownloader.figshare.com/files"
ARTICLE = 22302775
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
    files = {place(file): take(raw, file) for file in card.files if is_direct(card, file)}
    files |= dict(_list_articles(card))
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


def place(file: File) -> str:
    """Where a file lies: at its URL, or at an address of figshare that its URL leads to."""
    return f"{FIGSHARE}/{ARTICLE}" if figshare.ADDRESS.fullmatch(file.url) else file.url


def _list_articles(card: Card) -> Iterator[tuple[str, bytes]]:
    """The collection of figshare that the card names, another article before the one that is meant."""
    for file in card.files:
        if address := figshare.ADDRESS.fullmatch(file.url):
            articles = [{"id": 1, "title": "Retino: another"}, {"id": ARTICLE, "title": f"{address[2]}_Its long name"}]
            yield address[1], json.dumps(articles).encode()


def take(raw: Path, file: File) -> bytes | Path:
    """The miniature's file, or the archive of that name packed from its folder, without it (OSF) or with it."""
    path = raw / file.path
    if path.is_file():
        return path
    folder = path.with_suffix("")
    if path.suffix != ".zip" or not folder.is_dir():
        raise FileNotFoundError(f"{raw}: the miniature has no {file.path}, and no folder that it is packed from")
    root = folder if urlsplit(file.url).netloc == "files.osf.io" else folder.parent
    members = {inner.relative_to(root).as_posix(): inner for inner in sorted(folder.rglob("*"))}
    pictures = raw.glob("MedFMC_*/*/images/*")  # which figshare has beside the table, and the challenge in its own zips
    return pack(members | {f"{folder.name}/images/{inner.name}": inner for inner in sorted(pictures)})


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
        yield f"{BUCKET}/{key}/{key}.xml", _write_article(pictures).encode()
        for name, path in pictures.items():
            yield f"{BUCKET}/{key}/{quote(name)}", path


def _write_article(pictures: Iterable[str]) -> str:
    """An article's text, which names its figures without their suffix."""
    graphics = (f'<fig><graphic xlink:href="{Path(name).stem}"/></fig>' for name in pictures)
    return f'<article xmlns:xlink="http://www.w3.org/1999/xlink"><body>{"".join(graphics)}</body></article>'
