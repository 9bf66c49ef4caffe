"""When two questions are the same question, asked in other words: a pairwise decision that needs no other row.

They have the same answer, and their stems (the questions without options) have the same words in the same order, apart
from numbering, casing, punctuation, whole sentences that one of them lacks, and few other words. Questions on one
template differ in few words too, so three things decide against a copy: a differing number, unit, negation or opposite;
a large share of differing content words, which is one word in a short question; and sentences that both lack.
Not found: paraphrases and translations.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher, get_close_matches
from functools import cached_property
from itertools import chain, combinations
from typing import NamedTuple

from openmedq.curate.fingerprints import normalize_text

MAX_CHANGED_WORDS = 3  # or MAX_CHANGED_SHARE of the words, in long stems
MAX_CHANGED_WORDS_SAME = 5  # if the context or the image is the same
MAX_CHANGED_SHARE = 0.1
# Below which share of the content words may differ, by what else is the same; none in a question of fewer than
# MIN_LONG_WORDS content words if it is the answer alone.
MIN_LONG_WORDS = 10
SHARE_WEAK_ANSWER = 0.12  # "yes": the answer tells little
SHARE_ANSWER = 0.2
SHARE_OPTIONS = 0.36  # two distractors
MIN_EQUAL = 0.5  # of all words, unless the context is the same
SHARE_IMAGE = 0.6  # the image, and an answer that tells something
SHARE_CONTEXT = 1.1  # a text of MIN_CONTEXT_WORDS words: the number of changed words decides
MIN_CONTEXT_WORDS = 30
SAME_CONTEXT = 0.8  # containment of words
MIN_CONTEXT = 0.5  # below it, two texts belong to different questions
MAX_ADDED_SHARE = 0.6  # of a stem's words in sentences that the other lacks, if both share fewer than
MIN_CONTENT_WORDS = 3
ALIKE = 0.75  # ratio of equal characters of a word's inflections and spellings

_SENTENCE_END = re.compile(r"(?<=[.?!])\s+|\n+")
_OPTIONS = re.compile(
    r"(?:(?:answer\s+)?(?:options|choices)\s*[:.]?\s*)?(?<!\w)\(?[a1][).:]\s.*?\s\(?[b2][).:]\s", re.I | re.S
)
_OPTION = re.compile(r"(?<!\w)\(?([a-e1-5])[).:]\s+(.*?)(?=\s+\(?[a-e1-5][).:]\s|\s*$)", re.I | re.S)
_LETTER = re.compile(r"\s*\(?([a-h]|\d)\s*[).:]\s+", re.I)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_NUMBERING = re.compile(
    r"(?:(?:question|q|item|case|problem|exercise|no|number)\s)*(?:q?\d{1,5}|[a-h]|[ivx]{1,5})|q|question"
)

# Words that a question can exchange: its grammar, and what medical questions have in common.
_COMMON = """any some within among
    a an the this that these those it its he she his her him they their them we you your our i my of in on at
    to by for from with as into onto over under about between through during and or but if then than so also is are was
    were be been being am do does did has have had can could may might shall should will would must there here what
    which who whom whose when where why how following given below above s t very just please
    image picture photo figure scan show shows shown showing see seen seem seems appear appears find found present
    presents presented patient patients person people individual individuals subject subjects case cases child children
    adult adults common commonly frequent frequently cause causes caused etiology reason choice drug drugs agent agents
    medication treatment treatments therapy management investigation test tests diagnosis diagnostic disease disorder
    condition sign signs symptom symptoms finding findings feature features characteristic characteristics associated
    association related relation due owing likely probable possible best next step appropriate explanation consistent
    important effect effects impact role part type kind sort regarding concerning considered known called termed used
    use uses useful using statement statements answer choose select option evidence demonstrates demonstrate reveals
    reveal revealed exhibits depict depicts depicted display displays displayed visible located location situated site
    comes came visits visited complaining complains because history clinic physician doctor hospital"""
_NEGATIONS = """no not never none neither nor without except cannot don doesn didn isn aren wasn weren won wouldn
    shouldn couldn hasn haven hadn non false incorrect wrong"""
_QUANTITIES = """one two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty sixty seventy
    eighty ninety hundred thousand half double first second third fourth fifth
    % mg g kg mcg ug µg μg ng pg ml l dl cl ul µl mmol mol µmol μmol umol nmol meq iu u mm cm m km nm hg mmhg kpa mgdl
    seconds minute minutes hour hours day days week weeks month months year years bpm hz khz mhz db kcal gy mgy rad
    sv msv ppm"""
_OPPOSITES = """left right bilateral unilateral both; most least; more less fewer; greater smaller; higher lower;
    high low; large small; upper lower; anterior posterior; medial lateral; proximal distal; superior inferior;
    dorsal ventral; cranial caudal; internal external; increase decrease reduce; increased decreased reduced elevated;
    increases decreases reduces; increasing decreasing; male female; man woman; men women; boy girl; mother father;
    acute chronic subacute; before after during; early late; benign malignant; positive negative; normal abnormal;
    absent present; always never rarely; correct incorrect; true false; old young; arterial venous; artery vein;
    systolic diastolic; sensory motor; primary secondary; direct indirect; open closed; active passive; wet dry;
    maximum minimum; sensitivity specificity; aerobic anaerobic; afferent efferent; white gray grey; axial sagittal
    coronal; fast slow; long short; hot cold; inspiration expiration; flexion extension; abduction adduction"""
_WEAK = "yes no maybe true false none unknown present absent"
_PREFIXES = re.compile(
    "hyper|hypo|un|in|im|ir|non|anti|pre|post|intra|extra|inter|endo|exo|ecto|macro|micro|brady|tachy|dis|mal|ab|ad|de|a"
)

_IS_COMMON, _IS_NEGATION, _IS_QUANTITY, _IS_WEAK = (
    frozenset(words.split()) for words in (_COMMON, _NEGATIONS, _QUANTITIES, _WEAK)
)
_IS_OPPOSITE = {frozenset(pair) for line in _OPPOSITES.split(";") for pair in combinations(line.split(), 2)}

Words = list[str]


@dataclass(frozen=True)
class Question:
    """One turn of a row, as published."""

    question: str
    context: str
    options: tuple[str, ...]
    answer: str

    @cached_property
    def answer_words(self) -> Words:
        """The answer without its letter; a letter alone stands for its option."""
        text = self.answer.strip()
        options = [_LETTER.sub("", option, count=1) for option in self.options]
        letter = text.strip("(). :").lower()
        if len(letter) == 1 and not any(normalize_text(option) == letter for option in options):
            place = "abcdefgh".find(letter)
            if 0 <= place < len(options):
                text = options[place]
            elif found := dict(_OPTION.findall(self.question)):
                text = next((option for name, option in found.items() if name.lower() == letter), text)
        return normalize_text(_LETTER.sub("", text, count=1)).split()

    @cached_property
    def option_keys(self) -> frozenset[str]:
        """The options without their letters."""
        return frozenset(normalize_text(_LETTER.sub("", option, count=1)) for option in self.options)

    @cached_property
    def context_words(self) -> frozenset[str]:
        """The distinct words of the context."""
        return frozenset(normalize_text(self.context).split())

    @cached_property
    def whole(self) -> list[Words]:
        """The question's sentences, as words."""
        return _split(self.question)

    @cached_property
    def stem(self) -> list[Words] | None:
        """The sentences before the options that the question includes, or None if it includes no options."""
        match = _OPTIONS.search(self.question)
        return _split(self.question[: match.start()]) if match else None

    @cached_property
    def with_context(self) -> list[Words]:
        """The sentences of the context and of the question."""
        return _split(f"{self.context}\n{self.question}")


