"""The cards of an export: their parsers read them, and their numbers are those of the index, waterfall and verdicts."""

import hashlib
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from huggingface_hub import DatasetCard

from openmedq import commands, paths
from openmedq.errors import StaleError
from openmedq.schema import Sample
from openmedq.storage.shards import ShardStore
from openmedq.storage.tables import read_index
from tests.reporting.tables import read_markdown
from tests.stages import owndata

TARGET = Path("out")


@pytest.fixture(autouse=True)
def _mix(empty_folder: None) -> None:
    owndata.write_mix()


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _read_tables(text: str) -> list[list[dict[str, str]]]:
    return [[dict(zip(header, row, strict=False)) for row in rows] for header, *rows in read_markdown(text)]


def _number(cell: str) -> int:
    return 0 if cell == "–" else int(cell.replace(",", ""))


def _samples() -> dict[str, Sample]:
    return {sample.id: sample for sample in ShardStore(paths.SAMPLES).take(read_index())}


def test_the_hub_parses_the_front_matter() -> None:
    commands.export_mix(TARGET, "parquet")
    data = DatasetCard.load(TARGET / "README.md").data.to_dict()
    assert data["configs"] == [
        {
            "config_name": "default",
            "data_files": [{"split": role, "path": f"data/{role}-*.parquet"} for role in ("train", "evaluation")],
        }
    ]
    assert (data["license"], data["license_link"], data["language"]) == ("other", "README.md", ["en"])
    assert data["size_categories"] == ["n<1K"] and data["task_categories"] == [
        "question-answering",
        "visual-question-answering",
    ]
    assert data["tags"] == ["medical", "openmedq"] and "viewer" not in data
    for form in ("llava", "webdataset"):  # `datasets` does not read them
        commands.export_mix(Path(form), form)
        card = DatasetCard.load(f"{form}/README.md")
        assert ("`weight` is" in card.text) == (form == "webdataset")  # LLaVA's records have none
        data = card.data.to_dict()
        assert data["viewer"] is False and "configs" not in data


def test_the_numbers_of_all_cards_are_those_of_the_index_and_the_waterfall() -> None:
    commands.export_mix(TARGET, "parquet")
    index, waterfall = read_index().to_pylist(), _read_json(paths.MIX / "waterfall.json")
    assert waterfall["own"]["rejected"] and waterfall["own"]["duplicate"]  # otherwise this tests too little
    card = DatasetCard.load(TARGET / "README.md").text
    sources, steps, _ = _read_tables(card)
    for title, name in (("Own", "own"), ("talks", "talks")):
        (row,) = (each for each in sources if each["Source"] == title)
        for role in ("train", "evaluation"):
            number = sum(each["source"] == name and each["role"] == role for each in index)
            assert _number(row[role]) == number == waterfall[name]["mix"].get(role, 0)
        (row,) = (each for each in steps if each["Source"] == title)
        counts = {key: sum(each.values()) if isinstance(each, dict) else each for key, each in waterfall[name].items()}
        for column, key in (("found", "found"), ("read", "read"), ("rejected", "rejected"), ("duplicate", "duplicate")):
            assert _number(row[column]) == counts[key]
        assert _number(row["kept out"]) == counts["kept_out"]
        assert _number(row["in this export"]) == counts["mix"]
    licences = {row["Source"]: row["Licences of the rows"] for row in sources}
    num_own = waterfall["own"]["mix"]["train"] + 1
    assert licences == {"Own": f"CC-BY-4.0: {num_own}", "talks": "house rules: 2", "all": ""}
    found = sum(each["found"] for each in waterfall.values())
    expected = (
        f"published 0, found {found}, read {sum(each['read'] for each in waterfall.values())}, without duplicates "
    )
    sheet = (TARGET / "datasheet.md").read_text()
    assert expected in sheet and f"in the mix {len(index)}, trained on {len(index) - 1}." in sheet
    assert f"**How many instances are there?** {len(index)}: train: {len(index) - 1}; evaluation: 1." in sheet
    labels = {
        each.text for each in ElementTree.parse(TARGET / "waterfall.svg").iter("{http://www.w3.org/2000/svg}text")
    }
    assert {"found", str(found), "trained on", str(len(index) - 1), "the paper's mix"} <= labels
    rai = _read_json(TARGET / "croissant.json")
    assert f"found: {found} records" in rai["rai:dataPreprocessingProtocol"]
    assert rai["rai:dataUseCases"] == [f"train: {len(index) - 1} rows", "evaluation: 1 row"]


