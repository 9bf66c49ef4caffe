"""Every file of every card can be had from the server at its official address, and is the miniature's."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from urllib.parse import quote
from urllib.request import HTTPBasicAuthHandler, HTTPPasswordMgrWithPriorAuth, build_opener
from xml.etree import ElementTree

import pytest

from openmedq.datasets.card import File
from tests.datasets.conftest import SETS
from tests.servers import Server, publish, serve
from tests.servers.hosts import READER
from tests.servers.official import BUCKET, is_direct, place, take

pytestmark = pytest.mark.faults  # what `make test-faults` stands on


@pytest.fixture(scope="module")
def server_of(miniature_of: Callable[[str], Path]) -> Iterator[Callable[[str], Server]]:
    with ExitStack() as stack:
        yield cache(lambda set_id: stack.enter_context(serve(publish(SETS[set_id].card, miniature_of(set_id)))))


def fetch(server: Server, url: str) -> bytes:
    """With PhysioNet's password for PhysioNet alone: urllib takes it along to no other host."""
    passwords = HTTPPasswordMgrWithPriorAuth()
    passwords.add_password(None, server.url("https://physionet.org/"), *READER, is_authenticated=True)
    with build_opener(HTTPBasicAuthHandler(passwords)).open(server.url(url)) as response:
        data: bytes = response.read()
        return data


@pytest.mark.parametrize("set_id", sorted(SETS))
def test_each_file_of_the_card(
    set_id: str, server_of: Callable[[str], Server], miniature_of: Callable[[str], Path]
) -> None:
    card = SETS[set_id].card
    server = server_of(set_id)
    for file in card.files:
        if is_direct(card, file):
            expected = take(miniature_of(set_id), file)
            assert fetch(server, place(file)) == (expected if isinstance(expected, bytes) else expected.read_bytes())
            assert not fetch(server, place(file)).startswith(b"<!DOCTYPE html>")
        else:
            assert fetch(server, file.url).startswith(b"<!DOCTYPE html>")


def test_pictures_of_mimic(server_of: Callable[[str], Server], miniature_of: Callable[[str], Path]) -> None:
    raw, server = miniature_of("mimic_cxr"), server_of("mimic_cxr")
    base = "https://physionet.org/files/mimic-cxr-jpg/2.1.0"
    names = (raw / "IMAGE_FILENAMES").read_text().split()
    sums = fetch(server, f"{base}/SHA256SUMS.txt").decode()
    assert names
    for name in names:
        assert f" {name}\n" in sums
    assert fetch(server, f"{base}/{names[0]}") == (raw / names[0]).read_bytes()


def test_pictures_of_roco(server_of: Callable[[str], Server], miniature_of: Callable[[str], Path]) -> None:
    raw, server = miniature_of("roco"), server_of("roco")
    pictures = {path.read_bytes() for path in raw.glob("data/*/*/images/*")}
    found = set()
    links = "".join(path.read_text() for path in raw.glob("data/*/*/dlinks.txt"))
    articles = set(re.findall(r"PMC(\d+)\.tar", links))
    for article in articles:
        listing = ElementTree.fromstring(fetch(server, f"{BUCKET}/?list-type=2&prefix=PMC{article}."))
        keys = [node.text or "" for node in listing.iter("{http://s3.amazonaws.com/doc/2006-03-01/}Key")]
        assert f"PMC{article}.1/PMC{article}.1.json" in keys
        found |= {fetch(server, f"{BUCKET}/{quote(key)}") for key in keys if key.endswith(".jpg")}
    assert found == pictures


@pytest.mark.parametrize("set_id", ["medfmc_chest", "medfmc_colon", "medfmc_endo"])
def test_an_archive_of_medfmc_is_read(set_id: str, miniature_of: Callable[[str], Path], tmp_path: Path) -> None:
    """Packed as on figshare, with the lists beside it, it is the set that the miniature is."""
    set_, raw = SETS[set_id], miniature_of(set_id)
    file = File(path=f"{set_.card.title}.zip", url="https://ndownloader.figshare.com/files/1")
    packed = take(raw, file)
    assert isinstance(packed, bytes) and packed == take(raw, file)
    (tmp_path / file.path).write_bytes(packed)
    shutil.copytree(raw / "data_backup", tmp_path / "data_backup")
    assert {record.id for record in set_.read(tmp_path)} == {record.id for record in set_.read(raw)}
    assert not [record for record in set_.read(tmp_path) if "no file" in getattr(record, "detail", "")]
