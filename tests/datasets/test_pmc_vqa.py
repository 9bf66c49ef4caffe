from collections import Counter

import pytest

from openmedq.datasets.pmc_vqa import CHOICES, card, read
from openmedq.errors import SourceError
from openmedq.schema import Reason, Turn
from tests.datasets.conftest import FolderOf, samples
from tests.datasets.records import ChangedOf, rewrite

RECORD = {
    "Question": "What is seen? ",
    "Answer": "Both",
    "Choice A": " A:A mass ",
    "Choice B": " B: Both",
    "Choice C": " C:Neither, or nothing",
    "Choice D": " D:A line",
    "Answer_label": "B",
}
OPTIONS = ("A mass", "Both", "Neither, or nothing", "A line")


@pytest.mark.parametrize(
    ("choices", "options"),
    [
        (["A: a", "B.b", " C ) c", "(D) d"], ("a", "b", "c", "d")),
        (["a", "b", "c", "d"], ("a", "b", "c", "d")),
        (["A: a", "b", "C: c", "D: d"], ("A: a", "b", "C: c", "D: d")),
        (["B: a", "B: b", "C: c", "D: d"], ("B: a", "B: b", "C: c", "D: d")),
        (["A", "B", "C", "D"], ("A", "B", "C", "D")),
        (["A:A:a", "B:b", "C:c", "D:d"], ("A:a", "b", "c", "d")),
        (["A:a", "B:b", "C:c", " D: "], ("a", "b", "c")),
    ],
)
def test_letters_are_removed_if_all_options_have_their_own(
    changed: ChangedOf, choices: list[str], options: tuple[str, ...]
) -> None:
    (turn,) = changed("pmc_vqa").sample(RECORD | dict(zip(CHOICES, choices, strict=True))).turns
    assert (turn.options, turn.answer) == (options, options[1])


def test_the_label_decides_which_option_is_the_answer(changed: ChangedOf) -> None:
    record = changed("pmc_vqa")
    for text, label, answer, attribute in (
        ("Both", "B", "Both", None),
        (" B: both. ", " B ", "Both", None),
        ("", "B:", "Both", None),
        ("A line", "B", "Both", "A line"),  # another option: the label decides, the text is kept
        ("C", "B", "Both", "C"),
        ("C", "", "Neither, or nothing", None),
    ):
        row = record.sample(RECORD | {"Answer": text, "Answer_label": label})
        assert row.turns == (Turn("What is seen?", answer, options=OPTIONS),)
        assert row.attributes.get("answer") == attribute
    row = record.read(RECORD | {"Answer": "A line", "Answer_label": ""})
    assert getattr(row, "reason", None) is Reason.ANSWER_NOT_AN_OPTION


def test_one_column_of_the_answer_may_be_absent(copy_of: FolderOf) -> None:
    raw = copy_of("pmc_vqa")
    rewrite(raw, "train.csv", list)
    expected = [row.turns for row in samples(read(raw))]

    def rename(name: str, other: str) -> None:
        rewrite(raw, "train.csv", lambda rows: [[other if each == name else each for each in rows[0]], *rows[1:]])

    rename("Answer", "absent")
    assert [row.turns for row in samples(read(raw))] == expected
    rename("Answer_label", "absent too")
    with pytest.raises(SourceError, match="no column `Answer`"):
        list(read(raw))


def test_version_2_alone_is_read(copy_of: FolderOf, caplog: pytest.LogCaptureFixture) -> None:
    raw = copy_of("pmc_vqa")
    for name in ("train.csv", "test.csv"):
        (raw / name).unlink()

    def mark(rows: list[list[str]]) -> list[list[str]]:
        at = rows[0].index("split")
        return [rows[0], [*rows[1][:at], "test", *rows[1][at + 1 :]], *rows[2:]]

    rewrite(raw, "train_2.csv", mark)
    rows = samples(read(raw))
    assert [(row.id, row.split) for row in rows[:2]] == [  # a row that is marked as test never trains
        ("pmc_vqa/train_2-1", "test"),
        ("pmc_vqa/train_2-2", "train"),
    ]
    assert {row.split for row in rows if "test_2" in row.id} == {"test"}
    assert all({"version", "figure", "caption", "index"} <= row.attributes.keys() for row in rows)
    assert all(row.groups.article == row.images[0].image_id.split("_")[0] for row in rows)
    assert "test_clean.csv: not read" in caplog.text


def test_rows_of_the_clean_test_are_marked(miniature_of: FolderOf) -> None:
    marked = [row for row in samples(read(miniature_of("pmc_vqa"))) if "is_clean" in row.attributes]
    assert [row.id for row in marked[:3]] == ["pmc_vqa/test-1", "pmc_vqa/test-4", "pmc_vqa/test-7"]
    assert len(marked) == 12


def test_a_question_has_the_license_of_its_article(changed: ChangedOf, miniature_of: FolderOf) -> None:
    licences = Counter(row.licence for row in samples(read(miniature_of("pmc_vqa"))))
    assert licences.keys() == {"CC-BY", "CC0-1.0", "CC-BY-SA", "CC-BY-ND"}
    record = changed("pmc_vqa")
    article = record.first.groups.article
    for listed, words, licence in (
        (article, "CC BY-NC", "CC-BY-NC"),
        (article, "NO-CC CODE", "no CC licence"),
        (f"{article}0", "CC BY-NC", card.licence),
    ):
        text = f"File,AccessionID,License\nx,{listed},{words}\n"
        (record.raw / "oa_comm_use_file_list.csv").write_text(text, encoding="utf-8")
        assert record.sample({}).licence == licence
