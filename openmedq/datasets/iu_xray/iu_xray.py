"""IU X-Ray: chest radiographs of Indiana University with their reports (Demner-Fushman et al., 2016).

Layout read, as published by Open-i: `NLMCXR_reports.tgz` (3,955 reports, `ecgen-radiology/<number>.xml`) and
`NLMCXR_png.tgz` (7,470 pictures, `<id of a parentImage>.png`), as they are or unpacked, in the folder or in one of its
sub-folders. Where the reports are not there, Kaggle's copy is read: `indiana_reports.csv`, `indiana_projections.csv`
and `images/images_normalized/<filename>`, its pixels rescaled. What else lies there is named in the log.

A row is a picture, a turn is a section of its report. The pictures decide on the order, because a gzipped tar can only
be read forwards: the reports are held in memory (10 MB), and one pass over the pictures takes those that they name.
What needs no picture comes first, what is named and was not met comes last.

What is odd in the published files, and in the miniature:

- XXXX stands in all texts for what could identify a patient, or for any word that was taken for that; it is kept.
- Reports without FINDINGS (502) have the impression alone; a few (6) have findings alone.
- Reports with neither section (28): each of their pictures is rejected.
- Reports that name no picture (104): each is rejected, once, as one row.
- Up to five pictures of one study share one report and one caption; which view is which is said by Kaggle alone.
- INDICATION is empty in some reports (90).
- The id of a picture does not always follow from its report's: CXR1 has `CXR1_1_IM-0001-3001`, others `-0001-0002`.
- Normal studies (1,391) have the one MeSH term "normal" and no automatic ones; some terms end with a space.
- A picture that is named but absent, and one that no report names: it has no record, and is counted in the log.
- `./Thumbs.db`, which is no picture, lies among the pictures.
- The licence stands in each report.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from openmedq.datasets.card import Access, Card, File
from openmedq.datasets.fields import Record, Unusable, keep, represent, take_optional_text, take_text, to_line
from openmedq.datasets.iu_xray.open_i import open_entries, stream_pictures
from openmedq.datasets.licences import spell
from openmedq.errors import ArchiveError
from openmedq.schema import Groups, Image, Provenance, Reason, Rejected, Role, Sample, Task, Turn

_URL = "https://openi.nlm.nih.gov/imgs/collections"

card = Card(
    id="iu_xray",
    title="IU X-Ray",
    aliases=(
        *("NLMCXR", "NLMCXR_reports", "NLMCXR_png", "Open-i"),
        *("IU Chest X-Ray", "Indiana University Chest X-Rays", "raddar/chest-xrays-indiana-university"),
    ),
    homepage="https://openi.nlm.nih.gov/faq#collection",
    citation="Demner-Fushman et al., Preparing a collection of radiology examinations for distribution and retrieval, "
    "JAMIA 2016",
    licence="CC-BY-NC-ND-4.0",  # what every report says, so that it stands for all
    access=Access.OPEN,
    task=Task.REPORT,
    modality="radiology",
    files=(
        File(
            path="NLMCXR_reports.tgz",
            url=f"{_URL}/NLMCXR_reports.tgz",
            size_bytes=1_112_632,
            sha256="8fb6de7eec73d8c3665067ad4bb003ccd57f971ae316d2642e1627ac7268667a",
        ),
        File(
            path="NLMCXR_png.tgz",
            url=f"{_URL}/NLMCXR_png.tgz",
            size_bytes=1_360_814_128,
            sha256="baf3abfe19ba5d58efe69002aed1e71aa2e6d5efb3238db9adcac210ad44bdf2",
        ),
    ),
    roles={"train": Role.TRAIN},  # no official split
    published_rows={"train": 7470},  # pictures
)

_SECTIONS = ("findings", "impression")  # in the order in which a report has them
_ATTRIBUTES = ("comparison", "mesh_major", "mesh_automatic", "problems", "caption", "figure_id", "projection")

_log = logging.getLogger(__name__)


def read(raw: Path) -> Iterator[Sample | Rejected]:
    """Stream the pictures with their reports; SourceError where no report is there or none can be read."""
    path, stream = open_entries(raw)
    entries = list(stream)
    rows = represent(
        ((entry.provenance.record, entry.record) for entry in entries),
        source=card.id,
        unit="report",
        raw=raw,
        path=path,
        identify=lambda _, record: (take_text(record, "id"), "train"),
        build=_build,
        seen={},
    )
    waiting: dict[str, Sample] = {}  # by the picture's name
    for entry, row in zip(entries, rows, strict=True):
        row = replace(row, provenance=entry.provenance)
        if isinstance(row, Rejected):
            yield row
        else:
            waiting[row.images[0].image_id] = row

    named = {entry.record.get("picture") for entry in entries if not isinstance(entry.record, Unusable)}
    num_unnamed = 0
    for name, take in stream_pictures(raw, waiting):
        num_unnamed += name not in named
        if name in waiting:
            yield _show(waiting.pop(name), take)
    if num_unnamed:
        _log.info("%s: %d pictures that no report names", raw, num_unnamed)
    for name, sample in waiting.items():
        yield _reject(sample, Reason.IMAGE_MISSING, f"no picture {name}")


def _build(record: Record, sample_id: str, split: str, provenance: Provenance) -> Sample:
    """The sample, of its picture the name alone."""
    uid, picture = take_text(record, "uid"), take_optional_text(record, "picture")
    if not picture:
        raise Unusable(Reason.IMAGE_MISSING, "the report names no picture")
    sections = [(name, take_optional_text(record, name)) for name in _SECTIONS]
    turns = [Turn(name, text) for name, text in sections if text]
    if not turns:
        raise Unusable(Reason.ANSWER_EMPTY, "the report has neither findings nor impression")
    if indication := take_optional_text(record, "indication"):
        turns[0] = replace(turns[0], context=f"Indication: {indication}")
    url = take_optional_text(record, "licence_url")
    return Sample(
        id=sample_id,
        source=card.id,
        split=split,
        task=card.task,
        modality=card.modality,
        licence=spell(url) or url or card.licence,
        provenance=provenance,
        turns=tuple(turns),
        images=(Image(picture),),
        groups=Groups(study=uid),
        attributes=keep(**{name: take_optional_text(record, name) for name in _ATTRIBUTES}),
    )


def _show(sample: Sample, take: Callable[[], Image]) -> Sample | Rejected:
    try:
        return replace(sample, images=(take(),))
    except ArchiveError as error:
        return _reject(sample, Reason.IMAGE_UNREADABLE, str(error))


def _reject(sample: Sample, reason: Reason, detail: str) -> Rejected:
    return Rejected(sample.id, sample.source, sample.split, reason, to_line(detail), sample.provenance)
