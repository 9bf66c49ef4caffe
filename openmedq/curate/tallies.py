"""Count failing rows per dataset with DuckDB, with the first ids as examples."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import duckdb
import pandas as pd

NUM_EXAMPLES = 3


@dataclass(frozen=True)
class Table:
    """A table to check: a row for each dataset, and the ids of some rows that fail."""

    frame: pd.DataFrame  # id (of the dataset), num_rows, and for each statement the number of rows that fail
    examples: Mapping[tuple[str, str], list[str]]  # by dataset and statement: the first ids in alphabetical order


def tally(
    database: duckdb.DuckDBPyConnection, relation: str, conditions: Mapping[str, str], datasets: Iterable[str]
) -> Table:
    """Count the rows of a relation, given as SQL with the columns `dataset` and `id`, that meet conditions.

    `conditions` maps statements to SQL that is true for a row that fails; a condition that is null does not apply. The
    table has a row for each of `datasets`, and for others that are found.
    """
    flags = [f"coalesce({sql}, false) AS fails_{place}" for place, sql in enumerate(conditions.values())]
    counts = [f"count(*) FILTER (WHERE fails_{place})" for place in range(len(flags))]
    ids = [f"coalesce(min(id, {NUM_EXAMPLES}) FILTER (WHERE fails_{place}), [])" for place in range(len(flags))]
    query = (
        f"SELECT dataset, [{', '.join(['count(*)', *counts])}], [{', '.join(ids)}] "
        f"FROM (SELECT dataset, id, {', '.join(flags)} FROM ({relation})) GROUP BY dataset"
    )
    found = {str(dataset): (numbers, names) for dataset, numbers, names in database.execute(query).fetchall()}
    order = dict.fromkeys([*datasets, *sorted(found)])
    rows = [[name, *(found[name][0] if name in found else [0] * (1 + len(flags)))] for name in order]
    examples = {
        (name, statement): each
        for name, (_, own) in found.items()
        for statement, each in zip(conditions, own, strict=True)
        if each
    }
    return Table(pd.DataFrame(rows, columns=["id", "num_rows", *conditions]), examples)
