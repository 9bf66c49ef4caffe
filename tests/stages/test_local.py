import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from openmedq import paths
from openmedq.cli import main
from openmedq.config.render import render
from openmedq.curate import forget, normalize
from openmedq.datasets import catalogue, registry
from openmedq.errors import StaleError
from openmedq.fetch import download, mirror
from openmedq.storage import origin
from openmedq.storage.tables import read_index, read_verdicts
from tests.curate.corpus import make_params

from . import owndata

pytestmark = pytest.mark.usefixtures("empty_folder")

ROWS = [
    *({"q": f"Where is {name}?", "a": "left", "file": f"{name}.png", "p": "Doe^Jane", "s": "train"} for name in "abc"),
    {"q": "Where is d?", "a": "right", "file": "d.png", "p": "Roe^Jim", "s": "test"},
    {"q": "Where is d?", "a": "right", "file": "d.png", "p": "Roe^Jim", "s": "train"},  # repeats the test row
    {"q": "Where?", "a": "left", "file": "none.png", "p": "Roe^Jim", "s": "train"},
]
COLUMNS = owndata.COLUMNS | {"patient": "p", "split": "s"}


def _declare(**changes: Any) -> dict[str, Any]:
    return {**owndata.DECLARED, "columns": COLUMNS, **changes}


@pytest.fixture(autouse=True)
def _data(empty_folder: None) -> None:
    owndata.write_images("a.png", "b.png", "c.png", "d.png")
    owndata.write_csv(ROWS)


def test_the_rows_reach_the_mix_and_every_step_is_counted() -> None:
    owndata.build(own=_declare())
    found = origin.read(paths.RAW / "own/origin.json")
    names = [*(f"img/{name}.png" for name in "abcd"), "table.csv"]
    assert (found.origin, [file.path for file in found.files]) == ("local", names)
    waterfall = json.loads((paths.MIX / "waterfall.json").read_text())["own"]
    assert (waterfall["state"], waterfall["found"], waterfall["read"]) == ("present", 6, 5)
    assert waterfall["rejected"] == {"image missing": 1}
    assert waterfall["kept_out"] == {"in evaluation": 1}
    assert waterfall["mix"] == {"train": 3, "evaluation": 1}
    assert {row["access"] for row in read_index().to_pylist()} == {"user supplied"}
    rows, rejected = owndata.read_rows("own")
    assert not any("Doe" in str(row) or "Roe" in str(row) for row in [*rows, *rejected])


def test_a_broken_image_of_a_private_dataset_has_its_reason_without_its_name() -> None:
    Path("own/img/a.png").write_bytes(b"")
    Path("own/img/b.png").write_bytes(b"scan")
    owndata.build(own=_declare(is_private=True))
    details = [row["detail"] for row in owndata.read_rows("own")[1]]
    assert details[:2] == ["an image: an empty file", "an image: none of JPEG, PNG, GIF, TIFF, BMP, WEBP, JPEG2000"]
    assert details[2:] == ["an image; its name is hidden"]


def test_a_local_row_that_repeats_another_datasets_evaluation_row_does_not_train() -> None:
    owndata.write_csv([ROWS[0]], Path("own/train.csv"))
    test_rows = {"table": "train.csv", "columns": owndata.COLUMNS, "roles": {"test": "evaluation"}}
    owndata.build(own=_declare(), other=_declare(**test_rows))
    (decision,) = [each for each in read_verdicts().to_pylist() if each["kept_id"] == "other/2"]
    assert (decision["id"], decision["reason"]) == ("own/2", "in evaluation")


def test_the_licence_policy_applies_and_private_data_allow_research_alone() -> None:
    owndata.build(policy="commercial", own=_declare(), secret=_declare(is_private=True))
    waterfall = json.loads((paths.MIX / "waterfall.json").read_text())
    assert waterfall["secret"]["mix"] == {}
    assert waterfall["secret"]["kept_out"] == {"credentialed: not commercial": 5}
    assert waterfall["own"]["mix"] == {"train": 3, "evaluation": 1}


