"""Shared by the miniatures of the MedFMC family: lists, tables and images in the published layout."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from openmedq.datasets.card import Card
from openmedq.datasets.medfmc.reader import SPLITS, UNLISTED, Layout
from openmedq.synthetic.files import join, save, to_csv


@dataclass(frozen=True, slots=True)
class Case:
    """One image of a miniature; `study` is its value in the key column of the tables."""

    name: str
    split: str
    labels: tuple[int, ...]
    image: bytes
    study: str = ""


def write(raw: Path, card: Card, layout: Layout, cases: Sequence[Case], separator: str) -> None:
    """Write images, lists and tables as published; the row numbers of the tables have gaps."""
    folder = raw / "data_backup/MedFMC" / layout.task
    by_split = {split: [case for case in cases if case.split == split] for split in (*SPLITS, UNLISTED)}
    trainval = by_split["trainval"]
    lists = {
        **{split: by_split[split] for split in SPLITS},
        "train_20": [case for index, case in enumerate(trainval) if index % 5],
        "val_20": trainval[::5],
        f"{layout.task}_1-shot_train_exp1": trainval[3:5],
    }
    for name, listed in lists.items():
        lines = [
            case.name if name == "test_WithoutLabel" else f"{case.name} {separator.join(map(str, case.labels))}"
            for case in listed
        ]
        save(folder / f"{name}.txt", join(lines))

    parts = {"train": (*trainval, *by_split["test_WithLabel"]), "val": tuple(by_split["test_WithoutLabel"])}
    parts["train"] += tuple(by_split[UNLISTED])
    for part, members in parts.items():
        home = raw / f"MedFMC_{part}" / layout.task
        for case in members:
            save(home / "images" / case.name, case.image)
        rows = [[*map(float, case.labels)] if part == "train" else [""] * len(case.labels) for case in members]
        _write_table(home / f"{layout.task}_{part}.csv", layout, members, rows, layout.keys)
    keys = tuple("" if key == "Unnamed: 0" else key for key in layout.keys)
    everything = [case for split in parts.values() for case in split]
    _write_table(raw / card.title / layout.table, layout, everything, [[*case.labels] for case in everything], keys)


def _write_table(
    path: Path, layout: Layout, cases: Sequence[Case], rows: Sequence[Sequence[object]], keys: Sequence[str]
) -> None:
    lines: list[list[object]] = [[*keys, *layout.columns]]
    for index, (case, row) in enumerate(zip(cases, rows, strict=True)):
        values = {"img_id": case.name, "study_id": case.study, "slide_id": case.study}
        lines.append([*(values.get(key, index + index // 7 + 1) for key in keys), *row])
    save(path, to_csv(*lines))
