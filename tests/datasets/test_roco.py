from __future__ import annotations

import csv
import hashlib
import logging
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from openmedq.datasets import pmc_oa
from openmedq.datasets.roco import roco
from openmedq.datasets.roco.roco import CONCEPTS, SPLITS, SUBSETS, read
from openmedq.errors import SourceError
from openmedq.schema import Image, Reason, Rejected, Sample
from openmedq.storage.fetched import Status
from tests.storage.test_fetched import write as write_shard

NAME = "PMC3970251_CRIONM2014-931546.003.jpg"
LINES = {
    "captions": "ROCO_00020\t A scan of the pelvis.",
    "keywords": "ROCO_00020\t\tpelvi\tscan",
    "cuis": "ROCO_00020\t\tC0030797\tC0034579",
    "semtypes": "ROCO_00020\t\tT023\tBody Part, Organ, or Organ Component",
    "dlinks": "ROCO_00020\twget -r ftp://ftp.ncbi.nlm.nih.gov/pub/pmc/oa_package/1e/ed/PMC3970251.tar.gz "
    "-P /path/to/Dir\tCRIONM2014-931546.003.jpg",
    "licences": f"ROCO_ID,PMC_ID,CC\nROCO_00020,{NAME},CC BY-NC-SA",
}
GOOD = "ROCO_00099"


def write(raw: Path, subset: str = "radiology", folder: str = "data/train", **lines: str | bytes | None) -> Path:
    """One record as published, with other `lines`; None: no such file."""
    part = raw / folder / subset
    (part / "images").mkdir(parents=True, exist_ok=True)
    for name in (NAME, f"{GOOD}.jpg"):
        (part / "images" / name).write_bytes(b"no picture: readers do not look")
    for name, line in (LINES | lines).items():
        path = part / f"{name}.txt"
        path.unlink(missing_ok=True)
        if line is not None:
            path.write_bytes((line if isinstance(line, bytes) else line.encode()) + b"\n")
    return raw


def read_one(raw: Path, line: str | bytes) -> Sample | Rejected:
    data = line if isinstance(line, bytes) else line.encode()
    first, second = read(write(raw, captions=data + f"\n{GOOD}\t Good.".encode()))
    assert isinstance(second, Sample)
    return first


def kept(raw: Path) -> Sample:
    (row,) = [row for row in read(raw) if getattr(row, "reason", None) is not Reason.RECORD_ABSENT]
    assert isinstance(row, Sample), row
    return row


def samples(raw: Path) -> list[Sample]:
    return [row for row in read(raw) if isinstance(row, Sample)]


def digest(image: Image) -> str:
    data = image.data if image.path is None else image.path.read_bytes()
    return hashlib.sha256(data or b"").hexdigest()


def test_a_record_is_kept_whole(tmp_path: Path) -> None:
    row = kept(write(tmp_path))
    assert (row.id, row.split, row.modality) == ("roco/ROCO_00020", "train", "radiology")
    assert (row.turns[0].question, row.turns[0].answer) == ("", "A scan of the pelvis.")
    assert row.licence == "CC-BY-NC-SA"
    assert row.groups.article == "PMC3970251"
    assert row.images[0].image_id == NAME
    assert row.images[0].path == tmp_path / "data/train/radiology/images" / NAME
    assert (row.provenance.file, row.provenance.record) == ("data/train/radiology/captions.txt", "line 1")
    assert row.attributes == {
        "subset": "radiology",
        "figure": "CRIONM2014-931546.003",
        "keywords": "pelvi; scan",
        "cuis": "C0030797; C0034579",
        "semtypes": "T023; Body Part, Organ, or Organ Component",
    }


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("ROCO_00020\t ", Reason.ANSWER_EMPTY),
        ("ROCO_00020", Reason.FIELD_MISSING),
        ("no id", Reason.FIELD_MISSING),
        ("\t No id.", Reason.FIELD_MISSING),
        ("ROCO 00020\t A caption.", Reason.FIELD_MISSING),
        ("ROCO_../00020\t A caption.", Reason.FIELD_MISSING),
        ("ROCO_00021\t A caption.", Reason.IMAGE_MISSING),
        (b"ROCO_00020\t Caf\xe9.", Reason.NOT_UTF8),
        (b"ROCO_\xe9\t A caption.", Reason.NOT_UTF8),
    ],
)
def test_what_can_not_be_represented_is_rejected(tmp_path: Path, line: str | bytes, reason: Reason) -> None:
    row = read_one(tmp_path, line)
    assert isinstance(row, Rejected)
    assert row.reason is reason
    assert (row.split, row.provenance.record) == ("train" if row.split else "", "line 1")
    assert "caption." not in row.detail


