"""Duplicate decisions: for each row that must not be trained on, the row that is kept in its place, and why.

The rules, in order. Rows of evaluation splits are never excluded, because published protocols count all of them.
1. A row with the same text and images as an evaluation row is excluded ("in evaluation"); images may look the same or
   be near copies, and the text may be a near copy.
2. A row with an image of an evaluation row is excluded ("evaluation image"), depending on `keep_out`; an image may
   also look the same, be a near copy, or have the same name.
3. If several remaining rows have the same text and images that look the same, the first is kept: validation before
   training, then by order of datasets, then by id. Other near copies are kept.
A decision compares a row with the row that is kept, never along a chain, and a kept row is never excluded itself. The
decisions do not depend on the order of the rows.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from openmedq.curate.contents import link_copies, link_images, number_contents, pair_contents
from openmedq.curate.links import (
    EVALUATION,
    TRAIN,
    Flags,
    Link,
    Numbers,
    Pairs,
    Roles,
    Rows,
    Shares,
    find_first,
    link_pairs,
    narrow,
    separate,
)
from openmedq.curate.reasons import DuplicateReason, Tier
from openmedq.errors import ParamsError
from openmedq.schema import VERDICT_SCHEMA

NAMES = (Tier.SAME_FIGURE, Tier.SAME_NAME, Tier.SAME_QUESTION)  # links that exclude a row as an equal image does

RowPairs = Iterable[tuple[int, int, float]]  # (row, evaluation row, share of equal words)


@dataclass
class Decisions:
    """The decisions about the R rows, and the links that led to them."""

    rows: Rows
    links: list[Link]
    roles: Roles
    kept: Numbers = field(init=False)  # (R,) row that is kept instead, or -1
    reasons: NDArray[np.object_] = field(init=False)  # (R,) DuplicateReason or None
    tiers: NDArray[np.object_] = field(init=False)  # (R,) Tier or None
    evidence: Shares = field(init=False)  # (R,) NaN where the rows are equal

    def __post_init__(self) -> None:
        num_rows = len(self.rows.ids)
        self.kept = np.full(num_rows, -1)
        self.reasons, self.tiers = np.full(num_rows, None, object), np.full(num_rows, None, object)
        self.evidence = np.full(num_rows, np.nan, np.float32)

    @property
    def is_left(self) -> Flags:
        """Whether a row is neither an evaluation row nor excluded: (R,)."""
        return ~self.roles.is_evaluation & (self.kept < 0)

    @property
    def is_trained(self) -> Flags:
        """Whether a row is trained on: (R,)."""
        is_trained: Flags = (self.rows.ranks == TRAIN) & (self.kept < 0)
        return is_trained

    def settle(self, where: Flags, winners: Numbers, reason: DuplicateReason, tier: Tier, evidence: Shares) -> None:
        """Exclude rows."""
        self.kept[where], self.reasons[where], self.tiers[where] = winners[where], reason.value, tier.value
        self.evidence[where] = evidence[where]

    def follow(self, link: Link, reason: DuplicateReason, *, is_other_dataset_only: bool = False) -> None:
        """Exclude the rows that a link finds."""
        winners, evidence = find_first(link, self.roles, is_other_dataset_only=is_other_dataset_only)
        self.settle(self.is_left & (winners >= 0), winners, reason, link.tier, evidence)
        self.links.append(link)

    def tabulate(self) -> pa.Table:
        """The decisions as VERDICT_SCHEMA, sorted by id."""
        decided = np.flatnonzero(self.kept >= 0)
        columns = [self.rows.ids.take(decided), self.rows.ids.take(self.kept[decided])]
        columns += [pa.array(each[decided], pa.string()) for each in (self.reasons, self.tiers)]
        columns.append(pa.array(self.evidence[decided], from_pandas=True))
        return pa.table(columns, schema=VERDICT_SCHEMA).sort_by("id")


def decide(rows: Rows, keep_out: str, compare: Callable[[Numbers], RowPairs]) -> Decisions:
    """Decide about all rows.

    Args:
        rows: the rows.
        keep_out: none, cross_source or all (rule 2).
        compare: yields the near copies among pairs (row, evaluation row) with an equal or near image, given as (P, 2).
    """
    roles = Roles(rows.ranks == EVALUATION, rows.datasets, _find_places(rows))
    found = Decisions(rows, [], roles)
    apart = [
        (pair if roles.is_evaluation[pair[1]] else pair[::-1])
        for pair in ((each.row, each.other) for each in rows.overrides if not each.is_copy)
        if roles.is_evaluation[pair[0]] != roles.is_evaluation[pair[1]]
    ]

    def prepare(link: Link) -> Link:
        link = narrow(link, roles.is_evaluation)
        return separate(link, apart) if apart else link

    exact, alike = number_contents(rows, rows.pixels), number_contents(rows, rows.looks)
    for row, other, is_copy, place in rows.overrides:
        if not is_copy and alike[row] == alike[other]:
            raise ParamsError(
                f"{place}: declares two rows different, but their texts and image fingerprints are equal; remove it"
            )
    edges = [pair_contents(rows, alike, pairs) for pairs in rows.pairs]
    texts = [link for link in rows.links if link.tier is Tier.NEAR_TEXT]
    for link in [*link_copies(rows, exact, alike, edges), *texts]:
        found.follow(prepare(link), DuplicateReason.IN_EVALUATION)
    shown = [prepare(link) for link in link_images(rows)]
    images = [link for link in shown if link.tier is not Tier.SAME_SERIES]
    for link in [*images, *(prepare(each) for each in rows.links if each.tier in NAMES)]:
        if keep_out == "none":
            found.links.append(link)
        else:
            found.follow(link, DuplicateReason.EVALUATION_IMAGE, is_other_dataset_only=keep_out == "cross_source")
    near = link_pairs(Tier.NEAR_TEXT, compare(_pair_rows(images, found)))
    found.follow(prepare(near), DuplicateReason.IN_EVALUATION)
    found.links += [link for link in shown if link.tier is Tier.SAME_SERIES]
    found.links += [prepare(each) for each in rows.links if each.tier not in (Tier.NEAR_TEXT, *NAMES)]
    _keep_first(found, exact, alike, [each for each in edges if each.tier is Tier.SAME_LOOK])
    return found


def _pair_rows(images: list[Link], found: Decisions) -> Numbers:
    """The pairs (row, evaluation row) that share an image, of rows that are not excluded: (P, 2)."""
    tables = [np.empty((0, 2), np.int64)]
    for entries in (link.entries[["row", "key"]] for link in images):
        evaluated = entries[found.roles.is_evaluation[entries["row"]]]
        left = entries[found.is_left[entries["row"]]]
        tables.append(left.merge(evaluated, on="key")[["row_x", "row_y"]].to_numpy(np.int64))
    pairs: Numbers = np.unique(np.concatenate(tables), axis=0)
    return pairs


def _keep_first(found: Decisions, exact: Numbers, alike: Numbers, edges: list[Pairs]) -> None:
    """Keep the first remaining row of each content and of contents that are alike."""
    places, is_left = found.roles.places, found.is_left
    order = np.argsort(-places)
    left = order[is_left[order]]
    of_content = np.full(alike.max(initial=-1) + 1, -1)
    of_content[alike[left]] = left  # the last assignment to a content wins: its first row stands for it
    first = of_content[alike]
    winners = first.copy()
    tiers = np.full(len(winners), Tier.SAME_LOOK.value, object)
    evidence = np.full(len(winners), np.nan, np.float32)
    excluded: set[int] = set()
    likeness = _find_likeness(found, of_content, first, edges)
    for kept, row in sorted(likeness, key=lambda pair: (places[pair[1]], places[pair[0]])):
        if excluded.isdisjoint((kept, row)):
            excluded.add(row)
            is_content = first == row
            winners[is_content] = kept
            tiers[is_content], evidence[is_content] = likeness[kept, row]
    is_copy = is_left & (winners != np.arange(len(winners)))
    is_exact = is_copy & (exact == exact[winners])
    has_image = np.bincount(found.rows.shown_by, minlength=len(winners)) > 0
    for tier, where in ((Tier.SAME_PIXELS, is_exact & has_image), (Tier.SAME_TEXT, is_exact & ~has_image)):
        found.settle(where, winners, DuplicateReason.DUPLICATE_EXACT, tier, evidence)
    for tier in (Tier.SAME_LOOK, Tier.PERSON):
        where = is_copy & ~is_exact & (tiers == tier.value)
        found.settle(where, winners, DuplicateReason.DUPLICATE_PERCEPTUAL, tier, evidence)


def _find_likeness(
    found: Decisions, of_content: Numbers, first: Numbers, edges: list[Pairs]
) -> dict[tuple[int, int], tuple[str, float]]:
    """Pairs of rows that stand for contents that are alike, the one to keep first, with tier and evidence."""
    places = found.roles.places
    pairs: list[tuple[int, int, Tier | None, float]] = []
    for each in edges:
        ends = zip(of_content[each.left].tolist(), of_content[each.right].tolist(), each.evidence.tolist(), strict=True)
        pairs += [(one, other, each.tier, share) for one, other, share in ends]
    for row, other, is_copy, _ in found.rows.overrides:
        if found.is_left[row] and found.is_left[other]:
            pairs.append((int(first[row]), int(first[other]), Tier.PERSON if is_copy else None, np.nan))
    likeness = {  # a person's decision is later in the list, and counts
        ((one, other) if places[one] < places[other] else (other, one)): (tier, share)
        for one, other, tier, share in pairs
        if one >= 0 and other >= 0 and one != other
    }
    return {pair: (tier.value, share) for pair, (tier, share) in likeness.items() if tier}


def _find_places(rows: Rows) -> Numbers:
    """The place of each row in the order in which copies are kept: (R,)."""
    table = pa.table({"rank": rows.ranks, "dataset": rows.datasets, "id": rows.ids})
    keys = [("rank", "ascending"), ("dataset", "ascending"), ("id", "ascending")]
    order = pc.sort_indices(table, sort_keys=keys).to_numpy().astype(np.int64)
    places: Numbers = np.empty_like(order)
    places[order] = np.arange(len(order))
    return places
