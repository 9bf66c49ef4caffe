import shutil
from collections import Counter

import pytest

from openmedq.datasets.slake import read
from openmedq.schema import Rejected, Sample
from tests.datasets.conftest import FolderOf


def test_the_setting_decides_which_languages_are_read(miniature_of: FolderOf) -> None:
    raw = miniature_of("slake")
    rejected = [row for row in read(raw) if isinstance(row, Rejected)]
    assert {row.split for row in rejected} == {"train", "validation", "test"}
    both = list(read(raw, languages=("en", "zh")))
    assert [row.id for row in both] == [row.id for row in read(raw)]
    assert Counter(row.attributes["language"] for row in both if isinstance(row, Sample)) == {"en": 128, "zh": 128}
    assert Counter(type(row) for row in read(raw, languages=())) == {Rejected: 257}


def test_the_projects_archive_has_another_name_for_a_split(copy_of: FolderOf, caplog: pytest.LogCaptureFixture) -> None:
    raw = copy_of("slake")
    expected = [row.id for row in read(raw)]
    shutil.copy(raw / "validation.json", raw / "validate.json")
    assert [row.id for row in read(raw)] == expected
    assert caplog.text.count("validate.json: not read") == 1
    (raw / "validation.json").unlink()
    assert [row.id for row in read(raw)] == expected
