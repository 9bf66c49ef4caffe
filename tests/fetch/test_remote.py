"""`download.remote`: files that fsspec reads reach the local data folder once, whole, and with their hashes."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from openmedq.config import Download
from openmedq.errors import AcquisitionError, LocalFolderError, OpenMedQError, ParamsError
from openmedq.fetch import remote
from tests.processes import wait

pytestmark = pytest.mark.usefixtures("empty_folder")

MIRROR = Path("mirror")
FILES = {"toy_set/questions.json": b"[]", "toy_set/images/a b.png": b"a", ".hidden/x": b"x", "toy_set/.part": b"y"}


@pytest.fixture(params=["memory://bucket/medical", "file", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A folder with FILES, on one of the file systems."""
    if request.param == "s3":
        yield from _serve_s3(tmp_path, monkeypatch)
        return
    base = f"file://{tmp_path}/shared" if request.param == "file" else request.param
    _write(base, FILES)
    yield base
    fsspec.filesystem("memory").store.clear()


def _serve_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    log = tmp_path / "s3.log"
    with log.open("wb") as out:
        command = [sys.executable, "-u", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
        server = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        wait(lambda: b"http://127.0.0.1:" in log.read_bytes(), "an S3 server")
        address = "http://127.0.0.1:" + log.read_text().partition("http://127.0.0.1:")[2].split()[0]
        settings = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_ENDPOINT_URL": address}
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        fsspec.filesystem("s3").mkdir("bucket")
        _write("s3://bucket/medical", FILES)
        yield "s3://bucket/medical"
    finally:
        fsspec.filesystem("s3").clear_instance_cache()
        server.kill()
        server.wait()


def _write(base: str, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        with fsspec.open(f"{base}/{name}", "wb", auto_mkdir=True) as file:
            file.write(data)


def _copy(url: str) -> None:
    if url.startswith("s3"):
        fsspec.filesystem("s3").invalidate_cache()
    remote.copy_new(Download(mirror=str(MIRROR), remote=url))


def _copied() -> dict[str, bytes]:
    found = (path for path in MIRROR.rglob("*") if path.is_file() and path.name != remote.RECORD)
    return {path.relative_to(MIRROR).as_posix(): path.read_bytes() for path in found}


def test_new_and_changed_files_are_copied_once(url: str, logged: Callable[[], str]) -> None:
    expected = {name: data for name, data in FILES.items() if "/." not in f"/{name}"}
    _copy(url)
    assert _copied() == expected
    assert f"{url}: 2 files" in logged()
    _copy(url)
    assert logged() == ""
    _write(url, {"toy_set/questions.json": b"[1]"})
    _copy(url)
    assert _copied() == expected | {"toy_set/questions.json": b"[1]"}
    assert f"{url}: 1 file," in logged()


@pytest.mark.parametrize("url", ["memory://bucket/medical"], indirect=True)
def test_the_users_own_file_is_not_replaced(url: str) -> None:
    (MIRROR / "toy_set").mkdir(parents=True)
    (MIRROR / "toy_set/questions.json").write_bytes(b"own")
    with pytest.raises(LocalFolderError, match=r"^mirror/toy_set: has a file of download\.remote that was not copied"):
        _copy(url)
    assert _copied() == {"toy_set/questions.json": b"own"}


@pytest.mark.parametrize("url", ["memory://bucket/medical"], indirect=True)
def test_a_run_after_a_killed_one_copies_the_rest(url: str) -> None:
    _copy(url)
    complete = _copied()
    (MIRROR / "toy_set/questions.json").unlink()
    record = MIRROR / remote.RECORD
    record.write_text(record.read_text() + '["toy_set/ques')
    _copy(url)
    assert _copied() == complete


@pytest.mark.parametrize("url", ["memory://bucket/medical"], indirect=True)
def test_a_cut_file_is_not_kept(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(self: Any, path: str, target: str) -> None:
        Path(target).write_bytes(b"")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "get_file", cut)
    with pytest.raises(OpenMedQError, match="a file changed or was cut while it was copied"):
        _copy(url)
    assert _copied() == {}


def test_a_wrong_address_is_one_line() -> None:
    with pytest.raises(AcquisitionError, match=r"^memory://empty: no"):
        _copy("memory://empty")
    with pytest.raises(ParamsError, match=r"^download\.remote: fsspec can't read nonsense://; correct"):
        _copy("nonsense://x")


def test_a_file_system_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    with pytest.raises(ParamsError, match=r"^download\.remote: Install s3fs to access S3$"):
        remote.copy_new(Download(mirror=str(MIRROR), remote="s3://bucket/x"))


def test_a_librarys_message_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise PermissionError("the key hunter2 is not allowed")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "find", fail)
    with pytest.raises(AcquisitionError, match=r"^memory://x: can't be read \(PermissionError\); check the") as caught:
        remote.copy_new(Download(mirror=str(MIRROR), remote="memory://x"))
    assert "hunter2" not in str(caught.value)


def test_the_miniatures_are_not_mixed_with_it() -> None:
    with pytest.raises(ParamsError, match=r"^download\.remote is set, but download\.mirror is data/miniature"):
        remote.copy_new(Download(remote="memory://x"))
