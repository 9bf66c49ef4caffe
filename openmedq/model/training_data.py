"""What weights were trained on, as they carry it: `training_data.json` beside them.

    {"policy": "any",
     "sources": {"roco": {"access": "open", "origin": "official", "rows": 98, "licences": {"CC-BY-4.0": 60, ...}}, ...},
     "base_weights": {"vision": {"weights": "...", "revision": "...", "licence": "MIT"}, ...}}

It says what the mix held, not what was drawn from it; and nothing of the records themselves.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ValidationError

from openmedq.config import Language, Licences, Params, Vision
from openmedq.datasets.card import Access
from openmedq.datasets.licences import refuse, spell
from openmedq.errors import ExportError

NAME = "training_data.json"

Tree = dict[str, Any]


class _Source(BaseModel):
    access: Access
    origin: str
    rows: int
    licences: dict[str, int]


class _Base(BaseModel):
    weights: str
    revision: str | None
    licence: str | None


class _Shape(BaseModel):
    """Of the file: what is read is whole, or not read."""

    policy: str
    sources: dict[str, _Source]
    base_weights: dict[str, _Base]


def describe(rows: pa.Table, params: Params, find_origin: Callable[[str], str]) -> Tree:
    """What weights trained on the rows (of INDEX_SCHEMA) are trained on; `find_origin` tells where a source is from."""
    columns = [rows[name].to_pylist() for name in ("source", "access", "licence")]
    sources: dict[str, Tree] = {}
    for (source, access, licence), number in sorted(Counter(zip(*columns, strict=True)).items()):
        new = {"access": access, "origin": find_origin(source), "rows": 0, "licences": {}}
        facts = sources.setdefault(source, new)
        facts["rows"] += number
        name = spell(licence) or licence
        facts["licences"][name] = facts["licences"].get(name, 0) + number
    parts: dict[str, Vision | Language] = {"vision": params.train.vision, "language": params.train.language}
    bases = {name: _describe_base(part) for name, part in parts.items() if part.weights is not None}
    return {"policy": params.policy.licences, "sources": sources, "base_weights": bases}


def _describe_base(part: Vision | Language) -> Tree:
    """Pretrained weights by name; of a folder elsewhere on this machine the last part alone."""
    name = str(part.weights)
    return {
        "weights": Path(name).name if Path(name).is_absolute() else name,
        "revision": part.revision,
        "licence": part.licence and (spell(part.licence) or part.licence),
    }


def render(tree: Tree) -> str:
    """The text of `training_data.json`."""
    return json.dumps(tree, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def read(folder: Path) -> Tree:
    """What the weights in the folder say that they were trained on; ExportError where they say nothing."""
    path = folder / NAME
    try:
        return _Shape.model_validate_json(path.read_bytes(), strict=True).model_dump()
    except FileNotFoundError:
        raise ExportError(f"{path}: not there, so nobody knows what was trained on; `dvc repro train` trains") from None
    except ValidationError:
        raise ExportError(f"{path}: not what `train` writes; `dvc repro --force train` trains again") from None


def refuse_export(tree: Mapping[str, Any], policy: Licences) -> Iterator[str]:
    """Each thing trained on that the policy does not allow: `roco 12 rows (licence unknown)`."""
    for source, facts in tree["sources"].items():
        reasons: Counter[str] = Counter()
        for licence, number in facts["licences"].items():
            if reason := refuse(licence, policy, is_credentialed=facts["access"] == Access.CREDENTIALED):
                reasons[reason] += number
        for reason, number in sorted(reasons.items()):
            yield f"{source} {number:,} rows ({reason})"
    for name, base in tree["base_weights"].items():
        if reason := refuse(base["licence"], policy):
            yield f"pretrained {name} weights {base['weights']} ({reason})"
