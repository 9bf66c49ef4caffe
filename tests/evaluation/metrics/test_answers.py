import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmedq.evaluation.metrics.answers import exact_match, normalize_answer, token_f1

TEXTS = st.text(max_size=30) | st.lists(
    st.sampled_from(
        ["a", "an", "the", "A.", "two", "1,000", "-5", ".5", "0.5", "Crohn's", "T2-weighted", "±", "fig.5", "é"]
    )
).map(" ".join)


@pytest.mark.parametrize(
    ("text", "normalized"),
    [
        ("Yes.", "yes"),
        ("  The  left\tlung ", "left lung"),
        ("A fracture", "fracture"),
        ("hepatitis A", "hepatitis a"),  # the letter is no article here
        ("Crohn’s disease", "crohns disease"),
        ("T2-weighted", "t2 weighted"),
        ("two", "2"),
        ("1,000 ml", "1000 ml"),
        ("1,00", "1 00"),
        ("0.5 cm", "0.5 cm"),
        (".5", ".5"),
        ("fig.5", "fig 5"),
        ("−5 °C", "-5 °c"),
        ("3-5", "3 5"),
        ("< 5%", "< 5%"),
        ("the", "the"),
        ("A", "a"),
        ("?!", "?!"),
        ("", ""),
    ],
)
def test_normalization_keeps_what_carries_meaning(text: str, normalized: str) -> None:
    assert normalize_answer(text) == normalized


SAME = (
    "5 mm|5mm, >10%|> 10 %, <5 cm|< 5cm, 37.5 °C|37.5°C, ≥ 0.5mg|≥0.5 mg, 5-mm|5mm, <-5|< -5, ±2 SD|± 2SD, "
    "1 cm²|1cm2, 5 µm|5μm, Grade 2a|grade 2 A"
)
DIFFERENT = (
    "1 0|10, 5 m|5 mm, 5 mm|5 cm, >10%|<10%, 5|-5, <-5|<5, 1.0|1 0, T2|T 2, 5 mm|55 mm, 0.5 mm|5 mm, 10%|10, m m|mm, "
    "B 12|B12"
)


@pytest.mark.parametrize("pair", SAME.split(", "))
def test_spaces_before_units_and_around_symbols_do_not_matter(pair: str) -> None:
    one, other = pair.split("|")
    assert exact_match(one, [other]) == exact_match(other, [one]) == token_f1(one, [other]) == 1


@pytest.mark.parametrize("pair", DIFFERENT.split(", "))
def test_what_differs_in_more_than_such_spaces_does_not_match(pair: str) -> None:
    one, other = pair.split("|")
    assert exact_match(one, [other]) == exact_match(other, [one]) == 0


def test_f1_of_answers_that_do_not_match_is_of_words_as_they_stand() -> None:
    assert token_f1("5mm lesion", ["5 mm"]) == 0
    assert token_f1("<5% loss", ["<5%"]) == pytest.approx(2 / 3)


@given(TEXTS)
def test_normalization_is_idempotent(text: str) -> None:
    assert normalize_answer(normalize_answer(text)) == normalize_answer(text)


@given(TEXTS.filter(str.strip))
def test_no_answer_becomes_empty(text: str) -> None:
    assert normalize_answer(f"{text} x")
    assert normalize_answer(text) or not text.strip("'’‘ʼ \t\n")


@given(TEXTS)
def test_white_space_case_and_a_full_stop_do_not_matter(text: str) -> None:
    assert exact_match(f"yes {text} no", [f" YES \n{text}  no."]) == 1.0


@given(TEXTS, TEXTS)
def test_scores_are_bounded_and_symmetric(one: str, other: str) -> None:
    assert 0 <= exact_match(one, [other]) <= token_f1(one, [other]) <= 1
    assert token_f1(one, [other]) == token_f1(other, [one])
    assert exact_match(one, [one]) == token_f1(one, [one]) == 1


def test_f1_counts_each_word_as_often_as_both_have_it() -> None:
    assert token_f1("left left lung", ["left lung"]) == pytest.approx(2 * 2 / 5)


def test_the_best_of_the_accepted_answers_counts() -> None:
    assert exact_match("MR", ["MRI", "mr"]) == 1
    assert token_f1("left lung", ["MRI", "lung"]) == pytest.approx(2 / 3)
