import codecs
import gzip
from itertools import cycle

import pytest

from tests.datasets import faults
from tests.datasets.conftest import FolderOf

TEXTS = (".json", ".jsonl", ".csv", ".txt", ".gz")
MARKS = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-8": codecs.BOM_UTF8, "utf-16-be": codecs.BOM_UTF16_BE}


@pytest.mark.parametrize(
    "dataset_id",
    [
        *("cxr8", "medfmc_chest", "medqa", "mimic_cxr", "omnimedvqa", "pmc_oa", "pmc_vqa", "pubmedqa", "roco"),
        *("slake", "ubench", "vqa_med_2019", "vqa_rad"),
    ],
)
def test_a_byte_order_mark_changes_no_row(dataset_id: str, copy_of: FolderOf) -> None:
    """Each file has another encoding than the one before."""
    raw, encodings = copy_of(dataset_id), cycle(MARKS)

    def encode(data: bytes) -> bytes:
        encoding = next(encodings)
        return MARKS[encoding] + data.decode().encode(encoding)

    expected = faults.read(dataset_id, raw)
    for path in faults.find_files(raw):
        if path.suffix == ".zip":
            members = faults.members_of(path).items()
            texts = {name: encode(data) for name, data in members if name.endswith(TEXTS[:-1])}
            faults.pack(path, {**dict(members), **texts})
        elif path.name.endswith(".csv.gz"):
            path.write_bytes(gzip.compress(encode(gzip.decompress(path.read_bytes()))))
        elif path.suffix in TEXTS and not path.name.endswith(".tar.gz"):
            path.write_bytes(encode(path.read_bytes()))
    assert faults.read(dataset_id, raw) == expected
