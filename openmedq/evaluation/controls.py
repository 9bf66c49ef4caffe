"""Controls of the stage evaluate: the same questions without what their images show.

| control  | the model sees                                                                         |
|----------|----------------------------------------------------------------------------------------|
| blank    | uniform gray images                                                                    |
| shuffled | the images of another question of the same source, as many as its own, and not the same |
| no_image | the question alone                                                                     |

A model whose score stays the same answers from the text. Rows without an image have no control.
"""

import io
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.compute as pc

from openmedq.config.learning import Control
from openmedq.evaluation.metrics import METRICS
from openmedq.evaluation.metrics.predictions import Scorer, equal
from openmedq.schema import Sample
from openmedq.storage.shards import ShardStore

CONTROL_SCHEMA = pa.schema([pa.field(name, pa.string(), False) for name in ("control", "id", "answer")])
MODEL, CONTROL = "model", "control"

GRAY_LEVEL = 128  # of 255
_PIXELS = "images.list.element.pixels_sha256"

Read = Callable[[int], Sample]  # a row, by its number


def iterate(
    controls: Sequence[Control], store: ShardStore, rows: pa.Table, seed: int
) -> Iterator[tuple[Control, pa.Table, Read]]:
    """Yield each control with its rows, and a function that reads them as the model sees them.

    `rows` of the index have images. Those whose source has no other images, as many as theirs, are not in `shuffled`.
    """
    for control in dict.fromkeys(controls):
        asked, shown = rows, None
        if control == "shuffled":
            shown_by = find_other_images(store, rows, seed)
            asked = rows.filter(pc.is_in(rows["id"], pa.array(list(shown_by), pa.string())))
            others = pa.array([shown_by[row_id] for row_id in asked["id"].to_pylist()], pa.string())
            shown = store.take(rows.take(pc.index_in(others, rows["id"])))
        yield control, asked, change(control, store.take(asked, with_images=False), shown)


def change(control: Control, texts: Sequence[Sample], shown: Sequence[Sample] | None = None) -> Read:
    """Return a function that reads a row of `texts` with the images of the control, for `shuffled` those of `shown`."""
    if control == "blank":
        return lambda place: show_gray(texts[place])
    if shown is not None:
        return lambda place: replace(texts[place], images=shown[place].images)
    return lambda place: replace(texts[place], images=())


def show_gray(sample: Sample) -> Sample:
    """Replace each image by a uniform gray one."""
    png = io.BytesIO()
    PIL.Image.new("L", (8, 8), GRAY_LEVEL).save(png, "PNG")
    return replace(sample, images=tuple(replace(image, path=None, data=png.getvalue()) for image in sample.images))


def find_other_images(store: ShardStore, rows: pa.Table, seed: int) -> dict[str, str]:
    """For each row, the row of its source whose images it is shown; without rows that have no such row.

    All questions on the same images, by their pixels, are shown the same other images.
    """
    first: dict[tuple[str, int], dict[tuple[str, ...], str]] = defaultdict(dict)
    own: dict[str, tuple[tuple[str, int], tuple[str, ...]]] = {}
    for group in store.scan_index(rows, ["id", _PIXELS]):
        for row in group.rows.to_pylist():
            pixels = tuple(image["pixels_sha256"] for image in row["images"])
            own[row["id"]] = key = (group.source, len(pixels)), pixels
            first[key[0]].setdefault(pixels, row["id"])
    following: dict[tuple[str, int], dict[tuple[str, ...], str]] = {}
    for kind, row_of in first.items():
        ordered = sorted(row_of)
        random.Random(f"{seed} {kind}").shuffle(ordered)
        pairs = zip(ordered, [*ordered[1:], *ordered[:1]], strict=True)
        following[kind] = {pixels: row_of[other] for pixels, other in pairs if pixels != other}
    places = ((row_id, following[kind].get(pixels)) for row_id, (kind, pixels) in own.items())
    return {row_id: other for row_id, other in places if other is not None}


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
