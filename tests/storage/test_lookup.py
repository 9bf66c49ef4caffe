from pathlib import Path

import pytest

from openmedq.schema import Image
from openmedq.storage.lookup import open_images
from tests.storage.archiving import write_zip


def test_pictures_behind_a_link_are_found_and_a_link_back_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk/a.png").write_bytes(b"a")
    (tmp_path / "raw/pictures").mkdir(parents=True)
    for name, target in (("images", tmp_path / "disk"), ("loop", "."), ("knot", "knot")):
        (tmp_path / "raw/pictures" / name).symlink_to(target)
    with open_images(tmp_path / "raw", "pictures") as pictures:
        assert pictures.find("a.png") == Image("a.png", path=tmp_path / "raw/pictures/images/a.png")
        assert pictures.find("knot") is None


@pytest.mark.parametrize("is_packed", [False, True])
def test_images_are_found_at_any_depth_and_no_name_leads_elsewhere(tmp_path: Path, is_packed: bool) -> None:
    if is_packed:
        write_zip(tmp_path / "images.zip", {"deep/down/a.jpg": b"a"})
    else:
        (tmp_path / "images/deep/down").mkdir(parents=True)
        (tmp_path / "images/deep/down/a.jpg").write_bytes(b"a")
    with open_images(tmp_path, "images.zip", "images") as pictures:
        image = pictures.find("a.jpg")
        assert (image.data if image.path is None else image.path.read_bytes()) == b"a"
        for name in ("b.jpg", "..", "", "/", "a.jpg/..", "x" * 5000, "a\0.jpg", "\ud800.jpg"):
            assert pictures.find(name) is None


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_pictures_ending_may_be_in_capitals(tmp_path: Path, is_packed: bool) -> None:
    (tmp_path / "pictures").mkdir()
    names = ("a.JPG", "b.jpg", "c.jpg", "c.JPG")
    for name in names:
        (tmp_path / "pictures" / name).write_bytes(name.encode())
    write_zip(tmp_path / "pictures.zip", {name: name.encode() for name in names})
    with open_images(tmp_path, "pictures.zip" if is_packed else "pictures") as pictures:
        for asked, meant in (("a.jpg", "a.JPG"), ("b.JPG", "b.jpg"), ("c.jpg", "c.jpg"), ("c.JPG", "c.JPG")):
            found = pictures.find(asked)
            assert found.image_id == asked
            assert (found.data or (found.path and found.path.read_bytes())) == meant.encode()
        assert pictures.find("a.png") is None
        assert pictures.find("A.jpg") is None


def test_places_serve_together_and_earlier_ones_win(tmp_path: Path) -> None:
    write_zip(tmp_path / "images.zip", {"a.jpg": b"packed", "b.jpg": b"packed"})
    write_zip(tmp_path / "more.zip", {"c.jpg": b"packed"})
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.jpg").write_bytes(b"unpacked")
    (tmp_path / "d.jpg").write_bytes(b"in a folder above")
    with open_images(tmp_path, "images", "images.zip", "absent.zip", "more.zip", ".") as pictures:
        found = {name: pictures.find(name) for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg")}
    assert found == {
        "a.jpg": Image("a.jpg", path=tmp_path / "images/a.jpg"),
        "b.jpg": Image("b.jpg", data=b"packed"),
        "c.jpg": Image("c.jpg", data=b"packed"),
        "d.jpg": None,
    }
