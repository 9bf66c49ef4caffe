"""Text files in other encodings with a byte order mark yield the same rows."""

import codecs
import gzip

import pytest

from tests.datasets import faults
from tests.datasets.conftest import SETS, FolderOf

TEXTS = (".json", ".jsonl", ".csv", ".txt", ".gz")
MARKS = {
    "utf-8": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
}


def encode(data: bytes, encoding: str) -> bytes:
    return MARKS[encoding] + data.decode().encode(encoding)


@pytest.mark.parametrize("encoding", MARKS)
@pytest.mark.parametrize(
    "dataset_id",
    [
        *("cxr8", "medfmc_chest", "medqa", "mimic_cxr", "omnimedvqa", "pmc_oa", "pmc_vqa", "pubmedqa", "roco"),
        *("slake", "ubench", "vqa_med_2019", "vqa_rad"),
    ],
)
def test_a_byte_order_mark_changes_no_row(dataset_id: str, encoding: str, copy_of: FolderOf) -> None:
    raw = copy_of(dataset_id)
    expected = [(type(row), row.id, getattr(row, "turns", None)) for row in SETS[dataset_id].read(raw)]
    for path in [path for path in raw.rglob("*") if path.is_file()]:
        if path.suffix == ".zip":
            members = faults.members_of(path).items()
            texts = {name: encode(data, encoding) for name, data in members if name.endswith(TEXTS[:-1])}
            faults.pack(path, {**dict(members), **texts})
        elif path.name.endswith(".csv.gz"):
            path.write_bytes(gzip.compress(encode(gzip.decompress(path.read_bytes()), encoding)))
        elif path.suffix in TEXTS and not path.name.endswith(".tar.gz"):
            path.write_bytes(encode(path.read_bytes(), encoding))
    assert [(type(row), row.id, getattr(row, "turns", None)) for row in SETS[dataset_id].read(raw)] == expected