def test_a_skipped_dataset_is_absent_and_a_changed_file_is_noticed() -> None:
    params = owndata.build(own=_declare())
    download.run(make_params(local={"own": _declare()}, download={"skip": ["own"]}), registry.load("own"))
    assert not origin.read(paths.RAW / "own/origin.json").is_present
    download.run(params, registry.load("own"))
    Path("own/table.csv").write_text("q\n")
    with pytest.raises(StaleError, match=r"own/table\.csv: changed since it was listed; run `dvc repro`"):
        normalize.run(params, registry.load("own"))


@pytest.mark.parametrize("is_private", [True, False])
def test_a_patient_is_forgotten_by_the_published_id(is_private: bool) -> None:
    params = owndata.build(own=_declare(is_private=is_private))
    assert forget.forget("Doe^Jane") == {"own": 3}
    assert not any(each in paths.FORGOTTEN.read_text() for each in ("Doe", forget.digest("Doe^Jane")))
    normalize.run(params, registry.load("own"))
    rows, rejected = owndata.read_rows("own")
    assert len(rows) == 2 and [item["reason"] for item in rejected].count("forgotten") == 3


def _write_params(**declared: dict[str, Any]) -> None:
    paths.PARAMS.write_text(render(make_params(local=declared, download={"mirror": "empty"})))


def test_an_edit_of_params_names_the_command_that_applies_it(capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    paths.CATALOGUE.parent.mkdir(exist_ok=True)
    _write_params(own=_declare())
    assert main(["catalogue"]) == 0
    for declared in ({}, {"own": _declare(licence="MIT")}):
        _write_params(**declared)
        assert main(["locate"]) == 1
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.endswith(
            "data/catalogue.yaml: the local dataset own is not as params.yaml declares it; run `python -m openmedq "
            "catalogue`"
        )
        assert main(["catalogue"]) == 0
        assert main(["locate"]) == (0 if declared else 1)  # an empty local data folder is enough for own data
    shutil.rmtree("own")
    assert main(["locate"]) == 1
    assert "own: not found; correct local.own.folder in params.yaml" in capsys.readouterr().err


def test_a_local_dataset_cannot_have_a_published_name(capsys: pytest.CaptureFixture[str]) -> None:
    _write_params(slake=_declare())
    assert main(["catalogue"]) == 1
    assert "local.slake: a published dataset has this name; choose another" in capsys.readouterr().err


def test_a_profile_keeps_the_declarations() -> None:
    _write_params(own=_declare())
    assert main(["profile", "miniature"]) == 0
    assert "own:" in paths.PARAMS.read_text() and "table: table.csv" in paths.PARAMS.read_text()


def test_local_datasets_are_matched_with_no_folder_of_the_local_data_folder() -> None:
    owndata.build(own=_declare())
    assert mirror.match_folders(Path(), catalogue.read(paths.CATALOGUE), may_be_empty=True) == {}


def test_check_shows_the_first_samples_and_what_was_rejected(capsys: pytest.CaptureFixture[str]) -> None:
    _write_params(own=_declare(is_private=True))
    assert main(["check", "--local", "own"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == ["own: 5 rows, 4 distinct images", "  test: 1", "  train: 4", "  rejected, image missing: 1"]
    assert lines[4].endswith("no file none.png in folder img; looked in own")
    assert sum(line.startswith("first: own/") for line in lines) == 3
    assert "  Q: Where is b?" in lines and not paths.SAMPLES.exists()
    for arguments, line in (
        (["--local", "owl"], "params.yaml: local: no dataset 'owl'; there are own"),
        (["slake"], "check: give a dataset's ID and --raw DIR, or --local NAME alone"),
        (["--local", "own", "--raw", "x"], "check: give a dataset's ID and --raw DIR, or --local NAME alone"),
    ):
        assert main(["check", *arguments]) == 1
        assert line in capsys.readouterr().err