class Allowance(NamedTuple):
    """How much of a question may differ."""

    share: float  # of the content words
    words: int


def compare(one: Question, other: Question, *, is_image_same: bool = False) -> float | None:
    """The share of words that two copies have in common, or None if the questions are not copies."""
    if one.answer_words != other.answer_words or not one.answer_words:
        return None
    allowed = _allow(one, other, is_image_same)
    if allowed is None:
        return None
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
    if all(word in _IS_WEAK or word.isdecimal() for word in one.answer_words):
        share = SHARE_WEAK_ANSWER
    elif is_image_same:
        share = SHARE_IMAGE
    else:
        share = SHARE_OPTIONS if len(one.option_keys & other.option_keys) > 2 else SHARE_ANSWER
    smaller, larger = sorted((one.context_words, other.context_words), key=len)
    if smaller:
        containment = len(smaller & larger) / len(smaller)
        if containment < MIN_CONTEXT:
            return None
        if containment >= SAME_CONTEXT and len(smaller) >= MIN_CONTEXT_WORDS:
            return Allowance(max(share, SHARE_CONTEXT), MAX_CHANGED_WORDS_SAME)
    return Allowance(share, words)


def _split(text: str) -> list[Words]:
    text = _THOUSANDS.sub("", text)
    sentences = [normalize_text(sentence).split() for sentence in _SENTENCE_END.split(text)]
    return [words for words in sentences if words]


