"""Cut files: whole records are kept, the cut one is rejected, and so are those that only a sibling file lists."""

import gzip
from pathlib import Path

import pytest

from openmedq.datasets.fields import Unusable
from openmedq.datasets.readers.tables import stream_table
from openmedq.errors import SourceError
from openmedq.schema import Reason, Rejected, Sample
from tests.datasets.conftest import SETS, FolderOf
from tests.datasets.records import RECORDS, change

# A sibling file lists the records too, so that a cut file yields as many rows as the whole one.
LINES = {"medfmc_chest", "medfmc_colon", "medfmc_endo"}  # a cut line lacks its labels
WITH_SIBLINGS = {"cxr8", "mimic_cxr", "roco", "vqa_med_2019"}


def cut(data: bytes) -> bytes:
    """The first half, cut within the first field of a line."""
    half = data[: len(data) // 2]
    return half if half[:2] == b"\x1f\x8b" or half.count(b"\n") == 0 else half[: half.rindex(b"\n") + 4]


@pytest.mark.parametrize("dataset_id", sorted(RECORDS))
def test_whole_records_are_kept_and_the_rest_is_rejected(dataset_id: str, copy_of: FolderOf) -> None:
    raw = copy_of(dataset_id)
    before = {row.id: row for row in SETS[dataset_id].read(raw)}
    change(raw, RECORDS[dataset_id], cut)
    after = list(SETS[dataset_id].read(raw))
    assert len({row.id for row in after}) == len(after)
    kept = [row for row in after if isinstance(row, Sample)]
    assert kept
    for row in kept if not dataset_id.startswith("medfmc") else ():  # whose tables provide what a list lacks
        assert (row.turns, row.split) == (before[row.id].turns, before[row.id].split)
    reasons = {row.reason for row in after if isinstance(row, Rejected)}
    assert (Reason.FIELD_MISSING if dataset_id in LINES else Reason.FILE_TRUNCATED) in reasons
    if dataset_id in WITH_SIBLINGS:
        assert Reason.RECORD_ABSENT in reasons
        num_unlisted = sum(row.split == "unlisted" for row in before.values())  # which no list names
        assert len(before) - num_unlisted <= len(after) <= len(before) + 1


@pytest.mark.parametrize("rest", ['1,"b', '1,"b\nc', "1", ""])
def test_a_row_that_the_end_cuts_is_one_rejected_row(tmp_path: Path, rest: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"n,t\n0,a\n{rest}", encoding="utf-8")
    (_, first), *others = stream_table(path, ["n"])
    assert first == {"n": "0", "t": "a"}
    assert [isinstance(row, Unusable) and row.reason for _, row in others] == [Reason.FILE_TRUNCATED] * bool(rest)


def test_a_quote_far_above_the_end_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('n,t\n0,"a\n' + "1,b\n" * 200, encoding="utf-8")
    with pytest.raises(SourceError, match=r"t\.csv: line 2: a quote is never closed; get the file again"):
        list(stream_table(tmp_path / "t.csv", ["n"]))


def test_a_gzip_that_ends_early_keeps_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    whole = gzip.compress(b"a\n" + b"".join(b"%d\n" % (n * n) for n in range(10_000)))
    for data in (whole[: len(whole) // 2], whole[:-4]):
        path.write_bytes(data)
        *rows, (_, last) = stream_table(path, ["a"])
        assert [row for _, row in rows] == [{"a": str(n * n)} for n in range(len(rows))]
        assert isinstance(last, Unusable)
        assert last.reason is Reason.FILE_TRUNCATED
    assert len(rows) == 10_000
