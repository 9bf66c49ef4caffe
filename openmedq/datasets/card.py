"""`Card`: a dataset's name, place, terms and split roles. It is data; reading the files is the source's work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict

from openmedq.schema import Rejected, Role, Sample, Task


class Access(StrEnum):
    """How the files can be had."""

    OPEN = "open"
    REGISTRATION = "registration"  # an account, granted at once
    CREDENTIALED = "credentialed"  # training and a data-use agreement, per person
    DEAD_WITH_MIRROR = "dead with a mirror"
    USER_SUPPLIED = "user supplied"


class File(BaseModel):
    """One published file. `path` is below the raw folder; hashes and sizes only where a source states them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    url: str
    sha256: str | None = None
    md5: str | None = None  # where the publisher states no better one
    size_bytes: int | None = None
    is_stable: bool = True  # False: the server packs it anew each time, so that no hash of it can be remembered
    about_bytes: int | None = None  # as a page rounds it: half of it and twice as much are the bounds


class LinkedPicture(NamedTuple):
    """A picture of an article of PubMed Central, which a set names and does not hold."""

    name: str  # as the set's reader asks for it
    article: str  # PMC id
    figure: str  # the file's name there, as the set spells it


class Edition(BaseModel):
    """Another published version of a set, whole: its reader tells them apart by their files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: tuple[File, ...]
    about_bytes: int | None = None


class Card(BaseModel):
    """The card of one set; `data/catalogue.yaml` is derived from all of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    kind: Literal["source", "benchmark"] = "source"  # a benchmark is for evaluating the encoder; none is trained on
    title: str  # as a mirror may call the folder, besides the id
    homepage: str
    citation: str
    licence: str  # SPDX id, or the publisher's words; a record's own licence wins
    access: Access
    task: Task
    other_tasks: tuple[Task, ...] = ()  # of some of its rows
    modality: str  # pathology, radiology, microscopy, mixed, text
    files: tuple[File, ...]
    roles: Mapping[str, Role]  # published split -> role; every split that `read` yields stands here
    editions: Mapping[str, Edition] = {}  # what the publisher offers in place of `files`, by name
    published_rows: Mapping[str, int]  # published split -> records, as the publisher counts
    samples_per_row: int = 1  # about, where a published record makes several
    classes: tuple[str, ...] = ()  # classification only, in the published order
    is_multi_label: bool = False
    fitted: tuple[str, ...] = ()  # classification only: the splits that transfer fits on
    scored: tuple[str, ...] = ()  # and scores on; where both are empty, it divides the set by its groups
    about_bytes: int | None = None  # of all files, as a page rounds it, where it states no size of each
    linked_bytes: int = 0  # about, of further files that the listed ones name
    has_row_licences: bool = False  # the rows' own licences decide, not the card's
    terms: str = ""  # of a data-use agreement, shown before the first byte
    advice: str = ""  # how to get files that are not to be had without a person
    aliases: tuple[str, ...] = ()  # other names of a local folder: of repositories (`owner/name`), archives, records
    collection: str | None = None  # published as one of several sets of this name, which a mirror's folder may bear
    other_paths: tuple[str, ...] = ()  # of other packagings, by which such a folder is known too

    def choose(self, edition: str | None) -> Card:
        """The card of one of its editions, itself where none is named; KeyError where there is none of that name."""
        if edition is None:
            return self
        chosen = self.editions[edition]
        return self.model_copy(update={"files": chosen.files, "about_bytes": chosen.about_bytes, "linked_bytes": 0})

    @property
    def num_published(self) -> int:
        """About as many samples as the published records make."""
        return sum(self.published_rows.values()) * self.samples_per_row

    @property
    def is_credentialed(self) -> bool:
        """Whether no picture, text or record id of the set may leave the data folder."""
        return self.access is Access.CREDENTIALED


class Dataset(Protocol):
    """What a dataset's module offers.

    Where the listed files name further ones, it also offers `more_files(raw: Path) -> Iterator[File]`; where they name
    images of PubMed Central, `linked_pictures(raw: Path) -> Iterator[LinkedPicture]`.
    """

    card: Card

    def read(self, raw: Path) -> Iterator[Sample | Rejected]:
        """Stream the records of the published files below `raw`; SourceError where they are not there.

        A reader with settings takes them as further keywords, named and defaulted as in `config.Normalize`.
        """
