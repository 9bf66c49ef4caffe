"""Read the outputs of the stages: counts, waterfall, scores; None or empty if a file is missing."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.compute as pc

from openmedq import config, paths
from openmedq.config import OURS, Params
from openmedq.datasets import catalogue
from openmedq.datasets.card import Access, Card
from openmedq.evaluation.metrics.predictions import prediction_schema
from openmedq.schema import Role, Task
from openmedq.storage.tables import damage_as_stale, open_parquet, read_counts, read_json
from openmedq.storage.timing import Timing
from openmedq.storage.timing import read as read_timing

Tree = Mapping[str, Any]

_log = logging.getLogger(__name__)

EXCLUDED = ("rejected", "duplicate", "kept out")  # why a row is not in the mix
OUTCOMES = (*EXCLUDED, *(role.value for role in Role))
HUB_TASKS = {  # of Hugging Face's hub
    Task.VQA: "visual-question-answering",
    Task.MULTIPLE_CHOICE: "visual-question-answering",
    Task.CAPTION: "image-to-text",
    Task.REPORT: "image-to-text",
    Task.TEXT_QA: "question-answering",
    Task.CLASSIFICATION: "image-classification",
}
SHARED = paths.VERDICTS / "contamination.json"


@dataclass(frozen=True)
class DatasetResult:
    """The card of a dataset, and the number of its records at each step from the published files to the mix."""

    card: Card
    origin: str | None = None  # of the files: miniature, mirror, official or local
    state: str = "not run"  # present, absent, or not run
    reason: str | None = None  # why it is absent
    found: int = 0
    read: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)  # reason -> records, as the next two
    duplicate: Mapping[str, int] = field(default_factory=dict)
    kept_out: Mapping[str, int] = field(default_factory=dict)
    mix: Mapping[str, int] = field(default_factory=dict)  # role -> rows

    @property
    def is_present(self) -> bool:
        """Whether there were files to read."""
        return self.state == "present"

    @property
    def is_miniature(self) -> bool:
        """Whether its files were generated."""
        return self.is_present and self.origin == "miniature"

    @property
    def outcomes(self) -> dict[str, int]:
        """Records by outcome (OUTCOMES); each record found counts once."""
        excluded = {name: sum(reasons.values()) for name, reasons in self._excluded.items()}
        return excluded | {role.value: self.mix.get(role, 0) for role in Role}

    @property
    def exclusion_reasons(self) -> list[tuple[str, int]]:
        """(reason, records) of what is not in the mix."""
        return [
            (reason if reason.startswith(name) else f"{name}: {reason}", number)
            for name, reasons in self._excluded.items()
            for reason, number in reasons.items()
        ]

    @property
    def num_published_evaluation_rows(self) -> int:
        """Records of the published evaluation splits."""
        roles = self.card.roles
        return sum(rows for split, rows in self.card.published_rows.items() if roles.get(split) is Role.EVALUATION)

    @property
    def _excluded(self) -> dict[str, Mapping[str, int]]:
        return dict(zip(EXCLUDED, (self.rejected, self.duplicate, self.kept_out), strict=True))


class Shared(NamedTuple):
    """Training rows of a source that share something with rows of an evaluation dataset."""

    source: str
    evaluation_dataset: str
    tier: str
    training_rows: int
    kept: int  # of these, in the mix
    evaluation_rows: int


@dataclass(frozen=True)
class Results:
    """All outputs of a run."""

    datasets: tuple[DatasetResult, ...]
    training: Tree | None
    evaluation: Tree  # metrics.json of evaluate and of transfer, empty before they have run
    transfer: Tree
    generation: Mapping[str, int] = field(default_factory=dict)  # num_tokens, num_cut (prompts), num_unended (answers)
    timings: Mapping[str, Timing] = field(default_factory=dict)  # by node, such as transfer-ours
    languages: tuple[str, ...] = ("en",)  # of the rows, as two letters
    shared: Sequence[Shared] | None = None

    @property
    def sources(self) -> list[DatasetResult]:
        """The datasets of the mix, in the catalogue's order."""
        return [each for each in self.datasets if each.card.kind == "source"]

    @property
    def open_sources(self) -> dict[str, str]:
        """Ids and titles of the sources whose records may be shown to anyone."""
        sources = {each.card.id for each in self.sources}
        return {name: title for name, title in self.open_datasets.items() if name in sources}

    @property
    def open_datasets(self) -> dict[str, str]:
        """Ids and titles of the datasets, benchmarks included, whose records may be shown to anyone."""
        shown = (each.card for each in self.datasets if each.card.access is Access.OPEN and each.is_present)
        return {card.id: card.title for card in shown}

    @property
    def encoders(self) -> list[str]:
        """The encoders that transfer compared, the trained one first."""
        return list(self.transfer.get("mean", ()))

    @property
    def averaged(self) -> list[DatasetResult]:
        """The benchmarks whose scores the mean is of: the published ones, or the local ones if there is no other."""
        scored = [data for data, _ in self.iterate_transfers()]
        return [data for data in scored if not data.card.local] or scored

    def find(self, dataset_id: str) -> DatasetResult | None:
        """One dataset by id."""
        return next((each for each in self.datasets if each.card.id == dataset_id), None)

    def title_of(self, dataset_id: str) -> str:
        """The title of a dataset; its id if the catalogue lacks it."""
        data = self.find(dataset_id)
        return data.card.title if data else dataset_id

    @property
    def metrics(self) -> Sequence[Tree]:
        """The metrics of answers in the main tables: name, title, is_headline, has_baseline."""
        return [metric for metric in self.evaluation.get("metrics", ()) if not metric.get("is_variant")]

    @property
    def definitions(self) -> Sequence[Tree]:
        """The metrics of answers that are definitions of BLEU-1, the canonical ones first."""
        return [metric for metric in self.evaluation.get("metrics", ()) if metric.get("family")]

    @property
    def transfer_metrics(self) -> Sequence[Tree]:
        """The metrics of classification, described alike."""
        return list(self.transfer.get("metrics", ()))

    def iterate_scores(self) -> Iterator[tuple[DatasetResult, Tree]]:
        """The evaluated sources with their scores, in the catalogue's order."""
        for each in self.sources:
            scores = self.evaluation.get(each.card.id)
            if scores and scores["num_rows"]:
                yield each, scores

    def iterate_transfers(self) -> Iterator[tuple[DatasetResult, Tree]]:
        """The benchmarks that transfer has scored, with their scores."""
        for each in self.datasets:
            if each.card.id in self.transfer:
                yield each, self.transfer[each.card.id]


