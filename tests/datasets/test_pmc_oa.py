import pytest

from openmedq.datasets.pmc_oa import card, read
from openmedq.schema import Sample
from tests.datasets import faults
from tests.datasets.conftest import FolderOf
from tests.datasets.records import ChangedOf


def test_the_article_comes_from_the_name_or_the_record_and_has_a_licence(changed: ChangedOf) -> None:
    record = changed("pmc_oa")
    archive = record.raw / "images.zip"
    faults.pack(archive, {f"deep/{name}": b"x" for name in ("PMC1043860_pbio-0030085-g005_1483.jpg", "plain.jpg")})
    (record.raw / "oa_comm_use_file_list.csv").write_text("AccessionID,License\nPMC7,CC BY-NC\n", encoding="utf-8")
    row = record.sample({"image": "PMC1043860_pbio-0030085-g005_1483.jpg"})
    assert (row.groups.article, row.attributes["figure"]) == ("PMC1043860", "pbio-0030085-g005")
    assert row.licence == card.licence
    assert record.sample({"image": "plain.jpg"}).groups.article is None
    row = record.sample({"image": "plain.jpg", "pmcid": "PMC7"})
    assert (row.groups.article, row.licence) == ("PMC7", "CC-BY-NC")


def test_the_beta_list_alone_repeats_whole_captions(copy_of: FolderOf, caplog: pytest.LogCaptureFixture) -> None:
    raw = copy_of("pmc_oa")
    assert {row.provenance.file for row in read(raw)} == {"pmc_oa.jsonl"}
    assert "pmc_oa_beta.jsonl: not read" in caplog.text
    (raw / "pmc_oa.jsonl").unlink()
    rows = [row for row in read(raw) if isinstance(row, Sample)]
    assert len(rows) == len({row.id for row in rows}) == 40
    assert {row.attributes["list"] for row in rows} == {"pmc_oa_beta"}
    assert {row.attributes["url_name"] for row in rows} == {"F1.jpg", "F2.jpg", "F3.jpg"}
    assert all(row.groups.article == row.images[0].image_id.split("_")[0] for row in rows)
    assert len({row.turns[0].answer for row in rows}) == 20
