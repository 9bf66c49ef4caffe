"""The records in a miniature's files: decode, edit and encode them, whatever the format."""

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from openmedq.schema import Rejected, Sample
from tests.datasets import faults
from tests.datasets.faults import SETS

NUM_RECORDS = 6
TYPED = (".parquet", ".arrow")
_PAIRS = "ImageClef-2019-VQA-Med-Training.zip:ImageClef-2019-VQA-Med-Training/All_QA_Pairs_train.txt"
# By dataset: the text file with a split's records; after the colon, a member of an archive.
RECORDS = {
    "cxr8": "Data_Entry_2017_v2020.csv",
    "medfmc_chest": "data_backup/MedFMC/chest/trainval.txt",
    "medfmc_colon": "data_backup/MedFMC/colon/trainval.txt",
    "medfmc_endo": "data_backup/MedFMC/endo/trainval.txt",
    "medqa": "data_clean.zip:4_options/phrases_no_exclude_train.jsonl",
    "mimic_cxr": "mimic-cxr-2.0.0-split.csv.gz",
    "omnimedvqa": "OmniMedVQA.zip:Open-access/ACRIMA.json",
    "pmc_oa": "pmc_oa.jsonl",
    "pmc_vqa": "train.csv",
    "pubmedqa": "data/ori_pqal.json",
    "roco": "data/train/radiology/captions.txt",
    "slake": "train.json",
    "vqa_med_2019": _PAIRS,
    "vqa_rad": "VQA_RAD Dataset Public.json",
}
# By dataset: a table whose columns have types.
TABLES = {
    "medmcqa": "data/train-00000-of-00001.parquet",
    "pathvqa": "data/train-00000-of-00007-f2d0e9ef9f022d38.parquet",
    "pubmedqa": "pqa_artificial/train-00000-of-00001.parquet",
    "ubench": "perception/0.1.0/ubench-test-00000-of-00007.arrow",
}


def change(raw: Path, place: str, edit: Callable[[bytes], bytes]) -> None:
    """Edit the bytes of a file below `raw`, or of an archive's member."""
    name, _, member = place.partition(":")
    path = raw / name
    if not member:
        path.write_bytes(edit(path.read_bytes()))
        return
    members = faults.members_of(path)
    faults.pack(path, {each: edit(data) if each.endswith(member) else data for each, data in members.items()})


def rewrite(raw: Path, place: str, edit: Callable[[list[Any]], list[Any]]) -> None:
    name = place.rpartition(":")[2]
    change(raw, place, lambda data: encode(name, edit(decode(name, data)), data))


def shorten(raw: Path, place: str) -> None:
    rewrite(raw, place, lambda records: records[: NUM_RECORDS + (".csv" in place)])


def decode(name: str, data: bytes) -> list[Any]:
    """The records of a file: objects, table rows (the header first) or lines."""
    if name.endswith(TYPED):
        return read_table(name, data).to_pylist()
    text = (gzip.decompress(data) if name.endswith(".gz") else data).decode()
    if name.endswith(".jsonl"):
        return [json.loads(line) for line in text.splitlines()]
    if name.endswith(".json"):
        records = json.loads(text)
        return list(records.items()) if isinstance(records, dict) else records
    return list(csv.reader(text.splitlines())) if ".csv" in name else text.splitlines()


def encode(name: str, records: list[Any], original: bytes) -> bytes:
    """The bytes of a file; a lone surrogate in a text becomes the byte that it stands for."""
    if name.endswith(TYPED):
        return write_table(name, pa.Table.from_pylist(records, read_table(name, original).schema))
    if name.endswith(".jsonl"):
        return "".join(json.dumps(record) + "\n" for record in records).encode()
    if name.endswith(".json"):
        return json.dumps(dict(records) if isinstance(json.loads(original), dict) else records).encode()
    if ".csv" not in name:
        return "".join(f"{line}\n" for line in records).encode("utf-8", "surrogateescape")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(records)
    data = text.getvalue().encode("utf-8", "surrogateescape")
    return gzip.compress(data, 1) if name.endswith(".gz") else data


def read_table(name: str, data: bytes) -> pa.Table:
    return pq.read_table(io.BytesIO(data)) if name.endswith(".parquet") else pa.ipc.open_stream(data).read_all()


def write_table(name: str, table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    if name.endswith(".parquet"):
        pq.write_table(table, buffer)
    else:
        with pa.ipc.new_stream(buffer, table.schema) as writer:
            writer.write_table(table)
    return buffer.getvalue()


def update(header: Any, record: Any, changes: Any) -> Any:
    """The record with changes: a dict of fields, of which `...` removes one, or a whole line."""
    if isinstance(record, str):
        return changes
    if isinstance(record, tuple):  # key and value of an object
        return record[0], update(None, record[1], changes)
    if isinstance(record, list):
        return [changes.get(name, value) for name, value in zip(header, record, strict=True)]
    return {name: value for name, value in (record | changes).items() if value is not ...}


class Changed:
    """Reads the first record of a miniature with changes."""

    def __init__(self, dataset_id: str, raw: Path, place: str) -> None:
        self._dataset, self.raw, self._place = SETS[dataset_id], raw, place
        shorten(raw, place)
        name, _, member = place.partition(":")
        self._file = raw / name
        self._whole = self._file.read_bytes()
        self.first = next(
            row
            for row in self._dataset.read(raw)
            if isinstance(row, Sample)
            and row.provenance.file == name
            and member.rpartition("/")[2] in row.provenance.record
        )

    def rows(self, changes: Any) -> list[Sample | Rejected]:
        """The rows with the changed record; each call changes the published record."""
        self._file.write_bytes(self._whole)
        at = int(".csv" in self._place)

        def edit(records: list[Any]) -> list[Any]:
            return [*records[:at], update(records[0], records[at], changes), *records[at + 1 :]]

        rewrite(self.raw, self._place, edit)
        return list(self._dataset.read(self.raw))

    def read(self, changes: Any) -> Sample | Rejected:
        (row,) = [row for row in self.rows(changes) if row.provenance == self.first.provenance]
        return row

    def sample(self, changes: Any) -> Sample:
        """The row of the changed record, which must be a sample."""
        row = self.read(changes)
        assert isinstance(row, Sample), row
        return row


ChangedOf = Callable[..., Changed]  # from the id of a dataset, and a file of its records
