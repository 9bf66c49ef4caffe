"""Miniatures, as the readers' tests have them, and a server of three files."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.datasets.conftest import miniature_of
from tests.servers import Server, serve
from tests.servers.asking import DATA, PHYSIONET, PLAIN, ZENODO

__all__ = ["miniature_of"]


@pytest.fixture
def server() -> Iterator[Server]:
    with serve({ZENODO: DATA, PLAIN: DATA, PHYSIONET: DATA}) as running:
        yield running
