"""What the paper reports, to stand beside ours: "OpenMedQ: Broad Open Pretraining for Medical Vision-Language Models".

BLEU-1 in percent, macro-F1 in [0, 1]. How the paper tokenizes for BLEU-1 is not known; what is: see `metrics/bleu.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

NUM_SOURCES = 14  # of the paper's mix


@dataclass(frozen=True)
class Figure:
    """One score of the paper, and the others it is held against."""

    name: str
    source: str | None  # the set of ours that it belongs to; None for the mean over the benchmarks
    value: float
    others: tuple[tuple[str, float], ...]


FIGURES = (
    Figure("PathVQA, BLEU-1", "pathvqa", 75.9, (("Med-PaLM M, up to 562B", 72.27), ("prefix tuning", 70.3))),
    Figure("VQA-Med 2019, BLEU-1", "vqa_med_2019", 64.5, (("best of the 2019 challenge", 64.4),)),
    Figure(
        "Eight unseen sets, mean macro-F1",
        None,
        0.757,
        (("PubMedCLIP", 0.746), ("PMC-CLIP", 0.745), ("BiomedCLIP", 0.745), ("from scratch", 0.616)),
    ),
)
