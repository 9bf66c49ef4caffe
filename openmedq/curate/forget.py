"""Exclusion by id: records, patients, studies and images that are never used again, listed in `data/forgotten.yaml`.

The list holds sha256 digests of ids and is kept in git, so that an exclusion applies wherever the project is checked
out. A digest hides an id only from people without the data, and a number from nobody: all numbers can be tried. So
digests of a local dataset's patients and studies are of their pseudonyms, whose key is not in git.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import yaml

from openmedq import paths
from openmedq.datasets import catalogue
from openmedq.errors import ParamsError, StaleError
from openmedq.schema import Sample
from openmedq.storage.pseudonyms import open_pseudonyms
from openmedq.storage.publish import replace_text
from openmedq.storage.shards import ShardStore

HEADER = "# What is never used again, by sha256 of its id. Written by `python -m openmedq forget ID`.\n"

Digests = dict[str, list[str]]  # by dataset id, for every dataset of the catalogue

_COLUMNS = ["id", "groups.patient", "groups.study", "images.list.element.image_id"]


def forget(name: str, dataset_id: str | None = None) -> dict[str, int]:
    """Add the id to the list, for every dataset on disk that contains it, or for `dataset_id` even if it does not.

    Of a local dataset, the id may be added as its pseudonym, as which the rows have patients and studies.

    Returns the number of rows on disk that have the id, by dataset.

    Raises:
        ParamsError: the id is empty, no dataset on disk contains it, or `dataset_id` is not in the catalogue. The
            message does not repeat the id, which may identify a patient.
    """
    if not name.strip():
        raise ParamsError("the id is empty; give the id of a record (SOURCE/ID), a patient, a study or an image")
    known = catalogue.read(paths.CATALOGUE)
    if dataset_id is not None and dataset_id not in known:
        raise ParamsError(f"{dataset_id}: no such dataset; there are {', '.join(known)}")
    pseudonym = open_pseudonyms()
    spelled = {each: {name, pseudonym(name)} if known[each].local else {name} for each in known}
    for each, names in spelled.items():
        if known[each].is_credentialed and known[each].local and not name.startswith(f"{each}/"):
            names.remove(name)  # rows have pseudonyms alone
    found = {each: _count(each, spelled[each]) for each in ([dataset_id] if dataset_id else known)}
    if dataset_id is None:
        found = {each: numbers for each, numbers in found.items() if numbers}
    if not found:
        raise ParamsError(
            "no row on disk has a record, patient, study or image of this id; `--set ID` excludes it from a dataset "
            "that is not normalized yet"
        )
    digests = read(paths.FORGOTTEN)
    for each, numbers in found.items():
        digests[each] = [*digests.get(each, []), *map(digest, numbers or spelled[each])]
    replace_text(paths.FORGOTTEN, render(digests, known))
    return {each: numbers.total() for each, numbers in found.items()}


def digest(name: str) -> str:
    """The digest of the id of a record, a patient, a study or an image."""
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()


def is_forgotten(sample: Sample, digests: frozenset[str]) -> bool:
    """Whether the sample, its patient, its study or one of its images is on the list."""
    if not digests:
        return False
    names = [sample.id, sample.groups.patient, sample.groups.study, *(image.image_id for image in sample.images)]
    return not digests.isdisjoint(digest(name) for name in names if name)


def digests_of(dataset_id: str) -> frozenset[str]:
    """The digests of a dataset's ids; none if there is no list yet."""
    return frozenset(read(paths.FORGOTTEN).get(dataset_id, ()) if paths.FORGOTTEN.exists() else ())


def check_samples(dataset_ids: Iterable[str]) -> None:
    """StaleError if a dataset's rows on disk have an id of the list, which was added after they were written."""
    for each in dataset_ids:
        digests = digests_of(each)
        if digests and any(not digests.isdisjoint(map(digest, ids)) for ids in _list_ids(each)):
            raise StaleError(f"{paths.SAMPLES / each}: has rows that `forget` excludes; run `dvc repro`")


def read(path: Path) -> Digests:
    """The list; StaleError if it is missing or damaged."""
    try:
        digests = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StaleError(f"{path}: not found; `python -m openmedq catalogue` writes an empty one") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        digests = None
    if not isinstance(digests, dict) or not all(isinstance(each, list) for each in digests.values()):
        raise StaleError(f"{path}: not a list of digests by dataset; restore it from git")
    return digests


def render(digests: Mapping[str, Iterable[str]], dataset_ids: Iterable[str]) -> str:
    """The list as YAML, a key for every dataset: DVC tracks each key by itself. Digests of other datasets remain."""
    names = dict.fromkeys([*dataset_ids, *filter(digests.get, digests)])
    complete = {each: sorted(set(digests.get(each, ()))) for each in names}
    return HEADER + yaml.safe_dump(complete, sort_keys=False, width=100)


def _count(dataset_id: str, names: set[str]) -> Counter[str]:
    """Numbers of the rows of a dataset on disk that have the ids; only of the ids that any row has."""
    return Counter(name for ids in _list_ids(dataset_id) for name in names.intersection(ids))


def _list_ids(dataset_id: str) -> Iterator[list[str]]:
    """The ids of each row of a dataset on disk: of the record, its patient, its study and its images."""
    for group in ShardStore(paths.SAMPLES / dataset_id).scan(_COLUMNS):
        for row in group.rows.to_pylist():
            ids = (row["id"], *row["groups"].values(), *(image["image_id"] for image in row["images"]))
            yield [each for each in ids if each]
