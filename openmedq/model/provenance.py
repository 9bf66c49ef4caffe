"""`training_data.json`, saved with the weights: the datasets, licences and pretrained weights of the training.

    {"policy": "any",
     "sources": {"roco": {"access": "open", "origin": "official", "rows": 98, "licences": {"CC-BY-4.0": 60, ...}}, ...},
     "base_weights": {"vision": {"weights": "...", "revision": "...", "licence": "MIT"}, ...},
     "num_devices": 1, "micro_batch_size": 8}

It describes all training rows of the mix, including rows that were not sampled. It contains no record ids or texts.
Weights are reproducible to the byte with the same number of devices and the same micro batch.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ValidationError

from openmedq import paths
from openmedq.config import Language, Licences, Params, Vision
from openmedq.datasets.card import Access
from openmedq.datasets.licences import refuse, spell
from openmedq.errors import ExportError, numbered

NAME = "training_data.json"

Tree = dict[str, Any]


class _Source(BaseModel):
    access: str
    origin: str
    rows: int
    licences: dict[str, int]


class _Base(BaseModel):
    weights: str
    revision: str | None
    licence: str | None


class _Tree(BaseModel):
    policy: Licences
    sources: dict[str, _Source]
    base_weights: dict[str, _Base]


def describe(rows: pa.Table, params: Params, origins: Mapping[str, str], **execution: int) -> Tree:
    """Describe the training rows (of INDEX_SCHEMA) with the origin of each source's files.

    `execution` are the number of devices and the micro batch.
    """
    columns = [rows[name].to_pylist() for name in ("source", "access", "licence")]
    sources: dict[str, Tree] = {}
    for (source, access, licence), number in sorted(Counter(zip(*columns, strict=True)).items()):
        new = {"access": access, "origin": origins[source], "rows": 0, "licences": {}}
        entry = sources.setdefault(source, new)
        entry["rows"] += number
        name = spell(licence) or licence
        entry["licences"][name] = entry["licences"].get(name, 0) + number
    parts: dict[str, Vision | Language] = {"vision": params.train.vision, "language": params.train.language}
    bases = {name: _describe_base(part) for name, part in parts.items() if part.weights is not None}
    return {"policy": params.policy.licences, "sources": sources, "base_weights": bases, **execution}


def _describe_base(part: Vision | Language) -> Tree:
    return {
        "weights": paths.hide_folders(str(part.weights)),
        "revision": part.revision,
        "licence": part.licence and (spell(part.licence) or part.licence),
    }


def render(tree: Tree) -> str:
    """Return the text of `training_data.json`."""
    return json.dumps(tree, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def read(folder: Path) -> Tree:
    """Read the file from a model's folder; ExportError if it is missing or damaged."""
    path = folder / NAME
    try:
        tree: Tree = json.loads(path.read_text(encoding="utf-8"))
        _Tree.model_validate(tree, strict=True)
    except FileNotFoundError:
        raise ExportError(f"{path}: not found, so the training data are unknown; run `dvc repro train`") from None
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"])) or "the whole"
        raise ExportError(f"{path}: {where} is not as `train` wrote it; run `dvc repro --force train`") from None
    except (ValueError, RecursionError) as error:
        raise ExportError(f"{path}: is not JSON: {error}; run `dvc repro --force train`") from None
    return tree


def refuse_export(tree: Mapping[str, Any], policy: Licences) -> Iterator[str]:
    """Yield the parts of the training data that the policy does not allow: `roco 12 rows (licence unknown)`."""
    for source, entry in tree["sources"].items():
        reasons: Counter[str] = Counter()
        for licence, number in entry["licences"].items():
            if reason := refuse(licence, policy, is_credentialed=entry["access"] == Access.CREDENTIALED):
                reasons[reason] += number
        for reason, number in sorted(reasons.items()):
            yield f"{source} {numbered(number, 'row')} ({reason})"
    for name, base in tree["base_weights"].items():
        if reason := refuse(base["licence"], policy):
            yield f"pretrained {name} weights {base['weights']} ({reason})"
