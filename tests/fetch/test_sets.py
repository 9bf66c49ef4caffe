"""Some sets, all the way from their official hosts to their rows; `make test-faults` has them all."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.datasets.conftest import SETS, miniature_of
from tests.fetch.round_trip import go_round, publish_set

__all__ = ["miniature_of"]


@pytest.mark.parametrize("set_id", random.Random(0).sample(sorted(SETS), 4))
def test_official_files_give_the_rows_of_the_miniature(
    set_id: str, miniature_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    go_round(publish_set(set_id, miniature_of(set_id)), monkeypatch)
