"""Reads what the stages left: counts, waterfall, verdict, losses, scores. What is not there is None or empty."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openmedq import paths
from openmedq.datasets import catalogue
from openmedq.datasets.card import Access, Card
from openmedq.schema import Role
from openmedq.storage.tables import read_counts, read_json

Tree = Mapping[str, Any]

WHERE_NEXT = (
    ("the report", str(paths.REPORT / "index.html"), "scores, examples, licences"),
    ("the demo", "python -m openmedq demo", "ask the model, on this machine"),
    ("MLflow, Prefect", "make ui", "runs and flows, on this machine"),
    ("Data Docs", str(paths.DATA_DOCS / "index.html"), "what the data are held to"),
    ("DVC", "dvc dag", "also: dvc metrics show, dvc exp show"),
)


@dataclass(frozen=True)
class SetResult:
    """What became of one set: its card's words and its rows, from the published file to the mix."""

    id: str
    title: str
    kind: str  # source or benchmark
    homepage: str
    licence: str
    access: str
    task: str
    modality: str
    published: Mapping[str, int] = field(default_factory=dict)  # split -> records, as the publisher counts
    roles: Mapping[str, str] = field(default_factory=dict)  # split -> role, the card's
    state: str = "not run"  # present, absent, or not run
    reason: str | None = None  # why it is absent
    origin: str = ""  # miniature, mirror or official
    found: int = 0
    read: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
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
    def is_open(self) -> bool:
        """Whether its texts and pictures may be shown to anyone."""
        return self.access == Access.OPEN

    @property
    def fates(self) -> dict[str, int]:
        """What became of the records found, each counted once."""
        return {
            **{role.value: self.mix.get(role.value, 0) for role in Role},
            "duplicate": sum(self.duplicate.values()),
            "kept out": sum(self.kept_out.values()),
            "rejected": sum(self.rejected.values()),
        }

    @property
    def reasons(self) -> list[tuple[str, str, int]]:
        """(fate, reason, rows) of what did not enter the mix."""
        lost = {"rejected": self.rejected, "duplicate": self.duplicate, "kept out": self.kept_out}
        return [(fate, reason, number) for fate, reasons in lost.items() for reason, number in reasons.items()]

    @property
    def num_published_evaluation_rows(self) -> int:
        """Records of the published evaluation splits."""
        return sum(number for split, number in self.published.items() if self.roles.get(split) == Role.EVALUATION)


@dataclass(frozen=True)
class Results:
    """All that a run left behind."""

    sets: tuple[SetResult, ...]
    verdict: Tree | None
    training: Tree | None
    losses: tuple[tuple[int, float], ...]  # (step, loss)
    evaluation: Tree | None
    transfer: Tree | None

    @property
    def sources(self) -> list[SetResult]:
        """The sets of the mix, as the catalogue orders them."""
        return [each for each in self.sets if each.kind == "source"]

    @property
    def benchmarks(self) -> list[SetResult]:
        """The classification sets, as the catalogue orders them."""
        return [each for each in self.sets if each.kind == "benchmark"]

    @property
    def open_sources(self) -> set[str]:
        """Ids of the sources whose records may be shown to anyone."""
        return {each.id for each in self.sources if each.is_open and each.is_present}

    def find(self, set_id: str) -> SetResult | None:
        """One set by id."""
        return next((each for each in self.sets if each.id == set_id), None)

    def iterate_scores(self) -> Iterator[tuple[SetResult, Tree]]:
        """The sources that were asked, with their scores, as the catalogue orders them."""
        for each in self.sources:
            scores = (self.evaluation or {}).get(each.id)
            if scores and scores["num_rows"]:
                yield each, scores


def read_results() -> Results:
    """Read whatever is there, below the current directory."""
    cards = catalogue.read(paths.CATALOGUE) if paths.CATALOGUE.exists() else {}
    waterfall = _read_json(paths.MIX / "waterfall.json") or {}
    return Results(
        sets=tuple(_read_set(card, waterfall.get(set_id)) for set_id, card in cards.items()),
        verdict=_read_json(paths.VALIDATION / "verdict.json"),
        training=_read_json(paths.TRAINING / "metrics.json"),
        losses=_read_losses(paths.TRAINING / "loss.csv"),
        evaluation=_read_json(paths.EVALUATION / "metrics.json"),
        transfer=_read_json(paths.TRANSFER / "metrics.json"),
    )


def _read_set(card: Card, told: Tree | None) -> SetResult:
    facts: dict[str, Any] = {
        name: getattr(card, name)
        for name in ("id", "title", "kind", "homepage", "licence", "access", "task", "modality", "roles")
    }
    folder = paths.SAMPLES / card.id
    counts = read_counts(folder) if folder.exists() else {}
    fates = (
        {name: told[name] for name in ("state", "found", "read", "rejected", "duplicate", "kept_out", "mix")}
        if told
        else {}
    )
    reason = told.get("reason") if told else None
    return SetResult(**facts, **fates, reason=reason, published=card.published_rows, origin=counts.get("origin") or "")


def _read_json(path: Path) -> dict[str, Any] | None:
    return read_json(path) if path.exists() else None


def _read_losses(path: Path) -> tuple[tuple[int, float], ...]:
    if not path.exists():
        return ()
    with path.open(encoding="utf-8", newline="") as file:
        return tuple((int(row["step"]), float(row["loss"])) for row in csv.DictReader(file))
