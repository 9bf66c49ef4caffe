"""`data/catalogue.yaml`: the cards of all sets as DVC and the stages read them. Derived, never edited by hand."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml

from openmedq.config import Params
from openmedq.datasets.card import Card, File, Set
from openmedq.errors import ParamsError, StaleError

Kind = Literal["source", "benchmark"]
Catalogue = dict[str, dict[str, Any]]  # set id -> entry

HEADER = "# The cards of all sets. Written by `python -m openmedq catalogue`; change the cards, not this file.\n"


def entry(card: Card, kind: Kind) -> dict[str, Any]:
    """What the catalogue says of one set."""
    return {
        "kind": kind,
        "module": f"openmedq/{kind}s/{card.id}.py",
        "title": card.title,
        "aliases": list(card.aliases),
        "collection": card.collection,
        "other_paths": list(card.other_paths),
        "homepage": card.homepage,
        "licence": card.licence,
        "access": str(card.access),
        "task": str(card.task),
        "other_tasks": [str(task) for task in card.other_tasks],
        "modality": card.modality,
        "classes": list(card.classes),
        "is_multi_label": card.is_multi_label,
        "fitted": list(card.fitted),
        "scored": list(card.scored),
        "roles": {split: str(role) for split, role in card.roles.items()},
        "published_rows": dict(card.published_rows),
        "samples_per_row": card.samples_per_row,
        "has_row_licences": card.has_row_licences,
        "files": _tell_files(card.files),
        "editions": {name: _tell_files(edition.files) for name, edition in card.editions.items()},
    }


def count_published(entry: Mapping[str, Any]) -> int:
    """About as many samples as the publisher's records make."""
    return int(sum(entry["published_rows"].values()) * entry["samples_per_row"])


def _tell_files(files: Iterable[File]) -> dict[str, dict[str, Any]]:
    return {file.path: file.model_dump(exclude={"path"}) for file in files}


def render(sources: Mapping[str, Set], benchmarks: Mapping[str, Set]) -> str:
    """The whole catalogue as YAML, sources first, each by id: the same cards give the same text."""
    entries = {set_id: entry(sources[set_id].card, "source") for set_id in sorted(sources)}
    entries |= {set_id: entry(benchmarks[set_id].card, "benchmark") for set_id in sorted(benchmarks)}
    return HEADER + yaml.safe_dump({"sources": entries}, sort_keys=False, allow_unicode=True, width=120)


def read(path: Path) -> Catalogue:
    """The entries by set id; StaleError where the file is not there or is no catalogue."""
    try:
        entries: Catalogue = yaml.safe_load(path.read_text(encoding="utf-8"))["sources"]
        if all(isinstance(entry["files"], dict) for entry in entries.values()):
            return entries
    except FileNotFoundError:
        raise StaleError(f"{path}: not found; run `python -m openmedq catalogue`") from None
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise StaleError(f"{path}: not a catalogue; run `python -m openmedq catalogue`")


def check_names(entries: Catalogue, params: Params) -> None:
    """ParamsError where a setting names a set, an edition or a split that the catalogue does not have."""
    by_kind: dict[Kind, list[str]] = {"source": [], "benchmark": []}
    for set_id, listed in entries.items():
        by_kind[listed["kind"]].append(set_id)
    for name in ("require", "skip", "editions"):
        _check_known(f"download.{name}", "set", getattr(params.download, name), entries)
    for set_id, edition in params.download.editions.items():
        _check_known(f"download.editions.{set_id}", "edition", [edition], entries[set_id]["editions"])
    _check_known("mix.roles", "set", params.mix.roles, entries)
    for set_id, roles in params.mix.roles.items():
        _check_known(f"mix.roles.{set_id}", "split", roles, entries[set_id]["roles"])
    _check_known("mix.weights", "source", params.mix.weights, by_kind["source"])
    _check_known("transfer.benchmarks", "benchmark", params.transfer.benchmarks, by_kind["benchmark"])


def _check_known(where: str, what: str, names: Iterable[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise ParamsError(f"params.yaml: {where}: no {what} {name!r}; there are {', '.join(known) or 'none'}")


def check(path: Path, card: Card) -> dict[str, Any]:
    """The set's entry, held to its card; StaleError where they differ."""
    recorded = read(path).get(card.id)
    if recorded is None or recorded != entry(card, recorded.get("kind", "source")):
        raise StaleError(f"{path}: {card.id} differs from its card; run `python -m openmedq catalogue`")
    return recorded
