from __future__ import annotations

import json
import logging
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openmedq.errors import SourceError
from openmedq.schema import Reason, Rejected, Sample
from openmedq.sources import pubmedqa
from openmedq.sources.pubmedqa import read

RECORD = {
    "QUESTION": " Does it help? ",
    "CONTEXTS": ["We asked.", "It helped. "],
    "LABELS": ["METHODS", "RESULTS"],
    "MESHES": ["Humans", "Adult"],
    "YEAR": "2011",
    "reasoning_required_pred": "yes",
    "reasoning_free_pred": "no",
    "final_decision": "yes",
    "LONG_ANSWER": "In conclusion it helps.",
}
GOOD = "99"


def write(raw: Path, records: Any, test_ids: Any = None, name: str = "data/ori_pqal.json") -> Path:
    (raw / "data").mkdir(parents=True, exist_ok=True)
    (raw / name).write_text(json.dumps(records), encoding="utf-8")
    truth = {GOOD: "yes"} if test_ids is None else test_ids
    (raw / "data/test_ground_truth.json").write_text(json.dumps(truth), encoding="utf-8")
    return raw


def read_one(raw: Path, **changes: Any) -> Sample | Rejected:
    record = {key: value for key, value in (RECORD | changes).items() if value is not ...}
    first, second = read(write(raw, {"7": record, GOOD: RECORD}))
    assert isinstance(second, Sample)
    return first


def test_a_record_is_kept_whole(tmp_path: Path) -> None:
    row = read_one(tmp_path, unknown=[1])
    assert isinstance(row, Sample)
    assert (row.id, row.split) == ("pubmedqa/7", "train")
    (turn,) = row.turns
    assert (turn.question, turn.answer, turn.options) == ("Does it help?", "yes", ("yes", "no", "maybe"))
    assert turn.context == "METHODS: We asked.\nRESULTS: It helped."
    assert row.attributes == {
        "answer_type": "closed",
        "long_answer": "In conclusion it helps.",
        "meshes": "Humans; Adult",
        "year": "2011",
        "reasoning_required_pred": "yes",
        "reasoning_free_pred": "no",
    }
    assert row.images == ()


def test_the_conclusion_is_no_part_of_the_prompt(miniature_of: Callable[[str], Path]) -> None:
    for row in read(miniature_of("pubmedqa")):
        assert isinstance(row, Sample)
        assert row.attributes["long_answer"] not in row.turns[0].context + row.turns[0].question


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        *(({name: ...}, Reason.FIELD_MISSING) for name in ("QUESTION", "CONTEXTS", "final_decision")),
        *(({name: None}, Reason.FIELD_MISSING) for name in ("QUESTION", "CONTEXTS", "final_decision")),
        ({"CONTEXTS": "one text"}, Reason.FIELD_MISSING),
        ({"CONTEXTS": ["one", None]}, Reason.FIELD_MISSING),
        ({"QUESTION": " "}, Reason.QUESTION_EMPTY),
        ({"final_decision": ""}, Reason.ANSWER_EMPTY),
        ({"final_decision": "perhaps"}, Reason.ANSWER_NOT_AN_OPTION),
        ({"CONTEXTS": ["\ud800"]}, Reason.NOT_UTF8),
        ({"LONG_ANSWER": "\ud800"}, Reason.NOT_UTF8),
    ],
)
def test_what_can_not_be_represented_is_rejected(tmp_path: Path, changes: dict[str, Any], reason: Reason) -> None:
    row = read_one(tmp_path, **changes)
    assert isinstance(row, Rejected)
    assert row.reason is reason


def test_what_only_describes_may_be_absent(tmp_path: Path) -> None:
    for name in ("LABELS", "MESHES", "YEAR", "LONG_ANSWER", "reasoning_free_pred"):
        for value in (None, ..., 7):
            assert isinstance(read_one(tmp_path, **{name: value}), Sample)
    row = read_one(tmp_path, LABELS=["ONE TOO FEW"])
    assert isinstance(row, Sample)
    assert row.turns[0].context == "We asked.\nIt helped."


