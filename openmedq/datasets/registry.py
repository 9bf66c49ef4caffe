"""Finds the sets of a package: every module in it is one. Raises where a module is not a whole set, never skips."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType
from typing import cast

from openmedq.datasets.card import Card, Set
from openmedq.errors import SourceError


def names(package: ModuleType) -> list[str]:
    """Ids of the sets of a package, sorted, without importing one of them."""
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_"))


def load(package: ModuleType, set_id: str) -> Set:
    """The set `set_id`, importing its module alone, so that a stage depends on one reader only."""
    if set_id not in names(package):
        raise SourceError(f"{set_id}: no such set; there are {', '.join(names(package))}")
    module = importlib.import_module(f"{package.__name__}.{set_id}")
    for needed in ("card", "read", "miniature"):
        if not hasattr(module, needed):
            raise SourceError(f"{module.__name__}: lacks `{needed}`; a set needs card, read and miniature")
    card = module.card
    if not isinstance(card, Card) or card.id != set_id:
        raise SourceError(f"{module.__name__}: `card` must be a Card with id {set_id!r}, as the file is called")
    return cast(Set, module)


def load_all(package: ModuleType) -> dict[str, Set]:
    """All sets of a package by id."""
    return {name: load(package, name) for name in names(package)}


def find(set_id: str) -> Set:
    """The source or the benchmark `set_id`, importing its module alone; SourceError where there is none."""
    packages = [importlib.import_module(f"openmedq.{name}") for name in ("sources", "benchmarks")]
    for package in packages:
        if set_id in names(package):
            return load(package, set_id)
    known = ", ".join(name for package in packages for name in names(package))
    raise SourceError(f"{set_id}: no such set; there are {known}")
