"""The section of the user's own datasets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from openmedq.config.base import Section, Share
from openmedq.schema import Role, Task

# Keys of metrics.json beside the datasets.
_RESERVED = ("all", "calibration", "controls", "mean", "mean_of_frozen", "metrics", "zero_shot")


def _check_name(name: str) -> str:
    if name in _RESERVED:
        raise ValueError(f"reserved, as {', '.join(_RESERVED)}; choose another name")
    return name


# Part of ids, paths and DVC's node names.
LocalName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$"), AfterValidator(_check_name)]

TABLES = (".csv", ".jsonl", ".parquet", ".json")

_NEEDED = {  # columns, by task; a folder per class and LLaVA's JSON have their own layout
    Task.VQA: ("question", "answer", "image"),
    Task.MULTIPLE_CHOICE: ("question", "answer", "options"),
    Task.CAPTION: ("answer", "image"),
    Task.REPORT: ("answer", "image"),
    Task.TEXT_QA: ("question", "answer"),
    Task.CLASSIFICATION: ("answer", "image"),
}


class Columns(Section):
    """Names of the table's columns. Of other columns, only `split` is read."""

    question: str | None = None
    answer: str | None = None  # of a classification: the class
    options: str | None = None  # a list, or a text with the options separated by |
    context: str | None = None
    image: str | None = None  # path below `images`, a list of paths, or the bytes
    split: str | None = None
    patient: str | None = None  # stored as a salted hash
    study: str | None = None  # stored as a salted hash
    licence: str | None = None
    task: str | None = None

    def named(self) -> Iterator[str]:
        """The columns that are named."""
        yield from (name for name in self.model_dump().values() if name is not None)


class Local(Section):
    """A dataset of the user: a folder with images and a table, or with a folder of images per class."""

    folder: str
    table: str | None = None  # file in `folder`: .csv, .jsonl, .parquet or .json; null: a folder per class
    columns: Columns | None = None  # null with .json or .jsonl: LLaVA's conversations
    images: str = "."  # folder of the images in `folder`
    task: Task = Task.VQA
    is_benchmark: bool = False  # of a classification: never trained on, `transfer.benchmarks` may name it
    class_names: dict[str, str] = Field({})  # class: its name in words, for the zero-shot classification
    modality: Literal["pathology", "radiology", "microscopy", "mixed", "text"] = "mixed"
    licence: str = "not stated"
    is_private: bool = True  # no image, text or id in reports, logs and runs, and no export under a licence policy
    roles: dict[str, Role] = Field(  # by split; of a row without a split and without shares: the first
        {"train": Role.TRAIN, "validation": Role.VALIDATION, "test": Role.EVALUATION}, min_length=1
    )
    shares: dict[str, Share] = Field({})  # split: share of the patients
    title: str | None = None
    homepage: str = ""
    citation: str = ""

    @model_validator(mode="after")
    def _check(self) -> Local:
        if self.table is None:
            if self.task is not Task.CLASSIFICATION or self.columns is not None:
                raise ValueError("without a table, each folder is a class: set task: classification, remove columns")
        elif PurePath(self.table).suffix.lower() not in TABLES:
            raise ValueError(f"table: {self.table!r} is not one of {', '.join(TABLES)}")
        elif self.columns is None and PurePath(self.table).suffix.lower() in (".csv", ".parquet"):
            raise ValueError("columns: missing; name the table's columns: {question: ..., answer: ..., image: ...}")
        elif self.columns is not None and self.columns.task is None:
            lacking = [name for name in _NEEDED[self.task] if getattr(self.columns, name) is None]
            if lacking:
                raise ValueError(f"columns.{lacking[0]}: missing; the task {self.task} needs {', '.join(lacking)}")
        if any(
            PurePath(path).is_absolute() or ".." in PurePath(path).parts for path in (self.table or "", self.images)
        ):
            raise ValueError("table and images must be relative paths in `folder`, without ..")
        if self.shares:
            if self.columns is not None and self.columns.split is not None:
                raise ValueError("shares: columns.split has the split already; remove one of them")
            if abs(sum(self.shares.values()) - 1) > 1e-6:
                raise ValueError(f"shares: their sum is {sum(self.shares.values()):g}, not 1")
        self._check_benchmark()
        for split in self.shares:
            if split not in self.roles:
                raise ValueError(f"shares.{split}: roles has no such split; it has {', '.join(self.roles)}")
        return self

    def _check_benchmark(self) -> None:
        if self.is_benchmark and self.task is not Task.CLASSIFICATION:
            raise ValueError(f"is_benchmark: a benchmark needs task: classification, not {self.task}")
        used = set(self.roles.values())
        if self.is_benchmark and len(self.roles) > 1 and not used >= {Role.TRAIN, Role.EVALUATION}:
            raise ValueError("roles: a benchmark with several splits needs one of role train, one of role evaluation")
