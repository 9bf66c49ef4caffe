"""When two questions are the same question, asked in other words: a pairwise decision that needs no other row.

They have the same answer, and their stems (the questions without options) have the same words in the same order, apart
from numbering, casing, punctuation, whole sentences that one of them lacks, and few other words. Questions on one
template differ in few words too, so this decides against a copy: a differing number, unit, negation, organ or opposite;
one phrase in the place of another; sentences that both lack; and a large share of differing content words, unless the
options are the same too. Then in doubt it is a copy: a dropped training row costs less than a trained test question.
Not found: paraphrases and translations.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property, lru_cache
from itertools import chain
from typing import NamedTuple

from openmedq.curate.fingerprints import normalize_text
from openmedq.curate.question_words import (
    WEAK_ANSWERS,
    Words,
    count_content,
    count_words,
    drop_alike,
    has_digits,
    has_lost_punctuation,
    has_opposites,
    has_terms,
    is_decisive,
    is_weak,
    list_words,
    split_sentences,
    strip_numbering,
)

MAX_CHANGED_WORDS = 3  # or MAX_CHANGED_SHARE of the words, in long stems
MAX_CHANGED_WORDS_SAME = 5  # if the context or the image is the same
MAX_CHANGED_SHARE = 0.1
MIN_EQUAL = 0.5  # of all words
MIN_EQUAL_ANY = 0.4  # if any share of the content words may differ
# Below which share of the content words may differ, by what else is the same: the more it tells, the more.
SHARE_WEAK_ANSWER = 0.12  # "yes": the answer tells little
SHARE_ANSWER = 0.2  # and no word, in a question of fewer than MIN_LONG_WORDS content words
SHARE_IMAGE = 0.6  # the image, and an answer that tells something
SHARE_ANY = math.inf  # the options, or a text of MIN_CONTEXT_WORDS words: the number of changed words decides
MIN_LONG_WORDS = 10
MIN_CONTEXT_WORDS = 30
SAME_CONTEXT = 0.8  # containment of words
MIN_CONTEXT = 0.5  # below it, two texts belong to different questions
MAX_ADDED_SHARE = 0.6  # of a stem's words in sentences that the other lacks, if both share fewer than
MIN_CONTENT_WORDS = 3

_OPEN = r"[(\[（]?"  # before an option's letter, and after it; not that of "a.m."
_MARK = r"(?:[)\].:]\s+|[)\]](?=[^\W\d])|[.:](?=[^\W\d]{2})|[、．：）])"
_HEAD = r"(?:answer\s+)?\b(?:options|choices)\s*"
_OPTIONS = re.compile(rf"{_HEAD}:|(?:{_HEAD}\.?\s*)?(?<!\w){_OPEN}[a1]{_MARK}.*?\s{_OPEN}[b2]{_MARK}", re.I | re.S)
_OPTION = re.compile(rf"(?<!\w){_OPEN}([a-e1-5]){_MARK}(.*?)(?=\s+{_OPEN}[a-e1-5]{_MARK}|\s*$)", re.I | re.S)
_LETTER = re.compile(
    rf"^\s*{_OPEN}(?:[a-h](?:\s*[)\].:\u2013-]\s+|[)\].:](?=[^\W\d]{{2}})|[、．：）])|\d\s*[)\].:]\s+)", re.I
)
_ANSWER = re.compile(
    r"^(?:the\s+)?(?:(?:correct|final)\s+)?(?:answer|option)(?:\s+is\b|\s*:|(?=\s+\(?[a-h]\b))\s*", re.I
)
_JOINING = frozenset(("a", "an", "the", "and", "or", "of", "with"))


@dataclass(frozen=True)
class Question:
    """One turn of a row, as published."""

    question: str
    context: str
    options: tuple[str, ...]
    answer: str

    @cached_property
    def answer_words(self) -> Words:
        """The answer without "The answer is" and its letter; a letter alone stands for its option."""
        text = _ANSWER.sub("", self.answer.strip(), count=1)
        letter = text.strip("()[]. :").lower()
        if len(letter) == 1 and not any(normalize_text(_strip(option)) == letter for option in self.options):
            place = "abcdefgh".find(letter)
            if 0 <= place < len(self.options):
                text = self.options[place]
            elif self.stem is not None:
                found = dict(_OPTION.findall(self.question))
                text = next((option for name, option in found.items() if name.lower() == letter), text)
        return _list_option(text)

    @cached_property
    def option_keys(self) -> frozenset[str]:
        """The options without their letters."""
        return frozenset(" ".join(_list_option(option)) for option in self.options)

    @cached_property
    def context_words(self) -> frozenset[str]:
        """The distinct words of the context."""
        return frozenset(normalize_text(self.context).split())

    @cached_property
    def whole(self) -> list[Words]:
        """The question's sentences, as words."""
        return split_sentences(self.question)

    @cached_property
    def stem(self) -> list[Words] | None:
        """The sentences before the options that the question includes, or None if it includes no options."""
        match = _OPTIONS.search(self.question)
        return split_sentences(self.question[: match.start()]) if match else None

    @cached_property
    def with_context(self) -> list[Words]:
        """The sentences of the context and of the question."""
        return split_sentences(f"{self.context}\n{self.question}")


