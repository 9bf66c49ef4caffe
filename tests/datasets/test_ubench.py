from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from openmedq.datasets.ubench import FOLDER, NONE, SHARDS, card, read
from openmedq.errors import SourceError
from openmedq.schema import Provenance, Reason, Rejected, Sample, Task

QUESTION = {
    "answer": "light microscopy",
    "answer_idx": 1,
    "id": "asked",
    "name": "modality",
    "question": " Which modality? ",
    "options": ["fluorescence microscopy", "light microscopy ", NONE],
    "tags": None,
}
CAPTION = {
    "id": "asked",
    "name": "modality",
    "question": "A micrograph acquired through {class}.",
    "answer_idx": "1",
    "options": [
        "A micrograph acquired through fluorescence microscopy.",
        "A micrograph acquired through light microscopy.",
        NONE,
    ],
    "tags": ["coarse", "x"],
}
ROW: dict[str, Any] = {
    "image_id": "913ab0f2",
    "image": {"bytes": b"no picture: readers do not look", "path": None},
    "label": 5,
    "label_name": "monocyte",
    "dataset": "acevedo_et_al_2020",
    "domain": "pathology",
    "institution": "hosp_barcelona",
    "license": "CC-BY-4.0",
    "microns_per_pixel": 0.1,
    "modality": "light microscopy",
    "ncbitaxon_id": "NCBITaxon_9606",
    "ncbitaxon_name": "Homo sapiens",
    "pmid": "32346559",
    "split": "test",
    "stain": "Giemsa",
    "subdomain": "hematopathology",
    "submodality": "brightfield microscopy",
    "synthetic": False,
    "captions": {"modality_0": CAPTION},
    "questions": {"modality": QUESTION},
}


def write(raw: Path, rows: list[dict[str, Any]], name: str = SHARDS[0], schema: pa.Schema | None = None) -> Path:
    folder = raw / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows, schema)
    if schema is None and "microns_per_pixel" in table.column_names:  # as published; Python's floats are longer
        place = table.column_names.index("microns_per_pixel")
        narrow = table["microns_per_pixel"].cast(pa.float32())
        table = table.set_column(place, "microns_per_pixel", narrow)
    with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return raw


def read_two(raw: Path, **changes: Any) -> tuple[Sample | Rejected, Sample | Rejected]:
    """Question and caption of a row with changes; a good row stands beside it."""
    row, beside = ROW | changes, ROW | {"image_id": "good"}
    for kind, key in (("questions", "modality"), ("captions", "modality_0")):  # one type to a column
        place = row[kind][key]["answer_idx"]
        beside[kind] = {key: ROW[kind][key] | {"answer_idx": "1" if isinstance(place, str) else 1}}
    question, caption, *good = read(write(raw, [row, beside]))
    assert all(isinstance(each, Sample) for each in good)
    assert len(good) == 2
    return question, caption


def read_question(raw: Path, **changes: Any) -> Sample | Rejected:
    return read_two(raw, questions={"modality": QUESTION | changes})[0]


def read_caption(raw: Path, **changes: Any) -> Sample | Rejected:
    return read_two(raw, captions={"modality_0": CAPTION | changes})[1]


def test_a_question_is_kept_whole(tmp_path: Path) -> None:
    row, _ = read_two(tmp_path, unknown=1)
    assert isinstance(row, Sample)
    assert (row.id, row.split) == ("ubench/acevedo_et_al_2020/913ab0f2/questions/modality", "test")
    assert (row.task, row.modality, row.licence) == (Task.MULTIPLE_CHOICE, "microscopy", "CC-BY-4.0")
    (turn,) = row.turns
    assert (turn.question, turn.answer) == ("Which modality?", "light microscopy")
    assert turn.options == ("fluorescence microscopy", "light microscopy", NONE)
    (image,) = row.images
    assert (image.image_id, image.data) == ("913ab0f2", b"no picture: readers do not look")
    assert row.groups.question == "asked"
    assert row.provenance == Provenance(f"{FOLDER}/{SHARDS[0]}", "row 1 questions/modality")
    assert row.attributes == {
        "question_type": "modality",
        "microns_per_pixel": "0.1",
        "synthetic": "false",
        "dataset": "acevedo_et_al_2020",
        "domain": "pathology",
        "subdomain": "hematopathology",
        "modality": "light microscopy",
        "submodality": "brightfield microscopy",
        "stain": "Giemsa",
        "institution": "hosp_barcelona",
        "ncbitaxon_name": "Homo sapiens",
        "ncbitaxon_id": "NCBITaxon_9606",
        "pmid": "32346559",
        "label_name": "monocyte",
    }


