import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openmedq import paths
from openmedq.datasets.local import llava
from openmedq.errors import ParamsError, SourceError
from openmedq.schema import Reason, Task
from tests.curate.corpus import make_params
from tests.stages import owndata, toyset
from tests.storage.test_dicom import make_dicom

pytestmark = pytest.mark.usefixtures("empty_folder")

ROWS = [{"q": "Where?", "a": "left", "file": "a.png"}, {"q": "Is it?", "a": "yes", "file": "b.png"}]


def _write_table(kind: str, rows: list[dict[str, Any]]) -> str:
    path = Path(f"own/table.{kind}")
    if kind == "csv":
        owndata.write_csv(rows)
    elif kind == "jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    elif kind == "json":
        owndata.write_json(rows)
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path.name


@pytest.mark.parametrize(("kind", "ids"), [("csv", "23"), ("jsonl", "12"), ("json", "12"), ("parquet", "12")])
def test_a_table_is_read_in_each_format(kind: str, ids: str) -> None:
    owndata.write_images("a.png", "b.png")
    samples, rejected = owndata.read(table=_write_table(kind, ROWS))
    assert not rejected and list(samples) == list(ids)
    first, second = samples.values()
    assert (first.turns[0].question, first.turns[0].answer, first.split) == ("Where?", "left", "train")
    assert [image.image_id for image in first.images] == ["a.png"]
    assert (first.attributes, second.attributes) == ({"answer_type": "open"}, {"answer_type": "closed"})


def test_every_column_reaches_its_place_and_patients_are_pseudonyms() -> None:
    owndata.write_images("a.png")
    row = {"q": "Which?", "a": "b", "file": "a.png", "o": "red|blue", "c": "Seen today.", "s": "test"}
    owndata.write_csv([row | {"p": "Doe, Jane", "st": "17", "l": "MIT", "t": "multiple_choice"}])
    more = {"options": "o", "context": "c", "split": "s", "patient": "p", "study": "st", "licence": "l", "task": "t"}
    samples, _ = owndata.read(columns=owndata.COLUMNS | more)
    sample = samples["2"]
    assert (sample.task, sample.split, sample.licence) == (Task.MULTIPLE_CHOICE, "test", "MIT")
    (turn,) = sample.turns
    assert (turn.answer, turn.options, turn.context) == ("blue", ("red", "blue"), "Seen today.")
    again, _ = owndata.read(columns=owndata.COLUMNS | more)
    assert again["2"].groups == sample.groups
    assert sample.groups.patient and len(sample.groups.patient) == 24 and sample.groups.study
    paths.SALT.unlink()
    other, _ = owndata.read(columns=owndata.COLUMNS | more)
    assert other["2"].groups.patient != sample.groups.patient


@pytest.mark.parametrize(
    ("options", "answer", "expected"),
    [
        (["x", "", "y"], "C", "y"),
        ("x||y", "c", "y"),
        (["x", "", "y"], "B", None),
        ({"B": "y", "A": "x"}, "A", "x"),
        ({"a": "x", "b": None, "c": "y"}, "C", "y"),
        (["x"] * 28 + ["y"], "2", None),
    ],
)
def test_a_letter_names_the_option_at_its_place(options: object, answer: str, expected: str | None) -> None:
    owndata.write_images("a.png")
    owndata.write_json([{"q": "Which?", "a": answer, "o": options}])
    columns = {"question": "q", "answer": "a", "options": "o"}
    samples, rejected = owndata.read(task="multiple_choice", table="table.json", columns=columns)
    assert [turn.answer for sample in samples.values() for turn in sample.turns] == ([expected] if expected else [])
    assert {item.reason for item in rejected.values()} == (set() if expected else {Reason.ANSWER_NOT_AN_OPTION})


