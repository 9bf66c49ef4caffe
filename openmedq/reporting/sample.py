"""Command `show`: one record in the terminal and as a page, with its images, its loss mask and what became of it.

A record of a credentialed dataset is shown in a terminal only: a page, or redirected output, is easily passed on.
"""

from __future__ import annotations

import base64
import io
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import PIL.Image
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
from openmedq.reporting.page import make_environment
from openmedq.schema import INDEX_SCHEMA, REJECTED_SCHEMA, Role, Sample
from openmedq.storage.publish import replace_text
from openmedq.storage.shards import REJECTED, ShardStore
from openmedq.storage.tables import INDEX, VERDICT_TABLE, read_index, read_table, read_verdicts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FOLDER = Path("data/show")  # <dataset>/<record>.html
MAX_NAME_CHARS = 200  # of a page
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


@dataclass(frozen=True)
class Run:
    """Neighboring tokens of one kind."""

    kind: str  # image, prompt or learned
    tokens: tuple[str, ...]


@dataclass(frozen=True)
class Mask:
    """The tokens that training reads, and which of them it learns."""

    runs: tuple[Run, ...]
    num_tokens: int
    num_learned: int
    num_cut: int


def run(name: str) -> None:
    """Print the record `name`, `<dataset>/<record>`, and write its page, unless the dataset is credentialed.

    Raises:
        ModelError: the tokenizer can't be loaded.
        SourceError: there is no such record, or it may not be written to redirected output.
        StaleError: an output of a stage is missing or damaged.
    """
    params, console = config.load(paths.PARAMS), Console()
    record = find(name, params)
    if record.card.is_credentialed and not sys.stdout.isatty():
        raise SourceError(f"{record.card.id}: credentialed: its records are shown in a terminal only")
    mask = reason = None
    if record.sample is not None:
        mask, reason = _mask(record.sample, params.train)
    show(console, record, mask, reason)
    if record.sample is None:
        return
    if record.card.is_credentialed:
        _print(console, "No page is written: the dataset is credentialed, and a page is easily passed on.", "yellow")
    else:
        file_name = re.sub(r"[^\w.-]+", "_", name.partition("/")[2])[:MAX_NAME_CHARS]
        path = FOLDER / record.card.id / f"{file_name}.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, render(record, mask, reason))
        _print(console, f"With images: {path}", "bold")


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


def _mask(sample: Sample, settings: Train) -> tuple[Mask | None, str | None]:
    """Encode the sample as training does; None and the reason if that is not possible yet."""
    found = tokenizer.find(settings.language)
    if found is None:
        return None, f"No tokens: the tokenizer is trained with the model; run `dvc repro train` ({paths.MODEL})"
    patches = encoders.count_patches(settings.vision)
    try:
        encoded = encode(sample, found, patches, settings.max_tokens)
    except ModelError as error:
        return None, str(error)
    num_learned = int((encoded.labels != IGNORED).sum())
    return Mask(tuple(split(encoded, found, patches)), len(encoded.ids), num_learned, encoded.num_cut), None


def split(encoded: Encoded, tokenizer: PreTrainedTokenizerBase, num_patches: int) -> Iterator[Run]:
    """Yield runs of tokens of one kind; an image's slots are one run with one token."""
    slot = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
    ids, labels = encoded.ids.tolist(), encoded.labels.tolist()
    for is_image, own in groupby(range(len(ids)), key=lambda place: ids[place] == slot):
        places = list(own)
        if is_image:
            yield from [Run("image", (f"{num_patches} x {IMAGE_TOKEN}",))] * (len(places) // num_patches)
            continue
        tokens: list[tuple[str, str]] = []  # kind and text
        shown = ""
        for place in places:
            text = tokenizer.decode(ids[places[0] : place + 1], clean_up_tokenization_spaces=False)
            if text.endswith("\ufffd") and place != places[-1]:  # a part of a character
                continue
            tokens.append(("prompt" if labels[place] == IGNORED else "learned", text[len(shown) :]))
            shown = text
        for kind, run in groupby(tokens, key=itemgetter(0)):
            yield Run(kind, tuple(text for _, text in run))


def show(console: Console, record: Record, mask: Mask | None, reason: str | None) -> None:
    """Print outcome, facts and loss mask."""
    _print(console, record.id, "bold")
    _print(console, record.outcome, "green" if record.is_in_mix else "yellow")
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in record.facts:
        grid.add_row(Text(name, style="bright_black"), Text(printable(value)))
    console.print(grid)
    if mask is None:
        turns = record.sample.turns if record.sample else ()
        lines = [f"{turn.question}\n{turn.answer}".strip() for turn in turns]
        _print(console, "\n".join(["", *lines, *filter(None, [reason])]))
        return
    console.print()
    text = Text()
    for run in mask.runs:
        marks = {"image": ("[", "]"), "learned": ("⟦", "⟧")}.get(run.kind, ("", ""))
        text.append(printable("".join(run.tokens)).join(marks), STYLES[run.kind])
    console.print(text)
    _print(console, f"\n{describe(mask)}", "bright_black")


def describe(mask: Mask) -> str:
    """`235 tokens, 5 learned (in ⟦⟧), none cut`."""
    cut = f"{mask.num_cut:,} more were cut" if mask.num_cut else "none cut"
    return f"{mask.num_tokens:,} tokens, {mask.num_learned:,} learned (in ⟦⟧), {cut}"


def render(record: Record, mask: Mask | None, reason: str | None) -> str:
    """Render the record as one self-contained page."""
    images = [_embed(image.image_id, image.data) for image in record.sample.images] if record.sample else []
    template = make_environment().get_template("sample.html.j2")
    return template.render(record=record, mask=mask, reason=reason, images=images)


def _embed(name: str, data: bytes | None) -> dict[str, Any]:
    with PIL.Image.open(io.BytesIO(data or b"")) as opened:
        width, height, kind = opened.width, opened.height, f"image/{(opened.format or '').lower()}"
    uri = f"data:{kind};base64,{base64.b64encode(data or b'').decode()}"
    return {"name": name, "uri": uri, "width": width, "height": height}


def _print(console: Console, text: str, style: str = "") -> None:
    console.print(Text(printable(text), style=style))
