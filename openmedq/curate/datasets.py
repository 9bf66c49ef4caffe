"""The normalized datasets, with the role of each split and the rows that the licence policy excludes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from openmedq import paths
from openmedq.config import Licences
from openmedq.datasets import catalogue
from openmedq.datasets.card import Access, Card
from openmedq.datasets.licences import refuse
from openmedq.errors import ParamsError, StaleError
from openmedq.schema import Role
from openmedq.storage.shards import ShardStore
from openmedq.storage.tables import read_counts

Roles = Mapping[str, Role | None]  # by split; None: the split is not used


@dataclass(frozen=True)
class NormalizedDataset:
    """A dataset of the catalogue; an absent one has no shards."""

    id: str
    kind: str  # source or benchmark
    access: str
    roles: Roles  # the card's, overridden by mix.roles
    counts: Mapping[str, Any]  # counts.json
    store: ShardStore

    def role_of(self, split: str) -> Role | None:
        """The role of a split; StaleError if the card does not name the split."""
        try:
            return self.roles[split]
        except KeyError:
            raise StaleError(
                f"{paths.SAMPLES / self.id}: split {split!r} has no role in {paths.CATALOGUE}, which has "
                f"{', '.join(self.roles)}; add it to the card and run `python -m openmedq catalogue`"
            ) from None

    def splits_of(self, role: Role | None) -> pa.Array:
        """The names of the splits with a role."""
        return pa.array([split for split, own in self.roles.items() if own is role], pa.string())

    def find_exclusions(self, licences: pa.Array, policy: Licences) -> pa.Array:
        """For each row, given its licence, why `policy.licences` excludes it, or null: (R,).

        An excluded row takes no part in deduplication, or an allowed row could be dropped as its duplicate. Evaluation
        rows do take part: training must not show what they show, whichever policy scores them later.
        """
        words = licences.dictionary_encode()
        is_credentialed = self.access == Access.CREDENTIALED
        reasons = [refuse(each, policy, is_credentialed=is_credentialed) for each in words.dictionary.to_pylist()]
        return pa.array(reasons, pa.string()).take(words.indices)


def load_datasets(overrides: Mapping[str, Roles]) -> list[NormalizedDataset]:
    """The datasets in the catalogue's order, with the roles of their cards overridden by `mix.roles`.

    StaleError if a dataset is not normalized, ParamsError if an override would train on an evaluation split.
    """
    cards = catalogue.read(paths.CATALOGUE)
    return [_load(dataset_id, card, overrides.get(dataset_id, {})) for dataset_id, card in cards.items()]


def _load(dataset_id: str, card: Card, overrides: Roles) -> NormalizedDataset:
    for split, role in overrides.items():
        if card.roles[split] is Role.EVALUATION and role is Role.TRAIN:
            raise ParamsError(
                f"mix.roles.{dataset_id}.{split}: an evaluation split cannot be trained on; set it to evaluation, "
                "validation or null"
            )
    folder = paths.SAMPLES / dataset_id
    return NormalizedDataset(
        id=dataset_id,
        kind=card.kind,
        access=card.access,
        roles={**card.roles, **overrides},
        counts=read_counts(folder),
        store=ShardStore(folder),
    )
