"""μ-Bench (u-Bench, Micro-Bench): questions and captions about microscopy images of 25 datasets (Lozano et al., 2024).

Source: https://huggingface.co/datasets/jnirschl/uBench

Layout, in any subfolder: `perception/0.1.0/ubench-test-0000{0..6}-of-00007.arrow` and `dataset_info.json`. A row is an
image with `questions` and `captions`, two structs of entries {id, name, question, options, answer_idx, tags}; entries
of `questions` also have `answer`. Each entry is a sample. A question becomes a multiple-choice question. A caption is
its template (`A micrograph acquired through {class}.`) with the correct option in place of `{class}`; the published
options are already complete captions. The log names missing shards, and rows that `dataset_info.json` counts but no
shard contains are rejected. If several folders contain shards, the one with the most shards is read.

`answer_idx` counts from 0 and must agree with `answer`. `label` is not read (see below). Of the outlines (`bbox`,
`polygon`), only the number is kept.

Known irregularities of the published files, which the miniature reproduces:

- Every struct has the keys of all rows. An entry that a row does not have is null.
- `answer_idx` is text in captions and a number in questions. The last option is "none of the above".
- An image, with its `image_id`, may be part of several datasets. The sample id therefore includes the dataset.
- `dataset` is null in some rows, `pmid` in many.
- The license differs by row and is non-commercial in some. Some images are synthetic.
- `bbox` and `polygon` are null in most rows.
"""

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from openmedq.datasets.card import Access, Card, File
from openmedq.datasets.fields import (
    Content,
    Record,
    Unusable,
    keep,
    list_absent,
    represent,
    take_optional_text,
    take_text,
    take_texts,
)
from openmedq.datasets.licences import spell
from openmedq.datasets.readers import list_files, not_found, use_first
from openmedq.datasets.readers.columnar import stream_arrow
from openmedq.datasets.readers.json_stream import stream_object
from openmedq.schema import Groups, Image, Provenance, Reason, Rejected, Role, Sample, Task, Turn

FOLDER = "perception/0.1.0"
SHARDS = tuple(f"ubench-test-{number:05}-of-00007.arrow" for number in range(7))
NONE = "none of the above"

_COMMIT = "3f2c5b590bc7a208d5b60f3527ce4c76a331aa2b"
_URL = f"https://huggingface.co/datasets/jnirschl/uBench/resolve/{_COMMIT}/{FOLDER}"
_INFO = "dataset_info.json"
_KNOWN = (  # of each shard: size in MB, as Hugging Face displays it, and sha256
    (539, "3d346134e6dffed41f74da64c1c173f5efd3a10200805796a030357297b630f1"),
    (509, "790591636ae679afa1161664d207c2bb2e3d583690d03967e38364ba0f31ccac"),
    (649, "c370cd84e6ed9b00483ef3d20f5c06d5ff2264733ea87f2df98cf9a22820bf74"),
    (505, "832cdd6f73a132028584b4e47ec1afe643e0490dd8ec9686eabbb9de3eb7f814"),
    (510, "e2741415cef1327ba243f21000ac43aab2d36b61a9c2c862a1d0e21f200f4a69"),
    (505, "89deae84ed2dab1bb1fc40be0aefe81b8d94590cec548d1950ff5ff853143d34"),
    (357, "534beca2084a250d4436340c78accc9fe7cc2d6063d4884302e7e7f141edad6c"),
)

