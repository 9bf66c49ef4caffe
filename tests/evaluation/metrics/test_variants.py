"""Each definition equals the code that defined it, on random and adversarial pairs of texts."""

import math
import random
import string
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from statistics import mean

import punkt
import pyarrow as pa
import pytest
import sacrebleu
from nltk.stem.snowball import SnowballStemmer
from nltk.tokenize import word_tokenize
from nltk.translate.bleu_score import SmoothingFunction, corpus_bleu, modified_precision, sentence_bleu

from openmedq.evaluation.metrics import METRICS
from openmedq.evaluation.metrics.bleu import count_unigrams
from openmedq.evaluation.metrics.overlap import open_recall, rouge_l
from openmedq.evaluation.metrics.predictions import measure
from openmedq.evaluation.metrics.tokens import ENGLISH_179, tokenize

from .scoring import find, score

NUM_PAIRS = 4_000
_WORDS = (
    "the a an is no yes not left right lung lungs lung. mass axial ct contrast mr t2-weighted x-ray 2.5 1,000 cells "
    "dying generously cannot gonna wanna isn't it's e.g. dr. ... .5 5. ? ! , ; : -- - a,b (mass) [x] <skipped> &amp; "
    "&lt;3 \"quoted\" 'tis `` '' # left#right 50% $5 µm é İ straße — “x” d'ye more'n\u00a0x the.left x.y end.\n new\n"
)
WORDS = _WORDS.split(" ")
CHARACTERS = string.ascii_letters + string.digits + string.punctuation + "  \n\t\u00a0éßİ—“”’…\u3000٣"

Pair = tuple[str, str]


