"""`publish`: a card's official files, made from its miniature, by URL."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

from openmedq.datasets.card import Card, File
from openmedq.fetch.hosts import FIGSHARE_FILE

FIGSHARE = "https://ndownloader.figshare.com/files"
ARTICLE = 22302775
BUCKET = "https://pmc-oa-opendata.s3.amazonaws.com"


def publish(card: Card, raw: Path) -> dict[str, bytes | Path]:
    """URL -> bytes of the files on the card, and of those that they list; `raw` is the card's miniature."""
    files = {place(file): take(raw, file) for file in card.files}
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
    """The URL of a file's bytes: its own, or figshare's for a collection."""
    return f"{FIGSHARE}/{ARTICLE}" if FIGSHARE_FILE.fullmatch(file.url) else file.url


def _list_articles(card: Card) -> Iterator[tuple[str, bytes]]:
    """The figshare collection on the card, with another article before the matching one."""
    for file in card.files:
        if address := FIGSHARE_FILE.fullmatch(file.url):
            articles = [{"id": 1, "title": "Retino: another"}, {"id": ARTICLE, "title": f"{address[2]}_Its long name"}]
            yield address[1], json.dumps(articles).encode()


def take(raw: Path, file: File) -> bytes | Path:
    """The miniature's file, or an archive of its folder, without the folder's name (OSF) or with it."""
    path = raw / file.path
    if path.is_file():
        return path
    folder = path.with_suffix("")
    if path.suffix != ".zip" or not folder.is_dir():
        raise FileNotFoundError(f"{raw}: the miniature has no {file.path}, and no folder that it is packed from")
    root = folder if urlsplit(file.url).netloc == "files.osf.io" else folder.parent
    members = {inner.relative_to(root).as_posix(): inner for inner in sorted(folder.rglob("*"))}
    images = raw.glob("MedFMC_*/*/images/*")  # figshare packs them with the table
    return pack(members | {f"{folder.name}/images/{inner.name}": inner for inner in sorted(images)})


def pack(members: dict[str, Path]) -> bytes:
    """A zip of the files, always of the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, path in members.items():
            if path.is_file():
                archive.writestr(zipfile.ZipInfo(name), path.read_bytes())
    return buffer.getvalue()


def _list_bucket(raw: Path) -> Iterator[tuple[str, Path]]:
    """ROCO's images in PubMed Central's bucket: one folder per article and version."""
    for part in sorted(raw.glob("data/*/*")):
        for line in (part / "dlinks.txt").read_text(encoding="utf-8").splitlines():
            record, link, figure = line.split("\t")
            article = link.partition(".tar.gz")[0].rpartition("/")[2]
            for path in (part / "images" / f"{record}.jpg", part / "images" / f"{article}_{figure}"):
                if path.is_file():
                    yield f"{BUCKET}/{article}.1/{quote(figure)}", path
