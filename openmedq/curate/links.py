"""Links between rows: what training rows share with evaluation rows, and how alike it is.

A link is a list of (row, key) entries. A training row repeats an evaluation row if both have an entry with the same
key: the number of decoded pixels, of a text, of a figure, or of a pair of images that are near copies. So thousands of
rows on one image take thousands of entries, not millions of pairs.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from openmedq.curate.reasons import Tier

Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]
Shares = NDArray[np.float32]

NUM_PAIRS = 4  # of a source, an evaluation dataset, a tier and an outcome

Counts = dict[str, dict[str, dict[str, dict[str, int]]]]  # {source: {evaluation dataset: {tier: {what: number}}}}


@dataclass(frozen=True)
class Link:
    """Entries of rows that share something: arrays (L,)."""

    tier: Tier
    rows: Numbers
    keys: Numbers
    evidence: Shares | None = None  # likeness of 0 to 1 of what has the key; None: equal


@dataclass(frozen=True)
class Roles:
    """What the links need to know about the R rows: arrays (R,)."""

    is_evaluation: Flags
    datasets: Numbers  # position of the row's dataset in the catalogue
    places: Numbers  # in the order in which copies are kept


def link_pairs(tier: Tier, pairs: Iterable[tuple[int, int, float]]) -> Link:
    """The link of pairs of rows with their evidence."""
    table = np.array(list(pairs), np.float64).reshape(-1, 3)
    keys = np.arange(len(table))
    rows = table[:, :2].astype(np.int64)
    return Link(tier, rows.T.ravel(), np.tile(keys, 2), np.tile(table[:, 2].astype(np.float32), 2))


def narrow(link: Link, is_evaluation: Flags) -> Link:
    """The entries whose key an evaluation row and another row have."""
    of_evaluation = is_evaluation[link.rows]
    shared = np.intersect1d(link.keys[of_evaluation], link.keys[~of_evaluation])
    is_shared = np.isin(link.keys, shared)
    evidence = None if link.evidence is None else link.evidence[is_shared]
    return replace(link, rows=link.rows[is_shared], keys=link.keys[is_shared], evidence=evidence)


def separate(link: Link, pairs: Sequence[tuple[int, int]]) -> Link:
    """The link without the given pairs of (other row, evaluation row), as if they shared nothing.

    The entries of such a row get keys of their own, which its remaining evaluation rows have too.
    """
    apart = defaultdict(set)
    for row, evaluation_row in pairs:
        apart[row].add(evaluation_row)
    is_own = np.isin(link.rows, list(apart))
    rows, keys = [link.rows[~is_own]], [link.keys[~is_own]]
    evidence = [] if link.evidence is None else [link.evidence[~is_own]]
    fresh = int(link.keys.max(initial=-1)) + 1
    for entry in np.flatnonzero(is_own).tolist():
        same = np.flatnonzero(~is_own & (link.keys == link.keys[entry]))
        same = same[~np.isin(link.rows[same], list(apart[int(link.rows[entry])]))]
        kept = np.concatenate([[entry], same])
        rows.append(link.rows[kept])
        keys.append(np.full(len(kept), fresh))
        if link.evidence is not None:
            evidence.append(link.evidence[kept])
        fresh += 1
    return replace(
        link,
        rows=np.concatenate(rows),
        keys=np.concatenate(keys),
        evidence=np.concatenate(evidence) if evidence else None,
    )


def find_first(link: Link, roles: Roles, *, is_other_dataset_only: bool = False) -> tuple[Numbers, Shares]:
    """For each row, the evaluation row of highest preference that it is linked to, or -1, and the evidence: (R,)."""
    by_preference = np.argsort(roles.places[link.rows], kind="stable")
    by_preference = by_preference[roles.is_evaluation[link.rows[by_preference]]]
    datasets = roles.datasets[link.rows]
    first = first_of(link.keys, by_preference)  # (L,) an entry, not a row
    if is_other_dataset_only:
        # The first and the second are of different datasets, so at least one is of another dataset than the row.
        of_other = by_preference[datasets[by_preference] != datasets[first[by_preference]]]
        second = first_of(link.keys, of_other)
        first = np.where((first >= 0) & (datasets[first] == datasets), second, first)
    nowhere = len(roles.places)
    best = np.full(nowhere, nowhere)
    entries = np.flatnonzero(first >= 0)
    places = roles.places[link.rows[first[entries]]]
    np.minimum.at(best, link.rows[entries], places)
    evidence = np.full(nowhere, np.nan, np.float32)
    if link.evidence is not None:
        entries = entries[places == best[link.rows[entries]]]
        np.fmax.at(evidence, link.rows[entries], link.evidence[entries])
    order = np.argsort(roles.places)
    winners: Numbers = np.append(order, -1)[best]
    return winners, evidence


def first_of(keys: Numbers, candidates: Numbers) -> Numbers:
    """For each entry, the first candidate with the entry's key, or -1: (L,)."""
    first = np.full(keys.max(initial=-1) + 1, -1)
    first[keys[candidates[::-1]]] = candidates[::-1]  # the last assignment to an index wins
    return first[keys]


