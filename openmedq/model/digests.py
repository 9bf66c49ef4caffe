"""safetensors files with a SHA-256 of themselves in their metadata, which is checked when they are loaded.

safetensors has no checksums: a flipped bit is another weight. The digest is of the whole file with zeros in the
digest's place. Checking takes half a second per GB.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from safetensors.torch import save_file
from torch import Tensor

from openmedq.errors import ModelError

NAME = "sha256"
METADATA = {"format": "pt", NAME: "0" * 64}
CHUNK_BYTES = 2**20
MAX_HEADER_BYTES = 10**8  # as safetensors


def save(tensors: dict[str, Tensor], path: Path) -> None:
    """Write a safetensors file with its digest."""
    path.touch()
    mode = path.stat().st_mode  # that of new files: safetensors' own files can't be read by others
    save_file(tensors, path, metadata=METADATA)
    path.chmod(mode)
    with path.open("r+b") as file:
        header = _read_header(file)
        _write_header(file, header, METADATA)  # safetensors writes the metadata in random order
        _write_header(file, header, METADATA | {NAME: _hash(file, METADATA[NAME])})


def check(path: Path) -> None:
    """Compare a safetensors file with its digest; a published file without one passes. ModelError if it is damaged."""
    with path.open("rb") as file:
        try:
            digest = str(_read_header(file)["__metadata__"][NAME])
        except ValueError:
            raise ModelError(f"{path}: is damaged: its header can't be read; get it again") from None
        except (KeyError, TypeError):
            return  # no digest
        if _hash(file, digest) != digest:
            raise ModelError(
                f"{path}: is damaged: its content has another SHA-256 than when it was written; get it again"
            )


def _read_header(file: BinaryIO) -> dict[str, Any]:
    file.seek(0)
    size = int.from_bytes(file.read(8), "little")
    if size > MAX_HEADER_BYTES:
        raise ValueError(f"a header of {size} bytes")
    header: dict[str, Any] = json.loads(file.read(size))
    return header


def _write_header(file: BinaryIO, header: dict[str, Any], metadata: Mapping[str, str]) -> None:
    file.seek(0)
    size = int.from_bytes(file.read(8), "little")
    text = json.dumps(header | {"__metadata__": metadata}, separators=(",", ":"), ensure_ascii=False)
    file.write(text.encode().ljust(size))


def _hash(file: BinaryIO, digest: str) -> str:
    """SHA-256 of the file, with zeros in place of the digest in its header."""
    file.seek(0)
    size = int.from_bytes(file.read(8), "little")
    found = hashlib.sha256(size.to_bytes(8, "little"))
    found.update(file.read(size).replace(digest.encode(), METADATA[NAME].encode(), 1))
    while chunk := file.read(CHUNK_BYTES):
        found.update(chunk)
    return found.hexdigest()
