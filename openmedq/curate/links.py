"""Links between rows of evaluation and training: what they share, and how alike it is.

A link is a list of (row, key) entries. A training row repeats an evaluation row if both have an entry with the same
key: the number of decoded pixels, of a text, of a figure, or of a pair of images that are near copies. So thousands of
rows on one image take thousands of entries, not millions of pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


class Tier(StrEnum):
    """What two rows share, the strongest first."""

    SAME_PIXELS = "same pixels"  # the decoded pixels are equal
    SAME_LOOK = "same look"  # encoded again, or scaled
    SAME_TEXT = "same text"  # the text keys are equal, and no row has an image


@dataclass(frozen=True)
class Link:
    """Entries of rows that share something: two arrays (L,)."""

    tier: Tier
    rows: Numbers
    keys: Numbers


def find_contaminated(
    links: list[Link], is_evaluation: NDArray[np.bool_], is_trained: NDArray[np.bool_]
) -> list[Tier | None]:
    """For each evaluation row, the first link to a row that is trained on, or None: (E,), in order of rows."""
    tiers: NDArray[np.object_] = np.full(len(is_evaluation), None, object)
    for link in sorted(links, key=lambda link: list(Tier).index(link.tier), reverse=True):
        trained = np.unique(link.keys[is_trained[link.rows]])
        tiers[link.rows[np.isin(link.keys, trained)]] = link.tier
    found: list[Tier | None] = tiers[is_evaluation].tolist()
    return found
