"""OmniMedVQA: multiple-choice questions on images of 73 medical datasets, 12 modalities (Hu et al., CVPR 2024).

Layout, as published at https://huggingface.co/datasets/foreverbeliever/OmniMedVQA: `OmniMedVQA.zip` (10.7 GB, read in
place) with, in a folder `OmniMedVQA`, `QA_information/Open-access/<Dataset>.json`,
`QA_information/Restricted-access/<Dataset>.json` and `Images/<Dataset>/...`; or the same unpacked; up to two folders
deeper. A JSON is a list of {dataset, question_id, question_type, question, gt_answer, image_path, option_A ...
option_D, modality_type}. The zip lacks the images of the restricted part. Users can put them at their `image_path`,
beside the zip or beside the unpacked annotations; questions without their image are rejected, one by one.

A record is named by its file and question_id. The published answer is a text. The correct option is the one that equals
this text, or else the first that differs only in case, spaces, or quotes and full stops at its ends.

- `option_C` and `option_D` may be absent, null or empty. Options of one question may be equal.
- Records of one file have `modality` instead of `modality_type`.
- Folders of images share file names, so an image is found by its whole path only.
"""

import re
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from openmedq.datasets.card import Access, Card, pinned
from openmedq.datasets.fields import (
    Content,
    Record,
    Unusable,
    find_image,
    keep,
    represent,
    take_optional_text,
    take_text,
)
from openmedq.datasets.readers import find_below, find_files_below, not_found, use_first, warn_absent
from openmedq.datasets.readers.json_stream import stream_list
from openmedq.datasets.readers.whole_paths import WholePaths
from openmedq.schema import Provenance, Reason, Rejected, Role, Sample, Task, Turn
from openmedq.storage.archives import Members, open_members
from openmedq.storage.folders import find_all

TOP = "OmniMedVQA"
ARCHIVE = f"{TOP}.zip"

_COMMIT = "1ba51c28fc0773bdf7efb8396e5bcfd4227e22da"

card = Card(
    id="omnimedvqa",
    title="OmniMedVQA",
    aliases=("foreverbeliever/OmniMedVQA",),
    homepage="https://huggingface.co/datasets/foreverbeliever/OmniMedVQA",
    citation="Hu et al., OmniMedVQA: A New Large-Scale Comprehensive Evaluation Benchmark for Medical LVLM, CVPR 2024",
    licence="per dataset: that of each of the 73 sources; not stated in the set",
    access=Access.OPEN,  # users supply the images of the restricted part
    task=Task.MULTIPLE_CHOICE,
    modality="mixed",
    files=pinned(
        f"https://huggingface.co/datasets/foreverbeliever/OmniMedVQA/resolve/{_COMMIT}",
        {ARCHIVE: (10_698_178_715, "12245e0f99afbc7d6f70e4ca3c2e5a7979a01816cd8159ae34539f4aa76adee0")},
    ),
    # Others test on it as a benchmark without splits. The paper trains on it, so it cannot be a test set here.
    roles={"open_access": Role.TRAIN, "restricted_access": Role.TRAIN},
    # 127,995 in total are published; 88,996 are open as counted by users, the rest is restricted.
    published_rows={"open_access": 88_996, "restricted_access": 38_999},
    advice="get the images of the restricted part from their own datasets and put them where `image_path` says, beside "
    "the zip in the local data folder; questions without their image are rejected, one by one",
)

_LIST = re.compile(r"(.*/)?QA_information/((?:open|restricted)[-_ ]access)/([^/]+)\.json", re.IGNORECASE)
_OPTION = re.compile(r"option_[A-Z]")
_SOURCE = "\0source"  # field of a record: its list


class _List(NamedTuple):
    """One dataset's questions."""

    place: Path  # the archive, or the folder with `QA_information`
    name: str  # path in `place`
    access: str  # name of the folder
    dataset: str

    @property
    def split(self) -> str:
        return "open_access" if self.access.lower().startswith("open") else "restricted_access"

    def locate(self, raw: Path, number: str) -> Provenance:
        if self.place.is_file():
            return Provenance(
                self.place.relative_to(raw).as_posix(), f"{self.access}/{self.dataset}.json record {number}"
            )
        return Provenance((self.place / self.name).relative_to(raw).as_posix(), f"record {number}")


