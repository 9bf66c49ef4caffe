import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmedq.errors import ArchiveError
from openmedq.storage.archives import open_inner, open_members
from openmedq.storage.lookup import ArchivedImages
from tests.memory import takes_less_than
from tests.storage.archiving import CONTENT, ENDINGS, read_all, write, write_tar, write_zip


@ENDINGS
def test_members_are_read_by_whole_path_and_by_last_part(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, CONTENT)
    assert read_all(path) == CONTENT
    with open_members(path) as members:
        for whole, data in reversed(CONTENT.items()):
            assert members.read(whole.rsplit("/")[-1]) == data
        assert members.find("elsewhere/a.jpg") == "sub/a.jpg"
        assert members.find("absent.jpg") is None
        with pytest.raises(ArchiveError, match="no member"):
            members.read("absent.jpg")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_are_what_zipfile_makes_of_them(tmp_path: Path, method: int) -> None:
    path = write_zip(
        tmp_path / "x.zip", CONTENT | {"ümlaut/sub/a (2).jpg": b"2", "sub/a.jpg/a.jpg": b"3", "a.jpg": b"4"}, method
    )
    path.write_bytes(b"something in front" + path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        assert read_all(path) == {name: archive.read(name) for name in archive.namelist()}


def test_the_memory_that_a_zip_takes_is_bounded_by_its_members(tmp_path: Path) -> None:
    """PMC-OA has 1.65 million."""
    num_members = 5000
    path = write_zip(
        tmp_path / "x.zip", {f"folder/PMC{number:07}_F1_{number}.jpg": b"x" for number in range(num_members)}
    )

    def read() -> None:
        with open_members(path) as members:
            assert members.read("PMC0000007_F1_7.jpg") == b"x"

    assert takes_less_than(num_members * 1300, read)


@ENDINGS
def test_a_last_part_that_several_share_is_never_guessed(tmp_path: Path, name: str) -> None:
    content = {"x/1.png": b"x", "y/1.png": b"y", "z/1.png": b"z"}
    path = write(tmp_path / name, content)
    assert read_all(path) == content
    with open_members(path) as members, pytest.raises(ArchiveError, match="several members called 1"):
        members.read("1.png")


def test_long_names_are_read(tmp_path: Path) -> None:
    content = {f"{'folder/' * 300}{number}.png": b"x" for number in range(40)}
    assert read_all(write_tar(tmp_path / "x.tgz", content)) == content


@ENDINGS
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.97])
def test_a_cut_archive_is_one_line(tmp_path: Path, name: str, share: float) -> None:
    path = write(tmp_path / name, CONTENT | {"noise": bytes(i * i % 251 for i in range(9000))})
    whole = path.read_bytes()
    size_bytes = len(whole) if name != "x.tar" else whole.rstrip(b"\0").__len__()  # a tar's zeros at the end may go
    path.write_bytes(whole[: int(size_bytes * share)])
    with pytest.raises(ArchiveError) as error:
        read_all(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_the_last_part_of_a_zip_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", CONTENT)
    whole = path.read_bytes()
    path.write_bytes(whole[20:])
    with pytest.raises(ArchiveError, match=r"x\.zip: not a whole archive \(.*last of several parts\); join"):
        read_all(path)
    at = whole.index(b"PK\x01\x02") + 34  # number of the part in which the first member begins
    path.write_bytes(whole[:at] + b"\1" + whole[at + 1 :])
    with pytest.raises(ArchiveError, match="the last of several parts"):
        read_all(path)


def test_a_damaged_member_is_reported_with_advice(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"a.png": b"some bytes"}, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"some", b"same"))
    with pytest.raises(ArchiveError, match=r"^x\.zip: a\.png: damaged \(.*\); copy the archive again$"):
        read_all(path)


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tgz"])
@pytest.mark.parametrize("data", [b"", b"none 404", b"\x89PNG\r\n", b"PK\x03\x04" + b"x" * 50])
def test_what_is_no_archive_is_one_line(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ArchiveError, match="not a whole archive"):
        read_all(tmp_path / name)


@ENDINGS
@settings(max_examples=60)
@given(where=st.floats(0, 0.999), value=st.integers(0, 255))
def test_a_flipped_byte_never_crashes(tmp_path: Path, name: str, where: float, value: int) -> None:
    path = write(tmp_path / name, CONTENT)
    data = bytearray(path.read_bytes())
    data[int(where * len(data))] = value
    path.write_bytes(data)
    try:
        with open_members(path) as members:
            for member in members.names:
                try:
                    members.read(member)
                except ArchiveError:
                    continue
    except ArchiveError as error:
        assert "\n" not in str(error)


@ENDINGS
def test_a_zip_in_an_archive_is_read_like_any_other(tmp_path: Path, name: str) -> None:
    inner = write_zip(tmp_path / "inner.zip", CONTENT).read_bytes()
    path = write(tmp_path / name, {"deep/inner.zip": inner, "cut.zip": inner[:-30], "none.zip": b"none"})
    with open_members(path) as outer:
        with open_inner(outer, "inner.zip") as members:
            assert {member: members.read(member) for member in members.names} == CONTENT
            image = ArchivedImages(members).find("a.jpg")
            assert image.data == CONTENT["sub/a.jpg"]
        for damaged in ("cut.zip", "none.zip", "absent.zip"):
            with pytest.raises(ArchiveError, match=rf"{name}.*{damaged}"), open_inner(outer, damaged):
                pass


def test_a_tar_that_is_cut_between_two_members_is_noticed(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", {"a": b"a" * 512, "b": b"b" * 512})
    path.write_bytes(path.read_bytes()[:1024])
    with pytest.raises(ArchiveError, match="end is missing"):
        read_all(path)
