import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmedq.evaluation.metrics import METRICS
from openmedq.evaluation.metrics.scores import compare, score_answers

TEXTS = st.sampled_from(["yes", "no", "the left lung", "left", "MRI.", ""])
ROWS = st.lists(st.tuples(TEXTS, TEXTS, st.sampled_from("abc")), min_size=1, max_size=20)
OPTIONS = {"num_resamples": 100, "confidence": 0.95, "seed": 0}


@given(ROWS)
def test_scores_of_kept_statistics_are_those_of_the_texts(rows: list[tuple[str, str, str]]) -> None:
    answers, references, groups = zip(*rows, strict=True)
    statistics = [compare(answer, reference) for answer, reference, _ in rows]
    scores = score_answers(statistics, groups, **OPTIONS)
    for name in ("bleu_1", "bleu_1_sentence", "exact_match", "token_f1"):
        assert scores[name] == pytest.approx(METRICS[name](answers, references))
        if len(set(groups)) > 1:
            assert 0 <= scores[f"{name}_low"] <= scores[f"{name}_high"] <= 100


def test_alternatives_count_for_the_match_but_not_for_bleu() -> None:
    row = compare("MR", "magnetic resonance", ["mr"])
    assert (row.exact_match, row.token_f1, row.num_matches) == (1, 1, 0)
