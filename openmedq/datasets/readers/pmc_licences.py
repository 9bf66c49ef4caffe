"""Licences of articles from PubMed Central's list of open articles for commercial use, `oa_comm_use_file_list.csv`.

It is a CSV with the columns File, Article Citation, AccessionID, Last Updated, PMID, License ("CC BY", "NO-CC CODE").
PubMed Central removed its lists in 2026; PMC-VQA still publishes this one.
"""

from __future__ import annotations

import logging
import re
from array import array
from pathlib import Path

import numpy as np

from openmedq.datasets.card import File
from openmedq.datasets.fields import Unusable
from openmedq.datasets.licences import spell
from openmedq.datasets.readers import find_files_below, use_first
from openmedq.datasets.readers.tables import stream_table

_HUB = "https://huggingface.co/datasets/RadGenome/PMC-VQA/resolve/b56ae594f794867893143b337b4118a835794647"
ARTICLES = File(  # the only remaining public copy
    path="oa_comm_use_file_list.csv",
    url=f"{_HUB}/oa_comm_use_file_list.csv",
    size_bytes=496_021_536,
    sha256="7a56eef6527332d2eb47fffa1356ffe19548b8984823a533d174fd70bb38b86f",
)
_ARTICLE = re.compile(r"PMC([0-9]{1,9})", re.ASCII)

_log = logging.getLogger(__name__)


class ArticleLicences:
    """Licences by PMC id, in 8 bytes per article: 20 MB for the articles of the list."""

    def __init__(self, articles: array[int], codes: array[int], words: list[str]) -> None:
        """Take the PMC id of each article, the number of its licence, and the licences."""
        order = np.argsort(np.frombuffer(articles, np.uint32), kind="stable")
        self._articles = np.frombuffer(articles, np.uint32)[order]
        self._codes = np.frombuffer(codes, np.uint32)[order]
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
    """Read the list in `raw` or up to two folders below it; empty if there is none.

    Rows that lack a field or a PMC id are skipped and counted in the log. SourceError if a column is missing.
    """
    articles, codes = array("I"), array("I")
    numbers: dict[str, int] = {}  # of each licence
    num_odd = 0
    if paths := find_files_below(raw, ARTICLES.path):
        path = use_first(paths)
        for _, row in stream_table(path, ("AccessionID", "License")):
            match = None if isinstance(row, Unusable) else _ARTICLE.fullmatch(row["AccessionID"].strip())
            if isinstance(row, Unusable) or not match:
                num_odd += 1
                continue
            articles.append(int(match[1]))
            codes.append(numbers.setdefault(row["License"], len(numbers)))
    if num_odd:
        _log.info("%s: %d rows without a PMC id were skipped", path, num_odd)
    return ArticleLicences(articles, codes, [spell(words) or " ".join(words.split()) for words in numbers])
