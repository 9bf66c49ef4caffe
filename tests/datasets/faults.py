"""Changes that file systems and programs make to published files, for any dataset; and the rows of a folder."""

import gzip
import hashlib
import io
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from openmedq.datasets import DATASETS
from openmedq.datasets.card import Dataset
from openmedq.schema import Rejected
from openmedq.synthetic.files import to_tar_gz, to_zip

SETS: dict[str, Dataset] = DATASETS
APPLE_DOUBLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(150)  # the beginning of macOS's `._*` files
IMAGES = (".png", ".jpg", ".jpeg")
TARS = (".tgz", ".tar.gz")

Row = tuple[object, ...]


def read(dataset_id: str, raw: Path) -> list[Row]:
    """The rows without their provenance, with digests of their images."""
    rows: list[Row] = []
    for row in SETS[dataset_id].read(raw):
        if isinstance(row, Rejected):
            rows.append((row.id, row.split, row.reason))
        else:
            data = (image.data if image.path is None else image.path.read_bytes() for image in row.images)
            digests = [hashlib.sha256(each or b"").hexdigest() for each in data]
            rows.append((row.id, row.split, row.turns, row.groups, row.labels, sorted(row.attributes.items()), digests))
    return rows


def find_files(raw: Path, *suffixes: str) -> list[Path]:
    paths = sorted(path for path in raw.rglob("*") if path.is_file())
    return [path for path in paths if not suffixes or path.name.endswith(suffixes)]


def members_of(path: Path) -> dict[str, bytes]:
    if path.name.endswith(TARS):
        with tarfile.open(path) as tar:
            return {info.name: tar.extractfile(info).read() for info in tar if info.isreg()}
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}


def pack(path: Path, members: dict[str, bytes]) -> None:
    path.write_bytes(to_tar_gz(members) if path.name.endswith(TARS) else to_zip(members))


def change_archives(raw: Path, change: Callable[[str, bytes], Iterator[tuple[str, bytes]]]) -> int:
    """Rewrite all archives, and zips in them, with `change` applied to each member; return the number of archives."""
    paths = find_files(raw, ".zip", ".npz", *TARS)
    for path in paths:
        pack(path, _change(members_of(path), change))
    return len(paths)


def _change(members: dict[str, bytes], change: Callable[[str, bytes], Iterator[tuple[str, bytes]]]) -> dict[str, bytes]:
    changed: dict[str, bytes] = {}
    for name, data in members.items():
        if name.endswith(".zip"):
            with zipfile.ZipFile(io.BytesIO(data)) as inner:
                data = to_zip(_change({each: inner.read(each) for each in inner.namelist() if each[-1] != "/"}, change))
        changed |= dict(change(name, data))
    return changed


def with_junk(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """The files that macOS and Windows add for a member, and the member."""
    path = PurePosixPath(name)
    yield f"__MACOSX/{path.with_name(f'._{path.name}')}", APPLE_DOUBLE
    yield f"__MACOSX/{path}", APPLE_DOUBLE
    yield str(path.with_name(f"._{path.name}")), APPLE_DOUBLE
    yield str(path.with_name(".DS_Store")), b"\0\0\0\1Bud1"
    yield str(path.with_name("Thumbs.db")), b"\xd0\xcf\x11\xe0"
    yield name, data


def add_junk(raw: Path) -> None:
    """Add to each file and each archive's member below `raw` what macOS and Windows add."""
    change_archives(raw, with_junk)
    for path in find_files(raw):
        for name, data in with_junk(path.relative_to(raw).as_posix(), b""):
            if data:
                (raw / name).parent.mkdir(parents=True, exist_ok=True)
                (raw / name).write_bytes(data)


def unpack(raw: Path, step: int) -> int:
    """Unpack all texts and every `step`th image of each archive; return their number. Step 1 removes the archives."""
    num_images = 0
    for archive in find_files(raw, ".zip", *TARS):
        members = members_of(archive)
        tops = {name.removeprefix("./").split("/")[0] for name in members}
        folder = archive.parent if len(tops) == 1 else archive.parent / archive.name.split(".")[0]
        images = [name for name in members if name.endswith(IMAGES)]
        num_images += len(images[::step])
        if step == 1:
            archive.unlink()
        for name in members.keys() - set(images) | set(images[::step]):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(members[name])
    return num_images


def damage_an_image(raw: Path) -> bool:
    """Change a byte of an image in an archive that has a checksum for it; a tar has none, and becomes a zip."""
    for archive in find_files(raw, ".zip", *TARS):
        members = members_of(archive)
        image = next((data for name, data in members.items() if name.endswith(IMAGES)), None)
        if image is None:
            continue
        archive.unlink()
        packed = to_zip(members)
        middle = packed.index(image) + len(image) // 2
        archive.with_name(archive.name.split(".")[0] + ".zip").write_bytes(
            packed[:middle] + bytes([packed[middle] ^ 0xFF]) + packed[middle + 1 :]
        )
        return True
    return False


def half_pack(folder: Path, archive: Path, prefix: str = "") -> None:
    """Zip the images of a folder, and remove every second one."""
    paths = find_files(folder, *IMAGES)
    pack(archive, {f"{prefix}{path.relative_to(folder).as_posix()}": path.read_bytes() for path in paths})
    for path in paths[::2]:
        path.unlink()


def unpack_gzips(raw: Path, rename: Callable[[str], str]) -> int:
    """Unpack each gzip, tars too, as browsers do; return their number."""
    paths = find_files(raw, ".gz", ".tgz")
    for path in paths:
        data = gzip.decompress(path.read_bytes())
        path.unlink()
        path.with_name(rename(path.name)).write_bytes(data)
    return len(paths)


def copy(raw: Path, target: Path) -> Path:
    return Path(shutil.copytree(raw, target))
