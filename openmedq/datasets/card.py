"""`Card`: what a dataset is, where its files are, its terms of use, and the role of each split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict

from openmedq.config import Local
from openmedq.schema import Rejected, Role, Sample, Task


class Access(StrEnum):
    """How a user can get the files."""

    OPEN = "open"
    REGISTRATION = "registration"  # an account, granted at once
    CREDENTIALED = "credentialed"  # training and a data-use agreement, per person
    DEAD_WITH_MIRROR = "dead with a mirror"  # the publisher's page is gone, a copy is not
    USER_SUPPLIED = "user supplied"


class File(BaseModel):
    """One published file. `path` is relative to the raw folder. Hashes and sizes only if a source states them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    url: str
    sha256: str | None = None
    md5: str | None = None  # only if the publisher states no sha256
    size_bytes: int | None = None
    is_stable: bool = True  # False: the server builds the file for each download, so its hash changes
    about_bytes: int | None = None  # rounded size from a web page; the download must be between half and twice of it


def pinned(base: str, files: Mapping[str, tuple[int | None, str | None]]) -> tuple[File, ...]:
    """Return files by path below the address `base`, with their size in bytes and sha256."""
    return tuple(
        File(path=path, url=f"{base}/{path}", size_bytes=size_bytes, sha256=sha256)
        for path, (size_bytes, sha256) in files.items()
    )


class LinkedImage(NamedTuple):
    """An image of a PubMed Central article that a dataset refers to but does not contain."""

    name: str  # the name that the dataset's reader looks for
    article: str  # PMC id
    figure: str  # file name in the article, as the dataset spells it


class Edition(BaseModel):
    """Another complete published version of a dataset. Its reader recognizes the version by its files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: tuple[File, ...]
    about_bytes: int | None = None


class Card(BaseModel):
    """Description of one dataset; `data/catalogue.yaml` is derived from all cards."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    kind: Literal["source", "benchmark"] = "source"  # benchmarks evaluate the image encoder and never train
    title: str  # also a possible name of the local folder
    homepage: str
    citation: str
    licence: str  # SPDX id, or the publisher's words; a record's own licence takes precedence
    access: Access
    task: Task
    other_tasks: tuple[Task, ...] = ()  # tasks of some of its rows
    modality: str  # pathology, radiology, microscopy, mixed or text
    files: tuple[File, ...]
    roles: Mapping[str, Role]  # by published split; contains every split that `read` yields
    editions: Mapping[str, Edition] = {}  # by name: versions that can be downloaded instead of `files`
    published_rows: Mapping[str, int]  # by published split: number of records, as the publisher counts them
    samples_per_row: int = 1  # approximate number of samples that one published record yields
    classes: tuple[str, ...] = ()  # classification only, in the published order
    class_names: Mapping[str, str] = {}  # by class: its name in words, where the class is a code or not a whole name
    is_multi_label: bool = False
    fitted: tuple[str, ...] = ()  # classification only: the splits that transfer trains on
    validated: tuple[str, ...] = ()  # the splits by which it picks the best epoch; empty: a part of the training rows
    scored: tuple[str, ...] = ()  # the splits that it tests on; if both are empty, it divides the dataset by groups
    about_bytes: int | None = None  # rounded size of all files, if the page does not state the size of each file
    linked_bytes: int = 0  # approximate size of the further files that the listed files name
    has_row_licences: bool = False  # the licences of the rows apply instead of the card's
    terms: str = ""  # terms of the data-use agreement, shown before the download starts
    advice: str = ""  # how to get files that cannot be downloaded without a person
    aliases: tuple[str, ...] = ()  # other names of the local folder: repositories (`owner/name`), archives, records
    collection: str | None = None  # the collection that the dataset belongs to; a local folder may have its name
    other_paths: tuple[str, ...] = ()  # files of other packagings that also identify the dataset
    local: Local | None = None  # the declaration of a dataset of params.yaml

    def choose(self, edition: str | None) -> Card:
        """Return the card of an edition, or itself if `edition` is None; KeyError if the edition is unknown."""
        if edition is None:
            return self
        chosen = self.editions[edition]
        return self.model_copy(update={"files": chosen.files, "about_bytes": chosen.about_bytes, "linked_bytes": 0})

    @property
    def num_published(self) -> int:
        """Approximate number of samples in the published records."""
        return sum(self.published_rows.values()) * self.samples_per_row

    @property
    def readable_classes(self) -> list[str]:
        """The classes in words."""
        return [self.class_names.get(name, name.replace("_", " ").lower()) for name in self.classes]

    @property
    def is_credentialed(self) -> bool:
        """Whether no image, text or record id of the dataset may leave the data folder."""
        return self.access is Access.CREDENTIALED


class Dataset(Protocol):
    """Interface of a dataset's module.

    If the listed files name further files, the module also has `more_files(raw: Path) -> Iterator[File]`. If they name
    images of PubMed Central, it has `linked_images(raw: Path) -> Iterator[LinkedImage]`.
    """

    card: Card

    def read(self, raw: Path) -> Iterator[Sample | Rejected]:
        """Stream the records of the published files below `raw`; SourceError if the files are missing.

        Reader settings are keyword arguments with the names and defaults of `config.Normalize`.
        """
