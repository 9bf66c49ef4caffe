"""MedFMC-endo: pictures of colonoscopies with any of four lesions (Wang et al., Scientific Data 2023).

Layout read: that of `formats/medfmc.py` with the task `endo` and figshare's `Endo/Endo_published_4d.csv`. Names and
order of the classes are those of the published tables and of openmedlab/MedFM: ulcer, erosion, polyp, tumor.

What is odd in the published files, and in the miniature:

- Multi-label, with spaces between the labels: `name.png 0 0 1 0`; four of ten pictures of trainval are all-zero rows.
- No picture of test_WithLabel shows a tumor, 108 of 929 of trainval do: its F1 on the test is not defined.
- A name begins with its study, `13333_2021.11_0003_55200268.png`, which the publishers count as one patient. No study
  is in both trainval and test_WithLabel; one is in both tests.
- The published table ends in a column without a name, which holds some studies and belongs to no row.
- The challenge's table of test_WithoutLabel has empty labels; the published table has them.
- train_20.txt and val_20.txt divide trainval.txt, and few-shot lists repeat some of it: they are named in the log.
- Two pictures that the tables name and no list does (in the miniature alone: the published lists name all 3,865).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from openmedq.cards import Access, Card
from openmedq.cards.drawing import Figure, draw, draw_figures, encode_png, generator, tint
from openmedq.formats import medfmc
from openmedq.schema import Groups, Rejected, Sample, Task

CLASSES = ("ulcer", "erosion", "polyp", "tumor")


def _to_groups(name: str) -> Groups:
    match = re.fullmatch(r"(\d+_\d+\.\d+_\d+)_\d+\.\w+", name)
    return Groups(patient=match[1], study=match[1]) if match else Groups()


LAYOUT = medfmc.Layout(
    task="endo",
    table="Endo_published_4d.csv",
    keys=("Unnamed: 0", "img_id", "study_id"),
    columns=CLASSES,
    to_groups=_to_groups,
    lists={
        "trainval": (37_160, "1d35dbd545d3a8e9c1341142f2bdfac9272d64bb5d7e6a5b8b1a90fbcea88cf0"),
        "test_WithLabel": (35_240, "2912a7a36f83ff58bf868e82c4cd69f91d5ac191d1a0136b041879c4fa638efc"),
        "test_WithoutLabel": (65_760, "2e7b9aee65772b150460afa48ec8e9c9fac7d4e31207f990df3287b6da935b74"),
    },
)

card = Card(
    id="medfmc_endo",
    title="Endo",
    aliases=medfmc.ALIASES,
    collection="MedFMC",
    homepage=medfmc.HOMEPAGE,
    citation=medfmc.CITATION,
    licence="CC-BY-4.0",
    access=Access.OPEN,
    task=Task.CLASSIFICATION,
    modality="mixed",  # endoscopy
    files=medfmc.list_files("Endo", LAYOUT),
    other_paths=medfmc.list_other_paths("Endo", LAYOUT),
    roles=medfmc.ROLES,
    published_rows={"trainval": 929, "test_WithLabel": 881, "test_WithoutLabel": 2055, "unlisted": 0},
    classes=CLASSES,
    is_multi_label=True,
    fitted=("trainval",),
    scored=("test_WithLabel",),
)


def read(raw: Path) -> Iterator[Sample | Rejected]:
    """Stream the pictures; SourceError where neither lists nor tables are there, or they are of another layout."""
    return medfmc.read(raw, card, LAYOUT)


# The miniature --------------------------------------------------------------------------------------------------------

_SIZES = {"trainval": 65, "test_WithLabel": 37, "test_WithoutLabel": 16, medfmc.UNLISTED: 2}
_NUM_PER_STUDY = 7


def miniature(raw: Path, seed: int = 0) -> None:
    """Write 120 reddish figures: heads have no lesion, others show one per property; three clips are a tumor."""
    random = generator(seed, card.id, "names")
    figures = draw_figures(seed, card.id, 2)
    cases: list[medfmc.Case] = []
    for split, size in _SIZES.items():
        study = ""
        for number in range(size):
            is_scored = split == "test_WithLabel"
            index = next(index for index, figure in enumerate(figures) if not (is_scored and _has_tumor(figure)))
            figure = figures.pop(index)
            if split == "test_WithoutLabel" and number == 0:
                study = cases[-1].study  # the one that both tests hold
            elif number % _NUM_PER_STUDY == 0:
                study = f"13333_{2020 + len(cases) // 70}.{random.integers(1, 13):02}_{len(cases):04}"
            name = f"{study}_{44_000_000 + random.integers(10**7)}.png"
            picture = encode_png(tint(draw(figure), (1.0, 0.55, 0.45)))
            cases.append(medfmc.Case(name, split, _find(figure), picture, study))
    medfmc.write(raw, card, LAYOUT, cases, separator=" ")
    _add_studies(raw / card.title / LAYOUT.table, cases)


def _find(figure: Figure) -> tuple[int, ...]:
    """Which of the classes a figure shows."""
    if figure.organ == "head":
        return (0, 0, 0, 0)
    is_polyp = figure.position in ("upper left", "lower right")
    return (int(figure.is_large), int(figure.is_bright), int(is_polyp), int(_has_tumor(figure)))


def _has_tumor(figure: Figure) -> bool:
    return figure.organ != "head" and figure.num_clips == 3


def _add_studies(path: Path, cases: list[medfmc.Case]) -> None:
    """The column that belongs to no row: a header's worth of studies, then nothing."""
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    studies = ["study_id", *dict.fromkeys(case.study for case in cases), "0"]
    studies += [""] * (len(lines) - len(studies))
    rows = (f"{line},{study}" for line, study in zip(lines, studies, strict=True))
    path.write_text("\n".join((f"{header},", *rows)) + "\n", encoding="utf-8")
