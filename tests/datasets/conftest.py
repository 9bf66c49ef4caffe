"""Miniatures: written once per session, copied for tests that change them."""

import logging
import shutil
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import pytest

from openmedq import synthetic
from openmedq.schema import Rejected, Sample
from tests.datasets.faults import SETS as SETS
from tests.datasets.records import RECORDS, TABLES, Changed, ChangedOf

BENCHMARKS = sorted(key for key, dataset in SETS.items() if dataset.card.kind == "benchmark")

FolderOf = Callable[[str], Path]  # from the id of a dataset


def samples(rows: Iterable[Sample | Rejected]) -> list[Sample]:
    return [row for row in rows if isinstance(row, Sample)]


def all_samples(rows: Iterable[Sample | Rejected]) -> list[Sample]:
    """The rows, none of which may be rejected."""
    found = list(rows)
    assert samples(found) == found
    return samples(found)


@pytest.fixture(autouse=True)
def _log_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


@pytest.fixture(scope="session")
def miniature_of(tmp_path_factory: pytest.TempPathFactory) -> FolderOf:
    """The folder of a dataset's miniature, which tests must not change."""

    @cache
    def write(dataset_id: str) -> Path:
        raw = tmp_path_factory.mktemp("miniature") / dataset_id
        synthetic.write(dataset_id, raw, seed=0)
        return raw

    return write


@pytest.fixture
def copy_of(miniature_of: FolderOf, tmp_path: Path) -> FolderOf:
    """A copy of a dataset's miniature, which tests may change."""
    return lambda dataset_id: Path(shutil.copytree(miniature_of(dataset_id), tmp_path / dataset_id))


@pytest.fixture
def changed(copy_of: FolderOf) -> ChangedOf:
    """A dataset's miniature whose first record tests may change."""
    known = RECORDS | {key: place for key, place in TABLES.items() if key not in RECORDS}
    return lambda dataset_id, place=None: Changed(dataset_id, copy_of(dataset_id), place or known[dataset_id])
