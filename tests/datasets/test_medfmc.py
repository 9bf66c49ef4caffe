import zipfile
from pathlib import Path

import pytest

from openmedq.datasets.medfmc import colon, endo
from openmedq.schema import Groups, Reason, Sample

LISTS, TITLE = "data_backup/MedFMC/endo", endo.card.title
NAMES = [f"13333_2021.11_0003_5520026{number}.png" for number in range(4)]
EROSION = "0 1 0 0"
WHOLE = {"trainval": f"{NAMES[0]} {EROSION}\n", "test_WithLabel": f"{NAMES[1]} {EROSION}\n"}
WHOLE["test_WithoutLabel"] = f"{NAMES[2]}\n"


def write_lists(folder: Path, *omitted: str) -> None:
    """Write three lists of an image each, without those omitted."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in WHOLE.keys() - set(omitted):
        (folder / f"{name}.txt").write_text(WHOLE[name], encoding="utf-8")


def write_images(folder: Path, *numbers: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (folder / NAMES[number]).write_bytes(b"%d: readers do not look" % number)


def table_of(rows: dict[int, str]) -> str:
    """A table as published, from labels by image number."""
    lines = [",".join(("img_id", *endo.LAYOUT.columns))]
    lines += [f"{NAMES[number]},{labels.replace(' ', ',')}" for number, labels in rows.items()]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("start", "case"),
    [
        ("2019-10327-1-1-1_2019-05-28 17_55_39", "2019-10327"),
        ("F2018_13446_1-1_2019-02-20 21_33_15", "F2018_13446"),
        ("D201801775B_2019-05-14 16_11_32", None),
        ("2019-06-11 00_58_36", None),
        ("", None),
    ],
)
def test_a_colon_name_states_case_and_scan(tmp_path: Path, start: str, case: str | None) -> None:
    name = f"{start}-lv1-7052-20394-9882-10259p0088.png" if start else "another.png"
    (tmp_path / "trainval.txt").write_text(f"{name} 0\n", encoding="utf-8")
    (tmp_path / name).write_bytes(b"")
    row = next(iter(colon.read(tmp_path)))
    assert row.groups == Groups(patient=case, study=start or None)
    assert row.labels == ("negative",)


@pytest.mark.parametrize(
    ("lists", "pictures"),
    [
        (LISTS, "MedFMC_train/endo/images"),
        (LISTS, f"{TITLE}/images"),
        (f"MedFM-main/{LISTS}", "MedFM-main/data/MedFMC/endo/images"),
        (f"downloads/MedFM-main/MedFM-main/{LISTS}", "downloads/MedFMC_train/MedFMC_train/endo/images"),
        ("MedFMC_train/endo", "MedFMC_train/endo/images"),
        (TITLE, f"{TITLE}/images"),
        ("", "images"),
    ],
)
def test_lists_and_pictures_may_lie_in_many_places(tmp_path: Path, lists: str, pictures: str) -> None:
    write_lists(tmp_path / lists)
    write_images(tmp_path / pictures, 0, 1, 2)
    first, second, hidden = endo.read(tmp_path)
    assert [(row.split, row.labels) for row in (first, second)] == [
        ("trainval", ("erosion",)),
        ("test_WithLabel", ("erosion",)),
    ]
    assert hidden.reason is Reason.ANSWER_WITHHELD


def test_a_damaged_zip_beside_the_lists_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_lists(tmp_path / LISTS)
    write_images(tmp_path / "MedFMC_train/endo/images", 0, 1, 2)
    (tmp_path / f"{TITLE}.zip").write_bytes(b"PK\3\4 cut")
    assert [row.split for row in endo.read(tmp_path) if isinstance(row, Sample)] == ["trainval", "test_WithLabel"]
    assert any(f"{TITLE}.zip: not a whole archive" in message for message in caplog.messages)


def test_a_table_in_a_zip_is_read_in_place(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / f"{TITLE}.zip", "w") as archive:
        archive.writestr(f"{TITLE}/{endo.LAYOUT.table}", table_of({0: EROSION, 3: EROSION}))
        archive.writestr(f"{TITLE}/images/{NAMES[3]}", b"picture")
    first, second = endo.read(tmp_path)
    assert first.reason is Reason.IMAGE_MISSING
    assert (second.split, second.labels) == ("unlisted", ("erosion",))
    assert (second.provenance.file, second.provenance.record) == (f"{TITLE}.zip", "line 3")


def test_lists_of_two_folders_are_not_mixed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_lists(tmp_path / LISTS, "test_WithLabel", "test_WithoutLabel")
    write_lists(tmp_path / "data/MedFMC/endo")
    write_images(tmp_path / "data/MedFMC/endo/images", 0, 1, 2)
    assert [row.split for row in endo.read(tmp_path)] == ["trainval"]
    assert any("not read" in message for message in caplog.messages)


def test_labels_published_later_are_those_of_the_hidden_test(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_lists(tmp_path / LISTS)
    write_images(tmp_path / f"{TITLE}/images", 0, 1, 2)
    table = table_of({0: "0 0 0 0", 1: "0 0 0 0", 2: EROSION})
    (tmp_path / endo.LAYOUT.table).write_text(f"{table}{NAMES[3]},", encoding="utf-8")
    rows = list(endo.read(tmp_path))
    (message,) = caplog.messages
    assert message.startswith(f"{tmp_path / endo.LAYOUT.table}: 1 row not read: the file is cut")
    assert [row.labels for row in rows if isinstance(row, Sample)] == [("erosion",)] * 3, "a list's labels stand"
    assert rows[2].provenance.file.endswith("test_WithoutLabel.txt")


def test_images_that_only_tables_name_are_unlisted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = table_of({0: EROSION, 1: "0 0 0 0", 2: "   ", 3: "   "})
    (tmp_path / endo.LAYOUT.table).write_text(table, encoding="utf-8")
    write_images(tmp_path / "MedFMC_train/endo/images", 0, 1, 2, 3)
    rows = list(endo.read(tmp_path))
    assert [(row.split, getattr(row, "labels", None)) for row in rows] == [
        ("unlisted", ("erosion",)),
        ("unlisted", ()),
        *[("unlisted", None)] * 2,
    ]
    assert [message.split("; ")[1] for message in caplog.messages] == [
        f'the split "{split}" has no rows' for split in ("trainval", "test_WithLabel", "test_WithoutLabel")
    ]
    write_lists(tmp_path / LISTS, "test_WithLabel")
    assert [(row.split, row.id.split("/")[1]) for row in endo.read(tmp_path)] == [
        ("trainval", NAMES[0]),
        ("test_WithoutLabel", NAMES[2]),
        ("unlisted", NAMES[1]),
        ("unlisted", NAMES[3]),
    ]
