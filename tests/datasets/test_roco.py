import shutil
from collections import Counter
from pathlib import Path

import pytest

from openmedq.datasets.fields import Unusable
from openmedq.datasets.roco import roco
from openmedq.datasets.roco.captions import lines_beside, stream_captions, table_beside
from openmedq.datasets.roco.roco import CONCEPTS, read
from openmedq.errors import SourceError
from openmedq.schema import Image, Reason, Sample
from openmedq.storage.fetched import Status
from openmedq.synthetic.files import save, to_csv, to_zip
from tests.datasets.conftest import FolderOf, samples
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


def write(raw: Path, **lines: str | bytes | None) -> Path:
    """One record as published, with other `lines`. None omits a file."""
    part = raw / "data/train/radiology"
    (part / "images").mkdir(parents=True, exist_ok=True)
    (part / "images" / NAME).write_bytes(b"not an image")
    for name, line in (LINES | lines).items():
        path = part / f"{name}.txt"
        path.unlink(missing_ok=True)
        if line is not None:
            path.write_bytes((line if isinstance(line, bytes) else line.encode()) + b"\n")
    return raw


def kept(raw: Path) -> Sample:
    (row,) = [row for row in read(raw) if getattr(row, "reason", None) is not Reason.RECORD_ABSENT]
    assert isinstance(row, Sample), row
    return row


@pytest.mark.parametrize("name", [*CONCEPTS, "licences"])
def test_invalid_text_in_another_file_rejects_the_record(tmp_path: Path, name: str) -> None:
    line = LINES[name].replace("PMC3970251", "\xe9").encode("latin-1") + (b"" if name == "licences" else b"\t\xe9")
    (row,) = read(write(tmp_path, **{name: line}))
    assert row.reason is Reason.NOT_UTF8


def test_each_sample_has_its_own_license(miniature_of: FolderOf, tmp_path: Path) -> None:
    licences = Counter(row.licence for row in samples(read(miniature_of("roco"))))
    assert licences[roco.card.licence] == 1
    assert licences.keys() >= {"CC-BY", "CC-BY-NC-SA", "CC-BY-NC-ND", "CC-BY-ND", "CC0-1.0", "no CC licence"}
    for words in ("", "all rights reserved"):
        row = kept(write(tmp_path, licences=f"ROCO_ID,PMC_ID,CC\nROCO_00020,{NAME},{words}"))
        assert row.licence == roco.card.licence


def test_images_may_have_either_name(tmp_path: Path) -> None:
    raw = write(tmp_path)
    images = raw / "data/train/radiology/images"
    expected = kept(raw)
    (images / NAME).rename(images / "ROCO_00020.jpg")
    row = kept(raw)
    assert row.images[0].path == images / "ROCO_00020.jpg"
    assert row.images[0].image_id == expected.images[0].image_id == NAME, "one image has one name"


def test_the_other_files_may_be_absent(tmp_path: Path) -> None:
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


def test_a_list_that_is_absent_costs_no_row_without_a_reason(copy_of: FolderOf) -> None:
    raw = copy_of("roco")
    before = {row.id for row in read(raw)}
    (raw / "data/train/radiology/captions.txt").unlink()
    after = {row.id: row for row in read(raw)}
    assert after.keys() == before
    assert after["roco/ROCO_02487"].reason is Reason.RECORD_ABSENT


def test_images_may_be_in_downloaded_shards(tmp_path: Path) -> None:
    expected = kept(write(tmp_path))
    write_shard(tmp_path / "pictures", "0000-00000", {NAME: b"fetched", "other.jpg": Status.GONE})
    assert kept(tmp_path).images == expected.images, "images in folders come first"

    shutil.rmtree(tmp_path / "data/train/radiology/images")
    assert kept(tmp_path).images == (Image(NAME, data=b"fetched"),)


def test_links_have_the_names_under_which_images_are_read(copy_of: FolderOf, caplog: pytest.LogCaptureFixture) -> None:
    raw = copy_of("roco")
    links = list(roco.linked_images(raw))
    assert not caplog.messages
    assert {link.name for link in links} >= {row.images[0].image_id for row in samples(read(raw))}
    assert all(link.name == f"{link.article}_{link.figure}" for link in links)

    invalid = [
        "ROCO_1",
        "ROCO_1\twget -r ftp://x/PMC1.tar.gz -P /path/to/Dir",
        "ROCO_1\twget -r ftp://x/1.tar.gz\ta.jpg",
        "ROCO_1\twget -r ftp://x/PMC1.tar.gz\t../../a.jpg",
        "ROCO_1\twget -r ftp://x/PMC1.tar.gz\ta\x00.jpg",
        "ROCO_1\twget -r ftp://x/PMC\u0661.tar.gz\ta.jpg",
        "ROCO_1\twget -r ftp://x/PMC1.tar.gz\tno-ending",
        "ROCO_1\twget -r ftp://x/PMC1.tar.gz\t",
    ]
    path = raw / "data/test/radiology/dlinks.txt"
    path.write_bytes(
        path.read_bytes() + "".join(f"{line}\n" for line in invalid).encode() + b"ROCO_1\tPMC1.tar.gz\t\xe9.jpg\n"
    )
    assert list(roco.linked_images(raw)) == links
    assert caplog.messages == [f"{path}: 9 lines without a valid link; their rows have no image"]


