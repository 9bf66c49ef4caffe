"""`check`: try a dataset's reader on a folder, images included, without writing anything."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from openmedq.config import LanguageCode, Normalize, Params
from openmedq.curate.normalize import Counts, no_records, rows
from openmedq.datasets import registry
from openmedq.datasets.card import Dataset
from openmedq.datasets.local.local import LocalDataset, make_card
from openmedq.errors import ParamsError, SourceError, numbered, printable
from openmedq.schema import EncodedImage, Image, Reason, Rejected, Sample
from openmedq.storage.decoding import Inline
from openmedq.storage.progress import progress
from openmedq.storage.redact import redact_paths

NUM_SHOWN = 3  # samples of a local dataset


@dataclass(frozen=True)
class Summary:
    """What a reader found in a folder. Records of a credentialed dataset are not shown, of a local one they are."""

    source: str
    raw: Path
    counts: Counts
    examples: Mapping[str, Rejected]  # the first rejected record of each reason
    first: tuple[Sample, ...]  # the first sample; of a local dataset, the first NUM_SHOWN
    seconds: float


def reader_settings(languages: str | None = None, *, allow_unofficial: bool = False) -> Normalize:
    """Build the settings of `normalize` from the command line; `languages` is comma-separated, None for the default.

    ParamsError if `languages` is empty or contains an unknown language.
    """
    if languages is None:
        return Normalize(allow_unofficial=allow_unofficial)
    named = tuple(filter(None, map(str.strip, languages.split(","))))
    known = get_args(LanguageCode)
    unknown = [name for name in named if name not in known]
    if unknown or not named:
        what = f"no language {unknown[0]!r}" if unknown else "no language given"
        raise ParamsError(f"--languages: {what}; there are {', '.join(known)}, separated by commas")
    return Normalize(allow_unofficial=allow_unofficial, languages=cast("tuple[LanguageCode, ...]", named))


def check(dataset_id: str, raw: Path, settings: Normalize | None = None) -> Summary:
    """Read the dataset's files in the folder `raw`; SourceError if it has no record of the dataset."""
    if not raw.is_dir():
        raise SourceError(f"{raw}: no such folder; set --raw to the folder with the published files of {dataset_id}")
    dataset = registry.load(dataset_id)
    return _summarize(dataset, raw, settings or Normalize(), num_shown=0 if dataset.card.is_credentialed else 1)


def check_local(name: str, params: Params) -> Summary:
    """Read a local dataset as params.yaml declares it. Its records are shown even if it is private: to their owner.

    ParamsError if it is not declared, SourceError if it has no record.
    """
    dataset = load_declared(name, params)
    return _summarize(dataset, Path(params.local[name].folder), params.normalize, NUM_SHOWN)


def load_declared(name: str, params: Params) -> LocalDataset:
    """The declared local dataset, which need not be in the catalogue; ParamsError if no declaration has this name."""
    if name not in params.local:
        known = ", ".join(params.local) or "none"
        raise ParamsError(
            f"params.yaml: local: no dataset {name!r}; there are {known}; declare it as in docs/how-to/own-data.md"
        )
    folder = Path(params.local[name].folder)
    if not folder.is_dir():
        raise ParamsError(f"params.yaml: local.{name}.folder: no folder {folder}; correct the path")
    return LocalDataset(make_card(name, params.local[name]))


def _summarize(dataset: Dataset, raw: Path, settings: Normalize, num_shown: int) -> Summary:
    dataset_id = dataset.card.id
    start = time.monotonic()
    counts = Counts()
    first: list[Sample] = []
    examples: dict[str, Rejected] = {}
    with redact_paths(dataset_id, num_shown == 0), progress(f"reading {dataset_id}", None) as advance:
        for item in rows(dataset, raw, settings, Inline()):
            counts.add(item)
            advance(1)
            if num_shown and isinstance(item, Rejected):
                examples.setdefault(str(item.reason), item)
            elif isinstance(item, Sample) and len(first) < num_shown:
                first.append(item)
    if not counts.found:
        raise no_records(dataset_id, raw)
    return Summary(dataset_id, raw, counts, examples, tuple(first), time.monotonic() - start)


def render(summary: Summary) -> str:
    """The summary as text, without a line end."""
    counts = summary.counts
    lines = [f"{summary.source}: {numbered(counts.read, 'row')}, {numbered(len(counts.image_ids), 'distinct image')}"]
    lines += [f"  {split}: {num_rows}" for split, num_rows in sorted(counts.splits.items())]
    for reason, num_rows in sorted(counts.rejected.items()):
        lines.append(f"  rejected, {reason}: {num_rows}")
        if reason in summary.examples:
            lines.append(f"    such as {_describe(summary.examples[reason], summary.raw)}")
    for sample in summary.first:
        lines.append(f"first: {sample.id} ({sample.provenance.file}, {sample.provenance.record}), split {sample.split}")
        for turn in sample.turns:
            texts = (turn.context, turn.question, " | ".join(turn.options), turn.answer)
            names = ("context", "Q", "options", "A")
            lines += [f"  {name}: {_shorten(text)}" for name, text in zip(names, texts, strict=True) if text]
        lines += [f"  image: {_describe_image(image)}" for image in sample.images]
    return printable("\n".join([*lines, f"{summary.seconds:.1f} s"]))


def as_json(summary: Summary) -> str:
    """The summary as one line of JSON."""
    examples = {
        reason: {
            "id": row.id,
            "file": row.provenance.file,
            "record": row.provenance.record,
            "detail": row.detail,
            "searched": str(summary.raw),
        }
        for reason, row in sorted(summary.examples.items())
    }
    counts = {
        "splits": dict(sorted(summary.counts.splits.items())),
        "rejected": dict(sorted(summary.counts.rejected.items())),
        "num_images": len(summary.counts.image_ids),
    }
    return json.dumps({"source": summary.source, **counts, "examples": examples})


def _describe(row: Rejected, raw: Path) -> str:
    searched = f"; looked in {raw}" if row.reason is Reason.IMAGE_MISSING else ""
    where = f"{raw / row.provenance.file}, {row.provenance.record}"
    return " ".join(f"{row.id} ({where}): {row.detail}{searched}".split())


def _describe_image(image: Image) -> str:
    size = f", {image.width} x {image.height} px" if isinstance(image, EncodedImage) else ""
    return f"{image.image_id}{size}"


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 100 else f"{line[:99]}…"
