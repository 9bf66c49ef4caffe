"""Command `audit`: find what a local dataset contains that should not leave the machine, before any training.

It reads the dataset as `check --local` does, and compares it with the datasets that are normalized. It prints no text
of a record, only the record's place.
"""

import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from openmedq import config, paths
from openmedq.config import Licences, Params
from openmedq.curate import overrides
from openmedq.curate.check import load_declared
from openmedq.curate.collect import collect, compare_rows
from openmedq.curate.datasets import NormalizedDataset
from openmedq.curate.duplicates import decide
from openmedq.curate.images import ThumbnailFile
from openmedq.curate.links import TRAIN, find_strongest
from openmedq.curate.normalize import Counts, rows
from openmedq.curate.reasons import Tier
from openmedq.datasets import catalogue
from openmedq.datasets.card import Card
from openmedq.datasets.licences import refuse
from openmedq.datasets.local.local import LocalDataset
from openmedq.errors import numbered
from openmedq.schema import Rejected, Role, Sample
from openmedq.storage.burned_in import may_show_text
from openmedq.storage.decoding import Inline
from openmedq.storage.dicom import BURNED_IN
from openmedq.storage.progress import progress
from openmedq.storage.pseudonyms import PSEUDONYM
from openmedq.storage.shards import ShardStore
from openmedq.storage.tables import COUNTS, read_counts

IDENTIFIERS = {  # patterns of texts that may identify a person
    "a name": re.compile(r"\b(?:Dr|Mr|Mrs|Ms|Prof)\.?\s+[A-Z][a-z]+|\b(?:[Nn]ame|[Pp]atient)\s*:\s*[A-Z]|\w\^\w"),
    "a date": re.compile(
        r"\b(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](?:\d{4}|\d{2})|(?:19|20)\d{6})\b"
    ),
    "a number of 6 or more digits": re.compile(r"(?<![\d.])\d(?:[ -]?\d){5,}(?!\.?\d)"),
    "an address": re.compile(r"[\w.+-]+@[\w-]+\.\w+|https?://"),
}
NUM_PLACES = 3  # that are named

Artifacts = Mapping[str, Sequence[Path]]  # by stage


@dataclass
class Findings:
    """What was found in the records."""

    counts: Counts = field(default_factory=Counts)
    places: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))  # field and kind
    burned_in: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # by the tag, by a look
    copies: Counter[tuple[str, str]] = field(default_factory=Counter)  # dataset, tier
    compared: list[str] = field(default_factory=list)  # datasets


def run(name: str, artifacts: Artifacts) -> None:
    """Print the audit of a local dataset. `artifacts`: what each stage logs to MLflow."""
    params = config.load(paths.PARAMS)
    dataset = load_declared(name, params)
    print("\n".join(render(dataset, params, inspect(dataset, params), artifacts)))


def inspect(dataset: LocalDataset, params: Params) -> Findings:
    """Read the dataset's records and images, and compare them with the normalized datasets."""
    found = Findings()
    with tempfile.TemporaryDirectory(prefix="openmedq-audit-") as folder:

        def read() -> Iterator[Sample]:
            raw = Path(params.local[dataset.card.id].folder)
            with progress(f"reading {dataset.card.id}", None) as advance:
                for item in rows(dataset, raw, params.normalize, Inline()):
                    found.counts.add(item)
                    advance(1)
                    if not isinstance(item, Rejected):
                        _note(item, found)
                        yield item

        store = ShardStore(Path(folder, dataset.card.id))
        store.folder.mkdir()
        store.write(read(), params.normalize)
        found.compared = _compare(dataset, store, params, found.copies)
    return found


def _note(sample: Sample, found: Findings) -> None:
    where = sample.provenance.record
    for name, text in _texts(sample):
        for kind, pattern in IDENTIFIERS.items():
            text, num_found = pattern.subn(" ", text)  # a date is not also a number
            if num_found:
                found.places[name, kind].append(where)
    if sample.attributes.get(BURNED_IN) == "yes":
        found.burned_in["the DICOM tag"].append(where)
    if any(may_show_text(image.data or b"") for image in sample.images):
        found.burned_in["a look for text in the border"].append(where)


def _texts(sample: Sample) -> Iterator[tuple[str, str]]:
    """The texts of a sample that reach prompts, weights or names, with the name of their field."""
    for turn in sample.turns:
        yield from (("question", turn.question), ("answer", turn.answer), ("context", turn.context))
        yield from (("options", option) for option in turn.options)
    yield "record id", sample.id.partition("/")[2]
    names = [image.image_id for image in sample.images if not PSEUDONYM.fullmatch(image.image_id)]
    yield from (("image name", name) for name in names)
    yield from (("label", label) for label in sample.labels)


