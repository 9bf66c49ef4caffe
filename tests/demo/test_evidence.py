import pytest

from openmedq.demo import evidence
from openmedq.demo.evidence import TrainingRows
from openmedq.reporting.results import read_results
from openmedq.storage.tables import read_index
from tests.curate.corpus import picture


@pytest.fixture
def rows(finished: None) -> TrainingRows:
    return TrainingRows(read_results().open_sources)


def test_the_nearest_questions_are_found_by_their_words(rows: TrainingRows) -> None:
    found = rows.find_questions("where is it", 3)
    assert [each.turn.question for each in found[:2]] == ["Where is it?"] * 2
    assert [each.similarity for each in found[:2]] == pytest.approx([1, 1])
    assert {each.turn.answer for each in found[:2]} == {"open_vqa side 0", "open_vqa side 1"}
    assert found[0].num_rows == 4
    assert found[2].similarity < 0.9
    assert found[0].sample.images[0].data, "it is read with its image"
    assert rows.find_questions("unheard", 3) == []


def test_frequent_answers_to_a_question_are_first(rows: TrainingRows) -> None:
    found = rows.find_questions("Is <b>it</b> large?", 2)
    assert [(each.turn.answer, each.num_rows) for each in found] == [("yes", 6), ("no", 2)]


def test_the_nearest_image_is_the_same_one(rows: TrainingRows) -> None:
    thumbnail = picture(3)["thumbnail"]
    lighter = picture(3, lighter=40)["thumbnail"]
    for shown in ([thumbnail], [lighter], [bytes(1024), thumbnail]):
        first, second = rows.find_images(shown, 2)
        assert first.similarity == pytest.approx(1)
        assert first.sample.id.startswith("open_vqa/3-") and first.num_rows == 2
        assert second.similarity < 0.2
    assert rows.find_images([bytes(1024)], 2) == rows.find_images([], 2) == []  # an even image is near to no other


def test_only_training_rows_of_open_datasets_are_shown(rows: TrainingRows) -> None:
    index = {row["id"]: row for row in read_index().to_pylist()}
    thumbnails = [picture(seed)["thumbnail"] for seed in (1, 9, 51, 59)]
    found = rows.find_images(thumbnails, 1000) + rows.find_questions("Is it large, where is it, does it help?", 1000)
    shown = {each.sample.id for each in found}
    assert {index[each]["source"] for each in shown} == {"open_vqa", "open_text"}
    assert {index[each]["role"] for each in shown} == {"train"}


@pytest.mark.usefixtures("finished")
def test_the_number_of_rows_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "NUM_ROWS", 5)
    first, again = (TrainingRows(["open_vqa"]) for _ in range(2))
    assert first.num_rows == 5 < first.num_available
    assert sum(each.num_rows for each in first.find_questions("is it large or old, where", 99)) == 5
    assert first.find_questions("where is it", 3) == again.find_questions("where is it", 3)


@pytest.mark.usefixtures("finished")
def test_without_open_rows_there_is_no_neighbor() -> None:
    rows = TrainingRows([])
    assert rows.find_questions("where", 3) == rows.find_images([bytes(1024)], 3) == []