@lru_cache(maxsize=2**16)  # options and answers are short, and many questions have the same
def _list_option(text: str) -> Words:
    """The words of an option or an answer without its letter."""
    return list_words(_strip(text))


def _strip(option: str) -> str:
    return _LETTER.sub("", option, count=1)


Steps = Sequence[tuple[str, int, int, int, int]]  # of SequenceMatcher.get_opcodes


class Allowance(NamedTuple):
    """How much of a question may differ."""

    share: float  # of the content words
    words: int
    is_offered: bool = False  # whether the options are the same too
    is_stripped: bool = False  # whether one of the questions has lost all punctuation, also that of its numbers


def compare(one: Question, other: Question, *, is_image_same: bool = False) -> float | None:
    """The share of words that two copies have in common, or None if the questions are not copies."""
    if one.answer_words != other.answer_words or not one.answer_words:
        return None
    allowed = _allow(one, other, is_image_same)
    if allowed is None:
        return None
    return _compare_stems(one, other, allowed._replace(is_stripped=has_lost_punctuation(one.question, other.question)))


def _compare_stems(one: Question, other: Question, allowed: Allowance) -> float | None:
    if bool(one.context_words) != bool(other.context_words):
        found = _align(one.with_context, other.with_context, allowed)
        if found is not None:
            return found
    if (one.stem is None) == (other.stem is None):
        return _align(one.whole, other.whole, allowed)
    return _align(one.stem or one.whole, other.stem or other.whole, allowed)


def _allow(one: Question, other: Question, is_image_same: bool) -> Allowance | None:
    """How much of the question may differ; None if the contexts are different texts."""
    words = MAX_CHANGED_WORDS_SAME if is_image_same else MAX_CHANGED_WORDS
    is_offered = len((one.option_keys & other.option_keys) - WEAK_ANSWERS) > 2
    if is_offered:
        share = SHARE_ANY
    elif is_weak(one.answer_words):
        share = SHARE_WEAK_ANSWER
    else:
        share = SHARE_IMAGE if is_image_same else SHARE_ANSWER
    smaller, larger = sorted((one.context_words, other.context_words), key=len)
    if smaller:
        containment = len(smaller & larger) / len(smaller)
        if containment < MIN_CONTEXT:
            return None
        if containment >= SAME_CONTEXT and len(smaller) >= MIN_CONTEXT_WORDS:
            return Allowance(SHARE_ANY, MAX_CHANGED_WORDS_SAME)
    return Allowance(share, words, is_offered)