def test_a_caption_is_kept_whole(tmp_path: Path) -> None:
    question, row = read_two(tmp_path)
    assert isinstance(row, Sample)
    assert isinstance(question, Sample)
    assert row.id == "ubench/acevedo_et_al_2020/913ab0f2/captions/modality_0"
    assert row.task is Task.CAPTION
    (turn,) = row.turns
    assert (turn.question, turn.answer) == ("", "A micrograph acquired through light microscopy.")
    assert turn.options == ()
    assert row.images == question.images
    assert row.groups == question.groups
    assert row.attributes == question.attributes | {"tags": "coarse; x"}


@pytest.mark.parametrize(
    ("template", "option", "caption"),
    [
        ("A micrograph of {class}.", "A micrograph of a cell.", "A micrograph of a cell."),
        ("A micrograph of {class}.", "a cell", "A micrograph of a cell."),
        ("A {class} cell", "dead", "A dead cell"),
        ("{class}", "A dead cell", "A dead cell"),
        ("Which?", "A dead cell", "A dead cell"),
    ],
)
def test_a_caption_is_the_template_with_the_right_option(
    tmp_path: Path, template: str, option: str, caption: str
) -> None:
    row = read_caption(tmp_path, question=template, options=["x", option])
    assert isinstance(row, Sample)
    assert row.turns[0].answer == caption


@pytest.mark.parametrize(("place", "answer"), [(0, "a"), ("0", "a"), (2, "c"), ("2", "c"), (" 1 ", "b")])
def test_the_place_of_the_answer_counts_from_0(tmp_path: Path, place: Any, answer: str) -> None:
    row = read_question(tmp_path, answer_idx=place, answer=None, options=["a", "b", "c"])
    assert isinstance(row, Sample)
    assert row.turns[0].answer == answer
    row = read_caption(tmp_path, answer_idx=place, question="{class}", options=["a", "b", "c"])
    assert isinstance(row, Sample)
    assert row.turns[0].answer == answer


def test_none_of_the_above_answers_a_question_but_is_no_caption(tmp_path: Path) -> None:
    row = read_question(tmp_path, answer_idx=2, answer=NONE)
    assert isinstance(row, Sample)
    assert row.turns[0].answer == NONE
    row = read_caption(tmp_path, answer_idx="2")
    assert isinstance(row, Rejected)
    assert row.reason is Reason.ANSWER_EMPTY
    assert row.id == "ubench/acevedo_et_al_2020/913ab0f2/captions/modality_0"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"question": None}, Reason.FIELD_MISSING),
        ({"question": " "}, Reason.QUESTION_EMPTY),
        ({"options": None}, Reason.FIELD_MISSING),
        ({"options": ["a", None]}, Reason.FIELD_MISSING),
        ({"options": []}, Reason.ANSWER_NOT_AN_OPTION),
        ({"options": ["a", " "], "answer": None}, Reason.ANSWER_EMPTY),
        ({"answer": None, "answer_idx": None}, Reason.ANSWER_EMPTY),
        ({"answer_idx": 0}, Reason.ANSWER_NOT_AN_OPTION),  # `answer` says another
        ({"answer_idx": None, "answer": "x"}, Reason.ANSWER_NOT_AN_OPTION),
        *(({"answer_idx": place}, Reason.ANSWER_NOT_AN_OPTION) for place in (3, -1, 10**12)),
        *(({"answer_idx": place}, Reason.ANSWER_NOT_AN_OPTION) for place in ("B", "1.5", "9" * 5000)),
    ],
)
def test_a_bad_entry_is_rejected_by_itself(tmp_path: Path, changes: dict[str, Any], reason: Reason) -> None:
    row, caption = read_two(tmp_path, questions={"modality": QUESTION | changes})
    assert isinstance(row, Rejected)
    assert (row.reason, row.id) == (reason, "ubench/acevedo_et_al_2020/913ab0f2/questions/modality")
    assert isinstance(caption, Sample)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image_id": None}, Reason.FIELD_MISSING),
        ({"image_id": " "}, Reason.FIELD_MISSING),
        ({"image": None}, Reason.IMAGE_MISSING),
        ({"image": {"bytes": None, "path": "elsewhere.png"}}, Reason.IMAGE_MISSING),
        ({"image": {"bytes": b"", "path": None}}, Reason.IMAGE_MISSING),
    ],
)
def test_a_bad_row_costs_all_of_its_entries(tmp_path: Path, changes: dict[str, Any], reason: Reason) -> None:
    for row in read_two(tmp_path, **changes):
        assert isinstance(row, Rejected)
        assert row.reason is reason


