"""Files that the card's files list: MIMIC-CXR's images, with hashes; no message names one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from openmedq.datasets.card import Dataset
from openmedq.datasets.mimic_cxr import mimic_cxr
from openmedq.errors import AcquisitionError, ChecksumError
from openmedq.fetch import addresses, ledger
from tests.datasets.conftest import (
    FolderOf,
    miniature_of,  # noqa: F401  the fixture
)
from tests.fetch import round_trip
from tests.fetch.conftest import Fetch, read_all
from tests.servers import faults, publish, serve
from tests.servers.physionet import READER

PROJECT = "physionet.org/files/mimic-cxr-jpg/2.1.0"


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(addresses.VARIABLES["physionet.org"], READER, strict=True):
        monkeypatch.setenv(name, value)


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


def test_all_pictures_come_and_the_ledger_has_none_of_them(
    fetch: Fetch, set_: Dataset, raw: Path, logged: Callable[[], str]
) -> None:
    with serve(publish(set_.card, raw)) as server:
        found = fetch(server, set_)
        published = {path.relative_to(raw).as_posix(): path for path in raw.rglob("*") if path.is_file()}
        assert read_all(found) == {name: path.read_bytes() for name, path in published.items()}
        assert not [name for name in ledger.read("mimic_cxr") if name.endswith(".jpg")]
        assert logged().startswith("MIMIC-CXR: its terms of use\nPhysioNet Credentialed Health Data Use")
        server.requests.clear()
        assert fetch(server, set_) == found
        assert not server.requests
    assert found.folder is not None
    assert [row.id for row in mimic_cxr.read(found.folder)] == [row.id for row in mimic_cxr.read(raw)]


@pytest.mark.parametrize("fault", [faults.not_found(), faults.corrupt()])
def test_a_picture_that_can_not_be_had_is_not_named(
    fetch: Fetch, set_: Dataset, raw: Path, fault: faults.Fault
) -> None:
    server = serve(publish(set_.card, raw), [fault.on(f"{PROJECT}/files/*")])
    with (
        server as here,
        pytest.raises(
            AcquisitionError,
            match=r"\d+ files failed; the remaining .* tried: (an image: )?physionet.org",
        ) as caught,
    ):
        fetch(here, set_)
    assert not [part for name in (raw / "IMAGE_FILENAMES").read_text().split() for part in name.split("/")[2:]
                if part in str(caught.value)]  # fmt: skip


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