def find_contaminated(links: Sequence[Link], is_evaluation: Flags, is_trained: Flags) -> list[Tier | None]:
    """For each evaluation row, the strongest link to a row that is trained on, or None: (E,), in order of rows."""
    found = _find_strongest(links, is_evaluation, is_trained)
    return [found.get(row) for row in np.flatnonzero(is_evaluation).tolist()]


def count(links: Sequence[Link], roles: Roles, names: Sequence[str], is_training: Flags, is_trained: Flags) -> Counts:
    """Count linked rows of each training source and evaluation dataset by their strongest link.

    Of the `is_training` rows, those of `is_trained` are kept.
    """
    counts: Counts = defaultdict(lambda: defaultdict(lambda: defaultdict(dict)))
    for place in np.unique(roles.datasets[roles.is_evaluation]).tolist():
        is_asked = roles.is_evaluation & (roles.datasets == place)
        for source in np.unique(roles.datasets[is_training]).tolist():
            is_source = is_training & (roles.datasets == source)
            trained, asked = _find_strongest(links, is_source, is_asked), _find_strongest(links, is_asked, is_source)
            for tier in Tier:
                rows = [row for row, found in trained.items() if found is tier]
                if not rows:
                    continue
                counts[names[source]][names[place]][tier.value] = {
                    "training_rows": len(rows),
                    "kept": int(is_trained[rows].sum()),
                    "evaluation_rows": sum(found is tier for found in asked.values()),
                }
    return {source: {name: dict(tiers) for name, tiers in own.items()} for source, own in counts.items()}


def pick_pairs(links: Sequence[Link], roles: Roles, is_training: Flags, is_trained: Flags) -> pd.DataFrame:
    """Some of the pairs of rows that `count` counts, for a page; of links of one tier, the first decides.

    Of each source, evaluation dataset, tier and outcome (`is_trained`) at most NUM_PAIRS, the least alike first.

    Returns:
        Columns `row`, `row_asked` (row numbers of the training and the evaluation row), `tier` (its position),
        `evidence` and `is_kept`.
    """
    order = list(Tier)
    tables = []
    for number, link in enumerate(links):
        entries = pd.DataFrame({"row": link.rows, "key": link.keys, "tier": order.index(link.tier), "link": number})
        entries["evidence"] = np.float32(np.inf) if link.evidence is None else link.evidence
        entries["dataset"], entries["place"] = roles.datasets[link.rows], roles.places[link.rows]
        asked = entries[roles.is_evaluation[link.rows]].sort_values("place").drop_duplicates(["key", "dataset"])
        trained = entries[is_training[link.rows]]
        tables.append(trained.merge(asked[["key", "row", "dataset", "place"]], on="key", suffixes=("", "_asked")))
    ascending = {"tier": True, "link": True, "place_asked": True, "evidence": False}
    pairs = pd.concat(tables).sort_values([*ascending], ascending=[*ascending.values()], ignore_index=True)
    pairs = pairs.drop_duplicates(["row", "dataset_asked"]).sort_values(["tier", "evidence", "place"])
    pairs["evidence"] = pairs["evidence"].replace(np.inf, np.nan)
    pairs["is_kept"] = is_trained[pairs["row"]]
    cell = ["dataset", "dataset_asked", "tier", "is_kept"]
    pairs["turn"] = pairs.groupby([*cell, "row_asked"]).cumcount()  # prefers other evaluation rows
    return pairs.sort_values(["tier", "turn"], kind="stable").groupby(cell).head(NUM_PAIRS)


def _find_strongest(links: Sequence[Link], is_one: Flags, is_other: Flags) -> dict[int, Tier]:
    """The rows of one kind that are linked to rows of the other, with their strongest link."""
    order = list(Tier)
    found: dict[int, Tier] = {}
    for link in sorted(links, key=lambda link: order.index(link.tier), reverse=True):
        keys = np.unique(link.keys[is_other[link.rows]])
        if len(keys):
            found.update(dict.fromkeys(link.rows[is_one[link.rows] & np.isin(link.keys, keys)].tolist(), link.tier))
    return found