def test_images_are_found_by_path_or_unique_name_inside_the_folder_alone() -> None:
    owndata.write_images("a.png", "x/same.png", "y/same.png", "y/z/only.png")
    Path("own/secret.png").write_bytes(toyset.make_png(1))
    inside = str(Path("own/img/a.png").resolve())
    names = ["x/same.png", "only.png", "same.png", "../secret.png", "/etc/passwd", "none.png", inside, "n\0", "x" * 999]
    owndata.write_csv({"q": "Where?", "a": "left", "file": name} for name in [*names, "x/same.PNG", "only.Png"])
    samples, rejected = owndata.read()
    assert {key: sample.images[0].image_id for key, sample in samples.items()} == {
        "11": "x/same.png",
        "12": "y/z/only.png",
        "2": "x/same.png",
        "3": "y/z/only.png",
        "8": "a.png",
    }
    assert {item.reason for item in rejected.values()} == {Reason.IMAGE_MISSING}
    details = [rejected[key].detail for key in ("4", "5", "6", "7")]
    assert details[0] == "several files are named same.png; give the path"
    assert details[1:3] == [f"{name} leaves the folder of the images" for name in names[3:5]]
    assert details[3] == "no file none.png in folder img"
    assert set(rejected) == {"4", "5", "6", "7", "9", "10"}


def test_one_broken_row_of_many_is_rejected_alone() -> None:
    owndata.write_images("a.png")
    lines = [b"q,a,file", *([b"Where?,left,a.png"] * 500), b"Wh\xffre?,left,a.png", b"short", b"Where?,,a.png"]
    Path("own/table.csv").write_bytes(b"\n".join([*lines, *lines[1:501]]) + b"\n")
    samples, rejected = owndata.read()
    assert len(samples) == 1000
    assert {key: item.reason for key, item in rejected.items()} == {
        "502": Reason.NOT_UTF8,
        "503": Reason.FIELD_MISSING,
        "504": Reason.ANSWER_EMPTY,
    }


@pytest.mark.parametrize("column", ["question", "patient"])
@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl", "json"])
@pytest.mark.parametrize("is_private", [True, False])
def test_a_column_that_is_not_there_is_one_line(kind: str, column: str, is_private: bool) -> None:
    owndata.write_images("a.png", "b.png")
    table = _write_table(kind, ROWS)
    header = "its first line, .*, is not shown: the dataset is private" if is_private else "it has q, a, file"
    found = "it is in no record" if kind.startswith("json") else header
    where = rf"^own/table\.{kind}: no column `x`; {found}; correct local\.own\.columns\.{column} in params"
    with pytest.raises(SourceError, match=where):
        owndata.read(table=table, columns=owndata.COLUMNS | {column: "x"}, is_private=is_private)


def test_a_table_or_a_folder_that_is_not_there_is_one_line() -> None:
    owndata.write_images("a.png")
    with pytest.raises(SourceError, match=r"^own/other\.csv: not found; correct local\.own\.table in params\.yaml"):
        owndata.read(table="other.csv")
    with pytest.raises(SourceError, match=r"^own/pics: no such folder; set folder and images"):
        owndata.read(images="pics")


def test_a_table_without_a_record_asks_for_another_declaration_or_file() -> None:
    owndata.write_images("a.png")
    Path("own/table.csv").write_text("q,a,file\n")
    with pytest.raises(
        SourceError, match=r"^own/table\.csv: not as declared: it contains no record; correct local\.own "
    ):
        owndata.read()


def test_images_in_a_parquet_table_are_read_from_it() -> None:
    Path("own/img").mkdir(parents=True)
    image = {"bytes": toyset.make_png(1), "path": "a.png"}
    pq.write_table(pa.Table.from_pylist([{"q": "Where?", "a": "left", "file": image}]), "own/table.parquet")
    samples, _ = owndata.read(table="table.parquet")
    assert samples["1"].images[0].data == image["bytes"]


def _talk(*texts: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[place % 2], "value": text} for place, text in enumerate(texts)]