@pytest.mark.parametrize("name", [*CONCEPTS, "licences"])
def test_foreign_bytes_beside_a_record_reject_it(tmp_path: Path, name: str) -> None:
    line = LINES[name].replace("PMC3970251", "\xe9").encode("latin-1") + (b"" if name == "licences" else b"\t\xe9")
    (row,) = read(write(tmp_path, **{name: line}))
    assert isinstance(row, Rejected)
    assert row.reason is Reason.NOT_UTF8


def test_captions_of_a_word_are_kept_and_empty_ones_rejected(miniature_of: Callable[[str], Path]) -> None:
    rows = list(read(miniature_of("roco")))
    assert {"CT.", "OPG"} <= {row.turns[0].answer for row in rows if isinstance(row, Sample)}
    reasons = Counter(row.reason for row in rows if isinstance(row, Rejected))
    assert reasons == {Reason.ANSWER_EMPTY: 1, Reason.IMAGE_MISSING: 1}


def test_a_caption_may_go_on_in_the_next_line(miniature_of: Callable[[str], Path]) -> None:
    (row,) = [row for row in samples(miniature_of("roco")) if "\n" in row.turns[0].answer]
    assert row.turns[0].answer.count(".") == 1
    assert row.attributes["cuis"]


def test_each_sample_bears_its_own_licence(miniature_of: Callable[[str], Path], tmp_path: Path) -> None:
    licences = Counter(row.licence for row in samples(miniature_of("roco")))
    assert licences[roco.card.licence] == 1
    assert licences.keys() >= {"CC-BY", "CC-BY-NC-SA", "CC-BY-NC-ND", "CC-BY-ND", "CC0-1.0", "no CC licence"}
    for words in ("", "all rights reserved"):
        row = kept(write(tmp_path, licences=f"ROCO_ID,PMC_ID,CC\nROCO_00020,{NAME},{words}"))
        assert row.licence == roco.card.licence


def test_pictures_may_bear_either_name(tmp_path: Path, copy_of: Callable[[str], Path]) -> None:
    raw = write(tmp_path / "one")
    images = raw / "data/train/radiology/images"
    expected = kept(raw)
    (images / NAME).rename(images / "ROCO_00020.jpg")
    row = kept(raw)
    assert row.images[0].path == images / "ROCO_00020.jpg"
    assert row.images[0].image_id == expected.images[0].image_id == NAME, "one picture, one name"

    raw = copy_of("roco")
    names = {row.images[0].path.name[:3] for row in read(raw) if isinstance(row, Sample) and row.images[0].path}
    assert names == {"ROC", "PMC"}


def test_articles_stand_in_train_and_test(miniature_of: Callable[[str], Path]) -> None:
    rows = samples(miniature_of("roco"))
    articles = {split: {row.groups.article for row in rows if row.split == split} for split in SPLITS}
    for split in ("validation", "test"):
        assert 0.3 < len(articles[split] & articles["train"]) / len(articles[split]) < 0.9
    assert None not in articles["train"]