def _compare(dataset: LocalDataset, store: ShardStore, params: Params, copies: Counter[tuple[str, str]]) -> list[str]:
    """Count rows that are copies of rows of other datasets, as if it were an evaluation set; return the datasets."""
    lines = overrides.read(Path(params.deduplicate.overrides))
    own = f"{dataset.card.id}/"  # copies within the dataset are not looked for
    lines = [line for line in lines if not all(name.startswith(own) for name in line.fields[:2])]
    others = list(_list_others(dataset.card.id))
    for other in others:  # beside its own shards, because images are read again from one folder
        (store.folder.parent / other.id).symlink_to(other.store.folder.absolute())
    policy = params.policy.model_copy(update={"licences": "any"})
    settings = params.deduplicate.model_copy(update={"near_images": False})  # takes 0.4 MB for each of its images
    every = params.model_copy(update={"policy": policy, "deduplicate": settings})
    datasets = [_as_normalized(dataset.card, store, Role.EVALUATION), *others]
    with tempfile.TemporaryFile() as file:
        table = collect(datasets, every, ThumbnailFile(file), lines, store.folder.parent)
    found = decide(table, "all", lambda pairs: compare_rows(datasets, every, pairs))
    pairs = find_strongest(found.links, found.roles, found.roles.is_evaluation, table.ranks == TRAIN)
    for place, tier in sorted(zip(pairs["dataset_other"], pairs["tier"], strict=True)):
        copies[datasets[place].id, list(Tier)[tier]] += 1
    return [other.id for other in others]


def _list_others(name: str) -> Iterator[NormalizedDataset]:
    """The other datasets that are normalized and present."""
    cards = catalogue.read(paths.CATALOGUE) if paths.CATALOGUE.exists() else {}
    for dataset_id, card in cards.items():
        folder = paths.SAMPLES / dataset_id
        if dataset_id != name and (folder / COUNTS).exists() and read_counts(folder)["read"]:
            yield _as_normalized(card, ShardStore(folder), Role.TRAIN)


def _as_normalized(card: Card, store: ShardStore, role: Role) -> NormalizedDataset:
    """A dataset all of whose rows have one role."""
    return NormalizedDataset(card.id, card.kind, card.access, dict.fromkeys(card.roles, role), {}, store)


def render(dataset: LocalDataset, params: Params, found: Findings, artifacts: Artifacts) -> Iterator[str]:
    """The lines of the audit."""
    card = dataset.card
    yield f"{card.id}: {numbered(found.counts.read, 'row')} read, {sum(found.counts.rejected.values())} rejected"
    yield from _render_exits(dataset, params, artifacts)
    yield "Fields that look like identifiers (a heuristic: it overlooks some):"
    yield from _render_places({f"{name}: {kind}": where for (name, kind), where in found.places.items()})
    yield "Text in the pixels, such as a name:"
    yield from _render_places({f"found by {how}": where for how, where in found.burned_in.items()})
    yield f"Copies of other datasets ({len(found.compared)} are normalized and compared):"
    for (other, tier), number in found.copies.items():
        yield f"  {other}, {tier}: {numbered(number, 'row')}"
    if not found.copies.total():
        yield "  none" if found.compared else "  unknown: normalize them first, with `dvc repro deduplicate`"


def _render_places(places: Mapping[str, list[str]]) -> Iterator[str]:
    for what, where in sorted(places.items()):
        named = ", ".join(where[:NUM_PLACES]) + (", ..." if len(where) > NUM_PLACES else "")
        yield f"  {what}: {numbered(len(where), 'row')} ({named})"
    if not places:
        yield "  none"


def _render_exits(dataset: LocalDataset, params: Params, artifacts: Artifacts) -> Iterator[str]:
    card = dataset.card
    roles = params.mix.roles.get(card.id, {})
    trained = [split for split, role in card.roles.items() if roles.get(split, role) is Role.TRAIN]
    yield "What would leave this machine, if you pass it on:"
    known: tuple[Licences, ...] = ("research", "commercial", "redistributable")
    policies = [each for each in known if not refuse(card.licence, each, is_credentialed=card.is_credentialed)]
    yield (
        f"  weights: data/model learns the splits {', '.join(trained) or 'none'}, and a model can repeat what it was "
        f"trained on; `export` allows it under policy.licences any{''.join(f', {each}' for each in policies)}"
    )
    yield "  report: counts, licences and scores of the dataset; no question, answer or image"
    files = ", ".join(path.as_posix() for each in artifacts.values() for path in each)
    yield f"  MLflow: params.yaml (folders without their path), counts, md5s, and {files}"
    declared = f"the declaration with folder, column and class names in params.yaml and {paths.CATALOGUE}"
    yield f"  git: {declared}, md5s in dvc.lock"
    yield "  DVC: nothing, as long as all outputs in dvc.yaml are `push: false`"