def read(raw: Path) -> Iterator[Sample | Rejected]:
    """Stream the questions; SourceError if there are none, or a list or the archive is damaged."""
    archives = find_files_below(raw, ARCHIVE)
    archive = use_first(archives) if archives else None
    folders = [folder.parent for folder in find_below(raw, "QA_information/")]
    with open_members(archive) if archive else nullcontext() as members:
        copies = [_find_lists(archive, members.names)] if archive and members else []
        for folder in folders:
            paths = find_all(folder, "QA_information/*/*.json")
            copies.append(_find_lists(folder, [path.relative_to(folder).as_posix() for path in paths]))
        by_place = {lists[0].place: lists for lists in copies if lists}
        if not by_place:
            raise not_found(card, raw, f"`{ARCHIVE}` with `QA_information/Open-access/<Dataset>.json`")
        lists = by_place[use_first(list(by_place))]
        for split, access in (("open_access", "Open-access"), ("restricted_access", "Restricted-access")):
            if split not in {each.split for each in lists}:
                warn_absent(card.id, f"QA_information/{access}", split)
        images = WholePaths(members, "Images/", (*folders, raw, raw / TOP))
        yield from represent(
            card,
            _stream(raw, lists, members),
            raw=raw,
            path=lists[0].place if lists[0].place.is_file() else lists[0].place / "QA_information",
            identify=_identify,
            build=partial(_build, images),
            seen={},  # 128,000 ids: 15 MB
        )


def _find_lists(place: Path, names: list[str]) -> list[_List]:
    matches = (match for match in map(_LIST.fullmatch, names) if match)
    lists = [_List(place, match[0], match[2], match[3]) for match in matches]
    return sorted(lists, key=lambda each: (each.split, each.dataset, each.name))  # open access first


def _stream(raw: Path, lists: list[_List], members: Members | None) -> Iterator[tuple[Provenance, Any]]:
    """Yield the records of all lists, so that a short list of bad records is rejected row by row, not as a whole."""
    for each in lists:
        # The largest list (RadImageNet, 57,000 records) has about 30 MB.
        data = members.read(each.name) if members and each.place.is_file() else None
        for number, record in stream_list(each.place / each.name, data):
            yield each.locate(raw, number), {**record, _SOURCE: each} if isinstance(record, dict) else record


def _identify(_: str, record: Record) -> tuple[str, str]:
    question_id = take_text(record, "question_id", is_number_allowed=True)
    return f"{record[_SOURCE].dataset}/{' '.join(question_id.split())}", record[_SOURCE].split


def _build(images: WholePaths, record: Record, _: str) -> Content:
    question = take_text(record, "question", empty=Reason.QUESTION_EMPTY)
    options = _take_options(record)
    answer = _match(take_text(record, "gt_answer", empty=Reason.ANSWER_EMPTY, is_number_allowed=True), options)
    image = find_image(images, take_text(record, "image_path"))
    return {
        "turns": (Turn(question, answer, options=options),),
        "images": (image,),
        "attributes": keep(
            access=record[_SOURCE].access,
            dataset=take_optional_text(record, "dataset") or record[_SOURCE].dataset,
            question_type=take_optional_text(record, "question_type"),
            modality_type=take_optional_text(record, "modality_type") or take_optional_text(record, "modality"),
        ),
    }


def _take_options(record: Record) -> tuple[str, ...]:
    """Return the options in the order of their letters, without absent, null, NaN (pandas) and empty ones."""
    names = [name for name in sorted(filter(_OPTION.fullmatch, record)) if not _is_empty(record[name])]
    if not names:
        raise Unusable(Reason.FIELD_MISSING, "no field `option_A`")
    return tuple(take_text(record, name, is_number_allowed=True) for name in names)


def _is_empty(value: Any) -> bool:
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def _match(answer: str, options: tuple[str, ...]) -> str:
    """Return the option that equals the answer, or else the first that equals it after `_simplify`."""
    for simplify in (str, _simplify):
        for option in options:
            if simplify(option) == simplify(answer):
                return option
    raise Unusable(Reason.ANSWER_NOT_AN_OPTION, "field `gt_answer` is not one of the options")


def _simplify(text: str) -> str:
    return " ".join(text.casefold().split()).strip(" .\"'")
