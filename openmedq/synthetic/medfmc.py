"""Shared by the miniatures of the MedFMC family: lists, the table and images in the published layout."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from openmedq.datasets.card import Card
from openmedq.datasets.medfmc.reader import SPLITS, Layout
from openmedq.synthetic.files import join, save, to_csv


class Case(NamedTuple):
    """One image of a miniature."""

    name: str
    split: str
    labels: tuple[int, ...]
    image: bytes


def write(raw: Path, card: Card, layout: Layout, cases: Sequence[Case], separator: str) -> None:
    """Write images, lists and the table as published."""
    for split in SPLITS:
        listed = [case for case in cases if case.split == split]
        labels = [f" {separator.join(map(str, case.labels))}" * (split != "test_WithoutLabel") for case in listed]
        lines = (case.name + text for case, text in zip(listed, labels, strict=True))
        save(raw / "data_backup/MedFMC" / layout.task / f"{split}.txt", join(lines))
    for case in cases:
        part = "val" if case.split == "test_WithoutLabel" else "train"
        save(raw / f"MedFMC_{part}" / layout.task / "images" / case.name, case.image)
    ordered = sorted(cases, key=lambda case: case.split == "test_WithoutLabel")
    rows = ((case.name, *case.labels) for case in ordered)
    save(raw / card.title / layout.table, to_csv(("img_id", *layout.columns), *rows))
