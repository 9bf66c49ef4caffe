import io
from pathlib import Path

import PIL.Image
import pytest
from PIL.PngImagePlugin import PngInfo

from openmedq import paths, synthetic
from openmedq.cli import main
from openmedq.curate import forget
from openmedq.evaluation import questions
from openmedq.schema import Image
from tests.stages import toyset
from tests.storage.drawing import save
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


def _with_text(form: str) -> bytes:
    drawn = PIL.Image.open(io.BytesIO(toyset.make_png(1)))
    texts = PngInfo()
    texts.add_text("Patient", SECRET)
    return save(drawn, form, pnginfo=texts) if form == "PNG" else save(drawn, form, comment=SECRET.encode())


@pytest.mark.parametrize(
    ("data", "suffix"), [(make_dicom(), ".png"), (_with_text("PNG"), ".png"), (_with_text("JPEG"), ".jpg")]
)
def test_images_are_asked_about_without_their_metadata(data: bytes, suffix: str, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    assert SECRET.encode() in data
    name = questions._write_image(Image("a", data=data), tmp_path, {})
    assert name.endswith(suffix) and SECRET.encode() not in (tmp_path / name).read_bytes()
