"""`questions`: what is not written for other systems."""

from pathlib import Path

import pytest

from openmedq import paths, synthetic
from openmedq.cli import main
from openmedq.curate import forget
from openmedq.evaluation import questions
from openmedq.schema import Image
from tests.storage.test_dicom import SECRET, make_dicom


def test_forgotten_records_are_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("raw").mkdir()
    synthetic.write("slake", Path("raw"), seed=0)
    first, *_ = [item.id for item in questions.scan("slake", Path("raw"))]
    paths.FORGOTTEN.parent.mkdir()
    paths.FORGOTTEN.write_text(forget.render({"slake": [forget.digest(first)]}, ["slake"]))
    assert main(["questions", "slake", "--raw", "raw", "out"]) == 0
    assert "not among the questions: 1 record, forgotten" in capsys.readouterr().out
    assert first not in Path("out/questions.jsonl").read_text()


def test_a_dicom_file_is_asked_about_without_its_header(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    name = questions._write_image(Image("a.dcm", data=make_dicom()), tmp_path, {})
    assert name.endswith(".png") and SECRET.encode() not in (tmp_path / name).read_bytes()
