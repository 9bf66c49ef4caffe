import shutil
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest

from openmedq import paths
from openmedq.cli import main
from openmedq.config.render import render
from openmedq.curate import audit
from openmedq.storage.burned_in import may_show_text
from tests.curate.corpus import make_params

from . import owndata


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Seen by Dr. Miller", "a name"),
        ("DOE^JANE", "a name"),
        ("on 2024-03-05", "a date"),
        ("on 5.3.24", "a date"),
        ("20240305", "a date"),
        ("MRN 0012345", "a number of 6 or more digits"),
        ("call 030 123 4567", "a number of 6 or more digits"),
        ("jane@example.org", "an address"),
        *((text, None) for text in ("A nodule of 1.5 x 2.25 cm", "T1/T2 at 3 T", "the left lobe", "120/80 mmHg")),
        *((text, None) for text in ("L4-L5", "0.123456")),
    ],
)
def test_identifiers_are_found_by_kind(text: str, kind: str | None) -> None:
    found = [name for name, pattern in audit.IDENTIFIERS.items() if pattern.search(text)]
    assert kind in found if kind else not found


def _draw(text: str) -> PIL.Image.Image:
    """A smooth bright disk on black, like a radiograph, with text in a corner."""
    y, x = np.mgrid[:256, :256]
    disk = np.clip(220 - np.hypot(x - 128, y - 128) * 1.8, 0, 255).astype(np.uint8)
    image = PIL.Image.fromarray(disk)
    PIL.ImageDraw.Draw(image).text((8, 8), text, fill=255, font_size=16)
    return image


def test_text_in_a_corner_is_seen_and_anatomy_is_not(tmp_path: Path) -> None:
    for text, is_seen in (("DOE JANE 1970-01-01", True), ("", False)):
        _draw(text).save(tmp_path / "a.png")
        assert may_show_text((tmp_path / "a.png").read_bytes()) is is_seen
    noise = np.random.default_rng(0).normal(128, 20, (256, 256)).clip(0, 255).astype(np.uint8)
    PIL.Image.fromarray(noise).save(tmp_path / "a.png")
    assert not may_show_text((tmp_path / "a.png").read_bytes())


@pytest.mark.usefixtures("empty_folder")
def test_the_audit_names_places_and_copies_and_quotes_no_record(capsys: pytest.CaptureFixture[str]) -> None:
    owndata.write_images("a.png", "b.png", "c.png")
    _draw("DOE JANE 1970-01-01").save("own/img/d.png")
    owndata.write_csv(
        [
            {"q": "Where?", "a": "left", "file": "a.png", "p": "1", "s": "train"},
            {"q": "What did Dr. Miller see?", "a": "seen on 2024-03-05", "file": "b.png", "p": "1", "s": "test"},
            {"q": "Who?", "a": "MRN 0012345", "file": "d.png", "p": "2", "s": "test"},
            {"q": "How?", "a": "so", "file": "scan.jpg", "p": "3", "s": "test"},
            {"q": "Or?", "a": "so", "file": "scan.png", "p": "3", "s": "test"},
        ]
    )
    shutil.copytree("own", "other")
    Path("other/table.csv").write_text(
        "q,a,file\nWhere?,left,a.png\nWhat?,that,b.png\nWhy?,so,c.png\nHm?,so,scan.png\n"
    )
    levels = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)).resize((256, 256))
    levels.save("own/img/scan.jpg", quality=95)
    levels.save("own/img/scan.png")
    levels.save("other/img/scan.png")  # scan.jpg is a copy that is encoded again
    other: dict[str, Any] = {**owndata.DECLARED, "folder": "other"}
    owndata.build(public=other)
    own = {**owndata.DECLARED, "columns": owndata.COLUMNS | {"patient": "p", "split": "s"}, "is_private": True}
    paths.PARAMS.write_text(render(make_params(local={"own": own, "public": other})))
    before = set(Path().rglob("*"))
    assert main(["audit", "--local", "own"]) == 0
    assert {path for path in Path().rglob("*") if path.parent != paths.PARTIAL} - before == {paths.SALT}
    text = capsys.readouterr().out
    for line in (
        "own: 5 rows read, 0 rejected",
        "  question: a name: 1 row (line 3)",
        "  answer: a date: 1 row (line 3)",
        "  answer: a number of 6 or more digits: 1 row (line 4)",
        "  found by a look for text in the border: 1 row (line 4)",
        "  public, same pixels: 3 rows",
        "  public, same look: 1 row",
        "  DVC: nothing, as long as all outputs in dvc.yaml are `push: false`",
    ):
        assert line in text.splitlines(), line
    assert "`export` allows it under policy.licences any, research" in text
    assert "data/training/metrics.json" in text  # of the stages' table
    assert not any(secret in text for secret in ("Miller", "2024", "0012345"))


@pytest.mark.usefixtures("empty_folder")
def test_near_copies_of_texts_are_counted(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    question = "What is the most likely cause of severe colic and jaundice in this woman of forty?"
    for folder, text in (("own", f"3. {question}"), ("other", question)):
        Path(folder, "img").mkdir(parents=True)
        talk = [{"from": "human", "value": text}, {"from": "gpt", "value": "Gallstones"}]
        owndata.write_json([{"conversations": talk}], Path(folder, "table.json"))
    own = {**owndata.DECLARED, "table": "table.json", "columns": None}
    owndata.build(public=own | {"folder": "other"})
    paths.PARAMS.write_text(render(make_params(local={"own": own, "public": own | {"folder": "other"}})))
    assert main(["audit", "--local", "own"]) == 0
    assert "  public, near text: 1 row" in capsys.readouterr().out.splitlines()
    decisions = ("own/1,own/2,copy", "own/1,public/1,different")
    Path("data/copies.csv").write_text("\n".join(["id_a,id_b,decision", *decisions]))
    assert main(["audit", "--local", "own"]) == 0
    assert "  none" in capsys.readouterr().out.splitlines()[-1:]  # as a person decided
    assert not caplog.records  # the first decision is used by deduplicate