def test_a_picture_in_both_subsets_has_one_name(miniature_of: Callable[[str], Path]) -> None:
    rows = samples(miniature_of("roco"))
    ((name, number),) = Counter(row.images[0].image_id for row in rows).most_common(1)
    twins = [row for row in rows if row.images[0].image_id == name]
    assert number == 2
    assert {(row.split, row.attributes["subset"]) for row in twins} == {
        ("train", "radiology"),
        ("test", "non-radiology"),
    }
    assert len({digest(row.images[0]) for row in twins}) == 1


def test_a_picture_that_is_absent_is_rejected(tmp_path: Path, copy_of: Callable[[str], Path]) -> None:
    raw = write(tmp_path / "one")
    shutil.rmtree(raw / "data/train/radiology/images")
    (row,) = read(raw)
    assert isinstance(row, Rejected)
    assert (row.id, row.reason) == ("roco/ROCO_00020", Reason.IMAGE_MISSING)
    assert row.detail == f"no file {NAME} or ROCO_00020.jpg in radiology or in folder pictures"

    raw = copy_of("roco")
    num_rows = len(list(read(raw)))
    for folder in raw.rglob("images"):
        shutil.rmtree(folder)
    assert Counter(row.reason for row in read(raw) if isinstance(row, Rejected)) == {
        Reason.IMAGE_MISSING: num_rows - 1,
        Reason.ANSWER_EMPTY: 1,
    }


def test_a_figure_is_in_pmc_oa_too(miniature_of: Callable[[str], Path]) -> None:
    others = {digest(row.images[0]) for row in pmc_oa.read(miniature_of("pmc_oa")) if isinstance(row, Sample)}
    (row,) = [row for row in samples(miniature_of("roco")) if digest(row.images[0]) in others]
    assert row.split == "train"


def test_files_beside_may_be_absent(tmp_path: Path) -> None:
    row = kept(write(tmp_path, **dict.fromkeys(CONCEPTS), licences=None))
    assert row.licence == roco.card.licence
    assert row.groups.article == "PMC3970251", "from dlinks.txt"
    assert row.images[0].image_id == NAME
    assert row.attributes == {"subset": "radiology", "figure": "CRIONM2014-931546.003"}

    row = kept(write(tmp_path, dlinks=None))
    assert (row.groups.article, row.images[0].image_id) == ("PMC3970251", NAME), "from licences.txt"

    write(tmp_path, dlinks=None, licences=None)
    images = tmp_path / "data/train/radiology/images"
    (images / NAME).rename(images / "ROCO_00020.jpg")
    row = kept(tmp_path)
    assert (row.groups.article, row.images[0].image_id) == (None, "ROCO_00020.jpg")


def test_files_beside_may_have_another_order(copy_of: Callable[[str], Path]) -> None:
    raw = copy_of("roco")
    expected = list(read(raw))
    for name in (*CONCEPTS, "dlinks"):
        for path in raw.rglob(f"{name}.txt"):
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            path.write_text("".join(reversed(lines)), encoding="utf-8")
    assert list(read(raw)) == expected


def test_pictures_may_lie_in_fetched_shards(tmp_path: Path) -> None:
    expected = kept(write(tmp_path))
    assert expected.images[0].path is not None
    write_shard(tmp_path / "pictures", "0000-00000", {NAME: b"fetched", f"{GOOD}.jpg": Status.GONE})
    assert kept(tmp_path).images == expected.images, "pictures in folders come first"

    shutil.rmtree(tmp_path / "data/train/radiology/images")
    row = kept(tmp_path)
    assert row.images == (Image(NAME, data=b"fetched"),)
    missing = read_one(tmp_path, "ROCO_00021\t Not fetched.")
    assert isinstance(missing, Rejected)
    assert missing.reason is Reason.IMAGE_MISSING


