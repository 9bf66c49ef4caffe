"""Damaged files end as rejected rows, a warning, or an error in one line: never another exception, nor silent loss."""

import logging
import shutil
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from openmedq.config import Normalize
from openmedq.curate.normalize import rows
from openmedq.errors import OpenMedQError
from openmedq.schema import Reason, Rejected, Sample
from openmedq.storage.decoding import Inline
from openmedq.storage.shards import ShardStore, write_rejected
from tests.datasets import mutations
from tests.datasets.conftest import SETS, FolderOf

NUM_SEEDS = 2000 // len(SETS) + 1  # for each dataset
NUM_QUICK = 1
MAX_HIDDEN = 5  # records within 300 bytes that are gone from a list: nothing says that they were there

Counts = tuple[int, Counter[Reason]]


def normalize(dataset_id: str, raw: Path, output: Path) -> list[Sample | Rejected]:
    found = list(rows(SETS[dataset_id], raw, Normalize(), Inline()))
    output.mkdir()
    with write_rejected(output) as reject:
        for row in found:
            if isinstance(row, Rejected):
                reject(row)
    ShardStore(output).write((row for row in found if isinstance(row, Sample)), Normalize())
    return found


def count_reasons(found: list[Sample | Rejected]) -> Counter[Reason]:
    return Counter(row.reason for row in found if isinstance(row, Rejected))


@pytest.fixture(scope="session")
def undamaged(miniature_of: FolderOf, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Counts]:
    """The number of records of a miniature, and of rejected ones by reason."""

    @cache
    def count(dataset_id: str) -> Counts:
        found = normalize(dataset_id, miniature_of(dataset_id), tmp_path_factory.mktemp("undamaged") / dataset_id)
        return len(found), count_reasons(found)

    return count


@pytest.fixture
def check(
    tmp_path: Path,
    miniature_of: FolderOf,
    undamaged: Callable[[str], Counts],
    caplog: pytest.LogCaptureFixture,
) -> Callable[[str, int], str]:
    """Damage a copy of a miniature by a seed, and normalize it; return the outcome."""

    def damage(dataset_id: str, seed: int) -> str:
        raw = Path(shutil.copytree(miniature_of(dataset_id), tmp_path / str(seed)))
        num_rows, reasons = undamaged(dataset_id)
        mutation = mutations.mutate(raw, seed)
        if mutation is None:
            return "nothing changed"
        caplog.clear()
        try:
            found = normalize(dataset_id, raw, tmp_path / f"{seed}-out")
        except OpenMedQError as error:
            assert "\n" not in str(error) and 20 < len(str(error)) < 1000, mutation
            assert str(raw) in str(error) or Path(mutation.file).name in str(error), (mutation, error)
            return "an error"
        finally:
            shutil.rmtree(raw)
            shutil.rmtree(tmp_path / f"{seed}-out", ignore_errors=True)
        is_said = bool(count_reasons(found) - reasons) or any(
            each.levelno >= logging.WARNING for each in caplog.records
        )
        num_hidden = MAX_HIDDEN if mutation.kind == "drop" else 0
        assert len(found) >= num_rows - num_hidden or is_said or mutation.is_valid, (
            f"{mutation}: {num_rows - len(found)} records are lost silently"
        )
        return "rejected rows or a warning" if is_said else "all rows"

    return damage


@pytest.mark.parametrize("dataset_id", sorted(SETS))
def test_damaged_files(dataset_id: str, check: Callable[[str, int], str]) -> None:
    for seed in range(NUM_QUICK):
        check(dataset_id, seed)


@pytest.mark.faults
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("dataset_id", sorted(SETS))
def test_two_thousand_damaged_files(dataset_id: str, check: Callable[[str, int], str]) -> None:
    outcomes = Counter(check(dataset_id, seed) for seed in range(NUM_QUICK, NUM_QUICK + NUM_SEEDS))
    assert outcomes["an error"] + outcomes["rejected rows or a warning"] > NUM_SEEDS / 4, "the damage has effects"
