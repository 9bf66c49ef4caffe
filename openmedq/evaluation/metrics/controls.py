"""Scores of the controls, and how much better the model is than each of them on the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from openmedq.evaluation.metrics import METRICS
from openmedq.evaluation.metrics.predictions import Scorer, equal

MODEL, CONTROL = "model", "control"


def score_controls(
    predictions: pa.Table, controls: pa.Table, *, num_resamples: int, confidence: float, seed: int
) -> dict[str, Any]:
    """`{control: {"all": scores, "<source>": scores, ...}}` of the answers in `controls` (control, id, answer).

    Scores are `num_rows`, each headline metric of the control, the baselines on the same rows, and
    `difference_<metric>`: the model's score minus the control's, on the same rows and draws of images. Metrics and
    differences have bounds, `_low` and `_high`.
    """
    headline = [metric for metric in METRICS if metric.is_headline]
    scores: dict[str, Any] = {}
    for control in controls["control"].unique().to_pylist():
        given = controls.filter(equal(controls["control"], control))
        model = predictions.take(pc.index_in(given["id"], predictions["id"]))
        place = model.schema.get_field_index("answer")
        both = pa.concat_tables([model, model.set_column(place, model.schema.field(place), given["answer"])])
        scorer = Scorer(both, headline, num_resamples=num_resamples, confidence=confidence, seed=seed)
        is_model = np.arange(len(both)) < len(model)
        masks = {MODEL: is_model, CONTROL: ~is_model}
        cut = {source: scorer.cut(source, masks) for source in sorted(model["source"].unique().to_pylist())}

        def score(sources: Sequence[str], scorer: Scorer = scorer, cut: dict[str, Any] = cut) -> dict[str, Any]:
            ours, theirs = ([cut[source][name] for source in sources] for name in (MODEL, CONTROL))
            return scorer.score(theirs) | scorer.subtract(ours, theirs, "difference_")

        scores[control] = {"all": score(list(cut)), **{source: score([source]) for source in cut}}
    return scores
