from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from openmedq.datasets.readers.places import find_places, open_place
from openmedq.errors import ArchiveError


def lay_out(raw: Path) -> None:
    (raw / "set/texts").mkdir(parents=True)
    (raw / "set/pictures").mkdir()
    (raw / "set/all.txt").write_bytes(b"all")
    (raw / "set/texts/some.txt").write_bytes(b"some")
    (raw / "set/pictures/a.jpg").write_bytes(b"a")


def pack(raw: Path) -> Path:
    with zipfile.ZipFile(raw / "set.zip", "w") as archive:
        for path in sorted((raw / "set").rglob("*.*")):
            archive.write(path, path.relative_to(raw).as_posix())
    return raw / "set.zip"


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_folder_and_its_archive_are_read_alike(tmp_path: Path, is_packed: bool) -> None:
    lay_out(tmp_path)
    path = pack(tmp_path) if is_packed else tmp_path / "set"
    with open_place(path, ["pictures"]) as place:
        assert place.read("all.txt") == place.read("elsewhere/all.txt") == b"all"
        assert place.read("texts/some.txt") == b"some"
        assert place.read("absent.txt") is None
        assert place.locate("all.txt") == (path if is_packed else path / "all.txt")
        image = place.images.find("a.jpg")
        assert image is not None
        assert place.images.find("b.jpg") is None


def test_places_come_in_the_order_of_the_names_and_of_depth(tmp_path: Path) -> None:
    for path in ("b/c/all.txt", "a/all.txt", "set.zip", "b/set.zip", "b/c/d/all.txt", "all.txt/not a file"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"")
    found = [path.relative_to(tmp_path).as_posix() for path in find_places(tmp_path, "all.txt", "set.zip")]
    assert found == ["a", "b/c", "set.zip", "b/set.zip"]
    assert find_places(tmp_path / "absent", "all.txt") == []


def test_what_is_no_archive_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "set.zip").write_bytes(b"none")
    with pytest.raises(ArchiveError, match=r"set\.zip: not a whole archive"), open_place(tmp_path / "set.zip", []):
        pass
