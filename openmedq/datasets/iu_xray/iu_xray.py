"""IU X-Ray: chest radiographs of Indiana University with their reports (Demner-Fushman et al., 2016).

Layout, as published by Open-i (https://openi.nlm.nih.gov/faq#collection): `NLMCXR_reports.tgz` (3,955 reports,
`ecgen-radiology/<number>.xml`) and `NLMCXR_png.tgz` (7,470 images, `<id of a parentImage>.png`), packed or unpacked, up
to two folders deeper. If the reports are absent, Kaggle's copy is read: `indiana_reports.csv`,
`indiana_projections.csv` and `images/images_normalized/<filename>`, whose pixels are rescaled.

A row is an image, a turn is a section of its report. Rows come in the order of the images, see
`readers/joined_images.py`.

- XXXX replaces words that could identify a patient, or were mistaken for that; it is kept.
- 502 reports have only an impression, 6 only findings. The images of 28 reports with neither are rejected.
- 104 reports name no image; each is one rejected row.
- Up to five images of a study share a report and a caption; only Kaggle's copy states which view an image shows.
- The id of an image does not always follow from its report's: CXR1 has `CXR1_1_IM-0001-3001`, some end in `-0001-0002`.
- Some named images are absent. Images that no report names have no record.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from openmedq.datasets.card import Access, Card, pinned
from openmedq.datasets.fields import Content, Record, Unusable, keep, represent, take_optional_text, take_text
from openmedq.datasets.iu_xray.layouts import IMAGE_ARCHIVES, IMAGE_FILES, open_reports
from openmedq.datasets.licences import spell
from openmedq.datasets.readers import find_files_below
from openmedq.datasets.readers.joined_images import join_images, take_image
from openmedq.schema import Groups, Reason, Rejected, Role, Sample, Task, Turn

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
    licence="CC-BY-NC-ND-4.0",  # as stated in every report
    access=Access.OPEN,
    task=Task.REPORT,
    modality="radiology",
    files=pinned(
        "https://openi.nlm.nih.gov/imgs/collections",
        {
            "NLMCXR_reports.tgz": (1_112_632, "8fb6de7eec73d8c3665067ad4bb003ccd57f971ae316d2642e1627ac7268667a"),
            "NLMCXR_png.tgz": (1_360_814_128, "baf3abfe19ba5d58efe69002aed1e71aa2e6d5efb3238db9adcac210ad44bdf2"),
        },
    ),
    roles={"train": Role.TRAIN},  # no official split
    published_rows={"train": 7470},  # images
)

_SECTIONS = ("findings", "impression")  # in the order of the reports
_ATTRIBUTES = ("comparison", "mesh_major", "mesh_automatic", "problems", "caption", "figure_id", "projection")


def read(raw: Path) -> Iterator[Sample | Rejected]:
    """Stream the images with their reports; SourceError if no report is there or none is readable."""
    path, records = open_reports(raw)
    return represent(
        card,
        join_images(records, "image", find_files_below(raw, *IMAGE_FILES), find_files_below(raw, *IMAGE_ARCHIVES)),
        raw=raw,
        path=path,
        identify=lambda _, record: (take_text(record, "id"), "train"),
        build=_build,
        seen={},
    )


def _build(record: Record, split: str) -> Content:
    uid, image = take_text(record, "uid"), take_optional_text(record, "image")
    if not image:
        raise Unusable(Reason.IMAGE_MISSING, "the report names no image")
    sections = [(name, take_optional_text(record, name)) for name in _SECTIONS]
    turns = [Turn(name, text) for name, text in sections if text]
    if not turns:
        raise Unusable(Reason.ANSWER_EMPTY, "the report has neither findings nor impression")
    if indication := take_optional_text(record, "indication"):
        turns[0] = replace(turns[0], context=f"Indication: {indication}")
    url = take_optional_text(record, "licence_url")
    return {
        "licence": spell(url) or url or card.licence,
        "turns": tuple(turns),
        "images": (take_image(record, image),),
        "groups": Groups(study=uid),
        "attributes": keep(**{name: take_optional_text(record, name) for name in _ATTRIBUTES}),
    }
