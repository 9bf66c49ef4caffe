"""Licences of articles from PubMed Central's lists of open articles.

A list is a CSV with the columns File, Article Citation, Accession ID (`AccessionID` in some lists), Last Updated, PMID,
License ("CC BY", "NO-CC CODE"). `oa_file_list.csv` has all articles, `oa_comm_use_file_list.csv` those for commercial
use. PubMed Central removed the lists in 2026; PMC-VQA still publishes the latter.
"""

from __future__ import annotations

import csv
import logging
import re
from array import array
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from openmedq.datasets.card import File
from openmedq.datasets.fields import Unusable
from openmedq.datasets.licences import spell
from openmedq.datasets.readers import find_files_below
from openmedq.datasets.readers.tables import stream_rows, take_header
from openmedq.errors import SourceError

_HUB = "https://huggingface.co/datasets/RadGenome/PMC-VQA/resolve/b56ae594f794867893143b337b4118a835794647"
ARTICLES = File(  # the only remaining public copy
    path="oa_comm_use_file_list.csv",
    url=f"{_HUB}/oa_comm_use_file_list.csv",
    size_bytes=496_021_536,
    sha256="7a56eef6527332d2eb47fffa1356ffe19548b8984823a533d174fd70bb38b86f",
)
LISTS = ("oa_file_list.csv", "oa_comm_use_file_list.csv")  # the first that exists is read
_ARTICLE = re.compile(r"PMC([0-9]{1,9})", re.ASCII)
_HEADER = ("File", "Article Citation", "AccessionID", "Last Updated (YYYY-MM-DD HH:MM:SS)", "PMID", "License")
_LICENCES = ("CC BY", "CC BY", "CC BY", "CC0", "CC BY-SA", "CC BY-ND")
_MAX_WORDS = 255  # distinct licences; PMC has eight

_log = logging.getLogger(__name__)


class ArticleLicences:
    """Licences by PMC id, in 5 bytes per article: 20 MB for the four million articles of the longest list."""

    def __init__(self, articles: array[int], codes: bytearray, words: list[str]) -> None:
        order = np.argsort(np.frombuffer(articles, np.uint32), kind="stable")
        self._articles = np.frombuffer(articles, np.uint32)[order]
        self._codes = np.frombuffer(codes, np.uint8)[order]
        self._words = words

    def find(self, article: str | None) -> str:
        """Return an article's licence ("PMC1064097"), spelled by `spell` if known; "" if the article is not listed."""
        match = _ARTICLE.fullmatch(article or "")
        if not match:
            return ""
        number = np.uint32(int(match[1]))
        place = int(np.searchsorted(self._articles, number))
        is_listed = place < len(self._articles) and self._articles[place] == number
        return self._words[self._codes[place]] if is_listed else ""


def read_article_licences(raw: Path) -> ArticleLicences:
    """Read the first list in `raw` or up to two folders below it; empty if there is none.

    Rows that lack a field or a PMC id are skipped and counted in the log. SourceError if a column is missing.
    """
    paths = find_files_below(raw, *LISTS)
    articles, codes = array("I"), bytearray()
    words: dict[str, int] = {}  # number of each licence
    for path in paths[:1]:
        rows = stream_rows(path)
        header = take_header(rows)
        article_at, licence_at = _find_column(path, header, "accessionid"), _find_column(path, header, "license")
        num_odd = 0
        for _, fields in rows:
            if isinstance(fields, Unusable) or len(fields) != len(header):
                num_odd += 1
                continue
            match = _ARTICLE.fullmatch(fields[article_at].strip())
            if not match:
                num_odd += 1
                continue
            articles.append(int(match[1]))
            codes.append(_number(path, words, fields[licence_at]))
        if num_odd:
            _log.info("%s: %d rows without a PMC id were skipped", path, num_odd)
    for path in paths[1:]:
        _log.info("%s: not read: %s is used", path, paths[0])
    return ArticleLicences(articles, codes, [spell(each) or " ".join(each.split()) for each in words])


def draw_articles(path: Path, articles: Iterable[str]) -> None:
    """Write a generated list of articles with several licences, some without derivatives."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_HEADER)
        for index, article in enumerate(articles):
            place = f"oa_package/{index % 256:02x}/{index % 251:02x}/{article}.tar.gz"
            licence = _LICENCES[index % len(_LICENCES)]
            row = (place, "Some Journal. 2019 Nov 5; 2(1):55-59", article, "2022-01-01 10:10:10", index + 1, licence)
            writer.writerow(row)


def _find_column(path: Path, header: list[str], folded: str) -> int:
    names = [re.sub(r"[^a-z]", "", name.lower()) for name in header]
    if folded not in names:
        raise SourceError(f"{path}: no column `{folded}`; found {', '.join(header)[:200] or 'nothing'}; get it again")
    return names.index(folded)


def _number(path: Path, words: dict[str, int], licence: str) -> int:
    number = words.setdefault(licence, len(words))
    if number > _MAX_WORDS:
        raise SourceError(f"{path}: more than {_MAX_WORDS} licences, so its columns are not PMC's; get it again")
    return number
