"""Divide a dataset without a published split into train and test rows: whole groups, with classes in proportion.

A group is a patient, or images that look the same if the dataset names no patients: with a copy on each side, the
model would be tested on what it was trained on (235 of BUSI's 780 images are copies).
"""

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from openmedq.errors import SourceError


def divide(
    labels: Sequence[Sequence[str]], groups: Sequence[str], num_parts: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide rows into train and test rows; the test rows are one of `num_parts` parts of about equal size.

    Args:
        labels: classes of each row; each combination is divided in proportion, as far as the groups allow.
        groups: a key for each row; rows with the same key stay together.
        num_parts: number of parts.
        seed: of the division.

    Returns:
        Row numbers of the train rows and of the test rows.

    Raises:
        SourceError: there are fewer groups than parts, or no combination of classes has a row for each part.
    """
    combinations = np.unique([" ".join(sorted(row)) for row in labels], return_inverse=True)[1]
    largest = int(np.bincount(combinations).max(initial=0))
    for number, unit in ((len(set(groups)), "groups of rows"), (largest, "rows of the largest class")):
        if number < num_parts:
            raise SourceError(f"{number} {unit} can't be divided into {num_parts} parts")
    folds = StratifiedGroupKFold(num_parts, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # rare combinations cannot be in proportion
        train, test = next(folds.split(np.empty(len(labels)), combinations, groups))
    return train, test