card = Card(
    id="ubench",
    title="Micro-Bench",  # not uBench or u-Bench, which look like the id
    aliases=("jnirschl/uBench", "\u03bc-Bench"),
    homepage="https://huggingface.co/datasets/jnirschl/uBench",
    citation="Lozano et al., μ-Bench: A Vision-Language Benchmark for Microscopy Understanding, NeurIPS 2024",
    licence="CC-BY-SA-4.0",  # of rows without a license of their own
    has_row_licences=True,
    access=Access.OPEN,
    task=Task.MULTIPLE_CHOICE,
    other_tasks=(Task.CAPTION,),
    modality="microscopy",
    files=(
        File(path=f"{FOLDER}/{_INFO}", url=f"{_URL}/{_INFO}", about_bytes=9_850),
        *(
            File(path=f"{FOLDER}/{name}", url=f"{_URL}/{name}", about_bytes=size_mb * 10**6, sha256=sha256)
            for name, (size_mb, sha256) in zip(SHARDS, _KNOWN, strict=True)
        ),
    ),
    roles={"test": Role.TRAIN},  # as in the paper; a model that trains on it cannot be tested on it
    # Images, each with about 20 samples. The paper counts 17,235, without the 80 images of one dataset.
    published_rows={"test": 17_315},
    samples_per_row=20,
)

_SHARD = re.compile(r".+-\d{5}-of-\d{5}\.arrow")
_REQUIRED = ("image_id", "image", "captions", "questions")
_ATTRIBUTES = (
    "dataset",
    "domain",
    "subdomain",
    "modality",
    "submodality",
    "stain",
    "institution",
    "ncbitaxon_name",
    "ncbitaxon_id",
    "pmid",
    "label_name",
)

_log = logging.getLogger(__name__)


def read(raw: Path) -> Iterator[Sample | Rejected]:
    """Stream the questions and captions. SourceError if no shard is present, or one is truncated or lacks a column."""
    shards = _find_shards(raw)
    num_published, num_rows = _read_info(shards[0].parent), 0
    owners: dict[str, tuple[str, str]] = {}  # shard and row of each image of a dataset; 17,000 entries

    def records() -> Iterator[tuple[Provenance, Any]]:
        nonlocal num_rows
        for shard in shards:
            file = shard.relative_to(raw).as_posix()
            for number, row in stream_arrow(shard, _REQUIRED):
                num_rows += 1
                for name, record in _divide(row, (file, number)):
                    yield Provenance(file, f"row {number}{name}"), record

    def identify(_: str, record: Record) -> tuple[str, str]:
        row = record["row"]
        image_id = take_text(row, "image_id")
        name = " ".join("/".join(filter(None, (take_optional_text(row, "dataset"), image_id))).split())
        if owners.setdefault(name, record["place"]) != record["place"]:
            raise Unusable(Reason.ID_REPEATED, f"{name} is the id of an earlier row too")
        return f"{name}/{record['kind']}/{record['key']}", "test"

    yield from represent(card, records(), raw=raw, path=shards[0].parent, identify=identify, build=_build)
    absent = (f"row-{number}" for number in range(num_rows + 1, num_published + 1))
    yield from list_absent(card, absent, split="test", raw=raw, path=shards[0].parent / _INFO)


def _read_info(folder: Path) -> int:
    """The number of rows in `dataset_info.json`, or 0 if it is absent."""
    path = folder / _INFO
    if not path.is_file():
        return 0
    try:
        return int(dict(stream_object(path))["splits"]["test"]["num_examples"])
    except (KeyError, TypeError, ValueError):  # another layout
        return 0


def _find_shards(raw: Path) -> list[Path]:
    """The shards of the folder with the most of them, in order."""
    found: dict[Path, list[Path]] = {}
    for path in list_files(raw):
        if _SHARD.fullmatch(path.name):
            found.setdefault(path.parent, []).append(path)
    if not found:
        raise not_found(card, raw, f"`{FOLDER}/{SHARDS[0]}`")
    shards = found[use_first(sorted(found, key=lambda folder: -len(found[folder])))]
    if absent := sorted(set(SHARDS) - {path.name for path in shards}):
        _log.warning("%s: missing shards %s", shards[0].parent, ", ".join(absent))
    return shards


