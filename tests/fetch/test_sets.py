"""Each dataset from its official hosts to the rows of its miniature; `make test-faults` runs most of them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import pytest

from openmedq import paths
from openmedq.fetch.needs import FILES
from tests.datasets.conftest import SETS, FolderOf, miniature_of
from tests.fetch.round_trip import enter, fetch, go_round, publish_set
from tests.servers import serve

__all__ = ["miniature_of"]

DRAWN = random.Random(0).sample(sorted(SETS), 4)


@pytest.mark.parametrize(
    "set_id", [pytest.param(each, marks=() if each in DRAWN else pytest.mark.faults) for each in sorted(SETS)]
)
def test_official_files_give_the_rows_of_the_miniature(
    set_id: str, miniature_of: FolderOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_round(publish_set(set_id, miniature_of(set_id)), monkeypatch)


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
