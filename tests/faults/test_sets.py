"""Every set, all the way: from its official hosts, as they speak, to the rows that its miniature gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from openmedq import layout
from openmedq.acquire import credentials
from openmedq.acquire.needs import FILES
from tests.acquire.conftest import project
from tests.acquire.round_trip import (
    Published,
    enter,
    expect_rows,
    fetch,
    hold_to_served,
    publish_set,
    read_rows,
)
from tests.servers import serve
from tests.servers.hosts import READER
from tests.sources.conftest import SETS, miniature_of

__all__ = ["miniature_of", "project"]
pytestmark = pytest.mark.faults

PHYSIONET = "physionet.org"
WITHOUT_PICTURES = {"roco"}  # whose pictures no card lists


def log_in(patch: pytest.MonkeyPatch) -> None:
    for name, value in zip(credentials.VARIABLES[PHYSIONET], READER, strict=True):
        patch.setenv(name, value)


def go_round(published: Published, patch: pytest.MonkeyPatch) -> None:
    """Fetch the set, compare its files and its rows, and fetch again: nothing is asked."""
    enter(published, patch)
    log_in(patch)
    with serve(published.files, login="wget") as server:
        origin = fetch(published, server)
        assert (origin["state"], origin["origin"]) == ("present", "official")
        assert {entry["path"] for entry in origin["files"]} >= {file.path for file in published.set_.card.files}
        hold_to_served(published)
        rows, expected = read_rows(published, server), expect_rows(published)
        if published.id in WITHOUT_PICTURES:
            assert rows and {reason for _, _, reason in rows} - {reason for _, _, reason in expected} <= {
                "image missing"
            }
            rows, expected = ({row[:2] for row in each} for each in (rows, expected))  # type: ignore[assignment]
        assert rows == expected
        num_requests = len(server.requests)
        assert fetch(published, server) == origin
        assert len(server.requests) == num_requests, "what is here is not asked for again"


@pytest.mark.parametrize("set_id", sorted(SETS))
def test_official_files_give_the_rows_of_the_miniature(
    set_id: str, miniature_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    go_round(publish_set(set_id, miniature_of(set_id)), monkeypatch)


def test_without_credentials_mimic_is_skipped_and_says_why(
    miniature_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    published = publish_set("mimic_cxr", miniature_of("mimic_cxr"))
    enter(published, monkeypatch)
    with serve(published.files) as server:
        origin = fetch(published, server)
        assert not server.requests
    assert origin["state"] == "absent"
    assert "no credentials for physionet.org: set PHYSIONET_USERNAME and PHYSIONET_PASSWORD" in origin["reason"]
    assert "mimic_cxr: skipped: credentialed" in capsys.readouterr().err
    assert not (layout.RAW / "mimic_cxr" / FILES).exists()
    assert json.loads((layout.RAW / "mimic_cxr" / "origin.json").read_text()) == origin
