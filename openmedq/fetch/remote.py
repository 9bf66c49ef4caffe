"""Copy published files from `download.remote`, a folder that fsspec reads, to the local data folder.

New and changed files are copied before the stages run; from then on they are local files, with hashes in the manifest.
Credentials come from the environment or the configuration of the file system's library, never from the URL.
"""

import hashlib
import json
import logging
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from openmedq.config import Download
from openmedq.errors import AcquisitionError, LocalFolderError, OpenMedQError, ParamsError, TemporaryError, numbered
from openmedq.fetch.mirror import is_miniature
from openmedq.storage.progress import progress
from openmedq.storage.publish import is_disk_full, replacing

RECORD = ".remote.jsonl"  # in the local data folder: [path, version] of each copied file; the last line counts

_log = logging.getLogger(__name__)


def copy_new(settings: Download) -> None:
    """Copy the files of `download.remote` that the local data folder lacks, or has in another version.

    A file that was not copied from there is never replaced, and no file is removed.

    Raises:
        ParamsError: the URL is of an unknown kind, or the folder is the one of the miniatures.
        AcquisitionError: the files can't be listed or read, or (TemporaryError) not now.
        LocalFolderError: another file is in the place of one of them.
    """
    url, mirror = settings.remote, Path(settings.mirror)
    if url is None:
        return
    if is_miniature(mirror):
        raise ParamsError(f"download.remote is set, but download.mirror is {mirror}, which is generated; change either")
    files, source, root = _list_files(url)
    mirror.mkdir(parents=True, exist_ok=True)
    record = mirror / RECORD
    known = _read_record(record)
    missing = {name: info for name, info in files.items() if not _is_copied(mirror / name, info, known.get(name))}
    for name in missing:
        if (mirror / name).exists() and name not in known:
            folder = mirror / PurePosixPath(name).parts[0]
            raise LocalFolderError(f"{folder}: has a file of download.remote that was not copied from there; move it")
    if gone := len(known.keys() - files.keys()):
        _log.warning("%s: %s of an earlier copy no longer at %s, and kept", mirror, numbered(gone, "file"), url)
    num_bytes = sum(info["size"] for info in missing.values())
    with progress(f"copying {url}", num_bytes, is_bytes=True) as advance, record.open("a", encoding="utf-8") as lines:
        for name, info in missing.items():
            target = mirror / name
            with replacing(target) as temporary:  # the stages ignore hidden files
                try:
                    source.get_file(f"{root}/{name}", str(temporary))
                except Exception as error:  # each file system raises types of its own
                    raise _explain(error, url) from None
                if temporary.stat().st_size != info["size"]:
                    raise TemporaryError(f"{url}: a file changed or was cut while it was copied; run the command again")
                target.unlink(missing_ok=True)  # first: a run that is killed here copies the file again
                lines.write(f"{json.dumps([name, _version(info)])}\n")
                lines.flush()
            advance(info["size"])
    if missing:
        _log.info("%s: %s, %.1f MB copied to %s", url, numbered(len(missing), "file"), num_bytes / 1e6, mirror)


def _list_files(url: str) -> tuple[dict[str, dict[str, Any]], Any, str]:
    """The files below the URL by relative path, the file system, and the folder in its form."""
    import fsspec

    try:
        source, root = fsspec.core.url_to_fs(url)
        root = root.rstrip("/")
        found = source.find(root, detail=True)
    except Exception as error:  # as above
        raise _explain(error, url) from None
    files = {}
    for path, info in found.items():
        name = PurePosixPath(path[len(root) :].lstrip("/"))
        if ".." in name.parts:
            raise AcquisitionError(f"{url}: a file path contains `..`; rename the file there")
        if name.parts and not any(part.startswith(".") for part in name.parts):
            files[str(name)] = info
    if not files:
        raise AcquisitionError(f"{url}: no file found; correct download.remote in params.yaml")
    return files, source, root


def _read_record(record: Path) -> dict[str, str]:
    known: dict[str, str] = {}
    for line in record.read_text(encoding="utf-8").splitlines() if record.exists() else ():
        with suppress(ValueError):  # a line that a killed run left incomplete: its file was not renamed
            name, version = json.loads(line)
            known[name] = version
    return known


def _is_copied(path: Path, info: dict[str, Any], version: str | None) -> bool:
    return version == _version(info) and path.is_file() and path.stat().st_size == info["size"]


def _version(info: dict[str, Any]) -> str:
    """Changes with the file: size, and what the file system states of ETag and time."""
    names = ("size", "ETag", "etag", "md5", "mtime", "LastModified", "last_modified", "created")
    return hashlib.sha256(repr([str(info.get(name)) for name in names]).encode()).hexdigest()[:16]


def _explain(error: Exception, url: str) -> OpenMedQError | Exception:
    """One line without the library's message, which may quote credentials."""
    scheme = url.partition("://")[0]
    if is_disk_full(error):
        return error
    if isinstance(error, ImportError):
        return ParamsError(f"download.remote: {error}")  # "Install s3fs to access S3"
    if isinstance(error, FileNotFoundError):
        return AcquisitionError(f"{url}: not found; correct download.remote in params.yaml")
    if isinstance(error, ValueError):
        return ParamsError(f"download.remote: fsspec can't read {scheme}://; correct it in params.yaml")
    kind = TemporaryError if isinstance(error, (ConnectionError, TimeoutError)) else AcquisitionError
    return kind(f"{url}: can't be read ({type(error).__name__}); check the address and the credentials")
