"""Duplicate decisions: for each row that must not be trained on, the row that is kept in its place, and why.

The rules, in order. Rows of evaluation splits are never excluded, because published protocols count all of them.
1. A row with the same text and images as an evaluation row is excluded ("in evaluation").
2. A row with an image of an evaluation row is excluded ("evaluation picture"), depending on `keep_out`.
3. Of the remaining copies the first is kept: validation before training, then by order of datasets, then by id.
A kept row is never excluded itself. The decisions do not depend on the order of the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from openmedq.schema import VERDICT_SCHEMA

EVALUATION, VALIDATION, TRAIN = range(3)  # ranks of roles: of two copies, the lower rank is kept

Numbers = NDArray[np.int64]


class DuplicateReason(StrEnum):
    """Why a row is not in the mix; `kept_id` is the id of the row that is kept instead."""

    DUPLICATE_EXACT = "duplicate exact"  # same text, same decoded pixels (or no images)
    DUPLICATE_PERCEPTUAL = "duplicate perceptual"  # same text, images that look the same
    IN_EVALUATION = "in evaluation"  # an exact or perceptual duplicate of an evaluation row
    EVALUATION_IMAGE = "evaluation picture"  # an image of an evaluation row, with another text


@dataclass(frozen=True)
class Rows:
    """The R rows of all datasets that have a role, and their S images, one entry per row and image."""

    ids: pa.Array  # (R,) string
    datasets: Numbers  # (R,) position of the row's dataset in the catalogue
    ranks: Numbers  # (R,) EVALUATION, VALIDATION or TRAIN
    texts: Numbers  # (R,) number of the text key
    shown_by: Numbers  # (S,) row, ascending
    pixels: Numbers  # (S,) number of the decoded pixels
    groups: Numbers  # (S,) number of the group of images that look the same


def decide(rows: Rows, keep_out: str) -> pa.Table:
    """The decisions as VERDICT_SCHEMA, sorted by id. `keep_out`: none, cross_source or all (rule 2)."""
    exact = _number_contents(rows, rows.pixels)
    near = _number_contents(rows, rows.groups)
    order = _order_by_preference(rows)
    is_evaluation = rows.ranks == EVALUATION
    kept = np.full(len(rows.ids), -1)
    reasons = np.full(len(rows.ids), None, object)

    def settle(where: NDArray[np.bool_], winners: Numbers, reason: DuplicateReason) -> None:
        kept[where], reasons[where] = winners[where], reason.value

    evaluation = order[is_evaluation[order]]
    for content in (exact, near):
        winners = _first(content, evaluation)
        settle(~is_evaluation & (kept < 0) & (winners >= 0), winners, DuplicateReason.IN_EVALUATION)

    if keep_out != "none":
        winners = _find_shown_in_evaluation(rows, order, is_other_dataset_only=keep_out == "cross_source")
        settle(~is_evaluation & (kept < 0) & (winners >= 0), winners, DuplicateReason.EVALUATION_IMAGE)

    is_left = ~is_evaluation & (kept < 0)
    winners = _first(near, order[is_left[order]])
    is_copy = is_left & (winners != np.arange(len(kept)))
    is_exact = exact == exact[winners]
    settle(is_copy & is_exact, winners, DuplicateReason.DUPLICATE_EXACT)
    settle(is_copy & ~is_exact, winners, DuplicateReason.DUPLICATE_PERCEPTUAL)

    decided = np.flatnonzero(kept >= 0)
    columns = [rows.ids.take(decided), rows.ids.take(kept[decided]), pa.array(reasons[decided], pa.string())]
    return pa.table(columns, schema=VERDICT_SCHEMA).sort_by("id")


def _order_by_preference(rows: Rows) -> Numbers:
    """Row numbers, in the order in which copies are kept: (R,)."""
    table = pa.table({"rank": rows.ranks, "dataset": rows.datasets, "id": rows.ids})
    keys = [("rank", "ascending"), ("dataset", "ascending"), ("id", "ascending")]
    order: Numbers = pc.sort_indices(table, sort_keys=keys).to_numpy().astype(np.int64)
    return order


def _number_contents(rows: Rows, images: Numbers) -> Numbers:
    """The number of each row's content, which is its text and its images in any order: (R,)."""
    order = np.lexsort((images, rows.shown_by))
    shown = images[order]
    ends = np.cumsum(np.bincount(rows.shown_by, minlength=len(rows.ids)))
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64) if len(ends) else ends
    image_keys = [shown[start:end].tobytes() for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    contents = pd.factorize(np.array(image_keys, object))[0].astype(np.int64)
    return np.unique(contents * (rows.texts.max(initial=0) + 1) + rows.texts, return_inverse=True)[1]


def _first(keys: Numbers, candidates: Numbers) -> Numbers:
    """For each row, the first candidate with the row's key, or -1: (R,)."""
    first = np.full(keys.max(initial=-1) + 1, -1)
    first[keys[candidates[::-1]]] = candidates[::-1]  # the last assignment to an index wins
    return first[keys]


def _find_shown_in_evaluation(rows: Rows, order: Numbers, is_other_dataset_only: bool) -> Numbers:
    """For each row, the first evaluation row (of another dataset) with an image of the same group, or -1: (R,)."""
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    by_preference = np.argsort(places[rows.shown_by], kind="stable")
    by_evaluation = by_preference[rows.ranks[rows.shown_by[by_preference]] == EVALUATION]
    datasets = rows.datasets[rows.shown_by]

    first = _first(rows.groups, by_evaluation)  # (S,) index into S, not a row
    if (
        is_other_dataset_only
    ):  # the first and the second are of different datasets, so at least one of them is of another dataset than the row
        of_other = by_evaluation[datasets[by_evaluation] != datasets[first[by_evaluation]]]
        second = _first(rows.groups, of_other)
        first = np.where((first >= 0) & (datasets[first] == datasets), second, first)

    nowhere = len(order)
    best = np.full(nowhere, nowhere)
    is_shown = first >= 0
    np.minimum.at(best, rows.shown_by[is_shown], places[rows.shown_by[first[is_shown]]])
    winners: Numbers = np.append(order, -1)[best]
    return winners
