"""Command `show`: one record with its loss mask and what became of it, and files of its images.

A record of a credentialed dataset is shown in a terminal only: a file, or redirected output, is easily passed on.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table
from rich.text import Text

from openmedq import config, paths
from openmedq.config import Params, Train
from openmedq.datasets import catalogue
from openmedq.datasets.card import Card
from openmedq.datasets.licences import refuse
from openmedq.errors import ModelError, SourceError, StaleError, printable
from openmedq.model import encoders, tokenizer
from openmedq.model.prompt import IGNORED, IMAGE_TOKEN, Encoded, encode
from openmedq.schema import INDEX_SCHEMA, REJECTED_SCHEMA, Role, Sample
from openmedq.storage.shards import REJECTED, ShardStore
from openmedq.storage.tables import INDEX, VERDICT_TABLE, read_index, read_table, read_verdicts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FOLDER = Path("data/show")  # <dataset>/<record>-<number>.jpg or .png
MAX_NAME_CHARS = 200  # of a file
PNG = b"\x89PNG"  # the first bytes; the other stored images are JPEG
STYLES = {"image": "cyan", "prompt": "bright_black", "learned": "bold green"}


@dataclass(frozen=True)
class Record:
    """A record, and what became of it."""

    id: str
    card: Card
    outcome: str  # one sentence
    is_in_mix: bool
    sample: Sample | None = None  # None: rejected
    facts: tuple[tuple[str, str], ...] = ()  # name and value


def run(name: str) -> None:
    """Print the record `name`, `<dataset>/<record>`, and write its images, unless the dataset is credentialed.

    Raises:
        SourceError: there is no such record, or it may not be written to redirected output.
        StaleError: an output of a stage is missing or damaged.
    """
    params, console = config.load(paths.PARAMS), Console()
    record = find(name, params)
    if record.card.is_credentialed and not sys.stdout.isatty():
        raise SourceError(f"{record.card.id}: credentialed: its records are shown in a terminal only")
    _show_facts(console, record)
    if record.sample is None:
        return
    _show_mask(console, record.sample, params.train)
    if record.card.is_credentialed:
        _print(console, "No image is written: the dataset is credentialed.", "yellow")
        return
    stem = re.sub(r"[^\w.-]+", "_", name.partition("/")[2])[:MAX_NAME_CHARS]
    for number, image in enumerate(record.sample.images, start=1):
        data = image.data or b""
        path = FOLDER / record.card.id / f"{stem}-{number}.{'png' if data.startswith(PNG) else 'jpg'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        _print(console, f"Image: {path}", "bold")


def find(name: str, params: Params) -> Record:
    """Find a record in the index, then in its dataset's shards, then among the rejected ones."""
    cards = catalogue.read(paths.CATALOGUE)
    card = cards.get(name.partition("/")[0])
    if card is None or "/" not in name:
        raise SourceError(f"{name}: not a record's ID, DATASET/RECORD; the datasets are {', '.join(cards)}")
    index = read_index() if INDEX.exists() else INDEX_SCHEMA.empty_table()
    own = index.filter(pc.equal(index["id"], name))
    for row in own.to_pylist():
        outcome = f"In the mix, for {row['role']}, never for training"
        if row["role"] == Role.TRAIN:
            outcome = f"In the mix, for training with weight {row['weight']:g}"
        sample = ShardStore(paths.SAMPLES).take(own)[0]
        if sample.id != name:
            raise StaleError(f"{INDEX}: is older than the shards of {card.id}; `dvc repro mix` writes it again")
        return _describe(name, card, outcome, sample, is_in_mix=True)
    folder = paths.SAMPLES / card.id
    if not folder.exists():
        raise StaleError(f"{folder}: not found; `dvc repro normalize@{card.id}` writes it")
    for sample in ShardStore(paths.SAMPLES).take(ShardStore(folder).locate([name])):
        return _describe(name, card, _explain_exclusion(sample, cards, params), sample, is_in_mix=False)
    rejected = read_table(folder / REJECTED, REJECTED_SCHEMA)
    rows = rejected.filter(pc.equal(rejected["id"], name)).to_pylist()
    if not rows:
        raise SourceError(f"{name}: {folder} has no such record, neither read nor rejected; {INDEX} has the IDs")
    reasons = "; ".join(f"{each['reason']} ({each['detail']})" for each in rows)
    origin = rows[0]["provenance"]
    facts = (("dataset", card.title), ("split", rows[0]["split"]), ("from", f"{origin['file']}, {origin['record']}"))
    return Record(name, card, f"Rejected: {reasons}", is_in_mix=False, facts=facts)


