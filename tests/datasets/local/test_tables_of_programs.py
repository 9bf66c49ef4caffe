import json
import unicodedata
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openmedq.errors import SourceError
from openmedq.schema import Reason
from openmedq.storage.pseudonyms import open_pseudonyms
from tests.stages import owndata

pytestmark = pytest.mark.usefixtures("empty_folder")


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_csv_may_have_semicolons_or_tabs(delimiter: str) -> None:
    owndata.write_images("a.png")
    rows = (("q", "a", "file"), ('"Where, exactly?"', "left", "a.png"))
    Path("own/table.csv").write_text("\n".join(map(delimiter.join, rows)), encoding="utf-16")
    samples, rejected = owndata.read()
    assert not rejected and samples["2"].turns[0].question == "Where, exactly?"


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_umlauts_of_file_names_may_be_composed_or_not(form: str) -> None:
    owndata.write_images(unicodedata.normalize(form, "Größe/Mäx.PNG"))
    forms = ("NFC", "NFD")
    owndata.write_csv(
        {"q": "Where?", "a": "left", "file": unicodedata.normalize(each, name)}
        for name in ("Größe/Mäx.png", "Mäx.png")
        for each in forms
    )
    assert owndata.read()[1] == {}


def test_nan_that_pandas_wrote_is_an_empty_field() -> None:
    owndata.write_images("a.png")
    row = {"q": "Where?", "a": "left", "file": "a.png", "who": "nan"}
    owndata.write_csv([row, row | {"a": "nan"}, row | {"file": "NaN"}, row | {"a": "nan of iron"}])
    samples, rejected = owndata.read(columns=owndata.COLUMNS | {"patient": "who"})
    assert {key: item.reason for key, item in rejected.items()} == {"3": Reason.ANSWER_EMPTY, "4": Reason.FIELD_MISSING}
    assert [each.groups.patient for each in samples.values()] == [None, None]


def test_whole_numbers_that_pandas_wrote_beside_a_null_are_whole() -> None:
    owndata.write_images("a.png")
    row = {"q": "How many?", "a": 3.0, "file": "a.png", "who": 12.0}
    pq.write_table(pa.Table.from_pylist([row, row | {"a": 2.5, "who": None}]), "own/table.parquet")
    one, other = owndata.read(table="table.parquet", columns=owndata.COLUMNS | {"patient": "who"})[0].values()
    assert (one.turns[0].answer, other.turns[0].answer) == ("3", "2.5")
    assert (one.groups.patient, other.groups.patient) == (open_pseudonyms()("12"), None)


@pytest.mark.parametrize("kind", ["parquet", "json"])
def test_a_table_that_datasets_wrote_has_json_lines_and_paths_of_images(kind: str) -> None:
    owndata.write_images("x/a.png")
    rows = [{"q": f"{part}?", "a": "left", "file": str(Path("own/img/x/a.png").resolve())} for part in "ab"]
    table = datasets.Dataset.from_list(rows).cast_column("file", datasets.Image())
    if kind == "parquet":
        table.to_parquet("own/table.parquet")
    else:
        table.cast_column("file", datasets.Image(decode=False)).to_json("own/table.json")
    samples, rejected = owndata.read(table=f"table.{kind}")
    assert not rejected and {key: each.images[0].image_id for key, each in samples.items()} == dict.fromkeys(
        "12", "x/a.png"
    )


def test_two_columns_of_one_name_in_parquet_are_an_error() -> None:
    owndata.write_images("a.png")
    texts = [pa.array([text]) for text in ("Where?", "left", "a.png", "right")]
    pq.write_table(pa.Table.from_arrays(texts, names=["q", "a", "file", "a"]), "own/table.parquet")
    with pytest.raises(SourceError, match=r"^own/table\.parquet: two columns are named `a`; rename or remove one"):
        owndata.read(table="table.parquet")


def test_a_header_that_is_not_utf8_is_one_line() -> None:
    owndata.write_images("a.png")
    Path("own/table.csv").write_text("q;Größe;file\nWhere?;left;a.png\n", encoding="latin-1")
    with pytest.raises(SourceError, match=r"no column `Größe`; its header is not UTF-8; save it as UTF-8, in Excel as"):
        owndata.read(columns=owndata.COLUMNS | {"answer": "Größe"})


def test_spellings_of_one_image_are_in_one_split() -> None:
    owndata.write_images(*(f"x/{number}.png" for number in range(20)))
    spelled = ("x/{}.png", "x\\{}.PNG", "{}.png", "./x/{}.png")
    owndata.write_csv(
        {"q": f"{place}?", "a": "b", "file": name.format(number)}
        for number in range(20)
        for place, name in enumerate(spelled)
    )
    splits: dict[str, set[str]] = {}
    for sample in owndata.read(shares={"train": 0.5, "test": 0.5})[0].values():
        splits.setdefault(sample.images[0].image_id, set()).add(sample.split)
    assert len(splits) == 20 and all(len(each) == 1 for each in splits.values())


def test_a_json_of_lists_by_split_is_read_as_r2gen_writes_it() -> None:
    owndata.write_images("CXR1/0.png", "CXR1/1.png")
    record = {"id": "CXR1", "report": "Clear lungs.", "image_path": ["CXR1/0.png", "CXR1/1.png"]}
    bad = [record | {"image_path": ["none.png"]}, record | {"report": ""}]
    lists = {"train": [record, bad[0]], "val": [record], "test": [bad[1]]}
    Path("own/annotation.json").write_text(json.dumps(lists))
    columns = {"answer": "report", "image": "image_path", "split": "split"}
    roles = {"train": "train", "val": "validation", "test": "evaluation"}
    samples, rejected = owndata.read(table="annotation.json", task="report", columns=columns, roles=roles)
    assert {key: (each.split, len(each.images)) for key, each in samples.items()} == {
        "train-1": ("train", 2),
        "val-1": ("val", 2),
    }
    assert {key: each.reason for key, each in rejected.items()} == {
        "train-2": Reason.IMAGE_MISSING,
        "test-1": Reason.ANSWER_EMPTY,
    }
    del columns["split"]
    again, _ = owndata.read(table="annotation.json", task="report", columns=columns, roles=roles)
    assert again == samples
    _, rejected = owndata.read(table="annotation.json", task="report", columns=columns, roles={"train": "train"})
    assert rejected["val-1"].detail == "field `split`: local.own.roles has train"


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_a_field_split_is_read_unless_another_or_shares_are_declared(kind: str) -> None:
    owndata.write_images("a.png")
    rows = [
        {"q": "Where?", "a": "left", "file": "a.png", "split": split, "fold": "test"} for split in ("train", "test")
    ]
    owndata.write_csv(rows)
    owndata.write_json(rows)
    for changes, splits in (
        ({}, ["train", "test"]),
        ({"columns": owndata.COLUMNS | {"split": "fold"}}, ["test", "test"]),
        ({"shares": {"validation": 0.999, "test": 0.001}}, ["validation", "validation"]),
    ):
        assert [each.split for each in owndata.read(table=f"table.{kind}", **changes)[0].values()] == splits