def _align(left: list[Words], right: list[Words], allowed: Allowance) -> float | None:
    """Compare two stems; the share of equal words, or None if they differ by too much."""
    left, right = _strip_numbering(left, right), _strip_numbering(right, left)
    one, other = [*chain(*left)], [*chain(*right)]
    if not one or not other:
        return None
    if one == other:
        return 1.0
    blocks = SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks()
    same_left = {block.a + place for block in blocks for place in range(block.size)}
    same_right = {block.b + place for block in blocks for place in range(block.size)}
    changed_left, added_left = _collect(left, same_left)
    changed_right, added_right = _collect(right, same_right)
    if added_left and added_right:  # one sentence was replaced by another
        changed_left, added_left = [word for place, word in enumerate(one) if place not in same_left], []
        changed_right, added_right = [word for place, word in enumerate(other) if place not in same_right], []
    content = min(_count_content(one) - _count_content(added_left), _count_content(other) - _count_content(added_right))
    is_most_added = max(len(added_left) / len(one), len(added_right) / len(other)) > MAX_ADDED_SHARE
    if is_most_added and content < MIN_CONTENT_WORDS:
        return None
    changed_left, changed_right = _drop_alike(changed_left, changed_right)
    changed = max(len(changed_left), len(changed_right))
    sizes = len(one) - len(added_left), len(other) - len(added_right)
    if changed > max(allowed.words, MAX_CHANGED_SHARE * min(sizes)):
        return None
    if any(map(_is_decisive, changed_left + changed_right)) or _has_opposites(changed_left, changed_right):
        return None
    differing = (_count_content(changed_left) + _count_content(changed_right)) / 2
    is_short = content < MIN_LONG_WORDS and allowed.share <= SHARE_ANSWER
    if differing and (differing >= allowed.share * content or is_short):
        return None
    equal = 1 - changed / max(sizes)
    return equal if equal >= MIN_EQUAL or allowed.share > 1 else None


def _strip_numbering(stem: list[Words], other: list[Words]) -> list[Words]:
    """Remove "Question 12:" or "12." at the start, if the other stem starts with what follows."""
    words, start = [*chain(*stem)], [*chain(*other)][:2]
    for size in range(1, 4):
        if words[size : size + 2] == start and _NUMBERING.fullmatch(" ".join(words[:size])):
            rest = []
            for sentence in stem:
                rest.append(sentence[size:])
                size = max(0, size - len(sentence))
            return [sentence for sentence in rest if sentence]
    return stem


def _collect(stem: list[Words], same: set[int]) -> tuple[Words, Words]:
    """The words that the other stem lacks: of sentences that it has, and of sentences that it lacks."""
    changed: Words = []
    added: Words = []
    start = 0
    for sentence in stem:
        lacking = [word for place, word in enumerate(sentence, start) if place not in same]
        start += len(sentence)
        if 2 * len(lacking) > len(sentence) and len(stem) > 1:
            added += sentence
        else:
            changed += lacking
    return changed, added


def _drop_alike(left: Words, right: Words) -> tuple[Words, Words]:
    """Remove words whose inflection or other spelling is on the other side."""
    others = list(right)
    rest = []
    for word in left:
        matches = get_close_matches(word, others, n=1, cutoff=ALIKE if len(word) > 3 else 1.0)
        if matches and not (_is_decisive(word) or _is_decisive(matches[0]) or _is_opposite(word, matches[0])):
            others.remove(matches[0])
        else:
            rest.append(word)
    return rest, others


def _is_decisive(word: str) -> bool:
    return word in _IS_NEGATION or word in _IS_QUANTITY or any(char.isdigit() for char in word)


def _has_opposites(left: Words, right: Words) -> bool:
    return any(_is_opposite(word, other) for word in left for other in right)


def _is_opposite(word: str, other: str) -> bool:
    """As left and right, hyperkalemia and hypokalemia, typical and atypical."""
    if word == other:
        return False
    if frozenset((word, other)) in _IS_OPPOSITE:
        return True
    roots = {word, _PREFIXES.sub("", word, count=1)} & {other, _PREFIXES.sub("", other, count=1)}
    return any(len(root) > 3 for root in roots)


def _count_content(words: Words) -> int:
    return sum(word not in _IS_COMMON for word in words)
