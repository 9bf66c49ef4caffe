"""Contents of rows. A content is a text together with its images: rows with equal contents are copies."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from openmedq.curate.links import Link, Numbers, Pairs, Rows, expand, link_equal, link_pairs
from openmedq.curate.reasons import Tier


def number_contents(rows: Rows, images: Numbers) -> Numbers:
    """Number the rows' contents: (R,), equal for rows with the same text and the same `images` (S,) in any order."""
    order = np.lexsort((images, rows.shown_by))
    shown_by, shown = rows.shown_by[order], images[order]
    places = np.arange(len(shown)) - np.searchsorted(shown_by, shown_by)  # of an image in its row
    contents = np.unique(rows.texts, return_inverse=True)[1]
    for place in range(places.max(initial=-1) + 1):
        is_here = places == place
        own = shown_by[is_here]
        keys = contents[own] * (1 + images.max()) + shown[is_here]
        contents[own] = 1 + contents.max() + np.unique(keys, return_inverse=True)[1]
    numbers: Numbers = np.unique(contents, return_inverse=True)[1]
    return numbers


def pair_contents(rows: Rows, alike: Numbers, pairs: Pairs) -> Pairs:
    """Pair the contents `alike` (R,) that have the same text, if each image of one matches an image of the other.

    Images match if `pairs` contains them, or if they are equal.
    """
    firsts = np.unique(alike, return_index=True)[1]
    is_first = np.isin(rows.shown_by, firsts)
    row = rows.shown_by[is_first]
    images = rows.looks[is_first]
    shown = pd.DataFrame({"content": alike[row], "text": rows.texts[row], "look": images}).drop_duplicates()
    sizes = shown.groupby("content").size()
    # Equal images matter only among several: two contents with the same text and the same single image are one.
    several = np.unique(images[np.bincount(row, minlength=len(rows.ids))[row] > 1])
    steps = pd.DataFrame(
        {
            "look": np.concatenate([pairs.left, pairs.right, several]),
            "other": np.concatenate([pairs.right, pairs.left, several]),
            "evidence": np.concatenate([pairs.evidence, pairs.evidence, np.ones(len(several), np.float32)]),
        }
    )
    found = shown.merge(steps, on="look").merge(
        shown, left_on=["text", "other"], right_on=["text", "look"], suffixes=("", "_other")
    )
    found = found[found["content"] < found["content_other"]]
    by_pair = found.groupby(["content", "content_other"], sort=True)
    table = by_pair.agg(
        covered=("look", "nunique"), covers=("other", "nunique"), evidence=("evidence", "min")
    ).reset_index()
    is_whole = (table["covered"] == table["content"].map(sizes)) & (
        table["covers"] == table["content_other"].map(sizes)
    )
    table = table[is_whole]
    return Pairs(
        pairs.tier,
        table["content"].to_numpy(np.int64),
        table["content_other"].to_numpy(np.int64),
        table["evidence"].to_numpy(np.float32),
    )


def link_copies(rows: Rows, exact: Numbers, alike: Numbers, edges: Sequence[Pairs]) -> list[Link]:
    """Link rows that are copies: by decisions of persons, equal contents, and contents that are alike.

    `exact` and `alike` (R,) number the contents with images compared by pixels and by image fingerprint.
    """
    has_image = np.bincount(rows.shown_by, minlength=len(rows.ids)) > 0
    with_image, without = np.flatnonzero(has_image), np.flatnonzero(~has_image)
    copies = [(each.row, each.other, np.nan) for each in rows.overrides if each.is_copy]
    links = [
        link_pairs(Tier.PERSON, copies),
        link_equal(Tier.SAME_PIXELS, with_image, exact[with_image]),
        link_equal(Tier.SAME_TEXT, without, exact[without]),
        link_equal(Tier.SAME_LOOK, with_image, alike[with_image]),
    ]
    contents = pd.DataFrame({"number": alike, "row": np.arange(len(alike))})
    return [*links, *(expand(each, contents) for each in edges if each.tier is not Tier.SAME_SERIES)]


def link_images(rows: Rows) -> list[Link]:
    """Link rows that show the same image, images that look the same, or images of a pair in `rows.pairs`."""
    looks = pd.DataFrame({"number": rows.looks, "row": rows.shown_by}).drop_duplicates()
    return [
        link_equal(Tier.SAME_PIXELS, rows.shown_by, rows.pixels),
        link_equal(Tier.SAME_LOOK, rows.shown_by, rows.looks),
        *(expand(each, looks) for each in rows.pairs),
    ]
