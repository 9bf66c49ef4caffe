"""Write files of miniatures: the same bytes on every machine, without time stamps."""

import csv
import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

_ARTICLE_COLUMNS = ("File", "Article Citation", "AccessionID", "Last Updated (YYYY-MM-DD HH:MM:SS)", "PMID", "License")
_LICENCES = ("CC BY", "CC BY", "CC BY", "CC0", "CC BY-SA", "CC BY-ND")


def save(path: Path, content: bytes | str) -> None:
    """Write a file and create its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def join(lines: Iterable[str], end: str = "\n") -> str:
    """Return the lines as one text."""
    return "".join(line + end for line in lines)


def to_json_lines(records: Iterable[Any]) -> str:
    """Return one JSON value per line."""
    return join(json.dumps(record, ensure_ascii=False) for record in records)


def to_csv(*rows: Sequence[object]) -> str:
    """Return the rows, the first of which is the header, as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def to_article_list(articles: Iterable[str]) -> str:
    """Return PubMed Central's list of open articles with several licences, some without derivatives."""
    rows = []
    for index, article in enumerate(articles):
        place = f"oa_package/{index % 256:02x}/{index % 251:02x}/{article}.tar.gz"
        licence = _LICENCES[index % len(_LICENCES)]
        rows.append((place, "Some Journal. 2019 Nov 5; 2(1):55-59", article, "2022-01-01 10:10:10", index + 1, licence))
    return to_csv(_ARTICLE_COLUMNS, *rows)


def to_zip(members: Mapping[str, bytes | str]) -> bytes:
    """Return a zip of the members by name, in their order."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)  # ZipInfo has no current time
    return buffer.getvalue()


def to_tar_gz(members: Mapping[str, bytes]) -> bytes:
    """Return a gzipped tar of the members by name, in their order; a name that ends with a slash is a folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name.rstrip("/"))
            info.type, info.size = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE, len(data)
            archive.addfile(info, io.BytesIO(data))
    return gzip.compress(buffer.getvalue(), mtime=0)