def _align(left: list[Words], right: list[Words], allowed: Allowance) -> float | None:
    """Compare two stems; the share of equal words, or None if they differ by too much."""
    left, right = strip_numbering(left, right), strip_numbering(right, left)
    one, other = [*chain(*left)], [*chain(*right)]
    if not one or not other:
        return None
    if one == other:
        return 1.0
    steps = SequenceMatcher(None, one, other, autojunk=False).get_opcodes()
    same_left = {place for tag, start, end, _, _ in steps if tag == "equal" for place in range(start, end)}
    same_right = {place for tag, _, _, start, end in steps if tag == "equal" for place in range(start, end)}
    added_left, added_right = _find_added(left, same_left), _find_added(right, same_right)
    if added_left and added_right:  # one sentence was replaced by another
        added_left, added_right = set(), set()
    phrases = _pair_phrases(one, other, steps, added_left, added_right, is_stripped=allowed.is_stripped)
    content = min(
        count_content([word for place, word in enumerate(stem) if place not in added])
        for stem, added in ((one, added_left), (other, added_right))
    )
    is_most_added = max(len(added_left) / len(one), len(added_right) / len(other)) > MAX_ADDED_SHARE
    is_bound = allowed.words > MAX_CHANGED_WORDS  # to an image or a context
    if is_most_added and content < (1 if allowed.is_offered or is_bound else MIN_CONTENT_WORDS):
        return None
    changed_left, changed_right = drop_alike(
        *([word for phrase in phrases for word in phrase[side]] for side in (0, 1))
    )
    changed = max(count_words(changed_left), count_words(changed_right))
    sizes = len(one) - len(added_left), len(other) - len(added_right)
    if changed > max(allowed.words, MAX_CHANGED_SHARE * min(sizes)):
        return None
    if is_decisive(changed_left, changed_right) or has_opposites(changed_left, changed_right):
        return None
    phrases = [phrase for phrase in (drop_alike(*phrase) for phrase in phrases) if any(phrase)]
    is_long = content >= MIN_LONG_WORDS
    if len(phrases) == 1 and not is_bound and _is_exchanged(*phrases[0], is_long=is_long):
        return None
    differing = (count_content(changed_left) + count_content(changed_right)) / 2
    if differing and (differing >= allowed.share * content or (allowed.share <= SHARE_ANSWER and not is_long)):
        return None
    equal = 1 - changed / max(sizes)
    return equal if equal >= (MIN_EQUAL_ANY if allowed.share == SHARE_ANY else MIN_EQUAL) else None


def _find_added(stem: list[Words], same: set[int]) -> set[int]:
    """The places of the words of sentences that the other stem lacks."""
    added: set[int] = set()
    start = 0
    for sentence in stem:
        places = range(start, start + len(sentence))
        start += len(sentence)
        if len(stem) > 1 and 2 * sum(place not in same for place in places) > len(sentence):
            added.update(places)
    return added


def _pair_phrases(
    one: Words, other: Words, steps: Steps, added_left: set[int], added_right: set[int], *, is_stripped: bool
) -> list[tuple[Words, Words]]:
    """What differs, as pairs of phrases; an article or the like between two differences does not divide a phrase."""
    phrases: list[tuple[Words, Words]] = []
    is_open = False
    for tag, start, end, other_start, other_end in steps:
        if tag == "equal":
            is_open = is_open and end - start == 1 and one[start] in _JOINING
            continue
        left = [one[place] for place in range(start, end) if place not in added_left]
        right = [other[place] for place in range(other_start, other_end) if place not in added_right]
        if not is_open:
            phrases.append(([], []))
        if not _is_same_spelling(left, right, is_stripped=is_stripped):
            phrases[-1][0].extend(left)
            phrases[-1][1].extend(right)
        is_open = True
    return phrases


def _is_same_spelling(left: Words, right: Words, *, is_stripped: bool) -> bool:
    """Whether two phrases differ in spaces and punctuation alone; a number without its point is another one."""
    if "".join(left) != "".join(right):
        return False
    shorter, longer = sorted((left, right), key=len)
    is_thousands = len(shorter) == 1 and all(len(group) == len("000") for group in longer[1:])
    return is_stripped or is_thousands or not has_digits(left)


def _is_exchanged(left: Words, right: Words, *, is_long: bool) -> bool:
    """Whether a phrase was exchanged for another phrase, as in questions on one template."""
    less, more = sorted((count_content(left), count_content(right)))
    if less == 0 or (more == 1 and len(left) == len(right)):  # one word for another is as likely an edit
        return False
    terms = has_terms(left), has_terms(right)
    is_other = all(terms) or (is_long and (any(terms) or len(left) != len(right)))
    return is_other or (less > 1 and more > 2)