def test_llava_conversations_are_turns() -> None:
    owndata.write_images("a.png", "b.png")
    owndata.write_json(
        [
            {"id": "x", "image": "a.png", "conversations": _talk("<image>\nWhere?", "Left.", "Sure?", "Yes.")},
            {"id": "y", "image": ["a.png", "b.png"], "conversations": _talk("<image>\n<image>\nDiffer?", "No.")},
            {"id": "z", "conversations": _talk("What is a lung?", "An organ.")},
            {"id": "w", "images": ["b.png"], "conversations": _talk("Where?", "Left.")},
            {"id": "0", "image": ["a.png", "b.png"], "conversations": _talk("<image>\nWhere?", "Left.")},
            {"id": "1", "image": "a.png", "conversations": _talk("Hello?", "Yes.", "<image>\nWhere?", "Left.")},
            {"id": "2", "image": "a.png", "conversations": _talk("<image>\nWhere?")},
            {"id": "3", "image": "a.png", "conversations": _talk("<image>", "Left.")},
            {"id": "4", "image": "none.png", "conversations": _talk("<image>\nWhere?", "Left.")},
        ]
    )
    samples, rejected = owndata.read(table="table.json", columns=None)
    first, second, third, fourth = samples.values()
    assert [(turn.question, turn.answer) for turn in first.turns] == [("Where?", "Left."), ("Sure?", "Yes.")]
    assert [image.image_id for image in second.images] == ["a.png", "b.png"]
    assert (third.task, third.images) == (Task.TEXT_QA, ())
    assert (fourth.task, fourth.images[0].image_id) == (Task.VQA, "b.png")
    assert {key: item.detail for key, item in rejected.items()} == {
        "5": "1 x <image> in the first turn, 2 images in `image`",
        "6": "turn 2: <image> after the first turn is not supported",
        "7": "1 message; expected pairs of a question and an answer",
        "8": "turn 1: no question besides <image>",
        "9": "no file none.png in folder img",
    }


def test_a_slot_in_a_text_is_no_slot_of_an_export() -> None:
    owndata.write_images("a.png")
    owndata.write_csv([{"q": "<image>\nWhere?", "a": "at <image>", "file": "a.png"}])
    (sample,) = owndata.read()[0].values()
    question, answer = llava.to_conversations(sample)
    assert question["value"] == "<image>\n< image>\nWhere?" and answer["value"] == "at < image>"


@pytest.mark.parametrize("splits", [("",), ("train/", "test/")])
def test_a_folder_per_class_is_a_classification_dataset(splits: tuple[str, ...]) -> None:
    owndata.write_images(*(f"{split}{name}" for split in splits for name in ("cat/1.png", "dog/1.png", "dog/x/2.png")))
    samples, rejected = owndata.read(table=None, columns=None, task="classification")
    assert not rejected
    assert {(sample.id, sample.split, sample.labels) for sample in samples.values()} == {
        (f"own/{split}{label}/{name}", split.strip("/") or "train", (label,))
        for split in splits
        for label, name in (("cat", "1.png"), ("dog", "1.png"), ("dog", "x/2.png"))
    }


def test_shares_do_not_divide_folders_of_splits() -> None:
    owndata.write_images(*(f"{split}/{name}" for split in ("train", "test") for name in ("cat/1.png", "dog/2.png")))
    with pytest.raises(SourceError, match=r"^local\.own\.shares: its folders or records name their splits already"):
        owndata.read(table=None, columns=None, task="classification", shares={"train": 0.5, "test": 0.5})


def test_folders_that_may_be_splits_are_named(logged: Callable[[], str]) -> None:
    owndata.write_images(
        *(f"{split}/{name}" for split in ("Training", "Testing") for name in ("cat/1.png", "dog/2.png"))
    )
    owndata.read(table=None, columns=None, task="classification")
    assert logged().startswith("own/img: each folder is read as a class, but all contain folders of one name; if these")


