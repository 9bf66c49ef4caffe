"""What a set's reader makes of a folder: `normalize` without an output, for who has files and wants to know."""

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
from openmedq.storage.discretion import discreet
from openmedq.storage.progress import progress


@dataclass(frozen=True)
class Summary:
    """What was found in a folder."""

    source: str
    splits: Mapping[str, int]  # kept rows
    rejected: Mapping[str, int]  # rows by reason
    examples: Mapping[str, Rejected]  # the first rejected row of each reason; none of a credentialed set
    raw: Path  # where was looked
    num_images: int  # distinct, of kept samples
    first: Sample | None  # kept; of a credentialed set, none is shown
    seconds: float


def dials(languages: str | None = None, *, allow_unofficial: bool = False) -> Normalize:
    """The settings of `normalize` as given on a command line: languages with commas between; None: the default.

    ParamsError where a language is not one of the allowed ones, or none is given.
    """
    if languages is None:
        return Normalize(allow_unofficial=allow_unofficial)
    named = tuple(filter(None, map(str.strip, languages.split(","))))
    known = get_args(LanguageCode)
    unknown = [name for name in named if name not in known]
    if unknown or not named:
        what = f"no language {unknown[0]!r}" if unknown else "no language given"
        raise ParamsError(f"--languages: {what}; there are {', '.join(known)}; put a comma between two")
    return Normalize(allow_unofficial=allow_unofficial, languages=cast("tuple[LanguageCode, ...]", named))


def check(set_id: str, raw: Path, settings: Normalize | None = None) -> Summary:
    """Read the folder, pictures included, and write nothing; SourceError where it holds no record of the set."""
    if not raw.is_dir():
        raise SourceError(f"{raw}: no such folder; --raw names the folder with the published files of {set_id}")
    set_ = registry.load(set_id)
    start = time.monotonic()
    counts = Counts()
    first = None
    examples: dict[str, Rejected] = {}
    with discreet(set_id, set_.card.is_credentialed), progress(f"reading {set_id}", None) as advance:
        for item in rows(set_, raw, settings or Normalize(), Inline()):
            counts.add(item)
            advance(1)
            if set_.card.is_credentialed:
                continue
            if isinstance(item, Rejected):
                examples.setdefault(str(item.reason), item)
            elif first is None:
                first = item
    if not counts.found:
        raise no_records(set_id, raw)
    return Summary(
        source=set_id,
        splits=dict(sorted(counts.splits.items())),
        rejected=dict(sorted(counts.rejected.items())),
        examples=examples,
        raw=raw,
        num_images=len(counts.image_ids),
        first=first,
        seconds=time.monotonic() - start,
    )


def render(summary: Summary) -> str:
    """The summary for people, without a line end."""
    lines = [f"{summary.source}: {sum(summary.splits.values())} rows, {summary.num_images} distinct images"]
    lines += [f"  {split}: {num_rows}" for split, num_rows in summary.splits.items()]
    for reason, num_rows in summary.rejected.items():
        lines.append(f"  rejected, {reason}: {num_rows}")
        if reason in summary.examples:
            lines.append(f"    such as {_describe(summary, summary.examples[reason])}")
    if summary.first:
        lines.append(f"first: {summary.first.id} ({summary.first.provenance.file}, {summary.first.provenance.record})")
        for turn in summary.first.turns:
            lines += [
                f"  {name}: {_shorten(text)}" for name, text in (("Q", turn.question), ("A", turn.answer)) if text
            ]
        lines += [f"  image: {image.image_id}" for image in summary.first.images]
    return "\n".join([*lines, f"{summary.seconds:.1f} s"])


def as_json(summary: Summary) -> str:
    """The summary for programs, one line."""
    names = ("source", "splits", "rejected", "num_images")
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
    return json.dumps({**{name: getattr(summary, name) for name in names}, "examples": examples})


def _describe(summary: Summary, row: Rejected) -> str:
    where = f"{summary.raw / row.provenance.file}, {row.provenance.record}"
    looked = f"; looked in {summary.raw}" if row.reason is Reason.IMAGE_MISSING else ""
    return " ".join(f"{row.id} ({where}): {row.detail}{looked}".split())


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 100 else f"{line[:99]}…"
