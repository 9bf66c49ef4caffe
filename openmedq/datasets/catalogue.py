"""`data/catalogue.yaml`: the cards of all datasets for DVC and the stages, from the cards and `local` of params.yaml.

`miniatures` lists the datasets that can be generated: all but the local ones.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from openmedq import paths
from openmedq.datasets.card import Card
from openmedq.errors import ParamsError, StaleError

if TYPE_CHECKING:
    from openmedq.config import Local, Params

HEADER = (
    "# The cards of all datasets. Written by `openmedq catalogue`; change the cards, or `local` in params.yaml, "
    "not this file.\n"
)
_FOR_DVC = ("module", "depends", "settings")  # keys of an entry that are not of the card


def render(cards: Mapping[str, Card], modules: Mapping[str, str]) -> str:
    """Return the catalogue as YAML. `modules`: by dataset, the path of the code that only its reader uses.

    Defaults are left out: DVC parses the whole file for each node with a setting in it.
    """
    entries, miniatures = {}, {}
    for dataset_id, card in cards.items():
        depends = card.local.folder if card.local else (paths.MANIFEST / f"{dataset_id}.json").as_posix()
        module = {"module": modules[dataset_id]}
        entries[dataset_id] = {
            **module,
            "depends": depends,
            "settings": f"local.{dataset_id}" if card.local else "normalize",  # in params.yaml, that `normalize` reads
            "editions": {},  # DVC requires a value
            **card.model_dump(mode="json", exclude_defaults=True),
        }
        if not card.local:
            miniatures[dataset_id] = {"title": card.title, **module}
    tree = {"miniatures": miniatures, "datasets": entries}
    return HEADER + yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=120)


def read(path: Path) -> dict[str, Card]:
    """Read the cards by dataset id; StaleError if the file is missing or not a catalogue."""
    try:
        entries: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))["datasets"]
        return {
            dataset_id: Card.model_validate({key: value for key, value in entry.items() if key not in _FOR_DVC})
            for dataset_id, entry in entries.items()
        }
    except FileNotFoundError:
        raise StaleError(f"{path}: not found; run `python -m openmedq catalogue`") from None
    except (yaml.YAMLError, ValidationError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise StaleError(f"{path}: not a catalogue; run `python -m openmedq catalogue`") from None


def check_local(path: Path, cards: Mapping[str, Card], declared: Mapping[str, Local]) -> None:
    """Raise StaleError if the local datasets of the catalogue are not those that params.yaml declares."""
    listed = {dataset_id: card.local for dataset_id, card in cards.items() if card.local}
    for dataset_id in sorted(listed.keys() | declared.keys()):
        if listed.get(dataset_id) != declared.get(dataset_id):
            problem = f"the local dataset {dataset_id} is not as params.yaml declares it"
            raise StaleError(f"{path}: {problem}; run `python -m openmedq catalogue`")


def check_names(cards: Mapping[str, Card], params: Params) -> None:
    """Raise ParamsError if a setting names a dataset, an edition or a split that is not in the catalogue."""
    for name in ("require", "skip", "editions"):
        _check_known(f"download.{name}", "dataset", getattr(params.download, name), cards)
    for dataset_id, edition in params.download.editions.items():
        _check_known(f"download.editions.{dataset_id}", "edition", [edition], cards[dataset_id].editions)
    _check_known("mix.roles", "dataset", params.mix.roles, cards)
    for dataset_id, roles in params.mix.roles.items():
        _check_known(f"mix.roles.{dataset_id}", "split", roles, cards[dataset_id].roles)
    kinds = {kind: [key for key, card in cards.items() if card.kind == kind] for kind in ("source", "benchmark")}
    _check_known("mix.weights", "source", params.mix.weights, kinds["source"])
    for name in params.transfer.benchmarks:
        if name in params.local and not params.local[name].is_benchmark:
            advice = f"set local.{name}.is_benchmark: true, which excludes it from training"
            raise ParamsError(f"params.yaml: transfer.benchmarks: {name} is a source of the mix; {advice}")
    _check_known("transfer.benchmarks", "benchmark", params.transfer.benchmarks, kinds["benchmark"])


def _check_known(where: str, what: str, names: Iterable[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise ParamsError(f"params.yaml: {where}: no {what} {name!r}; there are {', '.join(known) or 'none'}")


def check(path: Path, card: Card) -> None:
    """Raise StaleError if the catalogue differs from this card."""
    if read(path).get(card.id) != card:
        raise StaleError(f"{path}: {card.id} differs from its card; run `python -m openmedq catalogue`")
