"""BLEU-1 as in the authors' public code: tokens of `nltk.word_tokenize` of the lower-cased text, one reference.

`word_tokenize` splits English sentences with Punkt (here the model of the package `punkt`, because NLTK would download
its own), then words with `NLTKWordTokenizer`. Lower case is the only normalization; punctuation counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, lru_cache

import numpy as np

from openmedq.evaluation.metrics.metric import Count, Numbers

UNIGRAM_COUNTS = ("num_matches", "num_tried_tokens", "num_answer_tokens", "num_reference_tokens")


@lru_cache(maxsize=65536)
def tokenize(text: str) -> tuple[str, ...]:
    """Tokens of `nltk.word_tokenize(text.lower())`."""
    split_sentences, split_words = _tokenizers()
    return tuple(token for sentence in split_sentences(text.lower()) for token in split_words(sentence))


def count_unigrams(answer: str, references: Sequence[str]) -> tuple[int, int, int, int]:
    """The numbers named in UNIGRAM_COUNTS, from the answer and the first reference.

    Matches are answer tokens that are in the reference, each at most as often as there. Tried tokens are answer
    tokens, but at least 1: NLTK's precision counts an empty answer as one wrong token.
    """
    given, wanted = tokenize(answer), tokenize(references[0])
    num_matches = sum((Counter(given) & Counter(wanted)).values())
    return num_matches, max(len(given), 1), len(given), len(wanted)


def bleu_of_sums(sums: Numbers, num_rows: Count) -> Numbers:
    """Corpus BLEU-1 in percent of (..., 4) sums of UNIGRAM_COUNTS: precision times brevity penalty, no smoothing."""
    num_matches, num_tried, num_answered, num_wanted = np.moveaxis(sums, -1, 0)
    penalty = np.exp(np.minimum(0.0, 1 - num_wanted / np.maximum(num_answered, 1)))
    return np.asarray(100 * num_matches / num_tried * penalty)


def sentence_bleu(answer: str, references: Sequence[str]) -> float:
    """BLEU-1 of the row alone, in [0, 1].

    Equals NLTK's `sentence_bleu` with smoothing method 1: a row without a match scores 0 there too.
    """
    counts = np.array(count_unigrams(answer, references), dtype=np.float64)
    return float(bleu_of_sums(counts, 1)) / 100


@cache
def _tokenizers() -> tuple[Callable[[str], list[str]], Callable[[str], list[str]]]:
    # Imported here because NLTK takes seconds to load, and `transfer` does not need it.
    import punkt
    from nltk.tokenize.destructive import NLTKWordTokenizer

    return punkt.tokenizer_for("english").tokenize, NLTKWordTokenizer().tokenize