def _explain_exclusion(sample: Sample, cards: Mapping[str, Card], params: Params) -> str:
    """Why a stored record is not in the mix: the reasons of `mix`, in its order."""
    card = cards[sample.source]
    roles = {**card.roles, **params.mix.roles.get(card.id, {})}
    reason = refuse(sample.licence, params.policy.licences, is_credentialed=card.is_credentialed)
    if roles.get(sample.split) is None:
        return f"Not in the mix: the split {sample.split} has no role"
    if reason:
        return f"Not in the mix: policy.licences, {params.policy.licences}, excludes it: {reason}"
    if not VERDICT_TABLE.exists():
        return "Read, and not yet decided: run `dvc repro mix`"
    decisions = read_verdicts()
    for row in decisions.filter(pc.equal(decisions["id"], sample.id)).to_pylist():
        tier = row["tier"] if row["evidence"] is None else f"{row['tier']}, evidence {row['evidence']:.3f}"
        kept = cards.get(row["kept_id"].partition("/")[0])
        is_secret = kept is None or (kept.is_credentialed and not card.is_credentialed)
        name = "a record of a credentialed dataset" if is_secret else row["kept_id"]
        return f"Not in the mix: {row['reason']} ({tier}); {name} is kept in its place"
    if roles[sample.split] is Role.TRAIN and params.mix.weights.get(card.id) == 0:
        return "Not in the mix: its weight is 0"
    return f"Read, and not in {INDEX}: run `dvc repro mix`"


def _describe(name: str, card: Card, outcome: str, sample: Sample, *, is_in_mix: bool) -> Record:
    groups = {key: getattr(sample.groups, key) for key in ("patient", "study", "article", "case", "question")}
    facts = {
        "dataset": card.title,
        "split": sample.split,
        "task": f"{sample.task}, {sample.modality}",
        "licence": sample.licence,
        "access": card.access,
        "from": f"{sample.provenance.file}, {sample.provenance.record}",
        "images": ", ".join(image.image_id for image in sample.images),
        "groups": ", ".join(f"{key} {value}" for key, value in groups.items() if value),
        "attributes": "; ".join(f"{key}: {value}" for key, value in sample.attributes.items()),
        "labels": ", ".join(sample.labels),
        "also accepted": ", ".join(other for turn in sample.turns for other in turn.alternatives),
    }
    return Record(name, card, outcome, is_in_mix, sample, tuple((key, value) for key, value in facts.items() if value))


def _show_facts(console: Console, record: Record) -> None:
    _print(console, record.id, "bold")
    _print(console, record.outcome, "green" if record.is_in_mix else "yellow")
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in record.facts:
        grid.add_row(Text(name, style="bright_black"), Text(printable(value)))
    console.print(grid)
    console.print()


def _show_mask(console: Console, sample: Sample, settings: Train) -> None:
    """Print the sample as training reads it; its texts and the reason if it can't be encoded yet."""
    patches = encoders.count_patches(settings.vision)
    try:
        found = tokenizer.find(settings.language)
        if found is None:
            raise ModelError(f"{paths.MODEL}: no tokenizer yet; run `dvc repro train`")
        encoded = encode(sample, found, patches, settings.max_tokens)
    except ModelError as error:
        lines = [f"{turn.question}\n{turn.answer}".strip() for turn in sample.turns]
        _print(console, "\n".join([*lines, str(error)]))
        return
    text = Text()
    for kind, part in split(encoded, found, patches):
        marks = {"image": ("[", "]"), "learned": ("⟦", "⟧")}.get(kind, ("", ""))
        text.append(printable(part).join(marks), STYLES[kind])
    console.print(text)
    num_learned = int((encoded.labels != IGNORED).sum())
    cut = f"{encoded.num_cut:,} more were cut" if encoded.num_cut else "none cut"
    _print(console, f"\n{len(encoded.ids):,} tokens, {num_learned:,} learned (in ⟦⟧), {cut}", "bright_black")


def split(encoded: Encoded, tokenizer: PreTrainedTokenizerBase, num_patches: int) -> Iterator[tuple[str, str]]:
    """Yield kind (image, prompt or learned) and text of neighboring tokens of one kind, and one pair for each image."""
    slot = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
    ids = encoded.ids.tolist()
    kinds = ["prompt" if label == IGNORED else "learned" for label in encoded.labels.tolist()]
    for is_image, own in groupby(range(len(ids)), key=lambda place: ids[place] == slot):
        places = list(own)
        if is_image:
            yield from [("image", f"{num_patches} x {IMAGE_TOKEN}")] * (len(places) // num_patches)
            continue
        shown = ""
        for kind, run in groupby(places, key=kinds.__getitem__):
            # From the first token on: a tokenizer may decode the start of a text without its space.
            text = tokenizer.decode(ids[places[0] : list(run)[-1] + 1], clean_up_tokenization_spaces=False)
            yield kind, text[len(shown) :]
            shown = text


def _print(console: Console, text: str, style: str = "") -> None:
    console.print(Text(printable(text), style=style))
