from pathlib import Path

import pytest

from openmedq.datasets.readers.whole_paths import WholePaths


@pytest.mark.parametrize("name", ["../a.zip", "Images/../../a.zip", "/etc/passwd", "a\0b", "x" * 5000, "\ud800", "."])
def test_what_is_no_path_below_the_folders_is_absent(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.zip").touch()
    (tmp_path / "raw").mkdir()
    assert WholePaths(None, "", folders=(tmp_path / "raw",)).find(name) is None
