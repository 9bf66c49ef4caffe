"""Files that the card's files list: MIMIC-CXR's images, with hashes; no message names one."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from openmedq.datasets.card import Dataset
from openmedq.datasets.mimic_cxr import mimic_cxr
from openmedq.errors import ChecksumError
from openmedq.fetch import addresses
from tests.datasets.conftest import (
    FolderOf,
    miniature_of,  # noqa: F401  the fixture
)
from tests.fetch import round_trip
from tests.fetch.conftest import Fetch
from tests.servers import faults, publish, serve

pytestmark = pytest.mark.usefixtures("login")
PROJECT = "physionet.org/files/mimic-cxr-jpg/2.1.0"


@pytest.fixture
def raw(miniature_of: FolderOf) -> Path:  # noqa: F811
    return miniature_of("mimic_cxr")


@pytest.fixture
def set_() -> Dataset:
    """The dataset, with a card without the sizes of the real files."""
    files = tuple(file.model_copy(update={"about_bytes": None}) for file in mimic_cxr.card.files)
    card = mimic_cxr.card.model_copy(update={"files": files})
    tree: Any = SimpleNamespace(card=card, read=mimic_cxr.read, more_files=mimic_cxr.more_files)
    return cast(Dataset, tree)


def test_a_table_is_held_to_the_digest_of_the_project(fetch: Fetch, set_: Dataset, raw: Path) -> None:
    change = faults.change(b"\x1f\x8bcut").on(f"{PROJECT}/mimic-cxr-2.0.0-split.csv.gz")
    with serve(publish(set_.card, raw), [change]) as server, pytest.raises(ChecksumError, match="expected "):
        fetch(server, set_)


def test_what_is_here_stays_in_the_mix_without_credentials(
    raw: Path, monkeypatch: pytest.MonkeyPatch, logged: Callable[[], str]
) -> None:
    published = round_trip.publish_set("mimic_cxr", raw)
    round_trip.enter(published, monkeypatch)
    with serve(published.files) as server:
        found = round_trip.fetch(published, server)
        for name in addresses.VARIABLES["physionet.org"]:
            monkeypatch.delenv(name)
        server.requests.clear()
        assert round_trip.fetch(published, server) == found
        (published.folder / "IMAGE_FILENAMES").unlink()
        assert "no credentials for physionet.org" in round_trip.fetch(published, server)["reason"]
        assert "mimic_cxr: `dvc repro` tries again once download.require lists it" in logged()
        assert not server.requests