def test_null_entries_are_no_records(tmp_path: Path) -> None:
    """All rows have the keys of all: a struct that lacks, or one that holds nothing but nulls."""
    stain = QUESTION | {"name": "stain"}
    rows = [ROW, ROW | {"image_id": "b", "questions": {"stain": stain}}, ROW | {"image_id": "c", "captions": None}]
    empty = {"answer": None, "question": None, "options": [], "tags": []}
    rows.append(ROW | {"image_id": "d", "questions": {"modality": QUESTION, "stain": empty}})
    kinds = [row.id.split("/", 2)[2] for row in read(write(tmp_path, rows))]
    assert kinds == [
        *("913ab0f2/questions/modality", "913ab0f2/captions/modality_0"),
        *("b/questions/stain", "b/captions/modality_0"),
        "c/questions/modality",
        *("d/questions/modality", "d/captions/modality_0"),
    ]


def test_a_row_without_entries_is_not_lost(tmp_path: Path) -> None:
    bare = ROW | {"image_id": "bare", "questions": None, "captions": {"modality_0": None}}
    *_, last = read(write(tmp_path, [ROW, bare]))
    assert isinstance(last, Rejected)
    assert (last.reason, last.provenance.record) == (Reason.FIELD_MISSING, "row 2")


def test_a_picture_may_stand_in_rows_of_several_datasets(tmp_path: Path) -> None:
    first, second, repeated = (list(read(write(tmp_path, [ROW, other])))[2:] for other in others())
    assert [row.id.split("/")[1] for row in first] == ["burgess_et_al_2024_texture"] * 2
    assert {row.images[0].image_id for row in first if isinstance(row, Sample)} == {"913ab0f2"}
    assert [row.id for row in second] == ["ubench/913ab0f2/questions/modality", "ubench/913ab0f2/captions/modality_0"]
    assert all(isinstance(row, Rejected) and row.reason is Reason.ID_REPEATED for row in repeated)
    assert len({row.id for row in repeated}) == len(repeated) == 2


def others() -> list[dict[str, Any]]:
    return [ROW | {"dataset": "burgess_et_al_2024_texture"}, ROW | {"dataset": None}, ROW | {"stain": "H&E"}]


def test_a_row_that_comes_again_in_another_shard_is_rejected(tmp_path: Path) -> None:
    for name in SHARDS[:2]:
        write(tmp_path, [ROW, ROW | {"image_id": name}], name)
    rows = list(read(tmp_path))
    assert [isinstance(row, Sample) for row in rows] == [True] * 4 + [False] * 2 + [True] * 2
    assert len({row.id for row in rows}) == 8
    assert [row.provenance.file for row in rows] == [f"{FOLDER}/{name}" for name in SHARDS[:2] for _ in range(4)]


def test_the_licence_is_the_rows_own(tmp_path: Path) -> None:
    stated = (("CC-BY-NC-4.0", "CC-BY-NC-4.0"), ("CC BY-NC 4.0", "CC-BY-NC-4.0"), ("own terms", "own terms"))
    for licence, expected in (*stated, (None, card.licence), ("", card.licence)):
        row, _ = read_two(tmp_path, license=licence, synthetic=True)
        assert isinstance(row, Sample)
        assert row.licence == expected
        assert row.attributes["synthetic"] == "true"


def test_a_label_that_disagrees_is_not_read(tmp_path: Path) -> None:
    for label in (0, None, 99):
        row, _ = read_two(tmp_path, label=label)
        assert isinstance(row, Sample)
        assert row.attributes["label_name"] == "monocyte"
        assert row.labels == ()


def test_what_only_describes_may_be_null(tmp_path: Path) -> None:
    described = set(ROW) - {"image_id", "image", "questions", "captions"}
    row, _ = read_two(tmp_path, **dict.fromkeys(described))
    assert isinstance(row, Sample)
    assert row.attributes == {"question_type": "modality"}
    write(tmp_path, [{name: value for name, value in ROW.items() if name not in described}])
    assert all(
        isinstance(each, Sample) and each.attributes.keys() <= {"question_type", "tags"} for each in read(tmp_path)
    )


