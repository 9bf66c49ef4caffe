"""Archives to test with."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from openmedq.storage.archives import open_members

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