def test_shares_divide_by_patient_and_each_row_keeps_its_split() -> None:
    owndata.write_images("a.png")
    rows = [{"q": f"{number}?", "a": "b", "file": "a.png", "who": f"P{number // 4}"} for number in range(800)]
    owndata.write_csv(rows)
    settings = {"columns": owndata.COLUMNS | {"patient": "who"}, "shares": {"train": 0.75, "test": 0.25}}
    samples, _ = owndata.read(**settings)
    splits: dict[str | None, set[str]] = {}
    for sample in samples.values():
        splits.setdefault(sample.groups.patient, set()).add(sample.split)
    assert len(splits) == 200 and all(len(each) == 1 for each in splits.values())
    num_test = sum(each == {"test"} for each in splits.values())
    assert 30 <= num_test <= 70
    owndata.write_csv(rows[400:])
    fewer, _ = owndata.read(**settings)
    assert [each.split for each in fewer.values()] == [each.split for each in samples.values()][400:]


def test_dicom_headers_give_patient_study_and_allowed_tags(logged: Callable[[], str]) -> None:
    Path("own/img").mkdir(parents=True)
    header = {"Modality": "CT", "BurnedInAnnotation": "YES", "InstitutionName": "St. Elsewhere"}
    Path("own/img/a.dcm").write_bytes(make_dicom(**header))
    owndata.write_csv([{"q": "Where?", "a": "left", "file": "a.dcm"}])
    samples, _ = owndata.read(is_private=True)
    sample = samples["2"]
    assert logged().startswith("own: text in the images of 1 row, by DICOM tag; `python -m openmedq audit --local own")
    assert sample.attributes == {"answer_type": "open", "dicom_modality": "ct", "burned_in_annotation": "yes"}
    assert sample.groups.patient and sample.groups.study
    shown = str(sample).replace(str(sample.images[0].path), "")
    assert not any(text in shown for text in ("Doe", "1.2.3", "Elsewhere", "a.dcm"))


def test_dicom_bytes_in_a_parquet_table_have_a_header_too(logged: Callable[[], str]) -> None:
    Path("own/img").mkdir(parents=True)
    row = {"q": "Where?", "a": "left", "file": make_dicom(BurnedInAnnotation="YES")}
    pq.write_table(pa.Table.from_pylist([row]), "own/table.parquet")
    samples, _ = owndata.read(table="table.parquet")
    assert logged().startswith("own: text in the images of 1 row, by DICOM tag;")
    assert samples["1"].groups.patient and samples["1"].groups.study


def test_a_split_without_a_role_is_rejected_with_the_roles() -> None:
    owndata.write_images("a.png")
    owndata.write_csv([{**ROWS[0], "s": "train"}, {**ROWS[0], "s": "dev"}])
    samples, rejected = owndata.read(columns=owndata.COLUMNS | {"split": "s"})
    assert list(samples) == ["2"]
    assert rejected["3"].detail == "field `s`: local.own.roles has train, validation, test"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"table": "x.xlsx"}, "local.own: table: 'x.xlsx' is not one of .csv, .jsonl, .parquet, .json"),
        ({"table": None}, "local.own: without a table, each folder is a class"),
        ({"columns": None}, "local.own: columns: missing; name the table's columns"),
        ({"columns": {"question": "q"}}, "local.own: columns.answer: missing; the task vqa needs answer, image"),
        ({"columns": {"anwser": "q"}}, "local.own.columns.anwser: unknown key; allowed here: question, answer"),
        ({"images": "../x"}, "local.own: table and images must be relative paths in `folder`, without .."),
        ({"shares": {"train": 0.5}}, "local.own: shares: their sum is 0.5, not 1"),
        ({"shares": {"a": 0.5, "test": 0.5}}, "local.own: shares.a: roles has no such split"),
    ],
)
def test_a_wrong_declaration_is_one_line(change: dict[str, Any], line: str) -> None:
    with pytest.raises(ParamsError) as caught:
        make_params(local={"own": {**owndata.DECLARED, **change}})
    assert line in str(caught.value) and "\n" not in str(caught.value)


def test_names_of_a_private_dataset_are_pseudonyms() -> None:
    owndata.write_images("Jane_Doe/a.png")
    owndata.write_csv([{"q": "Where?", "a": "left", "file": "Jane_Doe/a.png"}])
    samples, _ = owndata.read(is_private=True)
    assert "Jane" not in samples["2"].images[0].image_id
