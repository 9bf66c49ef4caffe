"""Headers of an archive are untrusted: each attack is refused in one line, before it costs memory."""

import gzip
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from openmedq.errors import ArchiveError
from openmedq.storage import archives
from openmedq.storage.archives import open_inner, open_members
from tests.memory import takes_less_than
from tests.storage.archiving import CONTENT, ENDINGS, read_all, write, write_zip


def test_an_empty_name_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"!.jpg": b"a"})
    path.write_bytes(path.read_bytes().replace(b"!.jpg", b"\0.jpg"))
    with pytest.raises(ArchiveError, match="refused"):
        read_all(path)


@pytest.mark.parametrize(("bound", "most"), [("MAX_MEMBERS", 9), ("MAX_DIRECTORY_BYTES", 600)])
@ENDINGS
def test_an_archive_of_too_many_members_is_refused(
    tmp_path: Path, name: str, bound: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / name, {f"{number}.png": b"x" for number in range(20)})
    monkeypatch.setattr(archives, bound, most)
    with pytest.raises(ArchiveError, match=rf"{name}.* (more than {most}|a directory of 1030 bytes).*refused"):
        read_all(path)


def test_a_directory_of_two_gigabytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"a.png": b"x"})
    end = bytearray(path.read_bytes()[-22:])
    end[12:16] = struct.pack("<I", 2**31)
    with path.open("r+b") as file:
        file.truncate(2**31 + 2**20)  # takes no disk
        file.seek(0, 2)
        file.write(end)

    def refuse() -> None:
        with pytest.raises(ArchiveError, match="a directory of 2147483648 bytes"):
            read_all(path)

    assert takes_less_than(2**22, refuse)


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
    """The stated sizes are false: 200 KB hold 200 MB."""
    path = write_zip(tmp_path / "x.zip", {"bomb.png": bytes(200 * 2**20)})
    data = bytearray(path.read_bytes())
    for place in (22, data.index(b"PK\x01\x02") + 24):
        data[place : place + 4] = struct.pack("<I", 1000)
    path.write_bytes(data)

    def refuse() -> None:
        with open_members(path) as members, pytest.raises(ArchiveError, match=r"bomb\.png: damaged"):
            members.read("bomb.png")

    assert takes_less_than(2**20, refuse)


def test_a_member_cant_say_that_it_takes_more_of_the_archive_than_there_is(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"bomb.png": bytes(3 * 2**20)})
    data = bytearray(path.read_bytes())
    where = data.index(b"PK\x01\x02") + 20
    data[where : where + 4] = struct.pack("<I", 2**31)
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match="would grow"):
        read_all(path)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_chain_of_headers_of_one_member_is_refused(tmp_path: Path, kind: bytes) -> None:
    """`tarfile` reads them recursively."""
    content = b"20 comment=abcdefgh\n"
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, len(content)
    header = info.tobuf(tarfile.GNU_FORMAT) + content.ljust(tarfile.BLOCKSIZE, b"\0")
    path = tmp_path / "x.tar"
    path.write_bytes(header * 100 + tarfile.TarInfo("a").tobuf() + bytes(2 * tarfile.BLOCKSIZE))
    with pytest.raises(ArchiveError, match=r"x\.tar: the header at byte 65536 has more than 65536 bytes"):
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

    def refuse() -> None:
        with pytest.raises(ArchiveError, match=r"x\.tgz: the header at byte 512 has more than 65536 bytes"):
            read_all(path)

    assert takes_less_than(10 * 2**20, refuse)


def test_a_tar_that_leads_backwards_is_refused(tmp_path: Path) -> None:
    path = _write_tar_header(tmp_path / "x.tgz", tarfile.REGTYPE, -512, bytes(2048))
    with pytest.raises(ArchiveError, match="negative size"):
        read_all(path)


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, b"Z"])
def test_a_bomb_of_a_tar_is_refused_before_it_is_gone_through(tmp_path: Path, kind: bytes) -> None:
    """Reading the content would raise another error, because it is truncated."""
    path = _write_tar_header(tmp_path / "x.tgz", kind, 2**33, bytes(2048))
    with pytest.raises(ArchiveError, match=r"would grow|a device"):
        read_all(path)


def test_a_sparse_member_cant_skip_more_than_it_declares(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 2**33
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[483:495] = b"%011o\0" % 10  # the size that it expands to
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path = tmp_path / "x.tgz"
    path.write_bytes(gzip.compress(bytes(header) + bytes(2048)))
    with pytest.raises(ArchiveError, match="would grow"):
        read_all(path)


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
    with pytest.raises(ArchiveError, match=rf"{name}: contains '{names[0]}' twice"):
        read_all(tmp_path / name)


def test_a_member_that_does_not_fit_in_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_zip(tmp_path / "x.zip", CONTENT)
    monkeypatch.setattr(archives, "MAX_MEMBER_BYTES", 500)
    with open_members(path) as members, pytest.raises(ArchiveError, match="too many"):
        members.read("a.jpg")


def test_a_directory_that_points_before_the_file_is_damage(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", CONTENT)
    data = bytearray(path.read_bytes())
    data[-3] += 1  # the place of the directory, 65,536 bytes further on than it can be
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match="lacks its beginning"):
        read_all(path)


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"a.jpg": b"a"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1  # the flag in the directory
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match="encrypted"):
        read_all(path)


def test_a_zip_in_an_archive_is_trusted_no_more(tmp_path: Path) -> None:
    for hostile in ({"../up.jpg": b"x"}, {"bomb.png": bytes(3 * 2**20)}):
        inner = write_zip(tmp_path / "inner.zip", hostile).read_bytes()
        with (
            open_members(write_zip(tmp_path / "x.zip", {"inner.zip": inner})) as outer,
            pytest.raises(ArchiveError, match="refused"),
            open_inner(outer, "inner.zip"),
        ):
            pass