def read_results() -> Results:
    """Read the outputs below the current folder."""
    params = config.load(paths.PARAMS) if paths.PARAMS.exists() else None
    return Results(
        datasets=read_datasets(),
        training=_read_json(paths.TRAINING / "metrics.json"),
        evaluation=_read_json(paths.EVALUATION / "metrics.json") or {},
        transfer=_read_transfer(params),
        shared=list(read_shared()) if SHARED.exists() else None,
        generation=_read_generation(paths.EVALUATION / "predictions.parquet"),
        timings=dict(_read_timings()),
        languages=params.normalize.languages if params else ("en",),
    )


def read_datasets() -> tuple[DatasetResult, ...]:
    """The datasets of the catalogue with their counts."""
    cards = catalogue.read(paths.CATALOGUE) if paths.CATALOGUE.exists() else {}
    waterfall = _read_json(paths.MIX / "waterfall.json") or {}
    datasets = []
    for card in cards.values():
        folder = paths.SAMPLES / card.id
        origin = read_counts(folder)["origin"] if folder.exists() else None
        counts = {name: value for name, value in waterfall.get(card.id, {}).items() if name != "kind"}
        datasets.append(DatasetResult(card, origin, **counts))
    return tuple(datasets)


def read_shared() -> Iterator[Shared]:
    """The counts in contamination.json; StaleError if it is missing."""
    for source, by_dataset in read_json(SHARED).items():
        for dataset, by_tier in by_dataset.items():
            for tier, counts in by_tier.items():
                yield Shared(source, dataset, tier, **counts)


def _read_transfer(params: Params | None) -> Tree:
    """metrics.json of all encoders of the settings in one tree, ours first; of those with ours' benchmarks."""
    wanted = params.transfer.encoders if params else None
    found = sorted(paths.TRANSFER.glob("*/metrics.json"), key=lambda path: (path.parent.name != OURS, path))
    merged: dict[str, Any] = {}
    for path in found:
        tree = read_json(path)
        if wanted is not None and path.parent.name not in wanted:
            continue
        if merged and tree.keys() != merged.keys():
            _log.warning(f"{path}: is not shown, because its benchmarks differ from the others'; run `dvc repro`")
            continue
        for name, value in tree.items():
            merged[name] = value if name == "metrics" else merged.get(name, {}) | value
    return merged


def _read_generation(path: Path) -> dict[str, int]:
    """Counts of predictions.parquet."""
    if not path.exists():
        return {}
    with open_parquet(path, prediction_schema()) as file, damage_as_stale(path):
        rows = file.read(["num_tokens", "is_cut", "stop"])
    is_unended = pc.equal(rows["stop"], "length")
    counted = {"num_tokens": rows["num_tokens"], "num_cut": rows["is_cut"], "num_unended": is_unended}
    return {name: pc.sum(column).as_py() or 0 for name, column in counted.items()}


def _read_timings() -> Iterator[tuple[str, Timing]]:
    outputs = {"train": paths.TRAINING, "evaluate": paths.EVALUATION}
    outputs |= {f"transfer-{path.parent.name}": path.parent for path in paths.TRANSFER.glob("*/metrics.json")}
    for node, folder in outputs.items():
        if timing := read_timing(node, folder / "metrics.json"):
            yield node, timing


def _read_json(path: Path) -> dict[str, Any] | None:
    return read_json(path) if path.exists() else None
