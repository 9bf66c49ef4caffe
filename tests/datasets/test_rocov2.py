"""ROCOv2: the second version of ROCO, which replaces it where it is the only one."""

import csv
import zipfile
from collections import Counter
from pathlib import Path

from openmedq.datasets.roco import roco
from openmedq.datasets.roco.roco import read
from openmedq.schema import Reason, Sample


def write_v2(raw: Path, *, is_packed: bool = True, **tables: list[list[str]] | None) -> Path:
    """Two records of the training split and one of each other split, as on Zenodo. None omits a file."""
    numbers = {"train": (1, 2), "valid": (1,), "test": (1,)}
    ids = {split: [f"ROCOv2_2023_{split}_{number:06}" for number in numbers[split]] for split in numbers}
    every_id = [record_id for split in ("valid", "train", "test") for record_id in ids[split]]
    link = "https://www.ncbi.nlm.nih.gov/pmc/articles/PMC77/"
    licences = [[record_id, "PMC77", "CC BY [Doe et al. (2021)]", link] for record_id in every_id]
    content: dict[str, list[list[str]] | None] = {
        "license_information": [["ID", "PMCID", "Attribution", "Link"], *licences],
        "cui_mapping": [["CUI", "Canonical name"], ["C0040405", "X-Ray Computed Tomography"]],
    }
    raw.mkdir(parents=True, exist_ok=True)
    for split in ids:
        content[f"{split}_captions"] = [["ID", "Caption"], *([record_id, f"Of {split}."] for record_id in ids[split])]
        content[f"{split}_concepts"] = [["ID", "CUIs"], *([record_id, "C1;C0040405"] for record_id in ids[split])]
        with zipfile.ZipFile(raw / f"{split}_images.zip", "w") as archive:
            for record_id in ids[split]:
                archive.writestr(f"{split}/{record_id}.jpg", record_id)
        if not is_packed:
            with zipfile.ZipFile(raw / f"{split}_images.zip") as archive:
                archive.extractall(raw if split == "valid" else raw / f"{split}_images")
            (raw / f"{split}_images.zip").unlink()
    for name, rows in (content | tables).items():
        (raw / f"{name}.csv").unlink(missing_ok=True)
        if rows is not None:
            with (raw / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows(rows)
    return raw


def test_a_record_is_kept_whole(tmp_path: Path) -> None:
    rows = list(read(write_v2(tmp_path)))
    assert Counter(row.split for row in rows) == {"train": 2, "validation": 1, "test": 1}
    row = rows[0]
    assert (row.id, row.turns[0].answer) == ("roco/ROCOv2_2023_train_000001", "Of train.")
    assert (row.licence, row.modality, row.groups.article) == ("CC-BY", "radiology", "PMC77")
    assert (row.images[0].image_id, row.images[0].data) == (
        "ROCOv2_2023_train_000001.jpg",
        b"ROCOv2_2023_train_000001",
    )
    assert (row.provenance.file, row.provenance.record) == ("train_captions.csv", "line 2")
    assert row.attributes == {
        "attribution": "CC BY [Doe et al. (2021)]",
        "link": "https://www.ncbi.nlm.nih.gov/pmc/articles/PMC77/",
        "cuis": "C1; C0040405",
    }
    assert all(isinstance(row, Sample) and row.groups.article == "PMC77" for row in rows)


def test_it_may_be_unpacked_in_a_folder(tmp_path: Path) -> None:
    rows = list(read(write_v2(tmp_path / "rocov2", is_packed=False).parent))
    assert len(rows) == 4
    assert all(isinstance(row, Sample) and row.images[0].path for row in rows)


def test_one_split_is_enough(tmp_path: Path) -> None:
    names = ("license_information", "cui_mapping", "train_concepts")
    lists = ("valid_captions", "test_captions")
    rows = list(read(write_v2(tmp_path, **dict.fromkeys((*names, *lists)))))
    assert [type(row) for row in rows] == [Sample, Sample]
    assert isinstance(rows[0], Sample)
    assert (rows[0].licence, rows[0].attributes, rows[0].groups.article) == (roco.card.licence, {}, None)


def test_an_unusable_record_is_rejected(tmp_path: Path) -> None:
    good, *bad = (["ROCOv2_2023_train_000002", "Good."], ["", "A caption."], ["ROCOv2_2023_train_000003", "A caption."])
    rows = list(read(write_v2(tmp_path, train_captions=[["ID", "Caption"], good, *bad])))
    assert [getattr(row, "reason", None) for row in rows[:3]] == [None, Reason.FIELD_MISSING, Reason.IMAGE_MISSING]
