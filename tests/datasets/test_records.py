"""Hostile records, over all datasets whose records are texts or Parquet rows: one row per record, or one error line."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from openmedq.errors import SourceError
from openmedq.schema import Reason, Rejected, Sample
from tests.datasets import faults
from tests.datasets.hostile import JSON
from tests.datasets.test_contract import SETS
from tests.datasets.test_cut_files import RECORDS, change

PLACES = RECORDS | {
    "medmcqa": "data/train-00000-of-00001.parquet",
}
# By dataset: a field that every record needs, and whether a field has the id of the record.
FIELDS = {
    "cxr8": ("Finding Labels", True),
    "medmcqa": ("question", True),
    "medqa": ("answer_idx", False),
    "mimic_cxr": ("subject_id", True),
    "pmc_oa": ("caption", False),
    "slake": ("answer", True),
    "vqa_rad": ("answer", True),
}
WITH_ARCHIVES = ("breast_ultrasound", "cxr8", "iu_xray", "omnimedvqa", "pmc_oa", "pmc_vqa", "slake")
NUM_RECORDS = 6
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n"), max_size=8)


def decode(name: str, data: bytes) -> list[Any]:
    """The records of a file: objects, table rows (the header first) or lines."""
    if name.endswith(".parquet"):
        return pq.read_table(io.BytesIO(data)).to_pylist()
    text = (gzip.decompress(data) if name.endswith(".gz") else data).decode()
    if name.endswith(".jsonl"):
        return [json.loads(line) for line in text.splitlines()]
    if name.endswith(".json"):
        records = json.loads(text)
        return list(records.items()) if isinstance(records, dict) else records
    return list(csv.reader(text.splitlines())) if ".csv" in name else text.splitlines()


def encode(name: str, records: list[Any], original: bytes) -> bytes:
    if name.endswith(".parquet"):
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(records, pq.read_schema(io.BytesIO(original))), buffer)
        return buffer.getvalue()
    if name.endswith(".jsonl"):
        return "".join(json.dumps(record) + "\n" for record in records).encode()
    if name.endswith(".json"):
        return json.dumps(dict(records) if isinstance(json.loads(original), dict) else records).encode()
    if ".csv" not in name:
        return "".join(f"{line}\n" for line in records).encode()
    buffer_text = io.StringIO()
    csv.writer(buffer_text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(records)
    data = buffer_text.getvalue().encode()
    return gzip.compress(data, 1) if name.endswith(".gz") else data


def rewrite(raw: Path, place: str, edit: Callable[[list[Any]], list[Any]]) -> None:
    name = place.rpartition(":")[2]
    change(raw, place, lambda data: encode(name, edit(decode(name, data)), data))


def shorten(raw: Path, place: str) -> None:
    rewrite(raw, place, lambda records: records[: NUM_RECORDS + (".csv" in place)])


def replace(record: Any, field: int, value: Any, text: str) -> Any:
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
    if "cop" in record:  # MedMCQA's Parquet file, whose columns have types
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


@pytest.mark.parametrize("dataset_id", sorted(PLACES))
def test_one_record_gives_one_row_whatever_it_holds(dataset_id: str, copy_of: Callable[[str], Path]) -> None:
    raw, place = copy_of(dataset_id), PLACES[dataset_id]
    shorten(raw, place)
    name = place.partition(":")[0]
    whole = (raw / name).read_bytes()
    num_rows = len(read_rows(dataset_id, raw) or ())
    assert num_rows

    @settings(max_examples=25, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, NUM_RECORDS), st.integers(0, 20), JSON | st.just(...), TEXT)
    @example(1, 0, "", "")
    @example(1, 20, "", "")
    def check(number: int, field: int, value: Any, text: str) -> None:
        (raw / name).write_bytes(whole)

        def edit(records: list[Any]) -> list[Any]:
            at = max(number, 1 if ".csv" in place else 0) % len(records)
            return [*records[:at], replace(records[at], field, value, text), *records[at + 1 :]]

        rewrite(raw, place, edit)
        rows = read_rows(dataset_id, raw)
        # A sibling file may still list the record under its old id.
        assert rows is None or num_rows <= len(rows) <= num_rows + 1

    check()


@pytest.mark.parametrize("dataset_id", sorted(FIELDS))
def test_a_renamed_field_is_one_line_that_names_it(dataset_id: str, copy_of: Callable[[str], Path]) -> None:
    raw, (field, _) = copy_of(dataset_id), FIELDS[dataset_id]

    def rename(records: list[Any]) -> list[Any]:
        if isinstance(records[0], list):
            return [[f"{name}_" if name == field else name for name in records[0]], *records[1:]]
        return [{f"{key}_" if key == field else key: value for key, value in record.items()} for record in records]

    if PLACES[dataset_id].endswith(".parquet"):
        path = raw / PLACES[dataset_id]
        table = pq.read_table(path)
        pq.write_table(table.rename_columns([f"{n}_" if n == field else n for n in table.column_names]), path)
    else:
        rewrite(raw, PLACES[dataset_id], rename)
    with pytest.raises(SourceError, match=f"no (column|field) `{field}`") as error:
        list(SETS[dataset_id].read(raw))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dataset_id", sorted(key for key, (_, has_id) in FIELDS.items() if has_id))
def test_an_id_that_comes_twice_is_rejected_the_second_time(dataset_id: str, copy_of: Callable[[str], Path]) -> None:
    raw, place = copy_of(dataset_id), PLACES[dataset_id]
    shorten(raw, place)
    rewrite(raw, place, lambda records: [*records, records[-1]])
    after = read_rows(dataset_id, raw) or []
    assert [row.reason for row in after if isinstance(row, Rejected) and row.reason is Reason.ID_REPEATED] == [
        Reason.ID_REPEATED
    ]


@pytest.mark.parametrize(
    "dataset_id", sorted({"breast_ultrasound", "cxr8", "iu_xray", "omnimedvqa", "pmc_oa", "pmc_vqa", "slake"})
)
def test_memory_does_not_grow_with_the_images(dataset_id: str, copy_of: Callable[[str], Path]) -> None:
    raw = copy_of(dataset_id)
    image = bytes(range(256)) * 400  # readers do not decode
    num_images = 0

    def enlarge(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
        nonlocal num_images
        is_image = name.endswith(faults.IMAGES)
        num_images += is_image
        yield name, num_images.to_bytes(8, "big") + image if is_image else data

    assert faults.change_archives(raw, enlarge)
    tracemalloc.start()
    assert sum(isinstance(row, Sample) for row in SETS[dataset_id].read(raw)) > 40
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < num_images * len(image) / 5
