"""The rows of all datasets as arrays, and links between them: what training rows share with evaluation rows.

A link is a table of rows and keys. A training row repeats an evaluation row if both have the same key: the number of
decoded pixels, of a text, of a figure, or of a pair of images that are near copies. So thousands of rows on one image
take thousands of entries, not millions of pairs.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from openmedq.curate.overrides import Override
from openmedq.curate.reasons import Tier

Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]
Shares = NDArray[np.float32]

EVALUATION, VALIDATION, TRAIN = range(3)  # ranks of roles: of two copies, the lower rank is kept

NUM_PAIRS = 4  # of a source, an evaluation dataset, a tier and an outcome

Counts = dict[str, dict[str, dict[str, dict[str, int]]]]  # {source: {evaluation dataset: {tier: {what: number}}}}


@dataclass(frozen=True)
class Pairs:
    """Pairs of images or contents that are alike, by number, and how alike they are (0 to 1): arrays (P,)."""

    tier: Tier
    left: Numbers
    right: Numbers
    evidence: Shares


@dataclass(frozen=True)
class Link:
    """Entries of rows that share something.

    The columns are `row`, `key`, and `evidence`: the likeness of 0 to 1 of what has the key, NaN where it is equal.
    """

    tier: Tier
    entries: pd.DataFrame


@dataclass(frozen=True)
class Roles:
    """What the links need to know about the R rows: arrays (R,)."""

    is_evaluation: Flags
    datasets: Numbers  # position of the row's dataset in the catalogue
    places: Numbers  # in the order in which copies are kept


@dataclass(frozen=True)
class Rows:
    """The R rows of all datasets that have a role, and their S images, one entry per row and image."""

    ids: pa.Array  # (R,) string
    datasets: Numbers  # (R,) position of the row's dataset in the catalogue
    ranks: Numbers  # (R,) EVALUATION, VALIDATION or TRAIN
    texts: Numbers  # (R,) number of the text key
    shown_by: Numbers  # (S,) row, ascending
    pixels: Numbers  # (S,) number of the decoded pixels
    looks: Numbers  # (S,) number of the perceptual hash and thumbnail
    pairs: Sequence[Pairs] = ()  # looks that are alike
    links: Sequence[Link] = ()  # by names (`identity`) and of near texts of rows without images
    overrides: Sequence[Override] = ()


def link_equal(tier: Tier, rows: Numbers, keys: Numbers) -> Link:
    """The link of rows with equal keys."""
    return Link(tier, pd.DataFrame({"row": rows, "key": keys, "evidence": np.float32(np.nan)}))


def link_pairs(tier: Tier, pairs: Iterable[tuple[int, int, float]]) -> Link:
    """The link of pairs of rows with their evidence."""
    table = np.array(list(pairs), np.float64).reshape(-1, 3)
    rows = table[:, :2].astype(np.int64)
    return expand(Pairs(tier, rows[:, 0], rows[:, 1], table[:, 2].astype(np.float32)))


def expand(pairs: Pairs, entries: pd.DataFrame | None = None) -> Link:
    """The link of pairs, with one key per pair.

    `entries` has the columns `number`, as in the pairs, and `row`; by default the pairs are of rows.
    """
    ends = pd.DataFrame(
        {
            "number": np.concatenate([pairs.left, pairs.right]),
            "key": np.tile(np.arange(len(pairs.left)), 2),
            "evidence": np.tile(pairs.evidence, 2),
        }
    )
    return Link(pairs.tier, ends.rename(columns={"number": "row"}) if entries is None else ends.merge(entries, "inner"))


def narrow(link: Link, is_evaluation: Flags) -> Link:
    """The entries whose key an evaluation row and another row have."""
    of_evaluation, keys = is_evaluation[link.entries["row"]], link.entries["key"]
    shared = np.intersect1d(keys[of_evaluation], keys[~of_evaluation])
    return replace(link, entries=link.entries[keys.isin(shared)])


def separate(link: Link, pairs: Sequence[tuple[int, int]]) -> Link:
    """The link without the given pairs of (other row, evaluation row), as if they shared nothing.

    The entries of such a row get keys of their own, which its remaining evaluation rows have too.
    """
    is_own = link.entries["row"].isin([row for row, _ in pairs])
    own, rest = link.entries[is_own], link.entries[~is_own]
    both = own.merge(rest, on="key", suffixes=("", "_other"))
    both = both[~pd.MultiIndex.from_frame(both[["row", "row_other"]]).isin(pairs)]
    fresh = expand(
        Pairs(link.tier, both["row"].to_numpy(), both["row_other"].to_numpy(), both["evidence"].to_numpy(np.float32))
    ).entries
    fresh["key"] += link.entries["key"].max() + 1
    return replace(link, entries=pd.concat([rest, fresh], ignore_index=True))


def find_first(link: Link, roles: Roles, *, is_other_dataset_only: bool = False) -> tuple[Numbers, Shares]:
    """For each row, the evaluation row of highest preference that it is linked to, or -1, and the evidence: (R,)."""
    pairs = _pair(link, roles, ~roles.is_evaluation, roles.is_evaluation)
    if is_other_dataset_only:
        pairs = pairs[pairs["dataset"] != pairs["dataset_other"]]
    pairs = pairs.sort_values(["place_other", "evidence"], ascending=[True, False]).drop_duplicates("row")
    winners, evidence = np.full(len(roles.places), -1), np.full(len(roles.places), np.nan, np.float32)
    winners[pairs["row"]], evidence[pairs["row"]] = pairs["row_other"], pairs["evidence"]
    return winners, evidence


def find_contaminated(links: Sequence[Link], roles: Roles, is_trained: Flags) -> list[Tier | None]:
    """For each evaluation row, the strongest link to a row that is trained on, or None: (E,), in order of rows."""
    found = find_strongest(links, roles, roles.is_evaluation, is_trained).groupby("row")["tier"].min().to_dict()
    order = [*Tier, None]
    return [order[found.get(row, -1)] for row in np.flatnonzero(roles.is_evaluation).tolist()]


def count(links: Sequence[Link], roles: Roles, names: Sequence[str], is_training: Flags, is_trained: Flags) -> Counts:
    """Count linked rows of each training source and evaluation dataset by their strongest link.

    Of the `is_training` rows, those of `is_trained` are kept.
    """
    cell = ["dataset_other", "dataset", "tier"]
    trained = find_strongest(links, roles, is_training, roles.is_evaluation)
    trained["is_kept"] = is_trained[trained["row"]]
    asked = find_strongest(links, roles, roles.is_evaluation, is_training)
    num_asked = asked.groupby(["dataset", "dataset_other", "tier"]).size()
    counts: Counts = defaultdict(lambda: defaultdict(dict))
    for place, num_rows, num_kept in trained.groupby(cell)["is_kept"].agg(["size", "sum"]).itertuples():
        evaluation, source, tier = place
        counts[names[source]][names[evaluation]][list(Tier)[tier].value] = {
            "training_rows": num_rows,
            "kept": num_kept,
            "evaluation_rows": int(num_asked.get(place, 0)),
        }
    return counts


def pick_pairs(links: Sequence[Link], roles: Roles, is_training: Flags, is_trained: Flags) -> pd.DataFrame:
    """Some of the pairs of rows that `count` counts, for a page; of links of one tier, the first decides.

    Of each source, evaluation dataset, tier and outcome (`is_trained`) at most NUM_PAIRS, the least alike first.

    Returns:
        Columns `row`, `row_other` (row numbers of the training and the evaluation row), `tier` (its position),
        `evidence` and `is_kept`.
    """
    pairs = find_strongest(links, roles, is_training, roles.is_evaluation).sort_values(["tier", "evidence", "place"])
    pairs["is_kept"] = is_trained[pairs["row"]]
    cell = ["dataset", "dataset_other", "tier", "is_kept"]
    pairs["turn"] = pairs.groupby([*cell, "row_other"]).cumcount()  # prefers other evaluation rows
    return pairs.sort_values(["tier", "turn"], kind="stable").groupby(cell).head(NUM_PAIRS)


def find_strongest(links: Sequence[Link], roles: Roles, is_one: Flags, is_other: Flags) -> pd.DataFrame:
    """The strongest pair of each row of one kind and each dataset of the other kind, as of `_pair`, with `tier`."""
    order = list(Tier)
    tables = [
        _pair(link, roles, is_one, is_other).assign(tier=order.index(link.tier), link=number)
        for number, link in enumerate(links)
    ]
    ascending = {"tier": True, "link": True, "place_other": True, "evidence": False}
    pairs = pd.concat(tables).sort_values([*ascending], ascending=[*ascending.values()], na_position="first")
    return pairs.drop_duplicates(["row", "dataset_other"], ignore_index=True)


def _pair(link: Link, roles: Roles, is_one: Flags, is_other: Flags) -> pd.DataFrame:
    """Each row of one kind, with the first row of the other kind in each dataset that has the same key.

    Columns: `row`, `key`, `evidence`, `dataset`, `place` and, of the other row, `row_other`, `dataset_other` and
    `place_other`.
    """
    rows = link.entries["row"]
    entries = link.entries.assign(dataset=roles.datasets[rows], place=roles.places[rows])
    others = entries[is_other[rows]].sort_values("place").drop_duplicates(["key", "dataset"])
    return entries[is_one[rows]].merge(others.drop(columns="evidence"), on="key", suffixes=("", "_other"))
