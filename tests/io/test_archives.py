import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmedq.errors import ArchiveError
from openmedq.io import archives
from openmedq.io.archives import open_inner, open_members, open_pictures, pictures_in
from openmedq.schema import Image

CONTENT = {"sub/a.jpg": b"A" * 700, "sub/deeper/b.jpg": b"B" * 3, "ümlaut (1).png": b"", "c.txt": bytes(range(256))}


def write_zip(path: Path, content: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def write_tar(path: Path, content: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix in (".gz", ".tgz") else "w") as archive:
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def write(path: Path, content: dict[str, bytes]) -> Path:
    return (write_zip if path.suffix == ".zip" else write_tar)(path, content)


ENDINGS = pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz", "x.tgz"])


def read_all(path: Path) -> dict[str, bytes]:
    with open_members(path) as members:
        return {name: members.read(name) for name in members.names}


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
    path = write_zip(tmp_path / "x.zip", CONTENT | {"ümlaut/sub/a (2).jpg": b"2", "plain": b"3"}, method)
    path.write_bytes(b"something in front" + path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        assert read_all(path) == {name: archive.read(name) for name in archive.namelist()}


def test_a_folder_is_no_member(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"folder/": b"", "folder/a.jpg": b"a"})
    assert read_all(path) == {"folder/a.jpg": b"a"}


def test_a_name_that_ends_at_a_zero_byte_is_read(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"a!b.jpg": b"a", "c.jpg": b"c"})
    path.write_bytes(path.read_bytes().replace(b"a!b.jpg", b"a\0b.jpg"))
    assert read_all(path) == {"a": b"a", "c.jpg": b"c"}


def test_an_empty_name_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"!.jpg": b"a"})
    path.write_bytes(path.read_bytes().replace(b"!.jpg", b"\0.jpg"))
    with pytest.raises(ArchiveError, match="refused"):
        read_all(path)


def test_a_zip_of_many_members_takes_little_memory(tmp_path: Path) -> None:
    """PMC-OA has 1.6 million; as `zipfile` keeps them, they would take more than a gigabyte."""
    num_members = 5000
    path = write_zip(
        tmp_path / "x.zip", {f"folder/PMC{number:07}_F1_{number}.jpg": b"x" for number in range(num_members)}
    )
    with open_members(path):
        pass  # what is loaded with the first archive is not counted
    tracemalloc.start()
    with open_members(path) as members:
        taken, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert members.read("PMC0000007_F1_7.jpg") == b"x"
    assert taken < num_members * 300
    assert peak < num_members * 450


@ENDINGS
def test_a_last_part_that_several_share_is_never_guessed(tmp_path: Path, name: str) -> None:
    content = {"x/1.png": b"x", "y/1.png": b"y", "z/1.png": b"z"}
    path = write(tmp_path / name, content)
    assert read_all(path) == content
    with open_members(path) as members, pytest.raises(ArchiveError, match="several members called 1"):
        members.read("1.png")


@pytest.mark.parametrize("order", [("1.png", "x/1.png", "y/1.png"), ("x/1.png", "1.png", "y/1.png")])
def test_a_whole_path_wins_over_a_last_part(tmp_path: Path, order: tuple[str, ...]) -> None:
    content = {name: name.encode() for name in order}
    path = write_zip(tmp_path / "x.zip", content)
    assert read_all(path) == content


def test_what_macs_add_is_passed_over(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"a.jpg": b"a", "__MACOSX/a.jpg": b"junk", ".DS_Store": b"junk"})
    assert read_all(path) == {"a.jpg": b"a"}


@ENDINGS
@pytest.mark.parametrize("hostile", ["/etc/passwd", "../up.jpg", "a/../../up.jpg", "..\\up.jpg", "C:\\up.jpg"])
def test_a_name_that_points_out_of_the_archive_is_refused(tmp_path: Path, name: str, hostile: str) -> None:
    path = write(tmp_path / name, {"a.jpg": b"a", hostile: b"x"})
    with pytest.raises(ArchiveError, match="points out of the archive"):
        read_all(path)


