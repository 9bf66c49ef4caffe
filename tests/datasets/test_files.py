import re
from pathlib import PurePosixPath

from yarl import URL

from openmedq.datasets import DATASETS
from openmedq.datasets.card import Access
from openmedq.fetch import hosts, needs

CARDS = {dataset_id: set_.card for dataset_id, set_ in DATASETS.items()}
EDITIONS = [card.choose(edition) for card in CARDS.values() for edition in (None, *card.editions)]
FILES = [(card, file) for card in EDITIONS for file in card.files]
PAGES = ("drive.google.com", "doi.org", "github.com", "figshare.com", "springernature.figshare.com")  # for people


def test_every_set_names_files_each_once() -> None:
    for card in EDITIONS:
        assert card.files
        assert len({file.path for file in card.files}) == len({file.url for file in card.files}) == len(card.files)


def test_addresses_are_direct_and_pinned_to_a_commit() -> None:
    for _, file in FILES:
        url = URL(file.url)
        assert url.scheme == "https" and url.host not in PAGES and url.user is None, file
        assert not url.fragment or hosts.FIGSHARE_FILE.fullmatch(file.url), file
        if url.host == "huggingface.co":
            found = hosts.HUB_FILE.fullmatch(file.url)
            assert found and re.fullmatch(r"[0-9a-f]{40}", found[2]), file
        elif url.host == "raw.githubusercontent.com":
            assert re.fullmatch(r"/[\w.-]+/[\w.-]+/[0-9a-f]{40}/.+", url.path), file


def test_paths_are_safe_and_pins_are_well_formed() -> None:
    for _, file in FILES:
        path = PurePosixPath(file.path)
        assert not path.is_absolute() and path.as_posix() == file.path, file
        assert not [part for part in path.parts if part.startswith(".") or "\\" in part or ":" in part], file
        assert file.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", file.sha256), file
        assert file.md5 is None or re.fullmatch(r"[0-9a-f]{32}", file.md5), file
        sizes = [size for size in (file.size_bytes, file.about_bytes) if size is not None]
        assert len(sizes) < 2 and all(size > 0 for size in sizes), "an exact size needs no rounded one"
        assert file.is_stable or not (file.sha256 or file.md5 or file.size_bytes), file


def test_who_is_not_let_in_is_told_how() -> None:
    for card in CARDS.values():
        if card.access in (Access.CREDENTIALED, Access.REGISTRATION, Access.USER_SUPPLIED):
            assert card.advice
        if card.is_credentialed:
            assert card.terms
    assert "credentialed" in str(needs.reason_to_skip(CARDS["mimic_cxr"], "any"))
