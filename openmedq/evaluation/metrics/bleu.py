"""BLEU-1 as the authors' public code computes it: `nltk.word_tokenize` of the lower-cased text, one reference.

The tokens are those of NLTK's `word_tokenize`: Punkt's English sentences (the model comes with the package `punkt`,
as NLTK's own would have to be downloaded), then `NLTKWordTokenizer` on each sentence. Lower case is the only
normalization; punctuation counts. A row's BLEU-1 needs three counts only, so scores and intervals over any set
of rows follow from what `predictions.parquet` keeps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class UnigramCounts(NamedTuple):
    """What BLEU-1 needs to know of a row."""

    num_matches: int  # answer tokens that are in the reference, each at most as often as there
    num_answer_tokens: int
    num_reference_tokens: int


@lru_cache(maxsize=65536)
def tokenize(text: str) -> tuple[str, ...]:
    """The tokens that BLEU counts: those of `nltk.word_tokenize(text.lower())`."""
    split_sentences, split_words = _tokenizers()
    return tuple(token for sentence in split_sentences(text.lower()) for token in split_words(sentence))


def count_unigrams(answer: str, reference: str) -> UnigramCounts:
    """The counts of one row."""
    given, wanted = tokenize(answer), tokenize(reference)
    num_matches = sum((Counter(given) & Counter(wanted)).values())
    return UnigramCounts(num_matches, len(given), len(wanted))


def bleu_1(answers: Sequence[str], references: Sequence[str]) -> float:
    """Corpus BLEU-1 in percent: matches over all rows / answer tokens over all rows, times the brevity penalty."""
    return float(bleu_of_sums(_count_rows(answers, references).sum(axis=0)))


def bleu_1_sentence(answers: Sequence[str], references: Sequence[str]) -> float:
    """Mean over rows of the row's own BLEU-1, in percent.

    NLTK's `sentence_bleu` with smoothing method 1: the smoothing never shows, for a row without a match is 0 there too.
    """
    return float(bleu_of_sums(_count_rows(answers, references)).mean())


def bleu_of_sums(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """BLEU-1 in percent of (..., 4) summed statistics of rows, as `to_statistics` gives them; 0 without a match."""
    num_matches, num_tried, num_answered, num_wanted = np.moveaxis(sums, -1, 0)
    penalty = np.exp(np.minimum(0.0, 1 - num_wanted / np.maximum(num_answered, 1)))
    return np.asarray(100 * num_matches / num_tried * penalty)


def to_statistics(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """(rows, 3) `UnigramCounts` to (rows, 4): NLTK's precision counts an empty answer as one wrong token."""
    num_matches, num_answered, num_wanted = counts.T
    return np.column_stack([num_matches, np.maximum(num_answered, 1), num_answered, num_wanted])


def _count_rows(answers: Sequence[str], references: Sequence[str]) -> NDArray[np.float64]:
    if not answers:
        raise ValueError("no rows: BLEU-1 over none is not a score")
    rows = [count_unigrams(*row) for row in zip(answers, references, strict=True)]
    return to_statistics(np.array(rows, dtype=np.float64))


@cache
def _tokenizers() -> tuple[Callable[[str], list[str]], Callable[[str], list[str]]]:
    # NLTK takes seconds to load: `transfer` scores classes only and shall not wait for it.
    import punkt
    from nltk.tokenize.destructive import NLTKWordTokenizer

    return punkt.tokenizer_for("english").tokenize, NLTKWordTokenizer().tokenize
