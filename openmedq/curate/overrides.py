"""Decisions of persons about two rows, which overrule the machine's: a CSV file with id_a, id_b, decision."""

import csv
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from openmedq.errors import ParamsError

logger = logging.getLogger(__name__)

HEADER = ["id_a", "id_b", "decision"]
COPY, DIFFERENT = DECISIONS = ("copy", "different")


class Override(NamedTuple):
    """Two rows by number, whether they are copies, and where the file says so."""

    row: int
    other: int
    is_copy: bool
    place: str


class Line(NamedTuple):
    """A line of the file."""

    number: int
    fields: list[str]


def read(path: Path) -> list[Line]:
    """The lines with decisions.

    Raises:
        ParamsError: the file is missing, or a line is not two different ids and a decision, or contradicts another.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = list(csv.reader(file))
    except (FileNotFoundError, IsADirectoryError):
        raise ParamsError(
            f"deduplicate.overrides: {path} is not a file; create it with the line {','.join(HEADER)}"
        ) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ParamsError(f"{path}: is not CSV in UTF-8 ({error}); save it again as CSV in UTF-8") from None
    if not lines or [name.strip() for name in lines[0]] != HEADER:
        raise ParamsError(f"{path}: the first line must be {','.join(HEADER)}")
    found = [Line(number, [field.strip() for field in line]) for number, line in enumerate(lines[1:], 2) if line]
    decided: dict[frozenset[str], Line] = {}
    for number, fields in found:
        if len(fields) != len(HEADER) or fields[2] not in DECISIONS or fields[0] == fields[1]:
            raise ParamsError(f"{path}: line {number}: expected two different ids, then {' or '.join(DECISIONS)}")
        first = decided.setdefault(frozenset(fields[:2]), Line(number, fields))
        if first.fields[2] != fields[2]:
            raise ParamsError(f"{path}: line {number}: contradicts line {first.number}; remove one of them")
    return found


def resolve(path: Path, lines: Sequence[Line], ids: pa.Array, is_evaluation: NDArray[np.bool_]) -> list[Override]:
    """The decisions about the rows that take part, given their ids and whether they are of evaluation splits: (R,).

    A decision without effect is left out with a warning, because the file may be shared with others who have more
    datasets. The warning does not repeat ids, which may be those of a dataset with restricted access.
    """
    known = [
        pc.index_in(pa.array([line.fields[place] for line in lines], pa.string()), ids).to_pylist() for place in (0, 1)
    ]
    found = []
    for (number, fields), row, other in zip(lines, *known, strict=True):
        if row is None or other is None:
            name = HEADER[0] if row is None else HEADER[1]
            logger.warning("%s: line %d is ignored: no row that takes part has the id in %s", path, number, name)
        elif is_evaluation[row] and is_evaluation[other]:
            logger.warning("%s: line %d is ignored: evaluation rows, as both are, are always kept", path, number)
        else:
            found.append(Override(row, other, fields[2] == COPY, f"{path}: line {number}"))
    return found
