"""A dataset that params.yaml declares: a folder with images and a table, or a folder of images per class.

The table is a CSV, JSON lines, Parquet or JSON file. Its columns are those of the declaration; a JSON file without
declared columns has LLaVA's conversations (see `llava.py`). Without a table, each folder of `images` is a class, or a
split with a folder per class.

- A record's id is its line (CSV, JSON lines) or its number (Parquet, JSON); of a folder per class, the image's path.
- Patients and studies are stored as pseudonyms. So are image names of private datasets, because folders and files are
  often named by patients and studies.
- With `shares`, a row's split follows from a hash of its patient; without patients, of its study, its image or its id.
- All splits of a benchmark are for evaluation: no training shows them, and deduplication protects them. The declared
  roles are those of the splits in the stage transfer.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from openmedq import paths
from openmedq.config import Columns, Local
from openmedq.datasets import catalogue
from openmedq.datasets.card import Access, Card
from openmedq.datasets.fields import Content, Record, Unusable, represent, take_optional_text, take_text, to_line
from openmedq.datasets.local import content, llava
from openmedq.datasets.local.images import LocalImages
from openmedq.datasets.readers import list_files
from openmedq.datasets.readers.columnar import read_columns, stream_parquet
from openmedq.datasets.readers.json_stream import stream_lines, stream_list, stream_object
from openmedq.datasets.readers.tables import find_delimiter, stream_table
from openmedq.errors import SourceError, numbered
from openmedq.schema import Groups, Image, Reason, Rejected, Role, Sample, Task
from openmedq.storage.dicom import BURNED_IN
from openmedq.storage.pseudonyms import open_pseudonyms
from openmedq.storage.texts import open_text

_log = logging.getLogger(__name__)

_CLASSES = Columns(answer="class", image="image")  # of the records that a folder per class yields
_LLAVA = Columns(image="image")
_SPLIT = "split"  # field with a record's split, if no other is declared


def make_card(name: str, declared: Local) -> Card:
    """The card of a declared dataset."""
    columns = declared.columns or Columns()
    splits: dict[Role, tuple[str, ...]] = {}
    if declared.is_benchmark:
        splits = {role: tuple(split for split, own in declared.roles.items() if own is role) for role in Role}
    return Card(
        id=name,
        kind="benchmark" if declared.is_benchmark else "source",
        title=declared.title or name,
        homepage=declared.homepage,
        citation=declared.citation,
        licence=declared.licence,
        access=Access.CREDENTIALED if declared.is_private else Access.USER_SUPPLIED,
        task=declared.task,
        other_tasks=tuple(task for task in Task if task is not declared.task) if columns.task else (),
        modality=declared.modality,
        files=(),
        roles=dict.fromkeys(declared.roles, Role.EVALUATION) if declared.is_benchmark else declared.roles,
        published_rows={},
        class_names=declared.class_names,
        fitted=splits.get(Role.TRAIN, ()),
        validated=splits.get(Role.VALIDATION, ()),
        scored=splits.get(Role.EVALUATION, ()),
        has_row_licences=columns.licence is not None,
        local=declared,
    )


def load(name: str) -> LocalDataset | None:
    """The declared dataset of the catalogue, or None."""
    card = catalogue.read(paths.CATALOGUE).get(name) if paths.CATALOGUE.exists() else None
    return LocalDataset(card) if card and card.local else None


class LocalDataset:
    """Implements the interface `Dataset`."""

    def __init__(self, card: Card) -> None:
        assert card.local is not None
        self.card = card
        self._declared = card.local

    def read(self, raw: Path) -> Iterator[Sample | Rejected]:
        """Stream the rows. SourceError if the table, a column or all images are missing."""
        reader = _Reader(self.card, self._declared, raw)
        if self._declared.table is None:
            records, path, unit = _list_classes(raw / self._declared.images, self._declared), raw, "file"
        else:
            path = raw / self._declared.table
            if not path.is_file():
                raise SourceError(f"{path}: not found; correct local.{self.card.id}.table in params.yaml")
            records, unit = _stream(path, self.card, self._declared.columns)
        num_burned_in = 0
        for item in represent(
            self.card,
            records,
            raw=raw,
            path=path,
            identify=reader.identify,
            build=reader.build,
            unit=unit,
            is_keyed=True,
        ):
            num_burned_in += isinstance(item, Sample) and item.attributes.get(BURNED_IN) == "yes"
            yield item
        if (columns := self._declared.columns) is not None:
            _check_columns(path, self.card.id, columns, reader.seen, "it is in no record")
        if num_burned_in:
            advice = f"`python -m openmedq audit --local {self.card.id}` lists them"
            number = numbered(num_burned_in, "row")
            _log.warning("%s: text in the images of %s, by DICOM tag; %s", self.card.id, number, advice)


class _Reader:
    """Converts the records of a table; `build` needs what `identify` found in the same record."""

    def __init__(self, card: Card, declared: Local, raw: Path) -> None:
        self._card, self._declared = card, declared
        self._columns = declared.columns or (_CLASSES if declared.table is None else _LLAVA)
        self._pseudonym = open_pseudonyms()
        self._images = LocalImages(raw / declared.images, self._pseudonym if declared.is_private else None)
        self.seen: set[str] = set()  # fields of the records
        self._shown: list[Image] = []
        self._attributes: dict[str, str] = {}
        self._groups = Groups()

    def identify(self, key: str, record: Record) -> tuple[str, str]:
        """Id and split of a record; of one that was not parsed, only the id."""
        is_path = self._declared.table is None
        record_id = self._pseudonym(key) if is_path and self._declared.is_private else key
        if not record:
            return record_id, ""
        self.seen.update(record)
        names = record.get(self._columns.image) if self._columns.image else None
        if self._columns is _LLAVA:
            names = names or record.get("images")
        self._shown = self._images.take(names)
        self._attributes, patient, study = self._images.describe(self._shown)
        patient, study = self._text(record, "patient") or patient, self._text(record, "study") or study
        self._groups = Groups(
            patient=self._pseudonym(patient) if patient else None, study=self._pseudonym(study) if study else None
        )
        # No pseudonyms, so that the split does not depend on the installation.
        image = next((self._images.place_of(each) for each in self._shown), "")
        unit = patient or study or image or key
        return record_id, self._split(record, unit)

    def build(self, record: Record, split: str) -> Content:
        """The content of the sample."""
        licence = {}
        if self._columns.licence:
            licence = {"licence": self._text(record, "licence") or "not stated"}
        if self._columns is _LLAVA:
            task, turns = llava.take_turns(record, self._declared.task, len(self._shown))
        else:
            task, turns = content.take_turns(record, self._columns, self._declared.task)
        if task not in (Task.TEXT_QA, Task.MULTIPLE_CHOICE) and not self._shown:
            raise Unusable(Reason.FIELD_MISSING, "the record names no image")
        if self._declared.is_benchmark and (task is not Task.CLASSIFICATION or len(self._shown) != 1):
            found = f"{task} with {numbered(len(self._shown), 'image')}"
            problem = f"{found}; a benchmark's rows are classifications of one image"
            raise Unusable(Reason.FIELD_MISSING, problem)
        attributes = dict(self._attributes)
        if task is Task.VQA and len(turns) == 1:
            attributes["answer_type"] = "closed" if turns[0].answer.lower() in ("yes", "no") else "open"
        return {
            "task": task,
            "turns": turns,
            "images": tuple(self._shown),
            "groups": self._groups,
            "labels": (turns[0].answer,) if task is Task.CLASSIFICATION else (),
            "attributes": attributes,
            **licence,
        }

    def _text(self, record: Record, field: str) -> str:
        column = getattr(self._columns, field)
        return take_optional_text(record, column) if column else ""

    def _split(self, record: Record, unit: str) -> str:
        roles = self._declared.roles
        if self._declared.shares:
            if self._declared.columns is None and _SPLIT in record:  # test rows must not be drawn for training
                problem = "its folders or records name their splits already; remove shares"
                raise SourceError(f"local.{self._card.id}.shares: {problem}, or rename the folders or the field")
            return _draw(f"{self._card.id}/{unit}", self._declared.shares)
        column = self._columns.split or _SPLIT
        if self._columns.split is None and column not in record:
            return next(iter(roles))
        split = take_text(record, column)
        if split not in roles:
            known = f"local.{self._card.id}.roles has {', '.join(roles)}"
            raise Unusable(Reason.FIELD_MISSING, f"field `{column}`: {known}")
        return split


def _draw(unit: str, shares: dict[str, float]) -> str:
    """The split of a unit: all its rows get the same one, whatever the other rows are."""
    digest = hashlib.sha256(unit.encode("utf-8", "surrogatepass")).digest()
    point = int.from_bytes(digest[:8], "big") / 2**64
    for split, share in shares.items():
        point -= share
        if point < 0:
            return split
    return next(reversed(shares))


def _stream(path: Path, card: Card, columns: Columns | None) -> tuple[Iterator[tuple[str, Any]], str]:
    """The records of a table with their keys, and what the keys count.

    SourceError if a declared column is not in the header, or twice.
    """
    kind = path.suffix.lower()
    if kind == ".jsonl" or (kind == ".json" and _has_lines(path)):
        return stream_lines(path), "line"
    if kind == ".json":
        return _stream_json(path), "record"
    assert columns is not None  # the declaration is checked
    named = tuple(columns.named())
    delimiter, header = ("", read_columns(path)) if kind == ".parquet" else find_delimiter(path, named)
    names = ", ".join(filter(None, header))
    found = f"it has {to_line(names) or 'no column'}"
    if card.is_credentialed:  # without a header, the first line is a record
        found = "its first line, which must name the columns, is not shown: the dataset is private"
    if names != names.encode("utf-8", "replace").decode():
        found = "its header is not UTF-8; save it as UTF-8, in Excel as `CSV UTF-8`"
    _check_columns(path, card.id, columns, header, found)
    if repeated := [column for column in named if header.count(column) > 1]:
        raise SourceError(f"{path}: two columns are named `{repeated[0]}`; rename or remove one")
    return (
        (stream_parquet(path, named), "row") if kind == ".parquet" else (stream_table(path, named, delimiter), "line")
    )


def _has_lines(path: Path) -> bool:
    """Whether a .json contains JSON lines, as `to_json` of `datasets` writes them."""
    with open_text(path) as text:
        lines = list(filter(None, map(str.strip, text.read(2**20).split("\n"))))
    return len(lines) > 1 and lines[0].startswith("{") and lines[0].endswith("}") and lines[1].startswith("{")


def _check_columns(path: Path, name: str, columns: Columns, known: Collection[str], found: str) -> None:
    """SourceError if a declared column is not among the known ones."""
    for field, column in columns:
        if column is not None and column not in known:
            where = f"local.{name}.columns.{field}"
            raise SourceError(f"{path}: no column `{column}`; {found}; correct {where} in params.yaml")


def _stream_json(path: Path) -> Iterator[tuple[str, Any]]:
    """The records of a JSON list, or of an object of lists by split."""
    with open_text(path) as text:
        is_list = not text.read(64).lstrip().startswith("{")
    if is_list:
        yield from stream_list(path)
        return
    for split, records in stream_object(path):
        if isinstance(records, Unusable):
            yield split, records
        elif isinstance(records, list):
            for number, record in enumerate(records, start=1):
                yield f"{split}-{number}", {_SPLIT: split} | record if isinstance(record, dict) else record
        else:
            yield split, Unusable(Reason.FIELD_MISSING, "not a list of records")


def _list_classes(images: Path, declared: Local) -> Iterator[tuple[str, Any]]:
    """The files in a folder per class, or in a folder per split with a folder per class."""
    files = [path.relative_to(images) for path in list_files(images)]
    in_folders = [path for path in files if len(path.parts) > 1]
    if not in_folders:
        raise SourceError(f"{images}: no folder with images; set table, or put the images of each class into a folder")
    folders = {path.parts[0] for path in in_folders}
    splits = folders & set(declared.roles)
    if splits and splits != folders:  # with `val` for `validation`, each split would be a class
        problem = f"folders of splits ({', '.join(sorted(splits))}) beside {len(folders - splits)} others"
        raise SourceError(f"{images}: {problem}; name each split in roles of the dataset in params.yaml")
    inner: dict[str, set[str]] = {folder: set() for folder in folders}
    for path in in_folders:
        inner[path.parts[0]].update(path.parts[1:-1][:1])
    if not splits and len(folders) > 1 and set.intersection(*inner.values()):
        advice = "if these are splits, name them in roles of the dataset in params.yaml"
        _log.warning("%s: each folder is read as a class, but all contain folders of one name; %s", images, advice)
    for path in files:
        depth = int(bool(splits))
        record: dict[str, Any] = {"image": path.as_posix()}
        if len(path.parts) > depth + 1:
            record["class"] = path.parts[depth]
        if splits:
            record[_SPLIT] = path.parts[0]
        yield path.as_posix(), record