def test_contamination_is_that_of_the_verdicts() -> None:
    commands.export_mix(TARGET, "webdataset", sources=["own"])
    counts = _read_json(paths.VERDICTS / "contamination.json")["own"]
    *_, shared = _read_tables(DatasetCard.load(TARGET / "README.md").text)
    assert shared and {row["Source"] for row in shared} == {"own"}
    for row in shared:
        expected = counts[row["Evaluation dataset"]][row["They share"]]
        assert _number(row["Training rows"]) == expected["training_rows"]
        assert _number(row["In the mix"]) == expected["kept"]
    kept = sum(_number(row["In the mix"]) for row in shared)
    assert f", of which {kept} are in the mix; see `README.md`." in (TARGET / "datasheet.md").read_text()


def test_private_data_are_counted_and_not_quoted() -> None:
    commands.export_mix(TARGET, "parquet")
    cards = [path.read_text() for path in TARGET.iterdir() if path.is_file() and path.name != ".export.json"]
    assert len(cards) == 4
    ids = [sample_id for sample_id, sample in _samples().items() if sample.source == "talks"]
    for text in cards:
        assert owndata.SECRET not in text and not any(sample_id in text for sample_id in ids) and "own/img" not in text
    card = (TARGET / "README.md").read_text()
    assert "Of credentialed or private access: talks. This folder must not be passed on." in card
    rai = _read_json(TARGET / "croissant.json")["rai:personalSensitiveInformation"]
    assert rai[1:] == ["talks: 2 rows of credentialed or private access"]


OF_ITS_LIBRARIES = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of mlcroissant and rdflib


@OF_ITS_LIBRARIES
@pytest.mark.parametrize("form", ["llava", "parquet", "webdataset"])
def test_mlcroissant_accepts_the_metadata(form: str) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    commands.export_mix(TARGET, form)
    metadata = mlcroissant.Dataset(jsonld=str(TARGET / "croissant.json")).metadata  # raises on errors
    assert not metadata.ctx.issues.errors
    (warning,) = metadata.ctx.issues.warnings
    assert "datePublished" in warning  # an export is not published
    written = _read_json(TARGET / "croissant.json")
    read = metadata.to_json()
    files = {each["@id"]: each for each in written["distribution"] if each["@type"] == "cr:FileObject"}
    assert files
    for name, file in files.items():
        assert file["sha256"] == hashlib.sha256((TARGET / name).read_bytes()).hexdigest()
    assert read.keys() >= {key for key in written if key.startswith("rai:")}
    assert written["conformsTo"] == ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"]


@OF_ITS_LIBRARIES
def test_mlcroissant_reads_the_records_of_the_parquet_files() -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    commands.export_mix(TARGET, "parquet")
    rows = list(mlcroissant.Dataset(jsonld=str(TARGET / "croissant.json")).records("rows"))
    samples, roles = _samples(), {row["id"]: row["role"] for row in read_index().to_pylist()}
    assert len(rows) == len(samples)
    for row in rows:
        sample = samples[row["rows/id"].decode()]
        assert row["rows/role"].decode() == roles[sample.id]
        assert [turn["rows/turns/answer"].decode() for turn in row["rows/turns"]] == [
            turn.answer for turn in sample.turns
        ]
        assert [image.size for image in row["rows/images"]] == [(24, 24)] * len(sample.images)


def test_without_counts_of_copies_the_stage_is_named() -> None:
    (paths.VERDICTS / "contamination.json").unlink()
    with pytest.raises(StaleError, match=r"contamination\.json: not found; `dvc repro deduplicate` writes it$"):
        commands.export_mix(TARGET, "parquet")
    assert not (TARGET / "README.md").exists()
