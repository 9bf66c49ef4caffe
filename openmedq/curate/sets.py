"""The sets on disk, with what the catalogue says of them, and the role of each split in force."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from openmedq import paths
from openmedq.datasets import catalogue
from openmedq.datasets.card import Access, Card
from openmedq.errors import ParamsError, StaleError
from openmedq.schema import Role
from openmedq.storage.shards import ShardStore
from openmedq.storage.tables import read_counts

Roles = Mapping[str, Role | None]  # split -> role, None: left out


@dataclass(frozen=True)
class DataSet:
    """A set of the catalogue. An absent one has no shards."""

    id: str
    kind: str  # source or benchmark
    access: str
    roles: Roles  # in force
    counts: Mapping[str, Any]  # counts.json of normalize
    store: ShardStore

    @property
    def is_credentialed(self) -> bool:
        """Whether its files are for research only, and nothing of them may be told."""
        return self.access == Access.CREDENTIALED

    def role_of(self, split: str) -> Role | None:
        """The role in force; StaleError where the rows have a split that the card does not name."""
        try:
            return self.roles[split]
        except KeyError:
            raise StaleError(
                f"{paths.SAMPLES / self.id}: split {split!r} has no role in {paths.CATALOGUE}, which knows "
                f"{', '.join(self.roles)}; add it to the card and run `python -m openmedq catalogue`"
            ) from None


def load_sets(overrides: Mapping[str, Roles]) -> list[DataSet]:
    """The catalogue's sets in its order, with `overrides` (`mix.roles`) in place of their cards' roles.

    StaleError where a set was not normalized, ParamsError where an override would train on an evaluation split.
    """
    cards = catalogue.read(paths.CATALOGUE)
    return [_load_set(set_id, card, overrides.get(set_id, {})) for set_id, card in cards.items()]


def _load_set(set_id: str, card: Card, overrides: Roles) -> DataSet:
    for split, role in overrides.items():
        if card.roles[split] is Role.EVALUATION and role is Role.TRAIN:
            raise ParamsError(
                f"mix.roles.{set_id}.{split}: evaluation never trains: {set_id} {split}; "
                "allowed here: evaluation, validation, null"
            )
    folder = paths.SAMPLES / set_id
    return DataSet(
        id=set_id,
        kind=card.kind,
        access=card.access,
        roles={**card.roles, **overrides},
        counts=read_counts(folder),
        store=ShardStore(folder),
    )
