"""Figures that the paper reports: "OpenMedQ: Broad Open Pretraining for Medical Vision-Language Models".

BLEU-1 in percent, macro-F1 in [0, 1]. The paper does not state how it tokenizes for BLEU-1.
"""

from dataclasses import dataclass

NUM_SOURCES = 14  # of the paper's mix
NUM_ROWS = 3_350_000  # of the paper's mix, rounded; the paper does not state how it counts them


@dataclass(frozen=True)
class Published:
    """A BLEU-1 that the paper reports, and which of our definitions it may be compared with."""

    source: str  # our dataset
    name: str
    value: float
    metrics: tuple[str, ...]  # our metrics; none if the definition is not known
    reason: str


_OURS = "the paper gives no definition; other public code of its first author computes these two"

FIGURES = (
    Published("pathvqa", "PathVQA, OpenMedQ", 75.9, ("bleu_1", "bleu_1_sentence"), _OURS),
    Published("pathvqa", "PathVQA, Med-PaLM M, up to 562B", 72.27, (), "its code is not public"),
    Published(
        "pathvqa",
        "PathVQA, prefix tuning",
        70.3,
        ("bleu_characters",),
        "its public code passes strings to NLTK, which compares characters; an answer equal to the reference scores "
        "less than 100. It is not verified that this code made the figure",
    ),
    Published("vqa_med_2019", "VQA-Med 2019, OpenMedQ", 64.5, ("bleu_1", "bleu_1_sentence"), _OURS),
    Published(
        "vqa_med_2019",
        "VQA-Med 2019, best of the 2019 challenge",
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

MEAN_MACRO_F1 = {"ours": 0.757, "pubmedclip": 0.746, "pmc_clip": 0.745, "biomedclip": 0.745, "scratch": 0.616}

BENCHMARK_FIGURES = {  # what the paper states of single benchmarks, by our dataset; it names four of eight
    "cxr8": "OpenMedQ equal to PMC-CLIP",
    "medfmc_chest": "OpenMedQ best of all",
    "medfmc_endo": "OpenMedQ best of all",
    "breast_ultrasound": "OpenMedQ 0.876, best other 0.915",
}
