"""Tokens of a text under each definition. Equal texts are tokenized once."""

import re
import string
from collections.abc import Callable
from functools import cache, lru_cache

from openmedq.evaluation.metrics.metric import CACHED_TEXTS

# Texts of plain words, most of all answers: NLTK's thirty substitutions leave the words as they are.
_PLAIN = re.compile(r"[a-z0-9]+(?:(?:,? |-)[a-z0-9]+)*[.?]?")
_JOINED = re.compile(r"\b(?:cannot|gimme|gonna|gotta|lemme|wanna)\b")  # which NLTK splits
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_13A = (
    (re.compile(r"([{-~\[-` -&(-+:-@/])"), r" \1 "),
    (re.compile(r"([^0-9])([.,])"), r"\1 \2 "),
    (re.compile(r"([.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)
# The 179 English stop words that NLTK distributed in the years of the ImageCLEF challenges; later versions have 198.
# NLTK's own corpus is a download, and a score must not depend on its date.
_WORDS = """
i me my myself we our ours ourselves you you're you've you'll you'd your yours yourself yourselves he him
his himself she she's her hers herself it it's its itself they them their theirs themselves what which who
whom this that that'll these those am is are was were be been being have has had having do does did doing a
an the and but if or because as until while of at by for with about against between into through during
before after above below to from up down in out on off over under again further then once here there when
where why how all any both each few more most other some such no nor not only own same so than too very s t
can will just don don't should should've now d ll m o re ve y ain aren aren't couldn couldn't didn didn't
doesn doesn't hadn hadn't hasn hasn't haven haven't isn isn't ma mightn mightn't mustn mustn't needn needn't
shan shan't shouldn shouldn't wasn wasn't weren weren't won won't wouldn wouldn't
"""
ENGLISH_179 = frozenset(_WORDS.split())
_13A_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))


@lru_cache(maxsize=CACHED_TEXTS)
def tokenize(text: str) -> tuple[str, ...]:
    """Tokens of `nltk.word_tokenize(text.lower())`.

    `word_tokenize` splits English sentences with Punkt (here the model of the package `punkt`, because NLTK would
    download its own), then words with `NLTKWordTokenizer`.
    """
    lowered = text.lower()
    if _PLAIN.fullmatch(lowered) and not _JOINED.search(lowered):
        end = lowered[-1] if lowered[-1] in ".?" else ""
        return tuple(f"{lowered.removesuffix(end).replace(',', ' ,')} {end}".split())
    split_sentences, split_words = _tokenizers()
    return tuple(token for sentence in split_sentences(lowered) for token in split_words(sentence))


@lru_cache(maxsize=CACHED_TEXTS)
def stem(text: str) -> tuple[str, ...]:
    """The tokens that the ImageCLEF evaluators compare: without ASCII punctuation and stop words, Snowball stems."""
    tokens = tokenize(text.lower().translate(_NO_PUNCTUATION))
    return tuple(_stemmer()(token) for token in tokens if token not in ENGLISH_179)


@lru_cache(maxsize=CACHED_TEXTS)
def tokenize_13a(text: str) -> tuple[str, ...]:
    """Tokens of sacrebleu's tokenizer 13a, that of `mteval-v13a.pl`, of the text in lower case."""
    line = text.lower().rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, character in _13A_ENTITIES:
        line = line.replace(entity, character)
    line = f" {line} "
    for pattern, replacement in _13A:
        line = pattern.sub(replacement, line)
    return tuple(line.split())


def split_naively(text: str) -> tuple[str, ...]:
    """Tokens of MedEvalKit: split at each space, a space before each full stop."""
    return tuple(text.lower().strip().replace(".", " .").split(" "))


@lru_cache(maxsize=CACHED_TEXTS)
def split_alphanumeric(text: str) -> tuple[str, ...]:
    """Tokens of the package `rouge_score` without its stemmer: runs of a-z and 0-9 of the text in lower case."""
    return tuple(re.findall("[a-z0-9]+", text.lower()))


@cache
def _tokenizers() -> tuple[Callable[[str], list[str]], Callable[[str], list[str]]]:
    # Imported here because NLTK takes seconds to load, and `transfer` does not need it.
    import punkt
    from nltk.tokenize.destructive import NLTKWordTokenizer

    return punkt.tokenizer_for("english").tokenize, NLTKWordTokenizer().tokenize


@cache
def _stemmer() -> Callable[[str], str]:
    from nltk.stem.snowball import SnowballStemmer

    return lru_cache(maxsize=CACHED_TEXTS)(SnowballStemmer("english").stem)
