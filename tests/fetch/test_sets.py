"""Each dataset from its official hosts to the rows of its miniature; `make test-faults` runs most of them."""

import json
import random
from collections.abc import Callable

import pytest

from openmedq import paths
from openmedq.errors import ChecksumError
from openmedq.fetch import addresses
from openmedq.fetch.needs import FILES
from tests.datasets.conftest import SETS, FolderOf, miniature_of
from tests.fetch.round_trip import enter, fetch, go_round, publish_set
from tests.servers import faults, serve

__all__ = ["miniature_of"]

DRAWN = random.Random(0).sample(sorted(SETS), 4)


@pytest.mark.parametrize(
    "set_id", [pytest.param(each, marks=() if each in DRAWN else pytest.mark.faults) for each in sorted(SETS)]
)
def test_official_files_give_the_rows_of_the_miniature(
    set_id: str, miniature_of: FolderOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_round(publish_set(set_id, miniature_of(set_id)), monkeypatch)


@pytest.mark.usefixtures("login")
def test_a_table_is_held_to_the_digest_of_its_project(miniature_of: FolderOf, monkeypatch: pytest.MonkeyPatch) -> None:
    published = publish_set("mimic_cxr", miniature_of("mimic_cxr"))
    enter(published, monkeypatch)
    change = faults.change(b"\x1f\x8bcut").on("*/mimic-cxr-2.0.0-split.csv.gz")
    with serve(published.files, [change]) as server, pytest.raises(ChecksumError, match="expected "):
        fetch(published, server)


@pytest.mark.usefixtures("login")
def test_what_is_here_stays_in_the_mix_without_credentials(
    miniature_of: FolderOf, monkeypatch: pytest.MonkeyPatch, logged: Callable[[], str]
) -> None:
    published = publish_set("mimic_cxr", miniature_of("mimic_cxr"))
    enter(published, monkeypatch)
    with serve(published.files) as server:
        found = fetch(published, server)
        for name in addresses.VARIABLES["physionet.org"]:
            monkeypatch.delenv(name)
        server.requests.clear()
        assert fetch(published, server) == found
        (published.folder / "IMAGE_FILENAMES").unlink()
        assert "no credentials for physionet.org" in fetch(published, server)["reason"]
        assert "mimic_cxr: `dvc repro` tries again once download.require lists it" in logged()
        assert not server.requests


def test_without_credentials_mimic_is_skipped_with_the_reason(
    miniature_of: FolderOf, monkeypatch: pytest.MonkeyPatch, logged: Callable[[], str]
) -> None:
    published = publish_set("mimic_cxr", miniature_of("mimic_cxr"))
    enter(published, monkeypatch)
    with serve(published.files) as server:
        origin = fetch(published, server)
        assert not server.requests
    assert origin["state"] == "absent"
    assert "no credentials for physionet.org: set PHYSIONET_USERNAME and PHYSIONET_PASSWORD" in origin["reason"]
    assert "mimic_cxr: skipped: credentialed" in logged()
    assert not (paths.RAW / "mimic_cxr" / FILES).exists()
    assert json.loads((paths.RAW / "mimic_cxr" / "origin.json").read_text()) == origin
