"""Sets without a published split, divided into rows to fit and rows to score: whole groups, classes in proportion.

A group is a patient where the set names one, and pictures that look the same otherwise: copies on both sides would be
learned by heart (of BUSI's 780 pictures 235 are copies).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from openmedq.errors import SourceError


def divide(
    labels: Sequence[Sequence[str]], groups: Sequence[str], num_parts: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the rows to fit and of those to score: one of `num_parts` parts of about equal size.

    Args:
        labels: classes of each row; the proportion of each combination is kept as well as the groups allow.
        groups: a key for each row; rows with the same key stay together.
        num_parts: parts to divide into.
        seed: of the division.

    Raises:
        SourceError: fewer groups than parts.
    """
    num_groups = len(set(groups))
    if num_groups < num_parts:
        raise SourceError(f"{num_groups} groups of rows can't be divided into {num_parts} parts")
    combinations = np.unique([" ".join(sorted(row)) for row in labels], return_inverse=True)[1]
    folds = StratifiedGroupKFold(num_parts, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # rare combinations are as well kept as can be
        fitted, scored = next(folds.split(np.empty(len(labels)), combinations, groups))
    return fitted, scored
