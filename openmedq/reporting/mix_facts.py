"""What the cards of an export state: counts of the exported rows, the waterfall, shared rows and licences."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from openmedq import config, paths
from openmedq.config import Licences
from openmedq.datasets.card import Access
from openmedq.datasets.licences import spell
from openmedq.errors import StaleError, numbered
from openmedq.reporting.results import DatasetResult, Shared, read_datasets, read_shared
from openmedq.schema import Role

KEYS = ["source", "role", "licence", "task"]  # of a group of rows; the licence is as the rows state it


@dataclass(frozen=True)
class MixFacts:
    """Facts of an export; each card takes its numbers from here."""

    policy: Licences
    languages: tuple[str, ...]
    groups: Sequence[Mapping[str, Any]]  # of exported rows: KEYS, num_rows and num_images
    sources: Mapping[str, DatasetResult]  # of the exported rows, in their order
    shared: tuple[Shared, ...]

    def count(self, **wanted: str) -> int:
        """The number of exported rows; `wanted` selects by KEYS."""
        return sum(each["num_rows"] for each in self.groups if wanted.items() <= each.items())

    def tally(self, name: str) -> dict[str, int]:
        """Exported rows by one of KEYS."""
        return {value: self.count(**{name: value}) for value in dict.fromkeys(each[name] for each in self.groups)}

    @property
    def summary(self) -> str:
        """The export in one sentence."""
        roles = ", ".join(f"{role} {number:,}" for role, number in self.roles.items())
        return (
            f"{numbered(self.count(), 'row')} ({roles}) with {numbered(self.num_images, 'image')}, "
            f"of {numbered(len(self.sources), 'dataset')}, "
            f"exported under the licence policy `{self.policy}`."
        )

    @cached_property
    def roles(self) -> dict[str, int]:
        """Exported rows by role, in the order of `Role`."""
        return {role.value: number for role in Role if (number := self.count(role=role.value))}

    @property
    def num_images(self) -> int:
        """Images of the exported rows; an image of two rows counts twice."""
        return sum(each["num_images"] for each in self.groups)

    def licences_of(self, source: str | None = None) -> dict[str, int]:
        """Exported rows by licence, spelled as SPDX does, of one source or all."""
        counts: Counter[str] = Counter()
        for each in self.groups:
            if source in (None, each["source"]):
                counts[spell(each["licence"]) or each["licence"]] += each["num_rows"]
        return dict(sorted(counts.items()))

    @property
    def restricted(self) -> dict[str, int]:
        """Titles and exported rows of credentialed and private sources."""
        found = (name for name, data in self.sources.items() if data.card.access is Access.CREDENTIALED)
        return {self.sources[name].card.title: self.count(source=name) for name in found}

    @property
    def miniatures(self) -> list[str]:
        """Titles of the generated sources."""
        return [data.card.title for data in self.sources.values() if data.is_miniature]

    @property
    def excluded(self) -> list[tuple[str, int]]:
        """(reason, records) of what the sources lost on the way to the mix."""
        counts: Counter[str] = Counter()
        for data in self.sources.values():
            counts.update(dict(data.exclusion_reasons))
        return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))

    @property
    def steps(self) -> list[tuple[str, int]]:
        """Records after each step from the published to the trained ones, without benchmarks, which never train."""
        sources = [data for data in self.sources.values() if data.card.kind == "source"]
        outcomes = Counter[str]()
        for data in sources:
            outcomes.update(data.outcomes)
        num_read = sum(data.read for data in sources)
        return [
            ("published", sum(data.card.num_published for data in sources)),
            ("found", sum(data.found for data in sources)),
            ("read", num_read),
            ("without duplicates", num_read - outcomes["duplicate"]),
            ("in the mix", sum(outcomes[role.value] for role in Role)),
            ("trained on", outcomes[Role.TRAIN.value]),
        ]


def read_facts(index: pa.Table, policy: Licences) -> MixFacts:
    """Facts of the exported rows of the index; StaleError if an output of a stage is missing."""
    counts = index.group_by(KEYS, use_threads=False).aggregate([([], "count_all"), ("num_images", "sum")])
    groups = counts.rename_columns([*KEYS, "num_rows", "num_images"]).to_pylist()
    datasets = {data.card.id: data for data in read_datasets()}
    sources = dict.fromkeys(group["source"] for group in groups)
    if missing := sorted(sources.keys() - datasets):
        raise StaleError(f"{paths.CATALOGUE}: has no {', '.join(missing)}; run `python -m openmedq catalogue`")
    languages = config.load(paths.PARAMS).normalize.languages
    shared = tuple(each for each in read_shared() if each.source in sources)
    return MixFacts(policy, languages, groups, {name: datasets[name] for name in sources}, shared)
