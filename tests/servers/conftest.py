"""Miniatures, as the readers' tests have them, and a server of three files."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers import Server, serve
from tests.servers.asking import DATA, PHYSIONET, PLAIN, ZENODO
from tests.sources.conftest import miniature_of

__all__ = ["miniature_of"]


@pytest.fixture
def server() -> Iterator[Server]:
    with serve({ZENODO: DATA, PLAIN: DATA, PHYSIONET: DATA}) as running:
        yield running
