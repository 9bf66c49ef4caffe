from pathlib import Path

import pytest

from openmedq.datasets.readers.whole_paths import WholePaths
from openmedq.storage.archives import open_members
from tests.storage.archiving import write_zip


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    names = ("Top/Images/A/1.png", "Top/Images/B/1.png", "Top/Images/B/2.png")
    return write_zip(tmp_path / "a.zip", {name: f"archived {name[-7:]}".encode() for name in names})


def test_a_picture_is_found_by_its_whole_path_alone(archive: Path) -> None:
    with open_members(archive) as members:
        pictures = WholePaths(members, "Images/", folders=())
        found = pictures.find("Images/B/1.png")
        assert (found.image_id, found.data) == ("Images/B/1.png", b"archived B/1.png")
        assert pictures.find("./Images\\B/1.png") == found
        for absent in ("Images/C/1.png", "Images/A/2.png", "1.png", "2.png", "", ".", "Images/B"):
            assert pictures.find(absent) is None, absent


@pytest.mark.parametrize("name", ["../a.zip", "Images/../../a.zip", "/etc/passwd", "a\0b", "x" * 5000, "\ud800"])
def test_what_is_no_path_below_the_folders_is_absent(tmp_path: Path, name: str, archive: Path) -> None:
    assert archive.is_file()
    (tmp_path / "raw").mkdir()
    assert WholePaths(None, "", folders=(tmp_path / "raw",)).find(name) is None
