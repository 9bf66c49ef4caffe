"""PMC-VQA: two versions, options and their letters, the clean test."""

import csv
from collections import Counter
from pathlib import Path

import pytest

from openmedq.datasets.pmc_vqa import card, read
from openmedq.errors import SourceError
from openmedq.schema import Groups, Reason, Rejected, Role, Sample, Task, Turn
from tests.datasets import faults
from tests.datasets.conftest import FolderOf, all_samples

NAME = "PMC1064097_F1.jpg"
RECORD = {
    "Figure_path": NAME,
    "Question": "What is seen? ",
    "Answer": "Both",
    "Choice A": " A:A mass ",
    "Choice B": " B: Both",
    "Choice C": " C:Neither, or nothing",
    "Choice D": " D:A line",
    "Answer_label": "B",
}
SECOND = {name: text for name, text in RECORD.items() if name != "Answer_label"} | {
    "index": "7",
    "Figure_path": "PMC8_Fig4_41.jpg",
    "Caption": "Both are seen.",
    "Answer": "B",
    "split": "test",
}
OPTIONS = ("A mass", "Both", "Neither, or nothing", "A line")


def write(raw: Path, name: str, records: list[dict[str, str]], header: list[str] | None = None) -> Path:
    path = raw / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header or list(records[0]))
        writer.writerows(record.values() for record in records)
    return raw


def pack(path: Path, *names: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    faults.pack(path, dict.fromkeys((f"figures/{name}" for name in names), b"not an image"))


def read_one(raw: Path, record: dict[str, str], header: list[str] | None = None) -> Sample | Rejected:
    pack(raw / "images.zip", NAME)
    write(raw, "train.csv", [record], header)
    (row,) = read(raw)
    return row


def turn_of(row: Sample | Rejected) -> Turn:
    return all_samples([row])[0].turns[0]


def test_a_record_is_kept_whole(tmp_path: Path) -> None:
    row = read_one(tmp_path, RECORD)
    assert (row.id, row.split, row.task) == ("pmc_vqa/train-1", "train", Task.MULTIPLE_CHOICE)
    assert row.turns == (Turn("What is seen?", "Both", options=OPTIONS),)
    assert row.images[0].image_id == NAME
    assert row.images[0].data == b"not an image"
    assert row.groups == Groups(article="PMC1064097")
    assert row.licence == "CC-BY-SA"
    assert row.attributes == {"version": "1", "figure": "F1"}
    assert (row.provenance.file, row.provenance.record) == ("train.csv", "row 1")
    assert card.roles == {"train": Role.TRAIN, "test": Role.EVALUATION}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"Figure_path": ""}, Reason.FIELD_MISSING),
        ({"Figure_path": "absent.jpg"}, Reason.IMAGE_MISSING),
        ({"Question": " "}, Reason.QUESTION_EMPTY),
        ({"Answer": "", "Answer_label": " "}, Reason.ANSWER_EMPTY),
        ({"Choice B": " B: "}, Reason.ANSWER_EMPTY),
        ({"Answer": "Something else", "Answer_label": "E"}, Reason.ANSWER_NOT_AN_OPTION),
        ({"Answer": "both", "Answer_label": "", "Choice D": "D:Both."}, Reason.ANSWER_NOT_AN_OPTION),
        ({"Choice A": "A:caf\udce9"}, Reason.NOT_UTF8),
    ],
)
def test_an_unusable_row_is_rejected(tmp_path: Path, changed: dict[str, str], reason: Reason) -> None:
    row = read_one(tmp_path, RECORD | changed)
    assert (row.id, row.reason, row.provenance.record) == ("pmc_vqa/train-1", reason, "row 1")
    assert "else" not in row.detail


@pytest.mark.parametrize(
    ("choices", "options"),
    [
        (["A: a", "B.b", " C ) c", "(D) d"], ("a", "b", "c", "d")),
        (["a", "b", "c", "d"], ("a", "b", "c", "d")),
        (["A: a", "b", "C: c", "D: d"], ("A: a", "b", "C: c", "D: d")),
        (["B: a", "B: b", "C: c", "D: d"], ("B: a", "B: b", "C: c", "D: d")),
        (["A", "B", "C", "D"], ("A", "B", "C", "D")),
        (["A:A:a", "B:b", "C:c", "D:d"], ("A:a", "b", "c", "d")),
    ],
)
def test_letters_are_removed_if_all_options_have_their_own(
    tmp_path: Path, choices: list[str], options: tuple[str, ...]
) -> None:
    turn = turn_of(read_one(tmp_path, RECORD | dict(zip(list(RECORD)[3:7], choices, strict=True))))
    assert turn.options == options
    assert turn.answer == options[1]


