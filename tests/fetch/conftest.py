"""An empty project, and datasets whose files are on the loopback servers."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from openmedq.config import Download, Execution
from openmedq.datasets.card import Dataset, File
from openmedq.fetch import addresses, fetching
from openmedq.storage import origin
from tests.datasets.conftest import miniature_of
from tests.servers import Server
from tests.servers.physionet import READER
from tests.stages import toyset

__all__ = ["miniature_of"]

HOST = "openi.nlm.nih.gov"  # plain files, ranges, validators
URL = f"https://{HOST}/imgs/"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the current folder an empty project, beside which a test may write a netrc."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return folder


@pytest.fixture
def login(monkeypatch: pytest.MonkeyPatch) -> None:
    """The password of a reader whom PhysioNet lets in."""
    for name, value in zip(addresses.VARIABLES["physionet.org"], READER, strict=True):
        monkeypatch.setenv(name, value)


def make_files(data: Mapping[str, bytes], *, is_pinned: bool = False) -> tuple[File, ...]:
    pins = {path: {"sha256": hashlib.sha256(each).hexdigest()} if is_pinned else {} for path, each in data.items()}
    return tuple(File(path=path, url=f"{URL}{path}", **pins[path]) for path in data)


def make_set(files: tuple[File, ...], **update: Any) -> Dataset:
    return toyset.make_set(card=toyset.CARD.model_copy(update={"files": files, **update}))


Fetch = Callable[..., origin.Origin]


@pytest.fixture
def fetch() -> Fetch:
    """`fetch(server, set_, attempts=3)`: download the dataset's files in this process, without long waits."""

    def run(server: Server, set_: Dataset, **settings: Any) -> origin.Origin:
        quick = {"attempts": 3, "backoff_s": 0.001, "timeout_s": 5.0, **settings}
        return fetching.fetch(set_, Download(), Execution(endpoints=server.endpoints, **quick))

    return run


def read_all(found: origin.Origin) -> dict[str, bytes]:
    """The bytes of all files, after a check of their hashes."""
    assert found.folder is not None
    read = {entry.path: (found.folder / entry.path).read_bytes() for entry in found.files}
    for entry in found.files:
        assert (len(read[entry.path]), hashlib.sha256(read[entry.path]).hexdigest()) == (entry.size_bytes, entry.sha256)
    return read
