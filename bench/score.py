"""Seconds to score predictions by all definitions with clustered intervals, beside NLTK's BLEU of one definition.

    nltk      `word_tokenize` of answers and references in lower case, then `corpus_bleu` of order 1: one figure
    openmedq  `score_predictions`: all definitions, for all rows, open and closed ones, and each group of questions,
              with intervals of `--resamples` resamples of images

Answers are drawn from `--distinct` distinct ones with Zipf's frequencies, as real answers repeat: in the published
SLAKE, VQA-RAD and PathVQA a third or less of the answers are distinct. Half of the rows are closed questions, answered
with yes or no. One image has `--questions` questions. Each way runs in a process of its own.
"""

import argparse
import json
import random
import sys
import warnings
from collections.abc import Callable
from typing import Any

import apart
import pyarrow as pa

from openmedq.evaluation.metrics.predictions import prediction_schema, score_predictions
from openmedq.evaluation.metrics.tokens import stem, tokenize

_WORDS = (
    "left right upper lower lobe lung heart liver kidney spleen brain cell nucleus tissue mass lesion effusion edema "
    "fracture opacity axial coronal sagittal ct mri x-ray ultrasound contrast enhanced acute chronic benign malignant "
    "of the in with and a an is there no normal abnormal small large bilateral adenocarcinoma carcinoma inflammation"
)
WORDS = _WORDS.split()
ORGANS = ("lung", "brain", "liver", "heart", "kidney", "pelvis", "neck", "spleen")


def main() -> None:
    """Measure both ways and print a table; with `--one`, measure one way and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--distinct", type=float, default=0.3, help="share of distinct answers among the open rows")
    parser.add_argument("--questions", type=int, default=3, help="questions on one image")
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--one", choices=("nltk", "openmedq"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        rows = make_rows(arguments.rows, arguments.distinct, arguments.questions)
        work = prepare_nltk(rows) if arguments.one == "nltk" else prepare(rows, arguments.resamples)
        bleu_1, times = apart.measure(work)
        texts = [row[name] for row in rows for name in ("answer", "reference")]
        print(json.dumps({"bleu_1": bleu_1, "distinct": len({*texts}) / len(texts), **times}))
        return
    print(f"{'way':<10} {'wall s':>7} {'CPU s':>7} {'MiB':>6} {'distinct texts':>15} {'BLEU-1':>7}")
    for way in ("nltk", "openmedq"):
        each = apart.run(__file__, way, *sys.argv[1:])
        print(
            f"{way:<10} {each['seconds']:>7.1f} {each['cpu_s']:>7.1f} {each['peak_mb']:>6.0f} "
            f"{each['distinct']:>15.1%} {each['bleu_1']:>7.3f}"
        )


def make_rows(num_rows: int, distinct: float, num_questions: int) -> list[dict[str, Any]]:
    """Rows of predictions.parquet: half right, a quarter near the reference, a quarter unrelated."""
    rng = random.Random(0)
    num_open = num_rows // 2
    texts = [" ".join(rng.choices(WORDS, k=rng.choice((1, 1, 2, 2, 3, 4, 6, 9)))) for _ in range(num_open)]
    texts = list(dict.fromkeys(f"{text} {number}" for number, text in enumerate(texts[: int(num_open * distinct)])))
    weights = [1 / (rank + 1) for rank in range(len(texts))]
    often = rng.choices(texts, weights, k=num_open)
    once = rng.sample(texts, len(texts))
    rows = []
    for number in range(num_rows):
        is_open = number % 2 == 0
        place = number // 2
        reference = (once[place] if place < len(once) else often[place]) if is_open else rng.choice(("Yes", "No"))
        kind = rng.random()
        answer = reference if kind < 0.5 else f"the {reference}" if kind < 0.75 else rng.choice(often[:1000])
        image = f"image-{number // num_questions}"
        rows.append(
            {
                "id": f"bench/{number}",
                "source": "bench",
                "split": "test",
                "task": "vqa",
                "question": "What is shown?",
                "options": [],
                "reference": reference,
                "alternatives": [],
                "answer": answer if is_open else rng.choice(("Yes", "No", "No.")),
                "answer_type": "open" if is_open else "closed",
                "question_type": f"type {number % 7}",
                "organ": ORGANS[number // num_questions % len(ORGANS)],
                "modality": ("CT", "MRI", "X-Ray")[number // num_questions % 3],
                "image_ids": [image],
                "contamination": None if number // num_questions % 2 == 0 else "same pixels",
                "baseline_answer": "no",
                "provenance": {"file": "rows.json", "record": str(number)},
                "licence": "",
            }
        )
    return rows


def prepare(rows: list[dict[str, Any]], num_resamples: int) -> Callable[[], float]:
    """All definitions."""
    table = pa.Table.from_pylist(rows, prediction_schema())
    tokenize("Loads the model."), stem("loads NLTK")
    options: dict[str, Any] = {"num_resamples": num_resamples, "confidence": 0.95, "seed": 0}
    return lambda: score_predictions(table, {"bench": len(rows)}, **options)["all"]["bleu_1"]


def prepare_nltk(rows: list[dict[str, Any]]) -> Callable[[], float]:
    """One definition. The sentences are split by the package `punkt`, because NLTK downloads its own model."""
    import punkt
    from nltk.tokenize import word_tokenize
    from nltk.translate.bleu_score import corpus_bleu

    def split(text: str) -> list[str]:
        sentences = punkt.sent_tokenize(text.lower())
        return [token for sentence in sentences for token in word_tokenize(sentence, preserve_line=True)]

    def score() -> float:
        given = [split(row["answer"]) for row in rows]
        wanted = [[split(row["reference"])] for row in rows]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return 100 * float(corpus_bleu(wanted, given, weights=(1, 0, 0, 0)))

    split("loads the model.")
    return score


if __name__ == "__main__":
    main()