@pytest.mark.parametrize(
    ("text", "label", "answer", "attribute"),
    [
        ("Both", "B", "Both", None),
        (" B: both. ", " B ", "Both", None),
        ("", "B:", "Both", None),
        ("A line", "B", "Both", "A line"),  # another option: the label decides, the text is kept
        ("C", "B", "Both", "C"),
        ("A line", "", "A line", None),
        ("D: a LINE", "E", "A line", None),
        ("d: a LINE", "E", None, None),
        ("C", "", "Neither, or nothing", None),
    ],
)
def test_the_label_decides_which_option_is_the_answer(
    tmp_path: Path, text: str, label: str, answer: str | None, attribute: str | None
) -> None:
    row = read_one(tmp_path, RECORD | {"Answer": text, "Answer_label": label})
    if answer is None:
        assert row.reason is Reason.ANSWER_NOT_AN_OPTION
    else:
        assert (row.turns[0].answer, row.turns[0].options) == (answer, OPTIONS)
        assert row.attributes.get("answer") == attribute


@pytest.mark.parametrize("empty", ["", " ", " D: "])
def test_an_empty_option_is_dropped(tmp_path: Path, empty: str) -> None:
    assert turn_of(read_one(tmp_path, RECORD | {"Choice D": empty})).options == OPTIONS[:3]
    turn = turn_of(read_one(tmp_path, RECORD | {"Choice A": empty.replace("D", "A")}))
    assert (turn.options, turn.answer) == (OPTIONS[1:], "Both")


def test_other_spellings_are_the_same_layout(tmp_path: Path) -> None:
    headers = [
        [name.replace("Answer", "Anwser") for name in RECORD],
        [name.replace("Choice", " Choice") for name in RECORD],
        [name.lower().replace(" ", "_") for name in RECORD],
        ["\ufeffFigure_path", *list(RECORD)[1:]],
    ]
    for number, header in enumerate(headers):
        assert turn_of(read_one(tmp_path / str(number), RECORD, header)) == Turn("What is seen?", "Both", "", OPTIONS)
    for spelled in ("_2", "2"):
        raw = tmp_path / f"second{spelled}"
        pack(raw / f"images{spelled}.zip", SECOND["Figure_path"])
        (row,) = all_samples(list(read(write(raw, f"test{spelled}.csv", [SECOND]))))
        assert row.id == f"pmc_vqa/test{spelled}-1"


def test_version_2_alone_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pack(tmp_path / "images_2.zip", SECOND["Figure_path"])
    trained = SECOND | {"split": "train"}
    write(tmp_path, "train_2.csv", [trained, SECOND, trained | {"Answer": " A "}])
    write(tmp_path, "test_2.csv", [SECOND | {"split": "train"}])
    write(tmp_path, "test_clean.csv", [RECORD])
    rows = all_samples(list(read(tmp_path)))
    assert [(row.id, row.split, row.turns[0].answer) for row in rows] == [
        ("pmc_vqa/train_2-1", "train", "Both"),
        ("pmc_vqa/train_2-2", "test", "Both"),  # the row is marked as test
        ("pmc_vqa/train_2-3", "train", "A mass"),
        ("pmc_vqa/test_2-1", "test", "Both"),  # the file is the test
    ]
    assert rows[0].groups.article == "PMC8"
    assert rows[0].attributes == {"version": "2", "figure": "Fig4", "caption": "Both are seen.", "index": "7"}
    assert "test_clean.csv: not read" in caplog.text


def test_rows_of_the_clean_test_are_marked(tmp_path: Path) -> None:
    pack(tmp_path / "images.zip", NAME)
    other = RECORD | {"Question": "And what else?"}
    write(tmp_path, "train.csv", [RECORD])
    write(tmp_path, "test.csv", [RECORD, other])
    write(tmp_path, "test_clean.csv", [RECORD | {"Answer": "both"}])
    marks = [(row.id, row.attributes.get("is_clean")) for row in all_samples(list(read(tmp_path)))]
    assert marks == [("pmc_vqa/train-1", None), ("pmc_vqa/test-1", "yes"), ("pmc_vqa/test-2", None)]


def test_a_file_without_an_answer_column_is_an_error(tmp_path: Path) -> None:
    unanswered = {name: text for name, text in RECORD.items() if not name.startswith("Answer")}
    with pytest.raises(SourceError, match="`Answer`"):
        list(read(write(tmp_path, "train.csv", [unanswered])))
    assert turn_of(read_one(tmp_path, unanswered | {"Answer_label": "B"})).answer == "Both"


def test_a_question_has_the_license_of_its_article(miniature_of: FolderOf, tmp_path: Path) -> None:
    licences = Counter(row.licence for row in read(miniature_of("pmc_vqa")) if isinstance(row, Sample))
    assert licences.keys() == {"CC-BY", "CC0-1.0", "CC-BY-SA", "CC-BY-ND"}
    header = ["File", "AccessionID", "License"]
    for article, words, licence in (
        ("PMC1064097", "CC BY-NC", "CC-BY-NC"),
        ("PMC1064097", "NO-CC CODE", "no CC licence"),
        ("PMC10640970", "CC BY-NC", card.licence),
    ):
        write(tmp_path, "oa_comm_use_file_list.csv", [dict(zip(header, ("x", article, words), strict=True))])
        assert all_samples([read_one(tmp_path, RECORD)])[0].licence == licence
