import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmedq.evaluation.metrics.bleu import count_unigrams, tokenize

from .scoring import score

WORDS = [
    "the",
    "left",
    "lung",
    "lung.",
    "Dr.",
    "no",
    "yes",
    "(mass)",
    "isn't",
    "2.5",
    "e.g.",
    "?",
    "T2-weighted",
    "x, y",
    "...",
]
ANSWERS = st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join)
ROWS = st.lists(st.tuples(ANSWERS, ANSWERS), min_size=1, max_size=8)


def test_tokens_are_those_of_word_tokenize() -> None:
    assert tokenize("Yes. It isn't.") == ("yes", ".", "it", "is", "n't", ".")
    assert tokenize("Dr. Smith (radiology)") == ("dr.", "smith", "(", "radiology", ")")
    assert tokenize("") == ()


@given(ROWS, st.randoms())
def test_scores_are_bounded_and_the_order_of_rows_does_not_matter(rows: list[tuple[str, str]], random) -> None:
    shuffled = random.sample(rows, len(rows))
    for name in ("bleu_1", "bleu_1_sentence"):
        value = score(name, *zip(*rows, strict=True))
        assert 0 <= value <= 100
        assert value == pytest.approx(score(name, *zip(*shuffled, strict=True)))


@given(st.lists(ANSWERS.filter(bool), min_size=1))
def test_repeating_the_references_scores_100(references: list[str]) -> None:
    assert score("bleu_1", references, references) == pytest.approx(100)
    assert score("bleu_1_sentence", references, references) == pytest.approx(100)


def test_a_word_matches_only_as_often_as_the_reference_has_it() -> None:
    assert count_unigrams("the the the the", ["the cat is on the mat"]) == (2, 4, 4, 6)


def test_only_the_first_reference_counts() -> None:
    assert count_unigrams("MR", ["magnetic resonance", "mr"]) == (0, 1, 1, 2)


def test_short_answers_are_penalized_over_the_whole_corpus() -> None:
    # Rows too short and too long make up for one another in the corpus score, not in the mean of sentences.
    rows = (["lung", "left lung base"], ["left lung", "lung base"])
    assert score("bleu_1", *rows) == pytest.approx(100 * 3 / 4)
    assert score("bleu_1_sentence", *rows) == pytest.approx(100 * (2.718281828459045**-1 + 2 / 3) / 2)
