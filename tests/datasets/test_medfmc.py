"""The MedFMC family: lists, tables and images in many places."""

import zipfile
from pathlib import Path
from typing import Any

import pytest

from openmedq.datasets.medfmc import chest, colon, endo
from openmedq.schema import Groups, Reason, Sample

MODULES = {"chest": chest, "colon": colon, "endo": endo}

every_task = pytest.mark.parametrize("task", sorted(MODULES))

SCAN = "2019-10327-1-1-1_2019-05-28 17_55_39"
NAMES = {
    "chest": ("5E2653D72460CFB.png", "DX.1.2.840.113619.2.369.4.1568.5.0.png", "5E1.png", "5E2.png"),
    "colon": tuple(f"{SCAN}-lv1-47692-11609-5464-5695p002{number}.png" for number in range(4)),
    "endo": tuple(f"13333_2021.11_0003_5520026{number}.png" for number in range(4)),
}
LABELS = {"chest": ",".join(["0", "1"] + ["0"] * 17), "colon": "1", "endo": "0 1 0 0"}
ANSWERS = {"chest": "nodule", "colon": "positive", "endo": "erosion"}


def write_lists(folder: Path, task: str, **lists: Any) -> None:
    """Write three lists of an image each, with changes; None omits a list."""
    names, labels = NAMES[task], LABELS[task]
    whole = {
        "trainval": f"{names[0]} {labels}\n",
        "test_WithLabel": f"{names[1]} {labels}\n",
        "test_WithoutLabel": f"{names[2]}\n",
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (whole | lists).items():
        if text is not None:
            (folder / f"{name}.txt").write_bytes(text if isinstance(text, bytes) else text.encode())


def write_images(folder: Path, task: str, *numbers: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (folder / NAMES[task][number]).write_bytes(b"%d: readers do not look" % number)


def table_of(task: str, rows: dict[int, str | None]) -> str:
    """A table as published, from labels by image number; None for empty labels."""
    layout = MODULES[task].LAYOUT
    lines = [",".join((*layout.keys, *layout.columns))]
    for number, labels in rows.items():
        values = [""] * len(layout.columns) if labels is None else labels.replace(" ", ",").split(",")
        keys = {"Unnamed: 0": str(number), "img_id": NAMES[task][number]}
        lines.append(",".join([*(keys.get(key, "study") for key in layout.keys), *values]))
    return "\n".join(lines) + "\n"


def write_table(path: Path, task: str, rows: dict[int, str | None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(table_of(task, rows), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "case", "scan"),
    [
        ("2019-10327-1-1-1_2019-05-28 17_55_39-lv1-1-2-3-4p0026.png", "2019-10327", SCAN),
        (
            "F2018_13446_1-1_2019-02-20 21_33_15-lv1-1-2-3-4p0026.png",
            "F2018_13446",
            "F2018_13446_1-1_2019-02-20 21_33_15",
        ),
        ("D201801775B_2019-05-14 16_11_32-lv1-1-2-3-4p0001.png", None, "D201801775B_2019-05-14 16_11_32"),
        ("2019-06-11 00_58_36-lv1-7052-20394-9882-10259p0088.png", None, "2019-06-11 00_58_36"),
        ("another.png", None, None),
    ],
)
def test_a_colon_name_tells_case_and_scan(tmp_path: Path, name: str, case: str | None, scan: str | None) -> None:
    write_lists(tmp_path, "colon", trainval=f"{name} 0\n", test_WithLabel=None)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / name).write_bytes(b"")
    row = next(iter(colon.read(tmp_path)))
    assert row.groups == Groups(patient=case, study=scan)
    assert row.labels == ("negative",)


@pytest.mark.parametrize(
    ("lists", "pictures"),
    [
        ("data_backup/MedFMC/{task}", "MedFMC_train/{task}/images"),
        ("data_backup/MedFMC/{task}", "{title}/images"),
        ("MedFM-main/data_backup/MedFMC/{task}", "MedFM-main/data/MedFMC/{task}/images"),
        ("MedFMC_train/{task}", "MedFMC_train/{task}/images"),
        ("{title}", "{title}/images"),
        ("", "images"),
    ],
)
def test_lists_and_pictures_may_lie_in_many_places(tmp_path: Path, lists: str, pictures: str) -> None:
    words = {"task": "endo", "title": endo.card.title}
    write_lists(tmp_path / lists.format(**words), "endo")
    write_images(tmp_path / pictures.format(**words), "endo", 0, 1, 2)
    rows = list(endo.read(tmp_path))
    assert [row.split for row in rows if isinstance(row, Sample)] == ["trainval", "test_WithLabel"]


@every_task
def test_a_table_in_a_zip_is_read_in_place(tmp_path: Path, task: str) -> None:
    layout, title = MODULES[task].LAYOUT, MODULES[task].card.title
    with zipfile.ZipFile(tmp_path / f"{title}.zip", "w") as archive:
        archive.writestr(f"{title}/{layout.table}", table_of(task, {0: LABELS[task], 3: LABELS[task]}))
        archive.writestr(f"{title}/images/{NAMES[task][3]}", b"picture")
    first, second = MODULES[task].read(tmp_path)
    assert first.reason is Reason.IMAGE_MISSING
    assert (second.split, second.labels) == ("unlisted", (ANSWERS[task],))
    assert (second.provenance.file, second.provenance.record) == (f"{title}.zip", "line 3")


@every_task
def test_lists_of_two_folders_are_not_mixed(tmp_path: Path, caplog: pytest.LogCaptureFixture, task: str) -> None:
    write_lists(tmp_path / f"data_backup/MedFMC/{task}", task, test_WithLabel=None, test_WithoutLabel=None)
    write_lists(tmp_path / f"data/MedFMC/{task}", task)
    write_images(tmp_path / f"data/MedFMC/{task}/images", task, 0, 1, 2)
    assert [row.split for row in MODULES[task].read(tmp_path)] == ["trainval"]
    assert any("not read" in message for message in caplog.messages)


@every_task
def test_labels_published_later_are_those_of_the_hidden_test(tmp_path: Path, task: str) -> None:
    layout, title = MODULES[task].LAYOUT, MODULES[task].card.title
    write_lists(tmp_path / f"data_backup/MedFMC/{task}", task)
    write_images(tmp_path / f"{title}/images", task, 0, 1, 2)
    zeros = LABELS[task].replace("1", "0")
    write_table(tmp_path / "MedFMC_trainval_annotation" / layout.table, task, {0: zeros, 1: zeros, 2: LABELS[task]})
    rows = list(MODULES[task].read(tmp_path))
    assert [row.labels for row in rows if isinstance(row, Sample)] == [(ANSWERS[task],)] * 3, "a list's labels stand"
    assert rows[2].provenance.file.endswith("test_WithoutLabel.txt")


@every_task
def test_images_that_only_tables_name_are_unlisted(tmp_path: Path, task: str) -> None:
    layout, title = MODULES[task].LAYOUT, MODULES[task].card.title
    write_table(tmp_path / title / layout.table, task, {0: LABELS[task], 1: LABELS[task], 2: None, 3: None})
    write_images(tmp_path / f"MedFMC_train/{task}/images", task, 0, 1, 2, 3)
    rows = list(MODULES[task].read(tmp_path))
    assert [row.split for row in rows] == ["unlisted"] * 4
    assert [getattr(row, "reason", None) for row in rows] == [None, None, *[Reason.ANSWER_WITHHELD] * 2]
    write_lists(tmp_path / f"data_backup/MedFMC/{task}", task, test_WithLabel=None)
    rows = list(MODULES[task].read(tmp_path))
    assert [(row.split, row.id.split("/")[1]) for row in rows] == [
        ("trainval", NAMES[task][0]),
        ("test_WithoutLabel", NAMES[task][2]),
        ("unlisted", NAMES[task][1]),
        ("unlisted", NAMES[task][3]),
    ]