def test_links_to_pictures_are_called_as_they_are_read(
    copy_of: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    raw = copy_of("roco")
    links = list(roco.linked_pictures(raw))
    assert not caplog.messages
    assert {link.name for link in links} >= {row.images[0].image_id for row in samples(raw)}
    assert all(link.name == f"{link.article}_{link.figure}" for link in links)

    odd = [
        "ROCO_1",
        "ROCO_1\twget -r ftp://x/PMC1.tar.gz -P /path/to/Dir",
        "ROCO_1\twget -r ftp://x/1.tar.gz\ta.jpg",
        "ROCO_1\twget -r ftp://x/PMC1.tar.gz\t../../a.jpg",
        "ROCO_1\twget -r ftp://x/PMC1.tar.gz\ta\\b.jpg",
        "ROCO_1\twget -r ftp://x/PMC1.tar.gz\ta\x00.jpg",
        "ROCO_1\twget -r ftp://x/PMC\u0661.tar.gz\ta.jpg",
        "ROCO_1\twget -r ftp://x/PMC1.tar.gz\tno-ending",
        "ROCO_1\twget -r ftp://x/PMC1.tar.gz\t",
    ]
    path = raw / "data/test/radiology/dlinks.txt"
    path.write_bytes(
        path.read_bytes() + "".join(f"{line}\n" for line in odd).encode() + b"ROCO_1\tPMC1.tar.gz\t\xe9.jpg\n"
    )
    assert list(roco.linked_pictures(raw)) == links
    assert caplog.messages == [f"{path}: 10 lines are no link to a picture; their rows will lack it"]


@pytest.mark.parametrize("root", ["", "all_data", "roco-dataset/data", "roco-dataset-master/data"])
def test_folders_may_lie_as_archives_unpack_them(tmp_path: Path, root: str, copy_of: Callable[[str], Path]) -> None:
    raw = copy_of("roco")
    expected = [(row.id, type(row)) for row in read(raw)]
    (tmp_path / "other" / root).parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(raw / "data", tmp_path / "other" / root, dirs_exist_ok=True)
    assert [(row.id, type(row)) for row in read(tmp_path / "other")] == expected


@pytest.mark.parametrize("place", [".", "pictures", "images.zip"])
def test_pictures_may_lie_elsewhere_in_their_folder(tmp_path: Path, place: str) -> None:
    part = write(tmp_path) / "data/train/radiology"
    data = (part / "images" / NAME).read_bytes()
    shutil.rmtree(part / "images")
    if place == "images.zip":
        with zipfile.ZipFile(part / place, "w") as archive:
            archive.writestr(f"images/{NAME}", data)
    else:
        (part / place).mkdir(exist_ok=True)
        (part / place / NAME).write_bytes(data)
    assert kept(tmp_path).images[0].image_id == NAME


def test_of_two_copies_one_is_read_and_the_other_named(
    copy_of: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    raw = copy_of("roco")
    num_rows = len(list(read(raw)))
    shutil.copytree(raw / "data", raw / "roco" / "data")
    write_v2(raw / "v2")
    assert len(list(read(raw))) == num_rows
    for name in ("roco/data", "v2"):
        assert sum(message.startswith(f"{raw / name}: not read: another copy") for message in caplog.messages) == 1


@pytest.mark.parametrize("place", ["train/radiology/traindata.csv", "train/radiologytraindata.csv"])
def test_the_table_of_kaggles_copy_is_as_good(tmp_path: Path, place: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    raw = write(tmp_path, folder="all_data/train")
    table = f'id,name,caption\nROCO_00020,{NAME},"  A scan, of the pelvis.\n"\n'
    (raw / "all_data" / place).write_text(table, encoding="utf-8")
    assert kept(raw).turns[0].answer == "A scan of the pelvis."
    assert any(f"{place}: not read: the same captions" in message for message in caplog.messages)

    for name in ("captions", "dlinks", "licences"):
        (raw / f"all_data/train/radiology/{name}.txt").unlink()
    row = kept(raw)
    assert row.turns[0].answer == "A scan, of the pelvis."
    assert (row.id, row.images[0].image_id, row.groups.article) == ("roco/ROCO_00020", NAME, "PMC3970251")
    assert row.attributes["keywords"] == "pelvi; scan"

    (raw / "all_data" / place).write_text("id,file,caption\n", encoding="utf-8")
    with pytest.raises(SourceError, match=r"data\.csv: no column `name`"):
        next(read(raw))


# ROCOv2 ---------------------------------------------------------------------------------------------------------------


def write_v2(raw: Path, *, is_packed: bool = True, **tables: list[list[str]] | None) -> Path:
    """Two records of the training split, one each of the others, as on Zenodo; None: no such file."""
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
        content[f"{split}_concepts_manual"] = [["ID", "CUIs"], *([record_id, "C0040405"] for record_id in ids[split])]
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


def test_a_record_of_the_second_version_is_kept_whole(tmp_path: Path) -> None:
    rows = list(read(write_v2(tmp_path)))
    assert Counter(row.split for row in rows) == {"train": 2, "validation": 1, "test": 1}
    row = rows[0]
    assert isinstance(row, Sample)
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
        "cuis_manual": "C0040405",
    }
    assert all(isinstance(row, Sample) and row.groups.article == "PMC77" for row in rows)


def test_the_second_version_may_be_unpacked_in_a_folder(tmp_path: Path) -> None:
    rows = list(read(write_v2(tmp_path / "rocov2", is_packed=False).parent))
    assert len(rows) == 4
    assert all(isinstance(row, Sample) and row.images[0].path for row in rows)


def test_of_the_second_version_a_split_is_enough(tmp_path: Path) -> None:
    names = ("license_information", "cui_mapping", "train_concepts", "train_concepts_manual")
    lists = ("valid_captions", "test_captions")
    rows = list(read(write_v2(tmp_path, **dict.fromkeys((*names, *lists)))))
    assert [type(row) for row in rows] == [Sample, Sample]
    assert isinstance(rows[0], Sample)
    assert (rows[0].licence, rows[0].attributes, rows[0].groups.article) == (roco.card.licence, {}, None)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (["ROCOv2_2023_train_000001", " "], Reason.ANSWER_EMPTY),
        (["", "A caption."], Reason.FIELD_MISSING),
        (["ROCOv2_2023_train_000001"], Reason.FIELD_MISSING),
        (["ROCOv2_2023_train_000003", "A caption."], Reason.IMAGE_MISSING),
        (["ROCOv2_2023_train_000002", "A caption."], Reason.ID_REPEATED),
    ],
)
def test_what_can_not_be_represented_of_the_second_version_is_rejected(
    tmp_path: Path, row: list[str], reason: Reason
) -> None:
    good = ["ROCOv2_2023_train_000002", "Good."]
    first, second, *_ = read(write_v2(tmp_path, train_captions=[["ID", "Caption"], good, row]))
    assert isinstance(first, Sample)
    assert isinstance(second, Rejected)
    assert second.reason is reason


# The whole ------------------------------------------------------------------------------------------------------------


def test_the_real_slice_with_pictures_is_kept_whole(real_data: Path, tmp_path: Path) -> None:
    part = tmp_path / "data/validation/radiology"
    shutil.copytree(real_data / "ROCO/data/validation/radiology", part)
    (part / "images").mkdir()
    for line in (part / "captions.txt").read_text(encoding="utf-8").splitlines():
        (part / "images" / f"{line.split()[0]}.jpg").write_bytes(b"x")
    rows = samples(tmp_path)
    assert len(rows) == len({row.images[0].image_id for row in rows}) == 300
    assert {row.licence for row in rows} == {"CC-BY"}
    assert all(row.groups.article and row.images[0].image_id.startswith(row.groups.article) for row in rows)
    assert all({"figure", "keywords"} <= row.attributes.keys() for row in rows)
    assert set(SUBSETS) >= {row.attributes["subset"] for row in rows}
