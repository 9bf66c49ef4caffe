"""Who repeats whom: a verdict for each row that may not train, with the row that stays in its place.

Rules, in this order; rows of evaluation splits never get a verdict, because published protocols count them:
1. a row that says and shows what an evaluation row says and shows is "in evaluation";
2. a row that shows an evaluation picture is kept out ("evaluation picture"), as far as `keep_out` says;
3. of the copies left, the first stays: validation before training, then by order of sets, then by id.
So a row that stays has no verdict itself, and the verdicts do not depend on the order of rows.
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

EVALUATION, VALIDATION, TRAIN = range(3)  # ranks of roles: who comes first stays

Numbers = NDArray[np.int64]


class Verdict(StrEnum):
    """Why a row is not in the mix. `kept_id` names the row in whose favor."""

    DUPLICATE_EXACT = "duplicate exact"  # same text, same decoded pixels (or no pictures)
    DUPLICATE_PERCEPTUAL = "duplicate perceptual"  # same text, pictures that look the same
    IN_EVALUATION = "in evaluation"  # either of the two, of an evaluation row
    EVALUATION_PICTURE = "evaluation picture"  # shows what an evaluation row shows, with another text


@dataclass(frozen=True)
class Rows:
    """Rows of all sets, R of them, and the pictures they show, S of them. Rows left out of the mix are not here."""

    ids: pa.Array  # (R,) string
    sets: Numbers  # (R,) place of the row's set in the catalogue
    ranks: Numbers  # (R,) EVALUATION, VALIDATION or TRAIN
    texts: Numbers  # (R,) number of the text key
    shown_by: Numbers  # (S,) row, ascending
    pixels: Numbers  # (S,) number of the decoded pixels
    groups: Numbers  # (S,) number of the group of pictures that look the same


def judge(rows: Rows, keep_out: str) -> pa.Table:
    """The verdicts as VERDICT_SCHEMA, sorted by id. `keep_out`: none, cross_source or all (rule 2)."""
    exact = _number_contents(rows, rows.pixels)
    near = _number_contents(rows, rows.groups)
    order = _order_by_preference(rows)
    is_evaluation = rows.ranks == EVALUATION
    kept = np.full(len(rows.ids), -1)
    reasons = np.full(len(rows.ids), None, object)

    def settle(where: NDArray[np.bool_], winners: Numbers, reason: Verdict) -> None:
        kept[where], reasons[where] = winners[where], reason.value

    evaluation = order[is_evaluation[order]]
    for content in (exact, near):
        winners = _first(content, evaluation)
        settle(~is_evaluation & (kept < 0) & (winners >= 0), winners, Verdict.IN_EVALUATION)

    if keep_out != "none":
        winners = _find_evaluation_pictures(rows, order, is_other_set_only=keep_out == "cross_source")
        settle(~is_evaluation & (kept < 0) & (winners >= 0), winners, Verdict.EVALUATION_PICTURE)

    is_left = ~is_evaluation & (kept < 0)
    winners = _first(near, order[is_left[order]])
    is_copy = is_left & (winners != np.arange(len(kept)))
    is_exact = exact == exact[winners]
    settle(is_copy & is_exact, winners, Verdict.DUPLICATE_EXACT)
    settle(is_copy & ~is_exact, winners, Verdict.DUPLICATE_PERCEPTUAL)

    judged = np.flatnonzero(kept >= 0)
    columns = [rows.ids.take(judged), rows.ids.take(kept[judged]), pa.array(reasons[judged], pa.string())]
    return pa.table(columns, schema=VERDICT_SCHEMA).sort_by("id")


def _order_by_preference(rows: Rows) -> Numbers:
    """Row numbers, the one that stays first."""
    table = pa.table({"rank": rows.ranks, "set": rows.sets, "id": rows.ids})
    keys = [("rank", "ascending"), ("set", "ascending"), ("id", "ascending")]
    order: Numbers = pc.sort_indices(table, sort_keys=keys).to_numpy().astype(np.int64)
    return order


def _number_contents(rows: Rows, pictures: Numbers) -> Numbers:
    """Number of each row's text together with the pictures that it shows, in any order: (R,)."""
    order = np.lexsort((pictures, rows.shown_by))
    shown = pictures[order]
    ends = np.cumsum(np.bincount(rows.shown_by, minlength=len(rows.ids)))
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64) if len(ends) else ends
    albums = [shown[start:end].tobytes() for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    contents = pd.factorize(np.array(albums, object))[0].astype(np.int64)
    return np.unique(contents * (rows.texts.max(initial=0) + 1) + rows.texts, return_inverse=True)[1]


def _first(keys: Numbers, candidates: Numbers) -> Numbers:
    """For each row, the first of the candidates with the row's key, -1 where there is none: (R,)."""
    first = np.full(keys.max(initial=-1) + 1, -1)
    first[keys[candidates[::-1]]] = candidates[::-1]  # of several assignments the last stays
    return first[keys]


def _find_evaluation_pictures(rows: Rows, order: Numbers, is_other_set_only: bool) -> Numbers:
    """For each row, the first evaluation row (of another set) that shows a picture of the same group, or -1: (R,)."""
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    by_preference = np.argsort(places[rows.shown_by], kind="stable")
    by_evaluation = by_preference[rows.ranks[rows.shown_by[by_preference]] == EVALUATION]
    sets = rows.sets[rows.shown_by]

    first = _first(rows.groups, by_evaluation)  # (S,) showing, not row
    if is_other_set_only:  # of two evaluation rows of different sets, one is of another set than any row
        of_other_set = by_evaluation[sets[by_evaluation] != sets[first[by_evaluation]]]
        second = _first(rows.groups, of_other_set)
        first = np.where((first >= 0) & (sets[first] == sets), second, first)

    nowhere = len(order)
    best = np.full(nowhere, nowhere)
    is_shown = first >= 0
    np.minimum.at(best, rows.shown_by[is_shown], places[rows.shown_by[first[is_shown]]])
    winners: Numbers = np.append(order, -1)[best]
    return winners
