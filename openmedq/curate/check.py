"""`check`: try a dataset's reader on a folder, images included, without writing anything."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from openmedq.config import LanguageCode, Normalize
from openmedq.curate.normalize import Counts, no_records, rows
from openmedq.datasets import registry
from openmedq.errors import ParamsError, SourceError
from openmedq.schema import Reason, Rejected, Sample
from openmedq.storage.decoding import Inline
from openmedq.storage.progress import progress
from openmedq.storage.redact import redact_paths


@dataclass(frozen=True)
class Summary:
    """What a reader found in a folder; records of a credentialed dataset are not shown."""

    source: str
    raw: Path
    counts: Counts
    examples: Mapping[str, Rejected]  # the first rejected record of each reason
    first: Sample | None
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
    is_credentialed = dataset.card.is_credentialed
    start = time.monotonic()
    counts = Counts()
    first = None
    examples: dict[str, Rejected] = {}
    with redact_paths(dataset_id, is_credentialed), progress(f"reading {dataset_id}", None) as advance:
        for item in rows(dataset, raw, settings or Normalize(), Inline()):
            counts.add(item)
            advance(1)
            if is_credentialed:
                continue
            if isinstance(item, Rejected):
                examples.setdefault(str(item.reason), item)
            elif first is None:
                first = item
    if not counts.found:
        raise no_records(dataset_id, raw)
    return Summary(dataset_id, raw, counts, examples, first, time.monotonic() - start)


def render(summary: Summary) -> str:
    """The summary as text, without a line end."""
    counts = summary.counts
    lines = [f"{summary.source}: {counts.read} rows, {len(counts.image_ids)} distinct images"]
    lines += [f"  {split}: {num_rows}" for split, num_rows in sorted(counts.splits.items())]
    for reason, num_rows in sorted(counts.rejected.items()):
        lines.append(f"  rejected, {reason}: {num_rows}")
        if reason in summary.examples:
            lines.append(f"    such as {_describe(summary.examples[reason], summary.raw)}")
    if summary.first:
        lines.append(f"first: {summary.first.id} ({summary.first.provenance.file}, {summary.first.provenance.record})")
        for turn in summary.first.turns:
            lines += [
                f"  {name}: {_shorten(text)}"
                for name, text in zip("QA", (turn.question, turn.answer), strict=True)
                if text
            ]
        lines += [f"  image: {image.image_id}" for image in summary.first.images]
    return "\n".join([*lines, f"{summary.seconds:.1f} s"])


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


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 100 else f"{line[:99]}…"