def _draw_text(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.05:
        return rng.choice(["", " ", "the", ".", "\n", "#", "-", "is the"])
    if kind < 0.25:
        return "".join(rng.choices(CHARACTERS, k=rng.randrange(1, 12)))
    text = rng.choice(["", "", "", " "]).join([" ".join(rng.choices(WORDS, k=rng.randrange(1, 9)))])
    return text.upper() if rng.random() < 0.1 else text


@cache
def pairs() -> list[Pair]:
    """Answers and references: unrelated, equal, shuffled, cut, or with a word more."""
    rng = random.Random(0)
    drawn = []
    while len(drawn) < NUM_PAIRS:
        reference = _draw_text(rng)
        words = reference.split(" ")
        answer = rng.choice(
            [
                _draw_text(rng),
                reference,
                " ".join(rng.sample(words, len(words))),
                " ".join(words[: rng.randrange(len(words) + 1)]),
                f"{reference} {rng.choice(WORDS)}",
                reference.swapcase(),
            ]
        )
        drawn.append((answer, reference))
    return drawn


@cache
def nltk_tokens(text: str) -> list[str]:
    """`nltk.word_tokenize` with the sentences of the package `punkt`, because NLTK downloads its own model."""
    return [token for sentence in punkt.sent_tokenize(text) for token in word_tokenize(sentence, preserve_line=True)]


def quietly(function: Callable[..., float], *arguments: object, **options: object) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NLTK warns of orders without a match
        return float(function(*arguments, **options))


STEMMER = SnowballStemmer("english")


@cache
def imageclef_tokens(text: str) -> list[str]:
    words = nltk_tokens(text.lower().translate(str.maketrans("", "", string.punctuation)))
    return [STEMMER.stem(word) for word in words if word.lower() not in ENGLISH_179]


def imageclef(answer: str, reference: str, of_tokens: Callable[[list[str], list[str]], float]) -> float:
    scores = []
    for part in reference.split("#"):
        given, wanted = imageclef_tokens(answer), imageclef_tokens(part)
        scores.append(of_tokens(given, wanted) if given or wanted else 1)
    return max(scores)


def current_nltk(given: list[str], wanted: list[str]) -> float:
    return quietly(sentence_bleu, [wanted], given, smoothing_function=SmoothingFunction().method0)


def old_nltk(given: list[str], wanted: list[str]) -> float:
    """Orders before the first one without a match, with weights that are not normalized again."""
    precisions = [modified_precision([wanted], given, order) for order in (1, 2, 3, 4)]
    if not precisions[0].numerator:
        return 0
    total = 0.0
    for precision in precisions:
        if not precision.numerator:
            break
        total += 0.25 * math.log(precision)
    return (1 if len(given) > len(wanted) else math.exp(1 - len(wanted) / len(given))) * math.exp(total)


def naive(answer: str, reference: str) -> float:
    def split(text: str) -> list[str]:
        return text.lower().replace(".", " .").split(" ")

    return quietly(sentence_bleu, [split(reference.lower().strip())], split(answer.lower().strip()), weights=[1.0])


SENTENCES: dict[str, Callable[[str, str], float]] = {
    "bleu_imageclef": lambda answer, reference: imageclef(answer, reference, current_nltk),
    "bleu_imageclef_old": lambda answer, reference: imageclef(answer, reference, old_nltk),
    "bleu_characters": lambda answer, reference: (
        quietly(sentence_bleu, reference, answer, weights=(1, 0, 0, 0)) if reference else 0.0
    ),
    "bleu_medevalkit": naive,
    "bleu_1_sentence": lambda answer, reference: quietly(
        sentence_bleu,
        [nltk_tokens(reference.lower())],
        nltk_tokens(answer.lower()),
        weights=(1, 0, 0, 0),
        smoothing_function=SmoothingFunction().method1,
    ),
    "rouge_l": lambda answer, reference: slow_rouge_l(answer, reference),
}


def slow_rouge_l(answer: str, reference: str) -> float:
    """The table of Lin (2004), over runs of ASCII letters and digits."""

    def split(text: str) -> list[str]:
        return "".join(one if one in string.ascii_lowercase + string.digits else " " for one in text.lower()).split()

    given, wanted = split(answer), split(reference)
    table = [[0] * (len(wanted) + 1) for _ in range(len(given) + 1)]
    for i, one in enumerate(given):
        for j, other in enumerate(wanted):
            table[i + 1][j + 1] = table[i][j] + 1 if one == other else max(table[i][j + 1], table[i + 1][j])
    return 2 * table[-1][-1] / (len(given) + len(wanted)) if given and wanted else 0


@pytest.mark.parametrize("name", SENTENCES)
def test_scores_of_a_row_are_those_of_the_definition(name: str) -> None:
    of_row = find(name).of_row
    theirs = [SENTENCES[name](*pair) for pair in pairs()]
    for (answer, reference), value in zip(pairs(), theirs, strict=True):
        assert abs(of_row(answer, [reference]) - value) <= 1e-9 * min(value, 1) + 1e-300, (answer, reference)
    assert score(name, *zip(*pairs(), strict=True)) == pytest.approx(100 * mean(theirs), abs=1e-9)


def corpora() -> list[list[Pair]]:
    return [pairs(), *(pairs()[start : start + 7] for start in range(0, NUM_PAIRS, 7))]


def test_corpus_bleu_is_that_of_nltk() -> None:
    for corpus in corpora():
        given, wanted = ([nltk_tokens(text.lower()) for text in side] for side in zip(*corpus, strict=True))
        theirs = quietly(corpus_bleu, [[tokens] for tokens in wanted], given, weights=(1, 0, 0, 0))
        assert score("bleu_1", *zip(*corpus, strict=True)) == pytest.approx(100 * theirs, abs=1e-9)


def test_sacrebleu_is_that_of_sacrebleu() -> None:
    theirs = sacrebleu.BLEU(max_ngram_order=1, lowercase=True, tokenize="13a")
    for corpus in corpora():
        answers, references = map(list, zip(*corpus, strict=True))
        expected = theirs.corpus_score(answers, [references]).score
        assert score("bleu_sacrebleu", answers, references) == pytest.approx(expected, abs=1e-9)


def test_precision_is_that_of_nltk_over_the_corpus() -> None:
    for corpus in corpora():
        fractions = [
            modified_precision([nltk_tokens(reference.lower())], nltk_tokens(answer.lower()), 1)
            for answer, reference in corpus
        ]
        theirs = sum(each.numerator for each in fractions) / sum(each.denominator for each in fractions)
        assert score("bleu_precision", *zip(*corpus, strict=True)) == pytest.approx(100 * theirs, abs=1e-9)


def test_the_pairs_reach_what_the_tokenizer_shortens() -> None:
    texts = {text for pair in pairs() for text in pair}
    for text in texts:
        assert list(tokenize(text)) == nltk_tokens(text.lower()), text


def test_only_the_first_reference_counts_for_bleu_1() -> None:
    assert count_unigrams("MR", ["magnetic resonance", "mr"]) == (0, 1, 1, 2)
    assert count_unigrams("the the the the", ["the cat is on the mat"]) == (2, 4, 4, 6)


def test_imageclef_takes_the_best_of_the_accepted_answers() -> None:
    assert find("bleu_imageclef_old").of_row("mr", ["mri", "mr"]) == 1


def test_stop_words_are_those_of_the_challenge() -> None:
    assert len(ENGLISH_179) == 179
    assert {"the", "no", "not", "wouldn't", "s"} < ENGLISH_179
    assert "he'd" not in ENGLISH_179  # one of the 198 of later versions


@pytest.mark.parametrize(
    ("answer", "reference", "value"),
    [
        ("the left lung base", "left lung", 1),
        ("lung", "left lung", 0.5),
        ("a right lung", "left lung.", 0.5),
        ("lung lung", "left lung", 2 / 3),  # counts as often as the answer has it
        ("two", "2", 1),
        ("none", "0", 1),
        ("t2 weighted", "T2-weighted", 1),
        ("", "lung", 0),
        ("lung", "", 0),
    ],
)
def test_open_recall(answer: str, reference: str, value: float) -> None:
    assert open_recall(answer, [reference]) == pytest.approx(value)


def test_closed_accuracy_looks_for_the_reference_in_the_answer() -> None:
    closed = find("closed_accuracy").of_row
    assert closed("Yes, there is.", ["yes"]) == closed("It is on the left", ["left"]) == 1
    assert closed("no", ["yes"]) == closed("", ["yes"]) == closed("yes", [""]) == 0


def test_the_first_word_decides_between_yes_and_no() -> None:
    rows = [("Yes, there is no mass", ["Yes."]), ("There is none", ["no"]), ("left", ["left"])]
    texts = {"answer": [row[0] for row in rows], "reference": [row[1][0] for row in rows]}
    table = pa.table(texts | {"alternatives": [[]] * 3, "answer_type": ["closed"] * 3})
    measured, _ = measure(table, [find("yes_no_accuracy")])
    assert measured.tolist() == [[1, 1], [0, 1], [0, 0]]  # right, and counted


def test_rouge_takes_the_best_of_the_accepted_answers() -> None:
    assert rouge_l("a c b", ["x", "a b c"]) == pytest.approx(2 / 3)


def test_definitions_differ_on_the_same_answers() -> None:
    answers, references = zip(*pairs(), strict=True)
    values: Sequence[float] = [score(metric.name, answers, references) for metric in METRICS if metric.family]
    assert len(Counter(round(value, 3) for value in values)) == len(values) == 8