def test_the_real_slice_with_images_is_kept_whole(real_data: Path, tmp_path: Path) -> None:
    part = tmp_path / "data/validation/radiology"
    shutil.copytree(real_data / "ROCO/data/validation/radiology", part)
    (part / "images").mkdir()
    for line in (part / "captions.txt").read_text(encoding="utf-8").splitlines():
        (part / "images" / f"{line.split()[0]}.jpg").write_bytes(b"x")
    rows = samples(read(tmp_path))
    assert len(rows) == len({row.images[0].image_id for row in rows}) == 300
    assert {row.licence for row in rows} == {"CC-BY"}
    assert all(row.groups.article and row.images[0].image_id.startswith(row.groups.article) for row in rows)
    assert all({"figure", "keywords"} <= row.attributes.keys() for row in rows)


def test_a_caption_goes_on_up_to_the_next_id(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(b"ROCO_1\t One\ntwo\tthree\n\nfour\nROCO_2\t Five\r\nROCO_3\nlost\nROCO_4\t\n")
    one, five, bare, lost, empty = stream_captions(tmp_path / "t.txt", "ROCO_")
    assert one == ("1", {"id": "ROCO_1", "caption": " One\ntwo\tthree\nfour"})
    assert five == ("5", {"id": "ROCO_2", "caption": " Five"})
    assert isinstance(bare[1], Unusable)
    assert isinstance(lost[1], Unusable)
    assert (bare[0], lost[0]) == ("6", "7")
    assert empty == ("8", {"id": "ROCO_4", "caption": ""})


@pytest.mark.parametrize("rest", [b"RO", b"ROCO_2", b"ROCO_2\t Tw", b"ROCO_2\t Two\nof t"])
def test_a_caption_that_the_end_cuts_is_no_caption(tmp_path: Path, rest: bytes) -> None:
    (tmp_path / "t.txt").write_bytes(b"ROCO_1\t One\n" + rest)
    one, cut = stream_captions(tmp_path / "t.txt", "ROCO_")
    assert one == ("1", {"id": "ROCO_1", "caption": " One"})
    assert cut[0] == "2" and isinstance(cut[1], Unusable) and cut[1].reason is Reason.FILE_TRUNCATED


@pytest.mark.parametrize("damaged", [b"RO\0CO_2", b"\xffROCO_2", b"roco_2", b" ROCO_2 ", b'R"OCO_2'])
def test_a_record_with_a_damaged_id_is_not_taken_for_more_of_the_caption_above(tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / "t.txt").write_bytes(b"ROCO_1\t One\n" + damaged + b"\t Two\nROCO_3\t Three\n")
    captions = [
        record["caption"] for _, record in stream_captions(tmp_path / "t.txt", "ROCO_") if isinstance(record, dict)
    ]
    assert captions == [" One", " Two", " Three"]


V2_IDS = {split: [f"ROCOv2_2023_{split}_000001"] for split in ("train", "valid", "test")}
V2_IDS["train"].append("ROCOv2_2023_train_000002")


def write_v2(raw: Path) -> Path:
    """Two records of the training split and one of each other split, as on Zenodo."""
    article = ("PMC77", "CC BY [Doe et al. (2021)]", "https://www.ncbi.nlm.nih.gov/pmc/articles/PMC77/")
    rows = ((record_id, *article) for names in V2_IDS.values() for record_id in names)
    save(raw / "license_information.csv", to_csv(("ID", "PMCID", "Attribution", "Link"), *rows))
    for split, names in V2_IDS.items():
        save(raw / f"{split}_captions.csv", to_csv(("ID", "Caption"), *((name, f"Of {split}.") for name in names)))
        save(raw / f"{split}_concepts.csv", to_csv(("ID", "CUIs"), *((name, "C1;C0040405") for name in names)))
        save(raw / f"{split}_images.zip", to_zip({f"{split}/{name}.jpg": name.encode() for name in names}))
    return raw


def test_a_record_of_v2_is_kept_whole(tmp_path: Path) -> None:
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


def test_v2_may_be_unpacked_in_a_folder(tmp_path: Path) -> None:
    raw = write_v2(tmp_path / "rocov2")
    for split in V2_IDS:
        archive = raw / f"{split}_images.zip"
        shutil.unpack_archive(archive, raw if split == "valid" else raw / archive.stem)
        archive.unlink()
    rows = list(read(tmp_path))
    assert len(rows) == 4
    assert all(isinstance(row, Sample) and row.images[0].path for row in rows)


def test_one_split_of_v2_is_enough(tmp_path: Path) -> None:
    raw = write_v2(tmp_path)
    for name in ("license_information", "train_concepts", "valid_captions", "test_captions"):
        (raw / f"{name}.csv").unlink()
    rows = list(read(raw))
    assert [type(row) for row in rows] == [Sample, Sample]
    assert isinstance(rows[0], Sample)
    assert (rows[0].licence, rows[0].attributes, rows[0].groups.article) == (roco.card.licence, {}, None)


def test_lines_and_rows_are_found_by_their_key(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(b"a\t\tx\ty\n\nno tab\nb \t\na\tsecond\n")
    assert lines_beside(tmp_path / "t.txt") == {"a": "\tx\ty", "b": ""}
    (tmp_path / "t.csv").write_bytes(b"ID, x \n1,one\n2,two,too long\n 3 ,three\n1,second\n")
    assert {key: row["x"] for key, row in table_beside(tmp_path / "t.csv", "ID", "x").items()} == {
        "1": "one",
        "3": "three",
    }


@pytest.mark.parametrize("data", [b"", b"\n\n", b"none\n404\ta\n"])
def test_another_layout_is_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"t\.txt: not the published layout"):
        lines_beside(path)
    with pytest.raises(SourceError, match=r"t\.txt: no column `ID`"):
        table_beside(path, "ID", "x")
