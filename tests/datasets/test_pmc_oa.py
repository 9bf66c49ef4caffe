"""PMC-OA: lists of captions, images by name, licenses by article."""

import json
from pathlib import Path
from typing import Any

import pytest

from openmedq.datasets.pmc_oa import card, read
from openmedq.schema import Reason, Rejected, Sample
from tests.datasets.conftest import FolderOf
from tests.storage.archiving import write_zip

NAME = "PMC1043860_pbio-0030085-g005_1483.jpg"
RECORD = {"image": NAME, "caption": " A figure. "}


def write(raw: Path, lines: list[Any]) -> Path:
    raw.mkdir(exist_ok=True)
    write_zip(raw / "images.zip", {f"deep/{NAME}": b"not an image", "deep/plain.jpg": b"x"})
    texts = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    (raw / "pmc_oa.jsonl").write_bytes(b"".join(text + b"\n" for text in texts))
    return raw


def read_one(raw: Path, line: Any) -> Sample | Rejected:
    first, second = read(write(raw, [line, RECORD]))
    assert isinstance(second, Sample)
    return first


def test_a_record_is_kept_whole(tmp_path: Path) -> None:
    row = read_one(tmp_path, RECORD | {"unknown": 1})
    assert row.id == "pmc_oa/1-PMC1043860_pbio-0030085-g005_1483"
    assert (row.turns[0].question, row.turns[0].answer) == ("", "A figure.")
    assert row.images[0].data == b"not an image"
    assert row.images[0].image_id == NAME
    assert row.groups.article == "PMC1043860"
    assert row.attributes == {"figure": "pbio-0030085-g005"}


def test_the_article_comes_from_the_name_or_the_record(tmp_path: Path) -> None:
    row = read_one(tmp_path, RECORD | {"image": "plain.jpg"})
    assert row.groups.article is None
    row = read_one(tmp_path, RECORD | {"image": "plain.jpg", "pmcid": "PMC7"})
    assert row.groups.article == "PMC7"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"caption": "c"}, Reason.FIELD_MISSING),
        ({"image": NAME, "caption": " "}, Reason.ANSWER_EMPTY),
        ({"image": "absent.jpg", "caption": "c"}, Reason.IMAGE_MISSING),
        ({"image": "..", "caption": "c"}, Reason.IMAGE_MISSING),
        ({"image": NAME, "caption": "\ud800"}, Reason.NOT_UTF8),
        (b'{"image": "plain.jpg", "caption": "caf\xe9"}', Reason.NOT_UTF8),
        (b"nonsense", Reason.FIELD_MISSING),
        (["a", "list"], Reason.FIELD_MISSING),
    ],
)
def test_an_unusable_line_is_rejected(tmp_path: Path, line: Any, reason: Reason) -> None:
    row = read_one(tmp_path, line)
    assert row.reason is reason
    assert row.provenance.record == "line 1"


def test_one_list_is_read_and_the_others_are_logged(copy_of: FolderOf, caplog: pytest.LogCaptureFixture) -> None:
    raw = copy_of("pmc_oa")
    assert {row.provenance.file for row in read(raw)} == {"pmc_oa.jsonl"}
    assert "pmc_oa_beta.jsonl: not read" in caplog.text


def test_the_beta_list_alone_repeats_whole_captions(copy_of: FolderOf) -> None:
    raw = copy_of("pmc_oa")
    (raw / "pmc_oa.jsonl").unlink()
    rows = [row for row in read(raw) if isinstance(row, Sample)]
    assert len(rows) == len({row.id for row in rows}) == 40
    assert {row.attributes["list"] for row in rows} == {"pmc_oa_beta"}
    assert {row.attributes["url_name"] for row in rows} == {"F1.jpg", "F2.jpg", "F3.jpg"}
    assert all(row.groups.article == row.images[0].image_id.split("_")[0] for row in rows)
    assert len({row.turns[0].answer for row in rows}) == 20


def test_a_sample_has_the_license_of_its_article_if_the_list_is_present(tmp_path: Path) -> None:
    (tmp_path / "oa_file_list.csv").write_text("File,Accession ID,License\nx,PMC7,CC BY-NC\n", encoding="utf-8")
    for article, licence in (("PMC7", "CC-BY-NC"), ("PMC8", card.licence)):
        row = read_one(tmp_path, RECORD | {"image": "plain.jpg", "pmcid": article})
        assert row.licence == licence
