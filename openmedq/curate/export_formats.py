"""The formats of `export-mix`: LLaVA's JSON with image files, Parquet as Hugging Face datasets reads it, WebDataset."""

import hashlib
import io
import itertools
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from openmedq.datasets.local.llava import to_conversations
from openmedq.schema import IMAGE_FILE, SAMPLE_SCHEMA, Image, Sample, with_features
from openmedq.storage.publish import replacing
from openmedq.storage.tables import open_writer

Rows = Iterable[tuple[Sample, float]]  # with the weight

ROWS_AT_ONCE = 64  # of a Parquet row group
UNFINISHED = ".unfinished"  # folder in the target, which is removed when the export is complete

_WEIGHT = "`weight` is the number of times that a row is drawn per epoch."

_COPIED = ("id", "source", "split", "task", "modality", "licence", "turns", "labels")
SCHEMA = with_features(
    pa.schema(
        [
            *(SAMPLE_SCHEMA.field(name) for name in _COPIED),
            pa.field("images", pa.list_(IMAGE_FILE)),
            pa.field("weight", pa.float32()),
        ]
    )
)


@dataclass(frozen=True)
class Format:
    """How rows become files."""

    name: Callable[[str, int, int], str]  # role, number of the shard, number of shards -> its path
    write: Callable[[Path, Path, str, Rows], None]  # target, path of the shard, role, rows
    loading: str  # for the card
    data_files: str  # pattern of a role's files
    media_type: str  # of these files
    is_loadable: bool = True  # by Hugging Face datasets
    finish: Callable[[Path, str, Sequence[Path]], None] | None = None  # target, role, its shards


def _write_parquet(_: Path, path: Path, __: str, rows: Rows) -> None:
    with path.open("wb") as file, open_writer(file, SCHEMA) as writer:
        for chunk in _chunk(rows):
            writer.write_table(pa.Table.from_pylist([_to_record(sample, weight) for sample, weight in chunk], SCHEMA))


def _to_record(sample: Sample, weight: float) -> dict[str, Any]:
    record = {name: getattr(sample, name) for name in _COPIED}
    record["turns"] = [asdict(turn) for turn in sample.turns]
    record["images"] = [{"bytes": image.data, "path": _name_of(image)} for image in sample.images]
    return {**record, "weight": weight}


def _chunk(rows: Rows) -> Iterator[list[tuple[Sample, float]]]:
    waiting = iter(rows)
    while chunk := list(itertools.islice(waiting, ROWS_AT_ONCE)):
        yield chunk


def _write_llava(target: Path, path: Path, _: str, rows: Rows) -> None:
    """Write the images as files, and the records of the shard, one a line."""
    with path.open("w", encoding="utf-8") as lines:
        for sample, _weight in rows:
            names = [f"{sample.source}/{_name_of(image)}" for image in sample.images]
            for image, name in zip(sample.images, names, strict=True):
                _write_once(target / "images" / name, image.data or b"")
            record: dict[str, Any] = {"id": sample.id}
            if names:
                record["image"] = names[0] if len(names) == 1 else names
            record["conversations"] = to_conversations(sample)
            lines.write(json.dumps(record, ensure_ascii=False) + "\n")


def _write_once(path: Path, data: bytes) -> None:
    """Write a file, complete or not at all; its name is a hash of its content."""
    if path.exists():
        return
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def _finish_llava(target: Path, role: str, shards: Sequence[Path]) -> None:
    """Join the lines of the shards to one JSON list, as LLaVA's loader expects."""
    with replacing(target / f"{role}.json") as temporary, temporary.open("w", encoding="utf-8") as file:
        head = "[\n"
        for shard in shards:
            with shard.open(encoding="utf-8") as lines:
                for line in lines:
                    file.write(head + line.rstrip("\n"))
                    head = ",\n"
        file.write("\n]\n")


def _write_tar(_: Path, path: Path, role: str, rows: Rows) -> None:
    """Write a sample as files of one key: KEY.json, KEY.jpg or .png, and KEY.1.jpg and so on for further images."""
    with path.open("wb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for sample, weight in rows:
            key = hashlib.sha256(sample.id.encode()).hexdigest()[:20]  # an id may contain a dot, a key must not
            record = _to_record(sample, weight)
            del record["images"]
            record |= {"role": role, "conversations": to_conversations(sample)}
            text = json.dumps(record, ensure_ascii=False).encode()
            for place, image in enumerate(sample.images):
                more = f".{place}" if place else ""
                _add(tar, f"{key}{more}.{_suffix_of(image)}", image.data or b"")
            _add(tar, f"{key}.json", text)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # without times and owners
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _name_of(image: Image) -> str:
    """A file name by content, so that one image of several rows is one file."""
    digest = hashlib.sha256(image.data or b"").hexdigest()
    return f"{digest[:2]}/{digest[2:32]}.{_suffix_of(image)}"


def _suffix_of(image: Image) -> str:
    return "png" if (image.data or b"").startswith(b"\x89PNG") else "jpg"


FORMATS = {
    "llava": Format(
        name=lambda role, number, total: f"{UNFINISHED}/{role}-{number:05}-of-{total:05}.jsonl",
        write=_write_llava,
        finish=_finish_llava,
        data_files="{role}.json",
        media_type="application/json",
        is_loadable=False,  # `image` is a string or a list
        loading="Each `<role>.json` is a list of LLaVA's records: `--data_path train.json --image_folder images`, "
        "without weights. `image` is a list in a record with several images; LLaVA-NeXT reads it, LLaVA 1.5 does not.",
    ),
    "parquet": Format(
        name=lambda role, number, total: f"data/{role}-{number:05}-of-{total:05}.parquet",
        write=_write_parquet,
        data_files="data/{role}-*.parquet",
        media_type="application/x-parquet",
        loading='`datasets.load_dataset(".", split="train")` decodes the column `images`. ' + _WEIGHT,
    ),
    "webdataset": Format(
        name=lambda role, number, total: f"{role}-{number:06}.tar",
        write=_write_tar,
        data_files="{role}-*.tar",
        media_type="application/x-tar",
        is_loadable=False,  # it infers the fields from five samples, and samples have png, jpg or neither
        loading='`webdataset.WebDataset(sorted(glob("train-*.tar")), shardshuffle=False).decode("pil")`: `json`, and '
        "`jpg` or `png` with the image; `1.jpg` and so on are further images of a sample. " + _WEIGHT,
    ),
}
