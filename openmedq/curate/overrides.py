"""Decisions of persons about two rows, which overrule the machine's: a CSV file with id_a, id_b, decision."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from openmedq.errors import ParamsError

HEADER = ["id_a", "id_b", "decision"]
COPY, DIFFERENT = DECISIONS = ("copy", "different")


class Override(NamedTuple):
    """Two rows by number, and whether they are copies."""

    row: int
    other: int
    is_copy: bool


def read(path: Path, ids: pa.Array, is_evaluation: NDArray[np.bool_]) -> list[Override]:
    """The decisions about the rows that take part, given their ids and whether they are of evaluation splits: (R,).

    Raises:
        ParamsError: the file is missing, or a line is not two different known ids and a decision. The message names
            the line and does not repeat ids, which may be those of a dataset with restricted access.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = list(csv.reader(file))
    except FileNotFoundError:
        raise ParamsError(
            f"deduplicate.overrides: {path} not found; create it with the line {','.join(HEADER)}"
        ) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ParamsError(f"{path}: is not CSV in UTF-8 ({error})") from None
    if not lines or [name.strip() for name in lines[0]] != HEADER:
        raise ParamsError(f"{path}: the first line must be {','.join(HEADER)}")
    names = [[field.strip() for field in line] for line in lines[1:]]
    for number, line in enumerate(names, start=2):
        if line and (len(line) != len(HEADER) or line[2] not in DECISIONS or line[0] == line[1]):
            raise ParamsError(f"{path}: line {number} is not two different ids and {' or '.join(DECISIONS)}")
    known = pc.index_in(pa.array([name for line in names for name in line[:2]], pa.string()), ids).to_pylist()
    found, taken = [], iter(known)
    for number, line in enumerate(names, start=2):
        if line:
            row, other = next(taken), next(taken)
            if row is None or other is None:
                field = HEADER[0] if row is None else HEADER[1]
                raise ParamsError(
                    f"{path}: line {number}: no row that takes part has the id in {field}; remove the line"
                )
            if is_evaluation[row] and is_evaluation[other]:
                raise ParamsError(
                    f"{path}: line {number}: both rows are evaluation rows, which are always kept; remove it"
                )
            found.append(Override(row, other, line[2] == COPY))
    return found
