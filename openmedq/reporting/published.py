"""Figures that the paper reports: "OpenMedQ: Broad Open Pretraining for Medical Vision-Language Models".

BLEU-1 in percent, macro-F1 in [0, 1]. The paper does not state how it tokenizes for BLEU-1.
"""

from __future__ import annotations

from dataclasses import dataclass

NUM_SOURCES = 14  # of the paper's mix
NUM_ROWS = 3_350_000  # of the paper's mix, rounded; the paper does not state how it counts them


@dataclass(frozen=True)
class Figure:
    """One score of the paper, and the scores that it compares with."""

    name: str
    source: str | None  # our dataset; None for the mean over the benchmarks
    metric: str  # our metric
    value: float
    others: tuple[tuple[str, float], ...]


FIGURES = (
    Figure("PathVQA, BLEU-1", "pathvqa", "bleu_1", 75.9, (("Med-PaLM M, up to 562B", 72.27), ("prefix tuning", 70.3))),
    Figure("VQA-Med 2019, BLEU-1", "vqa_med_2019", "bleu_1", 64.5, (("best of the 2019 challenge", 64.4),)),
    Figure(
        "Eight unseen benchmarks, mean macro-F1",
        None,
        "macro_f1",
        0.757,
        (("PubMedCLIP", 0.746), ("PMC-CLIP", 0.745), ("BiomedCLIP", 0.745), ("from scratch", 0.616)),
    ),
)


@dataclass(frozen=True)
class Definition:
    """Which of our definitions of BLEU-1 a published figure may be held against, and why."""

    source: str  # our dataset
    title: str  # its title
    name: str
    value: float
    metrics: tuple[str, ...]  # our metrics; none if the definition is not known
    reason: str


_OURS = "the paper gives no definition; other public code of its first author computes these two"

DEFINITIONS = (
    Definition("pathvqa", "PathVQA", "OpenMedQ, paper", 75.9, ("bleu_1", "bleu_1_sentence"), _OURS),
    Definition("pathvqa", "PathVQA", "Med-PaLM M, up to 562B", 72.27, (), "its code is not public"),
    Definition(
        "pathvqa",
        "PathVQA",
        "prefix tuning",
        70.3,
        ("bleu_characters",),
        "its public code passes strings to NLTK, which compares characters; an answer equal to the reference scores "
        "less than 100. It is not verified that this code made the figure",
    ),
    Definition("vqa_med_2019", "VQA-Med 2019", "OpenMedQ, paper", 64.5, ("bleu_1", "bleu_1_sentence"), _OURS),
    Definition(
        "vqa_med_2019",
        "VQA-Med 2019",
        "best of the 2019 challenge",
        64.4,
        ("bleu_imageclef_old",),
        "the challenge's evaluator of 2020 (that of 2019 is not published) gives such scores under NLTK 3.2.5 or older "
        "only; under current NLTK it scores an answer of fewer than four tokens as almost 0",
    ),
)

ENCODERS = {  # the paper's names of the encoders that it compares with its own
    "pubmedclip": "PubMedCLIP",
    "pmc_clip": "PMC-CLIP",
    "biomedclip": "BiomedCLIP",
    "scratch": "from scratch",
}

BENCHMARK_FIGURES = {  # what the paper states of single benchmarks, by our dataset and encoder; it names four of eight
    "cxr8": {"ours": "equal to PMC-CLIP", "pmc_clip": "equal to OpenMedQ's"},
    "medfmc_chest": {"ours": "best of all"},
    "medfmc_endo": {"ours": "best of all"},
    "breast_ultrasound": {"ours": "0.876; best other 0.915"},
}
