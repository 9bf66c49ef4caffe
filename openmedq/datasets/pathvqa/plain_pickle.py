"""Unpickle plain values only: dicts, lists, tuples, sets, texts, bytes, numbers, booleans, None.

A pickle can look up and call any function; this unpickler looks up no names. Memory is bounded by the file's size:
16 MiB can expand to 3.5 GB at worst, because one byte can create a set of 216 bytes. The published files have 5 MB.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

from openmedq.errors import SourceError
from openmedq.storage import unexpected

MAX_BYTES = 2**24


class _Refused(Exception):  # noqa: N818 converted to a SourceError in this module
    """The pickle contains something other than plain values."""


# The unpickler in Python, because the one in C allocates as much memory as an index in the file asks for.
class _Unpickler(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise _Refused("it names a class or a function")

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused("it refers to an object outside of the file")

    def get_extension(self, code: int) -> Any:
        raise _Refused("it names a class or a function by a number")


def read_pickle(path: Path, advice: str) -> Any:
    """Read a pickle file like `load_pickle`; a file that is too large is not opened."""
    _check_size(path.stat().st_size, str(path), advice)
    data = path.read_bytes()
    unexpected.refuse(path, data[: unexpected.HEAD_BYTES])
    return load_pickle(data, str(path), advice)


def load_pickle(data: bytes, where: str, advice: str) -> Any:
    """Return the plain value in a pickle; bytes that are not UTF-8 become lone surrogates.

    Values may contain themselves or be shared. Bytes after the end are ignored.

    Raises:
        SourceError: Names `where` the pickle is, what is refused or damaged, and the `advice`.
    """
    _check_size(len(data), where, advice)
    file = io.BytesIO(data)
    try:
        return _Unpickler(file, encoding="utf-8", errors="surrogateescape").load()
    except _Refused as refused:
        raise SourceError(f"{where}: refused: {refused}; {advice}") from None
    except Exception:  # damaged bytes raise many exceptions, whose text may quote the file
        raise SourceError(f"{where}: not a whole pickle (damaged or cut); {advice}") from None


def _check_size(size_bytes: int, where: str, advice: str) -> None:
    if size_bytes > MAX_BYTES:
        raise SourceError(f"{where}: {size_bytes} bytes, but at most {MAX_BYTES} of a pickle are read; {advice}")
