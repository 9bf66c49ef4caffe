"""Records with arbitrary content: each gives one sample or one rejection, or the file is refused in one line."""

from __future__ import annotations

import csv
import json
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmedq.datasets import DATASETS
from openmedq.errors import SourceError
from openmedq.schema import Reason, Rejected, Sample

TRAINING = "ImageClef-2019-VQA-Med-Training"
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
PMC_VQA = {"Figure_path": "a.jpg", "Question": "?", "Answer": "x", "Answer_label": "A"} | {
    f"Choice {letter}": f" {letter}: {word}" for letter, word in zip("ABCD", "wxyz", strict=True)
}


def to_json(path: Path, records: Any) -> None:
    path.write_text(json.dumps(records), encoding="utf-8")


def to_lines(path: Path, records: Any) -> None:
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")


def to_object(path: Path, records: Any) -> None:
    to_json(path, {f"{number}": record for number, record in enumerate(records)})


def load(path: Path) -> list[Any]:
    """Some records of the miniature."""
    text = path.read_text(encoding="utf-8")
    records = [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else json.loads(text)
    return [*(records.values() if isinstance(records, dict) else records)][:4]


def changed(record: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The record with up to two fields removed or replaced by any value."""
    changes = st.dictionaries(st.sampled_from(sorted(record)), st.just(...) | ANY, max_size=2)
    return changes.map(lambda new: {key: value for key, value in (record | new).items() if value is not ...})


def check(set_id: str, raw: Path, num_records: int | None) -> None:
    """As many rows as records (any number for None), with unique ids; or an error of one line."""
    rows: list[Sample | Rejected] = []
    try:
        rows.extend(DATASETS[set_id].read(raw))
    except SourceError as error:
        assert "\n" not in str(error)
    else:
        found = [row for row in rows if getattr(row, "reason", None) is not Reason.RECORD_ABSENT]
        assert num_records in (None, len(found))
    assert len({row.id for row in rows}) == len(rows)
    assert all("\n" not in row.id for row in rows)


@pytest.fixture
def raw_of(copy_of: Callable[[str], Path]) -> Callable[..., Path]:
    """A copy of the miniature with only some of its record files."""

    def prepare(set_id: str, *kept: str) -> Path:
        raw = copy_of(set_id)
        for path in [path for path in raw.rglob("*") if path.suffix in (".json", ".csv", ".parquet", ".arrow")]:
            if path.name not in (*kept, "test_ground_truth.json"):
                path.unlink()
        return raw

    return prepare


@pytest.mark.parametrize(
    ("set_id", "name", "write"),
    [
        ("slake", "train.json", to_json),
        ("vqa_rad", "VQA_RAD Dataset Public.json", to_json),
        ("pmc_oa", "pmc_oa.jsonl", to_lines),
        ("pubmedqa", "ori_pqal.json", to_object),
    ],
)
@settings(max_examples=60)
@given(data=st.data())
def test_objects(
    set_id: str,
    name: str,
    write: Callable[[Path, Any], None],
    raw_of: Callable[..., Path],
    data: st.DataObject,
    cache: dict[str, Any],
) -> None:
    if not cache:
        cache["raw"] = raw = raw_of(set_id, name)
        cache["path"] = next(raw.rglob(name))
        cache["records"] = st.tuples(*map(changed, load(cache["path"])), ANY).map(list)
    records = data.draw(cache["records"])
    write(cache["path"], records)
    check(set_id, cache["raw"], len(records))


@pytest.fixture
def cache() -> dict[str, Any]:
    """State that the examples of one test share."""
    return {}


def values(kind: pa.DataType) -> st.SearchStrategy[Any]:
    """Any value of a column type."""
    if pa.types.is_struct(kind):
        return st.none() | st.fixed_dictionaries({field.name: values(field.type) for field in kind})
    if pa.types.is_list(kind):
        return st.none() | st.lists(values(kind.value_type), max_size=3)
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
    for matches, strategy in (
        (pa.types.is_string, text),
        (pa.types.is_binary, st.binary(max_size=4)),
        (pa.types.is_boolean, st.booleans()),
        (pa.types.is_integer, st.integers(-2, 4)),
    ):
        if matches(kind):
            return st.none() | strategy
    return st.none() | st.just(0.5)


def num_samples(set_id: str, row: dict[str, Any]) -> int:
    if set_id != "ubench":
        return 1
    columns = [row[kind] or {} for kind in ("questions", "captions")]
    return max(1, sum(entry is not None and any(entry.values()) for column in columns for entry in column.values()))


@pytest.mark.parametrize(
    ("set_id", "name"),
    [
        ("pathvqa", "train-00000-of-00007-f2d0e9ef9f022d38.parquet"),
        ("pubmedqa", "train-00000-of-00001.parquet"),
        ("ubench", "ubench-test-00000-of-00007.arrow"),
    ],
)
@settings(max_examples=60)
@given(data=st.data())
def test_tables(
    set_id: str, name: str, raw_of: Callable[..., Path], data: st.DataObject, cache: dict[str, Any]
) -> None:
    if not cache:
        cache["raw"] = raw = raw_of(set_id, name)
        path = cache["path"] = sorted(raw.rglob(name))[0]
        table = pq.read_table(path) if path.suffix == ".parquet" else pa.ipc.open_stream(path.read_bytes()).read_all()
        for other in sorted(raw.rglob(name))[1:]:
            other.unlink()
        good = table.slice(0, 3).to_pylist()
        cache["schema"] = table.schema
        change = st.sampled_from(list(table.schema)).flatmap(
            lambda each: st.tuples(st.just(each.name), values(each.type))
        )
        changes = st.lists(change, max_size=4).map(dict)
        cache["rows"] = st.tuples(*(changes for _ in good)).map(
            lambda new: [row | it for row, it in zip(good, new, strict=True)]
        )
    rows = data.draw(cache["rows"])
    table = pa.Table.from_pylist(rows, cache["schema"])
    if name.endswith(".parquet"):
        pq.write_table(table, cache["path"])
    else:
        with pa.OSFile(str(cache["path"]), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    check(set_id, cache["raw"], sum(num_samples(set_id, row) for row in rows))


FIELD = st.text(st.characters(exclude_characters="\n\r\ufeff"), max_size=6) | st.sampled_from(
    ["", "A", "B:", " C: c", "a.jpg", "synpic1", "ROCO_00020", "plane", "#", "(a) b", "../x", "\udce9", "test", "NULL"]
)
ROWS = st.lists(st.lists(FIELD, min_size=1, max_size=9), max_size=5)


def write_rows(path: Path, header: Iterable[str], rows: list[list[str]], separator: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", errors="surrogatepass", newline="") as file:
        if separator == ",":
            csv.writer(file).writerows([list(header), *rows])
        else:
            file.write("".join(f"{separator.join(row)}\n" for row in rows))


@settings(max_examples=100)
@given(rows=ROWS)
def test_lines(tmp_path: Path, rows: list[list[str]]) -> None:
    write_rows(tmp_path / "vqa" / "train.csv", PMC_VQA, rows, ",")
    check("pmc_vqa", tmp_path / "vqa", len(rows))
    path = tmp_path / "med" / TRAINING / "All_QA_Pairs_train.txt"
    write_rows(path, (), rows, "|")
    check("vqa_med_2019", tmp_path / "med", sum(bool("|".join(row).strip()) for row in rows))
    for name in ("captions", "cuis", "dlinks"):
        write_rows(tmp_path / f"roco/data/train/radiology/{name}.txt", (), rows, "\t")
    check("roco", tmp_path / "roco", None)  # a line without an id continues the caption above it


def write_large(set_id: str, raw: Path, num_rows: int) -> None:
    text = "word " * 400
    if set_id == "pmc_oa":
        to_lines(raw / "pmc_oa.jsonl", [{"image": "a.jpg", "caption": text}] * num_rows)
    elif set_id == "pmc_vqa":
        write_rows(raw / "train.csv", PMC_VQA, [list((PMC_VQA | {"Question": text}).values())] * num_rows, ",")
    elif set_id == "roco":
        rows = [[f"ROCO_{number:05}", "", text] for number in range(num_rows)]
        for name in ("captions", "keywords", "cuis", "semtypes"):
            write_rows(raw / f"data/train/radiology/{name}.txt", (), rows, "\t")
    else:
        records = [{"image": {"bytes": text.encode()}, "question": "?", "answer": "yes"}] * num_rows
        pq.write_table(pa.Table.from_pylist(records), raw / "train-00000-of-00001.parquet")


@pytest.mark.parametrize("set_id", ["pathvqa", "pmc_oa", "pmc_vqa", "roco"])
def test_memory_does_not_grow_with_the_files(tmp_path: Path, set_id: str) -> None:
    def measure(num_rows: int) -> int:
        write_large(set_id, tmp_path, num_rows)
        tracemalloc.start()
        assert sum(1 for _ in DATASETS[set_id].read(tmp_path)) == num_rows
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    measure(1)
    assert measure(3000) < measure(300) + 2**19  # 6 MB of text
