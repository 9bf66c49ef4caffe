"""Count failing rows per dataset with DuckDB, over any number of batches, with the first ids as examples."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import pandas as pd

NUM_EXAMPLES = 3

Counts = list[int]
Ids = list[list[str]]


@dataclass(frozen=True)
class Table:
    """A table to check: a row for each dataset, and the ids of some rows that fail."""

    frame: pd.DataFrame  # id (of the dataset), num_rows, and for each statement the number of rows that fail
    examples: Mapping[tuple[str, str], list[str]]  # by dataset and statement: the first ids in alphabetical order

    def __or__(self, other: Table) -> Table:
        """The columns of two tables of the same datasets; `num_rows` is that of the first."""
        frame = self.frame.merge(other.frame.drop(columns="num_rows"), on="id", how="left").fillna(0)
        return Table(frame, {**self.examples, **other.examples})


class Tally:
    """Sums over the batches of a relation with the columns `dataset` and `id`.

    `conditions` maps statements to SQL that is true for a row that fails; a condition that is null does not apply.
    `sums` maps names to SQL that is added up.
    """

    def __init__(self, conditions: Mapping[str, str], sums: Mapping[str, str] | None = None) -> None:
        self._statements, self._sums = list(conditions), list(sums or {})
        flags = [f"coalesce({sql}, false) AS fails_{place}" for place, sql in enumerate(conditions.values())]
        numbers = [f"({sql})::BIGINT AS sum_{place}" for place, sql in enumerate((sums or {}).values())]
        fails = [f"fails_{place}" for place in range(len(flags))]
        totals = ["count(*)", *(f"coalesce(sum(sum_{place}), 0)::BIGINT" for place in range(len(numbers)))]
        counts = [f"count(*) FILTER (WHERE {each})" for each in fails]
        ids = [f"coalesce(min(id, {NUM_EXAMPLES}) FILTER (WHERE {each}), [])" for each in fails]
        self._query = (
            f"SELECT dataset, [{', '.join([*totals, *counts])}], [{', '.join(ids)}] "
            f"FROM (SELECT dataset, id, {', '.join([*flags, *numbers])} FROM ({{}})) GROUP BY dataset"
        )
        self._found: dict[str, tuple[Counts, Ids]] = {}

    def add(self, database: duckdb.DuckDBPyConnection, relation: str) -> None:
        """Add the rows of a relation, given as SQL."""
        for dataset, counts, ids in database.execute(self._query.format(relation)).fetchall():
            before = self._found.get(dataset, ([0] * len(counts), [[]] * len(ids)))
            self._found[dataset] = (
                [one + other for one, other in zip(before[0], counts, strict=True)],
                [sorted([*one, *other])[:NUM_EXAMPLES] for one, other in zip(before[1], ids, strict=True)],
            )

    def as_table(self, datasets: Iterable[str], kept: Collection[str] | None = None) -> Table:
        """The table of these datasets, and of others that were found; of the statements in `kept`, by default all."""
        statements = [each for each in self._statements if kept is None or each in kept]
        names = [*datasets]
        names += sorted(str(each) for each in self._found if each not in names)
        rows = [{"id": name, **self.of(name)} for name in names]
        examples = {
            (name, statement): ids
            for name, (_, found) in self._found.items()
            for statement, ids in zip(self._statements, found, strict=True)
            if ids
        }
        return Table(pd.DataFrame(rows, columns=["id", "num_rows", *self._sums, *statements]), examples)

    def of(self, dataset: str) -> dict[str, Any]:
        """The sums of a dataset by name, `num_rows` among them; zero if it has no row."""
        names = ["num_rows", *self._sums, *self._statements]
        found = self._found.get(dataset)
        return dict(zip(names, found[0] if found else [0] * len(names), strict=True))