def _divide(row: Record, place: tuple[str, str]) -> Iterator[tuple[str, Any]]:
    """Yield a record for each entry of a row, named ` questions/<key>` or ` captions/<key>`."""
    columns = [(kind, row[kind]) for kind in ("questions", "captions") if isinstance(row[kind], dict)]
    entries = [(kind, key, entry) for kind, column in columns for key, entry in column.items() if not _is_null(entry)]
    if not entries:
        yield "", Unusable(Reason.FIELD_MISSING, "no entry in `questions` or `captions`")
    for kind, key, entry in entries:
        yield f" {kind}/{key}", {"row": row, "place": place, "kind": kind, "key": key, "entry": entry}


def _is_null(entry: Any) -> bool:
    return entry is None or (isinstance(entry, dict) and not any(entry.values()))


def _build(record: Record, split: str) -> Content:
    row, entry = record["row"], record["entry"]
    if not isinstance(entry, dict):
        raise Unusable(Reason.FIELD_MISSING, f"`{record['kind']}` does not contain entries")
    is_caption = record["kind"] == "captions"
    question = take_text(entry, "question", empty=Reason.QUESTION_EMPTY)
    options = tuple(take_texts(entry, "options"))
    answer = _take_answer(entry, options)
    turn = Turn("", _fill(question, answer)) if is_caption else Turn(question, answer, options=options)
    attributes = {name: take_optional_text(row, name) for name in _ATTRIBUTES}
    licence = take_optional_text(row, "license")
    return {
        "task": Task.CAPTION if is_caption else Task.MULTIPLE_CHOICE,
        "licence": spell(licence) or licence or card.licence,
        "turns": (turn,),
        "images": (_take_image(row),),
        "groups": Groups(
            question=take_optional_text(entry, "id") or None
        ),  # two wordings of a caption have the same id
        "attributes": keep(
            question_type=take_optional_text(entry, "name"),
            tags="; ".join(tag for tag in entry.get("tags") or [] if isinstance(tag, str) and tag),
            microns_per_pixel=_to_number(row.get("microns_per_pixel")),
            synthetic=str(row["synthetic"]).lower() if isinstance(row.get("synthetic"), bool) else "",
            **{f"num_{name}": _count(row.get(name)) for name in ("bbox", "polygon")},
            **attributes,
        ),
    }


def _take_answer(entry: Record, options: tuple[str, ...]) -> str:
    """The option at `answer_idx`, which must agree with `answer` if that is present."""
    place, text = take_optional_text(entry, "answer_idx"), take_optional_text(entry, "answer")
    if not place:
        raise Unusable(Reason.ANSWER_EMPTY, "field `answer_idx` is empty")
    if not (place.isdecimal() and len(place) < 4 and int(place) < len(options)):
        raise Unusable(Reason.ANSWER_NOT_AN_OPTION, "field `answer_idx` is not the index of an option")
    answer = options[int(place)]
    if text and text != answer:
        raise Unusable(Reason.ANSWER_NOT_AN_OPTION, "fields `answer_idx` and `answer` disagree")
    if not answer:
        raise Unusable(Reason.ANSWER_EMPTY, "the correct option is empty")
    return answer


def _fill(template: str, option: str) -> str:
    """The template with the option, or the option itself if it is already a whole caption."""
    if option.lower().rstrip(".") == NONE:
        raise Unusable(Reason.ANSWER_EMPTY, f"no caption: {NONE}")
    start, _, end = template.partition("{class}")
    if "{class}" not in template or (option.startswith(start) and option.endswith(end)):
        return option
    return template.replace("{class}", option)


def _take_image(row: Record) -> Image:
    image = row["image"]
    data = image.get("bytes") if isinstance(image, dict) else image
    if not isinstance(data, bytes) or not data:
        raise Unusable(Reason.IMAGE_MISSING, "field `image` has no bytes")
    return Image(take_text(row, "image_id"), data=data)


def _to_number(value: Any) -> str:
    """A float32 with its significant digits; "" if it is absent or 0, which means unknown."""
    return f"{value:.6g}" if isinstance(value, float) and value > 0 else ""


def _count(outlines: Any) -> str:
    return str(len(outlines)) if isinstance(outlines, list) and outlines else ""