def test_links_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link.jpg")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        info = tarfile.TarInfo("link.jpg")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
    for path in (tmp_path / "x.zip", tmp_path / "x.tar"):
        with pytest.raises(ArchiveError, match="link"):
            read_all(path)


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz"])
def test_a_bomb_is_refused_before_it_is_inflated(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, {"bomb.png": bytes(3 * 2**20)})
    with pytest.raises(ArchiveError, match="would grow"):
        read_all(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_method_that_cant_be_unpacked_in_pieces_is_refused(tmp_path: Path, method: int) -> None:
    path = write_zip(tmp_path / "x.zip", CONTENT, method)
    with pytest.raises(ArchiveError, match=rf"a\.jpg' is packed by method {method}; only stored and deflate are read"):
        read_all(path)


def test_a_member_gives_no_more_than_it_says_that_it_has(tmp_path: Path) -> None:
    """The sizes that the directory states are whoever wrote it's to choose; 200 KB hold 200 MB."""
    path = write_zip(tmp_path / "x.zip", {"bomb.png": bytes(200 * 2**20)})
    data = bytearray(path.read_bytes())
    for place in (22, data.index(b"PK\x01\x02") + 24):
        data[place : place + 4] = struct.pack("<I", 1000)
    path.write_bytes(data)
    with open_members(path) as members:
        tracemalloc.start()
        with pytest.raises(ArchiveError, match=r"bomb\.png: damaged"):
            members.read("bomb.png")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 2**20


def test_a_member_cant_say_that_it_takes_more_of_the_archive_than_there_is(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"bomb.png": bytes(3 * 2**20)})
    data = bytearray(path.read_bytes())
    where = data.index(b"PK\x01\x02") + 20
    data[where : where + 4] = struct.pack("<I", 2**31)
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match="would grow"):
        read_all(path)


def _write_tar_header(path: Path, kind: bytes, size_bytes: int, content: bytes = b"") -> Path:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, size_bytes
    path.write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + content))
    return path


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
@pytest.mark.parametrize("size_bytes", [40 * 2**20, -512])
def test_a_name_that_does_not_end_is_refused(tmp_path: Path, kind: bytes, size_bytes: int) -> None:
    path = _write_tar_header(tmp_path / "x.tgz", kind, size_bytes, b"1" * 40 * 2**20)
    tracemalloc.start()
    with pytest.raises(ArchiveError, match=r"x\.tgz: the header at byte 512 has more than 65536 bytes"):
        read_all(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * 2**20


def test_a_long_name_is_none_of_that(tmp_path: Path) -> None:
    content = {f"{'folder/' * 300}{number}.png": b"x" for number in range(40)}
    assert read_all(write_tar(tmp_path / "x.tgz", content)) == content


def test_a_tar_that_leads_backwards_is_refused(tmp_path: Path) -> None:
    path = _write_tar_header(tmp_path / "x.tgz", tarfile.REGTYPE, -512, bytes(2048))
    with pytest.raises(ArchiveError, match="smaller than nothing"):
        read_all(path)


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, b"Z"])
def test_a_bomb_of_a_tar_is_refused_before_it_is_gone_through(tmp_path: Path, kind: bytes) -> None:
    """What has no end here can't be gone through: to try is an error of another kind."""
    path = _write_tar_header(tmp_path / "x.tgz", kind, 2**33, bytes(2048))
    with pytest.raises(ArchiveError, match="would grow"):
        read_all(path)


@pytest.mark.parametrize("packed", [bz2.compress, lzma.compress])
def test_a_tar_is_plain_or_gzipped_whatever_its_name(tmp_path: Path, packed: Callable[[bytes], bytes]) -> None:
    plain = write_tar(tmp_path / "x.tar", CONTENT).read_bytes()
    for name, data in (("a.tgz", plain), ("b.tar", gzip.compress(plain))):
        (tmp_path / name).write_bytes(data)
        assert read_all(tmp_path / name) == CONTENT
    (tmp_path / "c.tgz").write_bytes(packed(plain))
    with pytest.raises(ArchiveError, match="not a whole archive"):
        read_all(tmp_path / "c.tgz")


@ENDINGS
@pytest.mark.parametrize("names", [("a.png", "a.png"), ("x/a.png", "x/a.png"), ("x/a.png", "y/a.png", "x/a.png")])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_path_are_refused(tmp_path: Path, name: str, names: tuple[str, ...]) -> None:
    if name == "x.zip":
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for number, member in enumerate(names):
                archive.writestr(member, str(number))
    else:
        with tarfile.open(tmp_path / name, "w" if name == "x.tar" else "w:gz") as tar:
            for member in names:
                tar.addfile(tarfile.TarInfo(member))
    with pytest.raises(ArchiveError, match=rf"{name}: holds '{names[0]}' twice"):
        read_all(tmp_path / name)


def test_a_member_that_does_not_fit_in_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_zip(tmp_path / "x.zip", CONTENT)
    monkeypatch.setattr(archives, "MAX_MEMBER_BYTES", 500)
    with open_members(path) as members, pytest.raises(ArchiveError, match="too many"):
        members.read("a.jpg")


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