def test_outlines_are_counted_in_both_revisions(tmp_path: Path) -> None:
    boxes, outlines = [[0.0, 0.0, 1.0, 1.0]] * 2, [[[0.0, 0.0], [1.0, 1.0]]] * 3
    row, _ = read_two(tmp_path, bbox=boxes, polygon=outlines)
    assert isinstance(row, Sample)
    assert (row.attributes["num_bbox"], row.attributes["num_polygon"]) == ("2", "3")
    row, _ = read_two(tmp_path, instances=[{"bbox": [0.0]}])
    assert isinstance(row, Sample)
    assert row.attributes["num_instances"] == "1"
    row, _ = read_two(tmp_path, bbox=[], polygon=None)
    assert isinstance(row, Sample)
    assert not row.attributes.keys() & {"num_bbox", "num_polygon"}


def test_shards_that_are_absent_are_named(copy_of: Callable[[str], Path], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    raw = copy_of("ubench")
    whole = list(read(raw))
    assert not caplog.messages
    (raw / FOLDER / SHARDS[2]).unlink()
    (raw / FOLDER / SHARDS[5]).unlink()
    (raw / FOLDER / "dataset_info.json").unlink()
    left = list(read(raw))
    assert [row for row in whole if row.provenance.file.rpartition("/")[2] not in (SHARDS[2], SHARDS[5])] == left
    (message,) = caplog.messages
    assert "not there: shards 2, 5 of 7" in message


@pytest.mark.parametrize("folder", ["", "0.1.0", "snapshots/abc/perception/0.1.0"])
def test_shards_may_lie_in_any_folder(copy_of: Callable[[str], Path], folder: str) -> None:
    raw = copy_of("ubench")
    expected = [(row.id, row.provenance.record) for row in read(raw)]
    shards = sorted((raw / FOLDER).glob("*.arrow"))
    (raw / folder).mkdir(parents=True, exist_ok=True)
    for path in shards:
        path.rename(raw / folder / path.name)
    assert [(row.id, row.provenance.record) for row in read(raw)] == expected


def test_of_two_copies_the_fuller_is_read_and_the_other_named(
    copy_of: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    raw = copy_of("ubench")
    expected = list(read(raw))
    (raw / "older").mkdir()
    for name in SHARDS[:6]:
        (raw / "older" / name).write_bytes((raw / FOLDER / name).read_bytes())
    assert list(read(raw)) == expected
    (message,) = caplog.messages
    assert "older/ubench-test: not read" in message


def test_columns_of_another_kind_are_one_line_or_rejected_rows(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no entry in `questions` and `captions`, in all of its 2 records"):
        list(read(write(tmp_path, [ROW | {"image_id": each, "questions": "a", "captions": [1]} for each in "ab"])))
    rows = list(read(write(tmp_path, [ROW | {"questions": {"modality": "text"}, "image": 5}])))
    assert [isinstance(row, Rejected) and row.reason for row in rows] == [Reason.FIELD_MISSING, Reason.IMAGE_MISSING]


def test_the_miniature_holds_the_oddities(miniature_of: Callable[[str], Path]) -> None:
    raw = miniature_of("ubench")
    published = []
    for name in SHARDS:
        with pa.memory_map(str(raw / FOLDER / name)) as mapped:
            published += pa.ipc.open_stream(mapped).read_all().to_pylist()
    assert len(published) == 21
    for entries, kind in (("questions", int), ("captions", str)):
        given = [entry for row in published for entry in row[entries].values() if entry]
        assert {type(entry["answer_idx"]) for entry in given} == {kind}
        assert {entry["options"][-1] for entry in given} == {NONE}
        assert any(entry is None for row in published for entry in row[entries].values())
    assert Counter(Counter(row["image_id"] for row in published).values()) == {1: 19, 2: 1}
    assert sum(row["dataset"] is None for row in published) == 1
    assert {row["license"] for row in published} == {"CC-BY-4.0", "CC-BY-NC-4.0"}
    assert {row["synthetic"] for row in published} == {False, True}
    labels = {(row["label"], row["label_name"]) for row in published}
    assert len(labels) == 5
    assert sum(row["bbox"] is not None for row in published) == 1
    samples = [row for row in read(raw) if isinstance(row, Sample)]
    assert Counter(sample.task for sample in samples) == {Task.MULTIPLE_CHOICE: 56, Task.CAPTION: 77}
    places = defaultdict(set)
    for sample in samples:
        (turn,) = sample.turns
        if turn.options:
            places[turn.question].add(turn.options.index(turn.answer))
        else:
            assert "{class}" not in turn.answer
    assert all(len(each) > 1 for each in places.values())
