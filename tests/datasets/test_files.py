"""The official files in the cards: addresses, revisions, sizes and checksums."""

import re
from pathlib import PurePosixPath

import pytest
from yarl import URL

from openmedq.datasets import BENCHMARKS, SOURCES
from openmedq.datasets.card import Access, Card, File
from openmedq.fetch import needs
from openmedq.fetch.hosts import figshare, hub

CARDS = {dataset_id: set_.card for dataset_id, set_ in (SOURCES | BENCHMARKS).items()}
EDITIONS = [card.choose(edition) for card in CARDS.values() for edition in (None, *card.editions)]
FILES = [(card, file) for card in EDITIONS for file in card.files]
PAGES = ("drive.google.com", "doi.org", "github.com", "figshare.com", "springernature.figshare.com")  # for people

every_file = pytest.mark.parametrize(("card", "file"), FILES, ids=lambda each: getattr(each, "id", None) or each.path)


def test_every_set_names_files_each_once() -> None:
    for card in EDITIONS:
        assert card.files
        assert len({file.path for file in card.files}) == len({file.url for file in card.files}) == len(card.files)


@every_file
def test_the_address_is_direct_and_private(card: Card, file: File) -> None:
    url = URL(file.url)
    assert url.scheme == "https"
    assert url.host not in PAGES
    assert url.user is None
    assert not url.fragment or figshare.ADDRESS.fullmatch(file.url)
    assert "/resolve/main/" not in file.url


@every_file
def test_a_revision_is_a_commit(card: Card, file: File) -> None:
    assert hub.is_pinned(file)
    if file.url.startswith("https://huggingface.co/"):
        assert hub.locate(file)
    elif URL(file.url).host == "raw.githubusercontent.com":
        assert re.fullmatch(r"/[\w.-]+/[\w.-]+/[0-9a-f]{40}/.+", URL(file.url).path)


@every_file
def test_the_path_is_safe(card: Card, file: File) -> None:
    path = PurePosixPath(file.path)
    assert not path.is_absolute()
    assert path.as_posix() == file.path
    assert not [part for part in path.parts if part.startswith(".") or "\\" in part or ":" in part]


@every_file
def test_what_is_known_is_well_formed(card: Card, file: File) -> None:
    assert file.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", file.sha256)
    assert file.md5 is None or re.fullmatch(r"[0-9a-f]{32}", file.md5)
    sizes = [size for size in (file.size_bytes, file.about_bytes) if size is not None]
    assert len(sizes) < 2, "an exact size needs no rounded one"
    assert all(size > 0 for size in sizes)
    assert file.is_stable or not (file.sha256 or file.md5 or file.size_bytes)


def test_one_pin_is_one_file() -> None:
    for name in ("sha256", "md5"):
        files = {file for _, file in FILES if getattr(file, name)}  # a list of articles is a file of two sets
        assert files
        assert len({getattr(file, name) for file in files}) == len(files)


def test_who_is_not_let_in_is_told_how() -> None:
    for card in CARDS.values():
        if card.access in (Access.CREDENTIALED, Access.REGISTRATION, Access.USER_SUPPLIED):
            assert card.advice
        if card.is_credentialed:
            assert card.terms
    assert "credentialed" in str(needs.reason_to_skip(CARDS["mimic_cxr"], "any"))
