"""`data/forgotten.yaml`: records, patients, studies and pictures that are never used again, told by digest.

The list is in git, so that what is forgotten here is forgotten everywhere; it names nobody at sight. A digest hides an
id from who does not have the data, not from who has them and may try.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from openmedq.errors import StaleError
from openmedq.schema import Sample

HEADER = "# What is never used again, by sha256 of its id. Written by `python -m openmedq forget ID`.\n"

Digests = dict[str, list[str]]  # set id -> digests, for every set of the catalogue


def digest(name: str) -> str:
    """The digest of a record's, a patient's, a study's or a picture's id."""
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()


def is_forgotten(sample: Sample, digests: frozenset[str]) -> bool:
    """Whether the sample, its patient, its study or a picture of it is on the list."""
    return bool(digests) and not digests.isdisjoint(map(digest, names_of(sample)))


def names_of(sample: Sample) -> list[str]:
    """The ids under which a sample can be forgotten."""
    names = [sample.id, sample.groups.patient, sample.groups.study, *(image.image_id for image in sample.images)]
    return [name for name in names if name]


def read(path: Path) -> Digests:
    """The list; StaleError where it is not there or is none."""
    try:
        digests = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StaleError(f"{path}: not found; `python -m openmedq catalogue` writes an empty one") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        digests = None
    if not isinstance(digests, dict) or not all(isinstance(each, list) for each in digests.values()):
        raise StaleError(f"{path}: not a list of what is forgotten; take it back from git")
    return digests


def render(digests: Mapping[str, Iterable[str]], set_ids: Iterable[str]) -> str:
    """The list as text, a line for every set: DVC follows each set's line alone."""
    complete = {set_id: sorted(set(digests.get(set_id, ()))) for set_id in set_ids}
    return HEADER + yaml.safe_dump(complete, sort_keys=False, width=100)