def test_a_key_that_comes_twice_is_rejected_the_second_time(tmp_path: Path) -> None:
    write(tmp_path, {})
    one = json.dumps(RECORD)
    (tmp_path / "data/ori_pqal.json").write_text(f'{{"7": {one}, "7": {one}, "": {one}}}', encoding="utf-8")
    kept, repeated, nameless = read(tmp_path)
    assert isinstance(kept, Sample)
    assert isinstance(repeated, Rejected)
    assert isinstance(nameless, Rejected)
    assert (repeated.reason, nameless.reason) == (Reason.ID_REPEATED, Reason.FIELD_MISSING)


def test_without_the_ground_truth_nothing_is_read(copy_of: Callable[[str], Path]) -> None:
    raw = copy_of("pubmedqa")
    (raw / "data/test_ground_truth.json").unlink()
    with pytest.raises(SourceError, match=r"test_ground_truth\.json: not found"):
        next(read(raw))


@pytest.mark.parametrize("content", [[], [1], None, "text", {}])
def test_another_layout_is_one_line(tmp_path: Path, content: Any) -> None:
    with pytest.raises(SourceError, match=r"ori_pqal\.json"):
        list(read(write(tmp_path, content)))
    with pytest.raises(SourceError, match="no field `QUESTION`, in all of its 2 records"):
        list(read(write(tmp_path, {"1": {"question": "?"}, "2": {"question": "?"}})))


def test_files_may_lie_directly_in_the_folder(copy_of: Callable[[str], Path]) -> None:
    raw = copy_of("pubmedqa")
    expected = [(row.id, row.split) for row in read(raw)]
    for path in (raw / "data").iterdir():
        path.rename(raw / path.name)
    assert [(row.id, row.split) for row in read(raw)] == expected


def test_the_artificial_part_alone_is_enough_and_the_unlabelled_is_named(
    copy_of: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    raw = copy_of("pubmedqa")
    for name in ("ori_pqal.json", "test_ground_truth.json"):
        (raw / "data" / name).unlink()
    assert Counter(row.split for row in read(raw)) == {"artificial": 120}
    assert any("ori_pqau.json: not read" in message for message in caplog.messages)


def test_the_ground_truth_is_the_test(miniature_of: Callable[[str], Path]) -> None:
    raw = miniature_of("pubmedqa")
    rows = [row for row in read(raw) if isinstance(row, Sample)]
    truth = json.loads((raw / "data/test_ground_truth.json").read_text(encoding="utf-8"))
    assert {row.id.split("/")[1]: row.turns[0].answer for row in rows if row.split == "test"} == truth
    assert Counter(truth.values()) == {"yes": 10, "no": 10, "maybe": 10}
    assert Counter(row.split for row in rows) == {"train": 30, "test": 30, "artificial": 120}
    assert len({row.turns[0].question for row in rows}) == len(rows)


def test_memory_does_not_grow_with_the_set(tmp_path: Path) -> None:
    def peak_bytes(num_records: int) -> int:
        record = RECORD | {"CONTEXTS": ["word " * 400] * 2}
        write(tmp_path, {str(number): record for number in range(num_records)}, name="data/ori_pqaa.json")
        tracemalloc.start()
        assert sum(1 for _ in read(tmp_path)) == num_records
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    small, large = peak_bytes(500), peak_bytes(4000)  # 2 and 17 MB of JSON
    assert large < small + 4 * 2**20


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    records=st.dictionaries(
        st.text(max_size=4),
        st.fixed_dictionaries({}, optional={name: st.just(value) | JSON for name, value in RECORD.items()}) | JSON,
        max_size=5,
    )
    | JSON,
    truth=st.just({GOOD: "yes"}) | JSON,
)
def test_no_record_crashes_the_reader(tmp_path: Path, records: Any, truth: Any) -> None:
    write(tmp_path, records, truth)
    rows = []
    try:
        rows.extend(read(tmp_path))
    except SourceError as error:
        assert "\n" not in str(error)
    else:
        assert len(rows) == len(records)
    assert len({row.id for row in rows}) == len(rows)


def test_real_files_are_read_whole(real_data: Path) -> None:
    rows = list(pubmedqa.read(real_data / "PubMedQA"))
    assert all(isinstance(row, Sample) for row in rows)
    assert Counter(row.split for row in rows) == {"train": 500, "test": 500}
    assert Counter(row.turns[0].answer for row in rows) == {"yes": 552, "no": 338, "maybe": 110}
    assert all(row.turns[0].context.count("\n") for row in rows[:100])
