"""Hostile records, over all datasets whose records are texts or Parquet rows: one row per record, or one error line."""

import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from openmedq.errors import SourceError
from openmedq.schema import Reason, Rejected, Sample
from tests.datasets import faults
from tests.datasets.conftest import SETS, FolderOf
from tests.datasets.records import NUM_RECORDS, RECORDS, TABLES, TYPED, read_table, rewrite, shorten, write_table
from tests.memory import measure_peak, takes_less_than

# By dataset: a field that every record needs, and whether a field has the id of the record.
FIELDS = {
    "cxr8": ("Finding Labels", True),
    "medmcqa": ("question", True),
    "medqa": ("answer_idx", False),
    "mimic_cxr": ("subject_id", True),
    "pathvqa": ("answer", False),
    "pmc_oa": ("caption", False),
    "pmc_vqa": ("Question", False),
    "pubmedqa": ("question", False),
    "slake": ("answer", True),
    "ubench": ("questions", False),
    "vqa_rad": ("answer", True),
}
# By dataset whose records are streamed: the number of a field with a text.
TEXTS = {"medqa": 0, "pmc_oa": 1, "pmc_vqa": 1, "roco": 1}
WITH_ARCHIVES = ("breast_ultrasound", "cxr8", "iu_xray", "omnimedvqa", "pmc_oa", "pmc_vqa", "slake")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n"), max_size=8)


def replace(record: Any, field: int, value: Any, text: str, *, is_typed: bool = False) -> Any:
    """The record with one of its fields changed: to any JSON, or to a text where the file can hold nothing else."""
    if isinstance(record, str):
        words = record.split(" ")
        words[field % len(words)] = text
        return " ".join(words)
    if isinstance(record, list):
        if field > 15:  # a field too few
            return record[:-1]
        return [*record[: field % len(record)], text, *record[field % len(record) + 1 :]]
    if isinstance(record, tuple):  # key and value of an object
        return record[0], replace(record[1], field, value, text)
    name = list(record)[field % len(record)]
    if is_typed:
        value = text if isinstance(record[name], str) else None
    return {**record, name: value} if value is not ... else {k: v for k, v in record.items() if k != name}


def read_rows(dataset_id: str, raw: Path) -> list[Sample | Rejected] | None:
    """The rows; None for an error, which has one line."""
    rows = []
    try:
        rows.extend(SETS[dataset_id].read(raw))
    except SourceError as error:
        assert "\n" not in str(error)
        return None
    assert len({row.id for row in rows}) == len(rows)
    assert all("\n" not in row.id + row.split + row.provenance.record for row in rows)
    return rows


@pytest.mark.parametrize(("dataset_id", "place"), sorted([*RECORDS.items(), *TABLES.items()]))
def test_one_record_gives_one_row_whatever_it_holds(dataset_id: str, place: str, copy_of: FolderOf) -> None:
    raw, is_typed = copy_of(dataset_id), place.endswith(TYPED)
    shorten(raw, place)
    name = place.partition(":")[0]
    whole = (raw / name).read_bytes()
    num_rows = len(read_rows(dataset_id, raw) or ())
    assert num_rows

    @settings(max_examples=12, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, NUM_RECORDS), st.integers(0, 20), JSON | st.just(...), TEXT)
    @example(1, 0, "", "")
    @example(1, 20, "", "")
    def check(number: int, field: int, value: Any, text: str) -> None:
        (raw / name).write_bytes(whole)

        def edit(records: list[Any]) -> list[Any]:
            at = max(number, 1 if ".csv" in place else 0) % len(records)
            return [*records[:at], replace(records[at], field, value, text, is_typed=is_typed), *records[at + 1 :]]

        rewrite(raw, place, edit)
        rows = read_rows(dataset_id, raw)
        # A sibling file may still list the record under its old id; a row of u-Bench has several records.
        assert rows is None or (1 if dataset_id == "ubench" else num_rows) <= len(rows) <= num_rows + 1

    check()


@pytest.mark.parametrize("dataset_id", sorted(FIELDS))
def test_a_renamed_field_is_one_line_that_names_it(dataset_id: str, copy_of: FolderOf) -> None:
    raw, (field, _), place = copy_of(dataset_id), FIELDS[dataset_id], (RECORDS | TABLES)[dataset_id]

    def rename(records: list[Any]) -> list[Any]:
        if isinstance(records[0], list):
            return [[f"{name}_" if name == field else name for name in records[0]], *records[1:]]
        return [{f"{key}_" if key == field else key: value for key, value in record.items()} for record in records]

    if place.endswith(TYPED):
        table = read_table(place, (raw / place).read_bytes())
        names = [f"{name}_" if name == field else name for name in table.column_names]
        (raw / place).write_bytes(write_table(place, table.rename_columns(names)))
    else:
        rewrite(raw, place, rename)
    with pytest.raises(SourceError, match=f"no (column|field) `{field}`") as error:
        list(SETS[dataset_id].read(raw))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dataset_id", sorted(key for key, (_, has_id) in FIELDS.items() if has_id))
def test_an_id_that_comes_twice_is_rejected_the_second_time(dataset_id: str, copy_of: FolderOf) -> None:
    raw, place = copy_of(dataset_id), (RECORDS | TABLES)[dataset_id]
    shorten(raw, place)
    rewrite(raw, place, lambda records: [*records, records[-1]])
    after = read_rows(dataset_id, raw) or []
    assert [row.reason for row in after if isinstance(row, Rejected) and row.reason is Reason.ID_REPEATED] == [
        Reason.ID_REPEATED
    ]


@pytest.mark.parametrize("dataset_id", WITH_ARCHIVES)
def test_memory_does_not_grow_with_the_images(dataset_id: str, copy_of: FolderOf) -> None:
    raw = copy_of(dataset_id)
    image = random.Random(0).randbytes(100 * 1024)  # readers do not decode
    num_images = 0

    def enlarge(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
        nonlocal num_images
        is_image = name.endswith(faults.IMAGES)
        num_images += is_image
        yield name, num_images.to_bytes(8, "big") + image if is_image else data

    assert faults.change_archives(raw, enlarge)

    def read() -> None:
        assert sum(isinstance(row, Sample) for row in SETS[dataset_id].read(raw)) > 40

    assert takes_less_than(num_images * len(image) // 5, read)


@pytest.mark.parametrize("dataset_id", TEXTS)
def test_memory_does_not_grow_with_the_records(dataset_id: str, copy_of: FolderOf) -> None:
    raw, place, text = copy_of(dataset_id), RECORDS[dataset_id], "word_" * 400

    def enlarge(num_records: int) -> None:
        def edit(records: list[Any]) -> list[Any]:
            head = records[: int(".csv" in place)]
            return [*head, *[replace(records[len(head)], TEXTS[dataset_id], text, text)] * num_records]

        rewrite(raw, place, edit)

    def read(num_records: int) -> None:
        assert sum(1 for _ in SETS[dataset_id].read(raw)) >= num_records

    enlarge(300)
    limit_bytes = measure_peak(partial(read, 300)) + 2**20
    enlarge(3000)  # 6 MB of text
    assert takes_less_than(limit_bytes, partial(read, 3000))
