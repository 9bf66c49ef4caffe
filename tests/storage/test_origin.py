import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from openmedq.errors import LocalFolderError, StaleError
from openmedq.storage import origin
from openmedq.storage.origin import Entry, Hashes, Origin


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.json", "a/c d.jpg", "a/é.jpg"):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
        os.utime(path, (1_000_000_000, 1_000_000_000))
    return tmp_path / "set"


@pytest.fixture
def hashes(tmp_path: Path) -> Iterator[Hashes]:
    with origin.open_hashes(tmp_path / "cache") as opened:
        yield opened


def _names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path, _ in origin.find_files(folder)]


def test_files_are_found_in_order_through_links_and_hidden_ones_are_not(folder: Path, tmp_path: Path) -> None:
    (folder / ".DS_Store").write_text("x")
    (folder / "a" / ".cache").mkdir()
    (folder / "a" / ".cache" / "x").write_text("x")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.zip").write_text("x")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "x.zip").symlink_to(tmp_path / "elsewhere" / "x.zip")
    (folder / "a" / "up").symlink_to(folder)
    assert _names(folder) == ["a/c d.jpg", "a/é.jpg", "b.json", "linked/x.zip", "x.zip"]


def test_what_cant_be_read_is_one_line(folder: Path) -> None:
    (folder / "z").symlink_to("nowhere")
    with pytest.raises(LocalFolderError, match=r"set/z: a link to nowhere"):
        _names(folder)
    (folder / "z").unlink()
    os.mkfifo(folder / "pipe")
    with pytest.raises(LocalFolderError, match=r"set/pipe: neither a file nor a folder"):
        _names(folder)


@pytest.mark.parametrize("change", ["size", "time", "inode"])
def test_a_changed_file_has_no_hash(folder: Path, hashes: Hashes, change: str) -> None:
    path = folder / "b.json"
    assert hashes.get(path, path.stat()) is None
    assert hashes.compute(path, path.stat()) == hashlib.sha256(b"b.json").hexdigest() == hashes.get(path, path.stat())
    if change == "size":
        path.write_text("longer than it was")
        os.utime(path, (1_000_000_000, 1_000_000_000))
    elif change == "time":
        os.utime(path, (1_000_000_000, 1_000_000_001))
    else:
        path.rename(folder / "old")
        path.write_text("b.jsoN")
        os.utime(path, (1_000_000_000, 1_000_000_000))
    assert hashes.get(path, path.stat()) is None


def test_a_file_that_was_just_written_is_read_again(folder: Path, hashes: Hashes) -> None:
    path = folder / "b.json"
    os.utime(path, (time.time(), time.time()))
    hashes.compute(path, path.stat())
    assert hashes.get(path, path.stat()) is None


def test_a_file_that_changes_while_it_is_read_is_an_error(folder: Path, hashes: Hashes) -> None:
    path = folder / "b.json"
    before = path.stat()
    path.write_text("half-copied")
    with pytest.raises(LocalFolderError, match=r"b\.json: changed while it was read"):
        hashes.compute(path, before)


def test_a_memory_that_is_damaged_in_its_middle_is_forgotten(tmp_path: Path, folder: Path) -> None:
    path = folder / "b.json"
    with origin.open_hashes(tmp_path / "cache") as hashes:
        for number in range(2000):
            hashes.put(folder / str(number), path.stat(), "0" * 64)
    data = bytearray((tmp_path / "cache").read_bytes())
    data[len(data) // 2 :] = b"x" * (len(data) - len(data) // 2)
    (tmp_path / "cache").write_bytes(data)
    for _ in range(2):
        with origin.open_hashes(tmp_path / "cache") as hashes:
            known = [hashes.get(folder / str(number), path.stat()) for number in range(2000)]
            for number in range(2000):
                hashes.put(folder / str(number), path.stat(), "1" * 64)
    assert set(known) == {"1" * 64}


def test_hashes_are_known_at_once_and_kept_whatever_ends_the_work(tmp_path: Path, folder: Path) -> None:
    paths = [path for path, _ in origin.find_files(folder)]
    with pytest.raises(KeyboardInterrupt), origin.open_hashes(tmp_path / "cache") as hashes:
        for path in paths:
            hashes.put(path, path.stat(), path.name)
            assert hashes.get(path, path.stat()) == path.name
        raise KeyboardInterrupt
    with origin.open_hashes(tmp_path / "cache") as hashes:
        assert [hashes.get(path, path.stat()) for path in paths] == [path.name for path in paths]


@pytest.mark.parametrize(
    "written",
    [
        Origin(),
        Origin(Path("data/miniature/x"), "miniature", (Entry('a "b"/é.jpg', 3, "00"), Entry("c", 0, "ff"))),
        Origin(Path("/mirror/X-Y"), "mirror", (Entry("\udcff.jpg", 3, "00"),)),
    ],
)
def test_an_origin_is_read_as_it_was_written(written: Origin, tmp_path: Path) -> None:
    origin.write(written, tmp_path / "origin.json")
    assert origin.read(tmp_path / "origin.json") == written


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"state": "present"}', '{"state": "present", "files": [{}]}'])
def test_what_is_no_manifest_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "origin.json").write_text(text)
    with pytest.raises(StaleError, match=r"origin\.json: not a manifest"):
        origin.read(tmp_path / "origin.json")
    with pytest.raises(StaleError, match=r"missing\.json: not found"):
        origin.read(tmp_path / "missing.json")


def test_sizes_are_held(folder: Path) -> None:
    recorded = Origin(folder, "mirror", (Entry("b.json", 6, "00"),))
    origin.check_sizes(recorded)
    (folder / "b.json").write_text("longer than it was")
    with pytest.raises(StaleError, match=r"b\.json: changed since it was listed; run `dvc repro`"):
        origin.check_sizes(recorded)
    (folder / "b.json").unlink()
    with pytest.raises(StaleError, match=r"b\.json: missing since"):
        origin.check_sizes(recorded)