def test_a_tar_that_is_cut_between_two_members_is_noticed(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", {"a": b"a" * 512, "b": b"b" * 512})
    path.write_bytes(path.read_bytes()[:1024])
    with pytest.raises(ArchiveError, match="end is missing"):
        read_all(path)


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tgz"])
@pytest.mark.parametrize("data", [b"", b"none 404", b"\x89PNG\r\n", b"PK\x03\x04" + b"x" * 50])
def test_what_is_no_archive_is_one_line(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ArchiveError, match="not a whole archive"):
        read_all(tmp_path / name)


def test_a_damaged_member_does_not_spoil_the_others(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", CONTENT, zipfile.ZIP_STORED)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"A" * 700, b"A" * 699 + b"!"))
    with open_members(path) as members:
        with pytest.raises(ArchiveError, match=r"x\.zip: sub/a\.jpg: damaged"):
            members.read("a.jpg")
        assert members.read("b.jpg") == b"BBB"


def test_a_directory_that_points_before_the_file_is_damage(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", CONTENT)
    data = bytearray(path.read_bytes())
    data[-3] += 1  # the place of the directory, 65,536 bytes further on than it can be
    path.write_bytes(data)
    with open_members(path) as members, pytest.raises(ArchiveError, match="damaged"):
        members.read("a.jpg")


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"a.jpg": b"a"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1  # the flag in the directory
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match="encrypted"):
        read_all(path)


def test_a_missing_archive_is_an_os_error(tmp_path: Path) -> None:
    for name in ("x.zip", "x.tar"):
        with pytest.raises(FileNotFoundError):
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
            image = pictures_in(members).find("a.jpg")
            assert image is not None
            assert image.data == CONTENT["sub/a.jpg"]
        for damaged in ("cut.zip", "none.zip", "absent.zip"):
            with pytest.raises(ArchiveError, match=rf"{name}.*{damaged}"), open_inner(outer, damaged):
                pass


def test_a_zip_in_an_archive_is_trusted_no_more(tmp_path: Path) -> None:
    for hostile in ({"../up.jpg": b"x"}, {"bomb.png": bytes(3 * 2**20)}):
        inner = write_zip(tmp_path / "inner.zip", hostile).read_bytes()
        with (
            open_members(write_zip(tmp_path / "x.zip", {"inner.zip": inner})) as outer,
            pytest.raises(ArchiveError, match="refused"),
            open_inner(outer, "inner.zip"),
        ):
            pass


def in_archive(raw: Path) -> None:
    write_zip(raw / "images.zip", {"deep/down/a.jpg": b"a"})


def in_folder(raw: Path) -> None:
    (raw / "images").mkdir()
    (raw / "images" / "a.jpg").write_bytes(b"a")


def in_subfolder(raw: Path) -> None:
    (raw / "images" / "deep" / "down").mkdir(parents=True)
    (raw / "images" / "deep" / "down" / "a.jpg").write_bytes(b"a")


def test_pictures_behind_a_link_are_found_and_a_link_back_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk/a.png").write_bytes(b"a")
    (tmp_path / "raw/pictures").mkdir(parents=True)
    for name, target in (("images", tmp_path / "disk"), ("loop", "."), ("knot", "knot")):
        (tmp_path / "raw/pictures" / name).symlink_to(target)
    with open_pictures(tmp_path / "raw", "pictures") as pictures:
        assert pictures.find("a.png") == Image("a.png", path=tmp_path / "raw/pictures/images/a.png")
        assert pictures.find("knot") is None


@pytest.mark.parametrize("lay_out", [in_archive, in_folder, in_subfolder])
def test_pictures_are_found_wherever_they_lie(tmp_path: Path, lay_out: Callable[[Path], None]) -> None:
    lay_out(tmp_path)
    with open_pictures(tmp_path, "images.zip", "images") as pictures:
        image = pictures.find("a.jpg")
        assert image is not None
        assert (image.data if image.path is None else image.path.read_bytes()) == b"a"
        assert image.image_id == "a.jpg"
        for name in ("b.jpg", "..", "", "/", "a.jpg/..", "x" * 5000, "a\0.jpg", "\ud800.jpg"):
            assert pictures.find(name) is None


def test_without_a_place_all_pictures_are_absent(tmp_path: Path) -> None:
    with open_pictures(tmp_path, "images.zip", "images") as pictures:
        assert pictures.find("a.jpg") is None


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_pictures_ending_may_be_in_capitals(tmp_path: Path, is_packed: bool) -> None:
    (tmp_path / "pictures").mkdir()
    names = ("a.JPG", "b.jpg", "c.jpg", "c.JPG")
    for name in names:
        (tmp_path / "pictures" / name).write_bytes(name.encode())
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
        for name in names:
            archive.write(tmp_path / "pictures" / name, name)
    with open_pictures(tmp_path, "pictures.zip" if is_packed else "pictures") as pictures:
        for asked, meant in (("a.jpg", "a.JPG"), ("b.JPG", "b.jpg"), ("c.jpg", "c.jpg"), ("c.JPG", "c.JPG")):
            found = pictures.find(asked)
            assert found is not None
            assert found.image_id == asked
            assert (found.data or (found.path and found.path.read_bytes())) == meant.encode()
        assert pictures.find("a.png") is None
        assert pictures.find("A.jpg") is None
